//! `Forwarded` and `X-Forwarded-*` from proxies that `--trusted-proxy` lists, real ones among them,
//! and from all others.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyport_testkit::harness::http::{Response, curl_says, field_of};
use anyport_testkit::harness::proxies::Proxy;
use anyport_testkit::harness::wire::{
    BINARY, close_frame, connect, connect_from, converse, frame, read_close, read_head, read_text,
    upgrade,
};
use anyport_testkit::harness::{Sample, Server, engines, wait_until};

/// Starts a server that trusts 127.0.0.1 and 10.0.0.0/8.
fn server(flags: &[&str]) -> Server {
    let trusted = ["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8"];
    Server::start(&[&trusted, flags].concat())
}

/// Sends one request over a connection of its own.
fn request(server: &Server, line: &str, fields: &str, content: &[u8]) -> Response {
    let fields = fields.replace("\r\n", "\n");
    anyport_testkit::harness::http::request(server.port(), line, &fields, content)
}

fn put(name: &str, fields: &str) -> String {
    format!("PUT /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n{fields}\r\ngood")
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn each_request_of_a_connection_has_the_client_that_its_proxy_states() {
    let server = server(&[]);
    let mut stream = connect(server.port());
    let own = stream.local_addr().unwrap().to_string();
    for (at, (fields, client)) in [
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
        ("X-Forwarded-For: 203.0.113.9, 192.0.2.2, 10.0.0.1\r\n", "192.0.2.2"),
        ("Forwarded: for=\"[2001:db8::1]:4711\"\r\n", "[2001:db8::1]:4711"),
        ("Forwarded: for=203.0.113.9\r\nForwarded: for=\"192.0.2.3:5\"\r\n", "192.0.2.3:5"),
        ("Forwarded: for=\"203.0.113.9, for=192.0.2.3\r\n", own.as_str()),
        ("Forwarded: for=unknown\r\n", &own),
        ("Forwarded: for=203.0.113.9\r\nX-Forwarded-For: 192.0.2.3\r\n", &own),
        ("", &own),
    ]
    .into_iter()
    .enumerate()
    {
        stream.write_all(put(&format!("x{at}"), fields).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.contains(" 201 "), "{fields}: {head}");
        let mut content = vec![0; field_of(&head, "content-length").parse().unwrap()];
        stream.read_exact(&mut content).unwrap();
        assert_eq!(server.next_receipt()["peer"], client, "{fields}");
    }
    let content = Sample::new("x", b"good");
    let url = server.url("http", "by-http2");
    for client in ["192.0.2.1", "192.0.2.2"] {
        let field = format!("X-Forwarded-For: {client}");
        let to = ["--http2-prior-knowledge", "-H", &field, "-T", content.path(), &url];
        if curl_says(&to).is_some() {
            assert_eq!(server.next_receipt()["peer"], client);
        }
    }
}

#[test]
fn an_upgraded_connection_is_of_the_client_that_the_proxy_states() {
    for engine in engines() {
        let server = server(&["--engine", engine, "-v"]);
        let mut stream = connect(server.port());
        stream.write_all(upgrade("/", "X-Forwarded-For: 192.0.2.1\r\n").as_bytes()).unwrap();
        assert!(read_head(&mut stream).contains(" 101 "));
        stream.write_all(&[frame(BINARY, b"good"), close_frame(1000, "")].concat()).unwrap();
        read_close(&mut stream);
        assert_eq!(server.next_receipt()["peer"], "192.0.2.1", "{engine}");
        drop(stream);
        server.says("client=192.0.2.1");
    }
}

#[test]
fn fields_of_other_addresses_are_ignored_and_counted() {
    let server = server(&["--metrics"]);
    let mut stream = connect_from("127.0.0.2", server.port());
    let own = stream.local_addr().unwrap().to_string();
    let forged = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: evil.example\r\n";
    stream.write_all(put("x", &format!("{forged}Connection: close\r\n")).as_bytes()).unwrap();
    read_text(&mut stream);
    assert_eq!(server.next_receipt()["peer"], own);
    let mut stream = connect_from("127.0.0.2", server.port());
    let fields = format!("{forged}Forwarded: for=192.0.2.1\r\nConnection: close\r\n");
    converse(&mut stream, get("/healthz", &fields).as_bytes());
    let metrics = request(&server, "GET /metrics", "", b"").text();
    assert!(metrics.contains("\nanyport_forwarded_ignored_total 2\n"), "{metrics}");
}

/// A balancer forwards the connection of a proxy, or of a client that forges the fields.
#[test]
fn the_client_of_a_proxy_protocol_header_may_be_a_trusted_proxy() {
    let server = server(&["--proxy-protocol-from", "127.0.0.1", "--max-conns-per-ip", "1"]);
    let open = |peer: &str| {
        let mut stream = connect(server.port());
        stream.write_all(format!("PROXY TCP4 {peer} 192.0.2.9 5 80\r\n").as_bytes()).unwrap();
        stream.write_all(put("x", "X-Forwarded-For: 192.0.2.1\r\n").as_bytes()).unwrap();
        assert!(read_head(&mut stream).contains(" 201 "), "{peer}");
        (stream, server.next_receipt()["peer"].clone())
    };
    // Connections of the proxy are not counted for its address.
    let held = [open("10.0.0.5"), open("10.0.0.5"), open("203.0.113.5")];
    let peers = held.map(|(_, peer)| peer);
    assert_eq!(peers, ["192.0.2.1", "192.0.2.1", "203.0.113.5:5"]);
}

/// Its connection has the address of the proxy, but is not the proxy's.
#[test]
fn a_client_whose_address_the_proxy_does_not_state_is_never_a_trusted_proxy() {
    let server = server(&["--proxy-protocol-from", "127.0.0.1"]);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"] {
        for fields in ["X-Forwarded-For: 192.0.2.66\r\n", "Forwarded: for=192.0.2.66\r\n"] {
            let mut stream = connect(server.port());
            let own = stream.local_addr().unwrap().to_string();
            stream.write_all(&[header, put("x", fields).as_bytes()].concat()).unwrap();
            assert!(read_head(&mut stream).contains(" 201 "));
            assert_eq!(server.next_receipt()["peer"], own, "{fields}");
        }
    }
}

