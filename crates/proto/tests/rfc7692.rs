//! permessage-deflate by the rules of RFC 7692 and the PD criteria, over every cut of the stream.
#![expect(clippy::unwrap_used, reason = "tests")]

use anyport_proto::limits::Limits;
use anyport_proto::ws::{
    CloseCode, DeflateParameters, Event, Fragment, KeySource, Kind, Receiver, Role, Sender,
    Violation,
};
use anyport_testkit::{cut_at, every_cut, hex, noise};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

/// Whole messages, and the rule that was broken.
type Session = (Vec<Vec<u8>>, Option<Violation>);

fn receive(mut receiver: Receiver, pieces: &[&[u8]]) -> Session {
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            match receiver.feed(rest) {
                Ok((used, None)) => {
                    assert_eq!(used, rest.len(), "without an event all is taken");
                    break;
                }
                Ok((used, Some(event))) => {
                    if let Event::Data { data, end, .. } = event {
                        message.extend_from_slice(data);
                        if end {
                            messages.push(std::mem::take(&mut message));
                        }
                    }
                    rest = &mut std::mem::take(&mut rest)[used..];
                }
                Err(violation) => {
                    assert_eq!(receiver.feed(&mut [0]), Err(violation), "terminal");
                    return (messages, Some(violation));
                }
            }
        }
    }
    assert_eq!(message, b"", "no message was begun and not ended");
    (messages, None)
}

const TAKEOVER: DeflateParameters = DeflateParameters {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: None,
};

/// Receives what a server sends.
fn client() -> Receiver {
    Receiver::new(Role::Client, &Limits::default()).with_deflate(&TAKEOVER)
}

#[track_caller]
fn tells(wire: &[u8], expected: &[&[u8]]) {
    every_cut(wire, |pieces| {
        let (messages, violation) = receive(client(), pieces);
        assert_eq!(violation, None);
        assert_eq!(messages, expected);
    });
}

#[track_caller]
fn refuses(wire: &[u8], violation: Violation, code: CloseCode) {
    every_cut(wire, |pieces| assert_eq!(receive(client(), pieces).1, Some(violation)));
    assert_eq!(violation.close_code(), code);
}

/// A server's frame around compressed payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut header, _) = Sender::server()
        .begin(Kind::Binary, Fragment::Whole, payload.len() as u64)
        .map(|(header, mask)| (header.to_vec(), mask))
        .unwrap();
    header[0] = first;
    [&header, payload].concat()
}

/// Whole binary message, compressed.
const COMPRESSED: u8 = 0xc2;

/// Payload as another compressor than ours makes it.
fn deflated(message: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    Compress::new(Compression::new(level), false).compress_vec(message, &mut out, flush).unwrap();
    match out.strip_suffix(&[0, 0, 0xff, 0xff]) {
        Some(payload) if matches!(flush, FlushCompress::Sync) => payload.to_vec(),
        _ => out,
    }
}

struct Keys(u64);
impl KeySource for Keys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0 += 1;
        noise(4, self.0).try_into().unwrap()
    }
}

#[test]
fn section_7_2_3_examples() {
    // One block; two fragments; a block without compression; a block with BFINAL; two blocks.
    for wire in [
        "c1 07 f248cdc9c90700",
        "41 03 f248cd 80 04 c9c90700",
        "c1 0b 000500faff48656c6c6f00",
        "c1 08 f348cdc9c9070000",
        "c1 0d f248050000 00ffffcac9c90700",
    ] {
        tells(&hex(wire), &[b"Hello"]);
    }
    // The window is shared by messages.
    tells(&hex("c1 07 f248cdc9c90700 c1 05 f200110000"), &[b"Hello", b"Hello"]);
}

#[test]
fn pd_4_rsv1_on_continuation_and_control_frames_is_refused_with_1002() {
    let start = "41 03 f248cd";
    for second in ["c0 04 c9c90700", "c9 00", "c8 00"] {
        let wire = hex(&format!("{start} {second}"));
        refuses(&wire, Violation::ReservedBits(0b100), CloseCode::PROTOCOL_ERROR);
    }
    let without = Receiver::new(Role::Client, &Limits::default());
    let (_, violation) = receive(without, &[&hex("c1 07 f248cdc9c90700")]);
    assert_eq!(violation, Some(Violation::ReservedBits(0b100)));
}

#[test]
fn pd_4_a_ping_may_come_between_compressed_fragments() {
    tells(&hex("41 03 f248cd 89 01 21 80 04 c9c90700"), &[b"Hello"]);
    // The payload ends with the first fragment, the message with an empty one.
    tells(&hex("41 07 f248cdc9c90700 00 00 80 00"), &[b"Hello"]);
}

