//! Every service over every protocol that carries it, from one table; and what is not carried says
//! so.

use std::io::Write;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyport_testkit::harness::wire::{
    BINARY, TEXT, connect, converse, frame, read_frame, read_head, read_line, read_text, upgrade,
};
use anyport_testkit::harness::{Server, peer, wait_until};

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A line of raw TCP.
    Preface,
    /// A WebSocket at a path.
    WebSocket,
    /// A request.
    Http,
    /// A listener of its own, over TCP.
    Listener,
    /// The same over UDP.
    Datagram,
}

use Way::{Datagram, Http, Listener, Preface, WebSocket};

/// What is sent, and what must come back; `…` stands for anything.
const TABLE: &[(&str, Way, &str, &str)] = &[
    ("echo", Preface, "ANYPORT/1 ECHO\nhello", "hello"),
    ("echo", WebSocket, "/echo hello", "hello"),
    (
        "echo",
        Http,
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK…\r\n\r\nhello",
    ),
    (
        "echo",
        Http,
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK…Transfer-Encoding: chunked…he…llo…0\r\n\r\n",
    ),
    ("echo", Listener, "hello", "hello"),
    ("echo", Datagram, "hello", "hello"),
    ("time", Preface, "ANYPORT/1 TIME\n", "ANYPORT/1 TIME Local time is: 20…\n"),
    (
        "time",
        Http,
        "GET /time HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK…\r\n\r\nLocal time is: 20…\n",
    ),
    ("time", Listener, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK…\r\n\r\nLocal time is: 20…\n"),
    ("daytime", Listener, "", "…day, … 20…\r\n"),
    (
        "daytime",
        Datagram,
        "a question that is as long as its answer: day, month, date",
        "…day, …\r\n",
    ),
    ("help", Preface, "ANYPORT/1 HELP\n", "ANYPORT/1 HELP PUT NAME [size=BYTES] | GET NAME…\n"),
    ("greet", Preface, "ANYPORT/1 GREET\n", "ANYPORT/1 GREETING Welcome to anyport!\n"),
    ("greet", Listener, "", "Welcome to anyport!\n"),
    (
        "room",
        Preface,
        "ANYPORT/1 JOIN r as me self history=0\nhello\n",
        "ANYPORT/1 JOINED room=r as=me members=1…* you are me in r; here: …me: hello\n",
    ),
    ("room", WebSocket, "/rooms/r?as=me&self&history=0 hello", "…me: hello"),
    (
        "room",
        Http,
        "POST /rooms/r?as=me HTTP/1.1\r\nHost: a\r\nContent-Length: \
        5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK…\r\n\r\n…-…\n",
    ),
    ("file", Preface, "ANYPORT/1 PUT x\nhello", "ANYPORT/1 RECEIPT protocol=raw …bytes=5 …\n"),
    ("file", WebSocket, "/files/x hello", "whole 5 blake3:…"),
    (
        "file",
        Http,
        "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 201 Created…5…",
    ),
];

#[test]
fn every_service_answers_over_every_protocol_that_carries_it() {
    for (service, way, sent, expected) in TABLE {
        let listener = match way {
            Listener | Datagram => service,
            _ => "any",
        };
        let server = Server::start_listening(&[&format!("{listener}://127.0.0.1:0")], &[]);
        let answer = ask(server.port(), *way, sent);
        assert!(matches(&answer, expected), "{service} by {way:?}: {answer:?}");
    }
}

/// The same rows, through a third-party TLS client.
#[test]
fn every_service_answers_under_tls_too() {
    for (service, way, sent, expected) in TABLE {
        // A listener that serves one thing does not look at what comes, so it knows no TLS.
        if matches!(way, Listener | Datagram) {
            continue;
        }
        let server = Server::start(&["--tls", "required"]);
        let Some(tunnel) = Tunnel::to(&server) else { return };
        let answer = ask(tunnel.port, *way, sent);
        assert!(matches(&answer, expected), "{service} by {way:?}: {answer:?}");
    }
}

/// socat, which speaks OpenSSL's TLS to the server and plain TCP to us.
struct Tunnel {
    child: Child,
    port: u16,
}

impl Tunnel {
    fn to(server: &Server) -> Option<Self> {
        let mut socat = peer("socat")?;
        // No other socket gets the port meanwhile: the kernel assigns them in turn.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        socat.arg("-t10").arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"));
        socat.arg(format!("OPENSSL:127.0.0.1:{},verify=0", server.port()));
        let child = socat.stderr(Stdio::null()).spawn().unwrap();
        // It takes one connection, so it cannot be asked by connecting.
        let listens = || {
            let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
            tcp.contains(&format!("0100007F:{port:04X} 00000000:0000 0A")).then_some(())
        };
        wait_until("socat listens", listens);
        Some(Self { child, port })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(port: u16, way: Way, sent: &str) -> String {
    if way == Datagram {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.send(sent.as_bytes()).unwrap();
        let mut answer = [0; 2000];
        let count = socket.recv(&mut answer).unwrap();
        return String::from_utf8(answer[..count].to_vec()).unwrap();
    }
    let mut stream = connect(port);
    match way {
        Preface | Http | Listener if sent.contains("JOIN") => {
            stream.write_all(sent.as_bytes()).unwrap();
            // It ends when we do, and so the last line is waited for.
            let mut lines = String::new();
            while !lines.contains(": hello") {
                lines.push_str(&read_line(&mut stream));
                lines.push('\n');
            }
            lines
        }
        Preface | Http | Listener => converse(&mut stream, sent.as_bytes()),
        WebSocket => {
            let (path, text) = sent.split_once(' ').unwrap();
            stream.write_all(upgrade(path, "").as_bytes()).unwrap();
            let head = read_head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let is_file = path.starts_with("/files");
            stream.write_all(&frame(if is_file { BINARY } else { TEXT }, text.as_bytes())).unwrap();
            if is_file {
                stream.write_all(&anyport_testkit::harness::wire::close_frame(1000, "")).unwrap();
                let (_, payload) = read_frame(&mut stream);
                return String::from_utf8(payload[2..].to_vec()).unwrap();
            }
            loop {
                let text = String::from_utf8(read_frame(&mut stream).1).unwrap();
                if text.ends_with("hello") {
                    return text;
                }
            }
        }
        Datagram => unreachable!(),
    }
}

/// `…` in `expected` stands for anything.
fn matches(answer: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| answer.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    expected.ends_with('…') || rest.is_empty()
}

/// A large transfer runs on a thread of its own; what the connection becomes behind it does not
/// keep that thread.
#[test]
fn a_room_can_be_joined_after_a_large_file() {
    let server = Server::start(&["--bulk-threads", "1"]);
    let content = vec![7; 3_000_000];
    let put = format!("ANYPORT/1 PUT x size={}\n", content.len());
    let http = format!("PUT /y HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let mut raw = connect(server.port());
    raw.write_all(&[put.as_bytes(), &content, b"END\nANYPORT/1 ECHO\n"].concat()).unwrap();
    assert!(read_line(&mut raw).starts_with("ANYPORT/1 RECEIPT "));
    let mut room = connect(server.port());
    let join = b"END\nANYPORT/1 JOIN r as me\n";
    room.write_all(&[put.replace(" x ", " z ").as_bytes(), &content, join].concat()).unwrap();
    assert!(read_line(&mut room).starts_with("ANYPORT/1 RECEIPT "));
    assert!(read_line(&mut room).starts_with("ANYPORT/1 JOINED "));
    read_line(&mut room);
    let mut ws = connect(server.port());
    let handshake = upgrade("/rooms/r?as=ws&history=0", "");
    ws.write_all(&[http.as_bytes(), &content, handshake.as_bytes()].concat()).unwrap();
    assert!(read_head(&mut ws).starts_with("HTTP/1.1 201 "));
    loop {
        // What follows the head is the receipt, a line or more.
        if read_line(&mut ws).starts_with("HTTP/1.1 101 ") {
            break;
        }
    }
    read_head(&mut ws);
    assert_eq!(read_line(&mut room), "* ws joined");
    ws.write_all(&frame(TEXT, b"hello")).unwrap();
    assert_eq!(read_line(&mut room), "ws: hello");
    raw.write_all(b"hello").unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_text(&mut raw), "hello");
}
