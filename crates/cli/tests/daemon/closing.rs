//! The end of a connection: the peer always reads the reason, and nothing after it.
//!
//! Tests are named after the rules of RFC 6455 that they hold the server to: `cl` closing, `ct`
//! control frames, `hs` and `io` around the handshake, `fg` fragments, `lm` limits.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use anyport_testkit::harness::wire::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, announced, close_frame, connect, fragment,
    frame, masked_header, read_close, read_frame, read_head, read_text, unmasked, upgrade,
    websocket,
};
use anyport_testkit::harness::{Server, SmallDisk, assert_same_bytes, blake3, wait_until};

const MIB: usize = 1024 * 1024;

/// What `/echo` takes, inclusive.
const ECHO: usize = 16 * MIB;

/// What the server lets a peer send after its Close, and for how long.
const LINGER_BYTES: u64 = 32 * MIB as u64;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The server's Close, and behind it a FIN: neither another byte nor a reset.
#[track_caller]
fn reported(stream: &mut TcpStream) -> (Option<u16>, String) {
    let close = read_close(stream);
    assert_eq!(rest(stream), b"", "after the Close {close:?}");
    close
}

#[track_caller]
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{error} instead of a FIN"));
    rest
}

/// 10 MiB of unexpected data, neither frames nor lines.
fn ballast() -> Vec<u8> {
    anyport_testkit::noise(10 * MIB, 6)
}

#[test]
fn cl_6_the_close_for_a_violation_with_10_mib_after_it_arrives() {
    let server = Server::start(&[]);
    for (path, wire, code) in [
        ("/echo", unmasked(0x82, b"content"), 1002),
        ("/", unmasked(0x82, b"content"), 1002),
        ("/echo", masked_header(0x82, ECHO as u64 + 1), 1009),
        ("/echo", frame(TEXT, b"\xff"), 1007),
        ("/", frame(TEXT, b"\xff"), 1007),
        // The whole message is text, and no good any more once its first byte is not.
        ("/echo", [masked_header(0x81, 11 * MIB as u64), b"\xff".to_vec()].concat(), 1007),
    ] {
        let mut stream = websocket(server.port(), path);
        stream.write_all(&[wire, ballast()].concat()).unwrap();
        let (reported, reason) = reported(&mut stream);
        assert_eq!(reported, Some(code), "{path}: {reason}");
        server.next_refused();
    }
    server.takes_a_good_file();
}

/// There other code closes, on a thread of its own.
#[test]
fn cl_6_the_close_for_a_violation_in_a_bulk_transfer_arrives() {
    let server = Server::start(&[]);
    for (wire, code) in [(unmasked(0x82, b"content"), 1002), (frame(TEXT, b"\xff"), 1007)] {
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&frame(BINARY, &vec![7; 2 * MIB])).unwrap();
        // Answered, so all that went before has been taken.
        stream.write_all(&frame(PING, b"there?")).unwrap();
        assert_eq!(read_frame(&mut stream), (PONG, b"there?".to_vec()));
        stream.write_all(&[wire, ballast()].concat()).unwrap();
        let (reported, reason) = reported(&mut stream);
        assert_eq!(reported, Some(code), "{reason}");
        assert_eq!(server.next_interrupted()["bytes"], 2 * MIB);
    }
    server.takes_a_good_file();
}

#[test]
fn cl_6_the_close_for_a_violation_in_bare_frames_arrives() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let greeting = frame(PING, b"anyport/1");
    stream.write_all(&[greeting, unmasked(0x82, b"content"), ballast()].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (PONG, b"anyport/1".to_vec()));
    assert_eq!(reported(&mut stream).0, Some(1002));
    server.next_refused();
}

