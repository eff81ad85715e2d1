//! Interrupted transfers: nothing is published, one event reports it, and the server continues.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::wire::reset;
use anyport_testkit::harness::wire::{BINARY, CONTINUATION, PING, TEXT};
use anyport_testkit::harness::wire::{
    announced, close_frame, connect, converse, fragment, frame, masked_header,
};
use anyport_testkit::harness::wire::{read_close, read_frame, read_line, read_text, websocket};
use anyport_testkit::harness::{
    Expected, Sample, Server, SmallDisk, anyport, anyport_with_input, blake3, engines, start,
    wait_until,
};

/// One `interrupted` event and nothing else, nothing published, and the next file is taken.
fn interrupted_once(server: Server, protocol: &str) -> Value {
    let event = server.next_interrupted();
    assert_eq!(event["protocol"], protocol, "{event}");
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
    assert_eq!(server.stop(), Vec::<Value>::new());
    event
}

/// Stops the sender's process in the middle of a file of known size.
fn killed(engine: &str, scheme: &str, flags: &[&str], protocol: &str) {
    // Small reads, so that the file is far from its end when the first bytes of it are seen.
    let server = Server::start(&["--engine", engine, "--bulk-buffer", "1KiB", "--fsync", "none"]);
    let size = 1 << 30;
    let sample = Sample::sparse("large.bin", size);
    let url = server.url(scheme, "");
    let mut sender = start(&[&["send"], flags, &[sample.path(), url.as_str()]].concat());
    server.growing_part();
    sender.kill();
    let outcome = sender.outcome();
    assert_eq!(outcome.code, None, "killed: {outcome:#?}");
    let event = interrupted_once(server, protocol);
    let bytes = event["bytes"].as_u64().unwrap();
    assert!(bytes > 0 && bytes < size, "{event}");
    assert_eq!(event["name"], "large.bin", "{event}");
}

/// A file that becomes shorter while it is sent is incomplete, whether it is read or sent by the
/// kernel.
#[test]
fn a_source_that_shrinks_is_an_interruption() {
    for digest in ["blake3", "none"] {
        let server = Server::start(&["--bulk-buffer", "1KiB", "--fsync", "none"]);
        let size = 1 << 30;
        let sample = Sample::sparse("shrinks.bin", size);
        let sender = start(&["send", "--digest", digest, sample.path(), &server.url("tcp", "")]);
        server.growing_part();
        std::fs::OpenOptions::new().write(true).open(sample.path()).unwrap().set_len(1).unwrap();
        sender.outcome().exits(1).says("shrank");
        let event = server.next_interrupted();
        assert!(event["bytes"].as_u64().unwrap() < size, "{event}");
        assert_eq!(server.published(), Vec::<String>::new());
    }
}

#[test]
fn a_dead_server_is_a_lost_connection() {
    for scheme in ["tcp", "ws", "frames"] {
        server_dies(scheme, &[]);
    }
}

/// Several times, because chance decides whether the sender receives a FIN or a RST first.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_dead_server_is_a_lost_connection_on_the_library_too() {
    for _ in 0..12 {
        server_dies("ws", &["--engine", "library"]);
    }
}

fn server_dies(scheme: &str, flags: &[&str]) {
    let mut server = Server::start(&["--bulk-buffer", "1KiB", "--fsync", "none"]);
    let sample = Sample::sparse("large.bin", 1 << 30);
    let url = server.url(scheme, "");
    let flags = [&["send", "--retry", "0"], flags, &[sample.path(), url.as_str()]].concat();
    let sender = start(&flags);
    server.growing_part();
    server.kill();
    sender.outcome().exits(6).says(" lost after ").says("hint: ");
    assert_eq!(server.published(), Vec::<String>::new());
}

#[test]
fn a_killed_sender_of_tcp_publishes_nothing() {
    killed("own", "tcp", &[], "raw");
}

#[test]
fn a_killed_sender_of_ws_publishes_nothing() {
    killed("own", "ws", &[], "ws");
}

