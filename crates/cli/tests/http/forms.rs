//! Files that forms send (`multipart/form-data`): by curl, by browsers, and by Python.

use std::io::{Read, Write};

use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::wire::connect;
use anyport_testkit::harness::{Running, Sample, Server, assert_same_bytes, python_with};
use anyport_testkit::noise;
use serde_json::Value;

/// More than a socket holds.
const LARGE: usize = 5_000_011;

/// The media type of forms as a field.
const MEDIA: &str = "Content-Type: multipart/form-data; boundary=----WebKitFormBoundaryA1\n";

/// A part as Chromium writes it.
fn part(file_name: &str, content: &str) -> String {
    format!(
        "------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"{file_name}\"\r\nContent-Type: application/octet-stream\r\n\r\n{content}\r\n"
    )
}

const LAST: &str = "------WebKitFormBoundaryA1--\r\n";

fn post(server: &Server, path: &str, fields: &str, content: &str) -> Response {
    let fields = format!("{MEDIA}{fields}");
    request(server.port(), &format!("POST {path}"), &fields, content.as_bytes())
}

fn stored(server: &Server, name: &str) -> String {
    std::fs::read_to_string(server.dir().join(name)).unwrap()
}

#[test]
fn curl_stores_all_files_of_a_form_over_every_version_of_http() {
    let (one, two) = (noise(LARGE, 31), b"two".to_vec());
    let first = Sample::new("one ü.bin", &one);
    let second = Sample::new("two.txt", &two);
    let forms = [format!("file=@{}", first.path()), format!("file=@{}", second.path())];
    for (scheme, flags) in [
        ("http", &["--http1.1"][..]),
        ("http", &["--http2-prior-knowledge"]),
        ("https", &["-k", "--http1.1"]),
        ("https", &["-k", "--http2"]),
    ] {
        let server = Server::start(&[]);
        let url = server.url(scheme, "files/d/");
        let form = ["-F", &forms[0], "-F", "comment=hi", "-F", &forms[1], &url];
        let Some((said, status)) = curl_says(&[flags, &form[..]].concat()) else { return };
        assert_eq!(status, 201, "{said}");
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("d/one ü.bin stored: 5.00 MB in "), "{said}");
        assert!(lines[1].starts_with("d/two.txt stored: 3 B in "), "{said}");
        assert_eq!(lines[2..], ["comment: ignored, it has no file"], "{said}");
        for (name, content) in [("d/one ü.bin", &one), ("d/two.txt", &two)] {
            assert_eq!(server.next_receipt()["path"], name);
            assert_same_bytes(&std::fs::read(server.dir().join(name)).unwrap(), content);
        }
    }
}

#[test]
fn a_form_of_one_file_is_answered_like_a_put() {
    let server = Server::start(&[]);
    let answer = post(&server, "/", "", &format!("{}{LAST}", part("a b.txt", "hello")));
    assert_eq!((answer.status(), answer.field("Location")), (201, "/files/a%20b.txt"));
    assert!(answer.text().starts_with("a b.txt stored: 5 B in "), "{}", answer.text());
    assert_eq!(stored(&server, "a b.txt"), "hello");
    let sample = Sample::new("x", b"piped");
    let form = format!("file=@{};filename=d/name.txt", sample.path());
    let Some((said, status)) = curl_says(&["-F", &form, &server.url("http", "")]) else { return };
    assert_eq!((status, stored(&server, "d/name.txt").as_str()), (201, "piped"), "{said}");
}

/// A page of this server that sent the form shows the files.
#[test]
fn a_browser_is_led_to_the_listing_and_may_send_directories() {
    let server = Server::start(&[]);
    let own = format!("Origin: http://127.0.0.1:{}\nHost: 127.0.0.1:{0}\n", server.port());
    let own = own.lines().next().unwrap().to_owned() + "\n";
    let form = format!("{}{}{LAST}", part("photos/a&quot;.jpg", "a"), part("photos/d/b.jpg", "b"));
    let html = "Accept: text/html,*/*;q=0.8\n";
    let answer = post(&server, "/files/in/", html, &form);
    assert_eq!((answer.status(), answer.field("Location")), (303, "./"), "{}", answer.head);
    assert_eq!(stored(&server, "in/photos/d/b.jpg"), "b");
    assert_eq!(stored(&server, "in/photos/a&quot;.jpg"), "a");
    // Without a chosen file a browser sends an empty name.
    let none = format!("{}{LAST}", part("", ""));
    let answer = post(&server, "/", html, &none);
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(answer.text().contains("the form has no file"), "{}", answer.text());
    for origin in [own.replace("127.0.0.1", "evil.example"), "Origin: null\n".to_owned()] {
        let answer = post(&server, "/", &origin, &format!("{}{LAST}", part("evil", "x")));
        assert_eq!(answer.status(), 403, "{}", answer.text());
    }
    assert!(!server.published().contains(&"evil".to_owned()));
}

