//! `DELETE`, `MOVE` and `MKCOL` of stored files and directories.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;

use anyport_testkit::harness::Server;
use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::wire::{connect, read_head};

const ALLOWED: &[&str] = &["--allow", "delete"];

fn ask(server: &Server, line: &str, fields: &str) -> Response {
    request(server.port(), line, fields, b"")
}

fn put(server: &Server, name: &str, content: &str) {
    let path = server.dir().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn stored(server: &Server, name: &str) -> String {
    std::fs::read_to_string(server.dir().join(name)).unwrap_or_default()
}

fn to(path: &str) -> String {
    format!("Destination: {path}\n")
}

#[test]
fn files_and_empty_directories_are_deleted() {
    let server = Server::start(ALLOWED);
    put(&server, "d/a b", "1");
    put(&server, "c", "2");
    for (line, status, word) in [
        ("DELETE /d", 409, "not empty"),
        ("DELETE /d/a%20b/", 404, "no such file"),
        ("DELETE /d/a%20b", 204, ""),
        ("DELETE /d/a%20b", 404, "no such file"),
        ("DELETE /files/d/", 204, ""),
        ("DELETE /c", 204, ""),
        ("DELETE /", 403, "served directory itself"),
        ("DELETE /files/", 403, "served directory itself"),
        ("DELETE /../x", 400, ""),
        ("DELETE /.anyport-1.part", 400, "not allowed in the path"),
        ("DELETE /help", 405, "not allowed"),
    ] {
        let answer = ask(&server, line, "");
        assert_eq!(answer.status(), status, "{line}: {}", answer.text());
        assert!(answer.text().contains(word), "{line}: {}", answer.text());
    }
    assert_eq!(server.names(), Vec::<String>::new());
    put(&server, "x", "3");
    let url = server.url("http", "x");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        put(&server, "x", "3");
        let Some((said, status)) = curl_says(&[version, "-X", "DELETE", &url]) else { return };
        assert_eq!((status, stored(&server, "x").as_str()), (204, ""), "{said}");
    }
}

#[test]
fn files_and_directories_are_renamed_and_nothing_is_replaced() {
    let server = Server::start(ALLOWED);
    put(&server, "a", "1");
    put(&server, "b", "2");
    put(&server, "d/e/f", "3");
    let url = format!("http://127.0.0.1:{}/files/g%20h", server.port());
    let host = format!("Host: 127.0.0.1:{}", server.port());
    for (line, fields, status, word) in [
        ("MOVE /a", String::new(), 400, "needs one Destination"),
        ("MOVE /a", to("/x?y"), 400, "without a query"),
        ("MOVE /a", to("http://other.example/x"), 502, "other.example"),
        ("MOVE /a", to("/help"), 403, "/files/NAME"),
        ("MOVE /a", to("/..%2fx"), 400, ""),
        ("MOVE /a", to("/.anyport-1.part"), 400, "not allowed in the path"),
        ("MOVE /a", to("/none/x"), 409, "does not exist"),
        ("MOVE /a", to("/b"), 412, "a file has this name"),
        ("MOVE /a", format!("{}Overwrite: F\n", to("/b")), 412, "a file has this name"),
        ("MOVE /a", format!("{}Overwrite: T\n", to("/b")), 403, "does not allow it"),
        ("MOVE /a", format!("{}Overwrite: yes\n", to("/b")), 400, "neither T nor F"),
        ("MOVE /none", to("/x"), 404, "no such file"),
        ("MOVE /d", to("/d/e/x"), 403, "inside"),
        ("MOVE /a", to("/a"), 403, "the same"),
        ("MOVE /a/", to("/x"), 404, "no such directory: a"),
        ("MOVE /a", to("/x/"), 404, "no such directory: a"),
        ("MOVE /d/e", to("/e/"), 201, "d/e renamed to e\n"),
        ("MOVE /a", to("/d/x"), 201, "a renamed to d/x\n"),
    ] {
        let answer = ask(&server, line, &fields);
        let text = answer.text();
        assert!(answer.status() == status && text.contains(word), "{line} {fields}: {text}");
    }
    let mut stream = connect(server.port());
    let wire = format!("MOVE /e/f HTTP/1.1\n{host}\nConnection: close\nDestination: {url}\n\n");
    stream.write_all(wire.replace('\n', "\r\n").as_bytes()).unwrap();
    assert!(read_head(&mut stream).contains("Location: /files/g%20h\r\n"));
    assert_eq!(
        (stored(&server, "b"), stored(&server, "d/x"), stored(&server, "g h")),
        ("2".to_owned(), "1".to_owned(), "3".to_owned())
    );
    assert_eq!(server.published(), ["b", "d", "e", "g h"]);
}

