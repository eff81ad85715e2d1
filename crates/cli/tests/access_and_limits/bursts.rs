//! Every limit that delays input: a burst beyond it, then silence, and all of it arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use anyport_testkit::noise;

use anyport_testkit::harness::deflate::{COMPRESSED, deflated};
use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{
    BINARY, TEXT, close_frame, connect, frame, masked, read_frame, read_head, read_line, read_text,
    upgrade,
};
use anyport_testkit::harness::{Sample, Server, anyport, assert_same_bytes};

/// A connection with or without TLS.
enum Peer {
    Plain(TcpStream),
    Tls(Box<TlsPeer>),
}

impl Peer {
    fn connect(server: &Server, tls: bool) -> Self {
        if tls {
            Self::Tls(Box::new(TlsPeer::connect(server.port())))
        } else {
            Self::Plain(connect(server.port()))
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).unwrap(),
            Self::Tls(secured) => secured.write(bytes),
        }
    }

    fn receives(&mut self, words: &str) {
        match self {
            Self::Plain(stream) => {
                let mut received = Vec::new();
                let mut byte = [0];
                while !received.ends_with(words.as_bytes()) {
                    stream.read_exact(&mut byte).unwrap();
                    received.extend_from_slice(&byte);
                }
            }
            Self::Tls(secured) => secured.receives(words),
        }
    }

    /// Writes `bytes` and the end of the stream in one segment.
    fn write_last(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => {
                stream.write_all(bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
            Self::Tls(secured) => {
                let mut out = Vec::new();
                secured.seal(bytes, &mut out);
                secured.seal_close(&mut out);
                secured.stream.write_all(&out).unwrap();
            }
        }
    }
}

/// How a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Lines,
    JsonLines,
    WebSocket,
    Compressed,
}

impl Carrier {
    const ALL: [Self; 4] = [Self::Lines, Self::JsonLines, Self::WebSocket, Self::Compressed];

    fn join(self, server: &Server, tls: bool, room: &str) -> Peer {
        let mut peer = Peer::connect(server, tls);
        let fields = match self {
            Self::Compressed => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            _ => "",
        };
        match self {
            Self::Lines => peer.write(format!("ANYPORT/1 JOIN {room} as m history=0\n").as_bytes()),
            Self::JsonLines => {
                peer.write(format!("ANYPORT/1 JOIN {room} as m json history=0\n").as_bytes());
            }
            Self::WebSocket | Self::Compressed => {
                let path = format!("/rooms/{room}?as=m&history=0");
                peer.write(upgrade(&path, fields).as_bytes());
            }
        }
        peer.receives(match self {
            Self::Lines => "here: no other members\n",
            Self::JsonLines => "}\n",
            Self::WebSocket | Self::Compressed => "here: no other members",
        });
        peer
    }

    fn message(self, text: &str) -> Vec<u8> {
        match self {
            Self::Lines => format!("{text}\n").into_bytes(),
            Self::JsonLines => format!("{{\"say\":{{\"text\":\"{text}\"}}}}\n").into_bytes(),
            Self::WebSocket => frame(TEXT, text.as_bytes()),
            Self::Compressed => masked(COMPRESSED | TEXT, &deflated(text.as_bytes())),
        }
    }
}

fn secured_server(flags: &[&str]) -> (Server, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let tls = scratch.path().join("tls");
    let server = Server::start(&[&["--tls-dir", tls.to_str().unwrap()], flags].concat());
    (server, scratch)
}

/// Reads the messages of `m` until there are `count`.
fn messages(listener: TcpStream, count: usize) -> Vec<String> {
    let lines = BufReader::new(listener).lines().map(Result::unwrap);
    let said = lines.filter_map(|line| line.strip_prefix("m: ").map(str::to_owned));
    said.take(count).collect()
}

