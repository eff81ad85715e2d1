//! Files and listings that go out by GET: whole, in part, on conditions, and as they are seen by a
//! browser.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::fields::anyport_digest_value;
use anyport_proto::transfer::hasher::Hasher;
use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http::{curl_says, request, statuses};
use anyport_testkit::harness::wire::{connect, converse, read_head};
use anyport_testkit::harness::{Outcome, Running, Sample, Server, assert_same_bytes, peer};

/// Enough to become a bulk transfer, and some more.
const LARGE: usize = 5_000_011;

/// Of the RFC's own example.
const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn put(server: &Server, name: &str, content: &[u8]) {
    let path = server.dir().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

fn get(server: &Server, path: &str, fields: &str) -> String {
    let wire = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    converse(&mut connect(server.port()), wire.as_bytes())
}

#[track_caller]
fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_else(|| panic!("no {name} in {head}"))
}

fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Runs curl in a directory of its own, with what is there already.
fn curl_in(directory: &tempfile::TempDir, arguments: &[&str]) -> Option<Outcome> {
    let mut curl = curl()?;
    curl.args(arguments).current_dir(directory.path());
    Some(Running::start(curl, None).outcome())
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn curl_downloads_and_resumes_a_file() {
    for flags in [&[][..], &["--digest", "none"], &["--engine", "library"]] {
        let server = Server::start(flags);
        let large = noise(LARGE, 1);
        put(&server, "d/a b.bin", &large);
        let here = tempfile::tempdir().unwrap();
        let url = server.url("http", "files/d/a%20b.bin");
        let Some(outcome) = curl_in(&here, &["-o", "got", &url]) else { return };
        outcome.succeeds();
        assert_same_bytes(&std::fs::read(here.path().join("got")).unwrap(), &large);
        let event = server.next_event();
        assert_eq!((&event["event"], &event["protocol"]), (&"sent".into(), &"http".into()));
        assert_eq!(event["bytes"], LARGE, "{event}");
        assert!(event["digest"].is_null(), "nobody looked at it: {event}");
        for begun in [0, 1, 3_000_000, LARGE - 1] {
            std::fs::write(here.path().join("part"), &large[..begun]).unwrap();
            curl_in(&here, &["-C", "-", "-o", "part", &url]).unwrap().succeeds();
            assert_same_bytes(&std::fs::read(here.path().join("part")).unwrap(), &large);
            let event = server.next_event();
            assert_eq!(event["bytes"], LARGE - begun, "{event}");
        }
        // One that is whole already: curl asks for what lies beyond.
        let outcome = curl_in(&here, &["-C", "-", "-o", "part", &url]).unwrap();
        assert_same_bytes(&std::fs::read(here.path().join("part")).unwrap(), &large);
        outcome.succeeds();
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

#[test]
fn curl_names_a_file_as_its_url_does_and_keeps_its_time() {
    let server = Server::start(&[]);
    put(&server, "x.txt", b"hello");
    let here = tempfile::tempdir().unwrap();
    let Some(outcome) = curl_in(&here, &["-R", "-O", &server.url("http", "x.txt")]) else { return };
    outcome.succeeds();
    let got = here.path().join("x.txt");
    assert_eq!(std::fs::read(&got).unwrap(), b"hello");
    let modified = std::fs::metadata(got).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 784_111_777);
}

/// RFC 9110 §9.3.2: HEAD tells what GET would.
#[test]
fn ht_6_head_has_the_fields_of_get_and_no_content() {
    let server = Server::start(&[]);
    put(&server, "x.txt", b"hello");
    for path in ["/x.txt", "/", "/none", "/help"] {
        let wire = format!(
            "HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\nHEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let heads = converse(&mut connect(server.port()), wire.as_bytes());
        let got = get(&server, path, "");
        assert_eq!(statuses(&heads), [statuses(&got)[0]; 2], "{path}: {heads}");
        let of_get: Vec<&str> = got.split("\r\n\r\n").next().unwrap().lines().collect();
        for line in of_get
            .iter()
            .filter(|line| !line.starts_with("Date") && !line.starts_with("Connection"))
        {
            assert_eq!(heads.matches(line).count(), 2, "{path}: {line} in {heads}");
        }
        assert!(heads.ends_with("\r\n\r\n"), "{heads}");
    }
}

#[test]
fn ht_11_a_file_has_its_media_type_and_browsers_must_not_guess() {
    let server = Server::start(&[]);
    for (name, media, runs) in [
        ("a.txt", "text/plain; charset=utf-8", false),
        ("a.html", "text/html; charset=utf-8", true),
        ("a.svg", "image/svg+xml", true),
        ("a.pdf", "application/pdf", true),
        ("a.png", "image/png", false),
        // With this type and `nosniff` no page can execute or apply them.
        ("a.js", "text/plain; charset=utf-8", false),
        ("a.css", "text/plain; charset=utf-8", false),
        ("a", "application/octet-stream", false),
    ] {
        put(&server, name, b"<script>alert(1)</script>");
        let answer = get(&server, &format!("/{name}"), "");
        assert_eq!(field(&answer, "Content-Type"), media, "{answer}");
        assert_eq!(field(&answer, "X-Content-Type-Options"), "nosniff");
        assert_eq!(field(&answer, "Accept-Ranges"), "bytes");
        assert_eq!(field(&answer, "Last-Modified"), THEN);
        assert_eq!(answer.contains("Content-Security-Policy: sandbox;"), runs, "{answer}");
        assert!(!answer.contains("Access-Control"), "{answer}");
    }
}

#[test]
fn a_stored_file_is_no_service_worker() {
    let server = Server::start(&[]);
    put(&server, "worker.js", b"onfetch = () => {}");
    let answer = get(&server, "/files/worker.js", "Service-Worker: script\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with("a stored file cannot be a service worker\n"), "{answer}");
    assert!(get(&server, "/files/worker.js", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn ht_9_one_range_is_a_part_and_several_are_parts() {
    let server = Server::start(&[]);
    put(&server, "x", b"0123456789");
    for (range, status, part, reported) in [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=5-999", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=0-4,3-6", 200, "0123456789", ""),
        ("bytes=4-2", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
    ] {
        let answer = get(&server, "/x", &format!("Range: {range}\r\n"));
        assert_eq!(statuses(&answer), [status], "{range}: {answer}");
        if status == 416 {
            assert!(content(&answer).contains("10 bytes"), "{answer}");
        } else {
            assert_eq!(content(&answer), part, "{range}");
            assert_eq!(field(&answer, "Content-Length"), part.len().to_string());
            let event = server.next_event();
            assert_eq!((&event["event"], &event["bytes"]), (&"sent".into(), &part.len().into()));
        }
        if !reported.is_empty() {
            assert_eq!(field(&answer, "Content-Range"), reported);
        }
    }
    let answer = get(&server, "/x", "Range: bytes=0-1,4-5,-2\r\n");
    assert_eq!(statuses(&answer), [206]);
    let media = field(&answer, "Content-Type");
    let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, content: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {range}/10\r\n\r\n{content}"
        )
    };
    let parts = [part("0-1", "01"), part("4-5", "45"), part("8-9", "89")].concat();
    assert_eq!(content(&answer), format!("{parts}\r\n--{boundary}--\r\n"));
    assert_eq!(field(&answer, "Content-Length"), content(&answer).len().to_string());
    assert!(!answer.split("\r\n\r\n").next().unwrap().contains("Content-Range"), "{answer}");
    let event = server.next_event();
    assert_eq!((&event["event"], &event["bytes"]), (&"sent".into(), &6.into()));
    put(&server, "empty", b"");
    assert_eq!(statuses(&get(&server, "/empty", "")), [200]);
    assert_eq!(statuses(&get(&server, "/empty", "Range: bytes=0-\r\n")), [416]);
    let Some((said, 206)) = curl_says(&["-r", "3-5", &server.url("http", "x")]) else {
        return assert!(curl().is_none());
    };
    assert_eq!(said, "345");
    // HEAD has no parts (§14.2).
    let head = "HEAD /x HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n";
    let answer = converse(&mut connect(server.port()), head.as_bytes());
    assert_eq!(field(&answer, "Content-Length"), "10");
}

/// RFC 9530: the digest is that of the whole file, also where a range is sent.
#[test]
fn repr_digest_is_sent_where_it_is_known() {
    let server = Server::start(&[]);
    let old = "X-Anyport-Mtime: 784111777\n";
    let content = noise(LARGE, 9);
    assert_eq!(request(server.port(), "PUT /large", old, &content).status(), 201);
    let head = |path: &str, fields: &str| {
        request(server.port(), &format!("HEAD {path}"), fields, b"").field("Repr-Digest").to_owned()
    };
    let blake3 = head("/large", "");
    if blake3.is_empty() {
        return; // no extended attributes here
    }
    let mut hasher = Hasher::new(Algorithm::Blake3);
    hasher.update(&content);
    assert_eq!(blake3, anyport_digest_value(&hasher.finish().unwrap()));
    let part = get(&server, "/large", "Range: bytes=0-0\r\n");
    assert_eq!(field(&part, "Repr-Digest"), blake3, "{part}");
    assert_eq!(head("/large", "Want-Repr-Digest: sha-256=9, blake3=1\n"), blake3);
    // Not known, and too large to be hashed for a head.
    assert_eq!(head("/large", "Want-Repr-Digest: sha-256=9\n"), "");
    assert_eq!(head("/large", "Want-Repr-Digest: blake3=0, md5=3\n"), "");
    std::fs::write(server.dir().join("large"), noise(LARGE, 10)).unwrap();
    assert_eq!(head("/large", ""), "", "it is another file");
}

#[test]
fn want_repr_digest_hashes_only_short_files() {
    let server = Server::start(&[]);
    put(&server, "short", b"hello");
    let head = |path: &str, fields: &str| request(server.port(), path, fields, b"");
    let sha256 = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    for line in ["HEAD /short", "GET /short"] {
        assert_eq!(head(line, "Want-Repr-Digest: md5=9, sha-256=2\n").field("Repr-Digest"), sha256);
        let two = head(line, "Want-Repr-Digest: sha-256=2\nWant-Repr-Digest: blake3=3;x\n");
        assert!(two.field("Repr-Digest").starts_with("blake3=:"), "{}", two.head);
        for none in ["", "Want-Repr-Digest: sha-256=0\n", "Want-Repr-Digest: sha-256, =, 1\n"] {
            assert_eq!(head(line, none).field("Repr-Digest"), "", "{none}");
        }
    }
    let size = 1024 * 1024;
    for (size, is_hashed) in [(size, true), (size + 1, false)] {
        File::create(server.dir().join("x")).unwrap().set_len(size).unwrap();
        let found = head("HEAD /x", "Want-Repr-Digest: sha-256=1\n");
        assert_eq!(!found.field("Repr-Digest").is_empty(), is_hashed, "{size}");
    }
}

#[test]
fn ht_9_parts_of_a_large_file_are_cut_to_the_byte() {
    let server = Server::start(&[]);
    let large = noise(LARGE, 3);
    put(&server, "x", &large);
    let here = tempfile::tempdir().unwrap();
    for (first, last) in [(1, 1_000_000), (600_001, 4_999_999), (0, LARGE - 2)] {
        let range = format!("{first}-{last}");
        let url = server.url("http", "x");
        let Some(outcome) = curl_in(&here, &["-r", &range, "-o", "got", &url, "-o", "again", &url])
        else {
            return;
        };
        outcome.succeeds();
        for name in ["got", "again"] {
            let got = std::fs::read(here.path().join(name)).unwrap();
            assert_same_bytes(&got, &large[first..=last]);
        }
    }
}

#[test]
fn ht_9_several_ranges_of_a_large_file_are_cut_to_the_byte() {
    let server = Server::start(&[]);
    let large = noise(LARGE, 4);
    put(&server, "x", &large);
    let here = tempfile::tempdir().unwrap();
    let ranges = [(4_000_000, LARGE - 1), (1, 1_000_000), (2_000_000, 2_000_000)];
    let range = ranges.map(|(first, last)| format!("{first}-{last}")).join(",");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let url = server.url("http", "x");
        let Some(outcome) = curl_in(&here, &[version, "-r", &range, "-o", "got", &url]) else {
            return;
        };
        outcome.succeeds();
        let got = std::fs::read(here.path().join("got")).unwrap();
        let boundary = String::from_utf8_lossy(&got[4..20]).into_owned();
        let mut expected = Vec::new();
        for (first, last) in ranges {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Range: bytes {first}-{last}/{LARGE}\r\n\r\n"
            );
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&large[first..=last]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert_same_bytes(&got, &expected);
    }
}

/// RFC 9110 §13.2.2.
#[test]
fn ht_8_conditions_are_looked_at_in_their_order() {
    let server = Server::start(&[]);
    put(&server, "x", b"hello");
    let tag = field(&get(&server, "/x", ""), "ETag").to_owned();
    let before = "Sun, 06 Nov 1994 08:49:36 GMT";
    for (fields, status) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {THEN}\r\n"), 304),
        (format!("If-Modified-Since: {before}\r\n"), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {THEN}\r\n"), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        (format!("If-Unmodified-Since: {before}\r\n"), 412),
        (format!("If-Match: {tag}\r\nIf-Unmodified-Since: {before}\r\n"), 200),
        (format!("If-Match: {tag}\r\nIf-None-Match: {tag}\r\n"), 304),
        (format!("If-Range: {tag}\r\nRange: bytes=0-1\r\n"), 206),
        (format!("If-Range: {THEN}\r\nRange: bytes=0-1\r\n"), 206),
        ("If-Range: \"x\"\r\nRange: bytes=0-1\r\n".to_owned(), 200),
        (format!("If-Range: W/{tag}\r\nRange: bytes=0-1\r\n"), 200),
        (format!("If-Range: {before}\r\nRange: bytes=0-1\r\n"), 200),
        // A part that is not there is no matter where nothing is to be sent.
        (format!("If-None-Match: {tag}\r\nRange: bytes=9-\r\n"), 304),
    ] {
        let answer = get(&server, "/x", &fields);
        assert_eq!(statuses(&answer), [status], "{fields}: {answer}");
        assert_eq!(field(&answer, "ETag"), tag);
        if status == 304 {
            assert_eq!(content(&answer), "");
            assert!(
                !answer.contains("Content-Length") && answer.contains("Last-Modified"),
                "{answer}"
            );
        }
    }
    let here = tempfile::tempdir().unwrap();
    let url = server.url("http", "x");
    let arguments =
        ["--etag-save", "tag", "--etag-compare", "tag", "-w", "%{http_code}", "-o", "x", &url];
    std::fs::write(here.path().join("tag"), "").unwrap();
    for status in ["200", "304"] {
        let Some(outcome) = curl_in(&here, &arguments) else { return };
        assert_eq!(outcome.succeeds().stdout, status);
    }
}

/// Each state of a file has its own tag, also where length and second are the same.
#[test]
fn ht_8_a_tag_changes_with_the_file() {
    let server = Server::start(&[]);
    let path = server.dir().join("x");
    let mut tags = Vec::new();
    for content in ["hello", "jello", "hello"] {
        std::fs::write(&path, content).unwrap();
        // More than a tick of the kernel, so that the next file has another time.
        std::thread::sleep(Duration::from_millis(20));
        tags.push(field(&get(&server, "/x", ""), "ETag").to_owned());
    }
    // Another file of the same time in its place.
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let other = server.dir().join("other");
    std::fs::write(&other, "cello").unwrap();
    File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    std::fs::rename(other, &path).unwrap();
    tags.push(field(&get(&server, "/x", ""), "ETag").to_owned());
    let distinct: std::collections::HashSet<&String> = tags.iter().collect();
    assert_eq!(distinct.len(), 4, "{tags:?}");
}

/// Content that cannot be sent any more interrupts the connection, so that no client considers it
/// complete.
#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_breaks_the_connection() {
    let server = Server::start(&[]);
    let size = 200 * 1024 * 1024;
    let path = server.dir().join("x");
    File::create(&path).unwrap().set_len(size).unwrap();
    let mut stream = connect(server.port());
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = read_head(&mut stream);
    assert_eq!(field(&head, "Content-Length"), size.to_string());
    File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!((got.len() as u64) < size);
    let event = server.next_event();
    assert_eq!(event["event"], "unsent", "{event}");
    assert!(event["reason"].as_str().unwrap().contains("truncated"), "{event}");
}

#[test]
fn only_stored_files_are_served() {
    let server = Server::start(&[]);
    let secret = server.dir().parent().unwrap().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    symlink("../secret", server.dir().join("out")).unwrap();
    symlink("..", server.dir().join("up")).unwrap();
    std::fs::write(server.dir().join(".anyport-1.part"), b"part").unwrap();
    for (path, status) in [
        ("/none", 404),
        ("/out", 404),
        ("/up/secret", 404),
        ("/..%2fsecret", 400),
        ("/../secret", 400),
        ("/files/../secret", 400),
        ("//etc/passwd", 400),
        ("/.anyport-1.part", 400),
        ("/%zz", 400),
        ("/a%00b", 400),
        ("/up/", 404),
        ("/none/", 404),
    ] {
        let answer = get(&server, path, "");
        assert_eq!(statuses(&answer), [status], "{path}: {answer}");
        assert!(
            !answer.contains("secret\r\n") && !content(&answer).starts_with("secret"),
            "{answer}"
        );
        server.next_refused();
    }
}

#[test]
fn directories_are_listed_as_text_json_and_a_page() {
    let server = Server::start(&[]);
    put(&server, "a.txt", b"hello");
    put(&server, "d/e <&> \"'.txt", b"hello");
    std::fs::write(server.dir().join(".anyport-1.part"), b"part").unwrap();
    let Some((text, 200)) = curl_says(&[&server.url("http", "")]) else {
        return assert!(curl().is_none());
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "             5  1994-11-06 08:49:37 +00:00  a.txt");
    assert!(lines.len() == 2 && lines[1].ends_with("  d/"), "{text}");
    for path in ["", "files/", "files"] {
        assert_eq!(curl_says(&[&server.url("http", path)]).unwrap(), (text.clone(), 200), "{path}");
    }
    let json = ["-H", "Accept: application/json", &server.url("http", "d/")];
    let (json, _) = curl_says(&json).unwrap();
    let listed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(listed["entries"][0]["name"], "d/e <&> \"'.txt", "{json}");
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    let page = get(&server, "/d/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    assert_eq!(field(&page, "Content-Type"), "text/html; charset=utf-8");
    assert!(field(&page, "Content-Security-Policy").contains("default-src 'none'"), "{page}");
    let link = "<a href=\"e%20%3C%26%3E%20%22%27.txt\"><bdi>e &lt;&amp;&gt; &quot;&#39;.txt</bdi>";
    assert!(page.contains(link), "{page}");
    // Without its slash, and with one that is none.
    let moved = get(&server, "/d", "");
    assert_eq!((statuses(&moved)[0], field(&moved, "Location")), (302, "/files/d/"));
    assert_eq!(statuses(&get(&server, "/a.txt/", "")), [404]);
    // HTTP/1.0 knows no chunks: such a listing ends with the connection.
    let old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answer = converse(&mut connect(server.port()), old);
    assert!(!answer.contains("chunked") && answer.contains("Connection: close"), "{answer}");
    assert!(content(&answer).ends_with("  d/\n"), "{answer}");
}

#[test]
fn a_long_listing_is_whole_in_every_form() {
    let server = Server::start(&[]);
    for number in 0..500 {
        std::fs::write(server.dir().join(format!("f{number:03}")), b"").unwrap();
    }
    let url = server.url("http", "");
    let Some((text, 200)) = curl_says(&[&url]) else { return assert!(curl().is_none()) };
    assert_eq!(text.lines().count(), 500);
    assert!(text.lines().is_sorted_by_key(|line| line.rsplit_once(' ').unwrap().1.to_owned()));
    let (json, _) = curl_says(&["-H", "Accept: application/json", &url]).unwrap();
    let listed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 500);
    let (page, _) = curl_says(&["-H", "Accept: text/html", &url]).unwrap();
    assert_eq!(page.matches("<a href=\"files/f").count(), 500);
}

/// A page that a stranger stored runs nothing. (Lists of files: `hostile_names` in `tests/page`.)
#[test]
fn ht_11_a_browser_shows_a_stored_page_and_runs_nothing() {
    if peer("chromium").is_none() {
        return;
    }
    let server = Server::start(&[]);
    put(&server, "page.html", b"<title>safe</title><script>document.title = 'owned'</script>");
    let profile = tempfile::tempdir().unwrap();
    let mut browser = std::process::Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"]);
    browser.arg("--dump-dom");
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(server.url("http", "page.html"));
    let outcome = Running::start(browser, None).outcome();
    assert!(outcome.stdout.contains("<title>safe</title>"), "{outcome:#?}");
    assert!(!outcome.stdout.contains("<title>owned"), "{outcome:#?}");
}

#[test]
fn refusals_are_json_on_request_and_busy_has_retry_after() {
    let server = Server::start(&["--max-buffered", "100"]);
    for number in 0..10 {
        put(&server, &format!("f{number}"), b"");
    }
    let json = "Accept: application/json\r\n";
    let busy = get(&server, "/", json);
    assert_eq!((statuses(&busy)[0], field(&busy, "Retry-After")), (503, "5"));
    server.next_refused();
    for (path, fields, status, code) in [
        ("/none", json.to_owned(), 404, "not-found"),
        ("/..", json.to_owned(), 400, "bad-name"),
        ("/echo", json.to_owned(), 405, "not-supported"),
        ("/f0", format!("{json}If-Match: \"x\"\r\n"), 412, "exists"),
    ] {
        let answer = get(&server, path, &fields);
        assert_eq!(statuses(&answer), [status], "{path}: {answer}");
        assert_eq!(field(&answer, "Content-Type"), "application/json");
        let refusal: Value = serde_json::from_str(content(&answer)).unwrap();
        assert_eq!(refusal["error"]["code"], code, "{answer}");
    }
}

/// Two files behind one another, and a refusal between them.
#[test]
fn ht_1_answers_with_files_keep_their_order() {
    let server = Server::start(&[]);
    let large = Sample::new("large", &noise(LARGE, 4));
    std::fs::copy(large.path(), server.dir().join("large")).unwrap();
    put(&server, "small", b"hello");
    let mut stream = connect(server.port());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let wire = [request("/large"), request("/none"), request("/small"), request("/large")].concat();
    stream.write_all(wire.as_bytes()).unwrap();
    let mut answer = |expected: &[u8]| {
        let head = read_head(&mut stream);
        let length: usize = field(&head, "Content-Length").parse().unwrap();
        let mut got = vec![0; length];
        stream.read_exact(&mut got).unwrap();
        if !expected.is_empty() {
            assert_same_bytes(&got, expected);
        }
        statuses(&head)[0]
    };
    let large = noise(LARGE, 4);
    assert_eq!(
        (answer(&large), answer(b""), answer(b"hello"), answer(&large)),
        (200, 404, 200, 200)
    );
}

/// Compared with itself, as machines differ.
#[test]
fn a_head_request_for_a_directory_reads_no_entries() {
    let server = Server::start(&[]);
    for number in 0..3000 {
        std::fs::write(server.dir().join(format!("{number}")), "").unwrap();
    }
    let cost = |method: &str, times: usize| {
        let before = server.processor_time();
        for _ in 0..times {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = converse(&mut connect(server.port()), request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        server.processor_time() - before
    };
    let (heads, gets) = (cost("HEAD", 100), cost("GET", 100));
    assert!(heads * 4 < gets, "100 heads took {heads:?}, 100 listings {gets:?}");
}
