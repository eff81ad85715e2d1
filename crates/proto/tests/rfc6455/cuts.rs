//! Events do not depend on how the network cuts the stream.

use anyport_proto::limits::Limits;
use anyport_proto::ws::{Fragment, Kind, Receiver, Role, Sender};
use anyport_testkit::cut_at;
use proptest::prelude::*;

use crate::session::{Keys, binary, frame, ping, receive, server};

/// A header of 14 bytes, cut at each two of its positions: inside the length, the key, and right
/// behind it.
#[test]
fn io_2_a_header_may_be_cut_at_any_two_of_its_positions() {
    for length in [0, 125, 126, 65535, 65536] {
        for (mut sender, role) in
            [(Sender::client(Keys(1)), Role::Server), (Sender::server(), Role::Client)]
        {
            let payload = vec![b'x'; length];
            let mut wire = Vec::new();
            sender.message(Kind::Binary, &payload, &mut wire).unwrap();
            let header = wire.len() - length;
            for first in 0..=header {
                for second in first..=header {
                    let receiver = Receiver::new(role, &Limits::default());
                    let (start, rest) = wire.split_at(second);
                    let (one, two) = start.split_at(first);
                    let session = receive(receiver, &[one, two, rest]);
                    assert_eq!(session.violation, None, "{first} and {second} of {length}");
                    assert!(session.seen == [binary(&payload)], "{first} and {second} of {length}");
                }
            }
            let receiver = Receiver::new(role, &Limits::default());
            let (start, rest) = wire.split_at(header);
            let pieces: Vec<&[u8]> = start.chunks(1).chain([rest]).collect();
            assert!(receive(receiver, &pieces).seen == [binary(&payload)]);
        }
    }
}

#[test]
fn io_6_a_stream_that_ends_inside_a_frame_is_not_at_a_boundary() {
    let wire =
        [frame(Kind::Binary, Fragment::First, b"ab"), frame(Kind::Binary, Fragment::Last, b"cd")]
            .concat();
    for end in 1..wire.len() {
        assert!(!receive(server(), &[&wire[..end]]).at_message_border, "after {end} bytes");
    }
    assert!(receive(server(), &[&wire]).at_message_border);
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
}
