//! Limits of SECURITY.md that have no other test: each is hit, and what is promised beyond it
//! happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use anyport_testkit::harness::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2Peer, RST_STREAM, WINDOW_UPDATE, field, head,
    number,
};
use anyport_testkit::harness::wire::{
    TEXT, announced, frame, masked_header, read_close, read_frame, websocket,
};
use anyport_testkit::harness::{DEADLINE, Server, anyport_command, engines, wait_until};

/// RFC 9113 §7.
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

/// The content of a pipe without a receiver waits with the client: the server buffers one window,
/// and a byte more breaks a rule.
#[test]
fn h2_12_unread_content_closes_the_window_of_its_client() {
    let server = Server::start(&[]);
    for (stream, more) in [(1, 0), (5, 1)] {
        let mut wire = Http2Peer::open(&server, &[]);
        wire.put(stream, "/pipe/k", None);
        for _ in 0..64 {
            wire.send(DATA, 0, stream, &[b'x'; 16 * 1024]);
        }
        wire.send(DATA, 0, stream, &vec![b'x'; more]);
        wire.get(stream + 2, "/healthz");
        let mut is_refused = false;
        loop {
            let came = wire.next_frame().expect("the connection goes on");
            match (came.kind, came.stream) {
                (WINDOW_UPDATE, granted) => assert_ne!(granted, stream, "no space for more"),
                (RST_STREAM, refused) => {
                    assert_eq!((refused, number(&came.payload)), (stream, FLOW_CONTROL_ERROR));
                    is_refused = true;
                }
                (DATA, answered) if answered == stream + 2 && came.flags & END_STREAM != 0 => break,
                _ => {}
            }
        }
        assert_eq!(is_refused, more == 1);
    }
}

/// As in HTTP/1.1, and a frame has a limit of its own.
#[test]
fn h2_13_a_head_or_a_frame_beyond_its_limit_is_refused() {
    let server = Server::start(&[]);
    let long = |count: usize| {
        let value = "y".repeat(100);
        let fields: Vec<u8> = (0..count).flat_map(|at| field(&format!("x{at}"), &value)).collect();
        [head("GET", "/healthz", None), fields].concat()
    };
    let mut wire = Http2Peer::open(&server, &[]);
    wire.send(HEADERS, END_HEADERS | END_STREAM, 1, &long(90));
    wire.until(DATA, 1);
    wire.send(HEADERS, END_HEADERS | END_STREAM, 3, &long(101));
    wire.until(HEADERS, 3);
    let refused = server.next_refused();
    assert!(refused["reason"].as_str().unwrap().contains("fields"), "{refused}");
    wire.get(5, "/healthz");
    wire.until(DATA, 5);
    // One frame of 64 KiB and a byte.
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/x", None);
    wire.send(DATA, 0, 1, &vec![0; 64 * 1024 + 1]);
    assert_eq!(wire.end(), Some(FRAME_SIZE_ERROR));
}

/// The server reads on for a while, so that the client reads why it was refused, and then resets
/// the stream.
#[test]
fn h2_9_content_of_a_refused_request_is_discarded_for_a_while_only() {
    let server = Server::start(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    wire.put(1, "/help", None);
    wire.until(HEADERS, 1);
    let (mut sent, mut granted) = (0_u64, 1024 * 1024);
    // As much as there is room for, until the stream is reset.
    let reset = loop {
        while sent + 16 * 1024 <= granted {
            wire.send(DATA, 0, 1, &[b'x'; 16 * 1024]);
            sent += 16 * 1024;
        }
        let came = wire.next_frame().expect("the connection goes on");
        match (came.kind, came.stream) {
            (WINDOW_UPDATE, 1) => granted += u64::from(number(&came.payload)),
            (RST_STREAM, 1) => break number(&came.payload),
            _ => {}
        }
    };
    assert!(sent <= 34 * 1024 * 1024, "{sent} bytes were accepted");
    assert!(sent > 1024 * 1024, "{sent} bytes: nothing was discarded");
    // NO_ERROR, CANCEL, or STREAM_CLOSED for what was on its way.
    assert!([0, 5, 8].contains(&reset), "{reset}");
    wire.get(3, "/healthz");
    while wire.until(DATA, 3).payload.is_empty() {}
}

#[test]
fn the_control_socket_accepts_sixteen_connections_and_short_requests() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("control");
    let server = Server::start(&["--control", path.to_str().unwrap()]);
    let ask = |request: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request).unwrap();
        stream
    };
    let read = |mut stream: UnixStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // No more is read than a request may have, and that is none.
    assert!(read(ask(&b"status".repeat(20)[..64])).contains("unknown request"));
    let mut silent: Vec<UnixStream> = (0..16).map(|_| ask(b"stat")).collect();
    let mut waiting = ask(b"status\n");
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "answered beside sixteen others");
    silent.pop();
    waiting.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(read(waiting).contains("\"connections\""));
    drop(silent);
    wait_until("a place", || read(ask(b"status\n")).contains("\"connections\"").then_some(()));
    server.takes_a_good_file();
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_message_beyond_what_the_library_assembles_is_closed_with_1009() {
    let server = Server::start(&["--engine", "library"]);
    let mut stream = websocket(server.port(), "/");
    stream.write_all(&masked_header(0x82, 64 * 1024 * 1024 + 1)).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1009));
}

/// If the reader of the log pauses, lines are lost, and clients notice nothing.
#[test]
fn an_unread_log_delays_no_client() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = anyport_command(&["serve", "--json", "-vv", "--bind", "127.0.0.1:0"]);
    command.args(["--control", "none"]).arg(scratch.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = listening["addr"].as_str().unwrap();
    // Two lines for each, and a pipe holds 64 KiB.
    for _ in 0..2000 {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer:?}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn an_offer_beyond_its_limit_is_refused_and_closed_with_1009() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let mut stream = announced(server.port());
        let name = "n".repeat(16 * 1024);
        let offer = format!(r#"{{"offer":{{"name":"{name}","size":1}}}}"#);
        stream.write_all(&frame(TEXT, offer.as_bytes())).unwrap();
        let (opcode, reported) = read_frame(&mut stream);
        assert_eq!(opcode, TEXT, "{engine}");
        assert!(String::from_utf8(reported).unwrap().contains("\"error\""), "{engine}");
        assert_eq!(read_close(&mut stream).0, Some(1009), "{engine}");
    }
}

/// A server whose listing never ends.
#[test]
fn a_listing_of_more_entries_than_the_client_accepts_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        for at in 0_u64.. {
            let lines: String = (1000 * at..1000 * (at + 1))
                .map(|at| format!("ANYPORT/1 ENTRY name=f{at} kind=file size=1 mtime=1 mode=644\n"))
                .collect();
            if stream.write_all(lines.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut command = anyport_command(&["ls", &url]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.iter().filter(|byte| **byte == b'\n').count() <= 1_000_000);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("1000000"), "{stderr}");
}
