//! Resumable uploads by tus 1.0 and its extensions.

use std::io::{Read, Write};

use anyport_testkit::harness::http::{Response, curl_says, field_of, request};
use anyport_testkit::harness::wire::{connect, read_head, wait_until_read};
use anyport_testkit::harness::{Sample, Server, assert_same_bytes, wait_until};
use anyport_testkit::noise;

const TUS: &str = "Tus-Resumable: 1.0.0\n";
const CONTENT: &str = "Content-Type: application/offset+octet-stream\n";

/// `printf notes.txt | base64`
const NAME: &str = "Upload-Metadata: filename bm90ZXMudHh0,filetype dGV4dC9wbGFpbg==\n";

/// `printf " world" | openssl dgst -sha256 -binary | base64`
const WORLD: &str = "BF8T3YZLr6rQ3Zd6yXHeVJsJDLKDbwYdB3mybdm7j0s=";

fn create(server: &Server, path: &str, fields: &str, content: &[u8]) -> Response {
    request(server.port(), &format!("POST {path}"), &format!("{TUS}{fields}"), content)
}

/// Creates an upload without content; returns its location.
fn created(server: &Server, length: u64) -> String {
    let created = create(server, "/files/", &format!("{NAME}Upload-Length: {length}\n"), b"");
    assert_eq!(created.status(), 201, "{created:?}");
    created.field("Location").to_owned()
}

fn head(server: &Server, location: &str) -> Response {
    request(server.port(), &format!("HEAD {location}"), TUS, b"")
}

fn patch(server: &Server, location: &str, fields: &str, content: &[u8]) -> Response {
    let fields = format!("{TUS}{CONTENT}{fields}");
    request(server.port(), &format!("PATCH {location}"), &fields, content)
}

fn at(offset: u64) -> String {
    format!("Upload-Offset: {offset}\n")
}

#[test]
fn an_upload_is_created_continued_and_completed() {
    let server = Server::start(&[]);
    for (path, stored) in
        [("/", "notes.txt"), ("/files", "notes-1.txt"), ("/files/d/e/", "d/e/notes.txt")]
    {
        let created = create(&server, path, &format!("{NAME}Upload-Length: 11\n"), b"");
        assert_eq!(
            (created.status(), created.field("Tus-Resumable")),
            (201, "1.0.0"),
            "{created:?}"
        );
        let location = created.field("Location").to_owned();
        assert!(location.starts_with("http://a/.anyport/uploads/"), "{created:?}");
        assert!(created.field("Upload-Expires").ends_with(" GMT"), "{created:?}");

        let found = head(&server, &location);
        assert_eq!((found.status(), found.field("Upload-Offset")), (200, "0"), "{found:?}");
        assert_eq!(
            (found.field("Upload-Length"), found.field("Cache-Control")),
            ("11", "no-store")
        );

        assert_eq!(found.field("Upload-Metadata"), &NAME.trim()["Upload-Metadata: ".len()..]);

        let appended = patch(&server, &location, &at(0), b"hello");
        assert_eq!(
            (appended.status(), appended.field("Upload-Offset")),
            (204, "5"),
            "{appended:?}"
        );
        assert!(appended.field("Upload-Expires").ends_with(" GMT"), "{appended:?}");
        assert_eq!(head(&server, &location).field("Upload-Offset"), "5");
        let done = patch(&server, &location, &at(5), b" world");
        assert_eq!((done.status(), done.field("Upload-Offset")), (204, "11"), "{done:?}");
        assert_eq!(done.field("Content-Location"), format!("/files/{stored}"));
        let receipt = server.next_receipt();
        assert_eq!((&receipt["path"], &receipt["end"]), (&stored.into(), &"size".into()));
        assert_eq!(server.stored(&receipt), b"hello world");

        // A lost last response costs nothing.
        let found = head(&server, &location);
        assert_eq!((found.status(), found.field("Upload-Offset")), (200, "11"), "{found:?}");
        let again = patch(&server, &location, &at(11), b"");
        assert_eq!((again.status(), again.field("Upload-Offset")), (204, "11"), "{again:?}");
    }
}