/// A stall needs a wake-up within microseconds of the instant that it waits for, so there are many
/// of them.
#[test]
fn a_burst_beyond_the_room_rate_arrives_whole_without_further_input() {
    const MESSAGES: usize = 2500;
    let (server, _scratch) = secured_server(&["--room-rate", "1000", "--deflate"]);
    let texts: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    let mut rooms = Vec::new();
    for carrier in Carrier::ALL {
        for number in 0..6 {
            let (tls, at_once) = (number % 2 == 0, number % 3 == 0);
            let room = format!("{carrier:?}-{number}");
            let speaker = carrier.join(&server, tls, &room);
            rooms.push((
                carrier,
                at_once,
                speaker,
                join(&server, &format!("{room} as l history=0")),
            ));
        }
    }
    for (carrier, at_once, speaker, _) in &mut rooms {
        let messages = texts.iter().map(|text| carrier.message(text));
        if *at_once {
            speaker.write(&messages.flatten().collect::<Vec<_>>());
        } else {
            messages.for_each(|message| speaker.write(&message));
        }
    }
    for (carrier, _, _speaker, listener) in rooms {
        assert_eq!(messages(listener, MESSAGES), texts, "{carrier:?}");
    }
}

/// A speaker that has said all ends its stream: FIN, and under TLS close_notify in the same segment
/// as the messages.
#[test]
fn a_burst_beyond_the_room_rate_is_handled_before_the_end_behind_it() {
    let (server, _scratch) = secured_server(&["--room-rate", "40", "--deflate"]);
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut rooms = Vec::new();
    for carrier in Carrier::ALL {
        for tls in [false, true] {
            let room = format!("{carrier:?}-{tls}");
            let mut speaker = carrier.join(&server, tls, &room);
            let listener = join(&server, &format!("{room} as l history=0"));
            let mut burst: Vec<u8> = texts.iter().flat_map(|text| carrier.message(text)).collect();
            if matches!(carrier, Carrier::WebSocket | Carrier::Compressed) {
                burst.extend(close_frame(1000, ""));
            }
            speaker.write_last(&burst);
            rooms.push((carrier, tls, speaker, listener));
        }
    }
    for (carrier, tls, _speaker, listener) in rooms {
        let mut lines = BufReader::new(listener).lines().map(Result::unwrap);
        let said: Vec<_> = lines.by_ref().take_while(|line| line != "* m left").collect();
        let said = said.iter().filter_map(|line| line.strip_prefix("m: "));
        assert!(said.eq(&texts), "{carrier:?} tls {tls}");
    }
}

/// The same where the messages come in one read with the request that joins.
#[test]
fn a_burst_behind_the_request_that_joins_arrives_whole() {
    let (server, _scratch) = secured_server(&["--room-rate", "20"]);
    let texts: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for tls in [false, true] {
        let listener = join(&server, &format!("r-{tls} as l history=0"));
        let mut speaker = Peer::connect(&server, tls);
        let request = format!("ANYPORT/1 JOIN r-{tls} as m history=0\n{}\n", texts.join("\n"));
        speaker.write_last(request.as_bytes());
        assert_eq!(messages(listener, texts.len()), texts, "tls {tls}");
    }
}

/// Interactive connections wait on a reactor, transfers among the tasks and on threads.
#[test]
fn a_burst_beyond_the_rate_of_a_connection_arrives_whole_without_further_input() {
    let (server, _scratch) = secured_server(&["--limit-rate", "150KB", "--deflate"]);
    let content = noise(400_000, 4);
    let sample = Sample::new("x", &content);
    std::thread::scope(|scope| {
        for scheme in ["tcp", "tls", "ws", "wss", "frames", "frames+tls", "http", "https"] {
            let path =
                if scheme.contains('s') && !scheme.starts_with("frames") { "files/" } else { "" };
            let url = server.url(scheme, &format!("{path}{}.bin", scheme.replace('+', "-")));
            let sample = &sample;
            scope.spawn(move || {
                let insecure: &[&str] = match scheme {
                    "tls" | "wss" | "frames+tls" | "https" => &["-k"],
                    _ => &[],
                };
                let send = ["send", "--retry", "0", sample.path(), &url];
                anyport(&[&send, insecure].concat()).succeeds();
            });
        }
        for fields in ["", "Sec-WebSocket-Extensions: permessage-deflate\r\n"] {
            let (port, content) = (server.port(), &content);
            scope.spawn(move || {
                let mut stream = connect(port);
                stream.write_all(upgrade("/echo", fields).as_bytes()).unwrap();
                read_head(&mut stream);
                let messages = content[..100_000].chunks(10_000);
                let burst: Vec<u8> =
                    messages.clone().flat_map(|message| frame(BINARY, message)).collect();
                stream.write_all(&burst).unwrap();
                if fields.is_empty() {
                    messages.for_each(|message| assert!(read_frame(&mut stream).1 == message));
                } else {
                    // Answers are compressed, and noise does not become less by it.
                    let mut answers = vec![0; 100_000];
                    stream.read_exact(&mut answers).unwrap();
                }
            });
        }
    });
    for _ in 0..8 {
        let receipt = server.next_receipt();
        assert_same_bytes(&server.stored(&receipt), &content);
    }
}

