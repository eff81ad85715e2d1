//! Pages for browsers and for wget: listings that tools can follow, and errors.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyport_testkit::harness::http::{Response, request};
use anyport_testkit::harness::{Running, Server, peer};

/// What Chromium sends.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\n";

const WGET: &str = "User-Agent: Wget/1.25.0\nAccept: */*\n";

/// Names whose characters mean something in a URL, in HTML or to a shell.
const NAMES: [&[u8]; 15] = [
    b"plain.txt",
    b"a b.txt",
    b" leading and trailing ",
    b"50%.txt",
    b"what?.txt",
    b"a#b.txt",
    b"a:b",
    b"it's \"quoted\".txt",
    b"<b>&amp;.txt",
    "größe 한글 🎉.txt".as_bytes(),
    b"caf\xe9.txt",
    b"index.html",
    b"rooms/help",
    b"d e/f%2f/deep.txt",
    b"help",
];

fn fill(directory: &Path) {
    for name in NAMES {
        let path = directory.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name.repeat(100)).unwrap();
    }
}

#[test]
fn wget_mirrors_a_directory_with_all_its_names() {
    let Some(mut wget) = peer("wget") else { return };
    let server = Server::start(&[]);
    fill(server.dir());
    let here = tempfile::tempdir().unwrap();
    // The listings have a name of their own, since a stored file is called index.html.
    wget.args(["-q", "-r", "-np", "-nH", "--restrict-file-names=nocontrol", "--no-iri"]);
    wget.args(["--default-page=listing of wget", "-l", "inf", "--no-proxy"]);
    wget.arg(server.url("http", "files/")).current_dir(here.path());
    Running::start(wget, None).outcome().succeeds();
    for name in NAMES {
        let path = here.path().join("files").join(OsStr::from_bytes(name));
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(found == name.repeat(100), "{path:?}");
    }
}

#[test]
fn a_client_that_cannot_choose_a_type_gets_a_page_only_if_it_is_wget() {
    let server = Server::start(&[]);
    let media = |fields: &str| get(&server, "/", fields).field("Content-Type").to_owned();
    for (fields, expected) in [
        (WGET, "text/html; charset=utf-8"),
        ("User-Agent: Wget\n", "text/html; charset=utf-8"),
        (BROWSER, "text/html; charset=utf-8"),
        ("User-Agent: curl/8.14.1\nAccept: */*\n", "text/plain; charset=utf-8"),
        ("User-Agent: MyWget/1\n", "text/plain; charset=utf-8"),
        ("User-Agent: Wget/1.25.0\nAccept: application/json\n", "application/json"),
        ("User-Agent: Wget/1.25.0\nAccept: text/plain\n", "text/plain; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(media(fields), expected, "{fields}");
    }
}

/// RFC 9110 §12.5.5: a cache must not give the page to a program.
#[test]
fn vary_names_exactly_the_fields_that_a_response_depends_on() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), b"x").unwrap();
    let page = "Accept, Accept-Language, User-Agent";
    for (path, fields, vary) in [
        ("/", BROWSER, page),
        ("/", WGET, page),
        ("/", "", "Accept, User-Agent"),
        ("/", "Accept: application/json\n", "Accept, User-Agent"),
        ("/none", BROWSER, page),
        ("/none", "", "Accept, User-Agent"),
        ("/none", "Accept: application/json\n", "Accept, User-Agent"),
        ("/echo", "", "Accept, User-Agent"),
        ("/x", BROWSER, ""),
        ("/healthz", BROWSER, ""),
        ("/help", BROWSER, "Accept-Language"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = request(server.port(), &format!("{method} {path}"), fields, b"");
            assert_eq!(answer.field("Vary"), vary, "{method} {path} {fields}: {}", answer.head);
            assert_eq!(answer.head.matches("\nVary: ").count(), usize::from(!vary.is_empty()));
        }
    }
}

#[test]
fn a_listing_speaks_the_language_of_the_browser() {
    let server = Server::start(&[]);
    for (language, lang, words) in [
        ("en-US,en;q=0.9", "en", "No files yet."),
        ("ko-KR,ko;q=0.9", "ko", "아직 파일이 없습니다."),
    ] {
        let answer = get(&server, "/", &format!("{BROWSER}Accept-Language: {language}\n"));
        assert_eq!(answer.field("Content-Language"), lang);
        let page = answer.text();
        assert!(
            page.contains(&format!("<html lang=\"{lang}\">")) && page.contains(words),
            "{page}"
        );
    }
}

