//! Sessions without sockets: the same bytes are stored for every segmentation and every limit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use anyport_net::copy::Placement;
use anyport_proto::detect::{Allowed, ProtocolName, detect_at_end};
use anyport_proto::limits::Limits;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::ws::candidate::{CandidateState, Confirmation};
use anyport_proto::ws::{
    DeflateParameters, Event as FrameEvent, Fragment, KeySource, Kind, Receiver, Role, Sender,
};
use anyport_testkit::{cut_at, every_cut, noise};
use proptest::prelude::*;

use super::*;
use crate::access::{Access, Grant};
use crate::events::{Interrupted, Observer, Refused};
use crate::live::Live;
use crate::session::route::Route;

/// The result of a connection.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Protocol and content of each published file.
    files: Vec<(Protocol, Vec<u8>)>,
    interrupted: usize,
}

#[derive(Default)]
pub(super) struct Seen {
    receipts: Mutex<Vec<Receipt>>,
    interrupted: Mutex<usize>,
}

impl Observer for Arc<Seen> {
    fn receipt(&self, receipt: &Receipt) {
        self.receipts.lock().unwrap().push(receipt.clone());
    }
    fn interrupted(&self, _: &Interrupted) {
        *self.interrupted.lock().unwrap() += 1;
    }
    fn refused(&self, _: &Refused) {}
}

/// Returns the context of a session.
pub(super) fn context(config: Config, seen: &Arc<Seen>) -> Context {
    let events = Events::new(seen.clone());
    let files = Files::open(&config, events.clone()).unwrap();
    let store = files.shared_store();
    let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
    let rooms = Arc::new(Rooms::new(config.rooms.clone(), 1));
    Context {
        files: Arc::new(files),
        buffered: Arc::new(Budget::new(config.max_buffered)),
        pipes: Arc::new(Pipes::new(config.pipes.clone()).unwrap()),
        room_listeners: Arc::new(Listeners::new(rooms.clone())),
        shares: Arc::new(Shares::open(store, &config.startup)),
        stream_files: Arc::new(Budget::new(1)),
        live: Arc::new(Budget::new(1)),
        health: Arc::default(),
        grant: Grant::without_token(&config),
        listener: Arc::default(),
        events,
        access: Arc::new(Access::new(Arc::new(Live::new(config.clone())))),
        config: Arc::new(config),
        record: Record::begin(peer, Arc::default()),
        rooms,
        per_address: Arc::new(PerAddress::new(&Config::new("."))),
        peer,
        admitted: None,
        link: Link::new(),
        stage: Stage::default(),
        is_encrypted: false,
    }
}

/// Serves `pieces` and then FIN, without a socket.
fn serve(pieces: &[&[u8]], held_candidate: usize) -> Outcome {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    config.fsync = crate::config::Fsync::None;
    config.limits.held_candidate = held_candidate;
    let seen = Arc::new(Seen::default());
    let protocol = detect_at_end(&pieces.concat(), &config.limits);
    let context = context(config, &seen);
    let mut session = AnySession::new(protocol, context).unwrap();
    let mut replies = Vec::new();
    let mut flow = copy::Next::Continue;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if matches!(flow, copy::Next::Continue) {
            flow = session.handle(Event::Bytes(&mut piece.to_vec()), Instant::now(), &mut replies);
        }
    }
    if matches!(flow, copy::Next::Continue) {
        session.handle(Event::EndOfStream, Instant::now(), &mut replies);
    }
    drop(session);
    let stored = |receipt: &Receipt| read(scratch.path(), receipt);
    let files = seen.receipts.lock().unwrap().iter().map(stored).collect();
    Outcome { files, interrupted: *seen.interrupted.lock().unwrap() }
}

/// Returns a session of `protocol`, for a directory with one file `x`.
fn beside_a_file(protocol: DetectedProtocol, scratch: &tempfile::TempDir) -> AnySession {
    let path = scratch.path().join("x");
    std::fs::write(&path, b"hello").unwrap();
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let config = Config::new(scratch.path());
    let context = context(config, &Arc::default());
    AnySession::new(protocol, context).unwrap()
}