#[test]
fn one_connection_carries_all_requests_of_an_upload() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let mut ask = |line: &str, fields: &str, content: &str| {
        let length = content.len();
        let head = format!("{line} HTTP/1.1\nHost: a\nContent-Length: {length}\n{TUS}{fields}\n");
        stream.write_all(format!("{}{content}", head.replace('\n', "\r\n")).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        let mut text = vec![0; field_of(&head, "Content-Length").parse().unwrap_or_default()];
        stream.read_exact(&mut text).unwrap();
        head
    };
    let created = ask("POST /files/", &format!("{NAME}Upload-Length: 11\n"), "");
    let path = format!("PATCH {}", field_of(&created, "Location"));
    for (offset, content, is_right) in [(0, "hello", true), (0, "x", false), (5, " world", true)] {
        let answer = ask(&path, &format!("{CONTENT}{}", at(offset)), content);
        let status = if is_right { "HTTP/1.1 204 " } else { "HTTP/1.1 409 " };
        assert!(answer.starts_with(status), "{answer}");
    }
    assert_eq!(server.published(), ["notes.txt"]);
}

#[test]
fn creation_with_upload_stores_the_content_of_the_request() {
    let server = Server::start(&[]);
    let fields = format!("{NAME}{CONTENT}Upload-Length: 11\n");
    let created = create(&server, "/", &fields, b"hello");
    assert_eq!((created.status(), created.field("Upload-Offset")), (201, "5"), "{created:?}");
    let done = patch(&server, created.field("Location"), &at(5), b" world");
    assert_eq!(done.status(), 204, "{done:?}");
    assert_eq!(server.stored(&server.next_receipt()), b"hello world");
    let whole = create(&server, "/", &fields, b"hello world");
    assert_eq!((whole.status(), whole.field("Upload-Offset")), (201, "11"), "{whole:?}");
    assert_eq!(server.stored(&server.next_receipt()), b"hello world");
    let empty = create(&server, "/", &format!("{NAME}Upload-Length: 0\n"), b"");
    assert_eq!((empty.status(), empty.field("Upload-Offset")), (201, "0"), "{empty:?}");
    assert_eq!(server.stored(&server.next_receipt()), b"");
}

#[test]
fn the_length_may_follow_once() {
    let server = Server::start(&[]);
    let created = create(&server, "/", &format!("{NAME}Upload-Defer-Length: 1\n"), b"");
    let location = created.field("Location").to_owned();
    let found = head(&server, &location);
    let lengths = (found.field("Upload-Defer-Length"), found.field("Upload-Length"));
    assert_eq!(lengths, ("1", ""), "{found:?}");
    assert_eq!(patch(&server, &location, &at(0), b"hello").status(), 204);
    let fields = format!("{}Upload-Length: 11\n", at(5));
    assert_eq!(patch(&server, &location, &fields, b" wo").status(), 204);
    assert_eq!(head(&server, &location).field("Upload-Length"), "11");
    let other = patch(&server, &location, &format!("{}Upload-Length: 12\n", at(8)), b"rld");
    assert_eq!(other.status(), 400, "{other:?}");
    assert!(other.text().contains("11 bytes, not 12"), "{other:?}");
    assert_eq!(patch(&server, &location, &at(8), b"rld").status(), 204);
    while server.try_event().is_some_and(|event| event["event"] != "receipt") {}
    assert_eq!(std::fs::read(server.dir().join("notes.txt")).unwrap(), b"hello world");
}

