//! The receiving half by the rules of RFC 6455, over every cut of the stream.
#![expect(clippy::unwrap_used, reason = "tests")]

use anyport_proto::limits::Limits;
use anyport_proto::ws::{
    CloseCode, Event, Fragment, KeySource, Kind, Receiver, Role, Sender, Violation,
};
use anyport_testkit::{cut_at, every_cut, hex, noise};
use proptest::prelude::*;

/// Events with the pieces of a message put together, so that they do not depend on the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

#[derive(Debug, PartialEq, Eq)]
struct Session {
    seen: Vec<Seen>,
    violation: Option<Violation>,
    at_message_border: bool,
}

fn receive(mut receiver: Receiver, pieces: &[&[u8]]) -> Session {
    let mut seen = Vec::new();
    let mut message = Vec::new();
    let mut open = false;
    let mut violation = None;
    'stream: for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let length = rest.len();
            let (used, event) = match receiver.feed(rest) {
                Ok(fed) => fed,
                Err(broken) => {
                    violation = Some(broken);
                    break 'stream;
                }
            };
            match event {
                Some(Event::Data { kind, start, data, end }) => {
                    assert_eq!(start, !open, "the first piece of a message says so");
                    open = !end;
                    message.extend_from_slice(data);
                    if end {
                        seen.push(Seen::Message(kind, std::mem::take(&mut message)));
                    }
                }
                Some(Event::Ping(payload)) => seen.push(Seen::Ping(payload.to_vec())),
                Some(Event::Pong(payload)) => seen.push(Seen::Pong(payload.to_vec())),
                Some(Event::Close { code, reason }) => seen.push(Seen::Close(code, reason.into())),
                None if used == length => break,
                None => {}
            }
            rest = &mut rest[used..];
        }
    }
    if let Some(violation) = violation {
        assert_eq!(receiver.feed(&mut [0x81]), Err(violation), "a violation is terminal");
    }
    Session { seen, violation, at_message_border: receiver.at_message_border() }
}

fn server() -> Receiver {
    Receiver::new(Role::Server, &Limits::default())
}

/// The events of `wire` are `expected`, however the network cuts it.
#[track_caller]
fn tells(wire: &[u8], expected: &[Seen]) {
    every_cut(wire, |pieces| {
        let session = receive(server(), pieces);
        assert_eq!((session.seen.as_slice(), session.violation), (expected, None));
    });
}

#[track_caller]
fn refuses(wire: &[u8], violation: Violation, close_code: CloseCode) {
    every_cut(wire, |pieces| {
        assert_eq!(receive(server(), pieces).violation, Some(violation));
    });
    assert_eq!(violation.close_code(), close_code);
}

struct Keys(u64);
impl KeySource for Keys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0 += 1;
        noise(4, self.0).try_into().unwrap()
    }
}

/// A client's frame.
fn frame(kind: Kind, fragment: Fragment, payload: &[u8]) -> Vec<u8> {
    let (header, mask) = Sender::client(Keys(payload.len() as u64))
        .begin(kind, fragment, payload.len() as u64)
        .unwrap();
    let mut payload = payload.to_vec();
    mask.unwrap().apply(&mut payload);
    [header.to_vec(), payload].concat()
}

fn ping(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Sender::client(Keys(5)).ping(payload, &mut wire);
    wire
}

fn binary(payload: &[u8]) -> Seen {
    Seen::Message(Kind::Binary, payload.to_vec())
}

#[test]
fn section_5_7_examples() {
    tells(&hex("81 85 37fa213d 7f9f4d5158"), &[Seen::Message(Kind::Text, b"Hello".to_vec())]);
    // Unmasked, from a server: a single frame, a fragmented message, a ping with a body.
    let client = || Receiver::new(Role::Client, &Limits::default());
    let hello = Seen::Message(Kind::Text, b"Hello".to_vec());
    for (wire, seen) in [
        ("81 05 48656c6c6f", hello.clone()),
        ("01 03 48656c 80 02 6c6f", hello),
        ("89 05 48656c6c6f", Seen::Ping(b"Hello".to_vec())),
    ] {
        every_cut(&hex(wire), |pieces| {
            assert_eq!(receive(client(), pieces).seen, std::slice::from_ref(&seen))
        });
    }
}