#[test]
fn pd_5_an_empty_message_is_a_zero_byte() {
    tells(&hex("c1 01 00 c1 07 f248cdc9c90700 c1 01 00"), &[b"", b"Hello", b""]);
    refuses(&hex("c1 00"), Violation::NotDeflate, CloseCode::INVALID_DATA);
}

#[test]
fn pd_6_blocks_with_bfinal_end_neither_message_nor_context() {
    let hello = hex("f348cdc9c90700");
    let thrice = [&hello[..], &hello, &hello, &[0]].concat();
    tells(&frame(COMPRESSED, &thrice), &[b"HelloHelloHello"]);
    // Later messages may refer to earlier ones: here to "Hello" of the message before.
    let second = hex("c1 05 f200110000");
    tells(
        &[frame(COMPRESSED, &[&hello[..], &[0]].concat()), second].concat(),
        &[b"Hello", b"Hello"],
    );
    // Nothing behind the final block, and a final block that is the empty one whose tail was left
    // away.
    tells(&frame(COMPRESSED, &hello), &[b"Hello"]);
    tells(&frame(COMPRESSED, &hex("f248cdc9c907 04")), &[b"Hello"]);
    let long = noise(300_000, 1);
    let finished = deflated(&long, 6, FlushCompress::Finish);
    let wire = frame(COMPRESSED, &[&finished[..], &finished, &[0]].concat());
    assert_eq!(receive(client(), &[&wire]), (vec![[&long[..], &long].concat()], None));
}

#[test]
fn pd_7_context_is_kept_or_reset_as_negotiated() {
    let second = hex("c1 07 f248cdc9c90700 c1 05 f200110000");
    let forgetful = DeflateParameters { server_no_context_takeover: true, ..TAKEOVER };
    let receiver = Receiver::new(Role::Client, &Limits::default()).with_deflate(&forgetful);
    let (messages, violation) = receive(receiver, &[&second]);
    assert_eq!((messages, violation), (vec![b"Hello".to_vec()], Some(Violation::NotDeflate)));

    let text = b"the same words again and again, the same words again and again".repeat(3);
    let sizes = |agreed: &DeflateParameters| {
        let mut sender = Sender::server().with_deflate(agreed);
        [(); 2].map(|()| {
            let mut wire = Vec::new();
            sender.message(Kind::Text, &text, &mut wire).unwrap();
            wire.len()
        })
    };
    let [first, second] = sizes(&TAKEOVER);
    assert!(second < first, "{second} of {first} bytes");
    let [first, second] = sizes(&forgetful);
    assert_eq!(first, second);
}

#[test]
fn pd_7_uncompressed_messages_may_come_between_compressed_ones() {
    tells(&hex("c1 07 f248cdc9c90700 81 02 6869 c1 05 f200110000"), &[b"Hello", b"hi", b"Hello"]);
}

#[test]
fn pd_8_a_bomb_is_refused_at_the_limit_and_a_message_of_the_limit_is_accepted() {
    let mut limits = Limits::default();
    limits.inflated_message = 100_000;
    let receiver = || Receiver::new(Role::Client, &limits).with_deflate(&TAKEOVER);
    let zeros = |count| frame(COMPRESSED, &deflated(&vec![0; count], 9, FlushCompress::Sync));
    let (messages, violation) = receive(receiver(), &[&zeros(100_000)]);
    assert_eq!((messages[0].len(), violation), (100_000, None));
    let broken = Violation::InflatedTooLong { limit: 100_000 };
    for bomb in [zeros(100_001), zeros(10_000_000)] {
        let cuts = [1, bomb.len() / 2];
        for pieces in [vec![&bomb[..]], cut_at(&bomb, &cuts)] {
            assert_eq!(receive(receiver(), &pieces), (vec![], Some(broken)));
        }
    }
    assert_eq!(broken.close_code(), CloseCode::TOO_BIG);
    // The rest of a bomb need not come: what is there is inflated up to the limit at once.
    assert_eq!(receive(receiver(), &[&zeros(10_000_000)[..200]]).1, Some(broken));
    // Bytes that inflate to nothing are bounded, too, by what the headers announce.
    let announced = frame(COMPRESSED, &[0; 201_025]);
    let (_, violation) = receive(receiver(), &[&announced[..10]]);
    assert_eq!(violation, Some(Violation::MessageTooLong { announced: 201_025, limit: 201_024 }));
}

#[test]
fn pd_9_garbage_and_messages_that_end_inside_a_block_are_refused_with_1007() {
    for payload in
        ["ff", "f248cdc9c9", "f248cdc9", "07", "000500faff4865", "f248cdc9c907000000ffff"]
    {
        let wire = frame(COMPRESSED, &hex(payload));
        refuses(&wire, Violation::NotDeflate, CloseCode::INVALID_DATA);
    }
    // Refused when it shows, not when the message ends.
    let mut open = frame(0x42, &hex("ff ff ff"));
    open.extend_from_slice(&[0x00, 0x7e]);
    refuses(&open, Violation::NotDeflate, CloseCode::INVALID_DATA);
    // A reference to before the first byte.
    refuses(&hex("c1 05 f200110000"), Violation::NotDeflate, CloseCode::INVALID_DATA);
}