#[test]
fn an_upload_is_removed_by_delete() {
    let server = Server::start(&[]);
    let location = created(&server, 11);
    patch(&server, &location, &at(0), b"hello");
    let removed = request(server.port(), &format!("DELETE {location}"), TUS, b"");
    assert_eq!((removed.status(), removed.field("Tus-Resumable")), (204, "1.0.0"), "{removed:?}");
    assert_eq!(head(&server, &location).status(), 404);
    assert_eq!(patch(&server, &location, &at(5), b" world").status(), 404);
    assert_eq!(server.names(), Vec::<String>::new());
}

#[test]
fn content_that_differs_from_its_checksum_is_discarded() {
    let server = Server::start(&[]);
    let location = created(&server, 11);
    // printf hello | openssl dgst -sha1 -binary | base64
    let sha1 = "Upload-Checksum: sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=\n";
    let sha256 = format!("Upload-Checksum: sha256 {WORLD}\n");
    let wrong = patch(&server, &location, &format!("{}{sha1}", at(0)), b"hallo");
    assert_eq!((wrong.status(), wrong.field("Tus-Resumable")), (460, "1.0.0"), "{wrong:?}");
    assert!(wrong.text().contains("differs from its checksum"), "{wrong:?}");
    assert_eq!(head(&server, &location).field("Upload-Offset"), "0");
    let right = patch(&server, &location, &format!("{}{sha1}", at(0)), b"hello");
    assert_eq!((right.status(), right.field("Upload-Offset")), (204, "5"), "{right:?}");
    let wrong = patch(&server, &location, &format!("{}{sha256}", at(5)), b" werld");
    assert_eq!(wrong.status(), 460, "{wrong:?}");
    assert_eq!(head(&server, &location).field("Upload-Offset"), "5");
    let right = patch(&server, &location, &format!("{}{sha256}", at(5)), b" world");
    assert_eq!(right.status(), 204, "{right:?}");
    assert_eq!(std::fs::read(server.dir().join("notes.txt")).unwrap(), b"hello world");
}

#[test]
fn content_that_is_not_verified_is_discarded_when_the_connection_or_the_server_dies() {
    let scratch = tempfile::tempdir().unwrap();
    let start = || Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    let mut server = start();
    let location = created(&server, 11);
    assert_eq!(patch(&server, &location, &at(0), b"hello").status(), 204);
    let append = format!(
        "PATCH {location} HTTP/1.1\r\nHost: a\r\n{}Content-Length: 6\r\n\r\n wo",
        format!("{TUS}{CONTENT}{}Upload-Checksum: sha256 {WORLD}\n", at(5)).replace('\n', "\r\n")
    );
    for is_killed in [false, true] {
        let mut stream = connect(server.port());
        stream.write_all(append.as_bytes()).unwrap();
        wait_until_read(&stream);
        if is_killed {
            server.kill();
            server = start();
        } else {
            drop(stream);
            server.next_interrupted();
        }
        assert_eq!(head(&server, &location).field("Upload-Offset"), "5", "{is_killed}");
    }
    assert_eq!(patch(&server, &location, &at(5), b" world").status(), 204);
    assert_eq!(server.stored(&server.next_receipt()), b"hello world");
}

#[test]
fn requests_for_the_offset_end_no_other_one() {
    let server = Server::start(&[]);
    let location = created(&server, 11);
    patch(&server, &location, &at(0), b"hello");
    let (port, line) = (server.port(), format!("HEAD {location}"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let found = request(port, &line, TUS, b"");
                    assert_eq!((found.status(), found.field("Upload-Offset")), (200, "5"));
                }
            });
        }
    });
}

#[test]
fn a_post_stands_for_a_method_that_a_client_cannot_send() {
    let server = Server::start(&[]);
    let location = created(&server, 5);
    let post = |method: &str, fields: &str, content: &[u8]| {
        let fields = format!("{TUS}X-HTTP-Method-Override: {method}\n{fields}");
        request(server.port(), &format!("POST {location}"), &fields, content)
    };
    assert_eq!(post("HEAD", "", b"").field("Upload-Offset"), "0");
    let done = post("PATCH", &format!("{CONTENT}{}", at(0)), b"hello");
    assert_eq!((done.status(), done.field("Upload-Offset")), (204, "5"), "{done:?}");
    assert_eq!(post("DELETE", "", b"").status(), 204);
    assert_eq!(head(&server, &location).status(), 404);
    assert_eq!(server.published(), ["notes.txt"]);
}