/// The sender fills the gate of a pipe before a receiver has come, and then sends nothing more and
/// does not end.
#[test]
fn a_burst_beyond_the_gate_of_a_pipe_arrives_whole_without_further_input() {
    let (server, _scratch) = secured_server(&["-v"]);
    let content = noise(3_000_000, 5);
    let size = content.len();
    let mut pipe_senders = 0;
    for tls in [false, true] {
        for request in [
            format!("ANYPORT/1 PIPE k size={size}\n"),
            format!("PUT /pipe/k HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"),
            format!(
                "POST /pipe/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
            ),
        ] {
            for taken in ["ANYPORT/1 TAKE k\n", "GET /pipe/k HTTP/1.0\r\n\r\n"] {
                let mut sender = Peer::connect(&server, tls);
                let burst = [request.as_bytes(), &content].concat();
                let chunked = request.contains("chunked");
                std::thread::scope(|scope| {
                    let sender = &mut sender;
                    scope.spawn(move || sender.write(&burst));
                    pipe_senders += 1;
                    server.says_often("pipe sender connected", pipe_senders);
                    let mut receiver = connect(server.port());
                    receiver.write_all(taken.as_bytes()).unwrap();
                    if taken.starts_with("GET") {
                        read_head(&mut receiver);
                    }
                    let mut received = vec![0; size];
                    receiver.read_exact(&mut received).unwrap();
                    assert_same_bytes(&received, &content);
                });
                if chunked {
                    sender.write(b"\r\n0\r\n\r\n");
                }
                sender.receives(if request.starts_with("ANYPORT") {
                    "PIPED bytes="
                } else {
                    " 200 "
                });
            }
        }
    }
}

/// There is no delay to wait for: a wrong token is refused immediately, and so is all behind it.
#[test]
fn a_burst_behind_wrong_tokens_is_answered_without_delay() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("tokens");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let server = Server::start(&["--token-file", file.to_str().unwrap()]);
    let mut stream = connect(server.port());
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong-wrong-wrong\r\n\r\n";
    stream.write_all(request.repeat(15).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = read_text(&mut stream);
    assert_eq!(answers.matches("HTTP/1.1 4").count(), 15, "{answers}");
    let mut line = connect(server.port());
    line.write_all(b"ANYPORT/1 JOIN r as m token=wrong-wrong-wrong\n").unwrap();
    assert!(read_line(&mut line).starts_with("ANYPORT/1 ERROR "));
}

/// Many files arrive in one read, and wait there for those before them.
#[test]
fn the_seconds_of_a_file_in_a_burst_are_its_own() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    for number in 0..100 {
        std::fs::write(directory.path().join(number.to_string()), [number]).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    let began = std::time::Instant::now();
    let sent = anyport(&["send", "--json", path, &server.url("tcp", "")]).succeeds();
    let elapsed = began.elapsed().as_secs_f64();
    let seconds: f64 = sent.json().iter().map(|event| event["seconds"].as_f64().unwrap()).sum();
    assert!(seconds <= elapsed, "{seconds} s of {elapsed} s");
}