#[test]
fn a_killed_sender_of_frames_publishes_nothing() {
    killed("own", "frames", &[], "frames");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_killed_sender_on_the_library_publishes_nothing() {
    killed("own", "ws", &["--engine", "library"], "ws");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_killed_sender_to_the_library_publishes_nothing() {
    killed("library", "ws", &[], "ws");
}

#[test]
fn a_fin_before_the_announced_size_is_an_interruption() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let answer = converse(&mut stream, b"ANYPORT/1 PUT short.bin size=10\nhello");
    assert!(answer.starts_with("ANYPORT/1 ERROR interrupted "), "{answer:?}");
    assert_eq!(answer.lines().count(), 1, "{answer:?}");
    let part = server.names().pop().unwrap();
    let event = interrupted_once(server, "raw");
    assert_eq!(event["bytes"], 5, "{event}");
    assert_eq!(event["name"], "short.bin", "{event}");
    assert_eq!(event["part"], part, "the part is kept: {event}");
}

#[test]
fn a_fin_before_the_end_line_is_an_interruption() {
    for end in ["", "END", "END blake3:00"] {
        let server = Server::start(&[]);
        let wire = format!("ANYPORT/1 PUT x size=5\nhello{end}");
        let answer = converse(&mut connect(server.port()), wire.as_bytes());
        assert!(answer.starts_with("ANYPORT/1 ERROR interrupted "), "{end:?}: {answer:?}");
        interrupted_once(server, "raw");
    }
}

/// The sender of a stream may not be able to send it twice, so an operator can read what arrived.
#[test]
fn content_that_no_upload_can_continue_is_kept() {
    let chunk = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent";
    let ping = [frame(PING, b"anyport/1"), frame(BINARY, b"content")].concat();
    let message = [frame(BINARY, b"content"), close_frame(1001, "")].concat();
    let wires: [(&str, &str, &[u8]); 5] = [
        ("raw", "", b"content"),
        ("raw", "", b"ANYPORT/1 PUT x size=9\ncontent"),
        ("http", "", chunk),
        ("frames", "", &ping),
        ("ws", "/x", &message),
    ];
    for (protocol, path, wire) in wires {
        let server = Server::start(&["--idle-timeout", "1s"]);
        let mut stream =
            if path.is_empty() { connect(server.port()) } else { websocket(server.port(), path) };
        stream.write_all(wire).unwrap();
        if protocol != "raw" {
            // The end of raw content is the end of the file.
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let event = server.next_interrupted();
        assert_eq!(event["protocol"], protocol, "{event}");
        let part = server.dir().join(event["part"].as_str().unwrap());
        assert_eq!(std::fs::read(part).unwrap(), b"content", "{event}");
        assert_eq!(server.published(), Vec::<String>::new());
    }
}

/// After a handshake; bare frames that are cut before their proof are raw.
#[test]
fn io_6_a_fin_inside_a_frame_or_message_is_an_interruption() {
    for engine in engines() {
        let content = frame(BINARY, b"whole message");
        for (wire, bytes) in [
            ([content.clone(), masked_header(0x82, 10), b"12345".to_vec()].concat(), 13..=18),
            ([content.clone(), masked_header(0x82, 10)].concat(), 13..=13),
            ([content.clone(), vec![0x82]].concat(), 13..=13),
            ([content.clone(), fragment(BINARY, b"first part")].concat(), 13..=23),
        ] {
            let server = Server::start(&["--engine", engine]);
            let mut stream = websocket(server.port(), "/files/x");
            stream.write_all(&wire).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let event = interrupted_once(server, "ws");
            let reported = event["bytes"].as_u64().unwrap();
            assert!(bytes.contains(&reported), "{engine} {wire:02x?}: {event}");
        }
    }
}

#[test]
fn a_fin_without_a_close_ends_an_announced_sender() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let mut stream = announced(server.port());
        stream.write_all(&frame(TEXT, br#"{"offer":{"name":"x"}}"#)).unwrap();
        stream.write_all(&frame(BINARY, b"content")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let event = interrupted_once(server, "ws");
        assert_eq!(event["bytes"], 7, "{event}");
    }
    let server = Server::start(&[]);
    let wire = [frame(PING, b"anyport/1"), frame(BINARY, b"content")].concat();
    converse(&mut connect(server.port()), &wire);
    interrupted_once(server, "frames");
}

/// Of a client that announced nothing a FIN between messages may be the end.
#[test]
fn io_6_a_fin_between_messages_is_an_unconfirmed_end() {
    let server = Server::start(&[]);
    fin_between_messages(&server);
    let expected = Expected { protocol: "ws", engine: "own", end: "fin", content: b"content" };
    expected.check(&server, &server.next_receipt());
}

/// The library does not say whether a frame was cut, so nothing is published.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn io_6_a_fin_between_messages_is_an_interruption_on_the_library() {
    let server = Server::start(&["--engine", "library"]);
    fin_between_messages(&server);
    interrupted_once(server, "ws");
}

fn fin_between_messages(server: &Server) {
    let mut stream = websocket(server.port(), "/files/x");
    stream.write_all(&frame(BINARY, b"content")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = read_text(&mut stream);
}

/// Both sizes that were announced must be the size that came.
#[test]
fn contradicting_sizes_are_refused_and_an_offered_file_needs_its_end() {
    let server = Server::start(&[]);
    for (offer, end, reason) in [
        (r#"{"offer":{"name":"x","size":10}}"#, r#"{"end":{"bytes":5}}"#, "announced 10 bytes"),
        (r#"{"offer":{"name":"x"}}"#, r#"{"end":{"bytes":6}}"#, "announced 6 bytes"),
        (r#"{"offer":{"name":"x"}}"#, "", "without an end message"),
    ] {
        let mut stream = announced(server.port());
        let mut wire = frame(TEXT, offer.as_bytes());
        wire.extend(frame(BINARY, b"12345"));
        wire.extend(if end.is_empty() {
            close_frame(1000, "")
        } else {
            frame(TEXT, end.as_bytes())
        });
        stream.write_all(&wire).unwrap();
        let event = server.next_interrupted();
        assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
        assert_eq!(server.published(), Vec::<String>::new());
    }
}

#[test]
fn a_reset_in_a_raw_transfer_is_an_interruption() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT one size=3\noneEND\nANYPORT/1 PUT two size=90\ntwo").unwrap();
    assert_eq!(server.next_receipt()["path"], "one");
    server.growing_part();
    reset(stream);
    let event = server.next_interrupted();
    assert_eq!(event["name"], "two", "{event}");
    assert_eq!(server.published(), ["one"]);
    server.takes_a_good_file();
}

#[test]
fn a_reset_in_a_websocket_transfer_is_an_interruption() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&[frame(BINARY, b"content"), frame(PING, b"")].concat()).unwrap();
        server.growing_part();
        reset(stream);
        let event = interrupted_once(server, "ws");
        assert_eq!(event["bytes"], 7, "{event}");
    }
}

#[test]
fn a_wrong_digest_is_reported_and_the_content_is_kept_apart() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let wire = format!("ANYPORT/1 PUT x size=5\nhelloEND {}\n", blake3(b"other"));
    let answer = converse(&mut stream, wire.as_bytes());
    assert!(answer.starts_with("ANYPORT/1 ERROR digest-mismatch "), "{answer:?}");
    assert!(answer.contains(&blake3(b"hello")), "{answer:?}");
    assert_eq!(server.published(), Vec::<String>::new());
    let event = interrupted_once(server, "raw");
    assert!(event["part"].as_str().is_some_and(|part| part.ends_with(".part")), "{event}");
}

#[test]
fn a_wrong_digest_or_count_over_websocket_is_reported_too() {
    for engine in engines() {
        for (end, code) in [
            (format!(r#"{{"end":{{"bytes":5,"digest":"{}"}}}}"#, blake3(b"other")), "digest"),
            (r#"{"end":{"bytes":6}}"#.to_owned(), "size"),
        ] {
            let server = Server::start(&["--engine", engine]);
            let mut stream = announced(server.port());
            let wire = [
                frame(TEXT, br#"{"offer":{"name":"x","size":5}}"#),
                frame(BINARY, b"hello"),
                frame(TEXT, end.as_bytes()),
            ];
            stream.write_all(&wire.concat()).unwrap();
            let (opcode, reported) = read_frame(&mut stream);
            assert_eq!(opcode, TEXT, "{engine}");
            let reported: Value = serde_json::from_slice(&reported).unwrap();
            assert_eq!(
                reported["error"]["code"],
                format!("{code}-mismatch"),
                "{engine} {reported}"
            );
            assert_eq!(read_close(&mut stream).0, Some(1007), "{engine}");
            drop(stream);
            assert_eq!(server.published(), Vec::<String>::new());
            interrupted_once(server, "ws");
        }
    }
}

/// A closed tab of a browser sends 1001.
#[test]
fn a_close_that_is_no_normal_end_is_an_interruption() {
    for engine in engines() {
        for code in [1001, 1011, 3000, 4999] {
            let server = Server::start(&["--engine", engine]);
            let mut stream = websocket(server.port(), "/");
            let wire = [frame(BINARY, b"content"), close_frame(code, "going")].concat();
            stream.write_all(&wire).unwrap();
            read_close(&mut stream);
            drop(stream);
            let event = interrupted_once(server, "ws");
            let reason = event["reason"].as_str().unwrap();
            assert!(reason.contains(&code.to_string()), "{engine} {event}");
        }
    }
}

#[test]
fn io_6_a_close_inside_a_message_is_an_interruption() {
    let server = Server::start(&[]);
    close_inside_a_message(&server);
    interrupted_once(server, "ws");
}

/// The library drops the message that was cut and says nothing of it; half a file must not be
/// confirmed.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_close_on_the_library_confirms_nothing() {
    let server = Server::start(&["--engine", "library"]);
    close_inside_a_message(&server);
    assert_eq!(server.next_receipt()["confirmed"], false);
}

fn close_inside_a_message(server: &Server) {
    let mut stream = websocket(server.port(), "/");
    let wire = [
        frame(BINARY, b"whole"),
        fragment(BINARY, b"a part"),
        fragment(CONTINUATION, b"of it"),
        close_frame(1000, ""),
    ];
    stream.write_all(&wire.concat()).unwrap();
    read_close(&mut stream);
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn cl_10_a_full_disk_is_reported_to_the_sender_and_the_server_continues() {
    let Some(disk) = SmallDisk::mount() else { return };
    let content = noise(6 * 1024 * 1024, 1);
    for (engine, scheme, flags) in [
        ("own", "tcp", &[][..]),
        ("own", "tcp", &["--plain"]),
        ("own", "ws", &[]),
        ("own", "ws", &["--engine", "library"]),
        ("own", "frames", &[]),
        ("library", "ws", &[]),
    ] {
        let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &["--engine", engine]);
        let url = server.url(scheme, "");
        let arguments = [&["send"], flags, &["-", url.as_str()]].concat();
        anyport_with_input(&arguments, &content).exits(4).says("No space left");
        let event = server.next_interrupted();
        assert!(event["reason"].as_str().unwrap().contains("No space left"), "{event}");
        assert_eq!(server.names(), Vec::<String>::new(), "{scheme}: what is of no use is gone");
        let mut echo = websocket(server.port(), "/echo");
        echo.write_all(&frame(TEXT, b"alive?")).unwrap();
        assert_eq!(read_frame(&mut echo), (TEXT, b"alive?".to_vec()));
        server.takes_a_good_file();
    }
}

#[test]
fn an_announced_size_beyond_the_free_space_is_refused_before_any_content() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    let sample = Sample::sparse("large.bin", 1 << 40);
    for scheme in ["tcp", "ws", "frames"] {
        let url = server.url(scheme, "");
        anyport(&["send", sample.path(), &url]).exits(4).says("does not fit").says("are free");
        let reason = server.next_refused();
        assert!(reason["reason"].as_str().unwrap().contains("does not fit"), "{reason}");
        assert_eq!(server.names(), Vec::<String>::new());
    }
    server.takes_a_good_file();
}

#[test]
fn a_silent_raw_client_is_interrupted_after_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"\x00 raw bytes and no end").unwrap();
    let answer = read_text(&mut stream);
    assert!(
        answer.starts_with("ANYPORT/1 ERROR interrupted no data for 300ms (--idle-timeout)"),
        "{answer:?}"
    );
    assert!(answer.contains("nc -N"), "{answer:?}");
    drop(stream);
    interrupted_once(server, "raw");
}

#[test]
fn a_silent_sender_with_a_preface_is_interrupted_after_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT x size=10\nhello").unwrap();
    let answer = read_line(&mut stream);
    assert!(
        answer.starts_with("ANYPORT/1 ERROR interrupted no data for 300ms (--idle-timeout)"),
        "{answer:?}"
    );
    drop(stream);
    interrupted_once(server, "raw");
}

