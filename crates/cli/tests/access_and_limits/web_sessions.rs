//! How a page signs in, and what its cookie permits: as much as the token, and only to pages of
//! this server.

use std::io::Write;

use serde_json::Value;

use anyport_testkit::harness::http::{Response, curl_says, request, statuses};
use anyport_testkit::harness::tokens::{ALICE, BOB, ask, guarded, token_file};
use anyport_testkit::harness::wire::{
    TEXT, connect, frame, read_close, read_frame, read_head, read_text, upgrade,
};
use anyport_testkit::harness::{Running, Server, python_with, wait_until};

const SESSION: &str = "/.anyport/session";

/// A page of the host `a`, which [`request`] names.
struct Page<'a> {
    server: &'a Server,
    /// The line with the cookie, or nothing.
    cookie: String,
}

impl<'a> Page<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, cookie: String::new() }
    }

    #[track_caller]
    fn signed_in(server: &'a Server, token: &str) -> Self {
        let mut page = Self::new(server);
        let answer = page.sign_in(token);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        page
    }

    fn sign_in(&mut self, token: &str) -> Response {
        let content = serde_json::json!({ "token": token }).to_string();
        let fields = "Origin: http://a\nContent-Type: application/json\n";
        let answer = self.sends("POST", SESSION, fields, content.as_bytes());
        if let Some((cookie, _)) = answer.field("Set-Cookie").split_once(';') {
            self.cookie = format!("Cookie: {cookie}\n");
        }
        answer
    }

    fn sends(&self, method: &str, path: &str, fields: &str, content: &[u8]) -> Response {
        let (line, fields) = (format!("{method} {path}"), format!("{}{fields}", self.cookie));
        request(self.server.port(), &line, &fields, content)
    }

    fn status(&self, method: &str, path: &str, fields: &str) -> u16 {
        let content = if ["PUT", "POST"].contains(&method) { &b"x"[..] } else { b"" };
        self.sends(method, path, fields, content).status()
    }

    fn knows(&self) -> Value {
        json(&self.sends("GET", SESSION, "", b""))
    }
}