#[test]
fn cl_6_the_refusal_of_a_head_with_10_mib_after_it_arrives() {
    let server = Server::start(&[]);
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "x".repeat(20_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}", "A: b\r\n".repeat(200)), 431),
        (upgrade("/rooms/", ""), 404),
        ("PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n".to_owned(), 405),
    ] {
        let mut stream = connect(server.port());
        stream.write_all(&[head.into_bytes(), ballast()].concat()).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        server.next_refused();
    }
    server.takes_a_good_file();
}

#[test]
fn cl_6_the_refusal_of_a_preface_with_10_mib_after_it_arrives() {
    let server = Server::start(&["--max-size", "1MiB"]);
    for (line, code) in [
        ("ANYPORT/1 PUT x size=five\n", "bad-request"),
        ("ANYPORT/1 SING\n", "bad-request"),
        ("ANYPORT/1 PUT x size=10485760\n", "too-large"),
        ("ANYPORT/1 PUT x\n", "too-large"),
        // The answer to a wrong END line.
        ("ANYPORT/1 PUT x size=4\ngoodEMD\n", "bad-request"),
    ] {
        let mut stream = connect(server.port());
        stream.write_all(&[line.as_bytes(), &ballast()].concat()).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.starts_with(&format!("ANYPORT/1 ERROR {code} ")), "{line:?}: {answer:?}");
        assert_eq!(answer.lines().count(), 1, "{answer:?}");
        server.next_event();
    }
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
}

#[test]
fn cl_4_nothing_is_sent_after_a_close() {
    let server = Server::start(&[]);
    let further = [frame(PING, b"still?"), frame(TEXT, b"there?"), frame(PING, b"")].concat();
    for (close, code) in [
        (close_frame(1000, "bye"), Some(1000)),
        (close_frame(3000, ""), Some(3000)),
        (frame(CLOSE, b""), None),
        (unmasked(0x81, b"a violation"), Some(1002)),
    ] {
        let mut stream = websocket(server.port(), "/echo");
        stream.write_all(&[frame(TEXT, b"one"), close, further.clone()].concat()).unwrap();
        assert_eq!(read_frame(&mut stream), (TEXT, b"one".to_vec()));
        assert_eq!(reported(&mut stream).0, code);
    }
}

#[test]
fn cl_4_data_after_the_close_of_the_peer_is_ignored() {
    let server = Server::start(&[]);
    let further = [frame(BINARY, b" and more"), close_frame(1011, ""), ballast()].concat();
    for apart in [false, true] {
        let mut stream = websocket(server.port(), "/");
        let mut first = [frame(BINARY, b"content"), close_frame(1000, "")].concat();
        let mut second = further.clone();
        if !apart {
            first.append(&mut second);
        }
        stream.write_all(&first).unwrap();
        let (code, reason) = read_close(&mut stream);
        assert_eq!(code, Some(1000));
        assert_eq!(reason, format!("whole 7 {}", blake3(b"content")));
        stream.write_all(&second).unwrap();
        assert_eq!(rest(&mut stream), b"", "apart: {apart}");
        assert_eq!(server.stored(&server.next_receipt()), b"content", "apart: {apart}");
    }
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn cl_5_a_double_close_is_answered_once() {
    let server = Server::start(&[]);
    let mut stream = websocket(server.port(), "/echo");
    stream.write_all(&[close_frame(1000, "one"), close_frame(1001, "two")].concat()).unwrap();
    assert_eq!(reported(&mut stream).0, Some(1000));
    // The second one a while later.
    let mut stream = websocket(server.port(), "/echo");
    stream.write_all(&close_frame(1000, "one")).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1000));
    stream.write_all(&close_frame(1001, "two")).unwrap();
    assert_eq!(rest(&mut stream), b"");
}

