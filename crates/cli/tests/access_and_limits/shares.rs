//! Links to one file, and drop boxes (docs/share.md): what their holders can do, and nothing else.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::tokens::{ALICE, BOB, token_file};
use anyport_testkit::harness::wire::{connect, converse, read_head};
use anyport_testkit::harness::{Running, Sample, Server, anyport_command, blake3, wait_until};
use serde_json::{Value, json};

const ALLOW: &[&str] = &["--allow", "share"];
const STATE: &str = ".anyport-shares";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\n")
}

/// Creates a share; returns the response.
fn ask(server: &Server, fields: &str, wanted: &Value) -> Response {
    request(server.port(), "POST /.anyport/shares", fields, wanted.to_string().as_bytes())
}

/// Creates a share; returns its description, which has its `url`.
#[track_caller]
fn share(server: &Server, fields: &str, wanted: &Value) -> Value {
    let created = ask(server, fields, wanted);
    assert_eq!(
        (created.status(), created.field("Cache-Control")),
        (201, "no-store"),
        "{created:?}"
    );
    let json: Value = serde_json::from_slice(&created.content).unwrap();
    json["share"].clone()
}

fn url(share: &Value) -> &str {
    share["url"].as_str().unwrap()
}

fn link_to(server: &Server, path: &str) -> String {
    url(&share(server, "", &json!({ "kind": "file", "path": path }))).to_owned()
}

fn drop_box(server: &Server, more: &Value) -> Value {
    let mut wanted = json!({ "kind": "drop" });
    for (key, value) in more.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    share(server, "", &wanted)
}

fn get(server: &Server, path: &str, fields: &str) -> Response {
    request(server.port(), &format!("GET {path}"), fields, b"")
}

fn put(server: &Server, path: &str, content: &[u8]) -> Response {
    request(server.port(), &format!("PUT {path}"), "", content)
}

fn listed(server: &Server, fields: &str) -> Vec<Value> {
    let listed = get(server, "/.anyport/shares", fields);
    assert_eq!(listed.status(), 200, "{listed:?}");
    let json: Value = serde_json::from_slice(&listed.content).unwrap();
    json["shares"].as_array().unwrap().clone()
}

fn id_of(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap()
}

#[track_caller]
fn assert_private(response: &Response) {
    for (field, value) in [
        ("Cache-Control", "no-store"),
        ("X-Robots-Tag", "noindex"),
        ("Referrer-Policy", "same-origin"),
    ] {
        assert_eq!(response.field(field), value, "{response:?}");
    }
}

#[test]
fn a_link_leads_to_one_file_and_to_nothing_else() {
    let server = Server::start(ALLOW);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    std::fs::write(server.dir().join("d/a b.txt"), b"hello").unwrap();
    std::fs::write(server.dir().join("d/other.txt"), b"secret").unwrap();
    let made = share(&server, "", &json!({ "kind": "file", "path": "d/a b.txt" }));
    assert_eq!((&made["name"], &made["path"]), (&"a-b.txt".into(), &"d/a b.txt".into()));
    let url = url(&made);
    assert_eq!(id_of(url).len(), 43, "256 bits: {url}");
    let file = format!("{url}a%20b.txt");

    let page = get(&server, url, "Accept: text/html\n");
    assert_private(&page);
    let text = page.text();
    for part in [
        "a b.txt",
        "5 B",
        "5 bytes",
        blake3(b"hello").split_once(':').unwrap().1,
        "href=\"a%20b.txt\" download",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("other.txt") && !text.contains("d/a"), "{text}");
    let korean = get(&server, url, "Accept: text/html\nAccept-Language: ko\n");
    assert!(korean.text().contains("내려받기"), "{korean:?}");
    assert!(get(&server, url, "").text().contains(&format!("curl -O http://a{file}")));
    let described: Value =
        serde_json::from_slice(&get(&server, url, "Accept: application/json\n").content).unwrap();
    assert_eq!(described["share"]["size"], 5);

    let whole = get(&server, &file, "Want-Repr-Digest: sha-256=1\n");
    assert_eq!((whole.status(), &whole.content[..]), (200, &b"hello"[..]));
    assert!(whole.field("Repr-Digest").starts_with("sha-256=:"), "{whole:?}");
    assert_private(&whole);
    let part = get(&server, &file, "Range: bytes=1-3\n");
    assert_eq!((part.status(), &part.content[..]), (206, &b"ell"[..]));
    let tag = format!("If-None-Match: {}\n", whole.field("ETag"));
    assert_eq!(get(&server, &file, &tag).status(), 304);
    let head = request(server.port(), &format!("HEAD {file}"), "", b"");
    assert_eq!((head.status(), head.field("Content-Length")), (200, "5"));

    let bare = get(&server, url.trim_end_matches('/'), "");
    assert_eq!((bare.status(), bare.field("Location")), (302, url));
    for other in
        ["d/", "other.txt", "d/other.txt", "../", "%2e%2e/", "..%2Fother.txt", "a%20b.txt/"]
    {
        let response = get(&server, &format!("{url}{other}"), "Accept: text/html\n");
        assert_eq!(response.status(), 404, "{other}: {response:?}");
        assert!(!response.text().contains("d/a"), "{response:?}");
    }
    for query in ["?zip", "?tar"] {
        assert_ne!(get(&server, &format!("{url}{query}"), "").content.get(..2), Some(&b"PK"[..]));
    }
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        let response = request(server.port(), &format!("{method} {file}"), "", b"");
        let status = response.status();
        assert!(status == 405 || (method == "DELETE" && status == 400), "{method}: {response:?}");
    }
    let options = request(server.port(), &format!("OPTIONS {url}"), "", b"");
    assert_eq!(options.field("Allow"), "GET, HEAD, OPTIONS");
    assert_eq!(std::fs::read(server.dir().join("d/a b.txt")).unwrap(), b"hello");
}

