//! The law of traces.

use anyport_trace::{Event, Limits, Protocol, Recorder, Side, Tap, Time};

/// Checks that the events of a connection are the same in every segmentation, and that any bytes in
/// both directions, above and below TLS, are decoded or counted.
///
/// The first byte chooses the protocol and the segmentation. Then each piece begins with a byte:
/// its direction, whether it is under TLS, and its length.
pub fn trace(input: &[u8]) {
    let (first, script) = input.split_first().unwrap_or((&0, &[]));
    let protocol = match first % 3 {
        0 => Protocol::Preface,
        1 => Protocol::Http,
        _ => Protocol::Frames,
    };
    let step = usize::from(first / 3) % 64 + 1;
    assert_eq!(events(protocol, script, step), events(protocol, script, usize::MAX));
}

fn events(protocol: Protocol, mut script: &[u8], step: usize) -> Vec<Event> {
    let recorder = Recorder::new(Limits { payload: 16, ..Limits::default() });
    let tap = Tap::new(&recorder, Side::Client, protocol);
    while let Some((head, rest)) = script.split_first() {
        let length = usize::from(head >> 3) * 8;
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        script = rest;
        for bytes in piece.chunks(step) {
            match head & 0b111 {
                0..=2 => tap.sent(bytes),
                3..=5 => tap.received(bytes),
                6 => tap.wire(Side::Client, bytes),
                _ => tap.wire(Side::Server, bytes),
            }
        }
    }
    let mut events = recorder.finish().events;
    for event in &mut events {
        (event.at, event.took) = (Time::default(), None);
    }
    events
}
