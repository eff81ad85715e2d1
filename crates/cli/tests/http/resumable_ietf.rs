//! Resumable uploads by draft-ietf-httpbis-resumable-upload, in each interop version.

use std::io::{Read, Write};

use anyport_testkit::harness::http::{Response, curl_says, field_of, request};
use anyport_testkit::harness::http2::{DATA, END_HEADERS, HEADERS, Http2Peer, field, head};
use anyport_testkit::harness::wire::{connect, read_head, wait_until_read};
use anyport_testkit::harness::{Sample, Server, assert_same_bytes};
use anyport_testkit::noise;
use serde_json::Value;

/// The fields of an interop version.
struct Version {
    number: u8,
    /// The fields of a request with content that is not the end of the file, and that is it.
    part: &'static str,
    whole: &'static str,
    /// Media type of appended content.
    media: &'static str,
    /// The state of an incomplete and of a complete upload in a response.
    field: (&'static str, &'static str, &'static str),
    has_length: bool,
    /// Key of the remaining lifetime in `Upload-Limit`.
    lifetime: Option<&'static str>,
    /// Status of an append that does not complete.
    appended: u16,
    /// Status of an append of nothing to a complete upload.
    repeated: u16,
}

const PARTIAL: &str = "Content-Type: application/partial-upload\n";

const VERSIONS: [Version; 3] = [
    Version {
        number: 3,
        part: "Upload-Draft-Interop-Version: 3\nUpload-Incomplete: ?1\n",
        whole: "Upload-Draft-Interop-Version: 3\nUpload-Incomplete: ?0\n",
        media: "",
        field: ("Upload-Incomplete", "?1", "?0"),
        has_length: false,
        lifetime: None,
        appended: 201,
        repeated: 200,
    },
    Version {
        number: 6,
        part: "Upload-Draft-Interop-Version: 6\nUpload-Complete: ?0\n",
        whole: "Upload-Draft-Interop-Version: 6\nUpload-Complete: ?1\n",
        media: PARTIAL,
        field: ("Upload-Complete", "?0", "?1"),
        has_length: true,
        lifetime: Some("expires"),
        appended: 201,
        repeated: 400,
    },
    Version {
        number: 8,
        part: "Upload-Draft-Interop-Version: 8\nUpload-Complete: ?0\n",
        whole: "Upload-Draft-Interop-Version: 8\nUpload-Complete: ?1\n",
        media: PARTIAL,
        field: ("Upload-Complete", "?0", "?1"),
        has_length: true,
        lifetime: Some("max-age"),
        appended: 204,
        repeated: 200,
    },
];

impl Version {
    fn names_itself(&self) -> String {
        format!("Upload-Draft-Interop-Version: {}\n", self.number)
    }

    fn head(&self, server: &Server, location: &str) -> Response {
        request(server.port(), &format!("HEAD {location}"), &self.names_itself(), b"")
    }

    fn patch(
        &self,
        server: &Server,
        location: &str,
        offset: u64,
        is_end: bool,
        content: &[u8],
    ) -> Response {
        let complete = if is_end { self.whole } else { self.part };
        let fields = format!("{complete}{}Upload-Offset: {offset}\n", self.media);
        request(server.port(), &format!("PATCH {location}"), &fields, content)
    }

