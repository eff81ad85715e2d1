//! Uploads that one protocol begins and another continues, each paired with PUT: one partial file
//! for all of them.

use std::io::Write;

use anyport_testkit::harness::http::{Response, curl, curl_says, field_of, request};
use anyport_testkit::harness::tokens::{ALICE, BOB, guarded};
use anyport_testkit::harness::wire::{connect, read_line};
use anyport_testkit::harness::{Running, Sample, Server, anyport, assert_same_bytes};
use anyport_testkit::noise;
use serde_json::Value;

const LENGTH: usize = 3_000_017;
const SENT: usize = 2_000_000;
const TUS: &str = "Tus-Resumable: 1.0.0\n";
const TUS_CONTENT: &str = "Content-Type: application/offset+octet-stream\n";
const IETF: &str = "Upload-Draft-Interop-Version: 8\n";

/// Sends the beginning of a file as `x.bin`, over each protocol; its connection is then lost.
type Begin = fn(&Server, &[u8]);

fn begin_by_put(server: &Server, content: &[u8]) {
    let head =
        format!("PUT /x.bin HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let mut stream = connect(server.port());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content[..SENT]).unwrap();
    drop(stream);
    server.next_interrupted();
}

fn begin_by_tcp(server: &Server, content: &[u8]) {
    let mut stream = connect(server.port());
    let line = format!("ANYPORT/1 PUT x.bin size={} resume\n", content.len());
    stream.write_all(line.as_bytes()).unwrap();
    assert_eq!(read_line(&mut stream), "ANYPORT/1 GO offset=0");
    stream.write_all(&content[..SENT]).unwrap();
    drop(stream);
    server.next_interrupted();
}

/// In order: no connection is lost.
fn begin_by_tus(server: &Server, content: &[u8]) {
    // printf x.bin | base64
    let fields =
        format!("{TUS}{TUS_CONTENT}Upload-Metadata: filename eC5iaW4=\nUpload-Length: {LENGTH}\n");
    let created = request(server.port(), "POST /files/", &fields, &content[..SENT]);
    assert_eq!(created.status(), 201, "{created:?}");
}

fn begin_by_ietf(server: &Server, content: &[u8]) {
    let fields = format!("{IETF}Upload-Complete: ?0\nUpload-Length: {LENGTH}\n");
    let created = request(server.port(), "PUT /x.bin", &fields, &content[..SENT]);
    assert_eq!(created.status(), 201, "{created:?}");
}

const BEGINNINGS: [(&str, Begin); 4] =
    [("put", begin_by_put), ("tcp", begin_by_tcp), ("tus", begin_by_tus), ("ietf", begin_by_ietf)];

/// Continues the file, and returns the offset of the first byte that was sent.
type Continue = fn(&Server, &[u8]) -> u64;

fn continue_by_put(server: &Server, content: &[u8]) -> u64 {
    let put = |first: usize| -> Response {
        let fields = format!("Content-Range: bytes {first}-{}/{LENGTH}\n", LENGTH - 1);
        request(server.port(), "PUT /x.bin", &fields, &content[first..])
    };
    // Another start is refused with the right one.
    let refused = put(LENGTH - 1);
    assert_eq!(refused.status(), 409, "{refused:?}");
    let offset = refused.field("Upload-Offset");
    assert!(refused.text().contains(&format!("curl -C {offset} -T FILE")), "{refused:?}");
    let offset = offset.parse().unwrap();
    let done = put(offset);
    assert_eq!(done.status(), 201, "{done:?}");
    offset as u64
}

fn continue_by_tus(server: &Server, content: &[u8]) -> u64 {
    let fields = format!("{TUS}Upload-Metadata: filename eC5iaW4=\nUpload-Length: {LENGTH}\n");
    let created = request(server.port(), "POST /files/", &fields, b"");
    let location = created.field("Location");
    let found = request(server.port(), &format!("HEAD {location}"), TUS, b"");
    assert_eq!(created.field("Upload-Offset"), found.field("Upload-Offset"), "{created:?}");
    let offset: usize = found.field("Upload-Offset").parse().unwrap();
    let fields = format!("{TUS}{TUS_CONTENT}Upload-Offset: {offset}\n");
    let done = request(server.port(), &format!("PATCH {location}"), &fields, &content[offset..]);
    assert_eq!(done.status(), 204, "{done:?}");
    offset as u64
}

fn continue_by_ietf(server: &Server, content: &[u8]) -> u64 {
    let fields = format!("{IETF}Upload-Complete: ?0\nUpload-Length: {LENGTH}\n");
    let created = request(server.port(), "PUT /x.bin", &fields, b"");
    let location = created.field("Location");
    let offset: usize = created.field("Upload-Offset").parse().unwrap();
    let media = "Content-Type: application/partial-upload\n";
    let fields = format!("{IETF}{media}Upload-Complete: ?1\nUpload-Offset: {offset}\n");
    let done = request(server.port(), &format!("PATCH {location}"), &fields, &content[offset..]);
    assert_eq!(done.status(), 201, "{done:?}");
    offset as u64
}

fn continue_by_tcp(server: &Server, content: &[u8]) -> u64 {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("x.bin");
    std::fs::write(&file, content).unwrap();
    let url = server.url("tcp", "");
    let outcome = anyport(&["send", "--json", file.to_str().unwrap(), &url]).succeeds();
    let receipt: Value = outcome.json().into_iter().next().unwrap();
    receipt["resumed"].as_u64().unwrap_or_default()
}

const CONTINUATIONS: [(&str, Continue); 4] = [
    ("put", continue_by_put),
    ("tcp", continue_by_tcp),
    ("tus", continue_by_tus),
    ("ietf", continue_by_ietf),
];

#[test]
fn each_protocol_continues_what_another_one_began() {
    let content = noise(LENGTH, 7);
    for (first, begin) in BEGINNINGS {
        for (second, continue_by) in CONTINUATIONS {
            let pair = format!("{first} then {second}");
            let server = Server::start(&[]);
            begin(&server, &content);
            let offset = continue_by(&server, &content);
            assert!(offset > 0, "{pair} sent everything again");
            let receipt = loop {
                let event = server.next_event();
                if event["event"] == "receipt" {
                    break event;
                }
                assert_eq!(event["event"], "refused", "{pair}: {event}");
            };
            let reported = (&receipt["path"], &receipt["resumed"], &receipt["bytes"]);
            assert_eq!(reported, (&"x.bin".into(), &offset.into(), &LENGTH.into()), "{pair}");
            assert_same_bytes(&server.stored(&receipt), &content);
            assert_eq!(server.published(), ["x.bin"], "{pair}");
        }
    }
}

/// As a client makes them that creates its upload anew for each attempt.
#[test]
fn uploads_without_content_hide_no_content() {
    let content = noise(LENGTH, 8);
    for (first, begin) in BEGINNINGS {
        let server = Server::start(&[]);
        begin(&server, &content);
        let fields = format!("{TUS}Upload-Metadata: filename eC5iaW4=\nUpload-Length: {LENGTH}\n");
        for _ in 0..20 {
            let created = request(server.port(), "POST /files/", &fields, b"");
            assert_eq!(created.status(), 201, "{created:?}");
        }
        assert!(continue_by_tus(&server, &content) > 0, "{first}: sent everything again");
        assert_same_bytes(&std::fs::read(server.dir().join("x.bin")).unwrap(), &content);
    }
}

#[test]
fn curl_continues_at_the_offset_that_the_refusal_names() {
    let server = Server::start(&[]);
    let content = noise(LENGTH, 9);
    begin_by_put(&server, &content);
    let (sample, url) = (Sample::new("x.bin", &content), server.url("http", ""));
    let Some((said, status)) = curl_says(&["-i", "-C", "5", "-T", sample.path(), &url]) else {
        return;
    };
    assert_eq!(status, 409, "{said}");
    let offset = field_of(&said, "Upload-Offset");
    assert!(said.contains(&format!("hint: continue there: curl -C {offset} -T FILE")), "{said}");
    server.next_refused();
    let (said, status) = curl_says(&["-C", offset, "-T", sample.path(), &url]).unwrap();
    assert_eq!(status, 201, "{said}");
    let receipt = server.next_receipt();
    assert_eq!(receipt["resumed"].to_string(), offset);
    assert_same_bytes(&server.stored(&receipt), &content);
    // Nothing is left to continue; the whole file is a whole upload.
    let (said, status) = curl_says(&["-i", "-C", "5", "-T", sample.path(), &url]).unwrap();
    assert_eq!((status, field_of(&said, "Upload-Offset")), (409, "0"), "{said}");
    assert!(said.contains("curl -T FILE URL"), "{said}");
    server.next_refused();
    let mut curl = curl().unwrap();
    curl.args(["-H", &format!("Content-Range: bytes 0-{}/{LENGTH}", LENGTH - 1)]);
    curl.args(["-T", sample.path(), &server.url("http", "y.bin")]);
    Running::start(curl, None).outcome().succeeds();
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

#[test]
fn another_address_cannot_continue_a_file_without_its_id() {
    let server = Server::start(&[]);
    let content = noise(LENGTH, 11);
    begin_by_put(&server, &content);
    let (sample, url) = (Sample::new("x.bin", &content), server.url("http", ""));
    let from = ["-i", "--interface", "127.0.0.2", "-C", "1000", "-T", sample.path(), &url];
    let Some((said, status)) = curl_says(&from) else { return };
    assert_eq!((status, field_of(&said, "Upload-Offset")), (409, "0"), "{said}");
}

#[test]
fn a_token_continues_its_own_files_and_an_id_is_enough_for_its_upload() {
    let (server, _tokens) = guarded(&[]);
    let content = noise(LENGTH, 13);
    let [alice, bob] = [ALICE, BOB].map(|token| format!("Authorization: Bearer {token}\n"));
    let mut stream = connect(server.port());
    let head = format!("PUT /x.bin HTTP/1.1\nHost: a\n{alice}Content-Length: {LENGTH}\n\n");
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
    stream.write_all(&content[..SENT]).unwrap();
    drop(stream);
    server.next_interrupted();
    let range = format!("Content-Range: bytes 1-{}/{LENGTH}\n", LENGTH - 1);
    let put = |token: &str| {
        request(server.port(), "PUT /x.bin", &format!("{token}{range}"), &content[1..])
    };
    assert_eq!(put(&bob).field("Upload-Offset"), "0");
    assert_ne!(put(&alice).field("Upload-Offset"), "0");
    let creation = format!("{TUS}{alice}Upload-Length: 5\n");
    let created = request(server.port(), "POST /files/", &creation, b"");
    let head = |token: &str| {
        let line = format!("HEAD {}", created.field("Location"));
        request(server.port(), &line, &format!("{TUS}{token}"), b"").status()
    };
    assert_eq!((head(&alice), head(&bob), head("")), (200, 200, 401));
}

#[test]
fn a_range_that_is_not_the_rest_of_the_file_is_refused() {
    let server = Server::start(&[]);
    for (range, content) in [
        ("bytes 0-3/10", "abcd"),
        ("bytes 2-3/10", "ab"),
        ("bytes 0-4/*", "hello"),
        ("bytes */5", "hello"),
        ("items 0-4/5", "hello"),
        ("bytes 0-4/5\nContent-Range: bytes 0-4/5", "hello"),
    ] {
        let fields = format!("Content-Range: {range}\n");
        let refused = request(server.port(), "PUT /x", &fields, content.as_bytes());
        assert_eq!(refused.status(), 400, "{range}: {refused:?}");
        assert!(refused.text().contains("Content-Range: "), "{refused:?}");
        assert!(refused.text().contains("hint: send the whole file, or the rest"), "{refused:?}");
    }
    let fields = "Content-Range: bytes 0-4/5\n";
    let refused = request(server.port(), "PUT /x", fields, b"hell");
    assert_eq!(refused.status(), 400, "{refused:?}");
    assert!(refused.text().contains("the content has 4 bytes"), "{refused:?}");
    assert_eq!(server.published(), Vec::<String>::new());
    let stored = request(server.port(), "PUT /x", fields, b"hello");
    assert_eq!(stored.status(), 201, "{stored:?}");
}