#[test]
fn every_refusal_names_its_rule() {
    let server = Server::start(&["--max-size", "1000"]);
    let location = created(&server, 11);
    patch(&server, &location, &at(0), b"hello");
    let (length, append) = (format!("{TUS}Upload-Length: 5\n"), format!("{TUS}{CONTENT}"));
    let (post, path) = ("POST /files/", format!("PATCH {location}"));
    for (line, fields, content, status, rule) in [
        (&*path, format!("{append}{}", at(3)), "x", 409, "the offset is 5"),
        (&path, format!("{append}{}", at(12)), "x", 400, "beyond the 11 bytes"),
        (&path, format!("{append}{}", at(5)), "1234567", 400, "beyond the 11 bytes"),
        (&path, append.clone(), "x", 400, "Upload-Offset is missing"),
        (&path, format!("{TUS}{}", at(5)), "x", 415, "application/offset+octet-stream"),
        (&path, format!("{CONTENT}{}", at(5)), "x", 400, "PATCH needs Tus-Resumable: 1.0.0"),
        (&path, format!("Tus-Resumable: 0.9\n{CONTENT}{}", at(5)), "x", 412, "\"0.9\""),
        (&path, format!("{append}{}Upload-Checksum: md5 AA==\n", at(5)), "x", 400, "sha1,sha256"),
        (post, "Tus-Resumable: 2.0.0\nUpload-Length: 5\n".to_owned(), "", 412, "supported: 1.0.0"),
        (post, format!("{length}Upload-Concat: partial\n"), "", 400, "concatenation"),
        (post, TUS.to_owned(), "", 400, "Upload-Length or Upload-Defer-Length: 1 is missing"),
        (post, format!("{TUS}Upload-Length: 1001\n"), "", 413, "--max-size"),
        (post, format!("{length}Upload-Metadata: filename !\n"), "", 400, "upload-metadata"),
        ("POST /files/d/", length.clone(), "", 400, "/d/ is a directory"),
        ("POST /files/d", length.clone(), "", 400, "/d is not a directory"),
    ] {
        let refused = request(server.port(), line, &fields, content.as_bytes());
        assert_eq!(refused.status(), status, "{line} {fields}: {refused:?}");
        assert!(refused.text().contains(rule), "{line} {fields}: {refused:?}");
        if fields.contains("Tus-Resumable") {
            assert_eq!(refused.field("Tus-Resumable"), "1.0.0", "{line} {fields}: {refused:?}");
        }
    }
    let wrong = patch(&server, &location, &at(0), b"hello");
    assert_eq!((wrong.status(), wrong.field("Upload-Offset")), (409, "5"), "{wrong:?}");
    let json = format!("{TUS}{CONTENT}{}Accept: application/json\n", at(0));
    let wrong = request(server.port(), &path, &json, b"hello");
    assert!(wrong.text().starts_with("{\"error\":{\"code\":\"bad-request\""), "{wrong:?}");
    // What was stored before stays.
    assert_eq!(head(&server, &location).field("Upload-Offset"), "5");
}

#[test]
fn space_is_refused_before_content() {
    let server = Server::start(&["--quota", "1MiB"]);
    let fields = format!("{NAME}Upload-Length: 2000000\n");
    let refused = create(&server, "/", &fields, b"");
    assert_eq!(refused.status(), 507, "{refused:?}");
    assert!(refused.text().contains("--quota"), "{refused:?}");
    for flags in [&["--read-only"][..], &["--sink", "memory"]] {
        let server = Server::start(flags);
        let refused = create(&server, "/", &format!("{NAME}Upload-Length: 5\n"), b"");
        assert_eq!(refused.status(), 403, "{flags:?}: {refused:?}");
    }
}

