//! Interrupted transfers resume, whichever side caused it, and end with the same digest.

use std::io::Write;
use std::net::Shutdown;
use std::path::Path;
use std::time::Duration;

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::wire::connect_from;
use anyport_testkit::harness::wire::{
    BINARY, TEXT, announced, connect, converse, frame, read_frame, read_line,
};
use anyport_testkit::harness::{
    Sample, Server, anyport, assert_same_bytes, blake3, engines, start, wait_until,
};

const LARGE: usize = 3 * 1024 * 1024 + 7;

/// The part of a transfer holds at least `bytes`.
fn part_of_at_least(server: &Server, bytes: u64) {
    wait_until("a part that has grown", || {
        let names = server.names();
        let part = names.iter().find(|name| name.ends_with(".part"))?;
        let length = std::fs::metadata(server.dir().join(part)).ok()?.len();
        (length >= bytes).then_some(())
    });
}

/// `PUT x size=… id=… resume`; gives the answer.
fn offer(server: &Server, keys: &str) -> (std::net::TcpStream, String) {
    let mut stream = connect(server.port());
    stream.write_all(format!("ANYPORT/1 PUT x {keys} resume\n").as_bytes()).unwrap();
    let line = read_line(&mut stream);
    (stream, line)
}

fn offset(line: &str) -> usize {
    let offset = line.strip_prefix("ANYPORT/1 GO offset=").unwrap_or_else(|| panic!("{line:?}"));
    offset.trim().parse().unwrap()
}

