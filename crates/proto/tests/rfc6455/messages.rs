//! Messages and their fragments (RFC 6455 §5.4, §5.6).

use anyport_proto::limits::Limits;
use anyport_proto::ws::{
    CloseCode, Event, Fragment, Kind, Opcode, Receiver, Role, Sender, Violation,
};
use proptest::prelude::*;

use crate::session::{
    Keys, Seen, Session, binary, control, frame, ping, receive, refuses, server, tells,
};

#[test]
fn fg_1_a_continuation_needs_a_start_and_a_message_no_other_inside() {
    let wire = frame(Kind::Binary, Fragment::Last, b"x");
    refuses(&wire, Violation::ContinuationWithoutStart, CloseCode::PROTOCOL_ERROR);
    let first = frame(Kind::Binary, Fragment::First, b"x");
    let wire = [first.clone(), first].concat();
    let inside = Violation::MessageInsideMessage(Opcode::Binary);
    refuses(&wire, inside, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fg_1_a_message_that_ended_is_not_continued() {
    let whole = frame(Kind::Binary, Fragment::Whole, b"x");
    for last in [Fragment::Middle, Fragment::Last] {
        let wire = [whole.clone(), frame(Kind::Binary, last, b"y")].concat();
        refuses(&wire, Violation::ContinuationWithoutStart, CloseCode::PROTOCOL_ERROR);
    }
    // A ping between makes no difference.
    let wire = [ping(b""), frame(Kind::Text, Fragment::Last, b"")].concat();
    refuses(&wire, Violation::ContinuationWithoutStart, CloseCode::PROTOCOL_ERROR);
    let start = frame(Kind::Text, Fragment::First, b"");
    let wire = [start, ping(b""), frame(Kind::Text, Fragment::Whole, b"")].concat();
    let inside = Violation::MessageInsideMessage(Opcode::Text);
    refuses(&wire, inside, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fg_2_control_frames_between_fragments_are_delivered_immediately() {
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
fn fg_2_a_close_may_come_between_fragments() {
    let start = frame(Kind::Binary, Fragment::First, b"half");
    let close = control(Opcode::Close, b"\x03\xe9");
    let session = receive(server(), &[&start, &close]);
    let away = CloseCode::from_wire(1001).unwrap();
    assert_eq!(session.seen, [Seen::Close(Some(away), String::new())]);
    assert!(!session.at_message_border, "the message was cut");
}

#[test]
fn fg_3_empty_fragments_are_valid() {
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
fn fg_4_a_million_fragments_of_a_byte_are_one_message_and_leave_no_trace() {
    let mut receiver = server();
    let mut bytes = 0;
    for number in 0..1_000_000_u32 {
        let mut fragment = [if number == 0 { 0x02 } else { 0x00 }, 0x81, 1, 2, 3, 4, 1 ^ b'x'];
        let fed = receiver.feed(&mut fragment);
        let Ok((7, Some(Event::Data { data: b"x", end: false, .. }))) = fed else {
            panic!("fragment {number}: {fed:?}")
        };
        bytes += 1;
    }
    assert_eq!((bytes, receiver.headers()), (1_000_000, 1_000_000));
    let fed = receiver.feed(&mut [0x80, 0x80, 0, 0, 0, 0]).map(|(used, _)| used);
    assert_eq!(fed, Ok(6));
    assert!(receiver.at_message_border());
}

/// Each piece says of which kind its message is, continuations too; only the first says that it
/// begins.
#[test]
fn fg_6_every_piece_has_the_kind_of_its_message() {
    for kind in [Kind::Text, Kind::Binary] {
        let mut receiver = server();
        let mut starts = 0;
        for (fragment, payload) in
            [(Fragment::First, &b""[..]), (Fragment::Middle, b"ab"), (Fragment::Last, b"c")]
        {
            let mut wire = frame(kind, fragment, payload);
            for byte in &mut wire {
                let (_, event) = receiver.feed(std::slice::from_mut(byte)).unwrap();
                if let Some(event) = event {
                    let Event::Data { kind: reported, start, .. } = event else {
                        panic!("{event:?}")
                    };
                    assert_eq!(reported, kind);
                    starts += u32::from(start);
                }
            }
        }
        assert_eq!(starts, 1);
        assert!(receiver.at_message_border());
    }
}

proptest! {
    /// What a sender sends, the receiver of the other end receives, both ways.
    #[test]
    fn io_1_messages_arrive_as_sent(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
    ) {
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
            let expected = Session { seen: expected, violation: None, at_message_border: true };
        prop_assert_eq!(session, expected);
        }
    }
}
