//! `serve --trace DIR`: no route of the server leaves content, messages or secrets in a trace.

use std::io::Write;
use std::net::Shutdown;

use serde_json::{Value, json};

use anyport_testkit::harness::http::{Response, request};
use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::tokens::{ALICE, token_file};
use anyport_testkit::harness::tracing::{CANARY, Tracing};
use anyport_testkit::harness::wire::{
    BINARY, CLOSE, TEXT, close_frame, connect, converse, frame, read_frame, read_head, read_line,
    read_text,
};

/// Asserts that no trace has one of these secrets, and that all of them together have each of
/// `parts`.
#[track_caller]
fn assert_clean(texts: &[String], secrets: &[String], parts: &[&str]) {
    for text in texts {
        for secret in secrets {
            assert!(secret.len() > 8, "{secret}");
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret}: {text}");
        }
    }
    let all = texts.concat();
    for part in parts {
        assert!(all.contains(part), "no {part}: {all}");
    }
}

/// The last segment of a URL.
fn id(url: &str) -> String {
    url.trim_end_matches('/').rsplit('/').next().unwrap().to_owned()
}

#[test]
fn resources_of_http_leave_neither_content_nor_ids() {
    let tokens = token_file(&format!("alice {ALICE} read,write,delete,talk,share\n"));
    let tracing = Tracing::start(&["--token-file", tokens.path()]);
    let port = tracing.server.port();
    let bearer = format!("Authorization: Bearer {ALICE}\n");
    let ask = |line: &str, fields: &str, content: &str, status: u16| -> Response {
        let answer = request(port, line, fields, content.as_bytes());
        assert_eq!(answer.status(), status, "{line}: {}", answer.text());
        answer
    };
    let mut secrets = vec![CANARY.to_owned(), ALICE.to_owned()];
    // A page that signs in, and its cookie.
    let sign_in = json!({ "token": ALICE }).to_string();
    let fields = "Origin: http://a\nContent-Type: application/json\n";
    let answer = ask("POST /.anyport/session", fields, &sign_in, 200);
    let (cookie, _) = answer.field("Set-Cookie").split_once(';').unwrap();
    secrets.push(cookie.split_once('=').unwrap().1.to_owned());
    let of_page = format!("Cookie: {cookie}\nOrigin: http://a\n");
    ask("PUT /page", &of_page, CANARY, 201);
    ask("GET /.anyport/session", &of_page, "", 200);
    ask("DELETE /.anyport/session", &of_page, "", 204);
    // Forms.
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"form\"\r\n\r\n{CANARY}\
         \r\n--b\r\nContent-Disposition: form-data; name=\"comment\"\r\n\r\n{CANARY}\r\n--b--\r\n"
    );
    let media = "Content-Type: multipart/form-data; boundary=b\n";
    ask("POST /", &format!("{bearer}{media}"), &form, 201);
    // Resumable uploads, whose address is enough to continue them.
    let length = CANARY.len();
    let tus = format!("{bearer}Tus-Resumable: 1.0.0\n");
    let created = ask("POST /", &format!("{tus}Upload-Length: {length}\n"), "", 201);
    let location = created.field("Location").to_owned();
    secrets.push(id(&location));
    let media = "Content-Type: application/offset+octet-stream\nUpload-Offset: 0\n";
    ask(&format!("PATCH {location}"), &format!("{tus}{media}"), CANARY, 204);
    let draft = format!("{bearer}Upload-Draft-Interop-Version: 6\n");
    let part = format!("{draft}Upload-Complete: ?0\n");
    let begun = ask("POST /draft", &part, CANARY, 201);
    let location = begun.field("Location").to_owned();
    secrets.push(id(&location));
    let media = "Content-Type: application/partial-upload\nUpload-Complete: ?1\n";
    let rest = format!("{draft}{media}Upload-Offset: {length}\n");
    let done = request(port, &format!("PATCH {location}"), &rest, CANARY.as_bytes());
    assert!([200, 201, 204].contains(&done.status()), "{done:?}");
    // Files, archives, echo, time.
    assert_eq!(ask("GET /page", &bearer, "", 200).text(), CANARY);
    ask("GET /files/?zip", &bearer, "", 200);
    assert!(ask("POST /echo", &bearer, CANARY, 200).text().contains(CANARY));
    ask("GET /time", &bearer, "", 200);
    // Shares: the link to a file, and a drop box.
    for wanted in [json!({ "kind": "file", "path": "page" }), json!({ "kind": "drop" })] {
        let fields = format!("{bearer}Content-Type: application/json\n");
        let made = ask("POST /.anyport/shares", &fields, &wanted.to_string(), 201);
        let made: Value = serde_json::from_slice(&made.content).unwrap();
        let url = made["share"]["url"].as_str().unwrap();
        secrets.push(id(url));
        match wanted["kind"].as_str() {
            Some("file") => assert_eq!(ask(&format!("GET {url}page"), "", "", 200).text(), CANARY),
            _ => drop(ask(&format!("PUT {url}dropped"), "", CANARY, 201)),
        }
    }
    ask("GET /.anyport/shares", &bearer, "", 200);
    // The events of a room, and both ends of a pipe.
    let mut events = connect(port);
    let fields = bearer.replace('\n', "\r\n");
    write!(events, "GET /rooms/lobby HTTP/1.1\r\nHost: a\r\n{fields}\r\n").unwrap();
    assert!(read_head(&mut events).starts_with("HTTP/1.1 200"));
    ask("POST /rooms/lobby", &bearer, CANARY, 200);
    while !read_line(&mut events).contains(CANARY) {}
    drop(events);
    let key = format!("{CANARY}-as-a-key");
    let mut receiver = connect(port);
    write!(receiver, "GET /pipe/{key} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").unwrap();
    ask(&format!("PUT /pipe/{key}"), &bearer, CANARY, 200);
    receiver.shutdown(Shutdown::Write).unwrap();
    assert!(read_text(&mut receiver).contains(CANARY));
    let said = tracing.server.said();
    assert!(!said.contains("without a trace"), "{said}");
    let parts = [
        "multipart/form-data",
        "/.anyport/uploads/[redacted]",
        "receipt: form, ",
        "receipt: draft, ",
        "/.anyport/s/[redacted]",
        "PUT /.anyport/s/[redacted]/dropped",
        "GET /rooms/lobby",
        "/pipe/[redacted]",
        "/.anyport/session",
        "GET /files/?zip",
    ];
    assert_clean(&tracing.stop(), &secrets, &parts);
}

