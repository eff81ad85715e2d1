//! `serve --trace DIR`: how traces show refusals, failures and lost connections.

use std::fs::File;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use anyport_testkit::harness::http::statuses;
use anyport_testkit::harness::http2::{END_HEADERS, END_STREAM, HEADERS, Http2Peer, field};
use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::tokens::{ALICE, both};
use anyport_testkit::harness::tracing::{Trace, Tracing};
use anyport_testkit::harness::wire::{
    BINARY, CLOSE, TEXT, announced, close_frame, connect, converse, frame, read_frame, read_head,
    read_line, reset, upgrade, wait_until_read,
};
use anyport_testkit::harness::{Sample, anyport, peer, skip};
use anyport_testkit::noise;

/// Ends a connection after the response to its last request.
fn closed(mut http2: Http2Peer) {
    http2.0.shutdown(Shutdown::Write).unwrap();
    http2.end();
}

/// A file that no socket buffer holds.
const BIG: u64 = 256 << 20;

/// Its FIN was in order, and the reset follows while the server sends.
#[test]
fn a_client_killed_after_its_fin_has_a_reset_in_the_trace() {
    let tracing = Tracing::start(&[]);
    let port = tracing.server.port();
    File::create(tracing.server.dir().join("big")).unwrap().set_len(BIG).unwrap();
    let is_reset = |trace: &Trace| {
        trace.follow(&[("reset", r#""from":"client""#), ("failed", "connection lost")]);
        assert_eq!(trace.of("reset", "client").count(), 1, "{}", trace.all());
        assert_eq!(trace.of("fin", "server").count(), 0, "{}", trace.all());
    };
    let shut = |stream: &TcpStream| stream.shutdown(Shutdown::Write).unwrap();
    let mut stream = connect(port);
    stream.write_all(b"ANYPORT/1 GET big\n").unwrap();
    shut(&stream);
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 FILE"));
    reset(stream);
    is_reset(&tracing.take("preface"));
    let mut stream = connect(port);
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    shut(&stream);
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200"));
    reset(stream);
    is_reset(&tracing.take("http1"));
    // Inside TLS the end of the direction is a close_notify.
    let mut tls = TlsPeer::connect(port);
    tls.write(b"ANYPORT/1 GET big\n");
    let mut records = Vec::new();
    tls.seal_close(&mut records);
    tls.stream.write_all(&records).unwrap();
    shut(&tls.stream);
    tls.receives("ANYPORT/1 FILE");
    reset(tls.stream);
    is_reset(&tracing.take("preface"));
    // A library owns the stream of HTTP/2.
    let mut http2 = Http2Peer::open(&tracing.server, &[(4, u32::MAX >> 1)]);
    http2.get(1, "/big");
    http2.heads(1);
    reset(http2.0);
    let trace = tracing.take("http2");
    assert_eq!(trace.of("reset", "client").count(), 1, "{}", trace.all());
    assert_eq!(trace.of("fin", "server").count(), 0, "{}", trace.all());
}

/// A server that ends by itself resets nothing of its clients.
#[test]
fn an_aborted_connection_has_no_reset_of_its_client() {
    let tracing = Tracing::start(&["--drain-timeout", "100ms"]);
    File::create(tracing.server.dir().join("big")).unwrap().set_len(BIG).unwrap();
    let mut stream = connect(tracing.server.port());
    stream.write_all(b"ANYPORT/1 GET big\n").unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 FILE"));
    let [text] = &tracing.stop()[..] else { panic!("one trace") };
    assert!(text.contains("the server stopped"), "{text}");
    assert!(!text.contains(r#""event":"reset""#), "{text}");
}

/// The server shuts the socket of the first one.
#[test]
fn a_connection_that_another_one_replaces_has_no_fin_of_its_client() {
    let tracing = Tracing::start(&[]);
    let put = || {
        let mut stream = connect(tracing.server.port());
        stream.write_all(b"ANYPORT/1 PUT a size=9 id=a resume\n").unwrap();
        (read_line(&mut stream), stream)
    };
    let (go, mut first) = put();
    assert!(go.starts_with("ANYPORT/1 GO offset=0"), "{go}");
    first.write_all(b"hello").unwrap();
    wait_until_read(&first);
    let (go, _second) = put();
    assert!(go.starts_with("ANYPORT/1 GO offset=5"), "{go}");
    let trace = tracing.take("preface");
    trace.follow(&[
        ("note", "its sender continues over another connection"),
        ("failed", "the stream ended 4 bytes before"),
    ]);
    for event in ["fin", "reset"] {
        assert_eq!(trace.of(event, "client").count(), 0, "{}", trace.all());
    }
}

#[test]
fn refusals_of_names_origins_and_rates_are_failures() {
    let tracing = Tracing::start(&["--trusted-proxy", "127.0.0.1", "--max-conns-per-ip", "1"]);
    let port = tracing.server.port();
    let ask = |request: &str| converse(&mut connect(port), request.as_bytes());
    let refused = |request: &str, status: u16, words: &str| {
        assert_eq!(statuses(&ask(request)), [status], "{request}");
        let trace = tracing.take("http1");
        trace.fails_once(words);
        trace.follow(&[("failed", words), ("head", &format!("HTTP/1.1 {status}"))]);
    };
    let evil = "evil.example";
    refused(&format!("GET / HTTP/1.1\r\nHost: {evil}\r\n\r\n"), 421, evil);
    let origin = format!("Origin: http://{evil}\r\n");
    refused(&upgrade("/echo", &origin), 403, evil);
    refused(&upgrade("/rooms/lobby", &origin), 403, evil);
    let post = format!(
        "POST /rooms/lobby HTTP/1.1\r\nHost: localhost\r\n{origin}Content-Length: 1\r\n\r\nx"
    );
    refused(&post, 403, evil);
    // The limit of the client for which the proxy asks.
    let forwarded = "Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n";
    let mut held = connect(port);
    write!(held, "GET /rooms/lobby HTTP/1.1\r\n{forwarded}\r\n").unwrap();
    assert!(read_head(&mut held).starts_with("HTTP/1.1 200"));
    let limited = format!("GET /help HTTP/1.1\r\n{forwarded}\r\n");
    refused(&limited, 429, "already has 1 connection (--max-conns-per-ip)");
    drop(held);
    assert_eq!(tracing.take("http1").failures(), [""; 0]);
    // Over HTTP/2 too.
    let mut http2 = Http2Peer::over(connect(port), &[]);
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", evil)];
    let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    http2.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
    http2.heads(1);
    closed(http2);
    tracing.take("http2").fails_once(evil);
}

#[test]
fn wrong_tokens_and_their_limit_are_failures_without_the_token() {
    let tokens = both();
    let tracing = Tracing::start(&["--token-file", tokens.path()]);
    let mut stream = connect(tracing.server.port());
    for guess in 0..11 {
        write!(
            stream,
            "GET /time HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer guess-number-{guess:03}\r\n\r\n"
        )
        .unwrap();
        read_head(&mut stream);
    }
    // With unread input, closing would be a reset.
    converse(&mut stream, b"");
    let trace = tracing.take("http1");
    let failures = trace.failures();
    assert_eq!(failures.len(), 11, "{failures:?}");
    let (limited, wrong) = failures.split_last().unwrap();
    assert!(limited.contains("too many invalid tokens"), "{limited}");
    assert!(wrong.iter().all(|text| text.contains("invalid token")), "{failures:?}");
    assert!(!trace.all().contains("guess-number") && !trace.all().contains(ALICE));
}

/// Each failure of a request is one, also with the text of the one before; what several layers
/// report of one request is one too.
#[test]
fn equal_failures_of_several_requests_are_several() {
    let tracing = Tracing::start(&["--max-size", "1000"]);
    let port = tracing.server.port();
    let equal = |trace: &Trace, count: usize, words: &str| {
        let failures = trace.failures();
        assert_eq!(failures.len(), count, "{}", trace.all());
        assert!(failures.iter().all(|text| text.contains(words)), "{failures:?}");
    };
    let request = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let answer = converse(&mut connect(port), request.repeat(3).as_bytes());
    assert_eq!(statuses(&answer), [421; 3], "{answer}");
    equal(&tracing.take("http1"), 3, "evil.example");
    let too_large = "ANYPORT/1 PUT a size=1001 resume\n";
    let answer = converse(&mut connect(port), too_large.repeat(2).as_bytes());
    assert_eq!(answer.lines().count(), 2, "{answer}");
    equal(&tracing.take("preface"), 2, "1001");
    let mut http2 = Http2Peer::open(&tracing.server, &[]);
    for stream in [1, 3] {
        http2.put(stream, "/a", Some(1001));
        http2.heads(1);
    }
    closed(http2);
    equal(&tracing.take("http2"), 2, "1001");
    // The upload and the connection.
    let mut stream = connect(port);
    stream.write_all(b"ANYPORT/1 PUT a size=9 resume\n").unwrap();
    stream.write_all(b"hello").unwrap();
    reset(stream);
    tracing.take("preface").fails_once("connection lost");
}

/// The operator may need the reason of a Close; a trace is passed on to others.
#[test]
fn the_close_reason_of_a_sender_is_in_the_log_and_not_in_the_trace() {
    let reason = "disk \u{1b}[2J gone";
    for engine in ["own", "library"] {
        let tracing = Tracing::start(&["--engine", engine]);
        let mut stream = announced(tracing.server.port());
        stream.write_all(&frame(TEXT, br#"{"offer":{"name":"a","size":9}}"#)).unwrap();
        stream.write_all(&frame(BINARY, b"hello")).unwrap();
        stream.write_all(&close_frame(1011, reason)).unwrap();
        while read_frame(&mut stream).0 != CLOSE {}
        drop(stream);
        let interrupted = tracing.server.next_interrupted();
        let words = "the sender closed before the end (1011)";
        let logged = format!(r#"{words}: "disk \u{{1b}}[2J gone""#);
        assert_eq!(interrupted["reason"], logged, "{engine}");
        let trace = tracing.take("http1");
        trace.fails_once(words);
        assert!(!trace.all().contains("gone"), "{engine}: {}", trace.all());
    }
}

/// Delays each fsync of a running server.
struct SlowDisk(std::process::Child);

impl SlowDisk {
    /// `None` and a word where this process may not trace another one.
    fn of(server: u32) -> Option<Self> {
        let mut strace = peer("strace")?;
        strace.args(["-f", "-e", "trace=fsync,fdatasync", "-o", "/dev/null", "-e"]);
        strace.args(["inject=fsync,fdatasync:delay_enter=1000000", "-p", &server.to_string()]);
        let mut strace = strace.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut said = [0; 64];
        let stderr = strace.stderr.as_mut().unwrap();
        let count = std::io::Read::read(stderr, &mut said).unwrap();
        if !String::from_utf8_lossy(&said[..count]).contains("attached") {
            let _ = strace.wait();
            skip("strace may not attach");
            return None;
        }
        Some(Self(strace))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fsync of the first file is no time of the second one, and no time of TLS.
#[test]
fn two_files_on_a_slow_disk_over_tls_are_limited_by_storing() {
    let [one, two] = [1, 2].map(|seed| Sample::new(&seed.to_string(), &noise(200_000, seed)));
    for (scheme, protocol) in [("tls", "preface"), ("wss", "http1")] {
        let tracing = Tracing::start(&[]);
        let Some(_slow) = SlowDisk::of(tracing.server.pid()) else { return };
        let url = tracing.server.url(scheme, "");
        let send = ["send", "-k", "--json", "--no-resume"];
        let sent = anyport(&[&send, &[one.path(), two.path(), &*url][..]].concat()).succeeds();
        let slow = |event: &Value| event["durable_seconds"].as_f64().unwrap_or_default() > 1.0;
        assert_eq!(sent.json().iter().filter(|event| slow(event)).count(), 2, "{sent:?}");
        let trace = tracing.take(protocol);
        trace.follow(&[("tls-done", "TLS"), ("note", "receipt: 1,"), ("note", "receipt: 2,")]);
        let diagnosis = trace.events.last().unwrap();
        assert_eq!(diagnosis["main"], "storing", "{scheme}: {}", trace.all());
        assert!(diagnosis["share"].as_f64().unwrap() > 0.5, "{scheme}: {diagnosis}");
    }
}
