//! Limits (RFC 6455 §10.4): each on its own, exact, and decided from the header.

use anyport_proto::limits::Limits;
use anyport_proto::ws::{CloseCode, DeflateParameters, Fragment, Kind, Receiver, Role, Violation};

use crate::session::{binary, frame, ping, receive};

/// Frame, message and inflated message are three limits: each refuses where the others would take.
#[test]
fn lm_1_limits_are_independent() {
    let fragments = [
        frame(Kind::Binary, Fragment::First, &[7; 10]),
        ping(b"not counted"),
        frame(Kind::Binary, Fragment::Middle, b""),
        frame(Kind::Binary, Fragment::Last, &[7; 10]),
    ]
    .concat();
    let with = |frame, message, inflated| {
        let mut limits = Limits::default();
        (limits.frame, limits.message, limits.inflated_message) = (frame, message, inflated);
        Receiver::new(Role::Server, &limits)
    };
    assert_eq!(receive(with(10, 20, 0), &[&fragments]).violation, None);
    let broken = Violation::FrameTooLong { announced: 10, limit: 9 };
    assert_eq!(receive(with(9, 1000, 1000), &[&fragments]).violation, Some(broken));
    let broken = Violation::MessageTooLong { announced: 20, limit: 19 };
    assert_eq!(receive(with(1000, 19, 1000), &[&fragments]).violation, Some(broken));

    // "Hello" compressed, with an empty mask: 7 bytes on the wire, 5 inflated.
    let hello = anyport_testkit::hex("c1 87 00000000 f248cdc9c90700");
    let agreed = DeflateParameters::default();
    for (receiver, violation) in [
        (with(7, 0, 5), None),
        (with(7, 0, 4), Some(Violation::InflatedTooLong { limit: 4 })),
        (with(6, 9, 9), Some(Violation::FrameTooLong { announced: 7, limit: 6 })),
    ] {
        assert_eq!(receive(receiver.with_deflate(&agreed), &[&hello]).violation, violation);
    }
}

#[test]
fn lm_1_each_message_is_counted_anew() {
    let limits = Limits::default();
    let receiver = Receiver::new(Role::Server, &limits).with_message_limit(10);
    let wire = frame(Kind::Binary, Fragment::Whole, &[7; 10]).repeat(5);
    assert_eq!(receive(receiver, &[&wire]).seen, [(); 5].map(|()| binary(&[7; 10])));
}

#[test]
fn lm_2_and_3_limits_are_exact_and_decided_from_the_header() {
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
