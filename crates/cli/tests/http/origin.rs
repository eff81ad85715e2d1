//! Pages of others: their origins, and the names that lead their browsers here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use anyport_testkit::harness::http::statuses;
use anyport_testkit::harness::wire::{connect, converse, read_head, upgrade};
use anyport_testkit::harness::{Running, Server, anyport, peer};

fn ask(server: &Server, request: &str) -> (u16, String) {
    let answer = converse(&mut connect(server.port()), request.as_bytes());
    (statuses(&answer)[0], answer)
}

fn handshake(server: &Server, host: &str, origin: &str) -> u16 {
    let request = upgrade("/echo", &format!("Origin: {origin}\r\n"))
        .replace("Host: 127.0.0.1\r\n", &format!("Host: {host}\r\n"));
    ask(server, &request).0
}

#[test]
fn hs_10_only_a_page_of_the_same_host_and_port_connects() {
    let server = Server::start(&[]);
    let port = server.port();
    let host = format!("127.0.0.1:{port}");
    for (origin, status) in [
        (format!("http://127.0.0.1:{port}"), 101),
        // Whether the page came over TLS is not known behind a proxy; host and port are.
        (format!("https://127.0.0.1:{port}"), 101),
        (format!("http://127.0.0.1:{}", port ^ 1), 403),
        ("http://127.0.0.1".to_owned(), 403),
        (format!("http://localhost:{port}"), 403),
        (format!("http://127.0.0.1:{port}.evil.example"), 403),
        (format!("http://evil.example/127.0.0.1:{port}"), 403),
        (format!("file://127.0.0.1:{port}"), 403),
        ("null".to_owned(), 403),
        ("https://evil.example".to_owned(), 403),
        (String::new(), 403),
    ] {
        assert_eq!(handshake(&server, &host, &origin), status, "{origin}");
    }
}

/// A page whose name leads to its own server at first, and here a moment later: same origin to a
/// browser, so only the name tells it apart.
#[test]
fn a_name_that_was_led_here_is_refused_for_everything_it_could_read_or_send() {
    let server = Server::start(&[]);
    let evil = format!("evil.example:{}", server.port());
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {evil}\r\n\r\n"),
        format!("GET /files/x HTTP/1.1\r\nHost: {evil}\r\n\r\n"),
        format!("GET http://{evil}/ HTTP/1.1\r\nHost: {evil}\r\n\r\n"),
        format!(
            "PUT /x HTTP/1.1\r\nHost: {evil}\r\nOrigin: http://{evil}\r\nContent-Length: 1\r\n\r\nx"
        ),
        format!("POST /rooms/r HTTP/1.1\r\nHost: {evil}\r\nContent-Length: 1\r\n\r\nx"),
        "GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n".to_owned(),
    ] {
        let (status, answer) = ask(&server, &request);
        assert_eq!(status, 421, "{request}{answer}");
        assert!(answer.contains("--allow-host NAME"), "{answer}");
    }
    assert_eq!(handshake(&server, &evil, &format!("http://{evil}")), 421);
    assert!(server.published().is_empty());
    // It tells nothing, and is asked by whatever name a proxy has for us.
    for path in ["/healthz", "/livez", "/readyz"] {
        let health = format!("GET {path} HTTP/1.1\r\nHost: {evil}\r\n\r\n");
        assert_eq!(ask(&server, &health).0, 200, "{path}");
    }
}