#[test]
fn mk_1_unmasked_client_frame_is_refused_with_1002() {
    refuses(&hex("81 05 48656c6c6f"), Violation::NotMasked, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fr_1_and_2_reserved_bits_and_opcodes_are_refused_with_1002() {
    refuses(&hex("c1 80 00000000"), Violation::ReservedBits(4), CloseCode::PROTOCOL_ERROR);
    refuses(&hex("83 80 00000000"), Violation::ReservedOpcode(3), CloseCode::PROTOCOL_ERROR);
    refuses(&hex("8b 80 00000000"), Violation::ReservedOpcode(11), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fg_1_a_continuation_needs_a_start_and_a_message_no_other_inside() {
    let wire = frame(Kind::Binary, Fragment::Last, b"x");
    refuses(&wire, Violation::ContinuationWithoutStart, CloseCode::PROTOCOL_ERROR);
    let first = frame(Kind::Binary, Fragment::First, b"x");
    let wire = [first.clone(), first].concat();
    let inside = Violation::MessageInsideMessage(anyport_proto::ws::Opcode::Binary);
    refuses(&wire, inside, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fg_2_control_frames_between_fragments_are_told_at_once() {
    let wire = [
        frame(Kind::Text, Fragment::First, b"fra"),
        ping(b"?"),
        frame(Kind::Text, Fragment::Middle, b"gme"),
        ping(b""),
        frame(Kind::Text, Fragment::Last, b"nt"),
    ]
    .concat();
    let text = Seen::Message(Kind::Text, b"fragment".to_vec());
    tells(&wire, &[Seen::Ping(b"?".to_vec()), Seen::Ping(vec![]), text]);
}

#[test]
fn fg_3_empty_fragments_are_fine() {
    tells(&frame(Kind::Binary, Fragment::Whole, b""), &[binary(b"")]);
    let wire = [
        frame(Kind::Binary, Fragment::First, b""),
        frame(Kind::Binary, Fragment::Middle, b""),
        frame(Kind::Binary, Fragment::Last, b""),
        frame(Kind::Binary, Fragment::First, b"a"),
        frame(Kind::Binary, Fragment::Last, b""),
    ]
    .concat();
    tells(&wire, &[binary(b""), binary(b"a")]);
}

#[test]
fn ut_6_characters_are_cut_anywhere_also_by_pings_and_fragments() {
    let text = "é€𝄞".as_bytes();
    for at in 0..=text.len() {
        let wire = [
            frame(Kind::Text, Fragment::First, &text[..at]),
            ping(b""),
            frame(Kind::Text, Fragment::Last, &text[at..]),
        ]
        .concat();
        tells(&wire, &[Seen::Ping(vec![]), Seen::Message(Kind::Text, text.to_vec())]);
    }
}

#[test]
fn ut_4_text_that_ends_inside_a_character_is_refused_with_1007() {
    let wire = frame(Kind::Text, Fragment::Whole, &"é".as_bytes()[..1]);
    refuses(&wire, Violation::NotUtf8, CloseCode::INVALID_DATA);
}

#[test]
fn ut_2_invalid_text_is_refused_before_the_rest_arrives() {
    let wire = frame(Kind::Text, Fragment::Whole, b"good \xff and a long rest");
    let up_to_the_bad_byte = &wire[..6 + 6];
    assert_eq!(receive(server(), &[up_to_the_bad_byte]).violation, Some(Violation::NotUtf8));
    assert_eq!(receive(server(), &[&up_to_the_bad_byte[..11]]).violation, None);
}

#[test]
fn cl_1_close_frames() {
    let close = |payload: &[u8]| {
        let mut wire = frame(Kind::Binary, Fragment::Whole, payload);
        wire[0] = 0x88;
        wire
    };
    tells(&close(b""), &[Seen::Close(None, String::new())]);
    tells(&close(b"\x03\xe8bye"), &[Seen::Close(Some(CloseCode::NORMAL), "bye".into())]);
    refuses(&close(b"\x03"), Violation::CloseOfOneByte, CloseCode::PROTOCOL_ERROR);
    refuses(&close(b"\x03\xed"), Violation::CloseCode(1005), CloseCode::PROTOCOL_ERROR);
    refuses(&close(b"\x03\xe8\xff"), Violation::CloseReasonNotUtf8, CloseCode::INVALID_DATA);
    // What comes after a Close is ignored, whatever it is.
    tells(&[close(b""), hex("ffffffff")].concat(), &[Seen::Close(None, String::new())]);
}

#[test]
fn lm_2_limits_are_exact_and_decided_from_the_header() {
    let mut limits = Limits::default();
    (limits.frame, limits.message) = (10, 15);
    let receiver = || Receiver::new(Role::Server, &limits);
    let ten = frame(Kind::Binary, Fragment::Whole, &[7; 10]);
    assert_eq!(receive(receiver(), &[&ten]).seen, [binary(&[7; 10])]);
    let eleven = frame(Kind::Binary, Fragment::Whole, &[7; 11]);
    let broken = Violation::FrameTooLong { announced: 11, limit: 10 };
    assert_eq!(receive(receiver(), &[&eleven[..6]]).violation, Some(broken));
    assert_eq!(broken.close_code(), CloseCode::TOO_BIG);

    let start = frame(Kind::Binary, Fragment::First, &[7; 10]);
    let five = [start.clone(), frame(Kind::Binary, Fragment::Last, &[8; 5])].concat();
    assert_eq!(receive(receiver(), &[&five]).violation, None);
    let six = [start, frame(Kind::Binary, Fragment::Last, &[8; 6])].concat();
    let broken = Violation::MessageTooLong { announced: 16, limit: 15 };
    assert_eq!(receive(receiver(), &[&six[..6 + 10 + 6]]).violation, Some(broken));
}

#[test]
fn fr_8_the_longest_length_adds_up_without_overflow() {
    let mut start = hex("02 ff 7fffffffffffffff 00000000");
    assert_eq!(receive(server(), &[&start]).violation, None);
    start.extend_from_slice(&[1; 1000]);
    let session = receive(server(), &[&start]);
    assert_eq!((session.violation, session.at_message_border), (None, false));
}

#[test]
fn io_6_a_stream_that_ends_inside_a_frame_is_not_at_a_border() {
    let wire =
        [frame(Kind::Binary, Fragment::First, b"ab"), frame(Kind::Binary, Fragment::Last, b"cd")]
            .concat();
    for end in 1..wire.len() {
        assert!(!receive(server(), &[&wire[..end]]).at_message_border, "after {end} bytes");
    }
    assert!(receive(server(), &[&wire]).at_message_border);
}

#[test]
fn the_state_of_a_connection_is_small() {
    assert!(size_of::<Receiver>() <= 320, "{}", size_of::<Receiver>());
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..400);
    (payload, 0..5_u8).prop_map(|(payload, what)| match what {
        0 => ping(&payload[..payload.len().min(125)]),
        1 => frame(Kind::Text, Fragment::Whole, &payload),
        2 => [
            frame(Kind::Binary, Fragment::First, &payload),
            frame(Kind::Binary, Fragment::Last, b"!"),
        ]
        .concat(),
        3 => payload,
        _ => frame(Kind::Binary, Fragment::Whole, &payload),
    })
}

proptest! {
    /// IO-1: events do not depend on segmentation, also for streams that break a rule.
    #[test]
    fn io_1_events_do_not_depend_on_segmentation(
        frames in prop::collection::vec(any_frame(), 0..6),
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let wire = frames.concat();
        let whole = receive(server(), &[&wire]);
        let cut = receive(server(), &cut_at(&wire, &places));
        let bytewise = receive(server(), &wire.chunks(1).collect::<Vec<_>>());
        prop_assert_eq!(&whole.violation, &cut.violation);
        prop_assert_eq!(&whole, &bytewise);
        prop_assert_eq!(whole, cut);
    }

    /// What a sender sends, the receiver of the other end receives, both ways.
    #[test]
    fn messages_arrive_as_sent(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
        for (mut sender, role) in [
            (Sender::client(Keys(1)), Role::Server),
            (Sender::server(), Role::Client),
        ] {
            let mut wire = Vec::new();
            for payload in &payloads {
                sender.message(Kind::Binary, payload, &mut wire).unwrap();
                sender.pong(b"alive", &mut wire);
            }
            sender.close(Some(CloseCode::NORMAL), "done", &mut wire);
            prop_assert!(sender.message(Kind::Binary, b"late", &mut wire).is_err());
            let mut expected: Vec<Seen> = payloads
                .iter()
                .flat_map(|payload| [binary(payload), Seen::Pong(b"alive".to_vec())])
                .collect();
            expected.push(Seen::Close(Some(CloseCode::NORMAL), "done".into()));
            let session = receive(Receiver::new(role, &Limits::default()), &[&wire]);
            prop_assert_eq!(session, Session { seen: expected, violation: None, at_message_border: true });
        }
    }
}