#[test]
fn ct_5_a_silent_websocket_client_is_closed_after_the_idle_timeout() {
    for engine in engines() {
        let server = Server::start(&["--idle-timeout", "300ms", "--engine", engine]);
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&[frame(BINARY, b"one"), fragment(BINARY, b"tw")].concat()).unwrap();
        let (code, reason) = read_close(&mut stream);
        assert_eq!(
            (code, reason.as_str()),
            (Some(1008), "no data for 300ms (--idle-timeout)"),
            "{engine}"
        );
        drop(stream);
        interrupted_once(server, "ws");
    }
}

/// A large transfer runs on a thread of its own, where other code waits for silence.
#[test]
fn an_idle_bulk_transfer_is_interrupted_too() {
    for (scheme, wire) in [
        ("raw", [b"ANYPORT/1 PUT x size=9000000\n".to_vec(), noise(4_000_000, 1)].concat()),
        ("frames", [frame(PING, b"anyport/1"), frame(BINARY, &noise(4_000_000, 1))].concat()),
    ] {
        let server = Server::start(&["--idle-timeout", "1s"]);
        let mut stream = connect(server.port());
        stream.write_all(&wire).unwrap();
        read_text(&mut stream);
        drop(stream);
        let event = interrupted_once(server, scheme);
        assert_eq!(event["bytes"], 4_000_000, "{event}");
    }
}

/// Slow is not idle.
#[test]
fn a_slow_client_within_the_idle_time_is_served() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let mut stream = connect(server.port());
    let content = b"\x00 slow but steady";
    for byte in content {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.stored(&server.next_receipt()), content);
}

/// An interrupted sender leaves nothing behind: no socket, no thread, no permit.
#[test]
fn a_hundred_broken_transfers_leave_no_descriptor_open() {
    let server = Server::start(&["--bulk-threads", "2"]);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    server.takes_a_good_file();
    let before = open();
    for _ in 0..100 {
        let mut stream = connect(server.port());
        stream.write_all(b"ANYPORT/1 PUT x size=10\nhello").unwrap();
        drop(stream);
        server.next_interrupted();
    }
    wait_until("closed descriptors", || (open() <= before + 1).then_some(()));
    server.takes_a_good_file();
}