#[test]
fn a_file_is_replaced_if_client_and_server_say_so() {
    let server = Server::start(&["--allow", "delete", "--on-exists", "overwrite"]);
    put(&server, "a", "1");
    put(&server, "b", "2");
    put(&server, "d/x", "3");
    assert_eq!(ask(&server, "MOVE /a", &to("/b")).status(), 412);
    let overwrite = |path: &str| format!("{}Overwrite: T\n", to(path));
    assert_eq!(ask(&server, "MOVE /a", &overwrite("/d")).status(), 412);
    assert_eq!(ask(&server, "MOVE /d", &overwrite("/a")).status(), 412);
    assert_eq!(ask(&server, "MOVE /a", &overwrite("/b")).status(), 204);
    assert_eq!(server.published(), ["b", "d"]);
    assert_eq!((stored(&server, "b"), stored(&server, "d/x")), ("1".into(), "3".into()));
}

#[test]
fn changes_keep_to_the_preconditions_of_a_request() {
    let server = Server::start(ALLOWED);
    put(&server, "a", "1");
    let tag = ask(&server, "HEAD /a", "").field("ETag").to_owned();
    for line in ["DELETE /a", "MOVE /a"] {
        for fields in ["If-Match: \"x\"\n", "If-None-Match: *\n"] {
            let answer = ask(&server, line, &format!("{}{fields}", to("/b")));
            assert_eq!(answer.status(), 412, "{line} {fields}: {}", answer.text());
        }
    }
    let fields = format!("If-Match: {tag}\n{}", to("/b"));
    assert_eq!(ask(&server, "MOVE /a", &fields).status(), 201);
    let tag = ask(&server, "HEAD /b", "").field("ETag").to_owned();
    assert_eq!(ask(&server, "DELETE /b", &format!("If-Match: {tag}\n")).status(), 204);
}

#[test]
fn a_directory_is_created_once() {
    let server = Server::start(&[]);
    for (line, status, word) in [
        ("MKCOL /a", 201, "a/ created\n"),
        ("MKCOL /a/", 405, "a directory has this name"),
        ("MKCOL /a/b%20c/", 201, "created"),
        ("MKCOL /x/y", 409, "does not exist"),
        ("MKCOL /", 403, "itself"),
        ("MKCOL /.anyport/", 404, ""),
    ] {
        let answer = ask(&server, line, "");
        let text = answer.text();
        let is_refused = status == 404 && answer.status() >= 400;
        assert!((answer.status() == status || is_refused) && text.contains(word), "{line}: {text}");
    }
    let answer = ask(&server, "MKCOL /a", "");
    assert_eq!(answer.field("Allow"), "GET, HEAD, PUT, POST, OPTIONS", "{}", answer.head);
    let answer = request(server.port(), "MKCOL /b", "", b"<xml/>");
    assert_eq!(answer.status(), 415, "{}", answer.text());
    assert_eq!(server.names(), ["a"]);
    assert!(server.dir().join("a/b c").is_dir());
}

#[test]
fn changes_need_their_rights_and_a_page_of_this_host() {
    for (flags, deletes, creates) in
        [(&[][..], 403, 201), (&["--allow", "delete"], 204, 201), (&["--read-only"], 403, 403)]
    {
        let server = Server::start(flags);
        put(&server, "a", "1");
        for (line, origin) in [("DELETE /a", "http://evil.example"), ("MKCOL /d", "null")] {
            let answer = ask(&server, line, &format!("Origin: {origin}\n"));
            assert_eq!(answer.status(), 403, "{}", answer.text());
        }
        let moved = ask(&server, "MOVE /a", &to("/b")).status();
        assert_eq!(moved, if deletes == 204 { 201 } else { 403 }, "{flags:?}");
        let line = if deletes == 204 { "DELETE /b" } else { "DELETE /a" };
        assert_eq!(ask(&server, line, "").status(), deletes, "{flags:?}");
        assert_eq!(ask(&server, "MKCOL /d", "").status(), creates, "{flags:?}");
        let allow = ask(&server, "OPTIONS /a", "").field("Allow").to_owned();
        assert_eq!(allow.contains("DELETE") && allow.contains("MOVE"), deletes == 204, "{allow}");
        assert_eq!(allow.contains("MKCOL"), creates == 201, "{allow}");
    }
}