#[test]
fn a_listing_has_a_form_only_where_clients_may_upload() {
    for (flags, has_form) in [(&[][..], true), (&["--read-only"], false)] {
        let server = Server::start(flags);
        std::fs::create_dir(server.dir().join("d e")).unwrap();
        let answer = get(&server, "/files/d%20e/", BROWSER);
        let page = answer.text();
        assert_eq!(page.contains("<form method=\"post\" "), has_form, "{page}");
        let command = "curl -T FILE http://a/files/d%20e/";
        assert_eq!(page.contains(command), has_form, "{page}");
    }
}

/// A guest sees the form and nothing of others, whether the directory exists or not.
#[test]
fn a_browser_that_may_only_upload_gets_the_form_alone() {
    let server = Server::start(&["--upload-only"]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    std::fs::write(server.dir().join("d/secret"), b"x").unwrap();
    for path in ["/", "/files/d/", "/files/none/"] {
        let answer = get(&server, path, BROWSER);
        let page = answer.text();
        assert_eq!((answer.status(), answer.field("Cache-Control")), (200, "no-cache"), "{page}");
        assert!(page.contains("<form method=\"post\" ") && page.contains("/app.js\""), "{page}");
        assert!(!page.contains("secret") && !page.contains("No files"), "{page}");
        assert_eq!(get(&server, path, "").status(), 403, "{path}");
    }
}

#[test]
fn sizes_are_readable_and_exact_on_a_page() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("large"), vec![0; 3_000_007]).unwrap();
    let page = get(&server, "/", BROWSER).text();
    assert!(page.contains("title=\"3000007 bytes\">3.00 MB</td>"), "{page}");
}

/// One for each kind of refusal: by the resource, the method, access, the name of the host.
#[test]
fn errors_are_pages_for_browsers_and_lines_for_programs() {
    let server = Server::start(&["--max-size", "10"]);
    let upload_only = Server::start(&["--upload-only"]);
    let full = Server::start(&["--quota", "1"]);
    let unmounted = Server::start(&[]);
    std::fs::remove_dir(unmounted.dir()).unwrap();
    for (server, line, fields, content, status) in [
        (&server, "GET /a/none%3Cb%3E", "", &b""[..], 404),
        (&server, "GET /..", "", b"", 400),
        (&server, "DELETE /echo", "", b"", 405),
        (&server, "PUT /large", "", b"more than ten bytes", 413),
        (&server, "PUT /other", "Origin: http://other.example\n", b"x", 403),
        (&server, "PUT /coded", "Content-Encoding: gzip\n", b"x", 415),
        (&server, "GET /pipe/k", "Sec-Fetch-Site: cross-site\n", b"", 403),
        (&upload_only, "GET /files/x", "", b"", 403),
        (&full, "PUT /x", "", b"x", 507),
        (&unmounted, "GET /healthz", "", b"", 503),
    ] {
        let plain = request(server.port(), line, fields, content);
        assert_eq!(plain.status(), status, "{line}: {}", plain.text());
        assert_eq!(plain.field("Content-Type"), "text/plain; charset=utf-8");
        let json = format!("Accept: application/json\n{fields}");
        let json = request(server.port(), line, &json, content);
        assert_eq!((json.status(), json.field("Content-Type")), (status, "application/json"));
        let answer = request(server.port(), line, &format!("{BROWSER}{fields}"), content);
        let page = answer.text();
        assert_eq!(answer.status(), status, "{page}");
        assert_eq!(answer.field("Content-Type"), "text/html; charset=utf-8");
        assert!(page.contains(&format!("<p class=\"code\">{status}</p>")), "{page}");
        let text = plain.text();
        let (reason, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        for text in [reason, hint] {
            let text = text.trim_end().replace('&', "&amp;").replace('<', "&lt;");
            let text = text.replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;");
            assert!(page.contains(&text), "{text} in {page}");
        }
        assert!(page.contains("<a href=\"./\">") || page.contains("<a href=\"../\">"), "{page}");
        let policy = answer.field("Content-Security-Policy");
        assert!(policy.contains("default-src 'none'; script-src a/.anyport/page/ "), "{policy}");
        // All other fields are those that a program gets.
        for name in ["WWW-Authenticate", "Allow", "Retry-After", "Cache-Control"] {
            let line = format!("\n{name}: ");
            assert_eq!(answer.head.contains(&line), plain.head.contains(&line), "{name}");
        }
    }
    let fields = format!("{BROWSER}Host: evil.example\n");
    let wire = format!("GET / HTTP/1.1\n{fields}Connection: close\n\n").replace('\n', "\r\n");
    let mut stream = anyport_testkit::harness::wire::connect(server.port());
    let answer = anyport_testkit::harness::wire::converse(&mut stream, wire.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains(">421</p>"), "{answer}");
}

fn get(server: &Server, path: &str, fields: &str) -> Response {
    request(server.port(), &format!("GET {path}"), fields, b"")
}
