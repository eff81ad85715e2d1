//! Many silent clients, and how each detection result is reported and counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::json;

use anyport_testkit::harness::wire::{
    BINARY, close_frame, connect, converse, frame, read_close, read_text, upgrade, wait_until_read,
    websocket,
};
use anyport_testkit::harness::{Server, anyport, program, wait_until};

/// Whether the server has closed it; asks the kernel and waits for nothing.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = matches!(stream.read(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    closed
}

#[test]
fn many_silent_connections_lock_no_client_out() {
    let server = Server::start(&["--max-unclassified", "4"]);
    let mut many_clients: Vec<TcpStream> = (0..4).map(|_| connect(server.port())).collect();
    // The fifth is served, and the oldest silent one is evicted for it; the others stay.
    server.takes_a_good_file();
    assert_eq!(read_text(&mut many_clients[0]), "");
    assert!(many_clients[1..].iter_mut().all(|silent| !is_closed(silent)));
    // Three are left, so one more fits beside them, and the next one does not.
    let mut fourth = connect(server.port());
    server.takes_a_good_file();
    assert_eq!(read_text(&mut many_clients[1]), "");
    assert!(
        !is_closed(&mut many_clients[2])
            && !is_closed(&mut many_clients[3])
            && !is_closed(&mut fourth)
    );
    // Who gave no way may still speak.
    assert!(converse(&mut many_clients[3], b"at last").starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["silent"]["gave-way"], 2, "{summary}");
}

#[test]
fn exactly_the_limit_may_be_silent() {
    let server = Server::start(&["--max-unclassified", "3"]);
    let mut many_clients: Vec<TcpStream> = (0..3).map(|_| connect(server.port())).collect();
    // All three have been accepted when the last one is answered.
    assert!(converse(&mut many_clients[2], b"x").starts_with("ANYPORT/1 RECEIPT "));
    assert!(!is_closed(&mut many_clients[0]) && !is_closed(&mut many_clients[1]));
}

/// What has said something is judged by it, and not lost.
#[test]
fn if_none_is_silent_the_oldest_is_classified_by_its_input() {
    let server = Server::start(&["--max-unclassified", "1", "--detect-timeout", "1h"]);
    let mut unclassified = connect(server.port());
    unclassified.write_all(b"GET ").unwrap();
    wait_until_read(&unclassified);
    let other = connect(server.port());
    server.growing_part();
    converse(&mut unclassified, b"/ HTTP/1.1\r\n");
    assert_eq!(server.stored(&server.next_receipt()), b"GET / HTTP/1.1\r\n");
    drop(other);
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["decisions"]["raw"]["no-place"], 1, "{summary}");
}

/// A connection that waits for a permit has none yet, so the same rule must hold for permits.
#[test]
fn silent_connections_keep_no_permit_that_another_needs() {
    let server = Server::start(&["--max-conns", "2"]);
    let many_clients: Vec<TcpStream> = (0..2).map(|_| connect(server.port())).collect();
    server.takes_a_good_file();
    drop(many_clients);
    anyport(&["serve", "--max-conns", "2", "--max-unclassified", "3"])
        .exits(2)
        .says("--max-unclassified must be at most --max-conns");
}

#[test]
fn each_decision_is_counted_with_the_class_of_its_reason() {
    let server = Server::start(&["--detect-timeout", "200ms"]);
    converse(&mut connect(server.port()), b"\xff raw");
    converse(&mut connect(server.port()), b"GET");
    let mut slow = connect(server.port());
    slow.write_all(b"GET").unwrap();
    server.growing_part();
    converse(&mut slow, b"");
    converse(&mut connect(server.port()), &frame(BINARY, b"one"));
    converse(&mut connect(server.port()), b"\x82\xb1\x82\xf1");
    converse(&mut connect(server.port()), &[frame(BINARY, b"x"), vec![0xff; 9]].concat());
    converse(&mut connect(server.port()), b"ANYPORT/1 PUT x size=1\n1END\n");
    assert!(
        converse(&mut connect(server.port()), upgrade("/rooms/", "").as_bytes()).contains(" 404 ")
    );
    let mut ws = websocket(server.port(), "/");
    ws.write_all(&[frame(BINARY, b"x"), close_frame(1000, "")].concat()).unwrap();
    read_close(&mut ws);
    drop(connect(server.port()));
    wait_until("ten receipts and refusals", || {
        let said = server.next_event();
        (said["protocol"] == "ws").then_some(())
    });
    let (_, summary) = server.stop_with_summary();
    let expected = json!({
        "http1": { "first-bytes": 2 },
        "preface": { "first-bytes": 1 },
        "frame-candidate": { "first-bytes": 3 },
        "frames": { "proof": 1 },
        "raw": {
            "first-bytes": 1, "deadline": 1, "end-of-stream": 1, "refuted": 1, "unproven": 1,
        },
    });
    assert_eq!(summary["decisions"], expected, "{summary}");
    assert_eq!(summary["connections"], 10, "{summary}");
    assert_eq!(summary["receipts"], 8, "{summary}");
    assert_eq!(summary["refused"], 1, "{summary}");
    assert_eq!(summary["silent"], json!({ "closed": 1 }), "{summary}");

    let blind = Server::start(&["--no-detect"]);
    converse(&mut connect(blind.port()), b"GET / HTTP/1.1\r\n");
    blind.next_receipt();
    let (_, summary) = blind.stop_with_summary();
    assert_eq!(summary["decisions"], json!({ "raw": { "forced": 1 } }), "{summary}");
}

#[test]
fn people_get_the_summary_as_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--listen", "any://127.0.0.1:0"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = lines.find_map(|line| {
        line.trim().strip_prefix("listening on 127.0.0.1:").map(|port| port.parse().unwrap())
    });
    converse(&mut connect(listening.unwrap()), b"raw");
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let last = lines.last().unwrap();
    let expected = "served 1 connection: received 1 file (3 B), sent 0 (0 B), interrupted 0, \
        refused 0; detected raw 1 (end-of-stream)";
    assert_eq!(last, expected);
    assert!(child.wait().unwrap().success());
}

#[test]
fn each_detection_result_is_reported_with_its_reason() {
    let server = Server::start(&["-vv"]);
    converse(&mut connect(server.port()), b"\xff raw");
    server.says("the first byte 0xff matches no enabled protocol");
    converse(&mut connect(server.port()), b"GET");
    server.says("end of stream after 3 bytes that could be an HTTP request line");
    converse(&mut connect(server.port()), &frame(BINARY, b"one"));
    server.says("starts with a masked frame header, binary, of minimal length");
    server.says("the stream ended at the end of a message");
    converse(&mut connect(server.port()), &[frame(BINARY, b"x"), vec![0xff; 9]].concat());
    server.says("not frames: ");
    drop(connect(server.port()));
    server.says("closed without sending data");
}
