//! Control frames and the closing handshake (RFC 6455 §5.5, §7).

use anyport_proto::limits::Limits;
use anyport_proto::ws::{CloseCode, Fragment, Kind, Opcode, Receiver, Role, Sender, Violation};
use anyport_testkit::hex;

use crate::session::{Keys, Seen, binary, control, frame, receive, refuses, server, tells};

#[test]
fn ct_1_a_pong_has_exactly_the_payload_of_its_ping() {
    for length in 0..=125 {
        let payload = anyport_testkit::noise(length, length as u64);
        let ping = control(Opcode::Ping, &payload);
        let session = receive(server(), &[&ping]);
        let [Seen::Ping(asked)] = &session.seen[..] else { panic!("{session:?}") };
        let mut wire = Vec::new();
        Sender::server().pong(asked, &mut wire);
        let client = Receiver::new(Role::Client, &Limits::default());
        assert_eq!(receive(client, &[&wire]).seen, [Seen::Pong(payload)]);
    }
}

#[test]
fn ct_3_an_unsolicited_pong_changes_nothing() {
    let pong = control(Opcode::Pong, b"unasked");
    let wire = [
        pong.clone(),
        frame(Kind::Binary, Fragment::First, b"a"),
        pong,
        frame(Kind::Binary, Fragment::Last, b"b"),
    ]
    .concat();
    let unasked = Seen::Pong(b"unasked".to_vec());
    tells(&wire, &[unasked.clone(), unasked, binary(b"ab")]);
}

#[test]
fn cl_1_close_frames() {
    let close = |payload: &[u8]| control(Opcode::Close, payload);
    tells(&close(b""), &[Seen::Close(None, String::new())]);
    tells(&close(b"\x03\xe8bye"), &[Seen::Close(Some(CloseCode::NORMAL), "bye".into())]);
    refuses(&close(b"\x03"), Violation::CloseOfOneByte, CloseCode::PROTOCOL_ERROR);
    refuses(&close(b"\x03\xed"), Violation::CloseCode(1005), CloseCode::PROTOCOL_ERROR);
    refuses(&close(b"\x03\xe8\xff"), Violation::CloseReasonNotUtf8, CloseCode::INVALID_DATA);
    let longest = [b"\x03\xe8", &[b'x'; 123][..]].concat();
    tells(&close(&longest), &[Seen::Close(Some(CloseCode::NORMAL), "x".repeat(123))]);
    let broken = Violation::ControlTooLong(Opcode::Close);
    refuses(&hex("88 fe 007e"), broken, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn cl_2_every_code_is_accepted_or_refused_with_1002() {
    for code in 0..=u16::MAX {
        let wire = control(Opcode::Close, &code.to_be_bytes());
        let session = receive(server(), &[&wire]);
        if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            let reported = CloseCode::from_wire(code).unwrap();
            assert_eq!(session.seen, [Seen::Close(Some(reported), String::new())], "{code}");
        } else {
            assert_eq!(session.violation, Some(Violation::CloseCode(code)));
        }
    }
    assert_eq!(Violation::CloseCode(0).close_code(), CloseCode::PROTOCOL_ERROR);
}

/// What cannot be built cannot be sent; and no code at all is an empty Close.
#[test]
fn cl_3_local_codes_cannot_be_sent() {
    for code in [1005, 1006, 1015] {
        assert_eq!(CloseCode::from_wire(code), Err(Violation::CloseCode(code)));
    }
    let mut wire = Vec::new();
    Sender::server().close(None, "a reason needs a code", &mut wire);
    assert_eq!(wire, hex("88 00"));
}

#[test]
fn cl_4_nothing_follows_a_sent_close() {
    let mut sender = Sender::client(Keys(1));
    let mut wire = Vec::new();
    sender.close(Some(CloseCode::NORMAL), "", &mut wire);
    let sent = wire.clone();
    assert!(sender.message(Kind::Binary, b"late", &mut wire).is_err());
    assert!(sender.begin(Kind::Binary, Fragment::Last, 0).is_err());
    sender.ping(b"late", &mut wire);
    sender.pong(b"late", &mut wire);
    sender.close(Some(CloseCode::INTERNAL), "again", &mut wire);
    assert_eq!(wire, sent);
}

/// Also what would break a rule; and a second Close is no second end (CL-5).
#[test]
fn cl_4_and_5_input_after_the_peers_close_is_ignored() {
    let close = control(Opcode::Close, b"\x03\xe8");
    for after in [
        hex("ffffffff"),
        hex("81 05 48656c6c6f"),
        frame(Kind::Binary, Fragment::Whole, b"data"),
        control(Opcode::Ping, b"?"),
        control(Opcode::Close, b"\x03\xe9"),
    ] {
        let wire = [close.clone(), after].concat();
        tells(&wire, &[Seen::Close(Some(CloseCode::NORMAL), String::new())]);
    }
}

#[test]
fn cl_9_any_reason_is_cut_on_a_character_to_123_bytes() {
    for (character, width) in [("x", 1), ("é", 2), ("€", 3), ("𝄞", 4)] {
        for shift in 0..4 {
            for count in 0..140 {
                let reason = "-".repeat(shift) + &character.repeat(count);
                let mut wire = Vec::new();
                Sender::server().close(Some(CloseCode::NORMAL), &reason, &mut wire);
                let client = Receiver::new(Role::Client, &Limits::default());
                let session = receive(client, &[&wire]);
                let [Seen::Close(Some(CloseCode::NORMAL), reported)] = &session.seen[..] else {
                    panic!("{session:?}")
                };
                assert!(reason.starts_with(reported));
                assert!(
                    reported.len() <= 123 && (reported == &reason || reported.len() + width > 123)
                );
            }
        }
    }
}
