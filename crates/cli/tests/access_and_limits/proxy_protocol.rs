//! The PROXY protocol from proxies that `--proxy-protocol-from` lists: real ones, and headers in
//! every form.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyport_testkit::harness::http::{curl_says, request};
use anyport_testkit::harness::proxies::Proxy;
use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{
    BINARY, announced, close_frame, connect, connect_from, converse, frame, read_close, read_line,
    read_text, upgrade,
};
use anyport_testkit::harness::{Server, wait_until};
use serde_json::Value;

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const CLIENT: &str = "192.0.2.1:56324";

const PUT: &[u8] = b"ANYPORT/1 PUT x size=4\ngoodEND\n";

/// Starts a server that requires headers from 127.0.0.1.
fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--proxy-protocol-from", "127.0.0.1"], flags].concat())
}

/// Connects as the proxy of a client, to which `header` belongs.
fn proxied(server: &Server, header: &[u8]) -> TcpStream {
    let mut stream = connect(server.port());
    stream.write_all(header).unwrap();
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Returns a header of version 1 for a client address.
fn header_of(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.2 5 443\r\n").into_bytes()
}

#[test]
fn every_protocol_has_the_client_address_of_the_header() {
    let server = server(&[]);
    let is_received = |protocol: &str| {
        let receipt = server.next_receipt();
        assert_eq!((&receipt["protocol"], &receipt["peer"]), (&protocol.into(), &CLIENT.into()));
        assert_eq!(server.stored(&receipt), b"good", "{receipt}");
    };
    for header in [V1, V2] {
        converse(&mut proxied(&server, header), b"good");
        is_received("raw");
        converse(&mut proxied(&server, header), PUT);
        is_received("raw");
        converse(
            &mut proxied(&server, header),
            b"PUT /y HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngood",
        );
        is_received("http");
        let mut stream = proxied(&server, header);
        converse(&mut stream, &[frame(BINARY, b"good"), close_frame(1000, "")].concat());
        is_received("frames");
        let mut stream = proxied(&server, &[header, upgrade("/", "").as_bytes()].concat());
        stream.write_all(&[frame(BINARY, b"good"), close_frame(1000, "")].concat()).unwrap();
        read_text(&mut stream);
        is_received("ws");
        // The header is before TLS, and within TLS it is none.
        let mut secured = TlsPeer::over(proxied(&server, header));
        secured.write(PUT);
        secured.receives("ANYPORT/1 RECEIPT ");
        is_received("raw");
    }
}

#[test]
fn a_header_may_arrive_in_any_pieces_and_with_the_input_behind_it() {
    let server = server(&[]);
    for header in [V1, V2] {
        for cut in 1..header.len() {
            let (first, rest) = header.split_at(cut);
            let mut stream = proxied(&server, first);
            stream.set_nodelay(true).unwrap();
            let answer = converse(&mut stream, &[rest, PUT].concat());
            assert!(answer.contains("peer=192.0.2.1:56324"), "{cut} of {header:?}: {answer}");
            server.next_receipt();
        }
        let mut stream = connect(server.port());
        stream.set_nodelay(true).unwrap();
        for byte in [header, PUT].concat() {
            stream.write_all(&[byte]).unwrap();
        }
        assert!(read_line(&mut stream).contains("peer=192.0.2.1:56324"));
        server.next_receipt();
    }
}

#[test]
fn services_that_send_first_wait_for_the_header() {
    let listen = ["echo", "greet", "time", "rfc868", "daytime"];
    let listen = listen.map(|service| format!("{service}://127.0.0.1:0"));
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let server = Server::start_listening(&listen, &["--proxy-protocol-from", "127.0.0.0/8"]);
    let ports: Vec<u16> = server.addresses().iter().map(SocketAddr::port).collect();
    let open = |at: usize| {
        let mut stream = connect(ports[at]);
        stream.write_all(V2).unwrap();
        stream
    };
    assert_eq!(converse(&mut open(0), b"echoed"), "echoed");
    let mut greeted = open(1);
    read_line(&mut greeted);
    greeted.write_all(b"hello\n").unwrap();
    assert_eq!(server.next_event()["peer"], CLIENT);
    assert!(converse(&mut open(2), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains(" 200 "));
    let mut answer = Vec::new();
    open(3).read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 4);
    assert!(read_text(&mut open(4)).ends_with("\r\n"));
    for port in ports {
        let mut stream = connect(port);
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert!(is_closed(&mut stream));
        assert_eq!(server.next_refused()["protocol"], "proxy");
    }
}

#[test]
fn a_listed_proxy_without_a_valid_header_is_closed_and_the_reason_is_reported() {
    let server = server(&["--handshake-timeout", "300ms"]);
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 100]].concat();
    let v2 = &V2[..12];
    for (input, reason) in [
        (PUT, "no PROXY protocol header; --proxy-protocol-from requires one"),
        (b"\x16\x03\x01\x02\0\x01", "no PROXY protocol header"),
        (b"PROXY TCP4 a b 1 2\r\n", "invalid PROXY protocol header: PROXY TCP4 a b 1 2"),
        (&[v2, b"\x22\x11\0\0"].concat(), "version and command 0x22"),
        (&[v2, b"\x21\x11\xff\xff"].concat(), "more than 4096 bytes"),
        (&long, "more than 107 bytes"),
        (&V1[..20], "incomplete after 300ms (--handshake-timeout)"),
        (&V2[..20], "incomplete after 300ms (--handshake-timeout)"),
    ] {
        let mut stream = proxied(&server, input);
        assert!(is_closed(&mut stream), "{reason}");
        let refused = server.next_refused();
        assert_eq!(refused["protocol"], "proxy", "{refused}");
        assert!(refused["reason"].as_str().unwrap().contains(reason), "{refused}");
    }
    let mut stream = proxied(&server, &V1[..20]);
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut stream));
    let refused = server.next_refused();
    assert!(refused["reason"].as_str().unwrap().contains("at the end of the stream"), "{refused}");
    assert_eq!(server.names(), [""; 0]);
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["refused"], 9, "{summary}");
}