#[test]
fn a_link_is_for_the_content_that_it_was_made_for() {
    let server = Server::start(ALLOW);
    let at = server.dir().join("a.txt");
    std::fs::write(&at, b"hello").unwrap();
    let url = link_to(&server, "a.txt");
    let file = format!("{url}a.txt");
    assert_eq!(get(&server, &file, "").status(), 200);
    let aside = server.dir().join("b.txt");
    std::fs::rename(&at, &aside).unwrap();
    let gone = |why: &str| {
        for path in [&url, &file] {
            let response = get(&server, path, "");
            assert_eq!(response.status(), 410, "{why}: {response:?}");
            assert!(response.text().contains("the file was changed or removed"), "{response:?}");
            assert!(!response.text().contains("a.txt"), "{response:?}");
        }
    };
    gone("renamed");
    std::fs::write(&at, b"other").unwrap();
    gone("replaced");
    std::fs::rename(&aside, &at).unwrap();
    assert_eq!(get(&server, &file, "").status(), 200, "it is back");
    std::fs::write(&at, b"hello, changed").unwrap();
    gone("changed");
}

#[test]
fn a_link_works_after_a_restart_over_http2_tls_and_below_a_base_path() {
    let scratch = tempfile::tempdir().unwrap();
    let identity = scratch.path().join("identity");
    let directory = scratch.path().join("served");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("a.txt"), b"hello").unwrap();
    let identity = identity.to_str().unwrap();
    let flags = &["--allow", "share", "--base-path", "/below", "--tls-dir", identity];
    let before = Server::start_in(&directory, &["127.0.0.1:0"], flags);
    let url = link_to(&before, "a.txt");
    assert!(url.starts_with("/below/.anyport/s/"), "{url}");
    let redirect = get(&before, url.trim_end_matches('/'), "");
    assert_eq!((redirect.status(), redirect.field("Location")), (302, &*url));
    before.stop();
    let server = Server::start_in(&directory, &["127.0.0.1:0"], flags);
    for (scheme, version) in
        [("http", "--http1.1"), ("http", "--http2-prior-knowledge"), ("https", "--http2")]
    {
        let file = server.url(scheme, &format!("{}a.txt", &url[1..]));
        let Some((said, status)) = curl_says(&["-k", version, &file]) else { return };
        assert_eq!((said.as_str(), status), ("hello", 200), "{scheme} {version}");
    }
}

#[test]
fn an_id_is_in_no_file_log_event_or_metric() {
    let tokens = token_file(&format!("alice {ALICE} read,write,share,admin\n"));
    let flags = ["--token-file", tokens.path(), "--metrics", "-vvv"];
    let server = Server::start(&flags);
    std::fs::write(server.dir().join("a.txt"), b"hello").unwrap();
    let alice = bearer(ALICE);
    let file = share(&server, &alice, &json!({ "kind": "file", "path": "a.txt" }));
    let drop = share(&server, &alice, &json!({ "kind": "drop" }));
    let (file, drop) = (url(&file).to_owned(), url(&drop).to_owned());
    for url in [&file, &drop] {
        for rest in ["", "a.txt", "nothing", ".anyport/uploads/0", "%zz"] {
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "BREW", "OPTIONS"] {
                request(server.port(), &format!("{method} {url}{rest}"), "", b"");
            }
            let upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
            get(&server, &format!("{url}{rest}"), &format!("{upgrade}{alice}"));
        }
    }
    let (file, drop) = (id_of(&file).to_owned(), id_of(&drop).to_owned());
    let metrics = get(&server, "/metrics", &alice).text();
    assert!(metrics.contains("anyport_refusals_total"), "{metrics}");
    let state = server.dir().join(STATE);
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    let state = std::fs::read_to_string(state).unwrap();
    let names = server.names().join(" ");
    let status = listed(&server, &alice);
    server.says("share:");
    let log = server.said();
    let events = server.stop();
    let texts = [metrics, state, names, json!(status).to_string(), log, json!(events).to_string()];
    for text in texts {
        assert!(!text.contains(&file) && !text.contains(&drop), "{text}");
        assert!(!text.contains(&file[..12]), "{text}");
    }
}