#[test]
fn links_are_changed_themselves_or_not_at_all() {
    let server = Server::start(ALLOWED);
    let outside = server.dir().parent().unwrap().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    put(&server, "a", "1");
    symlink("a", server.dir().join("inside")).unwrap();
    symlink("../outside", server.dir().join("out")).unwrap();
    for (line, status) in [
        ("DELETE /out", 404),
        ("DELETE /out/secret", 404),
        ("MOVE /out/secret", 404),
        ("MKCOL /out/d", 409),
        ("MOVE /inside", 403),
        ("DELETE /inside", 204),
    ] {
        let answer = ask(&server, line, &to("/x"));
        assert_eq!(answer.status(), status, "{line}: {}", answer.text());
    }
    assert_eq!(ask(&server, "MOVE /a", &to("/out/a")).status(), 409);
    assert_eq!((stored(&server, "a").as_str(), outside.join("secret").exists()), ("1", true));
}

/// A download that runs gets all of a file that is deleted, and an upload to its path is stored.
#[test]
fn a_running_transfer_is_not_disturbed() {
    let server = Server::start(ALLOWED);
    let size = 64 * 1024 * 1024;
    File::create(server.dir().join("x")).unwrap().set_len(size).unwrap();
    let mut download = connect(server.port());
    download.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    read_head(&mut download);
    let mut upload = connect(server.port());
    upload.write_all(b"PUT /d/y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    server.growing_part();
    put(&server, "d/y", "old");
    for line in ["DELETE /x", "DELETE /d/y", "DELETE /d"] {
        assert_eq!(ask(&server, line, "").status(), 204, "{line}");
    }
    upload.write_all(b"lo").unwrap();
    assert!(read_head(&mut upload).starts_with("HTTP/1.1 201 "));
    assert_eq!(stored(&server, "d/y"), "hello");
    let mut received = Vec::new();
    download.read_to_end(&mut received).unwrap();
    assert_eq!(received.len() as u64, size);
}

#[test]
fn a_destination_may_have_the_path_of_a_proxy() {
    let server = Server::start(&["--allow", "delete", "--base-path", "/share"]);
    for (name, path) in [("a", "/share/files/b"), ("b", "/c"), ("c", "http://a/share/share/d")] {
        put(&server, "share/x", "");
        put(&server, name, name);
        let answer = ask(&server, &format!("MOVE /{name}"), &to(path));
        assert_eq!(answer.status(), 201, "{path}: {}", answer.text());
        assert!(answer.field("Location").starts_with("/share/files/"), "{}", answer.head);
    }
    assert_eq!(
        (server.published(), stored(&server, "share/d")),
        (vec!["share".into()], "c".into())
    );
}

#[test]
fn each_change_is_reported_to_the_owner() {
    let server = Server::start(ALLOWED);
    put(&server, "a", "1");
    ask(&server, "MKCOL /d", "");
    ask(&server, "MOVE /a", &to("/d/b"));
    ask(&server, "DELETE /d", "");
    ask(&server, "DELETE /d/b", "");
    let event = server.next_event();
    assert_eq!((&event["event"], &event["name"]), (&"created".into(), &"d".into()), "{event}");
    let event = server.next_event();
    assert_eq!((&event["event"], &event["name"]), (&"renamed".into(), &"a".into()), "{event}");
    assert_eq!((&event["to"], &event["protocol"]), (&"d/b".into(), &"http".into()), "{event}");
    server.next_refused();
    let event = server.next_event();
    assert_eq!((&event["event"], &event["name"]), (&"deleted".into(), &"d/b".into()), "{event}");
}
