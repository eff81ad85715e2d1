//! Clients that die in the middle of a pipe: no receiver considers the content complete, and no
//! client waits for a dead one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use anyport_testkit::noise;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::pipe::{Destination, ask, get, put, started};
use anyport_testkit::harness::wire::{read_head, read_line, read_text};
use anyport_testkit::harness::{Running, Server, anyport_command, anyport_with_input, peer, start};

/// `anyport send -`, whose input stays open as long as this exists.
struct Sender {
    child: Child,
    input: ChildStdin,
}

impl Sender {
    fn start(arguments: &[&str], content: &[u8]) -> Self {
        let mut command = anyport_command(&[&["send", "-"], arguments].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(content).unwrap();
        Self { child, input }
    }

    /// As a crash would; its input does not end before.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop(self.input);
    }
}

/// Checks that the content does not end as if it were complete.
#[track_caller]
fn is_reset(stream: &mut TcpStream, what: &str) {
    let error = stream.read_to_end(&mut Vec::new()).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
}

#[test]
fn pi_13_a_killed_sender_without_a_size_fails_every_receiver() {
    let server = Server::start(&[]);
    let to = format!("127.0.0.1:{}", server.port());
    let url = server.url("http", "pipe/k");
    for (target, more) in [(to.clone(), &[][..]), (format!("tls://{to}"), &["-k"])] {
        let (place, other) = (Destination::new(), Destination::new());
        let taken = start(&["get", &to, "--pipe", "k", "-o", &place.path()]);
        let Some(curled) = started(curl(), &["-o", &other.path(), &url]) else { return };
        let mut raw = ask(&server, "ANYPORT/1 TAKE k\n");
        let mut old = ask(&server, "GET /pipe/k HTTP/1.0\r\n\r\n");
        let arguments = [&[target.as_str(), "--pipe", "k", "--receivers", "4"], more].concat();
        let sender = Sender::start(&arguments, &noise(50_000, 1));
        raw.read_exact(&mut [0; 50_000]).unwrap();
        sender.kill();
        is_reset(&mut raw, "raw");
        is_reset(&mut old, "HTTP/1.0");
        taken.outcome().exits(6).says("run both commands again");
        place.is_empty();
        let code = curled.outcome().code;
        assert!(matches!(code, Some(18 | 56)), "{code:?}");
    }
}

#[test]
fn pi_13_a_sender_killed_while_it_waits_sends_nothing() {
    let server = Server::start(&["-v"]);
    let to = format!("127.0.0.1:{}", server.port());
    for target in [to.clone(), format!("tls://{to}")] {
        let more = if target == to { &[][..] } else { &["-k"] };
        let arguments = [&[target.as_str(), "--pipe", "k"], more].concat();
        let sender = Sender::start(&arguments, b"half");
        server.says_often("pipe sender connected", if target == to { 1 } else { 3 });
        sender.kill();
        // Its place is free again.
        server.says_often("pipe failed", if target == to { 1 } else { 2 });
        let taken = start(&["get", &to, "--pipe", "k", "-o", "-"]);
        anyport_with_input(&["send", "-", &to, "--pipe", "k"], b"whole").succeeds();
        assert_eq!(taken.outcome().succeeds().stdout, "whole");
    }
}

/// Where FIN is all that ends a content, a server that dies sends none.
#[test]
fn pi_13_a_killed_server_fails_every_receiver() {
    let mut server = Server::start(&["-v"]);
    let to = format!("127.0.0.1:{}", server.port());
    let place = Destination::new();
    let mut raw = ask(&server, "ANYPORT/1 TAKE k\n");
    let mut lined = ask(&server, "ANYPORT/1 TAKE k head\n");
    let mut old = ask(&server, "GET /pipe/k HTTP/1.0\r\n\r\n");
    let taken = start(&["get", &to, "--pipe", "k", "-o", &place.path()]);
    let mut waits = ask(&server, "ANYPORT/1 TAKE other\n");
    server.says_often("pipe receiver connected", 5);
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE k n=4\n");
    pipe_sender.write_all(&noise(50_000, 2)).unwrap();
    assert_eq!(read_line(&mut lined), "ANYPORT/1 CONTENT");
    read_head(&mut old);
    for stream in [&mut raw, &mut lined, &mut old] {
        stream.read_exact(&mut [0; 50_000]).unwrap();
    }
    server.kill();
    for (stream, what) in [
        (&mut raw, "raw"),
        (&mut lined, "with a line before it"),
        (&mut old, "HTTP/1.0"),
        (&mut waits, "waits"),
    ] {
        is_reset(stream, what);
    }
    taken.outcome().exits(6);
    place.is_empty();
}