#[test]
fn cl_5_two_that_close_at_once_end_in_peace() {
    // Both had reason to: the server's Close was sent before it can have read the peer's, and the
    // other way round.
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut stream = websocket(server.port(), "/echo");
    // Before it disconnects it sends a ping.
    assert_eq!(read_frame(&mut stream), (PING, Vec::new()));
    stream.peek(&mut [0]).unwrap();
    stream.write_all(&close_frame(1000, "enough")).unwrap();
    assert_eq!(
        reported(&mut stream),
        (Some(1008), "no data for 300ms (--idle-timeout)".to_owned())
    );
    stream.shutdown(Shutdown::Write).unwrap();

    let mut stream = websocket(server.port(), "/echo");
    server.signal("TERM");
    // Whichever of the two came first, there is one Close and a FIN.
    stream.write_all(&close_frame(1000, "enough")).unwrap();
    let (code, reason) = reported(&mut stream);
    assert!(matches!(code, Some(1000 | 1001)), "{code:?} {reason}");
}

/// Each of them keeps its socket; the server must not.
#[test]
fn cl_7_a_peer_that_never_ends_is_let_go() {
    let server = Server::start(&[]);
    server.takes_a_good_file();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let before = open();
    let violation = unmasked(0x82, b"x");
    let answered = |path: &str, first: &[u8]| {
        let mut stream = websocket(server.port(), path);
        stream.write_all(first).unwrap();
        assert_eq!(reported(&mut stream).0, Some(1002));
        stream
    };
    let bulk = [frame(BINARY, &vec![7; MIB]), violation.clone()].concat();
    let began = Instant::now();
    // One that does nothing more, the same after a bulk transfer, and one that has a byte now and
    // then.
    let silent = [answered("/echo", &violation), answered("/", &bulk)];
    let mut sending_slowly = answered("/echo", &violation);
    let send_slowly = std::thread::spawn(move || {
        while sending_slowly.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    });
    // And one that does not even take our Close.
    let deaf = websocket(server.port(), "/echo");
    (&deaf).write_all(&violation).unwrap();
    // On a slow machine the first of them may be gone by now; this one is not.
    assert!(open() > before, "none is open");
    wait_until("closed sockets", || (open() <= before).then_some(()));
    let took = began.elapsed();
    assert!(took >= LINGER_TIME - Duration::from_millis(100), "{took:?}: too early");
    send_slowly.join().unwrap();
    drop((silent, deaf));
    for _ in 0..4 {
        server.next_event();
    }
    server.takes_a_good_file();
}

#[test]
fn cl_7_a_peer_that_never_stops_sending_is_let_go() {
    let server = Server::start(&[]);
    for first in [Vec::new(), frame(BINARY, &vec![7; MIB])] {
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&[first, unmasked(0x82, b"x")].concat()).unwrap();
        let block = vec![7; MIB];
        let mut sent = 0;
        let error = loop {
            match stream.write(&block) {
                Ok(count) => sent += count as u64,
                Err(error) => break error,
            }
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        // What lies in the buffers of both sockets comes on top.
        assert!(sent < LINGER_BYTES + 40 * MIB as u64, "{sent} bytes were taken");
        server.next_event();
    }
    server.takes_a_good_file();
}