#[test]
fn listeners_of_one_service_leave_no_messages() {
    let listen = ["echo", "time", "greet"].map(|service| format!("{service}://127.0.0.1:0"));
    let tracing = Tracing::start_listening(&listen.each_ref().map(String::as_str));
    let [echo, time, greet] = [0, 1, 2].map(|number| tracing.server.addresses()[number].port());
    let lines = format!("{CANARY}\nANYPORT/1 {CANARY}\n");
    assert_eq!(converse(&mut connect(echo), lines.as_bytes()), lines);
    let request = format!(
        "GET /time HTTP/1.1\r\nHost: localhost\r\nCookie: a={CANARY}\r\nConnection: close\r\n\r\n\
         {CANARY}"
    );
    assert!(converse(&mut connect(time), request.as_bytes()).starts_with("HTTP/1.1 200"));
    converse(&mut connect(greet), lines.as_bytes());
    let texts = tracing.stop();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_clean(&texts, &[CANARY.to_owned()], &["service echo", "service greet", "GET /time"]);
}

#[test]
fn other_protocols_leave_no_content() {
    let tracing = Tracing::start(&["--greeting", "Hello"]);
    let port = tracing.server.port();
    // Headers of the PROXY protocol, which this server does not accept, and what is behind them.
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {CANARY}\r\n\r\n");
    for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"[..], v2] {
        converse(&mut connect(port), &[header, request.as_bytes()].concat());
    }
    // Bare frames with the greeting: messages are shown, content is not.
    let mut stream = connect(port);
    stream.write_all(&frame(0x9, b"anyport/1")).unwrap();
    read_frame(&mut stream);
    stream.write_all(&frame(TEXT, br#"{"offer":{"name":"f"}}"#)).unwrap();
    stream.write_all(&frame(BINARY, CANARY.as_bytes())).unwrap();
    stream.write_all(&frame(TEXT, br#"{"end":{}}"#)).unwrap();
    read_frame(&mut stream);
    stream.write_all(&frame(0x9, CANARY.as_bytes())).unwrap();
    stream.write_all(&close_frame(1000, CANARY)).unwrap();
    while read_frame(&mut stream).0 != CLOSE {}
    drop(stream);
    // The greeting of the preface, and the time.
    converse(&mut connect(port), format!("ANYPORT/1 GREET\n{CANARY}\n").as_bytes());
    converse(&mut connect(port), format!("ANYPORT/1 TIME\n{CANARY}\n").as_bytes());
    // Messages of a member that another one receives, over a reactor thread.
    let mut alice = join(&tracing.server, "lobby as alice json");
    let mut bob = join(&tracing.server, "lobby as bob");
    writeln!(bob, "{CANARY}").unwrap();
    while !read_line(&mut alice).contains(CANARY) {}
    drop((alice, bob));
    let said = tracing.server.said();
    assert!(!said.contains("without a trace"), "{said}");
    let parts = ["PROXY protocol header", r#"\"name\":\"f\""#, "receipt: f, ", "JOIN lobby as bob"];
    assert_clean(&tracing.stop(), &[CANARY.to_owned()], &parts);
}