#[test]
fn other_addresses_need_no_header_and_must_not_send_one() {
    let server = server(&[]);
    let mut direct = connect_from("127.0.0.2", server.port());
    assert!(converse(&mut direct, PUT).contains("peer=127.0.0.2:"));
    server.next_receipt();
    let mut forged = connect_from("127.0.0.2", server.port());
    let answer = converse(&mut forged, &[V1, PUT].concat());
    assert!(answer.starts_with("ANYPORT/1 ERROR not-supported PROXY protocol header"), "{answer}");
    let refused = server.next_refused();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("an address that --proxy-protocol-from does not list"), "{refused}");
    assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.2:"), "{refused}");
}

#[test]
fn a_second_header_is_refused_and_not_interpreted() {
    let server = server(&[]);
    for second in [&header_of("203.0.113.7"), V2, LOCAL] {
        let answer = converse(&mut proxied(&server, V1), &[second, PUT].concat());
        assert!(answer.starts_with("ANYPORT/1 ERROR not-supported"), "{answer}");
        let refused = server.next_refused();
        assert_eq!(
            (&refused["reason"], &refused["peer"]),
            (&"second PROXY protocol header".into(), &CLIENT.into())
        );
    }
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn a_health_check_of_the_proxy_reports_nothing() {
    let server = server(&["-vv"]);
    // Connects and closes, with or without a reset; and with the header that says so.
    drop(connect(server.port()));
    let reset = socket2::Socket::from(connect(server.port()));
    reset.set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    drop(proxied(&server, LOCAL));
    let reset = socket2::Socket::from(proxied(&server, LOCAL));
    reset.set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    assert!(converse(&mut proxied(&server, LOCAL), PUT).contains("peer=127.0.0.1:"));
    server.next_receipt();
    server.says_often("connection ended", 5);
    let said = server.said();
    let (events, summary) = server.stop_with_summary();
    assert_eq!((events.len(), &summary["refused"]), (0, &0.into()), "{events:?} {summary}");
    for line in said.lines() {
        assert!(!line.contains(" WARN ") && !line.contains("ERROR"), "{line}");
    }
}

#[test]
fn a_client_whose_address_the_proxy_does_not_know_has_the_proxys() {
    let server = server(&[]);
    for header in [&b"PROXY UNKNOWN\r\n"[..], LOCAL] {
        let mut stream = proxied(&server, header);
        let own = stream.local_addr().unwrap();
        assert!(converse(&mut stream, PUT).contains(&format!("peer={own} ")));
        server.next_receipt();
    }
}

#[test]
fn a_unix_socket_is_a_proxy_only_if_it_is_listed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sock");
    let bind = format!("unix:{}", path.display());
    let put = b"PUT /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\
        Content-Length: 4\r\nConnection: close\r\n\r\ngood";
    for (flags, header, client) in [
        (["--proxy-protocol-from", "unix"], V1, CLIENT),
        (["--proxy-protocol-from", "unix"], V2, CLIENT),
        (["--trusted-proxy", "unix"], b"", "192.0.2.7"),
        (["--trusted-proxy", "0.0.0.0/0"], b"", "unix"),
    ] {
        let server = Server::start_on(&[&bind], &flags);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&[header, put].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 201 "), "{flags:?}: {answer}");
        assert_eq!(server.next_receipt()["peer"], client, "{flags:?}");
    }
}