#[test]
fn wrong_tokens_count_for_the_client_and_not_for_its_proxy() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("tokens");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let server = server(&["--token-file", file.to_str().unwrap()]);
    let status = |client: &str, token: &str| {
        let fields = format!("X-Forwarded-For: {client}\r\nAuthorization: Bearer {token}\r\n");
        request(&server, "GET /", &fields, b"").status()
    };
    for _ in 0..10 {
        assert_eq!(status("192.0.2.1", "fedcba9876543210"), 401);
    }
    assert_eq!(status("192.0.2.1", "0123456789abcdef"), 429);
    assert_eq!(status("192.0.2.2", "0123456789abcdef"), 200);
    let refused = server.next_refused();
    assert_eq!(refused["peer"], "192.0.2.1", "{refused}");
}

/// Reads the status of a response.
fn status(stream: &mut TcpStream) -> String {
    read_head(stream).split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn limits_per_address_count_requests_and_upgrades_of_each_client() {
    let server = server(&["--max-conns-per-ip", "1"]);
    let open = |client: &str, head: &str| {
        let mut stream = connect(server.port());
        let fields = format!("X-Forwarded-For: {client}\r\n");
        let head = head.replace("Host: a\r\n", &format!("Host: a\r\n{fields}"));
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let upload =
        "PUT /long HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let kinds = [
        (upload.to_owned(), "100"),
        (get("/rooms/r", ""), "200"),
        (upgrade("/echo", "").replace("Host: ", "Host: a\r\nX-Old: "), "101"),
    ];
    for (head, begun) in kinds {
        let mut held = open("192.0.2.1", &head);
        assert_eq!(status(&mut held), begun, "{head}");
        let refused = read_text(&mut open("192.0.2.1", &get("/help", "Connection: close\r\n")));
        assert!(refused.starts_with("HTTP/1.1 429 "), "{head}: {refused}");
        assert!(!field_of(&refused, "retry-after").is_empty(), "{refused}");
        let reason = "already has 1 connection (--max-conns-per-ip)";
        assert!(refused.contains(reason), "{refused}");
        let mut other = open("192.0.2.2", &get("/help", ""));
        assert_eq!(status(&mut other), "200", "{head}");
        drop(held);
        wait_until("the end of the request", || {
            let mut next = open("192.0.2.1", &get("/help", ""));
            (status(&mut next) == "200").then_some(())
        });
    }
    // A finished request counts no longer, though its connection is open.
    let mut stream = open("192.0.2.5", &get("/livez", ""));
    assert_eq!(status(&mut stream), "200");
    assert_eq!(status(&mut open("192.0.2.5", &get("/livez", ""))), "200");
}

#[test]
fn the_scheme_of_the_client_counts_where_tls_is_required() {
    let server = server(&["--tls", "required", "--allow-host", "files.example"]);
    let status = |fields: &str| request(&server, "GET /help", fields, b"").status();
    assert_eq!(status("X-Forwarded-Proto: https\r\n"), 200);
    assert_eq!(status("Forwarded: for=192.0.2.1;proto=https\r\n"), 200);
    assert_eq!(status(""), 308);
    let fields = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: files.example\r\n";
    let redirect = request(&server, "GET /help", fields, b"");
    assert_eq!(redirect.status(), 308);
    assert_eq!(redirect.field("location"), "https://files.example/help");
}

#[test]
fn pages_and_links_have_the_origin_that_the_proxy_states() {
    let server = server(&["--allow-host", "files.example"]);
    let stated = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: files.example\r\n";
    let put = |at: usize, origin: &str, stated: &str| {
        let fields = format!("Origin: {origin}\r\n{stated}");
        request(&server, &format!("PUT /page-{at}"), &fields, b"good").status()
    };
    assert_eq!(put(0, "https://files.example", stated), 201);
    for (at, origin) in
        ["http://files.example", "https://files.example:8443", "https://evil.example", "null"]
            .into_iter()
            .enumerate()
    {
        assert_eq!(put(at + 1, origin, stated), 403, "{origin}");
    }
    let own = format!("http://127.0.0.1:{}", server.port());
    assert_eq!(put(9, &own, stated), 403, "the address behind the proxy is another origin");
    let fields = format!("{stated}Tus-Resumable: 1.0.0\r\nUpload-Length: 4\r\n");
    let created = request(&server, "POST /", &fields, b"");
    assert_eq!(created.status(), 201, "{}", created.text());
    let location = created.field("location").to_owned();
    assert!(location.starts_with("https://files.example/"), "{location}");
}

#[test]
fn the_host_that_the_proxy_states_must_be_a_name_of_the_server() {
    let server = server(&["--allow-host", "files.example"]);
    let status = |host: &str| {
        let fields = format!("X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: {host}\r\n");
        request(&server, "GET /help", &fields, b"").status()
    };
    assert_eq!((status("files.example"), status("evil.example")), (200, 421));
    let fields = "X-Forwarded-Host: files.example\r\nX-Forwarded-Proto: https\r\n";
    let help = request(&server, "GET /help", fields, b"").text();
    assert!(help.contains("curl -T FILE https://files.example/"), "{help}");
}

#[test]
fn thousands_of_hops_are_refused_with_their_head() {
    let server = server(&[]);
    let fields = format!("X-Forwarded-For: {}192.0.2.1\r\n", "10.0.0.1, ".repeat(10_000));
    let mut stream = connect(server.port());
    let _ = stream.write_all(get("/livez", &fields).as_bytes());
    assert_eq!(status(&mut stream), "431");
    let fields = format!("X-Forwarded-For: {}192.0.2.1\r\n", "10.0.0.1, ".repeat(1_000));
    assert_eq!(request(&server, "GET /livez", &fields, b"").status(), 200);
}

/// Asserts that uploads and WebSockets through a proxy have the address of the client.
fn passes_the_client_address(server: &Server, proxy: &Proxy) {
    let port = proxy.address.port();
    for client in ["127.0.0.3", "127.0.0.4", "127.0.0.3"] {
        let mut stream = connect_from(client, port);
        let name = format!("by-{client}");
        let head = put(&name, "Connection: close\r\nX-Forwarded-For: 203.0.113.9\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(read_head(&mut stream).contains(" 201 "));
        let receipt = server.next_receipt();
        assert_eq!(receipt["peer"], client, "{receipt}");
    }
}

#[test]
fn nginx_states_the_client_of_each_request() {
    let server = server(&[]);
    let Some(proxy) = Proxy::nginx_http(server.port()) else { return };
    passes_the_client_address(&server, &proxy);
    let mut ws = connect_from("127.0.0.5", proxy.address.port());
    ws.write_all(upgrade("/", "").as_bytes()).unwrap();
    assert!(read_head(&mut ws).contains(" 101 "));
    ws.write_all(&[frame(BINARY, b"good"), close_frame(1000, "")].concat()).unwrap();
    read_close(&mut ws);
    assert_eq!(server.next_receipt()["peer"], "127.0.0.5");
}

/// All clients share one connection to the server, over HTTP/2 too.
#[test]
fn haproxy_states_the_client_of_each_request() {
    for options in ["", "proto h2"] {
        let server = server(&[]);
        let lines = "mode http\n http-reuse always\n http-request del-header X-Forwarded-For\n \
            option forwardfor";
        let Some(proxy) = Proxy::haproxy(server.port(), lines, options) else { return };
        passes_the_client_address(&server, &proxy);
    }
}
