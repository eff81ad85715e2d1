//! What is said of each connection at its end, in each form of the log.

use std::io::Write;

use serde_json::Value;

use crate::harness::{Server, anyport_command};
use crate::wire::{BINARY, close_frame, connect, converse, frame, read_close, websocket};

/// The line of the log that tells the end of a connection which speaks `protocol`.
fn ended(server: &Server, protocol: &str) -> Value {
    let lines = || {
        let said = server.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ended = lines.filter(|line| line["message"] == "connection ended");
        ended.find(|line| line["protocol"] == protocol)
    };
    crate::harness::wait_until("the end of a connection", lines)
}

#[test]
fn each_connection_ends_in_one_line_with_its_facts() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let put = b"ANYPORT/1 PUT a size=5\nhelloEND\nANYPORT/1 GET a\n";
    let answer = converse(&mut connect(server.port()), put);
    let line = ended(&server, "preface");
    assert_eq!(line["level"], "INFO", "{line}");
    assert_eq!(line["bytes_in"], put.len(), "{line}");
    assert_eq!(line["bytes_out"], answer.len(), "{line}");
    assert_eq!((&line["requests"], &line["files"]), (&Value::from(2), &Value::from(2)), "{line}");
    assert_eq!(line["close"], "in order", "{line}");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert!(line["reason"].is_string() && line["seconds"].is_number(), "{line}");
    assert!(line.get("user").is_none() && line.get("tls").is_none(), "{line}");

    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = converse(&mut connect(server.port()), get.as_bytes());
    let line = ended(&server, "http1");
    assert_eq!(line["bytes_in"], get.len(), "{line}");
    assert_eq!(line["bytes_out"], answer.len(), "{line}");
    assert_eq!((&line["requests"], &line["files"]), (&Value::from(2), &Value::from(1)), "{line}");

    let mut stream = websocket(server.port(), "/files/b");
    stream.write_all(&[frame(BINARY, b"content"), close_frame(1000, "")].concat()).unwrap();
    read_close(&mut stream);
    drop(stream);
    assert_eq!(ended(&server, "ws")["files"], 1);

    let mut raw = connect(server.port());
    raw.write_all(b"\xffraw bytes").unwrap();
    socket2::SockRef::from(&raw).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    server.growing_part();
    drop(raw);
    let line = ended(&server, "raw");
    assert!(line["close"].as_str().unwrap().starts_with("the connection broke: "), "{line}");
    assert_eq!(line["files"], 0, "{line}");
}

/// What a member of a room hears is written for it by others, and counted as its own.
#[test]
fn what_a_room_sends_is_counted_for_each_of_its_members() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let mut listener = connect(server.port());
    listener.write_all(b"ANYPORT/1 JOIN lobby as bob\n").unwrap();
    crate::wire::read_line(&mut listener);
    let said = "x".repeat(1000);
    let post =
        format!("POST /rooms/lobby HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{said}");
    converse(&mut connect(server.port()), post.as_bytes());
    while !crate::wire::read_line(&mut listener).ends_with(&said) {}
    drop(listener);
    let line = ended(&server, "preface");
    assert!(line["bytes_out"].as_u64().unwrap() > 1000, "{line}");
}

#[test]
fn the_log_is_text_unless_it_is_told_otherwise_and_the_journal_is_not_asked_for_nothing() {
    let server = Server::start(&["-v"]);
    converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
    server.says("connection ended");
    assert!(server.said().contains("protocol=\"preface\""), "{}", server.said());
    // An empty variable says nothing, and what is no level is told.
    for (value, told) in [("", false), ("=,=", true)] {
        let mut command = anyport_command(&[]);
        command.env("ANYPORT_LOG", value);
        let server = Server::start_as(command, &["127.0.0.1:0"], &["-v"]);
        converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
        server.says("connection ended");
        assert_eq!(server.said().contains("ANYPORT_LOG says nothing"), told, "{}", server.said());
    }
    let quiet = Server::start(&[]);
    converse(&mut connect(quiet.port()), b"ANYPORT/1 TIME\n");
    quiet.signal("TERM");
    quiet.says("stopping");
    assert!(!quiet.said().contains("connection ended"), "{}", quiet.said());
}