#[test]
fn a_refused_file_of_a_form_is_named_and_the_others_are_stored() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("here"), "old").unwrap();
    let form = [
        part("a", "1"),
        part("", "no").replace("filename=\"\"", "filename=\"/\""),
        part("../../up", "2"),
        part("here", "3"),
        part("b", "4"),
    ]
    .concat();
    let fields = "Accept: application/json\nIf-None-Match: *\n";
    let answer = post(&server, "/d/", fields, &format!("{}{LAST}", part("d/", "x")));
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let answer = post(&server, "/", fields, &format!("{form}{LAST}"));
    let found: Value = serde_json::from_str(&answer.text()).unwrap();
    let files = found["files"].as_array().unwrap();
    assert_eq!(files[0]["receipt"]["path"], "a", "{found}");
    assert_eq!(files[1]["name"], "/", "{found}");
    assert_eq!(files[1]["error"]["code"], "bad-name", "{found}");
    // As with PUT, a name that is not permitted is changed.
    assert_eq!(files[2]["receipt"]["path"], "up", "{found}");
    assert_eq!(files[3]["error"]["code"], "exists", "{found}");
    assert_eq!(files[4]["receipt"]["path"], "b", "{found}");
    // The status is that of the first refusal.
    assert_eq!(answer.status(), 400, "{}", answer.head);
    assert_eq!((stored(&server, "here").as_str(), server.published().len()), ("old", 4));
    let answer = post(&server, "/", "If-None-Match: *\n", &format!("{}{LAST}", part("a", "5")));
    assert_eq!(answer.status(), 412, "{}", answer.text());
    assert!(answer.text().starts_with("a: a exists"), "{}", answer.text());
    assert_eq!(stored(&server, "a"), "1");
}

#[test]
fn an_incomplete_form_stores_its_complete_files_only() {
    let server = Server::start(&[]);
    let form = format!("{}{}", part("whole", "1"), part("half", "2"));
    let form = form.strip_suffix("\r\n").unwrap();
    for fields in ["", "Accept: application/json\n"] {
        let answer = post(&server, "/", fields, form);
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert!(answer.text().contains("ends without its last boundary"), "{}", answer.text());
        server.next_receipt();
        assert_eq!(server.next_interrupted()["name"], "half");
    }
    let mut stream = connect(server.port());
    let head = format!("POST / HTTP/1.1\nHost: a\n{MEDIA}Content-Length: 10000\n\n");
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
    stream.write_all(form.as_bytes()).unwrap();
    assert!(server.next_receipt()["path"].as_str().unwrap().starts_with("whole"));
    drop(stream);
    assert_eq!(server.next_interrupted()["name"], "half");
    assert_eq!(server.published(), ["whole", "whole-1", "whole-2"]);
}

#[test]
fn a_form_that_is_not_valid_is_refused_with_the_rule() {
    let server = Server::start(&[]);
    let limit = format!("{}{LAST}", part("a", "x").repeat(1001));
    let long = format!("{}{LAST}", part(&"a".repeat(5000), "x"));
    let coded =
        part("a", "eA==").replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    let coded = format!("{coded}{LAST}");
    for (path, form, status, rule) in [
        ("/", "", 400, "without its last boundary"),
        ("/", long.as_str(), 400, "more than 4096 bytes"),
        ("/", limit.as_str(), 400, "more than 1000 parts"),
        ("/", coded.as_str(), 403, "base64 is not supported"),
        ("/%zz/", LAST, 400, "%zz"),
        ("/file", LAST, 415, "to a directory"),
    ] {
        let answer = post(&server, path, "", form);
        let text = answer.text();
        assert!(answer.status() == status && text.contains(rule), "{}\n{text}", answer.head);
    }
    let fields = "Content-Type: multipart/form-data\n";
    let answer = request(server.port(), "POST /", fields, b"x");
    assert!(answer.text().contains("has no boundary"), "{}", answer.text());
    let fields = "Content-Type: application/x-www-form-urlencoded\n";
    let answer = request(server.port(), "POST /", fields, b"x=y");
    assert!(answer.status() == 415 && answer.text().contains("curl -F"), "{}", answer.text());
    let reader = Server::start(&["--read-only"]);
    let answer = post(&reader, "/", "", &format!("{}{LAST}", part("a", "x")));
    assert!(answer.status() == 403 && answer.text().contains("--read-only"), "{}", answer.text());
}

