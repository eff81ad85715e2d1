//! Pages of other origins that the owner allows: what their browsers may send and read.

use std::net::TcpListener;

use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::tokens::{ALICE, both, guarded};
use anyport_testkit::harness::{Running, Server, node_with, peer};

const FRIEND: &str = "Origin: https://app.example.com\n";

const EVIL: &str = "Origin: https://evil.example\n";

fn friendly(flags: &[&str]) -> Server {
    Server::start(&[&["--allow-origin", "https://app.example.com"], flags].concat())
}

fn preflight(server: &Server, path: &str, method: &str, fields: &str) -> Response {
    let fields = format!("Access-Control-Request-Method: {method}\n{fields}");
    request(server.port(), &format!("OPTIONS {path}"), &fields, b"")
}

fn cors_fields(answer: &Response) -> Vec<String> {
    let fields = answer.head.lines().filter(|line| line.starts_with("Access-Control-"));
    fields.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_without_a_token() {
    let (server, _tokens) = guarded(&["--allow-origin", "https://app.example.com"]);
    for (path, methods) in [
        ("/", "GET, HEAD, PUT, POST, "),
        ("/files/a", "GET, HEAD, PUT, POST, "),
        ("/rooms/r", "GET, HEAD, POST, OPTIONS"),
        ("/pipe/k", "GET, PUT, POST, OPTIONS"),
        ("/echo", "POST, OPTIONS"),
        ("/.anyport/uploads/0", "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = preflight(&server, path, "PUT", FRIEND);
        assert_eq!((answer.status(), answer.text().as_str()), (204, ""), "{path}: {}", answer.head);
        assert_eq!(answer.field("Access-Control-Allow-Origin"), "https://app.example.com");
        let found = answer.field("Access-Control-Allow-Methods");
        assert!(found.starts_with(methods), "{path}: {found}");
        assert_eq!(answer.field("Access-Control-Max-Age"), "600");
        assert_eq!(answer.field("Vary"), "Origin");
        let allowed: Vec<&str> = answer.field("Access-Control-Allow-Headers").split(", ").collect();
        for field in [
            "authorization",
            "content-type",
            "content-range",
            "if-none-match",
            "range",
            "repr-digest",
            "want-repr-digest",
            "tus-resumable",
            "upload-checksum",
            "upload-complete",
            "upload-defer-length",
            "upload-draft-interop-version",
            "upload-incomplete",
            "upload-length",
            "upload-metadata",
            "upload-offset",
            "x-anyport-mtime",
            "x-http-method-override",
        ] {
            assert!(allowed.contains(&field), "{field} in {allowed:?}");
        }
        assert!(!allowed.contains(&"*") && !allowed.contains(&"cookie"), "{allowed:?}");
        assert!(!answer.head.contains("Private-Network"), "{}", answer.head);
        assert!(!answer.head.contains("Allow-Credentials"), "{}", answer.head);
    }
    let fields = format!("{FRIEND}Access-Control-Request-Private-Network: true\n");
    let answer = preflight(&server, "/", "PUT", &fields);
    assert_eq!(answer.field("Access-Control-Allow-Private-Network"), "true");
    // Without the field of a preflight it is an ordinary request, which needs a token.
    assert_eq!(request(server.port(), "OPTIONS /", FRIEND, b"").status(), 401);
}

#[test]
fn another_origin_is_refused_and_learns_nothing() {
    for flags in [&["--allow-origin", "https://app.example.com"][..], &[]] {
        let server = Server::start(flags);
        std::fs::write(server.dir().join("x"), "secret").unwrap();
        for origin in [EVIL, "Origin: null\n", "Origin: http://app.example.com\n"] {
            let two = format!("{FRIEND}{origin}");
            for fields in [origin, &two] {
                let answer = preflight(&server, "/x", "PUT", fields);
                assert_eq!(answer.status(), 403, "{fields}: {}", answer.head);
                assert_eq!(cors_fields(&answer), Vec::<String>::new(), "{}", answer.head);
                let answer = request(server.port(), "PUT /y", fields, b"content");
                assert_eq!((answer.status(), cors_fields(&answer).len()), (403, 0));
                // A browser does not let the page read it.
                let answer = request(server.port(), "GET /x", fields, b"");
                assert_eq!((answer.status(), cors_fields(&answer).len()), (200, 0));
                assert_eq!(answer.field("Cross-Origin-Resource-Policy"), "same-origin");
            }
        }
        assert_eq!(server.published(), ["x"]);
    }
}

/// Errors too: a page must be able to tell that its token is wrong.
#[test]
fn an_allowed_page_reads_each_response_and_its_fields() {
    let server = friendly(&[]);
    let (closed, _tokens) = guarded(&["--allow-origin", "https://app.example.com"]);
    std::fs::write(server.dir().join("x"), "content").unwrap();
    let tus = "Tus-Resumable: 1.0.0\nUpload-Length: 3\nUpload-Metadata: filename dA==\n";
    for (server, line, fields, content, status, exposed) in [
        (&server, "PUT /a", "", &b"abc"[..], 201, &["location"][..]),
        (&server, "POST /files/", tus, b"", 201, &["location", "tus-resumable", "upload-expires"]),
        (
            &server,
            "GET /x",
            "Range: bytes=0-1\n",
            b"",
            206,
            &["accept-ranges", "content-range", "etag"],
        ),
        (&server, "GET /", "", b"", 200, &[]),
        (&server, "GET /none", "", b"", 404, &[]),
        (&server, "DELETE /echo", "", b"", 405, &["allow"]),
        (&server, "GET /rooms/r", "Accept: application/json\n", b"", 200, &[]),
        (&server, "GET /healthz", "", b"", 200, &[]),
        (&closed, "GET /", "", b"", 401, &["www-authenticate"]),
        (
            &closed,
            "PUT /a",
            "Authorization: Bearer wrong-token-0123456789\n",
            b"x",
            401,
            &["www-authenticate"],
        ),
    ] {
        let answer = request(server.port(), line, &format!("{FRIEND}{fields}"), content);
        assert_eq!(answer.status(), status, "{line}: {}", answer.text());
        assert_eq!(answer.field("Access-Control-Allow-Origin"), "https://app.example.com");
        assert_eq!(answer.field("Cross-Origin-Resource-Policy"), "cross-origin");
        let found: Vec<&str> = answer.field("Access-Control-Expose-Headers").split(", ").collect();
        for field in exposed {
            assert!(found.contains(field), "{line}: {field} in {found:?}");
        }
        assert!(answer.field("Vary").split(", ").any(|name| name == "Origin"), "{}", answer.head);
        assert!(!answer.head.contains("Allow-Credentials"), "{}", answer.head);
        // A cache must not give an answer for one origin to another, or to none.
        let plain = request(server.port(), line, fields, content);
        assert_eq!(cors_fields(&plain), Vec::<String>::new(), "{}", plain.head);
        assert!(plain.field("Vary").split(", ").any(|name| name == "Origin"), "{}", plain.head);
    }
    let url = server.url("http", "x");
    let flags = ["-H", FRIEND.trim_end(), "-D", "-", "--http2-prior-knowledge", &url];
    if let Some((said, _)) = curl_says(&flags) {
        assert!(said.contains("access-control-allow-origin: https://app.example.com"), "{said}");
    }
}

/// A real browser, and a page of another port with the client that @uppy/tus uses.
#[test]
fn a_page_of_an_allowed_origin_uploads_by_tus_with_a_token() {
    let Some(mut chromium) = peer("chromium") else { return };
    let Some(node) = node_with("tus-js-client") else { return };
    let tus = node.get_current_dir().unwrap().join("node_modules/tus-js-client/dist/tus.min.js");
    let tus = std::fs::read_to_string(tus).unwrap();
    let pages = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", pages.local_addr().unwrap());
    let tokens = both();
    let server = Server::start(&["--token-file", tokens.path(), "--allow-origin", &origin]);
    let content = format!(
        "<script>{tus}</script><script>
        new tus.Upload(new Blob(['content of a page']), {{
            endpoint: 'http://127.0.0.1:{}/files/',
            headers: {{ Authorization: 'Bearer {ALICE}' }},
            metadata: {{ filename: 'page.txt' }},
            chunkSize: 7,
        }}).start()</script>",
        server.port()
    );
    std::thread::spawn(move || {
        for stream in pages.incoming().map_while(Result::ok) {
            let content = content.clone();
            std::thread::spawn(move || super::origin::answer(stream, &content));
        }
    });
    let profile = tempfile::tempdir().unwrap();
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]);
    chromium.arg("--no-proxy-server");
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).arg(&origin);
    let mut browser = Running::start(chromium, None);
    let receipt = server.next_receipt();
    assert_eq!(receipt["path"], "page.txt", "{receipt}");
    assert_eq!(server.stored(&receipt), b"content of a page");
    browser.kill();
}
