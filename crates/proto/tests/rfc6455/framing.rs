//! Base framing (RFC 6455 §5.2, §5.7).

use anyport_proto::limits::Limits;
use anyport_proto::ws::header::{Decoded, Rsv1, decode};
use anyport_proto::ws::{
    CloseCode, Event, Fragment, Kind, Opcode, Receiver, Role, Sender, Violation,
};
use anyport_testkit::{every_cut, hex};

use crate::session::{Keys, Seen, frame, receive, refuses, server, tells};

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
fn fr_1_and_2_reserved_bits_and_opcodes_are_refused_with_1002() {
    refuses(&hex("c1 80 00000000"), Violation::ReservedBits(4), CloseCode::PROTOCOL_ERROR);
    refuses(&hex("83 80 00000000"), Violation::ReservedOpcode(3), CloseCode::PROTOCOL_ERROR);
    refuses(&hex("8b 80 00000000"), Violation::ReservedOpcode(11), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn fr_3_and_4_fragmented_and_long_control_frames_are_refused_with_1002() {
    for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
        let first = opcode as u8;
        let broken = Violation::FragmentedControl(opcode);
        refuses(&[first, 0x80, 0, 0, 0, 0], broken, CloseCode::PROTOCOL_ERROR);
        // Two bytes are enough, whatever the length is said to be.
        for length in [126, 127] {
            let broken = Violation::ControlTooLong(opcode);
            refuses(&[0x80 | first, 0x80 | length], broken, CloseCode::PROTOCOL_ERROR);
        }
    }
}

/// All bytes of a frame beyond 4 GiB, as a server streams them.
#[test]
fn fr_5_a_frame_beyond_32_bits_is_streamed_to_its_last_byte() {
    let length = (1_u64 << 32) + 1;
    let mut receiver = Receiver::new(Role::Client, &Limits::default());
    let (header, _) = Sender::server().begin(Kind::Binary, Fragment::Whole, length).unwrap();
    assert_eq!(receiver.feed(&mut header.to_vec()), Ok((10, None)));
    let mut buffer = vec![7; 1 << 20];
    for piece in 0..1_u64 << 12 {
        let fed = receiver.feed(&mut buffer);
        let Ok((used, Some(Event::Data { start, data, end, .. }))) = fed else {
            panic!("piece {piece}: {fed:?}")
        };
        assert_eq!((used, data.len()), (1 << 20, 1 << 20), "piece {piece}");
        assert_eq!((start, end), (piece == 0, false), "piece {piece}");
    }
    // The last byte, and the beginning of a ping behind it.
    let event = Event::Data { kind: Kind::Binary, start: false, data: &[8], end: true };
    assert_eq!(receiver.feed(&mut [8, 0x89, 0]), Ok((1, Some(event))));
    assert!(receiver.at_message_border());
}

#[test]
fn fr_5_a_masked_frame_beyond_32_bits_keeps_its_phase() {
    let length = (1_u64 << 32) + 3;
    let key = [0x10, 0x20, 0x30, 0x40];
    let mut receiver = server();
    let mut header = hex("82 ff 0000000100000003 10203040");
    assert_eq!(receiver.feed(&mut header), Ok((14, None)));
    let mut byte = [key[0] ^ b'a'];
    let Ok((1, Some(Event::Data { data: b"a", .. }))) = receiver.feed(&mut byte) else {
        panic!("the first byte")
    };
    assert_eq!(receiver.skippable(), length - 1);
    receiver.skip(length - 3);
    let mut last = [b'y' ^ key[1], b'z' ^ key[2]];
    let event = Event::Data { kind: Kind::Binary, start: false, data: b"yz", end: true };
    assert_eq!(receiver.feed(&mut last), Ok((2, Some(event))));
}

#[test]
fn fr_6_and_7_long_forms_are_refused_as_soon_as_the_length_is_read() {
    for (wire, broken) in [
        ("82 fe 0000", Violation::LengthNotMinimal(0)),
        ("82 fe 007d", Violation::LengthNotMinimal(125)),
        ("81 ff 0000000000000005", Violation::LengthNotMinimal(5)),
        ("82 ff 000000000000ffff", Violation::LengthNotMinimal(65535)),
        ("82 ff 8000000000000000", Violation::LengthTopBit),
        ("82 ff ffffffffffffffff", Violation::LengthTopBit),
    ] {
        refuses(&hex(wire), broken, CloseCode::PROTOCOL_ERROR);
    }
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
fn fr_8_the_longest_lengths_of_fragments_add_up_without_overflow() {
    let mut limits = Limits::default();
    limits.message = u64::MAX - 1;
    let mut receiver = Receiver::new(Role::Server, &limits);
    for (header, outcome) in [
        ("02 ff 7fffffffffffffff 00000000", Ok((14, None))),
        ("00 ff 7fffffffffffffff 00000000", Ok((14, None))),
        (
            "00 ff 7fffffffffffffff 00000000",
            Err(Violation::MessageTooLong { announced: u64::MAX, limit: u64::MAX - 1 }),
        ),
    ] {
        assert_eq!(receiver.feed(&mut hex(header)), outcome);
        receiver.skip(receiver.skippable());
    }
}

/// Nothing is assembled: what is reported lies in the buffer that was handed in.
#[test]
fn fr_9_payload_is_lent_out_of_the_callers_own_buffer() {
    let mut receiver = server();
    let mut wire = frame(Kind::Text, Fragment::Whole, &[b'a'; 100_000]);
    let start = wire.as_ptr() as usize;
    let Ok((used, Some(Event::Data { data, .. }))) = receiver.feed(&mut wire) else {
        panic!("no payload")
    };
    assert_eq!(data.as_ptr() as usize, start + 14);
    assert_eq!((used, data.len()), (100_014, 100_000));
}

#[test]
fn fr_9_the_state_of_a_connection_is_small() {
    assert!(size_of::<Receiver>() <= 320, "{}", size_of::<Receiver>());
}

#[test]
fn fr_10_a_sender_uses_the_shortest_length() {
    for (length, header_len) in [
        (0, 2),
        (125, 2),
        (126, 4),
        (127, 4),
        (65535, 4),
        (65536, 10),
        (1 << 31, 10),
        ((1 << 32) + 1, 10),
        ((1 << 63) - 1, 10),
    ] {
        for (mut sender, role, key) in
            [(Sender::server(), Role::Client, 0), (Sender::client(Keys(1)), Role::Server, 4)]
        {
            let (header, _) = sender.begin(Kind::Binary, Fragment::Whole, length).unwrap();
            assert_eq!(header.len(), header_len + key, "{length}");
            let Ok(Decoded::Done { value, used }) = decode(&header, role, Rsv1::Reserved) else {
                panic!("{length}")
            };
            assert_eq!((value.length, used), (length, header.len()));
        }
    }
}

#[test]
fn fr_10_whole_messages_and_control_frames_are_short_too() {
    let mut wire = Vec::new();
    let mut sender = Sender::server();
    sender.message(Kind::Binary, &[1; 126], &mut wire).unwrap();
    sender.ping(&[2; 125], &mut wire);
    assert_eq!(wire[..4], hex("82 7e 007e"));
    assert_eq!(wire[4 + 126..][..2], hex("89 7d"));
    // What is too long for a control frame is cut, never sent.
    sender.ping(&[2; 300], &mut wire);
    let session = receive(Receiver::new(Role::Client, &Limits::default()), &[&wire]);
    assert_eq!(session.violation, None);
    assert_eq!(session.seen[1..], [Seen::Ping(vec![2; 125]), Seen::Ping(vec![2; 125])]);
}
