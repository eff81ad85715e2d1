//! Time limits of sessions. The tests pass instants, so none of them sleeps (docs/faults.md).

use std::time::Instant;

use super::tests::{Keys, context, frame};
use super::*;
use crate::events::{Class, Decided};
use anyport_proto::ws::{Fragment, Kind, Sender};

const MOMENT: Duration = Duration::from_millis(1);
const LINE: &str = "ANYPORT/1 ERROR interrupted ";
const MESSAGE: &str = r#"{"error":{"code":"interrupted","message":""#;
const STATUS: &str = "HTTP/1.1 408 ";

/// Sessions of one server on an empty directory.
struct Server {
    context: Context,
    _scratch: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(set: impl FnOnce(&mut Config)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(scratch.path());
        config.timeouts.message = Duration::from_secs(11);
        set(&mut config);
        Self { context: context(config, &Arc::default()), _scratch: scratch }
    }

    /// Returns a session whose first input arrived at `at`.
    fn session(&self, protocol: DetectedProtocol, input: &[u8], at: Instant) -> AnySession {
        let mut session = AnySession::new(protocol, self.context.clone()).unwrap();
        if !input.is_empty() {
            assert!(!bytes(&mut session, input, at).0);
        }
        session
    }
}

fn bytes(session: &mut AnySession, input: &[u8], at: Instant) -> (bool, String) {
    handle(session, Event::Bytes(&mut input.to_vec()), at)
}

/// Returns whether the connection is over, and what the peer receives.
fn handle(session: &mut AnySession, event: Event<'_>, at: Instant) -> (bool, String) {
    let mut out = Vec::new();
    let next = session.handle(event, at, &mut out);
    (matches!(next, copy::Next::Finish), String::from_utf8_lossy(&out).into_owned())
}

/// Returns the ping with which bare frames of this program begin.
fn greeting() -> Vec<u8> {
    let mut greeting = Vec::new();
    Sender::client(Keys(1)).ping(b"anyport/1", &mut greeting);
    greeting
}

fn text(payload: &str, key: u64) -> Vec<u8> {
    frame(Kind::Text, Fragment::Whole, payload.as_bytes(), key)
}

fn upgrade(path: &str, fields: &str) -> Vec<u8> {
    let head = "HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    format!("GET {path} {head}{fields}\r\n").into_bytes()
}

const FILES: &str = "Sec-WebSocket-Protocol: anyport.file.1\r\n";