#[test]
fn limits_per_address_count_the_client_and_not_its_proxy() {
    let server = server(&["--max-conns-per-ip", "2", "--max-rate-per-ip", "1000"]);
    let open = |client: &str| {
        let mut stream = proxied(&server, &header_of(client));
        stream.write_all(b"ANYPORT/1 TIME\n").unwrap();
        let is_open = stream.read(&mut [0; 1]).is_ok_and(|count| count == 1);
        is_open.then_some(stream)
    };
    let held = [open("192.0.2.1"), open("192.0.2.1"), open("192.0.2.3"), open("192.0.2.3")];
    assert!(held.iter().all(Option::is_some));
    assert!(open("192.0.2.1").is_none() && open("192.0.2.3").is_none());
    let refused = server.next_refused();
    assert_eq!(refused["peer"], "192.0.2.1:5", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("already has 2 connections (--max-conns-per-ip)"), "{refused}");
    assert!(open("192.0.2.4").is_some());
    drop(held);
    wait_until("a free place", || open("192.0.2.1").map(drop));
}

#[test]
fn connections_that_wait_for_a_header_are_evicted_like_silent_ones() {
    let server = server(&["--max-unclassified", "2"]);
    let mut waiting = [connect(server.port()), connect(server.port())];
    assert!(converse(&mut proxied(&server, V1), PUT).contains(CLIENT));
    server.next_receipt();
    assert!(is_closed(&mut waiting[0]));
    let mut slow = [proxied(&server, &V1[..9]), proxied(&server, &V1[..9])];
    assert!(converse(&mut proxied(&server, V1), PUT).contains(CLIENT));
    server.next_receipt();
    assert!(is_closed(&mut slow[0]) || is_closed(&mut slow[1]));
}

#[test]
fn a_reload_changes_the_listed_proxies() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("config");
    std::fs::write(&file, "proxy-protocol-from = [\"127.0.0.1\", \"unix\"]\n").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    assert!(converse(&mut proxied(&server, V1), PUT).contains(CLIENT));
    server.next_receipt();
    std::fs::write(&file, "proxy-protocol-from = \"10.0.0.0/8\"\n").unwrap();
    server.signal("HUP");
    server.says("proxy-protocol-from is 10.0.0.0/8, was 127.0.0.1 unix");
    assert!(converse(&mut connect(server.port()), PUT).contains("peer=127.0.0.1:"));
    server.next_receipt();
}

/// Asserts that files sent through a proxy have the address of the client.
fn passes_the_client_address(server: &Server, proxy: &Proxy) {
    let port = proxy.address.port();
    let has_address = |receipt: &Value, stream: &TcpStream| {
        assert_eq!(receipt["peer"], stream.local_addr().unwrap().to_string(), "{receipt}");
    };
    let mut stream = connect_from("127.0.0.3", port);
    stream.write_all(PUT).unwrap();
    assert!(read_line(&mut stream).contains(" RECEIPT "));
    has_address(&server.next_receipt(), &stream);
    let mut secured = TlsPeer::connect(port);
    secured.write(PUT);
    secured.receives("ANYPORT/1 RECEIPT ");
    has_address(&server.next_receipt(), &secured.stream);
    let mut ws = announced(port);
    ws.write_all(&close_frame(1000, "")).unwrap();
    read_close(&mut ws);
    assert_eq!(request(port, "GET /healthz", "", b"").status(), 200);
}

#[test]
fn haproxy_states_its_clients_and_its_health_checks_report_nothing() {
    for options in ["send-proxy", "send-proxy-v2", "send-proxy-v2 check inter 100ms"] {
        let server = server(&["-v"]);
        let Some(proxy) = Proxy::haproxy(server.port(), "mode tcp", options) else { return };
        wait_until("a server that is up", || {
            let mut stream = connect(proxy.address.port());
            stream.write_all(b"ANYPORT/1 TIME\n").ok()?;
            (stream.read(&mut [0; 1]).ok()? == 1).then_some(())
        });
        passes_the_client_address(&server, &proxy);
        if options.contains("check") {
            server.says_often("connection ended", 12);
        }
        let said = server.said();
        let (events, summary) = server.stop_with_summary();
        let is_bad = |event: &Value| event["event"] == "refused" || event["event"] == "interrupted";
        assert!(!events.iter().any(is_bad), "{options}: {events:?}");
        assert_eq!(summary["refused"], 0, "{options}: {summary}");
        assert!(!said.contains(" WARN ") && !said.contains("ERROR"), "{options}: {said}");
    }
}

#[test]
fn nginx_and_curl_state_their_clients() {
    let server = server(&[]);
    if let Some(proxy) = Proxy::nginx_stream(server.port()) {
        passes_the_client_address(&server, &proxy);
    }
    let source = anyport_testkit::harness::Sample::new("x", b"good");
    for arguments in [&[][..], &["--http2-prior-knowledge"], &["-k"]] {
        let scheme = if arguments == ["-k"] { "https" } else { "http" };
        let url = server.url(scheme, "by-curl");
        let more = ["--haproxy-protocol", "-T", source.path(), &url];
        let Some((_, status)) = curl_says(&[arguments, &more].concat()) else { return };
        assert!([200, 201].contains(&status), "{arguments:?}: {status}");
        let receipt = server.next_receipt();
        assert!(receipt["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{receipt}");
    }
}
