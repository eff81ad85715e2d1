//! Invalid HTTP/2: hand-written frames, violations, and their effect on the file.

use std::io::{Read, Write};
use std::time::Duration;

use anyport_testkit::noise;

use anyport_testkit::harness::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS,
    Http2Peer, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, WINDOW_UPDATE, field, frame, head,
    number,
};
use anyport_testkit::harness::wire::connect;
use anyport_testkit::harness::{Expected, Server, wait_until};

/// RFC 9113 §8.1.1.
#[test]
fn h2_9_content_of_another_length_than_announced_is_no_file() {
    let server = Server::start(&[]);
    for (sent, ends) in [(&b"1234"[..], true), (b"123456", false)] {
        let mut wire = Http2Peer::open(&server, &[]);
        wire.put(1, "/x", Some(5));
        let flags = if ends { END_STREAM } else { 0 };
        wire.send(DATA, flags, 1, sent);
        let reset = wire.until(RST_STREAM, 1);
        assert_eq!(number(&reset.payload), PROTOCOL_ERROR);
        let interrupted = server.next_interrupted();
        assert_eq!(interrupted["protocol"], "http2", "{interrupted}");
        assert_eq!(server.published(), [""; 0]);
        // The connection continues.
        wire.get(3, "/healthz");
        assert_eq!(wire.until(DATA, 3).payload, b"ok\n");
    }
}

#[test]
fn h2_9_a_reset_stream_ends_no_other() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    for stream in [1, 3, 5] {
        wire.put(stream, &format!("/f{stream}"), Some(10));
        wire.send(DATA, 0, stream, b"hello");
    }
    wait_until("three parts", || {
        let parts = server.names();
        let parts = parts.iter().filter(|name| name.ends_with(".part"));
        let has_begun = |name: &&String| {
            std::fs::metadata(server.dir().join(name)).is_ok_and(|part| part.len() == 5)
        };
        (parts.filter(has_begun).count() == 3).then_some(())
    });
    wire.reset(3);
    let interrupted = server.next_interrupted();
    assert_eq!((&interrupted["name"], &interrupted["bytes"]), (&"f3".into(), &5.into()));
    wire.send(DATA, END_STREAM, 1, b"world");
    assert_eq!(server.next_receipt()["path"], "f1");
    // The connection is lost with the last one under way.
    drop(wire);
    assert_eq!(server.next_interrupted()["name"], "f5");
    assert_eq!(server.published(), ["f1"]);
}

/// RST_STREAM without an error is what some intermediaries make of any reset (RFC 9113 §8.1 has it
/// mean that nothing more is wanted).
#[test]
fn h2_9_a_reset_without_an_error_is_no_end_of_the_content() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/part", None);
    wire.send(DATA, 0, 1, b"hello");
    wait_until("a part", || {
        server.names().iter().any(|name| name.ends_with(".part")).then_some(())
    });
    wire.send(RST_STREAM, 0, 1, &0_u32.to_be_bytes());
    let interrupted = server.next_interrupted();
    assert_eq!(interrupted["name"], "part");
    // No upload can continue it, as it has no length, and it is kept all the same.
    let part = server.dir().join(interrupted["part"].as_str().unwrap());
    assert_eq!(std::fs::read(part).unwrap(), b"hello");
    assert!(server.published().is_empty());
}

#[test]
fn h2_9_an_idle_stream_ends_only_itself() {
    let server = Server::start(&["--idle-timeout", "500ms"]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/silent", Some(10));
    wire.send(DATA, 0, 1, b"hello");
    // Another one moves meanwhile.
    wire.put(3, "/slow", None);
    let interrupted = loop {
        wire.send(DATA, 0, 3, b".");
        std::thread::sleep(Duration::from_millis(50));
        if let Some(event) = server.try_event() {
            break event;
        }
    };
    assert_eq!(
        (&interrupted["event"], &interrupted["name"]),
        (&"interrupted".into(), &"silent".into())
    );
    assert!(interrupted["reason"].as_str().unwrap().contains("no data for "), "{interrupted}");
    wire.until(HEADERS, 1);
    wire.send(DATA, END_STREAM, 3, b"!");
    assert_eq!(server.next_receipt()["path"], "slow");
}

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[test]
fn h2_10_a_flood_of_resets_ends_the_connection() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    let get = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/", None));
    let reset = |stream| frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    let flood: Vec<u8> =
        (0..500).map(|at| 2 * at + 1).flat_map(|at| [get(at), reset(at)].concat()).collect();
    // It may be over before all of it is written.
    let _ = wire.0.write_all(&flood);
    assert_eq!(wire.end(), Some(ENHANCE_YOUR_CALM));
    let refused = server.next_refused();
    assert!(refused["reason"].as_str().unwrap().contains("RFC 9113"), "{refused}");
    server.takes_a_good_file();
}