#[test]
fn an_upload_with_a_preface_resumes_and_its_digest_covers_all() {
    for (algorithm, expected) in [("blake3", blake3 as fn(&[u8]) -> String), ("sha256", sha256)] {
        let server = Server::start(&[]);
        let content = noise(LARGE, 1);
        let keys = format!("size={LARGE} id=abc digest={algorithm}");
        let mut sent = 0;
        for stop in [1, 1_000_000, 2_500_000, LARGE] {
            let (mut stream, line) = offer(&server, &keys);
            assert_eq!(offset(&line), sent, "{algorithm}");
            stream.write_all(&content[sent..stop]).unwrap();
            sent = stop;
            if stop < LARGE {
                stream.shutdown(Shutdown::Write).unwrap();
                assert!(read_line(&mut stream).starts_with("ANYPORT/1 ERROR interrupted "));
                assert_eq!(server.next_interrupted()["bytes"], stop);
            } else {
                stream.write_all(format!("END {}\n", expected(&content)).as_bytes()).unwrap();
                assert!(read_line(&mut stream).starts_with("ANYPORT/1 RECEIPT "), "{algorithm}");
            }
        }
        let receipt = server.next_receipt();
        assert_eq!(receipt["resumed"], 2_500_000, "{receipt}");
        assert_eq!(receipt["bytes"], LARGE, "{receipt}");
        assert_eq!(receipt["digest"], expected(&content), "{receipt}");
        assert_same_bytes(&server.stored(&receipt), &content);
        assert_eq!(server.names(), ["x"], "neither part nor state is left");
    }
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    let hex: String =
        sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// One state behind every protocol.
#[test]
fn a_transfer_begun_over_tcp_resumes_over_websocket() {
    let server = Server::start(&[]);
    let content = noise(LARGE, 2);
    let (mut raw, line) = offer(&server, &format!("size={LARGE} id=both"));
    assert_eq!(offset(&line), 0);
    raw.write_all(&content[..2_000_000]).unwrap();
    drop(raw);
    server.next_interrupted();

    let mut ws = announced(server.port());
    let message = format!(r#"{{"offer":{{"name":"x","size":{LARGE},"id":"both","resume":true}}}}"#);
    ws.write_all(&frame(TEXT, message.as_bytes())).unwrap();
    let (_, go) = read_frame(&mut ws);
    assert_eq!(String::from_utf8(go).unwrap(), r#"{"go":{"offset":2000000}}"#);
    ws.write_all(&frame(BINARY, &content[2_000_000..])).unwrap();
    let end = format!(r#"{{"end":{{"bytes":{LARGE},"digest":"{}"}}}}"#, blake3(&content));
    ws.write_all(&frame(TEXT, end.as_bytes())).unwrap();
    let (_, receipt) = read_frame(&mut ws);
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["receipt"]["resumed"], 2_000_000, "{receipt}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

/// Begun by a client that knows no ids, such as a line typed by hand.
#[test]
fn a_partial_file_without_an_id_is_resumed_if_the_digest_matches() {
    let server = Server::start(&[]);
    let content = noise(LARGE, 3);
    for (begun, right) in [(noise(LARGE, 4), false), (content.clone(), true)] {
        let mut typed = connect(server.port());
        typed.write_all(format!("ANYPORT/1 PUT x size={LARGE}\n").as_bytes()).unwrap();
        typed.write_all(&begun[..1_500_000]).unwrap();
        drop(typed);
        server.next_interrupted();
        let (mut stream, line) = offer(&server, &format!("size={LARGE} id=mine"));
        assert_eq!(offset(&line), 1_500_000);
        let end = format!("END {}\n", blake3(&content));
        let answer = converse(&mut stream, &[&content[1_500_000..], end.as_bytes()].concat());
        if right {
            assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
            assert_same_bytes(&server.stored(&server.next_receipt()), &content);
        } else {
            assert!(answer.starts_with("ANYPORT/1 ERROR digest-mismatch "), "{answer:?}");
            let apart = server.next_interrupted()["part"].as_str().unwrap().to_owned();
            // Kept for a person to look at, where no attempt finds it.
            assert!(server.names().contains(&apart));
            assert_eq!(server.published(), Vec::<String>::new());
        }
    }
}

/// `PUT x size=LARGE`, without an id, from `address`, interrupted behind `content`.
fn leave_without_id(server: &Server, address: &str, content: &[u8]) {
    let mut typed = connect_from(address, server.port());
    typed.write_all(format!("ANYPORT/1 PUT x size={LARGE}\n").as_bytes()).unwrap();
    typed.write_all(content).unwrap();
    drop(typed);
    assert_eq!(server.next_interrupted()["bytes"], content.len());
}

/// A client that knows path and size could leave a wrong beginning.
#[test]
fn a_part_without_an_id_is_continued_from_its_own_address_alone() {
    let server = Server::start(&[]);
    leave_without_id(&server, "127.0.0.2", &noise(1_500_000, 4));
    for keys in [format!("size={LARGE} id=mine"), format!("size={LARGE}")] {
        let (stream, line) = offer(&server, &keys);
        assert_eq!(offset(&line), 0, "{keys}");
        drop(stream);
        server.next_interrupted();
    }
    let mut own = connect_from("127.0.0.2", server.port());
    own.write_all(format!("ANYPORT/1 PUT x size={LARGE} resume\n").as_bytes()).unwrap();
    assert_eq!(offset(&read_line(&mut own)), 1_500_000);
}

#[test]
fn a_planted_beginning_costs_a_sender_one_more_attempt() {
    for scheme in ["tcp", "tls", "ws", "wss", "frames"] {
        let server = Server::start(&[]);
        leave_without_id(&server, "127.0.0.1", &noise(1_500_000, 4));
        let content = noise(LARGE, 3);
        let sample = Sample::new("x", &content);
        let url = server.url(scheme, "");
        let sent = anyport(&["send", "-k", "--json", sample.path(), &url]).succeeds();
        assert_eq!(sent.json()[0]["resumed"], Value::Null, "{scheme}: {sent:?}");
        assert_eq!(sent.stderr.matches("retrying in").count(), 1, "{scheme}: {sent:?}");
        assert_same_bytes(&std::fs::read(server.dir().join("x")).unwrap(), &content);
    }
}

#[test]
fn an_upload_that_does_not_resume_shortens_no_part_of_another_client() {
    let server = Server::start(&[]);
    let content = noise(LARGE, 3);
    leave_without_id(&server, "127.0.0.1", &content[..1_500_000]);
    for address in ["127.0.0.1", "127.0.0.2"] {
        let mut other = connect_from(address, server.port());
        let put = format!("PUT /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {LARGE}\r\n\r\n");
        other.write_all(&[put.as_bytes(), &content[..1_100_000]].concat()).unwrap();
        drop(other);
        server.next_interrupted();
    }
    let (mut stream, line) = offer(&server, &format!("size={LARGE}"));
    assert_eq!(offset(&line), 1_500_000);
    let end = format!("END {}\n", blake3(&content));
    let answer = converse(&mut stream, &[&content[1_500_000..], end.as_bytes()].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

#[test]
fn another_size_or_time_begins_anew() {
    let server = Server::start(&[]);
    let (mut stream, _) = offer(&server, "size=100000 id=a mtime=5");
    stream.write_all(&noise(50_000, 1)).unwrap();
    drop(stream);
    server.next_interrupted();
    for (keys, from) in [
        ("size=100001 id=a mtime=5", 0),
        ("size=100000 id=a mtime=6", 0),
        // The same file from the same address, whatever its sender calls the transfer.
        ("size=100000 id=b mtime=5", 50_000),
        ("size=100000 id=a mtime=5 digest=sha256", 50_000),
        // No digest at the end could tell whether it is the same.
        ("size=100000 id=b mtime=5 digest=none", 0),
        ("size=100000 id=a mtime=5", 50_000),
    ] {
        let (stream, line) = offer(&server, keys);
        assert_eq!(offset(&line), from, "{keys}");
        drop(stream);
        let _ = server.next_interrupted();
    }
}

/// The server has not noticed that the first connection is gone: its sender is back, and need not
/// wait.
#[test]
fn a_returning_sender_takes_over_from_its_dead_connection() {
    for bulk in ["0", "4"] {
        let server = Server::start(&["--bulk-threads", bulk]);
        let content = noise(LARGE, 5);
        let keys = format!("size={LARGE} id=back");
        let (mut dead, _) = offer(&server, &keys);
        dead.write_all(&content[..1_000_000]).unwrap();
        part_of_at_least(&server, 1_000_000);
        let (mut stream, line) = offer(&server, &keys);
        assert_eq!(offset(&line), 1_000_000);
        let answer = converse(&mut stream, &[&content[1_000_000..], b"END\n"].concat());
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
        assert_eq!(server.next_interrupted()["bytes"], 1_000_000);
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
        drop(dead);
    }
}

/// With both WebSocket implementations; input behind the offer is handled after it.
#[test]
fn a_returning_sender_takes_over_in_messages() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let content = noise(LARGE, 5);
        let message =
            format!(r#"{{"offer":{{"name":"x","size":{LARGE},"id":"back","resume":true}}}}"#);
        let offer = frame(TEXT, message.as_bytes());
        let mut dead = announced(server.port());
        dead.write_all(&[&offer[..], &frame(BINARY, &content[..1_000_000])].concat()).unwrap();
        part_of_at_least(&server, 1_000_000);
        let mut stream = announced(server.port());
        let rest = frame(BINARY, &content[1_000_000..]);
        let end = frame(TEXT, br#"{"end":{}}"#);
        stream.write_all(&[offer, rest, end].concat()).unwrap();
        let text = |(_, payload): (u8, Vec<u8>)| String::from_utf8(payload).unwrap();
        assert_eq!(text(read_frame(&mut stream)), r#"{"go":{"offset":1000000}}"#, "{engine}");
        let receipt = text(read_frame(&mut stream));
        assert!(receipt.starts_with(r#"{"receipt":"#), "{engine}: {receipt}");
        assert_eq!(server.next_interrupted()["bytes"], 1_000_000);
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
        drop(dead);
    }
}

/// Two equal offers do not disturb each other.
#[test]
fn two_senders_without_ids_are_two_files() {
    let server = Server::start(&[]);
    let (first, second) = (noise(LARGE, 6), noise(LARGE, 7));
    let put = format!("ANYPORT/1 PUT x size={LARGE}\n");
    let mut slow = connect(server.port());
    slow.write_all(&[put.as_bytes(), &first[..1_000_000]].concat()).unwrap();
    part_of_at_least(&server, 1_000_000);
    let whole = [put.as_bytes(), &second, b"END\n"].concat();
    assert!(converse(&mut connect(server.port()), &whole).starts_with("ANYPORT/1 RECEIPT "));
    assert_same_bytes(&server.stored(&server.next_receipt()), &second);
    slow.write_all(&[&first[1_000_000..], b"END\n"].concat()).unwrap();
    assert_same_bytes(&server.stored(&server.next_receipt()), &first);
}

#[test]
fn sending_the_same_file_again_sends_nothing() {
    for scheme in ["tcp", "ws", "frames"] {
        for size in [0, 5, LARGE] {
            let server = Server::start(&[]);
            let content = noise(size, 8);
            let sample = Sample::new("same.bin", &content);
            let url = server.url(scheme, "");
            anyport(&["send", sample.path(), &url]).succeeds();
            assert_same_bytes(&server.stored(&server.next_receipt()), &content);
            let again = anyport(&["send", "--json", sample.path(), &url]).succeeds().json();
            assert_eq!(again[0]["end"], "already-here", "{scheme} {size}: {again:?}");
            assert_eq!(again[0]["path"], "same.bin");
            server.next_receipt();
            assert_eq!(server.names(), ["same.bin"]);
        }
    }
}

#[test]
fn another_file_of_the_name_is_an_error_unless_asked_otherwise() {
    let server = Server::start(&[]);
    let url = server.url("tcp", "");
    for content in [noise(5, 9), noise(LARGE, 9)] {
        std::fs::write(server.dir().join("x"), "another").unwrap();
        let sample = Sample::new("x", &content);
        anyport(&["send", sample.path(), &url]).exits(4).says("x exists with 7 bytes");
        server.next_refused();
        anyport(&["send", "--on-exists", "overwrite", sample.path(), &url])
            .exits(4)
            .says("cannot overwrite");
        server.next_refused();
        anyport(&["send", "--on-exists", "rename", sample.path(), &url]).succeeds();
        let receipt = server.next_receipt();
        assert_ne!(receipt["path"], "x", "{receipt}");
        assert_same_bytes(&server.stored(&receipt), &content);
        assert_eq!(std::fs::read(server.dir().join("x")).unwrap(), b"another");
    }
}

#[test]
fn a_server_can_permit_overwriting() {
    let server = Server::start(&["--on-exists", "overwrite"]);
    std::fs::write(server.dir().join("x"), "another").unwrap();
    let content = noise(LARGE, 10);
    let sample = Sample::new("x", &content);
    anyport(&["send", sample.path(), &server.url("tcp", "")]).succeeds();
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    assert_eq!(server.names(), ["x"]);
    // Never a directory.
    std::fs::create_dir(server.dir().join("d")).unwrap();
    let sample = Sample::new("d", b"x");
    anyport(&["send", sample.path(), &server.url("tcp", "")])
        .exits(4)
        .says("d exists and is a directory");
}

#[test]
fn times_are_kept_and_permissions_when_asked() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(&[]);
    let sample = Sample::new("t", b"content");
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::open(sample.path()).unwrap().set_modified(then).unwrap();
    std::fs::set_permissions(sample.path(), std::fs::Permissions::from_mode(0o4751)).unwrap();
    let look = |name: &str| std::fs::metadata(server.dir().join(name)).unwrap();
    anyport(&["send", "-p", sample.path(), &server.url("tcp", "kept")]).succeeds();
    assert_eq!(look("kept").modified().unwrap(), then);
    assert_eq!(look("kept").permissions().mode() & 0o7777, 0o751, "never set-user-id");
    anyport(&["send", "--no-times", sample.path(), &server.url("ws", "files/new")]).succeeds();
    assert!(look("new").modified().unwrap() > then);
    assert_ne!(look("new").permissions().mode() & 0o777, 0o751);
}

/// As after a power failure of the server and a restart by a supervisor, without a user's action.
#[test]
fn a_sender_outlives_its_server() {
    for scheme in ["tcp", "ws", "frames"] {
        let scratch = tempfile::tempdir().unwrap();
        let mut server = slow_server(scratch.path(), "127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let content = noise(64 * 1024 * 1024, 11);
        let sample = Sample::new("large.bin", &content);
        let sender = start(&["send", "--json", sample.path(), &server.url(scheme, "")]);
        for _ in 0..3 {
            let before = longest_part(scratch.path());
            wait_until("progress", || (longest_part(scratch.path()) > before).then_some(()));
            server.kill();
            server = slow_server(scratch.path(), &address);
        }
        let sent = sender.outcome().succeeds();
        let receipt = &sent.json()[0];
        assert!(receipt["resumed"].as_u64().unwrap() > 0, "{scheme}: {receipt}");
        assert_eq!(receipt["digest"], blake3(&content), "{scheme}");
        assert!(sent.stderr.contains("retrying in"), "{sent:?}");
        assert_same_bytes(&std::fs::read(scratch.path().join("large.bin")).unwrap(), &content);
        assert_eq!(server.names(), ["large.bin"]);
    }
}

fn slow_server(directory: &Path, address: &str) -> Server {
    Server::start_in(directory, &[address], &["--bulk-buffer", "1KiB", "--fsync", "none"])
}

fn longest_part(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap();
    let parts = entries.flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".part"));
    parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or(0)
}

#[test]
fn a_killed_sender_that_is_restarted_resumes() {
    for scheme in ["tcp", "ws", "frames"] {
        let server = Server::start(&["--bulk-buffer", "1KiB", "--fsync", "none"]);
        let content = noise(64 * 1024 * 1024, 12);
        let sample = Sample::new("large.bin", &content);
        let url = server.url(scheme, "");
        let mut sender = start(&["send", sample.path(), &url]);
        part_of_at_least(&server, 1_000_000);
        sender.kill();
        drop(sender);
        let kept = server.next_interrupted()["bytes"].as_u64().unwrap();
        let sent = anyport(&["send", "--json", sample.path(), &url]).succeeds().json();
        assert_eq!(sent[0]["resumed"], kept, "{scheme}");
        assert_eq!(sent[0]["digest"], blake3(&content), "{scheme}");
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    }
}

#[test]
fn a_changed_source_is_not_resumed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = slow_server(scratch.path(), "127.0.0.1:0");
    let address = server.addresses()[0].to_string();
    let sample = Sample::new("large.bin", &noise(64 * 1024 * 1024, 13));
    let sender = start(&["send", sample.path(), &server.url("tcp", "")]);
    part_of_at_least(&server, 1);
    server.kill();
    std::fs::OpenOptions::new().append(true).open(sample.path()).unwrap().write_all(b"!").unwrap();
    let _server = slow_server(scratch.path(), &address);
    sender.outcome().exits(1).says("changed during the transfer");
}

/// The stored part is worth keeping, because the same command resumes when there is space again.
#[test]
fn a_transfer_resumes_after_a_full_disk() {
    let Some(disk) = anyport_testkit::harness::SmallDisk::mount() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    let ballast = disk.path().join("ballast");
    let content = noise(1_500_000, 14);
    let keys = "size=1500000 id=full";
    let (mut stream, _) = offer(&server, keys);
    stream.write_all(&content[..500_000]).unwrap();
    part_of_at_least(&server, 500_000);
    let fill = std::fs::File::create(&ballast).unwrap();
    let zeros = vec![0; 64 * 1024];
    while (&fill).write_all(&zeros).is_ok() {}
    let _ = stream.write_all(&content[500_000..]);
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 ERROR no-space "));
    server.next_interrupted();
    // Frees the space also while a process that another test starts has inherited the descriptor.
    fill.set_len(0).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let (mut stream, line) = offer(&server, keys);
    let from = offset(&line);
    assert!(from >= 500_000);
    let end = format!("END {}\n", blake3(&content));
    let answer = converse(&mut stream, &[&content[from..], end.as_bytes()].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

#[test]
fn a_directory_is_sent_with_its_names_and_its_emptiness() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("photos");
    std::fs::create_dir_all(top.join("2026/empty")).unwrap();
    let files = [("a.jpg", 5), ("2026/b.jpg", LARGE), ("2026/ö \u{1f600}.txt", 0)];
    for (name, size) in files {
        std::fs::write(top.join(name), noise(size, 15)).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", top.join("link")).unwrap();
    for scheme in ["tcp", "ws", "frames"] {
        let server = Server::start(&[]);
        let target = server.url(scheme, if scheme == "ws" { "files/in/" } else { "in/" });
        for round in ["first", "second"] {
            let sent = anyport(&["send", "--json", top.to_str().unwrap(), &target]).succeeds();
            assert!(sent.stderr.contains("1 symbolic link was skipped"), "{scheme}: {sent:?}");
            assert_eq!(sent.json().len(), 4, "{scheme} {round}: {sent:?}");
            for receipt in sent.json().iter().filter(|_| round == "second") {
                let here = receipt["end"] == "already-here" || receipt["bytes"] == 0;
                assert!(here, "{scheme}: {receipt}");
            }
        }
        let there = server.dir().join("in/photos");
        for (name, size) in files {
            assert_same_bytes(&std::fs::read(there.join(name)).unwrap(), &noise(size, 15));
        }
        assert!(there.join("2026/empty").is_dir());
        assert!(!there.join("link").exists());
        assert_eq!(server.names(), ["in"]);
    }
}

/// The content of a refused file is discarded, and the connection accepts the next.
#[test]
fn a_refused_file_does_not_end_the_connection() {
    let server = Server::start(&["--max-size", "1000000"]);
    std::fs::write(server.dir().join("taken"), "another").unwrap();
    let mut stream = connect(server.port());
    let long = "ANYPORT/1 PUT long size=2000000 id=l resume\n";
    let small = "ANYPORT/1 PUT taken size=5 mtime=1\nhelloEND\n";
    let good = "ANYPORT/1 PUT good size=5\nhelloEND\n";
    let answer = converse(&mut stream, [long, small, good].concat().as_bytes());
    let lines: Vec<&str> = answer.lines().collect();
    assert!(lines[0].starts_with("ANYPORT/1 ERROR too-large "), "{answer:?}");
    assert!(lines[1].starts_with("ANYPORT/1 ERROR exists "), "{answer:?}");
    assert!(lines[2].starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
}

/// Thousands of small files are one connection, and each has its own receipt.
#[test]
fn many_small_files_go_one_behind_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("many");
    std::fs::create_dir(&top).unwrap();
    for i in 0..600_usize {
        std::fs::write(top.join(format!("{i:04}")), noise(i * 7 % 5000, i as u64)).unwrap();
    }
    std::fs::write(top.join("large"), noise(LARGE, 1)).unwrap();
    let server = Server::start(&["--fsync", "none"]);
    let target = server.url("tcp", "");
    let path = top.to_str().unwrap();
    let sent = anyport(&["send", "--json", path, &target]).succeeds().json();
    assert_eq!(sent.len(), 601);
    for receipt in &sent {
        let name = receipt["path"].as_str().unwrap();
        let (ours, theirs) = (scratch.path().join(name), server.dir().join(name));
        assert_same_bytes(&std::fs::read(theirs).unwrap(), &std::fs::read(ours).unwrap());
    }
    let peers: std::collections::HashSet<&str> =
        sent.iter().map(|receipt| receipt["peer"].as_str().unwrap()).collect();
    assert_eq!(peers.len(), 1, "one connection");
    let again = anyport(&["send", "--json", path, &target]).succeeds().json();
    assert!(again.iter().all(|receipt| receipt["end"] == "already-here"));
}

/// A refused or missing file is reported; the others are sent.
#[test]
fn a_file_that_fails_does_not_stop_the_others() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("some");
    std::fs::create_dir(&top).unwrap();
    for (name, size) in [("a", 5), ("b", LARGE), ("c", 7), ("d", 9), ("e", LARGE)] {
        std::fs::write(top.join(name), noise(size, 2)).unwrap();
    }
    for scheme in ["tcp", "ws", "frames"] {
        let server = Server::start(&[]);
        std::fs::create_dir(server.dir().join("some")).unwrap();
        for taken in ["b", "c"] {
            std::fs::write(server.dir().join("some").join(taken), "another").unwrap();
        }
        let sent = anyport(&["send", "--json", top.to_str().unwrap(), &server.url(scheme, "")])
            .exits(4)
            .says("some/b exists")
            .says("some/c exists")
            .says("2 of 5 files were not sent");
        assert_eq!(sent.failed_files(), ["some/b", "some/c"], "{scheme}: {sent:?}");
        for name in ["a", "d", "e"] {
            let there = std::fs::read(server.dir().join("some").join(name)).unwrap();
            assert_same_bytes(&there, &std::fs::read(top.join(name)).unwrap());
        }
        assert_eq!(std::fs::read(server.dir().join("some/b")).unwrap(), b"another");
    }
}

/// Killed at random bytes, again and again. `ANYPORT_KILL_ROUNDS` sets how often; three kills a
/// round.
#[test]
fn whatever_byte_the_server_is_killed_at_nothing_is_lost() {
    let rounds = std::env::var("ANYPORT_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let size = 24 * 1024 * 1024_usize;
    let (mut kills, mut resumed) = (0, 0);
    for round in 0..rounds.unwrap_or(2_u64) {
        let scheme = ["tcp", "ws", "frames"][usize::try_from(round % 3).unwrap()];
        let scratch = tempfile::tempdir().unwrap();
        let mut server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
        let address = server.addresses()[0].to_string();
        let content = noise(size, round);
        let sample = Sample::new("film", &content);
        let flags = ["send", "--json", "--limit-rate", "40MB", "--retry", "50"];
        let url = server.url(scheme, "");
        let sender = start(&[&flags[..], &[sample.path(), &url]].concat());
        for third in 0..3_u64 {
            // Somewhere in this third of the file.
            let bytes = u64::from_le_bytes(noise(8, round * 3 + third).try_into().unwrap());
            let third_of = size as u64 / 3;
            let place = third * third_of + bytes % (third_of * 9 / 10) + 1;
            part_of_at_least(&server, place);
            server.kill();
            kills += 1;
            let kept = longest_part(scratch.path());
            assert!(kept >= place, "{scheme}: {kept} of {place} bytes survived");
            assert!(!scratch.path().join("film").exists(), "{scheme}: half a file is published");
            server = Server::start_in(scratch.path(), &[&address], &[]);
            // What had come is acknowledged anew, and no byte of it is sent again.
            resumed += u32::from(longest_part(scratch.path()) >= kept);
        }
        let sent = sender.outcome().succeeds();
        assert_eq!(sent.json()[0]["digest"], blake3(&content), "{scheme}");
        assert_same_bytes(&std::fs::read(scratch.path().join("film")).unwrap(), &content);
        assert_eq!(server.names(), ["film"]);
    }
    println!("{resumed} of {kills} kills went on where they were");
    assert_eq!(resumed, kills);
}

#[test]
fn a_rate_is_kept_to() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", &noise(1_000_000, 1));
    for (scheme, digest) in [("tcp", "none"), ("tcp", "blake3"), ("ws", "blake3")] {
        let flags = ["send", "--json", "--limit-rate", "2MB", "--on-exists", "rename"];
        let url = server.url(scheme, "");
        let arguments = [&flags[..], &["--digest", digest, sample.path(), &url]].concat();
        let sent = anyport(&arguments).succeeds().json();
        let seconds = sent[0]["seconds"].as_f64().unwrap();
        assert!(seconds > 0.35, "{scheme} {digest}: {seconds} s for half a second's worth");
    }
}

#[test]
fn a_slow_transfer_reports_its_bottleneck() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", &noise(2_500_000, 1));
    let url = server.url("tcp", "");
    let flags = ["send", "--json", "--limit-rate", "2MB"];
    let sent = anyport(&[&flags[..], &[sample.path(), &url]].concat()).succeeds().json();
    assert_eq!(sent[0]["bottleneck"], "limit-rate", "{sent:?}");
    assert!(sent[0]["bottleneck_share"].as_f64().unwrap() > 0.4, "{sent:?}");
}

#[test]
fn a_format_says_what_is_printed_of_each_file() {
    let server = Server::start(&[]);
    let (first, second) = (Sample::new("a", b"hello"), Sample::new("b", b""));
    let format = r"%{path}\t%{bytes}\t%{end}\t%{digest}\n";
    let (url, files) = (server.url("tcp", ""), [first.path(), second.path()]);
    let sent = anyport(&[&["send", "-w", format], &files[..], &[url.as_str()]].concat());
    let expected = [("a", &b"hello"[..]), ("b", b"")]
        .map(|(name, content)| format!("{name}\t{}\tsize\t{}\n", content.len(), blake3(content)));
    assert_eq!(sent.succeeds().stdout, expected.concat());
    anyport(&["send", "-w", "%{size}", first.path(), &url])
        .exits(2)
        .says("expected one of bytes, ");
}

/// Exit code 6 means that the same command resumes, whatever happened to the server.
#[test]
fn a_server_that_does_not_return_is_an_interrupted_transfer() {
    let mut server = Server::start(&["--fsync", "none"]);
    let sample = Sample::new("film", &noise(8 * 1024 * 1024, 1));
    let flags = ["send", "--limit-rate", "20MB", "--retry", "2", sample.path()];
    let sender = start(&[&flags[..], &[server.url("tcp", "").as_str()]].concat());
    part_of_at_least(&server, 1);
    server.kill();
    let outcome = sender.outcome().exits(6).says("lost after ").says("run the same command");
    assert_eq!(outcome.stderr.matches("retrying in").count(), 2, "{outcome:?}");
}

/// Attempts are bounded in time, however many there may be: of a sender and of a receiver whose
/// peer takes each connection and breaks it.
#[test]
fn retries_end_after_their_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let sample = Sample::new("x", &noise(LARGE, 1));
    let scratch = tempfile::tempdir().unwrap();
    let back = scratch.path().join("x");
    let wanted = format!("{url}x");
    let retrying = ["--retry", "1000", "--retry-max-time", "1s"];
    for command in
        [&["send", sample.path(), &url][..], &["get", &wanted, "-o", back.to_str().unwrap()]]
    {
        let began = std::time::Instant::now();
        // With all of its attempts it would take an hour.
        let outcome = anyport(&[command, &retrying].concat()).exits(6);
        assert!(began.elapsed() >= Duration::from_secs(1), "{outcome:?}");
        assert!(outcome.stderr.matches("retrying in").count() >= 2, "{outcome:?}");
    }
}

/// A sender without an ID looks like another one with a file of the same path and size.
#[test]
fn a_partial_file_of_another_sender_is_resumed_only_if_the_digest_matches() {
    let server = Server::start(&[]);
    let (theirs, ours) = (noise(LARGE, 21), noise(LARGE, 22));
    let mut stranger = connect(server.port());
    stranger.write_all(format!("ANYPORT/1 PUT x size={LARGE}\n").as_bytes()).unwrap();
    stranger.write_all(&theirs[..1_000_000]).unwrap();
    part_of_at_least(&server, 1_000_000);
    // While the stranger is there it is left alone.
    let (stream, line) = offer(&server, &format!("size={LARGE} id=mine"));
    assert_eq!(offset(&line), 0);
    drop(stream);
    let _ = server.next_interrupted();
    stranger.write_all(&theirs[1_000_000..2_000_000]).unwrap();
    part_of_at_least(&server, 2_000_000);
    drop(stranger);
    assert_eq!(server.next_interrupted()["bytes"], 2_000_000);
    // Without a word of what the whole file is, nothing is published.
    let (mut stream, line) = offer(&server, &format!("size={LARGE} id=another"));
    assert_eq!(offset(&line), 2_000_000);
    let answer = converse(&mut stream, &[&ours[2_000_000..], b"END\n"].concat());
    assert!(answer.starts_with("ANYPORT/1 ERROR digest-mismatch "), "{answer:?}");
    assert_eq!(server.published(), Vec::<String>::new());
}

/// What is kept beside a part is of this boot, or is not believed; and a part that begins anew has
/// no past.
#[test]
fn a_state_of_another_boot_or_of_another_part_is_not_believed() {
    let server = Server::start(&["--fsync", "none"]);
    let unit = 64 * 1024 * 1024;
    let size = unit + 1_000_000;
    let content = noise(size, 23);
    let keys = format!("size={size} id=boot");
    let (mut stream, _) = offer(&server, &keys);
    stream.write_all(&content[..unit + 1000]).unwrap();
    drop(stream);
    server.next_interrupted();
    let named = |ending: &str| {
        let names = server.names();
        server.dir().join(names.iter().find(|name| name.ends_with(ending)).unwrap())
    };
    let state = std::fs::read_to_string(named(".state")).unwrap();
    assert!(state.lines().count() >= 2, "{state}");
    let forged = |boot: &str| {
        let mut lines: Vec<String> = state.lines().map(str::to_owned).collect();
        let mut header: Value = serde_json::from_str(&lines[0]).unwrap();
        header["boot"] = boot.into();
        lines[0] = header.to_string();
        // A checkpoint that is wrong: if it is believed, the digest is.
        let last = lines[1].pop().unwrap();
        lines[1].push(if last == '0' { '1' } else { '0' });
        lines.join("\n") + "\n"
    };
    std::fs::write(named(".state"), forged("of another boot")).unwrap();
    let (mut stream, line) = offer(&server, &keys);
    assert_eq!(offset(&line), unit + 1000);
    let end = format!("END {}\n", blake3(&content));
    let answer = converse(&mut stream, &[&content[unit + 1000..], end.as_bytes()].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}
