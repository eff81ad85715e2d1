//! `serve --trace DIR`: a trace of each connection in a directory.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2Peer, PING, field, head,
};
use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::tokens::{ALICE, both};
use anyport_testkit::harness::tracing::{CANARY, Tracing, files, name};
use anyport_testkit::harness::wire::{
    BINARY, CLOSE, TEXT, announced, close_frame, connect, converse, frame, masked_header,
    read_frame, read_line, read_text, websocket, websocket_with,
};
use anyport_testkit::harness::{
    Running, Sample, Server, SmallDisk, anyport, python_with, wait_until,
};
use anyport_testkit::noise;

fn with_trace<'f>(directory: &'f Path, flags: &[&'f str]) -> Vec<&'f str> {
    [&["--trace", directory.to_str().unwrap()], flags].concat()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

const ACCEPTED: [(&str, &str); 2] =
    [("trace", r#""recorded_by":"server""#), ("connected", r#""from":"server""#)];

#[test]
fn the_directory_and_its_files_are_readable_by_their_owner_alone() {
    let tracing = Tracing::start(&[]);
    converse(&mut connect(tracing.server.port()), b"raw bytes");
    wait_until("a trace", || (!tracing.files().is_empty()).then_some(()));
    let file = &tracing.files()[0];
    assert_eq!((mode(&tracing.directory), mode(file)), (0o700, 0o600));
    let name = name(file);
    assert!(name.ends_with("Z-000001-raw-127.0.0.1.trace"), "{name}");
    assert!(name.starts_with("20") && name.as_bytes()[8] == b'T', "{name}");
}

#[test]
fn a_directory_that_clients_or_other_users_can_read_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("served")).unwrap();
    std::fs::create_dir(at("open")).unwrap();
    std::fs::set_permissions(at("open"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink(at("served"), at("link")).unwrap();
    let refused = |trace: &str, words: &str| {
        let served = at("served");
        let flags = ["--bind", "127.0.0.1:0", "--control", "none", "--trace", trace, &served];
        anyport(&[&["serve"][..], &flags].concat()).exits(2).says(words);
        let settings = format!("directory = {served:?}\ntrace = {trace:?}\n");
        std::fs::write(at("toml"), settings).unwrap();
        anyport(&["config", "check", &at("toml")]).exits(2).says(words);
    };
    let served = std::fs::canonicalize(at("served")).unwrap();
    for inside in ["served", "served/traces", "link/traces", ""] {
        let words = format!(": it overlaps the served directory {}\n", served.display());
        refused(&at(inside), &words);
    }
    refused(&at("served/traces"), "hint: clients could download traces");
    assert!(!Path::new(&at("served/traces")).exists());
    refused(&at("open"), "other users have access to it (mode 0755)\nhint: chmod 700 /");
    refused(&at("link"), "it is a symbolic link\nhint: name the directory itself");
    refused(&at("no/such"), "hint: its parent directory must exist");
}

#[test]
fn each_scheme_of_a_sender_has_its_events_in_order() {
    let tracing = Tracing::start(&[]);
    let content = noise(300_000, 1);
    for (scheme, protocol, expected) in [
        ("tcp", "preface", &[("line", "PUT"), ("content", "300000"), ("line", "RECEIPT")][..]),
        ("tls", "preface", &[("tls-done", "TLS"), ("line", "PUT"), ("line", "RECEIPT")]),
        ("ws", "http1", &[("head", "GET"), ("head", "101"), ("frame", "offer"), ("frame", "text")]),
        ("wss", "http1", &[("tls-done", "TLS"), ("head", "101"), ("frame", "receipt")]),
        ("frames", "framecandidate", &[("frame", "offer"), ("frame", "binary")]),
        ("http", "http1", &[("head", "PUT"), ("content", "300000"), ("head", "201")]),
        (
            "https",
            "http2",
            &[("tls-done", "h2"), ("head", "PRI"), ("http2", "PUT"), ("http2", "DATA")],
        ),
    ] {
        let sample = Sample::new(&format!("of-{scheme}"), &content);
        let url = tracing.server.url(scheme, "");
        let mut send = vec!["send", "--no-resume", sample.path(), &url];
        if ["tls", "wss", "https"].contains(&scheme) {
            send.push("-k");
        }
        anyport(&send).succeeds();
        // HTTP asks for resumable uploads first, perhaps over another connection.
        let trace = tracing.take(protocol);
        trace.follow(&ACCEPTED);
        trace.follow(&[("connected", "127.0.0.1"), ("note", "detected as")]);
        trace.follow(expected);
        trace.follow(&[("note", &format!("receipt: of-{scheme}, 300 kB in "))]);
        trace.follow(&[("fin", r#""from":"server""#)]);
        assert!(trace.events.iter().any(|event| event["event"] == "sample"), "{}", trace.all());
        assert!(trace.read.contains("recorded by the server"), "{}", trace.read);
        assert!(!trace.read.contains("client's kernel"), "{}", trace.read);
        let times = trace.events.iter().filter_map(|event| event["at"].as_f64());
        assert!(times.is_sorted(), "{}", trace.all());
        while tracing.files().iter().any(|path| name(path).contains(&format!("-{protocol}-"))) {
            tracing.take(protocol);
        }
    }
}

#[test]
fn the_syn_of_the_client_is_in_the_trace_and_can_still_be_asked_for() {
    let tracing = Tracing::start(&[]);
    let mut stream = connect(tracing.server.port());
    let port = stream.local_addr().unwrap().port();
    let answer = converse(&mut stream, b"ANYPORT/1 SYN\nANYPORT/1 SYN\n");
    let mut lines = answer.lines();
    assert!(lines.next().unwrap().starts_with("ANYPORT/1 SYN :"), "{answer}");
    assert_eq!(lines.next().unwrap(), "ANYPORT/1 SYN none");
    let trace = tracing.take("preface");
    trace.follow(&[("syn", &format!(r#""source":"127.0.0.1:{port}""#)), ("connected", "")]);
    assert_eq!(trace.events.iter().filter(|event| event["event"] == "syn").count(), 1);
    trace.follow(&[("fin", r#""from":"client""#), ("fin", r#""basis":"inferred""#)]);
    assert!(!trace.all().contains("does not report the SYN"), "{}", trace.all());
}

#[test]
fn downloads_raw_bytes_and_third_party_clients_are_traced() {
    let tracing = Tracing::start(&["--digest", "none"]);
    let content = noise(3_000_000, 2);
    std::fs::write(tracing.server.dir().join("big"), &content).unwrap();
    // The kernel sends it.
    let mut stream = connect(tracing.server.port());
    stream.write_all(b"ANYPORT/1 GET big\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let trace = tracing.take("preface");
    trace.follow(&[("line", "GET big"), ("line", "FILE"), ("content", "3000000"), ("line", "END")]);
    assert_eq!(trace.content("server"), 3_000_000);
    // The kernel stores it.
    converse(&mut connect(tracing.server.port()), &content);
    let trace = tracing.take("raw");
    assert_eq!(trace.content("client"), 3_000_000, "{}", trace.all());
    trace.follow(&[
        ("note", "detected as raw"),
        ("fin", r#""from":"client""#),
        ("note", "receipt"),
    ]);
    if let Some(mut curl) = curl() {
        let sample = Sample::new("curled", &content);
        let url = tracing.server.url("http", "");
        curl.args(["-T", sample.path(), &url, "--next", "-s", "--noproxy", "*", "-o", "/dev/null"]);
        curl.arg(tracing.server.url("http", "big"));
        Running::start(curl, None).outcome().succeeds();
        let trace = tracing.take("http1");
        trace.follow(&[("head", "PUT /curled"), ("content", "3000000"), ("head", "201")]);
        trace.follow(&[("head", "GET /big"), ("head", "200 OK"), ("content", "3000000")]);
    }
    if let Some(mut python) = python_with("websockets") {
        let script = "import sys\nfrom websockets.sync.client import connect\n\
            with connect(sys.argv[1]) as w:\n  w.send(bytes(1000)); w.close(); ";
        python.args(["-c", script, &tracing.server.url("ws", "from-python")]);
        Running::start(python, None).outcome().succeeds();
        let trace = tracing.take("http1");
        trace.follow(&[
            ("head", "GET /from-python"),
            ("head", "101"),
            ("web-socket-accept", "true"),
        ]);
        trace.follow(&[("frame", "binary"), ("frame", "1000"), ("note", "receipt: from-python")]);
    }
}

#[test]
fn connections_stay_traced_where_a_library_or_a_reactor_serves_them() {
    for (flags, path) in [
        (&[][..], "/echo"),
        (&["--engine", "library"], "/echo"),
        (&[], "/rooms/lobby"),
        (&[], "/.anyport/live"),
    ] {
        let tracing = Tracing::start(flags);
        let mut stream = websocket(tracing.server.port(), path);
        stream.write_all(&frame(TEXT, b"first")).unwrap();
        let (opcode, _) = read_frame(&mut stream);
        assert!([TEXT, CLOSE].contains(&opcode), "{path}");
        stream.write_all(&close_frame(1000, "")).unwrap();
        while read_frame(&mut stream).0 != CLOSE {}
        drop(stream);
        let trace = tracing.take("http1");
        trace.follow(&[("head", "GET"), ("head", "101"), ("frame", r#""opcode":"text""#)]);
        for from in ["client", "server"] {
            let opcodes: Vec<_> = trace.of("frame", from).map(|frame| &frame["opcode"]).collect();
            assert!(opcodes.iter().any(|opcode| **opcode == "text"), "{path}: {}", trace.all());
            assert!(opcodes.iter().any(|opcode| **opcode == "close"), "{path}: {}", trace.all());
        }
    }
    let tracing = Tracing::start(&[]);
    let mut http2 = Http2Peer::open(&tracing.server, &[]);
    http2.get(1, "/healthz");
    http2.heads(1);
    drop(http2);
    let trace = tracing.take("http2");
    trace.follow(&[
        ("head", "PRI"),
        ("http2", "SETTINGS"),
        ("http2", "/healthz"),
        ("http2", "200"),
    ]);
}

#[test]
fn no_content_no_message_and_no_secret_is_in_a_trace() {
    let tokens = both();
    let tracing = Tracing::start(&["--token-file", tokens.path(), "-vv"]);
    let port = tracing.server.port();
    let ask = |bytes: &str| converse(&mut connect(port), bytes.as_bytes());
    let put = format!("{CANARY}\nANYPORT/1 {CANARY}\n");
    let size = put.len();
    ask(&format!("ANYPORT/1 PUT a size={size} token={ALICE}\n{put}END\nANYPORT/1 GET a\n"));
    ask(&format!("ANYPORT/1 PUT a size={size} token={ALICE}wrong\n{put}END\n"));
    ask(&format!("ANYPORT/1 LIST token={CANARY}-as-a-token\n"));
    let take = || {
        let mut stream = connect(port);
        writeln!(stream, "ANYPORT/1 TAKE {CANARY}-as-a-key token={ALICE}").unwrap();
        stream
    };
    let mut receiver = take();
    ask(&format!("ANYPORT/1 PIPE {CANARY}-as-a-key size=9 token={ALICE}\n{CANARY:.9}"));
    read_text(&mut receiver);
    ask(&format!("ANYPORT/1 ECHO token={ALICE}\n{CANARY}\nANYPORT/1 {CANARY}\n"));
    ask(&format!("ANYPORT/1 JOIN lobby as bob token={ALICE}\n{CANARY}\nANYPORT/1 {CANARY}\n"));
    ask(&format!("raw bytes {CANARY}"));
    let http = |line: &str, field: &str, content: &str| {
        let length = content.len();
        ask(&format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{field}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{content}"
        ))
    };
    let bearer = format!("Authorization: Bearer {ALICE}");
    assert!(http("PUT /b", &bearer, &put).starts_with("HTTP/1.1 201"));
    assert!(http("GET /b", &bearer, "").contains(CANARY));
    assert!(
        http("POST /rooms/lobby", &bearer, &format!("message {CANARY}")).starts_with("HTTP/1.1 2")
    );
    http(&format!("GET /a?token={CANARY}"), "X: y", "");
    let mut receiver = take();
    http(&format!("PUT /pipe/{CANARY}-as-a-key"), &bearer, CANARY);
    read_text(&mut receiver);
    http("GET /", &format!("Cookie: anyport={CANARY}"), "");
    http("GET /", &format!("Authorization: Basic {CANARY}"), "");
    http(&format!("GET /.anyport/s/{CANARY}/"), "X: y", "");
    http("POST /.anyport/session", "X: y", &format!("token={CANARY}"));
    // Messages of a room that look like those of a file transfer.
    let offer = format!(r#"{{"offer":{{"name":"{CANARY}"}}}}"#);
    for path in ["/rooms/lobby", "/echo", "/.anyport/live"] {
        let protocols =
            format!("Sec-WebSocket-Protocol: anyport.token.{ALICE}, anyport.file.1\r\n");
        for protocols in [protocols, format!("{bearer}\r\n")] {
            let mut stream = websocket_with(port, path, &protocols);
            for text in [CANARY, &offer] {
                stream.write_all(&frame(TEXT, text.as_bytes())).unwrap();
            }
            stream.write_all(&frame(BINARY, CANARY.as_bytes())).unwrap();
            stream.write_all(&close_frame(1000, CANARY)).unwrap();
            while let (opcode, _) = read_frame(&mut stream)
                && opcode != CLOSE
            {}
        }
    }
    let protocols = format!("Sec-WebSocket-Protocol: anyport.file.1, anyport.token.{ALICE}\r\n");
    let mut stream = websocket_with(port, "/", &protocols);
    stream.write_all(&frame(TEXT, br#"{"offer":{"name":"c"}}"#)).unwrap();
    stream.write_all(&frame(BINARY, CANARY.as_bytes())).unwrap();
    stream.write_all(&frame(TEXT, br#"{"end":{}}"#)).unwrap();
    read_frame(&mut stream);
    drop(stream);
    let said = tracing.server.said();
    assert!(!said.contains("without a trace"), "{said}");
    let texts = tracing.stop();
    assert!(texts.len() > 20, "{}", texts.len());
    for text in &texts {
        let line = |secret: &str| text.lines().find(|line| line.contains(secret));
        for secret in [CANARY, ALICE] {
            assert_eq!(line(secret), None, "{text}");
        }
    }
    let all = texts.concat();
    // What may be there is there.
    for part in ["[redacted]", "JOIN lobby as bob", "/rooms/lobby", r#"\"name\":\"c\""#] {
        assert!(all.contains(part), "no {part}");
    }
}

/// Content that looks like the protocol around it, and text of frames that a peer may fill freely.
#[test]
fn nothing_that_a_peer_may_choose_freely_is_in_a_trace() {
    for engine in ["own", "library"] {
        let tracing = Tracing::start(&["--engine", engine, "-vv"]);
        let port = tracing.server.port();
        let ask = |bytes: &str| converse(&mut connect(port), bytes.as_bytes());
        let lines = format!("ANYPORT/1 ERROR busy {CANARY}\nANYPORT/1 {CANARY}\n");
        assert_eq!(ask(&format!("ANYPORT/1 ECHO\n{lines}")), lines);
        assert!(ask(&format!("ANYPORT/1 TIME\nANYPORT/1 ECHO\n{lines}")).ends_with(&lines));
        // The content of a pipe, and what both of its ends send beyond it.
        let content = lines.repeat(2);
        let size = content.len();
        for head in ["", " head"] {
            let mut receiver = connect(port);
            write!(receiver, "ANYPORT/1 TAKE key{head}\n{lines}").unwrap();
            ask(&format!("ANYPORT/1 PIPE key size={size}\n{content}{lines}"));
            assert!(read_text(&mut receiver).ends_with(&content));
        }
        // Senders that count wrong, and a request that ends the session.
        ask(&format!("ANYPORT/1 PUT a size=5\nhelloEND{CANARY} {CANARY}\n{lines}"));
        ask(&format!("ANYPORT/1 PUT a size=5\nhello{CANARY} {CANARY}\n{lines}"));
        ask(&format!("ANYPORT/1 PUT a size=x\n{lines}"));
        let request = format!("GET /{CANARY} HTTP/1.1\r\nX: {CANARY}\r\n\r\n");
        for fields in ["Content-Length: 1\r\nContent-Length: 2", "Transfer-Encoding: x"] {
            ask(&format!("PUT /b HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{request}"));
        }
        // Secrets that are not written as usual.
        for fields in [
            format!("Cookie : a={CANARY}"),
            format!("Cookie:\r\n a={CANARY}"),
            format!("X: y\r\n{CANARY}"),
            format!("X-Password: {CANARY}\r\nX-Auth-Key: {CANARY}\r\nX-Session-Id: {CANARY}"),
            format!("Referer: http://user:{CANARY}@host/"),
        ] {
            ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\nConnection: close\r\n\r\n"));
        }
        // Text of frames without the greeting is the content of a file.
        let offer = format!(r#"{{"offer":{{"name":"{CANARY}"}}}}"#);
        let mut stream = connect(port);
        for _ in 0..9 {
            stream.write_all(&frame(TEXT, offer.as_bytes())).unwrap();
        }
        stream.write_all(&close_frame(1000, CANARY)).unwrap();
        while read_frame(&mut stream).0 != CLOSE {}
        drop(stream);
        for path in ["/echo", "/rooms/lobby"] {
            let mut stream = websocket(port, path);
            stream.write_all(&close_frame(1000, CANARY)).unwrap();
            while read_frame(&mut stream).0 != CLOSE {}
        }
        let mut stream = announced(port);
        stream.write_all(&frame(TEXT, br#"{"offer":{"name":"d"}}"#)).unwrap();
        stream.write_all(&frame(BINARY, CANARY.as_bytes())).unwrap();
        stream.write_all(&close_frame(1001, CANARY)).unwrap();
        while read_frame(&mut stream).0 != CLOSE {}
        drop(stream);
        let mut http2 = Http2Peer::open(&tracing.server, &[]);
        let path = format!("/.anyport/s/{CANARY}/?token={CANARY}");
        let fields = [field("cookie", CANARY), field("authorization", CANARY)].concat();
        let head = [head("GET", &path, None), fields].concat();
        http2.send(HEADERS, END_HEADERS | END_STREAM, 1, &head);
        http2.heads(1);
        http2.put(3, "/e", None);
        http2.send(DATA, END_STREAM, 3, lines.as_bytes());
        http2.heads(1);
        http2.send(PING, 0, 0, &CANARY.as_bytes()[..8]);
        http2.send(GOAWAY, 0, 0, &[&[0; 8], lines.as_bytes()].concat());
        http2.0.shutdown(Shutdown::Write).unwrap();
        http2.end();
        drop(http2);
        let sample = Sample::new("f", content.as_bytes());
        for scheme in ["tls", "wss", "https"] {
            let url = tracing.server.url(scheme, "");
            anyport(&["send", "-k", sample.path(), &url]).succeeds();
        }
        let said = tracing.server.said();
        assert!(!said.contains("without a trace"), "{said}");
        let texts = tracing.stop();
        let ping: String = CANARY.bytes().take(8).map(|byte| format!("{byte:02x}")).collect();
        for text in &texts {
            let line = |secret: &str| text.lines().find(|line| line.contains(secret));
            for secret in [CANARY, &ping] {
                assert_eq!(line(secret), None, "{engine}: {text}");
            }
        }
        let all = texts.concat();
        for part in [
            "ANYPORT/1 ECHO",
            "ANYPORT/1 TAKE [redacted] head",
            "ANYPORT/1 CONTENT",
            "ANYPORT/1 PUT a size=x",
            r#"["debug-bytes","57"]"#,
            r#""kind":"PING""#,
            "//[redacted]@host/",
            "eight valid frame headers",
            r#""code":1001"#,
            r#"\"name\":\"d\""#,
            "tls-done",
        ] {
            assert!(all.contains(part), "{engine}: no {part}: {all}");
        }
    }
}

/// A file that begins like a frame is content, also where its bytes look like a header.
#[test]
fn a_candidate_for_frames_that_is_a_file_leaves_no_byte_in_its_trace() {
    let tracing = Tracing::start(&[]);
    // A second frame without a mask is one that no client may send.
    let file = [&frame(TEXT, CANARY.as_bytes())[..], b"\x81\x05plain and more"].concat();
    converse(&mut connect(tracing.server.port()), &file);
    let trace = tracing.take("framecandidate");
    assert_eq!(trace.content("client"), file.len() as u64, "{}", trace.all());
    let kinds = ["frame", "line", "head"];
    assert!(!trace.events.iter().any(|e| kinds.iter().any(|kind| e["event"] == *kind)));
}

/// More than is held for a confirmation.
#[test]
fn a_long_candidate_is_content_in_its_trace() {
    let tracing = Tracing::start(&[]);
    let mut stream = connect(tracing.server.port());
    stream.write_all(&masked_header(0x80 | BINARY, 1_000_000)).unwrap();
    for _ in 0..10 {
        stream.write_all(&[b'x'; 100_000]).unwrap();
    }
    stream.write_all(&close_frame(1000, "")).unwrap();
    read_text(&mut stream);
    let trace = tracing.take("framecandidate");
    // Headers of 14 and 6 bytes, and the status code.
    assert_eq!(trace.content("client"), 1_000_022, "{}", trace.all());
    trace.follow(&[("note", "detected as frames"), ("note", "receipt")]);
}

#[test]
fn aborted_and_refused_uploads_show_how_they_ended() {
    let tracing = Tracing::start(&["--idle-timeout", "1s", "--max-size", "1000"]);
    let port = tracing.server.port();
    converse(&mut connect(port), b"ANYPORT/1 PUT a size=9\nhello");
    let early = "the stream ended 4 bytes before the announced size";
    let fin = [("fin", r#""from":"client""#), ("failed", early), ("line", early)];
    let trace = tracing.take("preface");
    trace.follow(&fin);
    assert_eq!(trace.events.iter().filter(|event| event["event"] == "failed").count(), 1);
    // A reset.
    let mut stream = connect(port);
    stream.write_all(b"ANYPORT/1 PUT a size=9 resume\n").unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 GO"));
    stream.write_all(b"hello").unwrap();
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(socket);
    let trace = tracing.take("preface");
    trace.follow(&[("line", "GO"), ("reset", r#""from":"client""#), ("failed", "connection lost")]);
    assert!(trace.of("fin", "server").next().is_none(), "{}", trace.all());
    // Nothing more for the idle timeout.
    let mut stream = connect(port);
    stream.write_all(b"ANYPORT/1 PUT a size=9\nhello").unwrap();
    read_text(&mut stream);
    let idle = [("note", "the idle timeout ended the session"), ("fin", r#""from":"server""#)];
    let trace = tracing.take("preface");
    trace.follow(&idle);
    trace.follow(&[("failed", "no data for 1s"), ("line", "no data for 1s")]);
    // A refusal, over HTTP and WebSocket too.
    converse(&mut connect(port), b"ANYPORT/1 PUT a size=1001\n");
    tracing.take("preface").follow(&[("failed", "1001"), ("line", "ERROR")]);
    converse(&mut connect(port), b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    tracing.take("http1").follow(&[("failed", "1001"), ("head", "HTTP/1.1 413")]);
    let mut stream = announced(port);
    stream.write_all(&frame(TEXT, br#"{"offer":{"size":1001}}"#)).unwrap();
    while read_frame(&mut stream).0 != CLOSE {}
    drop(stream);
    tracing.take("http1").follow(&[("failed", "1001"), ("frame", "error"), ("frame", "close")]);
}

#[test]
fn connections_without_a_byte_or_a_protocol_leave_no_file() {
    let tracing = Tracing::start(&["--tls", "required"]);
    let port = tracing.server.port();
    converse(&mut connect(port), b"");
    // A handshake that fails.
    let mut stream = connect(port);
    let hello = b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03";
    stream.write_all(&[&hello[..], &[0; 42]].concat()).unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert[0], 0x15, "an alert");
    assert_eq!(tracing.stop(), Vec::<String>::new());
}

#[test]
fn number_and_size_of_traces_are_bounded_also_across_restarts() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("traces");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    let old = |number: usize| {
        directory.join(format!("20260101T000000.000Z-{number:06}-raw-127.0.0.1.trace"))
    };
    (0..1005).for_each(|number| std::fs::write(old(number), "x").unwrap());
    std::fs::write(directory.join("notes.txt"), "mine").unwrap();
    let server = Server::start(&with_trace(&directory, &[]));
    converse(&mut connect(server.port()), b"raw bytes");
    server.stop();
    assert_eq!(files(&directory).len(), 1001, "1000, and the notes");
    assert!(!old(5).exists() && old(6).exists());
    // 1 MiB each: of 70 there is room for less than 64.
    (6..1005).for_each(|number| std::fs::remove_file(old(number)).unwrap());
    for number in 0..70 {
        std::fs::File::create(old(number)).unwrap().set_len(1 << 20).unwrap();
    }
    let server = Server::start(&with_trace(&directory, &[]));
    converse(&mut connect(server.port()), b"raw bytes");
    server.stop();
    let sizes = files(&directory).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    assert!(sizes <= (64 << 20) && sizes > (62 << 20), "{sizes}");
    assert!(!old(6).exists() && old(7).exists() && directory.join("notes.txt").exists());
}

#[test]
fn connections_beyond_the_limit_are_served_without_a_trace() {
    let tracing = Tracing::start(&["-vv", "--metrics"]);
    let port = tracing.server.port();
    let echo = || {
        let mut stream = connect(port);
        stream.write_all(b"ANYPORT/1 ECHO\nx").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        stream
    };
    let streams: Vec<_> = (0..35).map(|_| echo()).collect();
    tracing.server.says_often("served without a trace: too many connections", 27);
    tracing.server.says("connections are served without a trace: 32 at one time");
    let scrape = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let metrics = converse(&mut connect(port), scrape);
    assert!(metrics.contains("\nanyport_connections_untraced_total 28\n"), "{metrics}");
    drop(streams);
    wait_until("the traces", || (tracing.files().len() == 8).then_some(()));
    // Their slots are free again.
    wait_until("a free slot", || {
        drop(echo());
        (tracing.files().len() > 8).then_some(())
    });
}

#[test]
fn uploads_succeed_where_no_trace_can_be_written() {
    let tracing = Tracing::start(&[]);
    std::fs::remove_dir_all(&tracing.directory).unwrap();
    for _ in 0..3 {
        tracing.server.takes_a_good_file();
    }
    tracing.server.says("cannot write the trace of a connection");
    let said = tracing.server.said();
    assert_eq!(said.matches("cannot write the trace").count(), 1, "{said}");
    assert!(said.contains("WARN"), "{said}");
}

#[test]
fn uploads_succeed_while_the_disk_of_the_traces_is_full() {
    let Some(disk) = SmallDisk::mount() else { return };
    let directory = disk.path().join("traces");
    let server = Server::start(&with_trace(&directory, &[]));
    let mut full = std::fs::File::create(disk.path().join("full")).unwrap();
    while full.write_all(&[0; 4096]).is_ok() {}
    server.takes_a_good_file();
    server.says("cannot write the trace of a connection");
    assert!(files(&directory).is_empty(), "no part of a trace remains");
    drop(full);
    std::fs::remove_file(disk.path().join("full")).unwrap();
    server.takes_a_good_file();
    wait_until("a trace", || (files(&directory).len() == 1).then_some(()));
}

#[test]
fn a_reload_keeps_the_directory_and_another_one_needs_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let settings = |name: &str, more: &str| {
        let trace = at(name);
        std::fs::write(at("toml"), format!("trace = {:?}\n{more}\n", trace.to_str().unwrap()))
            .unwrap();
    };
    settings("one", "");
    let server = Server::start(&["--config", at("toml").to_str().unwrap()]);
    converse(&mut connect(server.port()), b"raw bytes");
    settings("one", "max-size = 100");
    server.signal("HUP");
    server.says("max-size is 100");
    converse(&mut connect(server.port()), b"raw bytes");
    settings("two", "max-size = 100");
    server.signal("HUP");
    server.says("needs a restart: trace");
    converse(&mut connect(server.port()), b"raw bytes");
    server.stop();
    assert_eq!(files(&at("one")).len(), 3);
    assert!(!at("two").exists());
}

/// The diagnosis is that of the receiver: it waits for a sender that keeps to a rate.
#[test]
fn the_diagnosis_is_that_of_the_receiver() {
    let tracing = Tracing::start(&[]);
    let sample = Sample::new("x", &noise(3_000_000, 3));
    let url = tracing.server.url("tcp", "");
    anyport(&["send", "--limit-rate", "1MB", sample.path(), &url]).succeeds();
    let trace = tracing.take("preface");
    let diagnosis = trace.events.last().unwrap();
    assert_eq!(diagnosis["event"], "diagnosis", "{}", trace.all());
    assert_eq!(diagnosis["main"], "sender-or-path", "{}", trace.all());
    assert!(trace.read.contains("Main limit: the sender or the path"), "{}", trace.read);
    assert!(trace.read.contains("Look at the sender, and at the path to here"), "{}", trace.read);
    // Its own rate limit is not the sender's fault.
    let tracing = Tracing::start(&["--limit-rate", "1MB"]);
    let url = tracing.server.url("tcp", "");
    anyport(&["send", sample.path(), &url]).succeeds();
    let trace = tracing.take("preface");
    assert_eq!(trace.events.last().unwrap()["main"], "rate-limit", "{}", trace.all());
    // A download says nothing about what limited it.
    let tracing = Tracing::start(&[]);
    std::fs::write(tracing.server.dir().join("x"), "x").unwrap();
    converse(&mut connect(tracing.server.port()), b"ANYPORT/1 GET x\n");
    let trace = tracing.take("preface");
    assert!(trace.events.iter().all(|event| event["event"] != "diagnosis"), "{}", trace.all());
}

/// Sent to a member of a room by another one.
#[test]
fn messages_of_other_members_are_only_counted_in_the_trace_of_a_member() {
    let tracing = Tracing::start(&[]);
    let mut alice = join(&tracing.server, "lobby as alice");
    let mut bob = join(&tracing.server, "lobby as bob");
    read_line(&mut alice);
    let line = format!("{CANARY} {CANARY}");
    writeln!(bob, "{line}").unwrap();
    let received = read_line(&mut alice);
    assert!(received.contains(CANARY), "{received}");
    drop((alice, bob));
    wait_until("two traces", || (tracing.files().len() == 2).then_some(()));
    let texts = tracing.stop();
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
        assert!(text.contains(r#""event":"content""#), "{text}");
    }
}