#[test]
fn h2_10_a_flood_of_broken_requests_ends_the_connection() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    // No content, where five bytes were promised.
    let broken =
        |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("PUT", "/x", Some(5)));
    let flood: Vec<u8> = (0..500).flat_map(|at| broken(2 * at + 1)).collect();
    let _ = wire.0.write_all(&flood);
    assert_eq!(wire.end(), Some(ENHANCE_YOUR_CALM));
    server.next_refused();
    assert_eq!(server.published(), [""; 0]);
}

/// The same slowly: each request has been looked at before it is given up.
#[test]
fn h2_10_requests_that_are_only_made_to_be_given_up_end_the_connection() {
    let server = Server::start(&["--sink", "discard"]);
    let mut wire = Http2Peer::open(&server, &[]);
    for round in 0..10 {
        let streams = (0..50).map(|at| 2 * (51 * round + at) + 1);
        let put = |stream| frame(HEADERS, END_HEADERS, stream, &head("PUT", "/x", Some(10)));
        let wired: Vec<u8> = streams.clone().flat_map(put).collect();
        // It may be over before all of it is written.
        let _ = wire.0.write_all(&wired);
        // An answer shows that those before it have been looked at.
        let last = 2 * (51 * round + 50) + 1;
        let get = frame(HEADERS, END_HEADERS | END_STREAM, last, &head("GET", "/healthz", None));
        let _ = wire.0.write_all(&get);
        while wire.next_frame().is_some_and(|came| came.kind != DATA) {}
        for stream in streams {
            let _ = wire.0.write_all(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
    }
    wire.end();
    let refused = loop {
        let event = server.next_event();
        if event["event"] != "interrupted" {
            break event;
        }
    };
    assert!(refused["reason"].as_str().unwrap().contains("cancelled"), "{refused}");
    // Others are served as before.
    wire_takes_one(&server);
}

#[test]
fn h2_11_streams_beyond_the_limit_are_refused() {
    let server = Server::start(&["--max-streams", "2"]);
    let mut wire = Http2Peer::open(&server, &[]);
    for stream in [1, 3, 5] {
        wire.put(stream, &format!("/f{stream}"), Some(5));
    }
    let refused = wire.until(RST_STREAM, 5);
    assert_eq!(number(&refused.payload), REFUSED_STREAM);
    wire.send(DATA, END_STREAM, 1, b"hello");
    while wire.until(DATA, 1).flags & END_STREAM == 0 {}
    wire.put(7, "/f7", Some(5));
    wire.send(DATA, END_STREAM, 7, b"hello");
    wire.until(HEADERS, 7);
    assert_eq!(server.published(), ["f1", "f7"]);
}

/// Nothing is read ahead for a client without a window, and it times out.
#[test]
fn h2_12_a_client_that_reads_nothing_needs_little_memory_and_is_disconnected() {
    let server = Server::start(&["--idle-timeout", "3s"]);
    let big = std::fs::File::create(server.dir().join("big")).unwrap();
    big.set_len(64 * 1024 * 1024).unwrap();
    wire_takes_one(&server);
    let before = server.memory();
    // INITIAL_WINDOW_SIZE: none, and the usual one.
    for window in [0, 65_535] {
        let mut wire = Http2Peer::open(&server, &[(4, window)]);
        for at in 0..100 {
            wire.get(2 * at + 1, "/big");
        }
        wire.heads(100);
        let grown = server.memory().saturating_sub(before);
        assert!(grown < 16 * 1024 * 1024, "{grown} bytes for 100 streams");
        wire.end();
        for _ in 0..100 {
            let sent = server.next_event();
            assert_eq!(sent["event"], "unsent", "{sent}");
        }
    }
}

/// A connection of its own, and an answer. What a first one takes of memory is not counted later.
fn wire_takes_one(server: &Server) {
    let mut wire = Http2Peer::open(server, &[]);
    wire.get(1, "/healthz");
    wire.until(DATA, 1);
}

#[test]
fn h2_13_a_head_that_never_ends_is_cut_in_time() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let mut wire = Http2Peer::open(&server, &[]);
    let fields = [head("GET", "/", None), field("x", &"y".repeat(100))].concat();
    let mut slow = wire.0.try_clone().unwrap();
    // Sending slowly does not help.
    let send_slowly = std::thread::spawn(move || {
        for byte in frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields) {
            if slow.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let refused = server.next_refused();
    assert_eq!(refused["protocol"], "http2", "{refused}");
    assert!(refused["reason"].as_str().unwrap().contains("not complete within 300ms"), "{refused}");
    wire.end();
    send_slowly.join().unwrap();
    // Nor does a preface that never ends.
    let mut half = connect(server.port());
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").unwrap();
    assert!(server.next_refused()["reason"].as_str().unwrap().contains("not complete"));
    // Nor do continuations without an end.
    let mut wire = Http2Peer::open(&server, &[]);
    wire.send(HEADERS, END_STREAM, 1, &head("GET", "/", None));
    let more = frame(CONTINUATION, 0, 1, &field("x", "y"));
    for _ in 0..100 {
        let _ = wire.0.write_all(&more);
    }
    assert_eq!(wire.end(), Some(ENHANCE_YOUR_CALM));
    server.next_refused();
    server.takes_a_good_file();
}

#[test]
fn h2_13_a_connection_without_a_request_is_closed_when_it_is_idle() {
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.get(1, "/healthz");
    wire.until(DATA, 1);
    assert_eq!(wire.end(), Some(0), "a GOAWAY without an error");
    assert_eq!(server.stop(), Vec::<serde_json::Value>::new());
}

#[test]
fn h2_14_a_shutdown_accepts_no_new_stream_and_lets_running_ones_finish() {
    let mut server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/x", Some(10));
    wire.send(DATA, 0, 1, b"hello");
    server.growing_part();
    server.signal("TERM");
    wire.until(GOAWAY, 0);
    wire.send(DATA, END_STREAM, 1, b"world");
    let head = wire.until(HEADERS, 1);
    assert_eq!(head.flags & END_HEADERS, END_HEADERS);
    assert_eq!(server.next_receipt()["path"], "x");
    wire.end();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(std::fs::read(server.dir().join("x")).unwrap(), b"helloworld");
}

/// An answer that is all said, of which the client takes a little at a time.
#[test]
fn h2_14_a_slow_reader_gets_all_of_its_answer_though_the_server_stops() {
    let mut server = Server::start(&["--drain-timeout", "10m"]);
    let help = page(&server, "/help");
    let steps = 25;
    let window = u32::try_from(help.len()).unwrap() / steps;
    let mut wire = Http2Peer::open(&server, &[(4, window)]);
    wire.get(1, "/help");
    wire.until(HEADERS, 1);
    server.signal("TERM");
    server.says("stopping");
    let mut came = Vec::new();
    loop {
        let data = wire.until(DATA, 1);
        came.extend_from_slice(&data.payload);
        if data.flags & END_STREAM != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        wire.send(WINDOW_UPDATE, 0, 1, &window.to_be_bytes());
    }
    assert!(came == help, "{} of {} bytes", came.len(), help.len());
    wire.end();
    assert_eq!(server.wait().code(), Some(0));
}

/// What stands at `path`, over a connection of its own.
fn page(server: &Server, path: &str) -> Vec<u8> {
    let mut wire = Http2Peer::open(server, &[]);
    wire.get(1, path);
    let mut content = Vec::new();
    loop {
        let data = wire.until(DATA, 1);
        content.extend_from_slice(&data.payload);
        if data.flags & END_STREAM != 0 {
            return content;
        }
    }
}

/// A second signal waits for no client, and publishes nothing incomplete.
#[test]
fn h2_14_an_abort_interrupts_running_streams() {
    let mut server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/x", Some(10));
    wire.send(DATA, 0, 1, b"hello");
    server.growing_part();
    server.signal("TERM");
    server.says("stopping: waiting");
    server.signal("TERM");
    let interrupted = server.next_interrupted();
    assert_eq!(interrupted["reason"], "the server stopped", "{interrupted}");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.published(), [""; 0]);
}

/// No client considers the content complete.
#[test]
fn h2_15_a_file_that_becomes_shorter_resets_its_stream() {
    let server = Server::start(&[]);
    let path = server.dir().join("big");
    std::fs::File::create(&path).unwrap().set_len(1024 * 1024).unwrap();
    let mut wire = Http2Peer::open(&server, &[]);
    wire.get(1, "/big");
    wire.until(DATA, 1);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    // The window opens only now, for the stream and for the connection.
    for stream in [0, 1] {
        wire.send(WINDOW_UPDATE, 0, stream, &(2 * 1024 * 1024u32).to_be_bytes());
    }
    wire.until(RST_STREAM, 1);
    let sent = server.next_event();
    assert!(sent["reason"].as_str().unwrap().contains("was truncated"), "{sent}");
}

/// RFC 9113 §8.2.2, §8.3: refused as frames already, the stream or the connection; nothing is
/// stored.
#[test]
fn h2_16_malformed_requests_are_refused() {
    let server = Server::start(&[]);
    for fields in [
        [head("PUT", "/x", Some(0)), field("transfer-encoding", "chunked")],
        [head("PUT", "/x", Some(0)), field("connection", "close")],
        [head("PUT", "/x", Some(0)), field("Upper", "case")],
        [head("PUT", "/x", Some(0)), field(":path", "/y")],
        [field(":method", "PUT"), field(":path", "/x")],
    ] {
        let mut wire = Http2Peer::open(&server, &[]);
        wire.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields.concat());
        let reason = loop {
            match wire.next_frame() {
                Some(came) if came.kind == RST_STREAM => break number(&came.payload),
                Some(came) if came.kind == GOAWAY => break number(&came.payload[4..8]),
                Some(came) => assert_ne!(came.kind, HEADERS, "{came:?}"),
                None => panic!("no reason"),
            }
        };
        assert_eq!(reason, PROTOCOL_ERROR);
    }
    assert_eq!(server.published(), [""; 0]);
}

/// Fifty files in pieces that take turns, on one connection.
#[test]
fn h2_4_files_that_come_at_once_are_whole_each_with_its_receipt() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    let files: Vec<Vec<u8>> = (0..50).map(|at| noise(1000 * at + 1, at as u64)).collect();
    let stream = |at: usize| 2 * u32::try_from(at).unwrap() + 1;
    for (at, file) in files.iter().enumerate() {
        wire.put(stream(at), &format!("/f{at}"), Some(file.len() as u64));
    }
    let mut pieces: Vec<_> = files.iter().map(|file| file.chunks(777).peekable()).collect();
    while pieces.iter_mut().any(|pieces| pieces.peek().is_some()) {
        for (at, pieces) in pieces.iter_mut().enumerate() {
            if let Some(piece) = pieces.next() {
                let last = if pieces.peek().is_none() { END_STREAM } else { 0 };
                wire.send(DATA, last, stream(at), piece);
            }
        }
    }
    for _ in 0..50 {
        let receipt = server.next_receipt();
        let at: usize = receipt["path"].as_str().unwrap()[1..].parse().unwrap();
        Expected { protocol: "http2", engine: "own", end: "size", content: &files[at] }
            .check(&server, &receipt);
    }
}