#[test]
fn curl_uploads_by_tus_over_http2() {
    let server = Server::start(&[]);
    let content = noise(3_000_007, 8);
    let sample = Sample::new("large", &content);
    let (url, length) = (server.url("http", "files/"), format!("Upload-Length: {}", content.len()));
    let tus = ["-i", "--http2-prior-knowledge", "-H", "Tus-Resumable: 1.0.0"];
    let post = ["-X", "POST", "-H", &length, "-H", "Content-Length: 0", &url];
    let Some((said, status)) = curl_says(&[&tus[..], &post].concat()) else { return };
    assert_eq!(status, 201, "{said}");
    let location = field_of(&said, "location");
    let body = format!("@{}", sample.path());
    let append = [
        "-X",
        "PATCH",
        "-H",
        "Upload-Offset: 0",
        "-H",
        "Content-Type: application/offset+octet-stream",
        "--data-binary",
        &body,
        location,
    ];
    let (said, status) = curl_says(&[&tus[..], &append].concat()).unwrap();
    assert_eq!(status, 204, "{said}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

/// The proxy's client may use another scheme than the proxy.
#[test]
fn the_location_is_a_path_where_a_proxy_forwards_the_request() {
    let server = Server::start(&[]);
    for field in ["X-Forwarded-Proto: https", "Forwarded: proto=https", "Via: 1.1 proxy"] {
        let fields = format!("{NAME}Upload-Length: 5\n{field}\n");
        let created = create(&server, "/files/", &fields, b"");
        let location = created.field("Location").to_owned();
        assert!(location.starts_with("/.anyport/uploads/"), "{created:?}");
        assert_eq!(head(&server, &location).status(), 200, "{field}");
    }
}

/// Its client sends nothing more, as the offset is the length.
#[test]
fn the_offset_of_a_whole_upload_publishes_it() {
    let scratch = tempfile::tempdir().unwrap();
    let start = || Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    let mut server = start();
    for (is_killed, stored) in [(false, "notes.txt"), (true, "notes-1.txt")] {
        let location = created(&server, 5);
        // The last chunk, which ends the content, does not come.
        let append = format!(
            "PATCH {location} HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n\
             5\r\nhello",
            format!("{TUS}{CONTENT}{}", at(0)).replace('\n', "\r\n")
        );
        let mut stream = connect(server.port());
        stream.write_all(append.as_bytes()).unwrap();
        wait_until_read(&stream);
        wait_until("the content in the partial file", || {
            let mut sizes = std::fs::read_dir(scratch.path()).unwrap();
            sizes.any(|entry| is_part_of(&entry.unwrap(), 5)).then_some(())
        });
        if is_killed {
            server.kill();
            server = start();
        } else {
            drop(stream);
            server.next_interrupted();
        }
        assert!(!server.dir().join(stored).exists());
        let found = head(&server, &location);
        assert_eq!((found.status(), found.field("Upload-Offset")), (200, "5"), "{found:?}");
        assert_eq!(found.field("Upload-Length"), "5", "{found:?}");
        assert_eq!(found.field("Content-Location"), format!("/files/{stored}"), "{found:?}");
        assert_eq!(std::fs::read(server.dir().join(stored)).unwrap(), b"hello");
        assert_eq!(head(&server, &location).field("Upload-Offset"), "5");
    }
    assert_eq!(server.published(), ["notes-1.txt", "notes.txt"]);
}

fn is_part_of(entry: &std::fs::DirEntry, size: u64) -> bool {
    let is_part = entry.file_name().to_str().is_some_and(|name| name.ends_with(".part"));
    is_part && entry.metadata().is_ok_and(|metadata| metadata.len() == size)
}