#[test]
fn pd_10_text_is_checked_as_it_is_inflated() {
    let bad = deflated(b"good \xff and a long rest", 6, FlushCompress::Sync);
    refuses(&frame(0xc1, &bad), Violation::NotUtf8, CloseCode::INVALID_DATA);
    tells(&frame(COMPRESSED, &bad), &[b"good \xff and a long rest"]);
    let cut = deflated("é".repeat(3).as_bytes().split_last().unwrap().1, 6, FlushCompress::Sync);
    refuses(&frame(0xc1, &cut), Violation::NotUtf8, CloseCode::INVALID_DATA);
    // Before the rest arrives: stored bytes are inflated as they come.
    let stored = deflated(b"good \xff and a long rest", 0, FlushCompress::Sync);
    let wire = frame(0xc1, &stored);
    let upto = wire.windows(5).position(|bytes| bytes == b"good ").unwrap() + 6;
    assert_eq!(receive(client(), &[&wire[..upto]]).1, Some(Violation::NotUtf8));
}

#[test]
fn pd_11_no_memory_is_allocated_before_the_first_compressed_message() {
    assert!(size_of::<Receiver>() <= 336, "{}", size_of::<Receiver>());
    assert!(size_of::<Sender>() <= 48, "{}", size_of::<Sender>());
}

#[test]
fn pd_3_a_sender_that_cannot_keep_the_window_does_not_compress() {
    let small = DeflateParameters { client_max_window_bits: Some(8), ..TAKEOVER };
    assert!(!Sender::client(Keys(1)).with_deflate(&small).compresses());
    assert!(Sender::server().with_deflate(&small).compresses());
}

#[test]
fn pd_3_negotiated_windows_are_respected() {
    // 600 random bytes twice: a window of 512 bytes cannot see the first copy, one of 1024 can.
    let half = noise(600, 3);
    let message = [&half[..], &half].concat();
    let size = |bits| {
        let agreed = DeflateParameters { server_max_window_bits: Some(bits), ..TAKEOVER };
        let mut wire = Vec::new();
        Sender::server().with_deflate(&agreed).message(Kind::Binary, &message, &mut wire).unwrap();
        wire.len()
    };
    assert!(size(9) > 1200, "{}", size(9));
    assert!(size(11) < 800, "{}", size(11));
}

fn any_parameters() -> impl Strategy<Value = DeflateParameters> {
    let bits = || prop::option::of(9..=15_u8);
    (any::<bool>(), any::<bool>(), bits(), bits()).prop_map(|(server, client, ours, theirs)| {
        DeflateParameters {
            server_no_context_takeover: server,
            client_no_context_takeover: client,
            server_max_window_bits: ours,
            client_max_window_bits: theirs,
        }
    })
}

/// Messages that compress and messages that do not, with what they share.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[a-d ]{0,300}".prop_map(String::into_bytes),
        (0..200_000_usize, any::<u64>()).prop_map(|(length, seed)| noise(length, seed)),
        (0..200_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What one end compresses, the other inflates to the same, with any agreement and any cut,
    /// both ways.
    #[test]
    fn io_1_compressed_messages_arrive_as_sent(
        agreed in any_parameters(),
        messages in prop::collection::vec(any_message(), 0..6),
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let roles = [(Sender::client(Keys(1)), Role::Server), (Sender::server(), Role::Client)];
        for (sender, role) in roles {
            let mut sender = sender.with_deflate(&agreed);
            let mut wire = Vec::new();
            for message in &messages {
                sender.message(Kind::Binary, message, &mut wire).unwrap();
                sender.ping(b"?", &mut wire);
            }
            let receiver = Receiver::new(role, &Limits::default()).with_deflate(&agreed);
            prop_assert_eq!(receive(receiver, &cut_at(&wire, &places)), (messages.clone(), None));
        }
    }

    /// For any compressed payload: the result does not depend on the segmentation, and nothing
    /// panics.
    #[test]
    fn io_1_compressed_garbage_gives_the_same_error_in_every_segmentation(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        prefix in "[a-c]{0,100}",
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut good = deflated(prefix.as_bytes(), 6, FlushCompress::Sync);
        good.extend_from_slice(&payload);
        let wire = frame(0xc1, &good);
        let whole = receive(client(), &[&wire]);
        prop_assert_eq!(&receive(client(), &cut_at(&wire, &places)), &whole);
        prop_assert_eq!(receive(client(), &wire.chunks(1).collect::<Vec<_>>()), whole);
    }
}