#[test]
fn addresses_and_local_names_are_allowed_by_default() {
    let server = Server::start(&[]);
    let port = server.port();
    for host in [
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        format!("192.168.1.5:{port}"),
        format!("localhost:{port}"),
        "LocalHost.".to_owned(),
        format!("app.localhost:{port}"),
        format!("nas:{port}"),
        format!("nas.local:{port}"),
        format!("nas.lan:{port}"),
        "nas.home.arpa".to_owned(),
    ] {
        let (status, answer) = ask(&server, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(status, 200, "{host}: {answer}");
    }
    let nameless = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(ask(&server, nameless).0, 200, "no browser leaves it out");
}

#[test]
fn only_the_exact_allowed_host_is_accepted() {
    let server = Server::start(&["--allow-host", "Files.Example.ORG"]);
    for (host, status) in [
        ("files.example.org", 200),
        ("FILES.example.org.:80", 200),
        ("127.0.0.1", 200),
        ("example.org", 421),
        ("a.files.example.org", 421),
        ("files.example.org.evil.example", 421),
    ] {
        let (found, answer) = ask(&server, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(found, status, "{host}: {answer}");
    }
    for wrong in ["http://files.example.org", "files.example.org:80", "*", ""] {
        anyport(&["serve", "--allow-host", wrong]).exits(2).says("expected a host name");
    }
}

#[test]
fn names_of_the_certificate_are_names_of_the_server() {
    let names = ["files.example.org", "*.example.net"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names.to_vec()).unwrap();
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    let file = anyport_testkit::harness::Sample::new("cert.pem", pem.as_bytes());
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--tls-cert", file.path()]);
    for (host, status) in [
        ("files.example.org:8331", 200),
        ("a.example.net", 200),
        ("example.net", 421),
        ("a.b.example.net", 421),
        ("evil.example", 421),
    ] {
        let (found, answer) = ask(&server, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(found, status, "{host}: {answer}");
    }
}

#[test]
fn the_time_listener_checks_the_host_name_too() {
    let server = Server::start_listening(&["time://127.0.0.1:0"], &[]);
    for (host, status) in [("127.0.0.1", 200), ("nas.local", 200), ("evil.example", 421)] {
        let (found, answer) = ask(&server, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(found, status, "{host}: {answer}");
        assert_eq!(answer.contains("--allow-host NAME"), status == 421, "{answer}");
    }
}

/// A client with a token is no rebound page, and may use names that a proxy passes on.
#[test]
fn where_a_token_is_shown_any_name_will_do() {
    let file = anyport_testkit::harness::Sample::new("tokens", b"0123456789abcdef");
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--token-file", file.path()]);
    let request = "GET / HTTP/1.1\r\nHost: files.example.org\r\n";
    let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(ask(&server, &format!("{request}{bearer}\r\n")).0, 200);
    assert_eq!(ask(&server, &format!("{request}\r\n")).0, 401);
}

/// What browsers say of a request that has no `Origin`: an image, a frame, a link, what is loaded
/// ahead of one.
#[test]
fn pi_16_a_page_of_another_origin_leads_to_rooms_and_pipes_and_embeds_neither() {
    let server = Server::start(&["-v", "--allow-origin", "http://friend.example"]);
    let visit = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let image = "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
    let frame = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    let ahead = format!("{visit}Sec-Purpose: prefetch;prerender\r\n");
    let fetched = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n";
    let friend = format!("Origin: http://friend.example\r\n{fetched}");
    for (site, more, allowed) in [
        ("same-origin", image, true),
        ("none", visit, true),
        ("same-site", image, false),
        ("cross-site", image, false),
        ("same-site", frame, false),
        ("cross-site", frame, false),
        ("same-site", fetched, false),
        ("cross-site", "", false),
        ("something-new", "", false),
        ("cross-site", &ahead, false),
        ("same-site", visit, true),
        ("cross-site", visit, true),
        ("cross-site", &friend, true),
    ] {
        for path in ["/pipe/k", "/rooms/r"] {
            let mut stream = connect(server.port());
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: {site}\r\n{more}\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            if allowed && path == "/pipe/k" {
                // It waits, and is given what comes.
                let give = "PUT /pipe/k HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
                assert_eq!(ask(&server, give).0, 200, "{request}");
            }
            let head = read_head(&mut stream);
            let status = if allowed { "HTTP/1.1 200 " } else { "HTTP/1.1 403 " };
            assert!(head.starts_with(status), "{request}{head}");
            if !allowed {
                let reason = server.next_refused()["reason"].to_string();
                assert!(reason.contains("not embed or load it"), "{reason}");
            }
        }
    }
}

/// A real browser, and a page of another port: what its images and frames ask for takes nothing.
#[test]
fn pi_16_a_page_of_another_port_receives_nothing_from_a_pipe() {
    let Some(mut chromium) = peer("chromium") else { return };
    let server = Server::start(&["-v"]);
    let page = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = page.local_addr().unwrap();
    let pipe = format!("http://localhost:{}/pipe/k", server.port());
    let room = format!("http://localhost:{}/rooms/r", server.port());
    let content = format!(
        "<img src={pipe}><iframe src={pipe}></iframe><script src={pipe}></script><img src={room}>"
    );
    // Browsers open connections that they may not need.
    std::thread::spawn(move || {
        for stream in page.incoming().map_while(Result::ok) {
            let content = content.clone();
            std::thread::spawn(move || answer(stream, &content));
        }
    });
    let profile = tempfile::tempdir().unwrap();
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(format!("http://localhost:{}/", address.port()));
    let mut browser = Running::start(chromium, None);
    for _ in 0..4 {
        let refused = server.next_refused();
        assert!(refused["reason"].to_string().contains("not embed or load it"), "{refused}");
    }
    browser.kill();
    assert!(!server.said().contains("pipe receiver connected"), "{}", server.said());
}

/// A page, whatever is asked for.
pub(crate) fn answer(mut stream: TcpStream, content: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        request.push(byte[0]);
    }
    let length = content.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}");
    let _ = stream.write_all(format!("{head}\r\n\r\n{content}").as_bytes());
}