/// Returns the output for `pieces` and then FIN. `at_once`: produces content only at the end, as
/// after one read; otherwise after each piece.
fn answers(protocol: DetectedProtocol, pieces: &[&[u8]], at_once: bool) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let mut session = beside_a_file(protocol, &scratch);
    let (mut said, mut replies) = (Vec::new(), Vec::new());
    let mut flow = copy::Next::Continue;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if matches!(flow, copy::Next::Continue) {
            flow = session.handle(Event::Bytes(&mut piece.to_vec()), Instant::now(), &mut replies);
        }
        if !at_once && matches!(flow, copy::Next::Continue) {
            flow = drain(&mut session, &mut replies, &mut said);
        }
    }
    while matches!(flow, copy::Next::Continue) {
        flow = session.handle(Event::EndOfStream, Instant::now(), &mut replies);
        if matches!(flow, copy::Next::Continue) {
            flow = drain(&mut session, &mut replies, &mut said);
        }
    }
    said.append(&mut replies);
    said
}

/// Writes like a driver: replies first, then produced content.
fn drain(
    session: &mut AnySession,
    replies: &mut Vec<u8>,
    said: &mut Vec<u8>,
) -> copy::Next<Detached> {
    let mut buffer = [0; 3];
    said.append(replies);
    while session.interest().produce {
        let produced = session.produce(&mut buffer, replies).unwrap();
        said.append(replies);
        match produced {
            copy::Produced::Next(copy::Next::Continue) => {}
            copy::Produced::Next(next) => return next,
            copy::Produced::Bytes(count) => said.extend_from_slice(&buffer[..count]),
            copy::Produced::File(piece) => {
                let mut byte = [0; 1];
                std::os::unix::fs::FileExt::read_exact_at(&*piece.file, &mut byte, piece.at)
                    .unwrap();
                said.push(byte[0]);
                session.handle(Event::Sent(1), Instant::now(), replies);
            }
        }
    }
    copy::Next::Continue
}

#[test]
fn answers_do_not_depend_on_how_the_questions_were_cut() {
    let wire = b"ANYPORT/1 GET x digest=none\nANYPORT/1 LIST\nANYPORT/1 GET \
        none\nANYPORT/1 GET x offset=2\n";
    let answers = |pieces: &[&[u8]], at_once| answers(DetectedProtocol::Preface, pieces, at_once);
    let expected = answers(&[wire], true);
    let text = String::from_utf8(expected.clone()).unwrap();
    let file = "ANYPORT/1 FILE name=x size=5 offset=0 mtime=1 mtime_ns=0 mode=";
    assert!(
        text.starts_with(file) && text.contains("\nhelloEND\nANYPORT/1 ENTRY name=x "),
        "{text}"
    );
    assert!(text.contains("ANYPORT/1 END entries=1\nANYPORT/1 ERROR not-found "), "{text}");
    assert!(text.contains("\nlloEND blake3:ea8f163d"), "{text}");
    every_cut(wire, |pieces| {
        assert!(
            answers(pieces, true) == expected && answers(pieces, false) == expected,
            "{pieces:?}"
        );
    });
}

