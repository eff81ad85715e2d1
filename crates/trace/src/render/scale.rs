//! The axis of time: handshakes and ends have room even beside a long transfer.

use super::words::duration;
use crate::event::{Event, Time, What};
use crate::recorder::Trace;
use std::time::Duration;

/// A part of the axis, within which it is linear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) name: &'static str,
    from: f64,
    to: f64,
    pub(super) x: (f64, f64),
}

/// Ticks of one piece at most: a label needs room.
const TICKS: u8 = 32;

/// Times in seconds to user units.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) pieces: Vec<Piece>,
}

/// Smallest shares of the setup, the transfer and the end.
const SHARES: [f64; 3] = [0.25, 0.3, 0.12];

/// Largest share of the setup and of the end: beside them a short transfer has room too.
const MOST: f64 = 0.35;

impl Scale {
    pub(super) fn of(trace: &Trace, (left, right): (f64, f64)) -> Self {
        // A remark is no part of the transfer: that of the capture is recorded long after its end.
        let is_timed = |event: &&Event| !matches!(event.what, What::Note { .. });
        let times = || {
            let events = trace.events.iter().filter(is_timed);
            let events = events.flat_map(|event| [seconds(event.at), end(event)]);
            events.chain(trace.samples.iter().map(|sample| seconds(sample.at)))
        };
        let (first, last) = bounds(times()).unwrap_or((0.0, 1.0));
        let content = trace.events.iter().filter(|event| is_content(&event.what));
        let content = bounds(content.flat_map(|event| [seconds(event.at), end(event)]));
        let last = last.max(first + 1e-6);
        let (from, mut to) = content.map_or((first, last), |(from, to)| (from, to.max(from)));
        // Content of one piece has no duration: the transfer lasts until what follows it.
        if to <= from {
            let later = times().filter(|at| *at > from);
            to = later.fold(last, f64::min);
        }
        let names = ["setup", "transfer", "end"];
        let times = [(first, from), (from, to), (to, last)];
        let mut shares = [0.0; 3];
        for ((share, least), (from, to)) in shares.iter_mut().zip(SHARES).zip(times) {
            if to > from {
                *share = ((to - from) / (last - first)).max(least);
            }
        }
        if shares[1] > 0.0 {
            shares[0] = shares[0].min(MOST);
            shares[2] = shares[2].min(MOST);
        }
        let total: f64 = shares.iter().sum();
        let mut x = left;
        let mut pieces = Vec::new();
        for ((name, (from, to)), share) in names.into_iter().zip(times).zip(shares) {
            if share > 0.0 {
                let next = x + share / total * (right - left);
                pieces.push(Piece { name, from, to, x: (x, next) });
                x = next;
            }
        }
        Self { pieces }
    }

    pub(super) fn x(&self, at: Time) -> f64 {
        self.place(seconds(at))
    }

    /// Returns the width of a span at a place.
    pub(super) fn width(&self, span: Duration, x: f64) -> f64 {
        let piece = self.pieces.iter().find(|piece| x <= piece.x.1).or_else(|| self.pieces.last());
        piece.map_or(0.0, |piece| {
            span.as_secs_f64() * (piece.x.1 - piece.x.0) / (piece.to - piece.from)
        })
    }

    fn place(&self, at: f64) -> f64 {
        let piece = self.pieces.iter().find(|piece| at <= piece.to).or_else(|| self.pieces.last());
        piece.map_or(0.0, |piece| {
            let share = (at - piece.from) / (piece.to - piece.from);
            piece.x.0 + share.clamp(0.0, 1.0) * (piece.x.1 - piece.x.0)
        })
    }

    /// Round times within each piece, with their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        for piece in &self.pieces {
            let room = ((piece.x.1 - piece.x.0) / 80.0).max(1.0);
            let rough = (piece.to - piece.from) / room;
            let power = 10_f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0]
                .map(|factor| factor * power)
                .into_iter()
                .find(|step| *step >= rough)
                .unwrap_or(rough);
            let first = (piece.from / step).ceil();
            // Counted, as adding 1 changes no large number.
            let times = (0..TICKS).map(|index| (first + f64::from(index)) * step);
            for at in times.take_while(|at| *at <= piece.to) {
                let x = self.place(at);
                if ticks.last().is_none_or(|(before, _): &(f64, String)| x - before > 50.0) {
                    ticks.push((x, label(at)));
                }
            }
        }
        ticks
    }

    /// Where the axis changes its scale.
    pub(super) fn breaks(&self) -> Vec<f64> {
        self.pieces.iter().skip(1).map(|piece| piece.x.0).collect()
    }
}

impl Piece {
    pub(super) fn took(&self) -> String {
        span(self.to - self.from)
    }
}

fn label(at: f64) -> String {
    if at <= 0.0 { "0".to_owned() } else { span(at) }
}

/// Seconds in words. Two times of a saved trace may add up to more than a duration holds.
fn span(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

fn seconds(at: Time) -> f64 {
    at.0.as_secs_f64()
}

fn end(event: &Event) -> f64 {
    seconds(event.at) + seconds(event.took.unwrap_or_default())
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// Whether files are moved by it.
pub(super) fn is_content(what: &What) -> bool {
    match what {
        What::Content { bytes, .. } => *bytes > 0,
        What::Frame(frame) => matches!(frame.opcode.as_str(), "binary" | "continuation"),
        What::Http2(frame) => frame.kind == "DATA",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples;

    #[test]
    fn the_axis_is_monotonous_and_gives_each_part_room() {
        for trace in [examples::websocket(), examples::http2(), examples::lossy()] {
            let scale = Scale::of(&trace, (100.0, 900.0));
            let places: Vec<_> = trace.events.iter().map(|event| scale.x(event.at)).collect();
            assert!(places.is_sorted(), "{places:?}");
            assert!(scale.pieces.iter().all(|piece| piece.x.1 - piece.x.0 > 60.0), "{scale:?}");
            let ticks = scale.ticks();
            assert!((3..20).contains(&ticks.len()), "{ticks:?}");
        }
        let empty = Scale::of(&Trace::default(), (0.0, 1.0));
        assert!(empty.x(Time::default()).is_finite());
    }
    /// A handshake of 9 ms, 7 bytes within a moment, and a remark long after it.
    #[test]
    fn a_short_transfer_has_room_beside_its_handshake() {
        let mut trace = examples::websocket();
        trace.samples.clear();
        trace.events.retain(|event| !matches!(event.what, What::Frame(_)));
        let event = |us, what| {
            let at = Time(Duration::from_micros(us));
            Event { at, took: None, what, ..trace.events[0].clone() }
        };
        let content = What::Content { bytes: 7, payload: None };
        let note = What::Note { text: "captured 9 segments".to_owned() };
        trace.events.extend([event(9_000, content), event(9_400, What::Fin), event(90_000, note)]);
        let scale = Scale::of(&trace, (0.0, 1000.0));
        let names: Vec<_> = scale.pieces.iter().map(|piece| piece.name).collect();
        assert_eq!(names, ["setup", "transfer"]);
        let (setup, transfer) = (scale.pieces[0], scale.pieces[1]);
        assert!(setup.x.1 - setup.x.0 < 600.0, "{scale:?}");
        assert!((transfer.to - 0.0094).abs() < 1e-9, "{scale:?}");
    }
}
