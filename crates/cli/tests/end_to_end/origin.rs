//! Pages of others: their origins, and the names that lead their browsers here.

use crate::harness::{Server, anyport};
use crate::http::statuses;
use crate::wire::{connect, converse, upgrade};

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

/// A page whose name leads to its own server at first, and here a moment later: same origin to a browser, so only the name
/// tells it apart.
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
    let health = format!("GET /healthz HTTP/1.1\r\nHost: {evil}\r\n\r\n");
    assert_eq!(ask(&server, &health).0, 200);
}

#[test]
fn addresses_and_local_names_are_ours_without_being_told() {
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
    ] {
        let (status, answer) = ask(&server, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(status, 200, "{host}: {answer}");
    }
    let nameless = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(ask(&server, nameless).0, 200, "no browser leaves it out");
}

#[test]
fn a_name_that_is_allowed_is_ours_and_its_likes_are_not() {
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
        anyport(&["serve", "--allow-host", wrong]).exits(2).says("expected the name of a host");
    }
}

/// Whoever can show a token is no page that was led here, and reaches a server by names as a proxy gives them.
#[test]
fn where_a_token_is_shown_any_name_will_do() {
    use std::os::unix::fs::PermissionsExt;
    let file = crate::harness::Sample::new("tokens", b"0123456789abcdef");
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--token-file", file.path()]);
    let request = "GET / HTTP/1.1\r\nHost: files.example.org\r\n";
    let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(ask(&server, &format!("{request}{bearer}\r\n")).0, 200);
    assert_eq!(ask(&server, &format!("{request}\r\n")).0, 401);
}