/// Pipelined requests of every kind: a file, a refusal whose content is discarded, an echo in
/// chunks, an upload in chunks, a listing.
#[test]
fn ht_1_answers_do_not_depend_on_how_the_requests_were_cut() {
    let wire = b"GET /x HTTP/1.1\r\nHost: a\r\nRange: bytes=1-3\r\n\r\n\
        PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nback\
        PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        2;e\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n\
        GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n\
        HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers =
        |pieces: &[&[u8]], at_once| fixed(&answers(DetectedProtocol::Http1, pieces, at_once));
    let expected = answers(&[wire], true);
    for part in
        ["Content-Range: bytes 1-3/5\n", "\n\nellHTTP/1.1 405 ", "\n\nbackHTTP/1.1 201 Created"]
    {
        assert!(expected.contains(part), "no {part:?} in {expected}");
    }
    assert!(
        expected.ends_with(
            "Content-Length: 5\nX-Content-Type-Options: \
            nosniff\nCross-Origin-Resource-Policy: same-origin\n"
        ),
        "{expected}"
    );
    every_cut(wire, |pieces| {
        // The chunks of an echo depend on the reads, so only its bytes are compared.
        let at_once = answers(pieces, true);
        assert_eq!(at_once, expected, "{pieces:?}");
        assert_eq!(answers(pieces, false), expected, "{pieces:?}");
    });
}

/// Returns responses without their variable parts.
fn fixed(answers: &[u8]) -> String {
    let lengths = ["Content-Length: 1", "Content-Length: 7"];
    let changing = [&["Date: ", "ETag: ", "{\"name\":\"y"], &lengths[..]].concat();
    let is_fixed = |line: &&str| {
        !changing.iter().any(|word| line.starts_with(word)) && !line.contains(" stored: ")
    };
    let text = String::from_utf8_lossy(answers);
    text.lines().filter(is_fixed).collect::<Vec<_>>().join("\n")
}

/// Small requests with large responses: further requests wait.
#[test]
fn bp_1_pipelined_requests_do_not_pile_up_answers() {
    let scratch = tempfile::tempdir().unwrap();
    let mut session = beside_a_file(DetectedProtocol::Http1, &scratch);
    let requests = 2000;
    let mut wire = b"GET /help HTTP/1.1\r\nHost: a\r\n\r\n".repeat(requests);
    let (mut replies, mut most, mut said) = (Vec::new(), 0, Vec::new());
    assert!(matches!(
        session.handle(Event::Bytes(&mut wire), Instant::now(), &mut replies),
        copy::Next::Continue
    ));
    loop {
        most = most.max(replies.len());
        said.append(&mut replies);
        if !session.interest().produce {
            break;
        }
        let produced = session.produce(&mut [0; 3], &mut replies);
        assert!(matches!(produced, Ok(copy::Produced::Next(copy::Next::Continue))));
    }
    assert!(most < 20 * 1024, "{most} bytes of answers at once");
    let count = String::from_utf8(said).unwrap().matches("HTTP/1.1 200 OK").count();
    assert_eq!(count, requests);
}

fn read(directory: &Path, receipt: &Receipt) -> (Protocol, Vec<u8>) {
    let content = std::fs::read(directory.join(receipt.path.as_ref().unwrap())).unwrap();
    assert_eq!(content.len() as u64, receipt.bytes);
    let mut hasher = Hasher::new(receipt.digest.unwrap().algorithm());
    hasher.update(&content);
    assert_eq!(hasher.finish(), receipt.digest);
    (receipt.protocol, content)
}

/// Returns the expected result of a connection that begins like a frame, without using the session.
fn by_the_rule(wire: &[u8]) -> Outcome {
    let mut confirmation = Confirmation::new(&Limits::default(), u64::MAX);
    let standing = match confirmation.feed(wire) {
        CandidateState::Open => confirmation.end_of_stream(),
        decided => decided,
    };
    if !matches!(standing, CandidateState::Confirmed(_)) {
        return Outcome { files: vec![(Protocol::Raw, wire.to_vec())], interrupted: 0 };
    }
    let mut receiver = Receiver::new(Role::Server, &Limits::default());
    let mut wire = wire.to_vec();
    let mut rest = &mut wire[..];
    let mut content = Vec::new();
    let mut begun = false;
    while !rest.is_empty() && !receiver.is_closed() {
        let Ok((used, event)) = receiver.feed(rest) else {
            return Outcome { files: vec![], interrupted: usize::from(begun) };
        };
        if let Some(FrameEvent::Data { data, .. }) = event {
            content.extend_from_slice(data);
            begun = true;
        }
        rest = &mut std::mem::take(&mut rest)[used..];
    }
    if receiver.at_message_border() {
        let files = if begun { vec![(Protocol::Frames, content)] } else { vec![] };
        Outcome { files, interrupted: 0 }
    } else {
        Outcome { files: vec![], interrupted: usize::from(begun) }
    }
}

