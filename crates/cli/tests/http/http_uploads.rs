//! Files by PUT and POST: their outcome, and the response to their senders.

use std::io::{Read, Write};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http::{curl_says, statuses};
use anyport_testkit::harness::wire::{connect, converse, read_head, read_text};
use anyport_testkit::harness::{Expected, Running, Sample, Server, SmallDisk};
use anyport_testkit::harness::{anyport, assert_same_bytes, blake3, peer, wait_until};

const MIB: usize = 1024 * 1024;

/// Enough to become a bulk transfer, and some more.
const LARGE: usize = 5_000_011;

/// `printf hello | openssl dgst -sha256 -binary | base64`
const HELLO_SHA256: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

/// A PUT of `hello` with further fields, by hand.
fn put_hello(server: &Server, path: &str, fields: &str) -> String {
    put(server, path, fields, "hello")
}

fn put(server: &Server, path: &str, fields: &str, content: &str) -> String {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", server.port());
    let length = format!("Content-Length: {}\r\n", content.len());
    let wire = format!("{head}{fields}{length}Connection: close\r\n\r\n{content}");
    converse(&mut connect(server.port()), wire.as_bytes())
}

#[test]
fn curl_sends_a_file_and_reads_its_receipt() {
    let server = Server::start(&[]);
    let content = noise(LARGE, 1);
    let sample = Sample::new("a photo ü.jpg", &content);
    let expected = Expected { protocol: "http", engine: "own", end: "size", content: &content };
    let Some((said, status)) = curl_says(&["-T", sample.path(), &server.url("http", "")]) else {
        return;
    };
    assert_eq!(status, 201, "{said}");
    let receipt = server.next_receipt();
    expected.check(&server, &receipt);
    assert_eq!(receipt["path"], "a photo ü.jpg");
    assert!(said.starts_with("a photo ü.jpg stored: 5.00 MB in "), "{said}");
    assert!(
        said.contains(&blake3(&content)[..15]) && said.contains(", http, 127.0.0.1:"),
        "{said}"
    );

    let url = server.url("http", "files/d/e.jpg");
    let json = ["-H", "Accept: application/json", "--expect100-timeout", "20"];
    let put =
        [&json[..], &["-i", "-H", "Expect: 100-continue", "-T", sample.path(), &url]].concat();
    let (said, status) = curl_says(&put).unwrap();
    assert_eq!(status, 201, "{said}");
    assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n"), "{said}");
    assert!(said.contains("\r\nLocation: /files/d/e.jpg\r\n"), "{said}");
    let reported: Value = serde_json::from_str(said.rsplit_once("\r\n\r\n").unwrap().1).unwrap();
    let receipt = server.next_receipt();
    expected.check(&server, &receipt);
    for (key, reported) in reported["receipt"].as_object().unwrap() {
        assert_eq!(reported, &receipt[key], "{key}");
    }
}