/// Returns unfinished input: the input before it, its beginning, and the reply when it is late.
fn unfinished() -> Vec<(DetectedProtocol, Vec<u8>, Vec<u8>, String)> {
    let (offer, end) = (text(r#"{"offer":{"name":"y","size":5}}"#, 2), text(r#"{"end":{}}"#, 3));
    let content = frame(Kind::Binary, Fragment::Whole, b"hello", 4);
    let offered = [&greeting()[..], &offer, &content].concat();
    let line = format!("{LINE}a line was not complete within 10s");
    let message = format!("{MESSAGE}a text message was not complete within 10s");
    let files = upgrade("/", FILES);
    vec![
        (DetectedProtocol::Preface, b"".to_vec(), b"ANYPORT/1 PUT y".to_vec(), line.clone()),
        (
            DetectedProtocol::Preface,
            b"ANYPORT/1 PUT y size=5\nhello".to_vec(),
            b"END".to_vec(),
            line,
        ),
        (DetectedProtocol::FrameCandidate, greeting(), offer[..12].to_vec(), message.clone()),
        (DetectedProtocol::FrameCandidate, offered, end[..12].to_vec(), message.clone()),
        (DetectedProtocol::Http1, files, offer[..12].to_vec(), message),
        (
            DetectedProtocol::Http1,
            b"".to_vec(),
            b"PUT /y HTTP/1.1\r\nHo".to_vec(),
            STATUS.to_owned(),
        ),
        (
            DetectedProtocol::Http1,
            upgrade("/echo", ""),
            text("a message", 5)[..12].to_vec(),
            "a message was not complete within 11s".to_owned(),
        ),
    ]
}

/// Returns the limit that the reply names; in HTTP, where it is in the body, 10 s.
fn limit(reply: &str) -> Duration {
    Duration::from_secs(if reply.ends_with("11s") { 11 } else { 10 })
}

#[test]
fn slow_input_is_late_at_its_deadline_and_not_before_over_every_protocol() {
    for (protocol, before, begun, reply) in unfinished() {
        let server = Server::new();
        let start = Instant::now();
        let mut session = server.session(protocol, &before, start);
        let (begins, rest) = begun.split_at(begun.len() - 2);
        let due = start + limit(&reply);
        for (piece, at) in [(begins, start), (&rest[..1], due - MOMENT)] {
            assert_eq!(bytes(&mut session, piece, at), (false, String::new()), "{reply}");
        }
        let (is_over, replies) = bytes(&mut session, &rest[1..], due);
        assert!(is_over, "{reply}");
        assert!(replies.contains(&reply), "{reply}: {replies}");
    }
}

#[test]
fn what_stops_is_late_at_its_deadline_over_every_protocol() {
    for (protocol, before, begun, reply) in unfinished() {
        let server = Server::new();
        let start = Instant::now();
        let mut session = server.session(protocol, &before, start);
        bytes(&mut session, &begun, start);
        let (idle, limit) = (session.interest().idle, limit(&reply));
        assert!(idle <= limit && idle > limit / 2, "{reply}: {idle:?}");
        let (is_over, replies) = handle(&mut session, Event::Idle, start + limit);
        assert!(is_over, "{reply}");
        assert!(replies.contains(&reply), "{reply}: {replies}");
    }
}

#[test]
fn a_silent_sender_reads_that_it_may_try_again_over_every_protocol() {
    let offer = text(r#"{"offer":{"name":"y","size":9}}"#, 2);
    let half = frame(Kind::Binary, Fragment::Whole, b"hello", 3);
    let request = b"PUT /y HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello".to_vec();
    let idle = "no data for 60s (idle-timeout)";
    for (protocol, input, reply) in [
        (DetectedProtocol::Preface, b"ANYPORT/1 PUT y size=9\nhello".to_vec(), LINE),
        (DetectedProtocol::Preface, b"ANYPORT/1 PUT y size=5\nhelloEND\n".to_vec(), LINE),
        (DetectedProtocol::Raw, b"hello".to_vec(), LINE),
        (DetectedProtocol::FrameCandidate, [&greeting()[..], &offer, &half].concat(), MESSAGE),
        // Also between two files.
        (DetectedProtocol::FrameCandidate, greeting(), MESSAGE),
        (DetectedProtocol::Http1, [&upgrade("/", FILES)[..], &offer, &half].concat(), MESSAGE),
        (DetectedProtocol::Http1, request, STATUS),
    ] {
        let server = Server::new();
        let mut session = server.session(protocol, &input, Instant::now());
        assert_eq!(session.interest().idle, server.context.config.timeouts.idle, "{protocol:?}");
        let (is_over, replies) = handle(&mut session, Event::Idle, Instant::now());
        assert!(is_over, "{protocol:?}");
        assert!(replies.contains(reply) && replies.contains(idle), "{protocol:?}: {replies}");
    }
}

/// A draining server lets running transfers finish; other clients are reply to try again.
#[test]
fn a_sender_between_two_files_reads_that_the_server_stops_over_every_protocol() {
    let put = b"ANYPORT/1 PUT y size=5\nhelloEND\n".to_vec();
    let going_away = String::from_utf8_lossy(&1001_u16.to_be_bytes()).into_owned();
    for (protocol, input, reply) in [
        (DetectedProtocol::Preface, put, "ANYPORT/1 ERROR busy the server is stopping"),
        (DetectedProtocol::FrameCandidate, greeting(), &going_away),
        (DetectedProtocol::Http1, b"PUT /y HTTP/1.1\r\nHo".to_vec(), "HTTP/1.1 503 "),
    ] {
        let server = Server::new();
        let mut session = server.session(protocol, &input, Instant::now());
        let (is_over, replies) = handle(&mut session, Event::Shutdown, Instant::now());
        assert!(is_over, "{protocol:?}");
        assert!(replies.contains(reply), "{protocol:?}: {replies}");
    }
    let server = Server::new();
    for (protocol, input) in [
        (DetectedProtocol::Preface, &b"ANYPORT/1 PUT y size=9\nhello"[..]),
        (DetectedProtocol::Raw, b"hello"),
        (DetectedProtocol::Http1, b"PUT /y HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello"),
    ] {
        let mut session = server.session(protocol, input, Instant::now());
        assert_eq!(handle(&mut session, Event::Shutdown, Instant::now()), (false, String::new()));
    }
}

/// A member of a room gets a ping first.
#[test]
fn a_silent_member_of_a_room_reads_that_it_may_join_again() {
    let input = upgrade("/rooms/r", "Sec-WebSocket-Protocol: anyport.chat.1\r\n");
    let server = Server::new();
    let mut session = server.session(DetectedProtocol::Http1, &input, Instant::now());
    assert_eq!(session.interest().idle, server.context.config.timeouts.idle / 2);
    assert!(!handle(&mut session, Event::Idle, Instant::now()).0);
    let (is_over, replies) = handle(&mut session, Event::Idle, Instant::now());
    assert!(is_over);
    assert!(replies.contains(r#""code":"interrupted""#), "{replies}");
}

#[test]
fn a_candidate_is_decided_after_the_detection_deadline_and_then_idles() {
    let server = Server::new();
    let input = frame(Kind::Binary, Fragment::Whole, b"one message", 1);
    let mut session = server.session(DetectedProtocol::FrameCandidate, &input, Instant::now());
    assert_eq!(session.interest().idle, server.context.listener.detect_timeout);
    assert!(!handle(&mut session, Event::Idle, Instant::now()).0);
    let decisions = server.context.events.counters.snapshot().decisions;
    assert!(decisions.contains(&(Decided::Frames, Class::Confirmed, 1)), "{decisions:?}");
    assert_eq!(session.interest().idle, server.context.config.timeouts.idle);
}

#[test]
fn one_end_of_a_pipe_waits_for_the_other_until_an_instant() {
    let put = "PUT /pipe/k HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    for (protocol, input, reply) in [
        (DetectedProtocol::Preface, "ANYPORT/1 PIPE k\n", "ANYPORT/1 ERROR "),
        (DetectedProtocol::Preface, "ANYPORT/1 TAKE k\n", "ANYPORT/1 ERROR "),
        (DetectedProtocol::Http1, put, "HTTP/1.1 "),
        (DetectedProtocol::Http1, "GET /pipe/k HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 "),
    ] {
        let server = Server::new();
        let before = Instant::now();
        let mut session = server.session(protocol, input.as_bytes(), before);
        let wait = server.context.config.pipes.wait;
        let until = session.interest().wait.unwrap().until.unwrap();
        assert!(until >= before + wait && until <= Instant::now() + wait, "{input}");
        // A driver that waited until then delivers an idle event.
        let (_, replies) = handle(&mut session, Event::Idle, Instant::now());
        assert!(replies.starts_with(reply), "{input}: {replies}");
        assert!(session.interest().wait.is_none(), "{input}");
    }
}

/// Counted from the sender's last byte, or from the receiver's last read.
#[test]
fn a_sender_of_a_pipe_that_falls_silent_is_interrupted_after_the_idle_timeout() {
    for idle in [Duration::ZERO, Duration::from_secs(3600)] {
        let server = Server::with(|config| config.timeouts.idle = idle);
        let now = Instant::now();
        let _receiver = server.session(DetectedProtocol::Preface, b"ANYPORT/1 TAKE k\n", now);
        let mut sender = server.session(DetectedProtocol::Preface, b"ANYPORT/1 PIPE k\n", now);
        let (is_over, replies) = handle(&mut sender, Event::Idle, Instant::now());
        assert_eq!(is_over, idle.is_zero(), "{idle:?}");
        assert_eq!(replies.starts_with(LINE), is_over, "{idle:?}: {replies}");
    }
}