pub(super) struct Keys(pub(super) u64);
impl KeySource for Keys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0 += 1;
        noise(4, self.0).try_into().unwrap()
    }
}

pub(super) fn frame(kind: Kind, fragment: Fragment, payload: &[u8], key: u64) -> Vec<u8> {
    let mut sender = Sender::client(Keys(key));
    let (header, mask) = sender.begin(kind, fragment, payload.len() as u64).unwrap();
    let mut payload = payload.to_vec();
    mask.unwrap().apply(&mut payload);
    [header.to_vec(), payload].concat()
}

fn messages(count: usize, length: usize) -> Vec<u8> {
    let one = |i| frame(Kind::Binary, Fragment::Whole, &noise(length, i), i);
    (0..count as u64).flat_map(one).collect()
}

#[test]
fn a_candidate_that_is_not_confirmed_leaves_nothing_where_raw_is_not_accepted() {
    let input = &frame(Kind::Binary, Fragment::Whole, &noise(1000, 1), 1)[..500];
    for sink in [crate::config::SinkKind::File, crate::config::SinkKind::Discard] {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(scratch.path());
        (config.startup.sink, config.limits.held_candidate) = (sink, 100);
        let seen = Arc::new(Seen::default());
        let allowed = Allowed::NONE.allow(ProtocolName::Frames);
        let listener = Arc::new(ListenerConfig { allowed, ..ListenerConfig::default() });
        let context = Context { listener, ..context(config, &seen) };
        let mut session = AnySession::new(DetectedProtocol::FrameCandidate, context).unwrap();
        let mut out = Vec::new();
        let next = session.handle(Event::Bytes(&mut input.to_vec()), Instant::now(), &mut out);
        match next {
            copy::Next::Continue => {
                session.handle(Event::Lost("reset"), Instant::now(), &mut out);
            }
            _ => assert!(out.starts_with(b"ANYPORT/1 ERROR "), "{out:?}"),
        }
        drop(session);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{sink:?}");
        assert_eq!(seen.receipts.lock().unwrap().len(), 0);
    }
}

#[test]
fn dt_1_frames_proven_late_are_decoded_from_the_first_byte_on() {
    let wire = messages(9, 1000);
    let content: Vec<u8> = (0..9).flat_map(|i| noise(1000, i)).collect();
    let expected = Outcome { files: vec![(Protocol::Frames, content)], interrupted: 0 };
    for held in [0, 100, 5000, 1 << 20] {
        for piece in [1, 7, 500, 100_000] {
            assert_eq!(
                serve(&wire.chunks(piece).collect::<Vec<_>>(), held),
                expected,
                "{held} {piece}"
            );
        }
    }
}

#[test]
fn dt_1_seven_headers_and_a_broken_eighth_are_raw() {
    let mut wire = messages(7, 300);
    wire.extend_from_slice(b"\xff this is no header, and the file goes on");
    let expected = Outcome { files: vec![(Protocol::Raw, wire.clone())], interrupted: 0 };
    for held in [0, 1000, 1 << 20] {
        for piece in [1, 100, 100_000] {
            assert_eq!(serve(&wire.chunks(piece).collect::<Vec<_>>(), held), expected);
        }
    }
}