#[test]
fn curl_sends_its_standard_input_in_chunks() {
    let Some(mut curl) = curl() else { return };
    let server = Server::start(&[]);
    let content = noise(LARGE, 2);
    curl.args(["-T", "-", &server.url("http", "piped.bin")]);
    Running::start(curl, Some(content.clone())).outcome().succeeds();
    let receipt = server.next_receipt();
    // The last chunk is the sender's word that this was all.
    assert_eq!((&receipt["end"], &receipt["confirmed"]), (&"close".into(), &true.into()));
    assert_eq!(receipt["path"], "piped.bin");
    assert_same_bytes(&server.stored(&receipt), &content);
    // Without a name it gets one.
    let Some(mut curl) = self::curl() else { return };
    curl.args(["-T", "-", &server.url("http", "")]);
    Running::start(curl, Some(b"hello".to_vec())).outcome().succeeds();
    let receipt = server.next_receipt();
    assert!(receipt["path"].as_str().unwrap().contains("-http-"), "{receipt}");
    assert_eq!(server.stored(&receipt), b"hello");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn large_files_follow_each_other_with_and_without_a_digest() {
    for flags in [&[][..], &["--digest", "none"], &["--digest", "sha256"], &["--engine", "library"]]
    {
        let server = Server::start(flags);
        let (first, second) = (noise(LARGE, 1), noise(LARGE, 2));
        let head = |name: &str, length: usize| {
            format!("PUT /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
                .into_bytes()
        };
        let mut wire = Vec::new();
        for (name, content) in [("a", &first), ("b", &second), ("c", &Vec::new())] {
            wire.extend_from_slice(&head(name, content.len()));
            wire.extend_from_slice(content);
        }
        wire.extend_from_slice(b"PUT /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in first.chunks(300_007) {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let answers = converse(&mut connect(server.port()), &wire);
        assert_eq!(statuses(&answers), [201, 201, 201, 201, 200], "{flags:?}: {answers}");
        for (name, content) in [("a", &first), ("b", &second), ("c", &Vec::new()), ("d", &first)] {
            let receipt = server.next_receipt();
            assert_eq!(receipt["path"], name, "{receipt}");
            assert_eq!(receipt["digest"].is_null(), flags.contains(&"none"), "{receipt}");
            assert_same_bytes(&server.stored(&receipt), content);
        }
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

/// A person at nc, who types the request.
#[test]
fn a_request_typed_at_nc_is_answered() {
    let Some(mut nc) = peer("nc") else { return };
    let server = Server::start(&[]);
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let wire = b"PUT /typed HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello";
    let outcome = Running::start(nc, Some(wire.to_vec())).outcome();
    assert!(outcome.stdout.starts_with("HTTP/1.1 201 Created\r\n"), "{outcome:#?}");
    assert_eq!(server.stored(&server.next_receipt()), b"hello");
}

#[test]
fn names_are_made_safe_and_those_that_cannot_be_are_refused() {
    let server = Server::start(&[]);
    for (path, stored) in [
        ("/plain", "plain"),
        ("/files/with%20space", "with space"),
        ("/deep/er/file", "deep/er/file"),
        ("/encoded%2Fslash", "encoded/slash"),
        ("/files/help", "help"),
        ("/up/../../over", "up/over"),
        ("/query?x=y", "query"),
        ("/files/.anyport-x.part", "_.anyport-x.part"),
        ("/%ff", "\u{fffd}"),
    ] {
        let answer = put_hello(&server, path, "");
        assert_eq!(statuses(&answer), [201], "{path}: {answer}");
        assert_eq!(server.next_receipt()["path"], stored, "{path}");
    }
    for path in ["/..", "/files/%2e%2e", "/%zz", "/a/..", "/dir/", "/files/dir/"] {
        let answer = put_hello(&server, path, "");
        assert_eq!(statuses(&answer), [400], "{path}: {answer}");
        server.next_refused();
    }
    // An absolute target is taken apart (RFC 9112 §3.2.2).
    let answer = put_hello(&server, "http://elsewhere/absolute", "");
    assert_eq!(statuses(&answer), [201], "{answer}");
    assert_eq!(server.next_receipt()["path"], "absolute");
}

#[test]
fn a_directory_is_made_by_a_slash_and_nothing() {
    let server = Server::start(&[]);
    let wire = "PUT /d/e/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".repeat(2);
    let answers = converse(&mut connect(server.port()), wire.as_bytes());
    assert!(server.dir().join("d/e").is_dir(), "{answers}");
    assert_eq!(statuses(&answers), [201, 201], "{answers}");
    assert_eq!(server.next_receipt()["path"], "d/e");
    server.next_receipt();
}

#[test]
fn a_name_in_use_is_treated_as_configured() {
    for (flags, status, location, content) in [
        (&[][..], 201, "/files/x-1", "old"),
        (&["--on-exists", "rename"], 201, "/files/x-1", "old"),
        (&["--on-exists", "error"], 409, "", "old"),
        (&["--on-exists", "overwrite"], 200, "/files/x", "hello"),
    ] {
        let server = Server::start(flags);
        std::fs::write(server.dir().join("x"), "old").unwrap();
        let answer = put_hello(&server, "/x", "");
        assert_eq!(statuses(&answer), [status], "{flags:?}: {answer}");
        assert_eq!(answer.contains("\r\nLocation: "), !location.is_empty(), "{flags:?}: {answer}");
        assert!(answer.contains(location), "{flags:?}: {answer}");
        assert_eq!(std::fs::read_to_string(server.dir().join("x")).unwrap(), content, "{flags:?}");
        assert_eq!(statuses(&put_hello(&server, "/new", "")), [201], "{flags:?}");
    }
}

#[test]
fn a_file_with_its_time_is_stored_once() {
    let server = Server::start(&[]);
    for (time, seconds) in [
        ("X-Anyport-Mtime: 784111777\r\n", 784_111_777),
        ("Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 784_111_778),
    ] {
        let path = format!("/at-{seconds}");
        let answer = put_hello(&server, &path, time);
        assert_eq!(statuses(&answer), [201], "{answer}");
        server.next_receipt();
        let stored = std::fs::metadata(server.dir().join(&path[1..])).unwrap();
        let modified = stored.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(modified.as_secs(), seconds);
        let again = put_hello(&server, &path, time);
        assert_eq!(statuses(&again), [200], "{again}");
        assert_eq!(server.next_receipt()["end"], "already-here");
        let other = put(&server, &path, time, "jello");
        assert_eq!(statuses(&other), [409], "{other}");
        assert!(other.contains("exists"), "{other}");
        server.next_interrupted();
    }
    for wrong in ["X-Anyport-Mtime: yesterday\r\n", "Last-Modified: 784111777\r\n"] {
        assert_eq!(statuses(&put_hello(&server, "/x", wrong)), [400], "{wrong}");
        server.next_refused();
    }
    assert_eq!(server.published().len(), 2);
}

/// RFC 9110 §13.1: prevents a lost update.
#[test]
fn ht_8_preconditions_apply_to_the_stored_file() {
    let server = Server::start(&["--on-exists", "overwrite"]);
    let answer = put_hello(&server, "/x", "If-None-Match: *\r\n");
    assert_eq!(statuses(&answer), [201], "{answer}");
    server.next_receipt();
    let (head, _) = curl_says(&["-I", &server.url("http", "x")]).unwrap_or_default();
    let Some(tag) = head.lines().find_map(|line| line.strip_prefix("ETag: ")) else { return };
    for (fields, status) in [
        ("If-None-Match: *\r\n".to_owned(), 412),
        ("If-Match: \"other\"\r\n".to_owned(), 412),
        (format!("If-Match: W/{tag}\r\n"), 412),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n".to_owned(), 412),
        (format!("If-Match: {tag}\r\n"), 200),
        // Another inode, so another tag.
        (format!("If-Match: {tag}\r\n"), 412),
        ("If-Match: *\r\n".to_owned(), 200),
    ] {
        let answer = put_hello(&server, "/x", &fields);
        assert_eq!(statuses(&answer), [status], "{fields}: {answer}");
        let event = server.next_event();
        assert_eq!(event["event"] == "refused", status == 412, "{event}");
    }
    let answer = put_hello(&server, "/none", "If-Match: *\r\n");
    assert_eq!(statuses(&answer), [412], "{answer}");
    assert_eq!(server.published(), ["x"]);
}

/// Whatever comes between the question whether a name is free and the end of the content.
#[test]
fn ht_8_a_name_created_meanwhile_fails_the_precondition() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let head = "PUT /x HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(format!("{head}hell").as_bytes()).unwrap();
    server.growing_part();
    std::fs::write(server.dir().join("x"), "somebody else's").unwrap();
    stream.write_all(b"o").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 412 "));
    server.next_interrupted();
    assert_eq!(std::fs::read_to_string(server.dir().join("x")).unwrap(), "somebody else's");
    assert_eq!(server.names(), ["x"]);
}

/// RFC 9530, checked before anything is published.
#[test]
fn ht_10_a_digest_in_the_fields_is_checked_and_reported() {
    let server = Server::start(&[]);
    for field in ["Repr-Digest", "Content-Digest"] {
        let answer = put_hello(&server, "/x", &format!("{field}: {HELLO_SHA256}\r\n"));
        assert_eq!(statuses(&answer), [201], "{answer}");
        assert!(answer.contains(&format!("\r\nRepr-Digest: {HELLO_SHA256}\r\n")), "{answer}");
        let receipt = server.next_receipt();
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(receipt["digest"], digest);
        std::fs::remove_file(server.dir().join(receipt["path"].as_str().unwrap())).unwrap();
    }
    let wrong = HELLO_SHA256.replace("LPJN", "AAAA");
    let request = |digest: &str| {
        format!(
            "PUT /x HTTP/1.1\r\nHost: a\r\nRepr-Digest: {digest}\r\nContent-Length: 5\r\n\r\nhello\
             GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        )
    };
    // All of it came, so the connection is fine.
    let answers = converse(&mut connect(server.port()), request(&wrong).as_bytes());
    assert_eq!(statuses(&answers), [422, 200], "{answers}");
    assert!(answers.contains("hint: "), "{answers}");
    server.next_interrupted();
    let answers = converse(&mut connect(server.port()), request("sha-256=:AAAA:").as_bytes());
    assert_eq!(statuses(&answers), [400, 200], "{answers}");
    server.next_refused();
    assert_eq!(server.published(), Vec::<String>::new());
    // Other algorithms are not checked (§2).
    let unknown = request("sha-512=:AAAA:");
    assert_eq!(statuses(&converse(&mut connect(server.port()), unknown.as_bytes())), [201, 200]);
}

#[test]
fn content_that_is_no_complete_file_is_refused() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"hello");
    let url = server.url("http", "x");
    for (arguments, status, word) in [
        (vec!["-d", "hello"], 415, "curl -T"),
        (vec!["--data-binary", "@FILE"], 415, "form"),
        (vec!["-F", "f=@FILE"], 415, "to a directory"),
        (vec!["-T", "FILE", "-H", "Content-Encoding: gzip"], 415, "gzip"),
        (vec!["-T", "FILE", "-H", "Content-Range: bytes 0-4/9"], 400, "bytes 0-4/9"),
        (vec!["-C", "2", "-T", "FILE"], 409, "curl -T FILE URL"),
        (vec!["-X", "PUT"], 411, "length"),
        (vec!["-T", "FILE", "-H", "Origin: http://evil.example"], 403, "http://evil.example"),
        (vec!["-T", "FILE", "-H", "Origin: null"], 403, "null"),
    ] {
        let arguments: Vec<String> =
            arguments.iter().map(|word| word.replace("FILE", sample.path())).collect();
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).chain([url.as_str()]).collect();
        let Some((said, reported)) = curl_says(&arguments) else { return };
        assert_eq!(reported, status, "{arguments:?}: {said}");
        assert!(said.contains(word), "no {word:?} in {said:?}");
        server.next_refused();
    }
    assert_eq!(server.names(), Vec::<String>::new());
    // No coding is none, however it is written (RFC 9110 §8.4.1).
    for coding in
        ["Content-Encoding: Identity", "Content-Encoding;", "Content-Encoding: IDENTITY, "]
    {
        let put = ["-T", sample.path(), "-H", coding, &url];
        assert_eq!(curl_says(&put).unwrap().1, 201, "{coding}");
        assert_eq!(server.stored(&server.next_receipt()), b"hello");
    }
    // A file of any other type may be posted, also where no name is given.
    let post = ["-H", "Content-Type: application/octet-stream", "--data-binary", "@FILE"];
    let post: Vec<String> = post.iter().map(|word| word.replace("FILE", sample.path())).collect();
    for path in ["", "files/posted"] {
        let url = server.url("http", path);
        let arguments: Vec<&str> = post.iter().map(String::as_str).chain([url.as_str()]).collect();
        assert_eq!(curl_says(&arguments).unwrap().1, 201);
        assert_eq!(server.stored(&server.next_receipt()), b"hello");
    }
}

#[test]
fn ht_11_pages_of_this_host_and_of_allowed_origins_may_send() {
    let server = Server::start(&["--allow-origin", "https://app.example.com"]);
    let own = format!("Origin: http://127.0.0.1:{}\r\n", server.port());
    for origin in [own.as_str(), "Origin: https://app.example.com\r\n"] {
        let answer = put_hello(&server, "/x", origin);
        assert_eq!(statuses(&answer), [201], "{origin}: {answer}");
        let is_read = answer.contains("Access-Control-Allow-Origin: https://app.example.com");
        assert_eq!(is_read, origin.contains("app.example.com"), "{answer}");
        server.next_receipt();
    }
}

#[test]
fn size_limits_are_reported_before_the_content_or_when_they_are_reached() {
    let server = Server::start(&["--max-size", "1MiB"]);
    let large = Sample::new("large", &vec![7; 2 * MIB]);
    let url = server.url("http", "");
    let Some((said, 413)) = curl_says(&["-T", large.path(), &url]) else {
        return assert!(curl().is_none());
    };
    assert!(said.contains("--max-size"), "{said}");
    server.next_refused();
    let chunked = ["-H", "Transfer-Encoding: chunked", "-T", large.path(), &url];
    let (said, status) = curl_says(&chunked).unwrap();
    assert_eq!(status, 413, "{said}");
    server.next_interrupted();

    let server = Server::start(&["--quota", "1MiB"]);
    let url = server.url("http", "");
    for coding in ["Transfer-Encoding:", "Transfer-Encoding: chunked"] {
        let (said, status) = curl_says(&["-H", coding, "-T", large.path(), &url]).unwrap();
        assert_eq!(status, 507, "{said}");
        assert!(said.contains("--quota") && said.contains("hint: "), "{said}");
        server.next_event();
    }
    let json = ["-H", "Accept: application/json", "-T", large.path(), &url];
    let (said, _) = curl_says(&json).unwrap();
    let refusal: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(refusal["error"]["code"], "no-space", "{said}");
    server.next_event();
    assert_eq!(server.names(), Vec::<String>::new());
    server.takes_a_good_file();
}

#[test]
fn a_full_disk_is_507() {
    let Some(disk) = SmallDisk::mount() else { return };
    let large = Sample::new("large", &noise(LARGE, 1));
    for digest in ["blake3", "none"] {
        let flags = ["--digest", digest];
        let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &flags);
        let url = server.url("http", "");
        for coding in ["Transfer-Encoding:", "Transfer-Encoding: chunked"] {
            let Some((said, status)) = curl_says(&["-H", coding, "-T", large.path(), &url]) else {
                return;
            };
            assert_eq!(status, 507, "{digest}: {said}");
            server.next_event();
        }
        assert_eq!(server.published(), Vec::<String>::new());
        server.takes_a_good_file();
    }
}

/// An interrupted upload is never published.
#[test]
fn ht_7_an_interrupted_upload_publishes_nothing() {
    for digest in ["blake3", "none"] {
        let server = Server::start(&["--digest", digest]);
        let content = noise(LARGE, 1);
        let head = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n";
        let chunked = format!(
            "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n"
        );
        for (head, reason) in
            [(head, "before the announced length"), (&chunked, "before the last chunk")]
        {
            let wire = [head.as_bytes(), &content].concat();
            let answer = converse(&mut connect(server.port()), &wire);
            assert_eq!(statuses(&answer), [400], "{answer}");
            let event = server.next_interrupted();
            assert_eq!(event["bytes"], LARGE, "{event}");
            assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
            // The same without a word.
            let mut stream = connect(server.port());
            stream.write_all(&wire).unwrap();
            let part = server.growing_part();
            let all = |length: u64| (length == LARGE as u64).then_some(());
            wait_until("all that came", || all(std::fs::metadata(&part).map_or(0, |m| m.len())));
            reset(stream);
            server.next_interrupted();
        }
        assert_eq!(server.published(), Vec::<String>::new());
        server.takes_a_good_file();
    }
}

/// Closes with a reset.
fn reset(stream: std::net::TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

#[test]
fn ht_7_a_killed_curl_publishes_nothing() {
    let Some(mut curl) = curl() else { return };
    let server = Server::start(&[]);
    let large = Sample::sparse("large", 300 * 1024 * 1024);
    curl.args(["--limit-rate", "50M", "-T", large.path(), &server.url("http", "")]);
    let mut running = Running::start(curl, None);
    server.growing_part();
    running.kill();
    assert!(running.outcome().code.is_none());
    server.next_interrupted();
    assert_eq!(server.published(), Vec::<String>::new());
}

/// One state behind every protocol: begun with curl, ended by our own client, and the digest covers
/// both.
#[test]
fn anyport_send_resumes_an_upload_of_curl() {
    let Some(mut curl) = curl() else { return };
    let server = Server::start(&[]);
    let content = noise(20 * MIB, 5);
    let sample = Sample::new("film", &content);
    curl.args(["--limit-rate", "8M", "-T", sample.path(), &server.url("http", "")]);
    let mut running = Running::start(curl, None);
    let part = server.growing_part();
    let enough = |length: u64| (length >= 2 * MIB as u64).then_some(());
    wait_until("two megabytes", || enough(std::fs::metadata(&part).map_or(0, |facts| facts.len())));
    running.kill();
    running.outcome();
    let begun = server.next_interrupted()["bytes"].as_u64().unwrap();
    anyport(&["send", sample.path(), &server.url("tcp", "")]).succeeds();
    let receipt = server.next_receipt();
    assert_eq!(
        (&receipt["resumed"], &receipt["path"]),
        (&begun.into(), &"film".into()),
        "{receipt}"
    );
    assert_eq!(receipt["digest"], blake3(&content));
    assert_same_bytes(&server.stored(&receipt), &content);
}

#[test]
fn sinks_that_store_nothing_accept_files_too() {
    for sink in ["memory", "discard"] {
        let server = Server::start(&["--sink", sink]);
        let answer = put_hello(&server, "/x", "");
        assert_eq!(statuses(&answer), [201], "{answer}");
        assert!(!answer.contains("Location") && answer.contains("not stored"), "{answer}");
        assert!(server.next_receipt()["path"].is_null());
    }
}

/// An answer that refuses the rest of a content reaches its sender, which is still sending.
#[test]
fn ht_4_a_refusal_in_the_middle_of_a_long_content_is_read() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let mut wire = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    wire.extend_from_slice(b"5\r\nhello!");
    wire.resize(wire.len() + 10 * MIB, 7);
    stream.write_all(&wire).unwrap();
    let answer = read_text(&mut stream);
    assert_eq!(statuses(&answer), [400], "{answer}");
    assert!(answer.contains("chunk is longer than its size"), "{answer}");
    server.next_interrupted();
}

/// The rest of a content that was answered long ago is no request.
#[test]
fn ht_2_late_content_is_no_request() {
    let server = Server::start(&["--max-size", "10"]);
    let mut stream = connect(server.port());
    let hidden = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = format!("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", hidden.len());
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 413 "));
    stream.write_all(hidden.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(statuses(&rest), Vec::<u16>::new(), "{rest}");
}