#[test]
fn the_state_file_is_not_reachable_and_a_broken_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--allow", "share,delete"];
    let server = Server::start_in(directory.path(), &["127.0.0.1:0"], &flags);
    std::fs::write(directory.path().join("a.txt"), b"hello").unwrap();
    let url = link_to(&server, "a.txt");
    for path in [format!("/{STATE}"), format!("/files/{STATE}"), "/%2eanyport-shares".to_owned()] {
        for method in ["GET", "PUT", "DELETE"] {
            let content: &[u8] = if method == "PUT" { b"{}" } else { b"" };
            let response = request(server.port(), &format!("{method} {path}"), "", content);
            assert!(!response.text().contains("\"hash\""), "{method} {path}: {response:?}");
        }
    }
    for listing in ["/", "/?tar", "/?zip"] {
        let content = get(&server, listing, "").content;
        // The name of an upload that asks for it is changed.
        for name in [" .anyport-shares", "/.anyport-shares"] {
            let is_there = content.windows(name.len()).any(|bytes| bytes == name.as_bytes());
            assert!(!is_there, "{listing}");
        }
    }
    assert_eq!(get(&server, &url, "").status(), 200, "no request changed the file");
    server.stop();
    std::fs::write(directory.path().join(STATE), b"broken").unwrap();
    let server = Server::start_in(directory.path(), &["127.0.0.1:0"], &flags);
    server.says("cannot read .anyport-shares in the served directory");
    let refused = ask(&server, "", &json!({ "kind": "file", "path": "a.txt" }));
    assert_eq!(refused.status(), 500, "{refused:?}");
    assert_eq!(get(&server, "/a.txt", "").status(), 200);
    server.stop();
    assert_eq!(std::fs::read(directory.path().join(STATE)).unwrap(), b"broken");
}

#[test]
fn a_second_server_of_a_directory_has_no_links_until_the_first_ends() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), b"hello").unwrap();
    let start = || Server::start_in(directory.path(), &["127.0.0.1:0"], ALLOW);
    let first = start();
    let url = link_to(&first, "a.txt");
    let revoked = share(&first, "", &json!({ "kind": "file", "path": "a.txt" }));
    let second = start();
    second.says("cannot use .anyport-shares in the served directory: another server has it");
    let refused = ask(&second, "", &json!({ "kind": "file", "path": "a.txt" }));
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(get(&second, &url, "").status(), 404);
    let path = format!("DELETE /.anyport/shares/{}", revoked["name"].as_str().unwrap());
    assert_eq!(request(first.port(), &path, "", b"").status(), 204);
    first.stop();
    wait_until("the links of the first server", || (listed(&second, "").len() == 1).then_some(()));
    assert_eq!(get(&second, &url, "").status(), 200);
    assert_eq!(get(&second, revoked["url"].as_str().unwrap(), "").status(), 410);
    link_to(&second, "a.txt");
}

#[test]
fn uploads_without_content_do_not_fill_a_drop_box() {
    let server = Server::start(ALLOW);
    let made = drop_box(&server, &json!({}));
    let url = url(&made);
    let create = || {
        let fields = "Tus-Resumable: 1.0.0\nUpload-Length: 600000000\n\
                      Upload-Metadata: filename YS5iaW4=\n";
        request(server.port(), &format!("POST {url}"), fields, b"")
    };
    for attempt in 1..=3 {
        let created = create();
        assert_eq!(created.status(), 201, "{attempt}: {created:?}");
        let shares = listed(&server, "");
        let unfinished = (&shares[0]["unfinished_bytes"], &shares[0]["unfinished_files"]);
        assert_eq!(unfinished, (&600_000_000.into(), &1.into()));
    }
}