/// Returns a session at `path` with compression.
fn compressing(path: &str) -> AnySession {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = Config::new(scratch.path());
    (config.deflate, config.startup.sink) = (true, crate::config::SinkKind::Discard);
    let context = context(config, &Arc::default());
    let rooms = context.rooms.clone();
    let mut session = AnySession::new(DetectedProtocol::Http1, context).unwrap();
    let mut replies = Vec::new();
    let upgrade = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    session.handle(Event::Bytes(&mut upgrade.into_bytes()), Instant::now(), &mut replies);
    assert!(replies.starts_with(b"HTTP/1.1 101 "));
    assert!(matches!(session.enter(&rooms, 0, &mut replies).1, copy::Next::Continue));
    session
}

/// Counted in turns, not in time: after each one, other connections of the thread get their turn.
#[test]
fn a_turn_inflates_a_bounded_part_of_a_message() {
    const ZEROS: usize = 8 * 1024 * 1024;
    let mut session = compressing("/echo");
    // Not on the thread of other rooms, which it would delay.
    let interest = session.interest();
    assert!(interest.place == Placement::Runtime && interest.may_block);
    let (mut replies, mut bomb) = (Vec::new(), Vec::new());
    let mut sender = Sender::client(Keys(1)).with_deflate(&DeflateParameters::default());
    sender.message(Kind::Binary, &vec![0; ZEROS], &mut bomb).unwrap();
    let mut flow = session.handle(Event::Bytes(&mut bomb), Instant::now(), &mut replies);
    let mut turns = 1;
    while replies.is_empty() {
        assert!(
            matches!(flow, copy::Next::Continue)
                && session.interest().wake.is_some_and(|at| at <= Instant::now())
        );
        flow = session.handle(Event::Timer, Instant::now(), &mut replies);
        turns += 1;
    }
    assert!((60..=90).contains(&turns), "{turns} turns of 128 KiB for 8 MiB");
    // A turn that ends with the message requests another one, which has nothing to do.
    let answered = replies.len();
    session.handle(Event::Timer, Instant::now(), &mut replies);
    assert_eq!((session.interest().wake, replies.len()), (None, answered));
}

/// One thread may serve a thousand members, so a few bytes may cause only little work.
#[test]
fn the_work_of_inflating_counts_against_the_rate_of_a_member() {
    let text = |content: &[u8]| {
        let mut wire = Vec::new();
        let mut sender = Sender::client(Keys(1)).with_deflate(&DeflateParameters::default());
        sender.message(Kind::Text, content, &mut wire).unwrap();
        wire
    };
    let blocks = [&[3, 0].repeat(60_000)[..], &[0]].concat();
    let head = [&[0xc1, 0xff][..], &(blocks.len() as u64).to_be_bytes(), &[0; 4]].concat();
    let json = format!("{{\"say\":{{\"text\":\"{}\"}}}}", "x".repeat(50_000));
    for (what, mut wire, turns_without_limit) in [
        ("long messages", text(&[b'a'; 60_000]).repeat(50), 20),
        ("what is no message", text(json.replace("say", "sag").as_bytes()).repeat(50), 20),
        ("messages without content", [0xc1, 0x81, 0, 0, 0, 0, 0].repeat(5000), 300),
        ("blocks without content", [head, blocks].concat(), 500),
    ] {
        let (mut session, mut replies) = (compressing("/rooms/r"), Vec::new());
        assert!(session.interest().place == Placement::Reactor && session.inflates());
        let now = Instant::now();
        let mut flow = session.handle(Event::Bytes(&mut wire), now, &mut replies);
        let mut turns = 1;
        // Until the burst of one second is used up.
        while session.interest().wake.is_some_and(|at| at <= now) {
            assert!(matches!(flow, copy::Next::Continue), "{what}");
            flow = session.handle(Event::Timer, now, &mut replies);
            turns += 1;
        }
        assert!(session.interest().wake.is_some(), "{what} took {turns} turns, and nothing waits");
        assert!((5..turns_without_limit).contains(&turns), "{what}: {turns} turns");
    }
    // Usual messages count as one each.
    let (mut session, mut replies) = (compressing("/rooms/r"), Vec::new());
    let now = Instant::now();
    let mut wire = text(&[b'a'; 2000]).repeat(100);
    session.handle(Event::Bytes(&mut wire), now, &mut replies);
    while session.interest().wake.is_some() {
        assert_eq!(session.interest().wake, Some(now));
        session.handle(Event::Timer, now, &mut replies);
    }
}

fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..200), any::<u64>(), 0..3_u8).prop_map(
            |(payload, key, shape)| match shape {
                0 => frame(Kind::Binary, Fragment::Whole, &payload, key),
                1 => [
                    frame(Kind::Binary, Fragment::First, &payload, key),
                    frame(Kind::Binary, Fragment::Last, b"end", key),
                ]
                .concat(),
                _ => frame(Kind::Text, Fragment::Whole, b"plain text", key),
            }
        ),
        1 => prop::collection::vec(any::<u8>(), 1..50),
    ];
    let first = (prop::collection::vec(any::<u8>(), 1..100), any::<u64>())
        .prop_map(|(payload, key)| frame(Kind::Binary, Fragment::Whole, &payload, key));
    (first, prop::collection::vec(part, 0..12)).prop_map(|(first, parts)| {
        let mut wire = first;
        parts.iter().for_each(|part| wire.extend_from_slice(part));
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// DT-1: a candidate has the result of the rule, for every segmentation and every memory limit.
    #[test]
    fn dt_1_candidates_come_to_what_the_rule_says(
        wire in any_wire(),
        places in prop::collection::vec(any::<usize>(), 0..8),
        held in prop_oneof![Just(0_usize), 1..400_usize, Just(1 << 20)],
    ) {
        let outcome = serve(&cut_at(&wire, &places), held);
        let expected = by_the_rule(&wire);
        prop_assert_eq!(outcome, expected);
    }

    /// For any sequence of valid and malformed requests: segmentation changes neither the responses
    /// nor the stored files, and refused content is not stored.
    #[test]
    fn io_1_segmentation_changes_neither_responses_nor_stored_files(
        requests in prop::collection::vec(prop::sample::select(REQUESTS.to_vec()), 1..6),
        places in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let wire = requests.concat();
        let http1 = DetectedProtocol::Http1;
        let expected = fixed(&answers(http1, &[&wire], true));
        let pieces = cut_at(&wire, &places);
        prop_assert_eq!(fixed(&answers(http1, &pieces, true)), expected.as_str());
        prop_assert_eq!(fixed(&answers(http1, &pieces, false)), expected.as_str());
        let stored = expected.matches("HTTP/1.1 201 ").count();
        let puts = requests.iter().filter(|request| request.starts_with(b"PUT /y")).count();
        prop_assert!(stored <= puts, "{} of {}", stored, puts);
    }

    /// Bytes that match no protocol are stored unchanged.
    #[test]
    fn dt_4_raw_bytes_are_stored_as_they_came(
        wire in prop::collection::vec(any::<u8>(), 1..3000),
        places in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let protocol = detect_at_end(&wire, &Limits::default());
        prop_assume!(protocol == DetectedProtocol::Raw);
        let expected = Outcome { files: vec![(Protocol::Raw, wire.clone())], interrupted: 0 };
        prop_assert_eq!(serve(&cut_at(&wire, &places), 1 << 20), expected);
    }
}

/// Requests that are accepted, refused, malformed, and other input.
const REQUESTS: [&[u8]; 16] = [
    b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /y1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /y2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PUT /y3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"PUT /y4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nOrigin: null\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"PUT /y5 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /x HTTP/1.1\n\n",
    b"PUT /y6 HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nhello",
];

/// Returns a connection of a sender that offers `id` to resume, over lines or over messages.
fn offering(context: &Context, over_messages: bool, id: usize) -> (AnySession, Vec<u8>) {
    // Each connection has its own.
    let context = Context { link: Link::new(), ..context.clone() };
    let (mut session, mut wire) = if over_messages {
        let route = Route::Files { path: None };
        let session = AnySession::of(ws::Ws::handshaken(context, route, true, None));
        let offer = format!(r#"{{"offer":{{"name":"x","size":9,"id":"{id}","resume":true}}}}"#);
        (session, frame(Kind::Text, Fragment::Whole, offer.as_bytes(), 1))
    } else {
        let session = AnySession::new(DetectedProtocol::Preface, context).unwrap();
        (session, format!("ANYPORT/1 PUT x size=9 id={id} resume\n").into_bytes())
    };
    let mut replies = Vec::new();
    let next = session.handle(Event::Bytes(&mut wire), Instant::now(), &mut replies);
    assert!(matches!(next, copy::Next::Continue));
    (session, replies)
}

/// The owner releases the file when the test wants it, and the session returns meanwhile.
#[test]
fn a_sender_that_is_back_waits_without_a_thread_until_its_last_connection_lets_go() {
    for over_messages in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let context = context(Config::new(scratch.path()), &Arc::default());
        let (mut owner, go) = offering(&context, over_messages, 1);
        assert!(String::from_utf8_lossy(&go).contains("offset"), "{go:?}");
        let content = if over_messages {
            frame(Kind::Binary, Fragment::Whole, b"1234", 2)
        } else {
            b"1234".to_vec()
        };
        owner.handle(Event::Bytes(&mut content.clone()), Instant::now(), &mut Vec::new());
        let (mut back, mut replies) = offering(&context, over_messages, 1);
        assert_eq!(replies, b"");
        let held = back.interest().wait.unwrap();
        assert!(!back.interest().produce && held.until.unwrap() > Instant::now());
        owner.handle(Event::Lost("the test ends it"), Instant::now(), &mut Vec::new());
        assert!(held.gate.is_open());
        let Interest { wait, produce, .. } = back.interest();
        assert!(wait.is_none() && produce);
        let mut said = Vec::new();
        let next = drain(&mut back, &mut replies, &mut said);
        assert!(matches!(next, copy::Next::Continue));
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(r#"{"go":{"offset":4}}"#) || said.contains("GO offset=4"), "{said}");
        assert!(!back.interest().produce && back.interest().wait.is_none());
    }
}

/// Each of them waits until its timeout, so their number is bounded. All retry then.
#[test]
fn an_owner_that_never_lets_go_makes_others_busy_in_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let context = context(Config::new(scratch.path()), &Arc::default());
    let owners: Vec<_> = (0..=64).map(|id| offering(&context, false, id).0).collect();
    let mut waiting = Vec::new();
    for id in 0..64 {
        let (session, replies) = offering(&context, id % 2 == 1, id);
        assert_eq!(replies, b"", "{id}");
        waiting.push(session);
    }
    let (mut beyond, replies) = offering(&context, false, 64);
    let replies = String::from_utf8(replies).unwrap();
    assert!(replies.starts_with("ANYPORT/1 ERROR busy too many senders wait"), "{replies}");
    // It accepts the next line.
    let mut replies = Vec::new();
    let mut line = b"ANYPORT/1 GREET\n".to_vec();
    beyond.handle(Event::Bytes(&mut line), Instant::now(), &mut replies);
    assert!(replies.starts_with(b"ANYPORT/1 GREETING "));
    for session in &mut waiting {
        let until = session.interest().wait.unwrap().until.unwrap();
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        let mut replies = Vec::new();
        let next = session.handle(Event::Idle, Instant::now(), &mut replies);
        assert!(matches!(next, copy::Next::Continue));
        let replies = String::from_utf8_lossy(&replies).into_owned();
        assert!(replies.contains("x is being sent over another connection"), "{replies}");
        let Interest { wait, produce, .. } = session.interest();
        assert!(wait.is_none() && !produce);
    }
    // Their permits are free again.
    drop(owners);
    let (_owner, _) = offering(&context, false, 1);
    assert!(offering(&context, false, 1).0.interest().wait.is_some());
}