#[test]
fn cl_10_a_full_disk_closes_with_1011() {
    let Some(disk) = SmallDisk::mount() else { return };
    let content = anyport_testkit::noise(10 * MIB, 10);
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    let wire = [frame(BINARY, &content[..MIB]), frame(BINARY, &content[MIB..])].concat();
    let offer = frame(TEXT, br#"{"offer":{"name":"x"}}"#);
    let greeting = frame(PING, b"anyport/1");
    for (way, mut stream, first) in [
        ("unannounced", websocket(server.port(), "/"), Vec::new()),
        ("announced", announced(server.port()), offer),
        ("frames", connect(server.port()), greeting),
    ] {
        stream.write_all(&[first, wire.clone()].concat()).unwrap();
        if way == "frames" {
            assert_eq!(read_frame(&mut stream).0, PONG);
        }
        if way != "unannounced" {
            let (opcode, reported) = read_frame(&mut stream);
            assert_eq!(opcode, TEXT, "{way}");
            let reported: Value = serde_json::from_slice(&reported).unwrap();
            assert_eq!(reported["error"]["code"], "no-space", "{way}: {reported}");
        }
        let (code, reason) = reported(&mut stream);
        assert_eq!(code, Some(1011), "{way}: {reason}");
        assert!(reason.contains("No space left"), "{way}: {reason}");
        server.next_interrupted();
        assert_eq!(server.names(), Vec::<String>::new(), "{way}");
    }
    server.takes_a_good_file();
}

#[test]
fn ct_1_a_ping_is_answered_with_its_payload() {
    let server = Server::start(&[]);
    let every: Vec<u8> = (0..=255).collect();
    for path in ["/echo", "/"] {
        let mut stream = websocket(server.port(), path);
        for payload in [&every[..0], &every[..1], &every[..125], &every[131..]] {
            stream.write_all(&frame(PING, payload)).unwrap();
            assert_eq!(read_frame(&mut stream), (PONG, payload.to_vec()), "{path}");
        }
        // Inside a message too, and inside a character.
        stream.write_all(&fragment(TEXT, b"\xe2\x82")).unwrap();
        stream.write_all(&frame(PING, &every[..125])).unwrap();
        assert_eq!(read_frame(&mut stream), (PONG, every[..125].to_vec()), "{path}");
        stream.write_all(&frame(CONTINUATION, b"\xac")).unwrap();
        // One byte at a time.
        for byte in frame(PING, &every[..20]) {
            stream.write_all(&[byte]).unwrap();
        }
        if path == "/echo" {
            assert_eq!(read_frame(&mut stream), (TEXT, "€".as_bytes().to_vec()));
        }
        assert_eq!(read_frame(&mut stream), (PONG, every[..20].to_vec()), "{path}");
        // An unsolicited Pong has no effect.
        stream.write_all(&[frame(PONG, b"?"), close_frame(1000, "")].concat()).unwrap();
        assert_eq!(reported(&mut stream).0, Some(1000), "{path}");
    }
}

#[test]
fn ct_2_ten_pings_are_ten_pongs_in_order() {
    let server = Server::start(&[]);
    for path in ["/echo", "/"] {
        let mut stream = websocket(server.port(), path);
        stream.write_all(&(0..10).flat_map(|n| frame(PING, &[n; 3])).collect::<Vec<_>>()).unwrap();
        for n in 0..10 {
            assert_eq!(read_frame(&mut stream), (PONG, vec![n; 3]), "{path}");
        }
        stream.write_all(&frame(CLOSE, b"")).unwrap();
        assert_eq!(reported(&mut stream).0, None, "{path}");
    }
}

/// Each pong is here before the next frame is sent, in the fragments of one message.
#[test]
fn ct_4_pings_in_a_bulk_upload_are_answered_at_once() {
    let server = Server::start(&["--fsync", "none"]);
    let content = anyport_testkit::noise(8 * MIB, 4);
    let mut stream = websocket(server.port(), "/");
    let mut opcode = BINARY;
    for (number, piece) in (0_u8..).zip(content.chunks(MIB)) {
        stream.write_all(&fragment(opcode, piece)).unwrap();
        stream.write_all(&frame(PING, &[number])).unwrap();
        assert_eq!(read_frame(&mut stream), (PONG, vec![number]));
        opcode = CONTINUATION;
    }
    stream.write_all(&frame(CONTINUATION, b"")).unwrap();
    stream.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(reported(&mut stream).0, Some(1000));
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
}

/// Wherever the stream is cut; the head's own end is one of the places.
#[test]
fn io_3_frames_right_behind_the_head_are_frames() {
    let server = Server::start(&[]);
    let head = upgrade("/echo", "").into_bytes();
    let border = head.len();
    let wire = [head, frame(TEXT, b"early"), frame(PING, b"p"), close_frame(1000, "")].concat();
    for cut in border - 3..=wire.len() {
        let mut stream = connect(server.port());
        let (first, rest) = wire.split_at(cut);
        stream.write_all(first).unwrap();
        stream.write_all(rest).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        assert_eq!(read_frame(&mut stream), (TEXT, b"early".to_vec()), "{cut}");
        assert_eq!(read_frame(&mut stream), (PONG, b"p".to_vec()), "{cut}");
        assert_eq!(reported(&mut stream).0, Some(1000), "{cut}");
    }
}

/// A client that waits for nothing, with far more than fits in one read.
#[test]
fn hs_13_bytes_sent_before_the_101_are_frames() {
    let server = Server::start(&["--fsync", "none"]);
    let content = anyport_testkit::noise(4 * MIB, 13);
    for path in ["/files/early", "/echo"] {
        let mut stream = connect(server.port());
        stream.write_all(upgrade(path, "").as_bytes()).unwrap();
        stream.write_all(&frame(BINARY, &content)).unwrap();
        stream.write_all(&close_frame(1000, "")).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "), "{path}");
        if path == "/echo" {
            let (opcode, echoed) = read_frame(&mut stream);
            assert_eq!(opcode, BINARY);
            assert_same_bytes(&echoed, &content);
        } else {
            assert_same_bytes(&server.stored(&server.next_receipt()), &content);
        }
        assert_eq!(reported(&mut stream).0, Some(1000), "{path}");
    }
    // A refused client reads it nevertheless.
    let mut stream = connect(server.port());
    stream.write_all(upgrade("/rooms/", "").as_bytes()).unwrap();
    stream.write_all(&frame(BINARY, &content)).unwrap();
    assert!(read_text(&mut stream).starts_with("HTTP/1.1 404 "));
}

#[test]
fn fg_4_an_echo_of_65537_fragments_is_returned_whole() {
    let server = Server::start(&[]);
    let content = anyport_testkit::noise(65_537 * 64, 4);
    let mut wire = fragment(BINARY, &content[..64]);
    for piece in content[64..].chunks(64) {
        wire.extend(fragment(CONTINUATION, piece));
    }
    wire.extend(frame(CONTINUATION, b""));
    comes_back(&server, &wire, &content);
}

/// `wire` is a message of `content` on `/echo`.
fn comes_back(server: &Server, wire: &[u8], content: &[u8]) {
    let mut stream = websocket(server.port(), "/echo");
    stream.write_all(wire).unwrap();
    let (opcode, echoed) = read_frame(&mut stream);
    assert_eq!(opcode, BINARY);
    assert_same_bytes(&echoed, content);
}

#[test]
fn lm_2_an_echo_at_the_limit_is_returned() {
    let server = Server::start(&[]);
    let content = anyport_testkit::noise(ECHO, 2);
    let (one, other) = content.split_at(ECHO - 1);
    let whole = frame(BINARY, &content);
    for wire in [whole, [fragment(BINARY, one), frame(CONTINUATION, other)].concat()] {
        comes_back(&server, &wire, &content);
    }
}

/// Not a byte of the surplus payload is sent, so the header alone is refused.
#[test]
fn lm_2_an_echo_beyond_the_limit_is_refused_from_its_header() {
    let server = Server::start(&[]);
    let full = vec![7; ECHO];
    for wire in [
        masked_header(0x82, ECHO as u64 + 1),
        [fragment(BINARY, &full), masked_header(0x80, 1)].concat(),
        [fragment(BINARY, b"x"), masked_header(0x80, ECHO as u64)].concat(),
        [fragment(BINARY, b"x"), fragment(CONTINUATION, b""), masked_header(0, ECHO as u64)]
            .concat(),
    ] {
        let mut stream = websocket(server.port(), "/echo");
        stream.write_all(&wire).unwrap();
        let (code, reason) = reported(&mut stream);
        assert_eq!(code, Some(1009));
        assert!(reason.contains("16777217") && reason.contains("16777216"), "{reason}");
        server.next_refused();
    }
    server.takes_a_good_file();
}