fn json(answer: &Response) -> Value {
    let text = answer.text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const OWN: &str = "Origin: http://a\n";

#[test]
fn a_page_signs_in_once_and_its_cookie_stands_for_the_token() {
    let file = token_file(&format!("alice {ALICE} read,write /own\nbob {BOB}\n"));
    let server = Server::start(&["--token-file", file.path(), "--max-size", "1000"]);
    std::fs::create_dir(server.dir().join("own")).unwrap();
    let mut page = Page::new(&server);
    let before = page.knows();
    assert_eq!((&before["rights"], &before["signed_in"]), (&serde_json::json!([]), &false.into()));
    assert_eq!((&before["token_required"], &before["user"]), (&true.into(), &Value::Null));
    assert_eq!(page.status("GET", "/own/", ""), 401);
    let answer = page.sign_in(&format!(" {ALICE}\n"));
    assert_eq!((answer.status(), answer.field("Cache-Control")), (200, "no-store"));
    let cookie = answer.field("Set-Cookie").to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    let (name, id) = pair.split_once('=').unwrap();
    assert!(name.starts_with("anyport-") && name.len() == 16 && id.len() == 64, "{cookie}");
    assert!(!cookie.contains(ALICE) && !answer.text().contains(id), "{}", answer.text());
    for known in [json(&answer), page.knows()] {
        let expected = serde_json::json!({
            "token_required": true, "user": "alice", "rights": ["read", "write"], "scope": "own",
            "signed_in": true, "encrypted": false, "protocol": "http/1.1", "tls_here": true,
            "fingerprint": known["fingerprint"], "max_size": 1000, "renames": false, "room": false,
            "address": "http://a/", "mode": "open", "version": env!("CARGO_PKG_VERSION"),
            "commands": {
                "curl": "curl -u :TOKEN -T FILE http://a/files/own/",
                "anyport": "anyport send --token-file TOKENFILE FILE a/own/",
            },
        });
        assert_eq!(known, expected);
        assert!(known["fingerprint"].as_str().unwrap().starts_with("sha256:"), "{known}");
    }
    // A shared cache must not answer the next person with what a cookie permits.
    let listing = page.sends("GET", "/own/", "", b"");
    assert_eq!((listing.status(), listing.field("Cache-Control")), (200, "no-cache"));
    assert_eq!(page.status("PUT", "/own/x", OWN), 201);
    assert_eq!(page.status("PUT", "/other", OWN), 403);
    assert_eq!(page.status("POST", "/rooms/lobby", OWN), 403);
    let first = page.cookie.clone();
    // A new session, and not the id that the browser had: another page may have set that.
    page.sign_in(BOB);
    assert_ne!(page.cookie, first);
    assert_eq!(page.knows()["user"], "bob");
    let old = Page { server: &server, cookie: first };
    assert_eq!(old.status("GET", "/own/", ""), 401);
    let ended = page.sends("DELETE", SESSION, OWN, b"");
    assert_eq!(ended.status(), 204);
    assert_eq!(ended.field("Set-Cookie"), format!("{name}=; Max-Age=0; {attributes}"));
    assert_eq!(page.status("GET", "/", ""), 401);
    assert_eq!(server.published(), ["own"]);
}

#[test]
fn without_tokens_the_page_knows_what_it_may_do_and_needs_no_session() {
    for (flags, mode, rights, commands) in [
        (
            &[][..],
            "open",
            &["read", "write", "talk"][..],
            r#"{"curl":"curl -T FILE http://a/","nc":"nc -N a 80 < FILE","anyport":"anyport send FILE a/"}"#,
        ),
        (
            &["--read-only"],
            "read-only",
            &["read", "talk"],
            r#"{"curl":"curl -O http://a/files/NAME","anyport":"anyport get a/NAME"}"#,
        ),
        (
            &["--upload-only", "--only", "http"],
            "upload-only",
            &["write", "talk"],
            r#"{"curl":"curl -T FILE http://a/","anyport":"anyport send FILE http://a/"}"#,
        ),
        (
            &["--base-path", "/share"],
            "open",
            &["read", "write", "talk"],
            r#"{"curl":"curl -T FILE http://a/share/","anyport":"anyport send FILE http://a/share/"}"#,
        ),
    ] {
        let server = Server::start(flags);
        let mut page = Page::new(&server);
        let known = page.knows();
        assert_eq!(known["mode"], mode);
        assert_eq!(known["rights"], serde_json::json!(rights));
        assert_eq!(known["commands"], serde_json::from_str::<Value>(commands).unwrap(), "{mode}");
        assert_eq!((&known["token_required"], &known["signed_in"]), (&false.into(), &false.into()));
        assert_eq!(known["renames"], mode == "upload-only");
        let answer = page.sign_in(ALICE);
        assert_eq!((answer.status(), answer.field("Set-Cookie")), (200, ""));
    }
}

/// Every request that changes something, or opens a WebSocket, with the origins that are not this
/// server's, and with none.
#[test]
fn a_cookie_changes_nothing_without_the_origin_of_this_server() {
    let file = token_file(&format!("alice {ALICE} read,write,delete,talk,share,admin\n"));
    let friend = "http://friend.example";
    let server = Server::start(&["--token-file", file.path(), "--allow-origin", friend]);
    std::fs::write(server.dir().join("kept"), b"kept").unwrap();
    let page = Page::signed_in(&server, ALICE);
    let origins = [
        "",
        "Origin: null\n",
        "Origin: http://friend.example\n",
        "Origin: http://evil.example\n",
        "Origin: http://a:8080\n",
        "Origin: http://b.a\n",
        "Origin: http://a.\n",
        "Origin: http://a\nOrigin: http://a\n",
        "Origin: http://a, http://a\n",
    ];
    for (method, path, fields) in [
        ("PUT", "/x", ""),
        ("PUT", "/kept", ""),
        ("POST", "/", "Content-Type: multipart/form-data; boundary=b\n"),
        ("POST", "/files/y", "Upload-Length: 1\n"),
        ("PATCH", "/.anyport/uploads/0", ""),
        ("DELETE", "/kept", ""),
        ("MKCOL", "/z/", ""),
        ("MOVE", "/kept", "Destination: /moved\n"),
        ("POST", "/rooms/lobby", ""),
        ("POST", "/pipe/k", ""),
        ("POST", "/echo", ""),
        ("DELETE", SESSION, ""),
        ("POST", SESSION, "Content-Type: application/json\n"),
    ] {
        for origin in origins {
            let status = page.status(method, path, &format!("{fields}{origin}"));
            assert_eq!(status, 403, "{method} {path} {origin:?}");
        }
    }
    for path in ["/", "/files/x", "/echo", "/rooms/lobby"] {
        let opened = |origin: &str| {
            let fields = format!("{}{origin}", page.cookie).replace('\n', "\r\n");
            let wire = upgrade(path, &fields).replace("Host: 127.0.0.1", "Host: a");
            let mut stream = connect(server.port());
            stream.write_all(wire.as_bytes()).unwrap();
            statuses(&read_head(&mut stream))[0]
        };
        for origin in origins {
            assert_eq!(opened(origin), 403, "{path} {origin:?}");
        }
        assert_eq!(opened(OWN), 101, "{path}");
    }
    assert_eq!(server.published(), ["kept"]);
    assert!(page.knows()["signed_in"] == true);
    // The other page has its own token, and what it may send does not depend on cookies.
    let own = format!("Authorization: Bearer {ALICE}\nOrigin: {friend}\n");
    assert_eq!(page.status("PUT", "/x", &own), 201);
    for (method, path, status) in [("PUT", "/y", 201), ("POST", "/rooms/lobby", 200)] {
        assert_eq!(page.status(method, path, OWN), status, "{method} {path}");
    }
}

/// Without a proof it may be an image on a page of another port, which browsers send cookies for.
#[test]
fn a_cookie_enters_no_room_and_no_pipe_for_an_unknown_page() {
    let (server, _file) = guarded(&[]);
    let page = Page::signed_in(&server, ALICE);
    let json = "Accept: application/json\n";
    for (fields, status) in [
        ("", 403),
        ("Sec-Fetch-Site: same-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\n", 403),
        ("Sec-Fetch-Site: cross-site\n", 403),
        ("Sec-Fetch-Site: same-origin\nOrigin: http://a:1\n", 403),
        ("Sec-Fetch-Site: same-origin\n", 200),
        ("Sec-Fetch-Site: none\n", 200),
        ("X-Requested-With: XMLHttpRequest\n", 200),
        (OWN, 200),
    ] {
        let found = page.status("GET", "/rooms/lobby", &format!("{json}{fields}"));
        assert_eq!(found, status, "{fields:?}");
        if status == 403 {
            assert_eq!(page.status("GET", "/pipe/k", fields), 403, "{fields:?}");
        }
    }
    // What changes nothing needs no proof: a person followed a link.
    assert_eq!(page.status("GET", "/", ""), 200);
    assert_eq!(page.status("HEAD", "/", ""), 200);
}

#[test]
fn a_token_in_a_field_wins_over_the_cookie() {
    let (server, _file) = guarded(&[]);
    let page = Page::signed_in(&server, ALICE);
    let with = |token: &str| format!("Authorization: Bearer {token}\n");
    let known = json(&page.sends("GET", SESSION, &with(BOB), b""));
    assert_eq!((&known["user"], &known["signed_in"]), (&"bob".into(), &true.into()));
    assert_eq!(page.status("PUT", "/x", &with(BOB)), 201);
    for wrong in ["wrong-wrong-wrong-wrong", "short"] {
        assert_eq!(page.status("GET", "/", &with(wrong)), 401);
        assert_eq!(page.status("GET", SESSION, &with(wrong)), 401);
    }
}

#[test]
fn an_unknown_or_repeated_cookie_is_a_missing_token_and_no_guess() {
    let (server, _file) = guarded(&[]);
    let page = Page::signed_in(&server, ALICE);
    let (name, id) = page.cookie["Cookie: ".len()..].trim_end().split_once('=').unwrap();
    for cookie in [
        format!("{name}={}", "0".repeat(64)),
        format!("{name}="),
        format!("{name}={id}0"),
        format!("{name}={ALICE}"),
        format!("anyport-00000000={id}"),
        format!("__Host-{name}={id}"),
        // One of them may be of another port or domain.
        format!("{name}={id}; {name}={id}"),
        format!("{name}={id}; x=y; {name}={}", "0".repeat(64)),
        format!("{name}={id}\nCookie: {name}={id}"),
    ] {
        let page = Page { server: &server, cookie: format!("Cookie: {cookie}\n") };
        for _ in 0..3 {
            assert_eq!(page.status("GET", "/", ""), 401, "{cookie}");
        }
        assert_eq!(page.knows()["rights"], serde_json::json!([]), "{cookie}");
        assert_eq!(page.status("PUT", "/x", ""), 401, "{cookie}");
    }
    for cookies in [format!("x=\u{e4}; {name}={id}; y"), format!("a=b\nCookie: {name}={id}")] {
        let page = Page { server: &server, cookie: format!("Cookie: {cookies}\n") };
        assert_eq!(page.status("GET", "/", ""), 200, "{cookies}");
    }
    // Cookies of other ports may fill the head, which then has its own status.
    let large = format!("x={}; {name}={id}", "y".repeat(20_000));
    let page = Page { server: &server, cookie: format!("Cookie: {large}\n") };
    assert_eq!(page.status("GET", "/", ""), 431);
}

#[test]
fn a_session_ends_with_its_token_and_a_running_upload_is_stored() {
    let file = token_file(&format!("alice {ALICE}\nbob {BOB}\n"));
    let server = Server::start(&["--token-file", file.path()]);
    let page = Page::signed_in(&server, ALICE);
    let signed_out = Page::signed_in(&server, BOB);
    let begun = [(&page, "x"), (&signed_out, "y")].map(|(page, name)| {
        let fields = format!("{}{OWN}", page.cookie).replace('\n', "\r\n");
        let mut stream = connect(server.port());
        let head = format!(
            "PUT /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Both are admitted before the session and the token end.
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 100 "));
        stream.write_all(b"hel").unwrap();
        (stream, name)
    });
    assert_eq!(signed_out.status("DELETE", SESSION, OWN), 204);
    std::fs::write(file.path(), format!("bob {BOB}\n")).unwrap();
    server.signal("HUP");
    server.says("reload");
    wait_until("the new tokens", || (page.status("GET", "/", "") == 401).then_some(()));
    for (mut stream, name) in begun {
        stream.write_all(b"lo").unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        assert_eq!(std::fs::read(server.dir().join(name)).unwrap(), b"hello");
    }
    for _ in 0..20 {
        assert_eq!(page.status("GET", "/", ""), 401);
    }
    assert_eq!(Page::signed_in(&server, BOB).knows()["user"], "bob");
}

#[test]
fn guesses_of_pages_are_counted_with_all_others() {
    let (server, _file) = guarded(&[]);
    let signed_in = Page::signed_in(&server, ALICE);
    let mut page = Page::new(&server);
    for guess in 0..10 {
        let answer = page.sign_in(&format!("wrong-wrong-wrong-{guess}"));
        assert_eq!((answer.status(), answer.field("Set-Cookie")), (401, ""));
        let error = &json(&answer)["error"];
        assert_eq!(
            (&error["code"], &error["message"]),
            (&"unauthorized".into(), &"invalid token".into())
        );
    }
    let answer = page.sign_in(ALICE);
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert_eq!(json(&answer)["error"]["code"], "busy");
    assert_eq!(signed_in.status("GET", "/", ""), 429);
}

#[test]
fn content_of_a_sign_in_is_a_token_and_bounded() {
    let (server, _file) = guarded(&["--message-timeout", "1s"]);
    let page = Page::new(&server);
    let sends = |media: &str, content: &[u8]| {
        let fields = format!("{OWN}Content-Type: {media}\n");
        page.sends("POST", SESSION, &fields, content)
    };
    let form = "application/x-www-form-urlencoded";
    for (media, content, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", "{\"tokens\":1}".to_owned(), 400),
        ("application/json", "{\"token\":1}".to_owned(), 400),
        ("application/json; charset=utf-8", "{\"token\":\"short\"}".to_owned(), 401),
        ("application/json", format!("{{\"token\":\"{ALICE}\"{}}}", " ".repeat(4096)), 413),
        (form, "tokens=x".to_owned(), 400),
        (form, "token=%zz".to_owned(), 400),
        (form, "token=".to_owned(), 401),
        (form, format!("token={ALICE}&x={}", "x".repeat(4096)), 413),
        ("text/plain", format!("token={ALICE}"), 415),
    ] {
        let answer = sends(media, content.as_bytes());
        assert_eq!(answer.status(), status, "{content}: {}", answer.text());
        assert!(!answer.text().contains(ALICE), "{}", answer.text());
    }
    let fields = format!("{OWN}Content-Type: {form}\nTransfer-Encoding: chunked\n");
    let chunk = [b"1001\r\n", &[b'x'; 4097][..], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(page.sends("POST", SESSION, &fields, &chunk).status(), 413);
    // A slow one is refused after the time of a message, however often a byte comes.
    let head = format!(
        "POST {SESSION} HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nContent-Type: {form}\r\n\
         Content-Length: 4000\r\n\r\n"
    );
    let mut stream = connect(server.port());
    stream.write_all(head.as_bytes()).unwrap();
    let mut slow = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        while slow.write_all(b"x").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let answer = read_text(&mut stream);
    assert_eq!(statuses(&answer), [408], "{answer}");
    drop(stream);
    sending.join().unwrap();
}

/// A browser would cover the page with its dialog; programs need the challenge.
#[test]
fn browsers_get_a_form_and_programs_a_challenge() {
    let (server, _file) = guarded(&[]);
    let page = Page::new(&server);
    let firefox = "User-Agent: Mozilla/5.0 (X11)\nAccept: text/html,*/*;q=0.8\n";
    for (fields, has_dialog, has_form) in [
        ("", true, false),
        ("User-Agent: curl/8.7.1\nAccept: */*\n", true, false),
        ("User-Agent: Wget/1.25.0\nAccept: */*\n", true, false),
        ("User-Agent: w3m/0.5.3\nAccept: text/html, text/*;q=0.5\n", true, false),
        ("Accept: application/json\n", true, false),
        ("X-Requested-With: XMLHttpRequest\n", false, false),
        ("X-Requested-With: XMLHttpRequest\nAccept: application/json\n", false, false),
        (firefox, false, true),
        ("Accept: text/html\n", false, true),
    ] {
        let answer = page.sends("GET", "/a/b", fields, b"");
        assert_eq!(answer.status(), 401, "{fields}");
        assert_eq!(answer.head.contains("Basic realm="), has_dialog, "{fields}: {}", answer.head);
        assert!(answer.head.contains("Bearer realm="), "{fields}: {}", answer.head);
        assert_eq!(answer.text().contains("<form "), has_form, "{fields}: {}", answer.text());
    }
    let answer = page.sends("GET", "/a/b", firefox, b"");
    let text = answer.text();
    assert!(text.contains("<form method=\"post\" action=\"../.anyport/session\">"), "{text}");
    assert!(text.contains("name=\"token\" type=\"password\" autocomplete=\"current-password\""));
    assert!(text.contains("<label for=\"token\">Token</label>"), "{text}");
    assert!(answer.field("Content-Security-Policy").contains("form-action 'self'"));
    assert_eq!(answer.field("Referrer-Policy"), "same-origin");
    let korean = page.sends("GET", "/", &format!("{firefox}Accept-Language: ko\n"), b"").text();
    assert!(korean.contains("<label for=\"token\">토큰</label>"), "{korean}");
    // A page opens a WebSocket without a field of its own.
    for (origin, has_dialog) in [("", true), ("Origin: http://127.0.0.1\r\n", false)] {
        let answer = ask(&server, &upgrade("/echo", origin));
        assert_eq!(statuses(&answer), [401], "{answer}");
        assert_eq!(answer.contains("Basic realm="), has_dialog, "{origin}: {answer}");
    }
}

#[test]
fn the_form_warns_where_others_can_read_the_token() {
    let (server, _file) = guarded(&[]);
    for (host, more, warns) in [
        ("nas.lan:8331", "", true),
        ("192.168.1.5:8331", "", true),
        ("127.0.0.1.evil.example", "", true),
        ("localhost:8331", "", false),
        ("127.0.0.1:8331", "", false),
        ("[::1]:8331", "", false),
        // A browser states it to https and to its own machine only.
        ("files.example", "Sec-Fetch-Mode: navigate\r\n", false),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let page = ask(&server, &format!("{head}Accept: text/html\r\n{more}\r\n"));
        assert!(page.contains("<form "), "{page}");
        assert_eq!(page.contains("This connection is not encrypted"), warns, "{host}: {page}");
    }
}

/// curl keeps cookies as browsers do: over HTTP/1.1, HTTP/2 and TLS, and for other ports too.
#[test]
fn curl_signs_in_by_the_form_and_keeps_the_cookie() {
    let (server, _file) = guarded(&[]);
    let (other, _other_file) = guarded(&[]);
    let scratch = tempfile::tempdir().unwrap();
    let jar = scratch.path().join("jar");
    let jar = jar.to_str().unwrap();
    for (scheme, flags) in [
        ("http", &[][..]),
        ("http", &["--http2-prior-knowledge"]),
        ("https", &["-k", "--http1.1"]),
        ("https", &["-k", "--http2"]),
    ] {
        let _ = std::fs::remove_file(jar);
        let url = |path: &str| server.url(scheme, path);
        let origin = format!("Origin: {}", url("").trim_end_matches('/'));
        let form = format!("token={}", BOB.replace('%', "%25").replace('+', "%2B"));
        let says = |more: &[&str]| {
            curl_says(&[&["-b", jar, "-c", jar], flags, more].concat()).map(|said| said.1)
        };
        let sign_in = url(".anyport/session");
        let Some(status) = says(&["-d", &form, &sign_in]) else { return };
        assert_eq!(status, 403, "{flags:?}");
        assert_eq!(says(&["-d", "token=wrong", "-H", &origin, &sign_in]), Some(401));
        assert_eq!(says(&["-d", &form, "-H", &origin, &sign_in]), Some(303), "{flags:?}");
        let kept = std::fs::read_to_string(jar).unwrap();
        assert_eq!(kept.contains("__Host-anyport-"), scheme == "https", "{kept}");
        assert!(!kept.contains("token="), "{kept}");
        assert_eq!(says(&[&url("")]), Some(200), "{flags:?}");
        assert_eq!(says(&["-X", "POST", "-d", "x", &url("echo")]), Some(403));
        assert_eq!(says(&["-d", "x", "-H", &origin, &url("echo")]), Some(200), "{flags:?}");
        // The browser sends it there as well, where it is the cookie of another server.
        let status = says(&[&other.url(scheme, "")]);
        assert_eq!(status, Some(401), "{flags:?}");
        // A page over plain HTTP can be anybody's on the way.
        if scheme == "https" {
            let plain = origin.replace("https", "http");
            assert_eq!(says(&["-d", "x", "-H", &plain, &url("echo")]), Some(403), "{flags:?}");
        }
        assert_eq!(says(&["-X", "DELETE", "-H", &origin, &sign_in]), Some(204));
        assert_eq!(says(&[&url("")]), Some(401), "{flags:?}");
    }
}

#[test]
fn a_cookie_of_plain_http_is_none_under_tls() {
    let (server, _file) = guarded(&[]);
    let host = format!("127.0.0.1:{}", server.port());
    let content = format!("{{\"token\":\"{ALICE}\"}}");
    let fields = ["-H", "Content-Type: application/json", "-d", &content, "-D", "-"];
    let signed_in = |scheme: &str| {
        let (origin, url) = (format!("Origin: {scheme}://{host}"), server.url(scheme, SESSION));
        let url = url.replace("//.anyport", "/.anyport");
        let (said, status) = curl_says(&[&fields[..], &["-k", "-H", &origin, &url]].concat())?;
        assert_eq!(status, 200, "{said}");
        let cookie = said.lines().find_map(|line| line.split_once("et-cookie: "))?.1;
        Some(cookie.split_once(';')?.0.to_owned())
    };
    let Some(plain) = signed_in("http") else { return };
    let encrypted = signed_in("https").unwrap();
    for (scheme, cookie, status) in [
        ("http", &plain, 200),
        ("https", &encrypted, 200),
        ("https", &plain, 401),
        ("http", &encrypted, 401),
    ] {
        let cookie = format!("Cookie: {cookie}");
        let said = curl_says(&["-k", "-H", &cookie, &server.url(scheme, "")]).unwrap();
        assert_eq!(said.1, status, "{scheme} {cookie}: {}", said.0);
    }
}

/// A page is that of the address in the browser, which only a trusted proxy may state.
#[test]
fn a_page_behind_a_trusted_proxy_has_the_address_of_the_proxy() {
    let flags = ["--trusted-proxy", "127.0.0.1", "--base-path", "/share"];
    let (server, _file) = guarded(&flags);
    let forwarded = "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\n\
                     X-Forwarded-Host: Files.example\n";
    let form = "Content-Type: application/x-www-form-urlencoded\n";
    let visitor = Page::new(&server);
    let mut page = Page::new(&server);
    let sign_in = |origin: &str, referrer: &str| {
        let fields = format!(
            "{forwarded}{form}Origin: {origin}\nReferer: https://files.example{referrer}\n"
        );
        visitor.sends("POST", SESSION, &fields, format!("token={ALICE}").as_bytes())
    };
    for origin in ["http://files.example", "https://a", "http://a", "https://files.example:8443"] {
        assert_eq!(sign_in(origin, "/share/").status(), 403, "{origin}");
    }
    for (referrer, location) in [
        ("/share/", "/share/"),
        ("/share/a%20b/?zip", "/share/a%20b/?zip"),
        ("/share//evil.example/", "/share/"),
        ("/share/.anyport/session", "/share/"),
        ("/other/", "/share/"),
        ("//evil.example/share/", "/share/"),
        ("/share/\\evil.example/", "/share/"),
        ("", "/share/"),
    ] {
        let answer = sign_in("https://files.example", referrer);
        assert_eq!(answer.status(), 303, "{}", answer.text());
        assert_eq!(answer.field("Location"), location, "{referrer}");
        let cookie = answer.field("Set-Cookie").to_owned();
        assert!(cookie.starts_with("__Host-anyport-") && cookie.contains("; Secure"), "{cookie}");
        page.cookie = format!("Cookie: {}\n", cookie.split_once(';').unwrap().0);
    }
    let known = json(&page.sends("GET", SESSION, forwarded, b""));
    assert_eq!((&known["encrypted"], &known["signed_in"]), (&true.into(), &true.into()));
    assert_eq!((&known["tls_here"], &known["fingerprint"]), (&false.into(), &Value::Null));
    assert_eq!(known["address"], "https://Files.example/share/");
    let put = |origin: &str| page.status("PUT", "/share/x", &format!("{forwarded}{origin}"));
    assert_eq!([put("Origin: https://files.example\n"), put("Origin: https://a\n")], [201, 403]);
    // The form of a page at the base path itself would lead out of it.
    let answer = visitor.sends("GET", "/share", "Accept: text/html\n", b"");
    assert_eq!((answer.status(), answer.field("Location")), (302, "/share/"));
    // Without the proxy it is the cookie of another address.
    assert_eq!(page.status("GET", "/share/", ""), 401);
}

/// Another name of this server is another origin, for which a browser has no cookie. Without tokens
/// only pages of the server's own names may read the rights of every client.
#[test]
fn a_rebound_name_has_no_session_and_learns_nothing_of_an_open_server() {
    let open = Server::start(&[]);
    let head = "Host: evil.example\r\nConnection: close\r\n\r\n";
    let answer = ask(&open, &format!("GET {SESSION} HTTP/1.1\r\n{head}"));
    assert_eq!(statuses(&answer), [421], "{answer}");
    let (server, _file) = guarded(&[]);
    let page = Page::signed_in(&server, ALICE);
    let fields = format!("{}Origin: http://evil.example\n", page.cookie).replace('\n', "\r\n");
    let request = format!("GET / HTTP/1.1\r\n{fields}{head}");
    assert_eq!(statuses(&ask(&server, &request)), [401]);
    // Nor is there an origin without a name.
    let old = format!("{}{OWN}", page.cookie).replace('\n', "\r\n");
    for line in ["GET /", "DELETE /x"] {
        let answer = ask(&server, &format!("{line} HTTP/1.0\r\n{old}\r\n"));
        assert_eq!(statuses(&answer), [401], "{answer}");
    }
}

/// A page of an allowed origin on another port of this host sends the cookie, as both are one site.
#[test]
fn a_page_of_an_allowed_origin_reads_nothing_by_the_cookie() {
    let friend = "http://a:8080";
    let (server, _file) = guarded(&["--allow-origin", friend]);
    let page = Page::signed_in(&server, ALICE);
    let answer = page.sends("GET", "/", &format!("Origin: {friend}\n"), b"");
    assert_eq!(answer.field("Access-Control-Allow-Origin"), friend);
    assert_eq!(answer.field("Access-Control-Allow-Credentials"), "");
    let asks = "Access-Control-Request-Method: PUT\nAccess-Control-Request-Headers: cookie\n";
    let answer = page.sends("OPTIONS", "/x", &format!("Origin: {friend}\n{asks}"), b"");
    assert_eq!(answer.field("Access-Control-Allow-Credentials"), "");
    assert!(!answer.field("Access-Control-Allow-Headers").contains("cookie"), "{}", answer.head);
}

#[test]
fn no_cookie_and_no_token_is_in_the_log() {
    let (server, _file) = guarded(&["-v", "--log-format", "json"]);
    let page = Page::signed_in(&server, ALICE);
    page.status("PUT", "/x", OWN);
    page.status("PUT", "/x", "");
    page.status("GET", "/nothing", "");
    let mut guess = Page::new(&server);
    guess.sign_in("wrong-wrong-wrong-wrong");
    server.says("\"user\":\"alice\"");
    wait_until("the connections", || {
        (server.said().matches("bytes_out").count() > 4).then_some(())
    });
    let (name, id) = page.cookie["Cookie: ".len()..].trim_end().split_once('=').unwrap();
    for secret in [name, id, ALICE, "wrong-wrong"] {
        assert!(!server.said().contains(secret), "{secret}: {}", server.said());
    }
    assert!(!format!("{:?}", server.stop()).contains(id));
}

#[test]
fn a_python_session_and_its_websocket_use_the_cookie() {
    const SCRIPT: &str = r#"
import sys, requests
from websockets.sync.client import connect
from websockets.exceptions import InvalidStatus
host = "127.0.0.1:" + sys.argv[1]
url, origin = "http://" + host, {"Origin": "http://" + host}
page = requests.Session()
page.trust_env = False
assert page.get(url + "/").status_code == 401
known = page.post(url + "/.anyport/session", json={"token": sys.argv[2]}, headers=origin)
assert known.json()["signed_in"], known.text
assert page.get(url + "/").status_code == 200
assert page.put(url + "/x", data=b"x").status_code == 403
assert page.put(url + "/x", data=b"x", headers=origin).status_code == 201
cookie = "; ".join(f"{c.name}={c.value}" for c in page.cookies)
def echo(more, **options):
    try:
        with connect("ws://" + host + "/echo", proxy=None, additional_headers=more, **options) as ws:
            ws.send("hello")
            return ws.recv()
    except InvalidStatus as error:
        return error.response.status_code
assert echo({"Cookie": cookie}, origin=origin["Origin"]) == "hello"
assert echo({"Cookie": cookie}) == 403
assert echo({"Cookie": cookie}, origin="http://127.0.0.1:1") == 403
assert echo({}, origin=origin["Origin"]) == 401
assert page.delete(url + "/.anyport/session", headers=origin).status_code == 204
assert not page.cookies and page.get(url + "/").status_code == 401
"#;
    let Some(mut python) = python_with("requests, websockets.sync.client") else { return };
    let (server, _file) = guarded(&[]);
    python.args(["-c", SCRIPT, &server.port().to_string(), ALICE]);
    Running::start(python, None).outcome().succeeds();
}

#[test]
fn a_live_connection_needs_the_origin_of_its_page_and_ends_with_its_session() {
    let (server, _tokens) = guarded(&[]);
    let page = Page::signed_in(&server, ALICE);
    let open = |origin: &str| {
        let fields = format!("{}{origin}", page.cookie).replace('\n', "\r\n");
        let mut stream = connect(server.port());
        let handshake = upgrade("/.anyport/live", &fields).replace("Host: 127.0.0.1", "Host: a");
        stream.write_all(handshake.as_bytes()).unwrap();
        let status = read_head(&mut stream)[9..12].to_owned();
        (status, stream)
    };
    for other in ["", "Origin: null\n", "Origin: http://a:1\n", "Origin: http://b\n"] {
        assert_eq!(open(other).0, "403", "{other:?}");
    }
    let (status, mut live) = open(OWN);
    assert_eq!(status, "101");
    live.write_all(&frame(TEXT, br#"{"list":{"path":""}}"#)).unwrap();
    assert_eq!(read_frame(&mut live).0, TEXT);
    assert_eq!(page.status("DELETE", SESSION, OWN), 204);
    let (code, reason) = read_close(&mut live);
    assert_eq!((code, &*reason), (Some(1008), "the token or the session has ended"));
}

/// A browser writes the host in the same way in `Host` and `Origin`, and a proxy need not.
#[test]
fn the_origin_is_that_of_the_host_whatever_its_case_and_port() {
    let (server, _file) = guarded(&[]);
    for (host, origin, status) in [
        ("[::1]:8331", "http://[::1]:8331", 200),
        ("[::1]:8331", "http://[::2]:8331", 403),
        ("NAS.lan:8331", "http://nas.lan:8331", 200),
        ("nas.lan:80", "http://nas.lan", 200),
        ("nas.lan", "http://nas.lan:80", 200),
        ("nas.lan.:8331", "http://nas.lan.:8331", 200),
        ("nas.lan.:8331", "http://nas.lan:8331", 403),
        ("nas.lan:8331", "http://nas.lan:8331/", 403),
        ("nas.lan:8331", "http://x@nas.lan:8331", 403),
        ("", "http://", 403),
    ] {
        let content = format!("{{\"token\":\"{ALICE}\"}}");
        let head = format!("HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n");
        let media = format!("Content-Type: application/json\r\nContent-Length: {}", content.len());
        let answer = ask(&server, &format!("POST {SESSION} {head}{media}\r\n\r\n{content}"));
        assert_eq!(statuses(&answer), [status], "{host} {origin}: {answer}");
        let Some((_, cookie)) = answer.split_once("Set-Cookie: ") else { continue };
        let cookie = cookie.split(';').next().unwrap();
        let head = head.to_ascii_lowercase().replace("http/1.1", "HTTP/1.1");
        let answer = ask(&server, &format!("DELETE {SESSION} {head}Cookie: {cookie}\r\n\r\n"));
        assert_eq!(statuses(&answer), [204], "{host}: {answer}");
    }
}

/// HTTP/2 splits cookies into fields (RFC 9113 §8.2.3).
#[test]
fn a_cookie_among_others_counts_over_http2() {
    let (server, _file) = guarded(&[]);
    let (page, url) = (Page::signed_in(&server, ALICE), server.url("http", ""));
    let cookie = page.cookie.trim_end();
    for (fields, status) in [
        (&["-H", "Cookie: a=b", "-H", cookie, "-H", "Cookie: c=d"][..], 200),
        (&["-H", cookie, "-H", cookie], 401),
        (&["-H", "Cookie: a=b"], 401),
    ] {
        let more = ["--http2-prior-knowledge", "-H", "Host: a", &url];
        let Some((said, found)) = curl_says(&[fields, &more].concat()) else { return };
        assert_eq!(found, status, "{fields:?}: {said}");
    }
}