/// A client can close the window of one stream and keep the connection busy: it delays no other
/// without end.
#[test]
fn pi_14_a_receiver_without_a_window_is_left_behind() {
    let server = Server::start(&["--idle-timeout", "1s", "-v"]);
    let content = noise(3_000_000, 14);
    for pipe_sender in ["PUT /pipe/k?n=2 HTTP/1.1", "raw", "h2"] {
        let mut wire = Http2Peer::open(&server, &[(4, 0)]);
        wire.get(1, "/pipe/k");
        let mut pipe_receiver = connect(server.port());
        pipe_receiver.write_all(b"ANYPORT/1 TAKE k\n").unwrap();
        let given = content.clone();
        let mut stream = connect(server.port());
        let mut written = match pipe_sender {
            "h2" => None,
            "raw" => {
                stream.write_all(b"ANYPORT/1 PIPE k size=3000000 n=2\n").unwrap();
                Some(stream)
            }
            line => {
                let head = format!("{line}\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                Some(stream)
            }
        };
        let giving = match written.take() {
            Some(mut stream) => std::thread::spawn(move || {
                stream.write_all(&given).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                anyport_testkit::harness::wire::read_text(&mut stream)
            }),
            None => {
                let mut curl = anyport_testkit::harness::http::curl().unwrap();
                curl.args(["-sS", "--http2-prior-knowledge", "-T", "-"]);
                curl.arg(server.url("http", "pipe/k?n=2"));
                let curl = anyport_testkit::harness::Running::start(curl, Some(given));
                std::thread::spawn(move || curl.outcome().succeeds().stdout)
            }
        };
        let taking = std::thread::spawn(move || {
            let mut taken = Vec::new();
            pipe_receiver.read_to_end(&mut taken).unwrap();
            taken
        });
        // Other streams of its connection continue meanwhile; a response without content needs no
        // window.
        let (mut stream, mut is_reset) = (1, false);
        while !giving.is_finished() {
            stream += 2;
            wire.send(HEADERS, END_HEADERS | END_STREAM, stream, &head("OPTIONS", "/x", None));
            // The reset may come first.
            while let Some(came) = wire.next_frame() {
                is_reset |= came.kind == RST_STREAM && came.stream == 1;
                if came.kind == HEADERS && came.stream == stream {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let reported = giving.join().unwrap();
        assert!(
            reported.contains("gone=1") || reported.contains("; 1 disconnected"),
            "{pipe_sender}: {reported}"
        );
        assert!(taking.join().unwrap() == content, "{pipe_sender}");
        // It is no end of the content.
        if !is_reset {
            wire.until(RST_STREAM, 1);
        }
    }
    assert!(server.said().contains("slow receivers removed"));
}