#[test]
fn only_the_right_share_makes_links_and_only_inside_its_scope() {
    let tokens = token_file(&format!(
        "alice {ALICE} read,write,share /d\nbob {BOB}\nreader {} read,share\n\
         boss {} read,share,admin\n",
        "readers-token-0123", "boss-token-01234567",
    ));
    let server = Server::start(&["--token-file", tokens.path()]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    for name in ["a.txt", "d/b.txt"] {
        std::fs::write(server.dir().join(name), b"hello").unwrap();
    }
    let [alice, bob, reader, boss] =
        [ALICE, BOB, "readers-token-0123", "boss-token-01234567"].map(bearer);
    let file = |path: &str| json!({ "kind": "file", "path": path });
    for (fields, wanted, status) in [
        ("", file("a.txt"), 401),
        (&*bob, file("a.txt"), 403),
        (&alice, file("a.txt"), 403),
        (&alice, file("nothing.txt"), 403),
        (&alice, json!({ "kind": "drop" }), 403),
        (&alice, file("d/nothing.txt"), 404),
        (&alice, file("d"), 404),
        (&alice, file("d/../a.txt"), 400),
        (&reader, json!({ "kind": "drop" }), 403),
        (&reader, json!({ "kind": "other" }), 400),
        (&reader, json!({ "kind": "file", "path": "a.txt", "expires": 0 }), 400),
        (&reader, json!({ "kind": "file", "path": "a.txt", "expires": 40_000_000 }), 400),
        (&reader, json!({ "kind": "file", "path": "a.txt", "surprise": 1 }), 400),
        (&reader, json!("file"), 400),
        (&alice, file("d/b.txt"), 201),
        (&alice, json!({ "kind": "drop", "path": "d" }), 201),
        (&reader, file("a.txt"), 201),
    ] {
        let response = ask(&server, fields, &wanted);
        assert_eq!(response.status(), status, "{fields}{wanted}: {response:?}");
    }
    let names = |fields: &str| {
        let shares = listed(&server, fields);
        assert!(shares.iter().all(|share| share.get("url").is_none()), "{shares:?}");
        shares.iter().map(|share| share["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&alice), ["b.txt", "drop"]);
    assert_eq!(names(&reader), ["a.txt"]);
    assert_eq!(names(&boss), ["b.txt", "drop", "a.txt"]);
    let delete = |fields: &str, name: &str| {
        request(server.port(), &format!("DELETE /.anyport/shares/{name}"), fields, b"").status()
    };
    assert_eq!(delete(&bob, "a.txt"), 403);
    assert_eq!(delete(&alice, "a.txt"), 404, "another one's");
    assert_eq!((delete(&boss, "b.txt"), delete(&alice, "b.txt")), (204, 404));
    assert_eq!(names(&alice), ["drop"]);
    let big = request(server.port(), "POST /.anyport/shares", &reader, &[b' '; 20_000]);
    assert_eq!(big.status(), 413, "{big:?}");
}

#[test]
fn a_link_ends_at_its_time_when_it_is_revoked_and_with_the_token_of_its_maker() {
    let with_share = format!("alice {ALICE} read,write,share\nbob {BOB}\n");
    let tokens = token_file(&with_share);
    let server = Server::start(&["--token-file", tokens.path()]);
    std::fs::write(server.dir().join("a.txt"), b"hello").unwrap();
    let alice = bearer(ALICE);
    let file = |more: Value| {
        let mut wanted = json!({ "kind": "file", "path": "a.txt" });
        wanted["expires"] = more;
        share(&server, &alice, &wanted)
    };
    let (brief, revoked, lasting) = (file(json!(1)), file(json!(60)), file(Value::Null));
    let gone = |share: &Value| {
        let response = get(&server, url(share), "");
        (response.status() == 410).then_some(response.text())
    };
    let text = wait_until("the end of a link", || gone(&brief));
    assert!(text.starts_with("this link has expired or was revoked"), "{text}");
    assert!(listed(&server, &alice).iter().all(|share| share["name"] != brief["name"]));
    assert_eq!(gone(&revoked), None);
    let path = format!("DELETE /.anyport/shares/{}", revoked["name"].as_str().unwrap());
    assert_eq!(request(server.port(), &path, &alice, b"").status(), 204);
    assert!(gone(&revoked).is_some());
    // Without the right, without the token, and with another token of the same name.
    let other = format!("alice {} read,write,share\nbob {BOB}\n", "another-token-0123");
    for (text, ended) in [
        (format!("alice {ALICE} read,write\nbob {BOB}\n"), true),
        (with_share.clone(), false),
        (format!("alice {ALICE} share,read /elsewhere\nbob {BOB}\n"), true),
        (format!("bob {BOB}\n"), true),
        (other, true),
        (with_share, false),
    ] {
        std::fs::write(tokens.path(), &text).unwrap();
        server.signal("HUP");
        wait_until("the new tokens", || (gone(&lasting).is_some() == ended).then_some(()));
    }
}

#[test]
fn wrong_ids_are_refused_and_not_counted() {
    let tokens = token_file(&format!("alice {ALICE} read,write,share\n"));
    let server = Server::start(&["--token-file", tokens.path()]);
    std::fs::write(server.dir().join("a.txt"), b"hello").unwrap();
    let alice = bearer(ALICE);
    let made = share(&server, &alice, &json!({ "kind": "file", "path": "a.txt" }));
    let revoked = share(&server, &alice, &json!({ "kind": "file", "path": "a.txt" }));
    let path = format!("DELETE /.anyport/shares/{}", revoked["name"].as_str().unwrap());
    assert_eq!(request(server.port(), &path, &alice, b"").status(), 204);
    // Any page can make the browser of a visitor send these.
    for guess in 0..20 {
        assert_eq!(get(&server, url(&revoked), "").status(), 410);
        let wrong = format!("/.anyport/s/{}{guess:02}/", &id_of(url(&made))[2..]);
        assert_eq!(get(&server, &wrong, "").status(), 404, "{guess}");
        let page = get(&server, &wrong, "Accept: text/html\n").text();
        assert!(page.contains("404") && !page.contains("app.js"), "{page}");
    }
    assert_eq!(get(&server, url(&made), "").status(), 200);
    assert_eq!(get(&server, "/", &alice).status(), 200);
}

#[test]
fn a_drop_box_stores_files_of_curl_forms_and_resumable_uploads_and_replaces_none() {
    let server = Server::start(ALLOW);
    let made = drop_box(&server, &json!({ "name": "wedding" }));
    assert_eq!((&made["path"], &made["max_bytes"]), (&"wedding".into(), &(1u64 << 30).into()));
    assert_eq!((&made["max_files"], &made["max_uploads"]), (&100.into(), &4.into()));
    let again = drop_box(&server, &json!({ "name": "wedding" }));
    assert_eq!(again["path"], "wedding-1", "its own directory");
    let url = url(&made);
    let stored = |name: &str| std::fs::read(server.dir().join("wedding").join(name)).unwrap();
    let response = put(&server, &format!("{url}a.txt"), b"one");
    assert_eq!(response.status(), 201, "{response:?}");
    assert_private(&response);
    let head = &response.head;
    assert!(!head.contains("ocation") && !head.contains("wedding"), "{head}");
    assert!(response.text().starts_with("a.txt stored: 3 B"), "{response:?}");
    let json =
        request(server.port(), &format!("PUT {url}a.txt"), "Accept: application/json\n", b"two");
    let receipt: Value = serde_json::from_slice(&json.content).unwrap();
    let receipt = receipt.get("receipt").unwrap_or(&receipt);
    assert_eq!((&receipt["path"], &receipt["bytes"]), (&"a.txt".into(), &3.into()), "{receipt}");
    assert_eq!((stored("a.txt"), stored("a-1.txt")), (b"one".to_vec(), b"two".to_vec()));
    // The same content again is one more file, as any other answer would tell what is there.
    assert_eq!(put(&server, &format!("{url}a.txt"), b"two").status(), 201);
    assert_eq!(stored("a-2.txt"), b"two");
    // Directories of the sender become part of the name.
    assert_eq!(put(&server, &format!("{url}d/e/f.txt"), b"deep").status(), 201);
    assert_eq!(stored("d-e-f.txt"), b"deep");
    let unnamed = put(&server, url, b"unnamed");
    assert_eq!(unnamed.status(), 201, "{unnamed:?}");
    assert!(!unnamed.text().contains("wedding"), "{unnamed:?}");

    let sample = Sample::new("form.txt", b"form");
    let field = format!("file=@{}", sample.path());
    if let Some((said, status)) = curl_says(&["-F", &field, &server.url("http", &url[1..])]) {
        assert_eq!(status, 201, "{said}");
        assert!(said.starts_with("form.txt stored: 4 B"), "{said}");
        assert_eq!(stored("form.txt"), b"form");
    }

    // A browser without scripts sends the same form, with the origin of the page.
    let fields =
        "Content-Type: multipart/form-data; boundary=x\nAccept: text/html\nOrigin: http://a\n";
    let form = b"--x\r\nContent-Disposition: form-data; name=file; filename=\"a.txt\"\r\n\r\n\
        hi\r\n--x--\r\n";
    let thanks = request(server.port(), &format!("POST {url}"), fields, form);
    assert_eq!(thanks.status(), 201, "{thanks:?}");
    let text = thanks.text();
    assert!(text.contains("<h1>Thank you") && text.contains("a.txt stored: 2 B"), "{text}");
    assert_eq!(stored("a-3.txt"), b"hi");
    let other = request(server.port(), &format!("POST {url}"), &fields.replace("//a", "//b"), form);
    assert_eq!(other.status(), 403, "{other:?}");

    let tus = "Tus-Resumable: 1.0.0\n";
    let create = format!("{tus}Upload-Length: 11\nUpload-Metadata: filename YS50eHQ=\n");
    let created = request(server.port(), &format!("POST {url}"), &create, b"");
    assert_eq!(created.status(), 201, "{created:?}");
    let location = created.field("Location").strip_prefix("http://a").unwrap().to_owned();
    assert!(location.starts_with(&format!("{url}.anyport/uploads/")), "{location}");
    let patch = |at: u64, content: &[u8]| {
        let content_type = "Content-Type: application/offset+octet-stream";
        let fields = format!("{tus}{content_type}\nUpload-Offset: {at}\n");
        request(server.port(), &format!("PATCH {location}"), &fields, content)
    };
    assert_eq!(patch(0, b"hello").field("Upload-Offset"), "5");
    let head = request(server.port(), &format!("HEAD {location}"), tus, b"");
    assert_eq!((head.status(), head.field("Upload-Offset")), (200, "5"));
    let done = patch(5, b" world");
    assert_eq!((done.status(), done.field("Content-Location")), (204, ""), "{done:?}");
    assert_eq!(stored("a-4.txt"), b"hello world");
    // The last response may be lost: the same request again tells no path either.
    let again = patch(11, b"");
    assert!(!again.head.contains("wedding") && !again.text().contains("a-4"), "{again:?}");

    let ietf = "Upload-Draft-Interop-Version: 8\n";
    let create = format!("{ietf}Upload-Complete: ?0\nUpload-Length: 5\n");
    let created = request(server.port(), &format!("PUT {url}b.txt"), &create, b"");
    assert_eq!(created.status(), 201, "{created:?}");
    let location = created.field("Location").to_owned();
    let fields = format!(
        "{ietf}Content-Type: application/partial-upload\nUpload-Offset: 0\nUpload-Complete: ?1\n\
         Accept: application/json\n"
    );
    let done = request(server.port(), &format!("PATCH {location}"), &fields, b"hello");
    assert!([200, 201].contains(&done.status()), "{done:?}");
    assert!(done.text().contains("\"b.txt\"") && !done.text().contains("wedding"), "{done:?}");
    assert_eq!(stored("b.txt"), b"hello");
}

#[test]
fn the_holder_of_a_drop_box_sees_nothing_of_it() {
    let server = Server::start(&["--allow", "share", "--on-exists", "overwrite"]);
    let made = drop_box(&server, &json!({ "name": "box" }));
    let other = drop_box(&server, &json!({ "name": "other" }));
    let (url, other) = (url(&made), url(&other));
    assert_eq!(put(&server, &format!("{url}a.txt"), b"one").status(), 201);
    let known = get(&server, &format!("{url}a.txt"), "");
    let unknown = get(&server, &format!("{url}b.txt"), "");
    assert_eq!((known.status(), known.text()), (404, unknown.text()), "{known:?}");
    for accept in ["text/html", "application/json", "*/*"] {
        let page = get(&server, url, &format!("Accept: {accept}\n"));
        assert_eq!(page.status(), 200, "{page:?}");
        assert_private(&page);
        let text = page.text();
        assert!(
            !text.contains("a.txt") && !text.contains("box") && !text.contains("used"),
            "{text}"
        );
    }
    let page = get(&server, url, "Accept: text/html\n").text();
    assert!(page.contains("<main data-drop>") && page.contains("multipart/form-data"), "{page}");
    // The answer does not depend on whether the name is in use, also where files are replaced.
    for fields in ["If-None-Match: *\n", "If-Match: *\n", ""] {
        let ask = |name: &str| {
            let response = request(server.port(), &format!("PUT {url}{name}"), fields, b"two");
            (response.status(), response.text().split(" in ").next().unwrap().replace(name, ""))
        };
        assert_eq!(ask("a.txt"), ask("fresh.txt"), "{fields}");
    }
    assert_eq!(std::fs::read(server.dir().join("box/a.txt")).unwrap(), b"one");
    let directory = request(server.port(), &format!("PUT {url}sub/"), "", b"");
    assert_eq!(directory.status(), 400, "{directory:?}");
    for method in ["DELETE", "MOVE", "MKCOL"] {
        let fields = "Destination: /moved.txt\n";
        let response = request(server.port(), &format!("{method} {url}a.txt"), fields, b"");
        assert!([400, 405].contains(&response.status()), "{method}: {response:?}");
    }
    // An upload belongs to those who created it: through this link, or with a token.
    let create = |path: &str| {
        let fields = "Tus-Resumable: 1.0.0\nUpload-Length: 9\nUpload-Metadata: filename YS50eHQ=\n";
        let created = request(server.port(), &format!("POST {path}"), fields, b"");
        let location = created.field("Location");
        assert_eq!(created.status(), 201, "{created:?}");
        location.rsplit('/').next().unwrap().to_owned()
    };
    let (ours, of_user, of_other) = (create(url), create("/files/box/"), create(other));
    let look = |at: &str, id: &str| {
        let path = format!("HEAD {at}.anyport/uploads/{id}");
        request(server.port(), &path, "Tus-Resumable: 1.0.0\n", b"").status()
    };
    assert_eq!(look(url, &ours), 200);
    let unknown = "0123456789abcdef0123456789abcdef";
    for id in [&of_user, &of_other, unknown] {
        assert_eq!(look(url, id), 404, "{id}");
    }
    for id in [&ours, &of_other, unknown] {
        assert_eq!(look("/", id), 404, "{id}");
    }
    assert_eq!(look("/", &of_user), 200);
}

#[test]
fn a_drop_box_refuses_more_than_its_limits_before_content() {
    let server = Server::start(&["--allow", "share", "--quota", "1G"]);
    let made = drop_box(&server, &json!({ "max_bytes": 1000, "max_files": 3 }));
    let url = url(&made).to_owned();
    // 100 Continue is the permission for content.
    let offer = |length: u64| {
        let mut stream = connect(server.port());
        let head = format!(
            "PUT {url}a.bin HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        read_head(&mut stream)
    };
    assert!(offer(1001).starts_with("HTTP/1.1 507 "), "larger than all");
    assert!(offer(1000).starts_with("HTTP/1.1 100 "), "and then it is lost");
    let first = wait_until("the end of the lost upload", || {
        let response = put(&server, &format!("{url}a.bin"), &[b'a'; 600]);
        (response.status() == 201).then_some(response)
    });
    assert!(first.text().starts_with("a.bin stored: 600 B"), "{first:?}");
    let refused = put(&server, &format!("{url}a.bin"), &[b'a'; 401]);
    assert_eq!(refused.status(), 507, "{refused:?}");
    assert!(refused.text().contains("this link accepts 1000 bytes"), "{refused:?}");
    // Content of unknown size counts while it arrives.
    let chunked = converse(
        &mut connect(server.port()),
        format!(
            "PUT {url}c.bin HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n200\r\n{}\r\n0\r\n\r\n",
            "c".repeat(0x200)
        )
        .as_bytes(),
    );
    assert!(chunked.starts_with("HTTP/1.1 507 "), "{chunked}");
    for size in [300, 50] {
        assert_eq!(put(&server, &format!("{url}b.bin"), &vec![b'b'; size]).status(), 201);
    }
    let full = put(&server, &format!("{url}b.bin"), b"b");
    assert_eq!(full.status(), 507, "{full:?}");
    assert!(full.text().contains("this link accepts 3 files"), "{full:?}");
    let form = request(
        server.port(),
        &format!("POST {url}"),
        "Content-Type: multipart/form-data; boundary=x\n",
        b"--x--\r\n",
    );
    assert_eq!(form.status(), 507, "{form:?}");
    let shares = listed(&server, "");
    assert_eq!((&shares[0]["used_bytes"], &shares[0]["used_files"]), (&950.into(), &3.into()));
    // The files are those of the server's owner, and outlive the link.
    let path = format!("DELETE /.anyport/shares/{}", made["name"].as_str().unwrap());
    assert_eq!(request(server.port(), &path, "", b"").status(), 204);
    assert_eq!(get(&server, "/drop/b.bin", "").content.len(), 300);

    let small = Server::start(&["--allow", "share", "--quota", "1M"]);
    let made = drop_box(&small, &json!({}));
    let made = made["url"].as_str().unwrap();
    let refused = request(small.port(), &format!("PUT {made}a.bin"), "", &vec![0; 2 << 20]);
    assert_eq!(refused.status(), 507, "{refused:?}");
    assert!(refused.text().starts_with("the server has no space for this file"), "{refused:?}");
}

#[test]
fn a_drop_box_limits_concurrent_uploads_and_revoking_lets_a_running_one_end() {
    let server = Server::start(ALLOW);
    let made = drop_box(&server, &json!({ "max_uploads": 2 }));
    let url = url(&made).to_owned();
    let mut running = connect(server.port());
    let head = |name: &str| {
        format!(
            "PUT {url}{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"
        )
    };
    running.write_all(head("slow.bin").as_bytes()).unwrap();
    assert!(read_head(&mut running).starts_with("HTTP/1.1 100 "));
    running.write_all(b"hello").unwrap();
    // One address has fewer than all of them.
    let refused = put(&server, &format!("{url}b.bin"), b"b");
    assert_eq!((refused.status(), refused.field("Retry-After")), (503, "5"), "{refused:?}");
    let path = format!("DELETE /.anyport/shares/{}", made["name"].as_str().unwrap());
    assert_eq!(request(server.port(), &path, "", b"").status(), 204);
    running.write_all(b"world").unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(std::fs::read(server.dir().join("drop/slow.bin")).unwrap(), b"helloworld");
    assert_eq!(put(&server, &format!("{url}b.bin"), b"b").status(), 410);
}

#[test]
fn modes_of_the_server_hold_for_links_too() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), b"hello").unwrap();
    let server = Server::start_in(directory.path(), &["127.0.0.1:0"], ALLOW);
    let file = link_to(&server, "a.txt");
    let made = drop_box(&server, &json!({}));
    let dropped = url(&made).to_owned();
    server.stop();
    let read_only = Server::start_in(directory.path(), &["127.0.0.1:0"], &["--read-only"]);
    assert_eq!(get(&read_only, &format!("{file}a.txt"), "").status(), 200);
    assert_eq!(put(&read_only, &format!("{dropped}b.txt"), b"b").status(), 403);
    read_only.stop();
    let upload_only = Server::start_in(directory.path(), &["127.0.0.1:0"], &["--upload-only"]);
    assert_eq!(get(&upload_only, &format!("{file}a.txt"), "").status(), 403);
    assert_eq!(put(&upload_only, &format!("{dropped}b.txt"), b"b").status(), 201);
}

#[test]
fn a_long_file_is_shared_without_hashing_it() {
    let server = Server::start(ALLOW);
    for (name, size, is_hashed) in [("short", 1 << 20, true), ("long", (1 << 30) + 1, false)] {
        std::fs::File::create(server.dir().join(name)).unwrap().set_len(size).unwrap();
        let made = share(&server, "", &json!({ "kind": "file", "path": name }));
        assert_eq!(made["digest"].is_string(), is_hashed, "{made}");
        let page = get(&server, url(&made), "Accept: text/html\n").text();
        assert_eq!(page.contains("blake3"), is_hashed, "{page}");
    }
}

#[test]
fn the_command_makes_lists_and_revokes_links() {
    let tokens = token_file(&format!("alice {ALICE} read,write,share\nbob {BOB}\n"));
    let server = Server::start(&["--token-file", tokens.path(), "--base-path", "/below"]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    std::fs::write(server.dir().join("d/a b.txt"), b"hello").unwrap();
    let run = |token: &str, arguments: &[&str]| {
        let mut command = anyport_command(&["share"]);
        command.args(arguments).env("ANYPORT_TOKEN", token);
        Running::start(command, None).outcome()
    };
    let alice = |arguments: &[&str]| {
        let outcome = run(ALICE, arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome
    };
    let file = server.url("http", "below/d/a%20b.txt");
    let made = alice(&[&file, "--expires", "1h"]);
    let link = made.stdout.trim();
    let path = &link[server.url("http", "").len() - 1..];
    assert!(path.starts_with("/below/.anyport/s/"), "{link}");
    assert_eq!(get(&server, &format!("{path}a%20b.txt"), "").content, b"hello");
    assert!(made.stderr.contains("anyport share --revoke a-b.txt"), "{made:?}");
    let dropped =
        alice(&["--drop", &server.url("http", "below/files/d/"), "--json", "--max-bytes", "5K"]);
    let event: Value = serde_json::from_str(&dropped.stdout).unwrap();
    assert_eq!((&event["event"], &event["path"]), (&"shared".into(), &"d/drop".into()));
    assert_eq!(event["max_bytes"], 5000);
    // Without a scheme, as for the other commands.
    let bare = format!("127.0.0.1:{}/d/a b.txt", server.port());
    alice(&[&bare, "--name", "again"]);
    let url = server.url("http", "");
    let listed = alice(&["--list", &url]).stdout;
    let names: Vec<_> =
        listed.lines().map(|line| line.split("  ").next().unwrap().trim()).collect();
    assert_eq!(names, ["a-b.txt", "drop", "again"], "{listed}");
    let listed = alice(&["--list", "--json", &url]).stdout;
    let first: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["kind"]), (&"share".into(), &"file".into()));
    assert_eq!(alice(&["--revoke", "a-b.txt", &url]).stdout, "a-b.txt revoked\n");
    assert_eq!(get(&server, path, "").status(), 410);
    for (token, arguments, code, words) in [
        (ALICE, vec!["--revoke", "a-b.txt", &url], 4, "there is no such share"),
        (BOB, vec![&*file], 4, "the token of bob lacks the right share"),
        (ALICE, vec![&*url], 2, "names no file"),
        (ALICE, vec![&*file, "--expires", "400d"], 4, "expires must be a number from 1 to"),
        (ALICE, vec![&*file, "--max-files", "3"], 2, "--drop"),
        ("", vec![&*file], 4, "a token is required"),
    ] {
        let outcome = run(token, &arguments);
        let said = &outcome.stderr;
        assert!(outcome.code == Some(code) && said.contains(words), "{arguments:?}: {outcome:?}");
        assert!(code == 2 || said.contains("hint: "), "{arguments:?}: {outcome:?}");
    }
}