    /// Creates an upload without content; returns its location.
    fn create(&self, server: &Server, path: &str, length: u64) -> String {
        let length = format!("Upload-Length: {length}\n");
        let fields = format!("{}{length}", self.part);
        let created = request(server.port(), &format!("PUT {path}"), &fields, b"");
        assert_eq!(created.status(), 201, "{created:?}");
        created.field("Location").to_owned()
    }
}

#[test]
fn each_version_creates_appends_completes_and_remembers_an_upload() {
    for version in VERSIONS {
        let server = Server::start(&[]);
        let number = version.number;
        let (field, incomplete, complete) = version.field;
        let fields = format!("{}Upload-Length: 11\n", version.part);
        let created = request(server.port(), &format!("PUT /d/v{number}.txt"), &fields, b"hello");
        let location = created.field("Location").to_owned();
        assert_eq!(created.status(), 201, "{created:?}");
        let id = location.strip_prefix("/.anyport/uploads/").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{location}");
        assert_eq!((created.field("Upload-Offset"), created.field(field)), ("5", incomplete));
        // The interim response is sent before any content was read.
        let limit = version.lifetime.map(|key| format!("Upload-Limit: {key}=86400\r\n"));
        let interim = format!(
            "HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: \
             {number}\r\nLocation: {location}\r\n{}",
            limit.unwrap_or_default()
        );
        assert_eq!(created.interim, [interim.trim_end()]);

        let head = version.head(&server, &location);
        assert_eq!(head.status(), 204, "{head:?}");
        assert_eq!((head.field("Upload-Offset"), head.field(field)), ("5", incomplete));
        assert_eq!(head.field("Upload-Length"), if version.has_length { "11" } else { "" });
        assert_eq!(head.field("Cache-Control"), "no-store");

        let appended = version.patch(&server, &location, 5, false, b" wor");
        assert_eq!(appended.status(), version.appended, "{appended:?}");
        assert_eq!((appended.field("Upload-Offset"), appended.field(field)), ("9", incomplete));
        assert!(appended.interim.is_empty(), "{appended:?}");
        assert_eq!(server.published(), Vec::<String>::new());

        let done = version.patch(&server, &location, 9, true, b"ld");
        assert_eq!(done.status(), 201, "{done:?}");
        assert_eq!((done.field("Upload-Offset"), done.field(field)), ("11", complete));
        assert_eq!(done.field("Location"), format!("/files/d/v{number}.txt"));
        assert!(
            done.text().starts_with(&format!("d/v{number}.txt stored: 11 B (2 B now) in ")),
            "{done:?}"
        );
        let receipt = server.next_receipt();
        assert_eq!(receipt["path"], format!("d/v{number}.txt"));
        assert_eq!(server.stored(&receipt), b"hello world");

        // A lost final response costs nothing.
        let head = version.head(&server, &location);
        assert_eq!((head.status(), head.field("Upload-Offset")), (204, "11"), "{head:?}");
        assert_eq!(head.field(field), complete);
        assert_eq!(head.field("Content-Location"), format!("/files/d/v{number}.txt"));
        let repeated = version.patch(&server, &location, 11, true, b"");
        assert_eq!(repeated.status(), version.repeated, "{repeated:?}");
        let late = version.patch(&server, &location, 0, true, b"hello world");
        assert_eq!((late.status(), late.field("Upload-Offset")), (409, "11"), "{late:?}");
        assert_eq!(late.field(field), complete, "{late:?}");

        let line = format!("DELETE {location}");
        let removed = request(server.port(), &line, &version.names_itself(), b"");
        assert_eq!(removed.status(), 204, "{removed:?}");
        assert_eq!(version.head(&server, &location).status(), 404);
        assert_eq!(server.stored(&receipt), b"hello world");
    }
}

#[test]
fn an_upload_with_all_content_is_answered_as_an_ordinary_one() {
    let server = Server::start(&[]);
    for version in VERSIONS {
        let name = format!("whole-{}.txt", version.number);
        let fields = format!("{}Accept: application/json\n", version.whole);
        let stored = request(server.port(), &format!("PUT /{name}"), &fields, b"hello");
        assert_eq!(stored.status(), 201, "{stored:?}");
        let reported: Value = serde_json::from_slice(&stored.content).unwrap();
        assert_eq!(reported["receipt"]["path"], name);
        let [interim] = &stored.interim[..] else { panic!("{stored:?}") };
        let resource = field_of(interim, "Location");
        let location = stored.field("Location");
        // Versions before 8 promise the same location in all responses.
        let expected = if version.number < 8 { resource } else { &format!("/files/{name}") };
        assert_eq!(location, expected);
        assert_eq!(stored.field("Content-Location"), format!("/files/{name}"));
        assert_eq!(stored.field(version.field.0), version.field.2);
        assert_eq!(server.stored(&server.next_receipt()), b"hello");
    }
}

#[test]
fn a_request_without_a_known_version_is_an_ordinary_upload_without_interim_responses() {
    let server = Server::start(&[]);
    for (name, fields) in [
        ("a", "Upload-Complete: ?1\n"),
        ("b", "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 7\n"),
        ("c", "Upload-Incomplete: ?0\n"),
    ] {
        let stored = request(server.port(), &format!("PUT /{name}"), fields, b"hello");
        assert_eq!((stored.status(), stored.interim.len()), (201, 0), "{stored:?}");
        assert_eq!(stored.field("Location"), format!("/files/{name}"));
        assert_eq!(server.stored(&server.next_receipt()), b"hello");
    }
    // HTTP/1.0 has no interim responses.
    let mut stream = connect(server.port());
    let fields = "Upload-Draft-Interop-Version: 8\r\nUpload-Complete: ?1\r\nContent-Length: 5";
    stream.write_all(format!("PUT /d HTTP/1.0\r\n{fields}\r\n\r\nhello").as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 201 Created\r\n"));
}

#[test]
fn a_client_that_waits_for_permission_gets_both_interim_responses() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let fields = "Upload-Draft-Interop-Version: 8\r\nUpload-Complete: ?1\r\nContent-Length: 5";
    let head = format!("PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{fields}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 104 Upload Resumption Supported\r\n"));
    assert_eq!(read_head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 201 Created\r\n"));
}

#[test]
fn an_interrupted_creation_continues_at_the_location_of_the_interim_response() {
    let server = Server::start(&[]);
    let content = noise(3_000_017, 5);
    for version in VERSIONS {
        let mut stream = connect(server.port());
        let (number, length) = (version.number, content.len());
        let fields = version.whole.replace('\n', "\r\n");
        let head = format!(
            "PUT /big-{number} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let interim = read_head(&mut stream);
        let location = field_of(&interim, "Location").to_owned();
        stream.write_all(&content[..2_000_000]).unwrap();
        drop(stream);
        server.next_interrupted();
        let offset: u64 = version.head(&server, &location).field("Upload-Offset").parse().unwrap();
        assert!((1..=2_000_000).contains(&offset), "{offset}");
        let rest = &content[usize::try_from(offset).unwrap()..];
        let done = version.patch(&server, &location, offset, true, rest);
        assert_eq!(done.status(), 201, "{done:?}");
        let receipt = server.next_receipt();
        assert_eq!(receipt["resumed"], offset, "{receipt}");
        assert_same_bytes(&server.stored(&receipt), &content);
    }
}

#[test]
fn an_upload_of_unknown_length_grows_until_a_request_completes_it() {
    let server = Server::start(&[]);
    let version = &VERSIONS[2];
    let chunked = format!("{}Transfer-Encoding: chunked\n", version.part);
    let created = request(server.port(), "PUT /log", &chunked, b"3\r\nabc\r\n0\r\n\r\n");
    let location = created.field("Location").to_owned();
    assert_eq!((created.status(), created.field("Upload-Offset")), (201, "3"), "{created:?}");
    assert_eq!(version.head(&server, &location).field("Upload-Length"), "");
    let fields =
        format!("{}{PARTIAL}Upload-Offset: 3\nTransfer-Encoding: chunked\n", version.whole);
    let line = format!("PATCH {location}");
    let done = request(server.port(), &line, &fields, b"2\r\nde\r\n0\r\n\r\n");
    assert_eq!((done.status(), done.field("Upload-Offset")), (201, "5"), "{done:?}");
    assert_eq!(server.stored(&server.next_receipt()), b"abcde");

    // All content first, and its end by a request without content.
    let created = request(server.port(), "PUT /late", version.part, b"hello");
    let location = created.field("Location").to_owned();
    assert!(version.patch(&server, &location, 5, false, b"").status() == 204);
    let done = version.patch(&server, &location, 5, true, b"");
    assert_eq!((done.status(), done.field("Upload-Offset")), (201, "5"), "{done:?}");
    assert_eq!(server.stored(&server.next_receipt()), b"hello");
}

#[test]
fn the_name_is_that_of_the_path_or_of_the_content_disposition() {
    let server = Server::start(&[]);
    let version = &VERSIONS[1];
    for (path, disposition, stored) in [
        ("/files/d/", "Content-Disposition: inline; filename=\"a b.txt\"\n", "d/a b.txt"),
        ("/", "Content-Disposition: inline; filename*=UTF-8''%C3%BC.txt\n", "ü.txt"),
        ("/files/x.txt", "Content-Disposition: inline; filename=other\n", "x.txt"),
        ("/files/.anyport/uploads/x", "", "_.anyport/uploads/x"),
    ] {
        let fields = format!("{}{disposition}", version.whole);
        let done = request(server.port(), &format!("POST {path}"), &fields, b"hello");
        assert_eq!(done.status(), 201, "{done:?}");
        assert_eq!(server.next_receipt()["path"], stored);
    }
    // Without a name the server chooses one.
    request(server.port(), "POST /", version.whole, b"hello");
    assert!(server.next_receipt()["path"].as_str().unwrap().contains("-http-"));
}

#[test]
fn every_refusal_names_its_rule() {
    let server = Server::start(&["--max-size", "1000"]);
    let version = &VERSIONS[2];
    let location = version.create(&server, "/refused", 11);
    let wrong = version.patch(&server, &location, 3, false, b"abc");
    assert_eq!((wrong.status(), wrong.field("Upload-Offset")), (409, "0"), "{wrong:?}");
    assert_eq!(wrong.field("Content-Type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(&wrong.content).unwrap();
    assert_eq!((&problem["expected-offset"], &problem["provided-offset"]), (&0.into(), &3.into()));
    assert!(problem["type"].as_str().unwrap().ends_with("#mismatching-upload-offset"));
    version.patch(&server, &location, 0, false, b"hello");
    let wrong = version.patch(&server, &location, 0, false, b"hello");
    assert_eq!((wrong.status(), wrong.field("Upload-Offset")), (409, "5"), "{wrong:?}");

    let named = version.names_itself();
    let path = format!("PATCH {location}");
    for (line, fields, content, status, rule) in [
        (
            &*path,
            format!("{}{PARTIAL}Upload-Offset: 12\n", version.part),
            "x",
            400,
            "beyond the 11 bytes",
        ),
        (
            &path,
            format!("{}{PARTIAL}Upload-Offset: 5\n", version.part),
            "1234567",
            400,
            "beyond the 11 bytes",
        ),
        (
            &path,
            format!("{}{PARTIAL}Upload-Offset: 5\n", version.whole),
            "123",
            400,
            "inconsistent-upload-length",
        ),
        (
            &path,
            format!("{}{PARTIAL}Upload-Offset: 5\nUpload-Length: 12\n", version.part),
            "x",
            400,
            "inconsistent-upload-length",
        ),
        (
            &path,
            format!("{}Upload-Offset: 5\n", version.part),
            "x",
            415,
            "application/partial-upload",
        ),
        (&path, format!("{}{PARTIAL}", version.part), "x", 400, "Upload-Offset is missing"),
        (
            &path,
            format!("{PARTIAL}Upload-Offset: 5\n"),
            "x",
            400,
            "Upload-Draft-Interop-Version: 3, 6, 8",
        ),
        (
            &path,
            format!("{PARTIAL}Upload-Draft-Interop-Version: 5\nUpload-Offset: 5\n"),
            "x",
            400,
            "version \"5\" is not supported; supported: 3, 6, 8",
        ),
        (
            &format!("PUT {location}"),
            named.clone(),
            "x",
            405,
            "allowed: GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        ),
        (&format!("POST {location}"), named.clone(), "x", 405, "not a method of upload resources"),
        ("PATCH /files/refused", named.clone(), "x", 405, "PATCH is not allowed"),
        ("DELETE /files/refused", named.clone(), "", 403, "lacks the right delete"),
        (
            "PATCH /.anyport/uploads/0123456789abcdef0123456789abcdef",
            format!("{}{PARTIAL}Upload-Offset: 0\n", version.part),
            "x",
            404,
            "does not exist",
        ),
        (
            "PATCH /.anyport/uploads/x",
            format!("{}{PARTIAL}Upload-Offset: 0\n", version.part),
            "x",
            404,
            "no such upload",
        ),
        (
            "PUT /new",
            "Upload-Complete: ?0\n".to_owned(),
            "x",
            400,
            "needs Upload-Draft-Interop-Version: 3, 6, 8",
        ),
        (
            "PUT /new",
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 9\n".to_owned(),
            "x",
            400,
            "version \"9\"",
        ),
        ("PUT /new", format!("{}Upload-Length: 1001\n", version.part), "", 413, "--max-size"),
        (
            "PUT /new",
            format!("{}Content-Range: bytes 0-0/5\n", version.part),
            "x",
            400,
            "Content-Range",
        ),
        (
            "PUT /new/",
            format!("{}Upload-Length: 0\n", version.part),
            "",
            400,
            "/new/ is a directory",
        ),
    ] {
        let refused = request(server.port(), line, &fields, content.as_bytes());
        assert_eq!(refused.status(), status, "{line} {fields}: {refused:?}");
        assert!(refused.text().contains(rule), "{line} {fields}: {refused:?}");
    }
    let fields = format!("{}Upload-Length: 1001\n", version.part);
    let large = request(server.port(), "PUT /large", &fields, b"");
    assert_eq!((large.status(), large.field("Upload-Limit")), (413, "max-size=1000"), "{large:?}");
    // Content beyond the size is refused while it arrives, and the rest is kept.
    let chunked =
        format!("{}{PARTIAL}Upload-Offset: 5\nTransfer-Encoding: chunked\n", version.part);
    let refused = request(server.port(), &path, &chunked, b"7\r\n1234567\r\n0\r\n\r\n");
    assert_eq!(refused.status(), 400, "{refused:?}");
    assert_eq!(version.head(&server, &location).field("Upload-Offset"), "5");
    let done = version.patch(&server, &location, 5, true, b" world");
    assert_eq!(done.status(), 201, "{done:?}");
    while server.try_event().is_some() {}
    let again = version.patch(&server, &location, 11, true, b"x");
    assert_eq!(again.status(), 400, "{again:?}");
    assert!(again.text().contains("completed-upload"), "{again:?}");
}

#[test]
fn a_wrong_digest_of_the_whole_is_refused_and_its_content_kept_apart() {
    let server = Server::start(&[]);
    let version = &VERSIONS[2];
    // printf hello | openssl dgst -sha256 -binary | base64
    let digest = "Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\n";
    for (content, status) in [(b"hello", 201), (b"hallo", 422)] {
        let fields = format!("{}Upload-Length: 5\n{digest}", version.part);
        let created = request(server.port(), &format!("PUT /d-{status}"), &fields, b"");
        let location = created.field("Location").to_owned();
        version.patch(&server, &location, 0, false, &content[..2]);
        let fields = format!("{}{PARTIAL}Upload-Offset: 2\n{digest}", version.whole);
        let done = request(server.port(), &format!("PATCH {location}"), &fields, &content[2..]);
        assert_eq!(done.status(), status, "{done:?}");
        assert_eq!(done.field("Upload-Complete"), "?1", "{done:?}");
        if status == 422 {
            assert!(done.text().contains("digest differs"), "{done:?}");
            assert_eq!(version.head(&server, &location).status(), 404);
        }
    }
    assert_eq!(server.published(), ["d-201"]);
    // The creation may state it, and a kill of the server does not lose it.
    let scratch = tempfile::tempdir().unwrap();
    let start = || Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    let mut first = start();
    let fields = format!("{}Upload-Length: 5\n{digest}", version.part);
    let created = request(first.port(), "PUT /remembered", &fields, b"ha");
    first.kill();
    let second = start();
    let done = version.patch(&second, created.field("Location"), 2, true, b"llo");
    assert_eq!(done.status(), 422, "{done:?}");
    assert_eq!(second.published(), Vec::<String>::new());
    // The digest of one request's content concerns that request only.
    let location = version.create(&server, "/parts", 10);
    let digest = digest.replace("Repr", "Content");
    for (content, status, offset) in [(b"hallo", 422, "0"), (b"hello", 204, "5")] {
        let fields = format!("{}{PARTIAL}Upload-Offset: 0\n{digest}", version.part);
        let appended = request(server.port(), &format!("PATCH {location}"), &fields, content);
        assert_eq!(appended.status(), status, "{appended:?}");
        assert_eq!(version.head(&server, &location).field("Upload-Offset"), offset);
    }
}

#[test]
fn options_announces_both_dialects() {
    let server = Server::start(&["--max-size", "1000"]);
    for path in ["/", "/files/", "/name", "*", "/.anyport/uploads/x"] {
        let options = request(server.port(), &format!("OPTIONS {path}"), "", b"");
        assert_eq!(options.status(), 204, "{options:?}");
        for (field, value) in [
            ("Upload-Limit", "max-size=1000"),
            ("Accept-Patch", "application/offset+octet-stream, application/partial-upload"),
            ("Tus-Resumable", "1.0.0"),
            ("Tus-Version", "1.0.0"),
            ("Tus-Max-Size", "1000"),
            ("Tus-Checksum-Algorithm", "sha1,sha256"),
            (
                "Tus-Extension",
                "creation,creation-with-upload,creation-defer-length,expiration,termination,\
                 checksum",
            ),
        ] {
            assert_eq!(options.field(field), value, "{path}: {options:?}");
        }
    }
    let options = request(server.port(), "OPTIONS /echo", "", b"");
    assert_eq!(options.field("Upload-Limit"), "", "{options:?}");
    let server = Server::start(&["--read-only"]);
    let options = request(server.port(), "OPTIONS /", "", b"");
    assert_eq!(options.field("Tus-Version"), "", "{options:?}");
}

#[test]
fn http2_continues_an_upload_too() {
    let server = Server::start(&[]);
    let (url, part, rest) =
        (server.url("http", "h2.txt"), Sample::new("a", b"hello"), Sample::new("b", b" world"));
    let version = ["-i", "--http2-prior-knowledge", "-H", "Upload-Draft-Interop-Version: 8"];
    let create = ["-H", "Upload-Complete: ?0", "-H", "Upload-Length: 11", "-T", part.path(), &url];
    let Some((said, status)) = curl_says(&[&version[..], &create].concat()) else { return };
    assert_eq!(status, 201, "{said}");
    // hyper sends no interim responses; the location is in the final one.
    assert!(!said.contains("104"), "{said}");
    let location = server.url("http", &field_of(&said, "location")[1..]);
    let (said, status) = curl_says(&[&version[..], &["-I", &location]].concat()).unwrap();
    assert_eq!((status, field_of(&said, "upload-offset")), (204, "5"), "{said}");
    let rest = format!("@{}", rest.path());
    let append = [
        "-X",
        "PATCH",
        "-H",
        "Upload-Complete: ?1",
        "-H",
        "Upload-Offset: 5",
        "-H",
        "Content-Type: application/partial-upload",
        "--data-binary",
        &rest,
        &location,
    ];
    let (said, status) = curl_says(&[&version[..], &append].concat()).unwrap();
    assert_eq!((status, field_of(&said, "upload-offset")), (201, "11"), "{said}");
    let receipt = server.next_receipt();
    assert_eq!((&receipt["protocol"], &receipt["path"]), (&"http2".into(), &"h2.txt".into()));
    assert_eq!(server.stored(&receipt), b"hello world");
}

#[test]
fn an_upload_survives_a_kill_of_the_server() {
    let scratch = tempfile::tempdir().unwrap();
    let start = || Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    let (version, content) = (&VERSIONS[2], noise(700_001, 3));
    let mut server = start();
    let location = version.create(&server, "/killed", content.len() as u64);
    let empty = version.create(&server, "/never", 5);
    version.patch(&server, &location, 0, false, &content[..300_000]);
    server.kill();
    let mut server = start();
    let offset: usize = version.head(&server, &location).field("Upload-Offset").parse().unwrap();
    assert_eq!(offset, 300_000);
    assert_eq!(version.head(&server, &empty).field("Upload-Offset"), "0");
    let done = version.patch(&server, &location, offset as u64, true, &content[offset..]);
    assert_eq!(done.status(), 201, "{done:?}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    server.kill();
    // A completed upload is remembered, too.
    let server = start();
    let head = version.head(&server, &location);
    assert_eq!((head.field("Upload-Complete"), head.field("Upload-Offset")), ("?1", "700001"));
}

#[test]
fn a_request_that_continues_an_upload_ends_the_one_before() {
    let server = Server::start(&[]);
    let version = &VERSIONS[2];
    let location = version.create(&server, "/taken", 11);
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: a\r\n{}Upload-Offset: 0\r\nContent-Length: 11\r\n\r\n",
        format!("{}{PARTIAL}", version.whole).replace('\n', "\r\n")
    );
    let mut first = connect(server.port());
    first.write_all(head.as_bytes()).unwrap();
    first.write_all(b"hello").unwrap();
    wait_until_read(&first);
    let offset = version.head(&server, &location).field("Upload-Offset").to_owned();
    assert_eq!(offset, "5");
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains(" 201 "), "{rest:?}");
    let done = version.patch(&server, &location, 5, true, b" world");
    assert_eq!(done.status(), 201, "{done:?}");
}

#[test]
fn content_of_a_request_that_waits_for_the_one_before_it_is_kept() {
    let version = &VERSIONS[2];
    for expects in [false, true] {
        let server = Server::start(&[]);
        let location = version.create(&server, "/waited", 11);
        let head = |offset: u64, length: u64, expects: &str| {
            let fields = format!("{}{PARTIAL}Upload-Offset: {offset}\n{expects}", version.whole);
            let fields = fields.replace('\n', "\r\n");
            format!(
                "PATCH {location} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n"
            )
        };
        let mut first = connect(server.port());
        first.write_all(format!("{}hello", head(0, 11, "")).as_bytes()).unwrap();
        wait_until_read(&first);
        let mut second = connect(server.port());
        if expects {
            let expectation = "Expect: 100-continue\n";
            second.write_all(head(5, 6, expectation).as_bytes()).unwrap();
            assert_eq!(read_head(&mut second), "HTTP/1.1 100 Continue\r\n\r\n");
            second.write_all(b" world").unwrap();
        } else {
            second.write_all(format!("{} world", head(5, 6, "")).as_bytes()).unwrap();
        }
        assert!(read_head(&mut second).starts_with("HTTP/1.1 201 Created\r\n"), "{expects}");
        assert_eq!(std::fs::read(server.dir().join("waited")).unwrap(), b"hello world");
    }
}

#[test]
fn a_request_that_continues_an_upload_ends_a_stream_and_not_its_connection() {
    let server = Server::start(&[]);
    let version = &VERSIONS[2];
    let location = version.create(&server, "/streamed", 11);
    let mut peer = Http2Peer::open(&server, &[]);
    let mut append = head("PATCH", &location, Some(11));
    for (name, value) in [
        ("upload-draft-interop-version", "8"),
        ("upload-complete", "?1"),
        ("upload-offset", "0"),
        ("content-type", "application/partial-upload"),
    ] {
        append.extend(field(name, value));
    }
    peer.send(HEADERS, END_HEADERS, 1, &append);
    peer.send(DATA, 0, 1, b"hello");
    wait_until_read(&peer.0);
    let found = version.head(&server, &location);
    assert_eq!(found.status(), 204, "{found:?}");
    let answer = peer.until(DATA, 1);
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.starts_with("another request continues this upload"), "{text}");
    peer.get(3, "/time");
    peer.until(HEADERS, 3);
    let offset: u64 = found.field("Upload-Offset").parse().unwrap();
    let content = &b"hello world"[usize::try_from(offset).unwrap()..];
    let done = version.patch(&server, &location, offset, true, content);
    assert_eq!(done.status(), 201, "{done:?}");
}

#[test]
fn a_page_of_another_origin_cannot_use_uploads() {
    let server = Server::start(&[]);
    let version = &VERSIONS[2];
    let location = version.create(&server, "/mine", 5);
    let origin = "Origin: http://evil.example\n";
    let append = format!("{}{PARTIAL}Upload-Offset: 0\n{origin}", version.whole);
    for (line, fields, content) in [
        (format!("PATCH {location}"), &append, "hello"),
        (format!("DELETE {location}"), &format!("{}{origin}", version.names_itself()), ""),
        ("PUT /x".to_owned(), &format!("{}{origin}", version.part), ""),
    ] {
        let refused = request(server.port(), &line, fields, content.as_bytes());
        assert_eq!(refused.status(), 403, "{line}: {refused:?}");
    }
    assert_eq!(version.head(&server, &location).field("Upload-Offset"), "0");
}
