//! What an operator allows one peer, and all of them together: connections of an address, room,
//! rates.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyport_testkit::noise;

use anyport_testkit::harness::wire::connect_from;
use anyport_testkit::harness::wire::{connect, converse, read_line};
use anyport_testkit::harness::{
    Outcome, Sample, Server, anyport, assert_same_bytes, blake3, start, wait_until,
};

/// Whether it is, rather than served: the server closes those that it does not take before it
/// reads.
fn is_closed_at_once(stream: &mut TcpStream) -> bool {
    let _ = stream.write_all(b"ANYPORT/1 TIME\n");
    is_closed(stream)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

const PUT: &[u8] = b"ANYPORT/1 PUT x size=4\ngoodEND\n";

#[test]
fn an_address_with_too_many_connections_is_refused_and_another_one_is_not() {
    let server = Server::start(&["--max-conns-per-ip", "2"]);
    let mut held = [connect(server.port()), connect(server.port())];
    for _ in 0..3 {
        assert!(is_closed(&mut connect(server.port())));
    }
    let refused = server.next_refused();
    assert_eq!(refused["protocol"], "tcp", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("already has 2 connections (--max-conns-per-ip)"), "{reason}");
    // Neither those that are there nor another address notice.
    let mut other = connect_from("127.0.0.2", server.port());
    assert!(converse(&mut other, PUT).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    assert!(converse(&mut held[0], PUT).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    // One that ended makes room.
    drop(held);
    wait_until("a free place", || {
        let answer = converse_if_open(server.port())?;
        answer.starts_with("ANYPORT/1 RECEIPT ").then_some(())
    });
    let (_, summary) = server.stop_with_summary();
    // The flood is counted completely, though it was reported once a second.
    assert!(summary["refused"].as_u64().unwrap() >= 3, "{summary}");
}

/// What a connection that may be refused is answered.
fn converse_if_open(port: u16) -> Option<String> {
    let mut stream = connect(port);
    stream.write_all(PUT).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn this_machine_has_no_such_limit_unless_it_is_given() {
    let server = Server::start(&[]);
    let held: Vec<_> = (0..300).map(|_| connect(server.port())).collect();
    server.takes_a_good_file();
    drop(held);
}

fn offer(name: &str, size: usize) -> Vec<u8> {
    let line = format!("ANYPORT/1 PUT {name} size={size}\n");
    [line.as_bytes(), &vec![7; size], b"END\n"].concat()
}

/// What a file system gives out space in, and a quota counts.
const BLOCK: usize = 4096;

fn is_refused(answer: &str) -> bool {
    answer.starts_with("ANYPORT/1 ERROR no-space ") && answer.contains("(--quota)")
}

#[test]
fn the_last_byte_of_a_quota_is_given_and_none_beyond_it() {
    let scratch = tempfile::tempdir().unwrap();
    // What is there already counts, and what a link leads to does not.
    std::fs::create_dir(scratch.path().join("old")).unwrap();
    std::fs::write(scratch.path().join("old/file"), [0; 4 * BLOCK]).unwrap();
    std::os::unix::fs::symlink("/usr", scratch.path().join("link")).unwrap();
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &["--quota", "45056"]);
    let answer = converse(&mut connect(server.port()), &offer("a", 6 * BLOCK + 1));
    assert!(is_refused(&answer) && answer.contains("24576 of 45056 bytes are free"), "{answer}");
    server.next_refused();
    let answer = converse(&mut connect(server.port()), &offer("a", 6 * BLOCK));
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    server.next_receipt();
    assert!(is_refused(&converse(&mut connect(server.port()), &offer("b", 1))));
    server.next_refused();
    // Space that other processes free is available without a notification.
    std::fs::remove_file(scratch.path().join("old/file")).unwrap();
    wait_until("room again", || {
        let answer = converse(&mut connect(server.port()), &offer("b", 4 * BLOCK));
        answer.starts_with("ANYPORT/1 RECEIPT ").then_some(())
    });
    assert!(is_refused(&converse(&mut connect(server.port()), &offer("c", 1))));
    // The sender gets the same reason over WebSocket, with a hint.
    let sample = Sample::new("d", b"1");
    for scheme in ["tcp", "ws", "frames"] {
        let sent = anyport(&["send", sample.path(), &server.url(scheme, "")]).exits(4);
        sent.says("(--quota)").says("remove some files on the server");
    }
}

#[test]
fn without_a_size_an_upload_is_refused_when_it_reaches_the_quota() {
    const QUOTA: usize = 733 * BLOCK;
    // With a digest, and without one, where the kernel would store by itself.
    for digest in ["blake3", "none"] {
        let server = Server::start(&["--digest", digest, "--quota", &QUOTA.to_string()]);
        let mut stream = connect(server.port());
        // It may be cut while it writes.
        let _ = stream.write_all(&vec![7; QUOTA + 1]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(is_refused(&read_line(&mut stream)));
        let reported = server.next_interrupted();
        assert!(reported["reason"].as_str().unwrap().contains("(--quota)"), "{reported}");
        assert!(reported["part"].is_null(), "{reported}");
        assert!(server.names().is_empty(), "{:?}", server.names());
        let answer = converse(&mut connect(server.port()), &vec![7; QUOTA]);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
        assert_eq!(server.next_receipt()["bytes"], QUOTA);
    }
}

#[test]
fn two_uploads_at_once_do_not_share_the_last_byte() {
    let server = Server::start(&["--quota", "40960"]);
    let mut first = connect(server.port());
    // Its size is reserved before a byte of it comes, which GO says.
    let begin = b"ANYPORT/1 PUT a size=24576 id=first resume\n";
    first.write_all(begin).unwrap();
    assert_eq!(read_line(&mut first), "ANYPORT/1 GO offset=0");
    assert!(is_refused(&converse(&mut connect(server.port()), &offer("b", 4 * BLOCK + 1))));
    server.next_refused();
    let answer = converse(&mut connect(server.port()), &offer("b", 4 * BLOCK));
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    server.next_receipt();
    // An interrupted one returns its unused claim; its partial file counts.
    first.write_all(&[7; BLOCK]).unwrap();
    drop(first);
    assert_eq!(server.next_interrupted()["bytes"], BLOCK);
    assert!(is_refused(&converse(&mut connect(server.port()), &offer("c", 5 * BLOCK + 1))));
    server.next_refused();
    // Its sender resumes, because the partial file counts once.
    let mut again = connect(server.port());
    again.write_all(begin).unwrap();
    assert_eq!(read_line(&mut again), "ANYPORT/1 GO offset=4096");
    let answer = converse(&mut again, &[&[7; 5 * BLOCK][..], b"END\n"].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    server.next_receipt();
    assert!(is_refused(&converse(&mut connect(server.port()), &offer("d", 1))));
}

#[test]
fn a_quota_of_files_that_are_not_kept_is_a_mistake() {
    anyport(&["serve", "--quota", "1GB", "--sink", "memory"])
        .exits(2)
        .says("--quota needs --sink file");
}

/// How long it takes.
fn timed(arguments: &[&str]) -> (Outcome, Duration) {
    let began = Instant::now();
    let outcome = anyport(arguments).succeeds();
    (outcome, began.elapsed())
}

/// Beyond what makes a transfer a bulk one, so both loops show.
#[test]
fn a_connection_keeps_to_its_rate_both_ways() {
    const BYTES: usize = 1_500_000;
    let server = Server::start(&["--limit-rate", "1500000"]);
    let content = noise(BYTES, 5);
    let here = tempfile::tempdir().unwrap();
    let (from, to) = (Sample::new("x", &content), here.path().join("y"));
    for scheme in ["tcp", "ws", "frames"] {
        for digest in ["blake3", "none"] {
            let files = if scheme == "ws" { "files/" } else { "" };
            let up = server.url(scheme, &format!("{files}{scheme}-{digest}/"));
            let (_, time) = timed(&["send", "--digest", digest, from.path(), &up]);
            // What is due after the last byte need not be waited for.
            assert!(time > Duration::from_millis(700), "{scheme} {digest}: sent in {time:?}");
            let down = server.url(scheme, &format!("{files}{scheme}-{digest}/x"));
            let get = ["get", "--digest", digest, "-o", to.to_str().unwrap(), &down];
            let (_, time) = timed(&get);
            assert!(time > Duration::from_millis(700), "{scheme} {digest}: received in {time:?}");
            assert_same_bytes(&std::fs::read(&to).unwrap(), &content);
            std::fs::remove_file(&to).unwrap();
        }
    }
}

#[test]
fn a_slow_connection_does_not_keep_a_stop_waiting() {
    let mut server = Server::start(&["--limit-rate", "1KB", "--drain-timeout", "100ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT x size=1000000\n").unwrap();
    stream.write_all(&vec![7; 100_000]).unwrap();
    server.growing_part();
    server.signal("TERM");
    // At that rate the file would take a quarter of an hour.
    server.wait();
}

#[test]
fn get_keeps_to_its_own_rate() {
    let server = Server::start(&[]);
    let content = noise(1_500_000, 6);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    for scheme in ["tcp", "ws", "frames"] {
        for digest in ["blake3", "none"] {
            let url = server.url(scheme, "x");
            let get = ["get", "--limit-rate", "2MB", "--digest", digest, "-q", "-o", "-", &url];
            let (_, time) = timed(&get);
            assert!(time > Duration::from_millis(500), "{scheme} {digest}: {time:?}");
        }
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_rate_that_the_library_would_not_keep_is_a_mistake() {
    anyport(&["serve", "--limit-rate", "1MB", "--engine", "library"])
        .exits(2)
        .says("--limit-rate is not supported by --engine library");
}

/// The server is killed in the middle of a file, and started again on the same port.
#[test]
fn get_outlives_a_server_that_is_killed_and_started_again() {
    let content = noise(8_000_000, 7);
    for scheme in ["tcp", "ws", "frames"] {
        let served = tempfile::tempdir().unwrap();
        std::fs::write(served.path().join("x"), &content).unwrap();
        let here = tempfile::tempdir().unwrap();
        let slow = ["--limit-rate", "10MB"];
        let mut server = Server::start_in(served.path(), &["127.0.0.1:0"], &slow);
        let address = server.addresses()[0].to_string();
        let to = here.path().join("y");
        let url = server.url(scheme, "x");
        let get = start(&["get", "--json", "-o", to.to_str().unwrap(), &url]);
        let part_beyond = |bytes: u64| {
            wait_until("a part that grows", || {
                let mut entries = std::fs::read_dir(here.path()).unwrap();
                let part = entries.next()?.unwrap();
                (part.metadata().ok()?.len() > bytes).then_some(())
            });
        };
        part_beyond(1_000_000);
        server.kill();
        let server = Server::start_in(served.path(), &[&address], &[]);
        let outcome = get.outcome().succeeds().says("; retrying in ");
        let event = outcome.json().pop().unwrap();
        assert_eq!(event["digest"], blake3(&content), "{scheme}: {event}");
        let offset = event["offset"].as_u64().unwrap();
        assert!(offset > 1_000_000 && offset < 8_000_000, "{scheme}: {event}");
        assert_same_bytes(&std::fs::read(&to).unwrap(), &content);
        drop(server);
    }
}

#[test]
fn a_source_that_changed_during_a_break_begins_anew() {
    let served = tempfile::tempdir().unwrap();
    std::fs::write(served.path().join("x"), noise(8_000_000, 8)).unwrap();
    let here = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(served.path(), &["127.0.0.1:0"], &["--limit-rate", "4MB"]);
    let (address, url) = (server.addresses()[0].to_string(), server.url("tcp", "x"));
    let to = here.path().join("y");
    let get = start(&["get", "--json", "-o", to.to_str().unwrap(), &url]);
    wait_until("a part", || std::fs::read_dir(here.path()).unwrap().next().map(drop));
    server.kill();
    std::fs::write(served.path().join("x"), b"another one").unwrap();
    let _server = Server::start_in(served.path(), &[&address], &[]);
    let event = get.outcome().succeeds().json().pop().unwrap();
    assert_eq!((&event["offset"], &event["size"]), (&0.into(), &11.into()), "{event}");
    assert_eq!(std::fs::read(&to).unwrap(), b"another one");
}

#[test]
fn get_gives_up_after_its_attempts() {
    let served = tempfile::tempdir().unwrap();
    std::fs::write(served.path().join("x"), noise(8_000_000, 9)).unwrap();
    let here = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(served.path(), &["127.0.0.1:0"], &["--limit-rate", "4MB"]);
    let to = here.path().join("y");
    let get = start(&["get", "--retry", "1", "-o", to.to_str().unwrap(), &server.url("tcp", "x")]);
    wait_until("a part", || std::fs::read_dir(here.path()).unwrap().next().map(drop));
    server.kill();
    let outcome = get.outcome();
    assert!(!to.exists());
    outcome.says("; retrying in 250ms").exits(6);
}

#[test]
fn an_address_that_connects_too_fast_is_refused_and_another_one_is_not() {
    let server = Server::start(&["--max-rate-per-ip", "1"]);
    // A burst is twice as many; what comes behind it within a second is too much.
    wait_until("a connection that is one too many", || {
        is_closed_at_once(&mut connect(server.port())).then_some(())
    });
    let refused = server.next_refused();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("more than 1 connection per second (--max-rate-per-ip)"), "{reason}");
    let mut other = connect_from("127.0.0.2", server.port());
    assert!(converse(&mut other, PUT).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    // After a while it may again.
    wait_until("a connection that is taken", || {
        let answer = converse_if_open(server.port())?;
        answer.starts_with("ANYPORT/1 RECEIPT ").then_some(())
    });
}

/// Nothing is counted for this machine unless it is asked for.
#[test]
fn clients_on_this_machine_have_no_rate_limit() {
    let server = Server::start(&[]);
    for _ in 0..400 {
        let mut stream = connect(server.port());
        let answer = converse(&mut stream, b"ANYPORT/1 TIME\n");
        assert!(answer.starts_with("ANYPORT/1 TIME "), "{answer}");
    }
}

#[test]
fn files_in_memory_have_a_limit_together() {
    let server = Server::start(&["--sink", "memory", "--max-memory", "8MiB"]);
    let put = |size: usize| {
        let line = format!("ANYPORT/1 PUT x size={size}\n");
        let content = vec![b'x'; size];
        let mut stream = connect(server.port());
        // Refused in the middle it reads no more, and its word is read all the same.
        let _ = stream.write_all(&[line.as_bytes(), &content, b"END\n"].concat());
        read_line(&mut stream)
    };
    assert!(put(1 << 20).starts_with("ANYPORT/1 RECEIPT "));
    assert!(put(9 << 20).starts_with("ANYPORT/1 ERROR no-space "));
    // What was given up is free again.
    assert!(put(1 << 20).starts_with("ANYPORT/1 RECEIPT "));
}