/// The end of a content is none of these: all of it arrives, also at one who reads late.
#[test]
fn pi_13_an_end_in_order_loses_nothing() {
    let server = Server::start(&[]);
    let content = noise(3_000_000, 3);
    let mut raw = ask(&server, "ANYPORT/1 TAKE k\n");
    let mut old = ask(&server, "GET /pipe/k HTTP/1.0\r\n\r\n");
    let request = "PUT /pipe/k?n=2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    let mut pipe_sender = ask(&server, request);
    let written = content.clone();
    let giving = std::thread::spawn(move || {
        pipe_sender.write_all(&written).unwrap();
        read_head(&mut pipe_sender)
    });
    // Both have something left in their sockets when the server is done with them.
    raw.read_exact(&mut vec![0; 1_000_000]).unwrap();
    read_head(&mut old);
    old.read_exact(&mut vec![0; 1_000_000]).unwrap();
    let (mut rest, mut all) = (Vec::new(), Vec::new());
    raw.read_to_end(&mut rest).unwrap();
    old.read_to_end(&mut all).unwrap();
    assert!(rest == content[1_000_000..] && all == content[1_000_000..]);
    assert!(giving.join().unwrap().starts_with("HTTP/1.1 200 "));
    // Nor does a refusal get lost.
    let server = Server::start(&["--pipe-wait", "100ms"]);
    let said = read_text(&mut ask(&server, "ANYPORT/1 TAKE k\n"));
    assert!(said.contains("the pipe did not start"), "{said}");
}

/// What its FIN would leave open: whether it is still there.
#[test]
fn pi_13_a_killed_receiver_swallows_nothing_and_leaves_nothing() {
    let server = Server::start(&["-v"]);
    let to = format!("127.0.0.1:{}", server.port());
    let place = Destination::new();
    let mut waits = start(&["get", &to, "--pipe", "k", "-o", &place.path()]);
    server.says("pipe receiver connected");
    waits.kill();
    drop(waits);
    server.says("connection ended");
    place.is_empty();
    // The next sender gives to the next receiver.
    let mut pipe_sender = put(&server, "k", 4);
    let mut pipe_receiver = get(&server, "k");
    pipe_sender.write_all(b"ever").unwrap();
    assert!(read_head(&mut pipe_receiver).contains("Content-Length: 4\r\n"));
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    // Nor does one that is killed in the middle leave anything.
    let mut takes = start(&["get", &to, "--pipe", "m", "-o", &place.path()]);
    let mut watcher = get(&server, "m");
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE m n=2\nhalf");
    read_head(&mut watcher);
    takes.kill();
    drop(takes);
    place.is_empty();
    pipe_sender.write_all(b"rest").unwrap();
}

/// `nc -N` has nothing more to say, and takes all the same.
#[test]
fn pi_13_a_half_closed_receiver_gets_content_after_a_pause() {
    let server = Server::start(&["-v"]);
    let mut pipe_sender = put(&server, "k", 8);
    server.says("pipe sender connected");
    let Some(mut nc) = peer("nc") else { return };
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let request = b"GET /pipe/k HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let taken = Running::start(nc, Some(request));
    pipe_sender.write_all(b"half").unwrap();
    // Longer than between two looks at a peer that waits.
    std::thread::sleep(Duration::from_secs(1));
    pipe_sender.write_all(b"rest").unwrap();
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    let said = taken.outcome().succeeds().stdout;
    assert!(said.ends_with("\r\n\r\nhalfrest"), "{said}");
}