/// Results are kept until the end of the form, so they count as memory of the client.
#[test]
fn the_results_of_a_form_are_within_the_memory_of_its_client() {
    let server = Server::start(&["--max-buffered", "1MiB"]);
    let form = |count| format!("{}{LAST}", part(&"n".repeat(200), "").repeat(count));
    let answer = post(&server, "/", "", &form(10));
    assert_eq!(answer.status(), 201, "{}", answer.text());
    let answer = post(&server, "/", "", &form(1000));
    let text = answer.text();
    assert_eq!(answer.status(), 503, "{text}");
    assert!(text.contains("memory limit for the results of forms reached"), "{text}");
    // The files before it are stored, and have their receipts.
    let receipts = text.lines().filter(|line| line.contains(" stored: ")).count();
    assert_eq!(server.published().len(), receipts + 10, "{text}");
    // Without a file too.
    let field = part("", "x").repeat(1000);
    let answer = post(&server, "/", "", &format!("{field}{LAST}"));
    assert_eq!(answer.status(), 503, "{}", answer.text());
}

#[test]
fn content_of_a_form_that_is_in_no_stored_file_has_a_limit() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("here"), "old").unwrap();
    let large = "x".repeat(100_000);
    for (first, fields, status) in [
        // A field, and a file that is refused.
        (part("", &large).replace("; filename=\"\"", ""), "", 413),
        (part("here", &large), "If-None-Match: *\n", 412),
    ] {
        let form = format!("{}{first}{}{LAST}", part("before", "1"), part("behind", "2"));
        let answer = post(&server, "/", fields, &form);
        let text = answer.text();
        assert_eq!(answer.status(), status, "{text}");
        assert!(text.contains("more than 65536 bytes of the form are in no stored file"), "{text}");
        assert_eq!(stored(&server, "before"), "1");
        assert!(!server.published().contains(&"behind".to_owned()), "{text}");
        std::fs::remove_file(server.dir().join("before")).unwrap();
    }
}

/// The minimum rate is that of the whole form, not only of its files.
#[test]
fn a_form_has_a_minimum_rate() {
    let server = Server::start(&["--min-upload-rate", "1000"]);
    let mut stream = connect(server.port());
    let head = format!("POST / HTTP/1.1\nHost: a\n{MEDIA}Content-Length: 10000\n\n");
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
    let field = part("", "").replace("; filename=\"\"", "");
    stream.write_all(field.trim_end().as_bytes()).unwrap();
    stream.write_all(b"\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let mut answer = [0; 2000];
    let count = loop {
        if let Ok(count) = stream.read(&mut answer) {
            break count;
        }
        stream.write_all(b"x").unwrap();
    };
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("less than the server's minimum of 1000 bytes"), "{answer}");
}

#[test]
fn python_requests_sends_forms() {
    let Some(mut python) = python_with("requests") else { return };
    let server = Server::start(&[]);
    let program = "import requests, sys\n\
                   files = [('f', ('ü.txt', b'one')), ('f', ('a\"b', b'two'))]\n\
                   print(requests.post(sys.argv[1], files=files, data={'x': 'y'}).status_code)";
    python.args(["-c", program, &server.url("http", "")]);
    let outcome = Running::start(python, None).outcome().succeeds();
    assert_eq!(outcome.stdout.trim(), "201");
    assert_eq!((stored(&server, "ü.txt"), stored(&server, "a\"b")), ("one".into(), "two".into()));
}
