//! Measurements over time: round-trip time, congestion window, rate.

use std::time::Duration;

use anyport_proto::transfer::units::{format_bytes, format_rate};

use super::words::{duration, grouped};
use crate::event::Time;
use crate::explain::{self, Explanation};
use crate::recorder::Trace;
use crate::sample::Sample;

/// The unit of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Microseconds,
    Segments,
    Bytes,
    Rate,
}

/// One measurement over time.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// The name that style sheets use.
    pub(super) class: &'static str,
    unit: Unit,
    pub(super) explanation: Explanation,
    pub(super) points: Vec<(Time, f64)>,
}

/// The classes of all curves.
#[cfg(test)]
pub(super) const CLASSES: [&str; 5] = ["rtt", "cwnd", "window", "unread", "rate"];

/// Connections with samples that are shown.
const CONNECTIONS: usize = 4;

/// A measurement: its name, its class, its unit, its value in a sample, and its meaning.
type Kind = (&'static str, &'static str, Unit, Value, Explanation);

/// A value of a sample.
type Value = fn(&Sample) -> Option<u64>;

const RTT: Kind =
    ("round trip", "rtt", Unit::Microseconds, |sample| sample.rtt_us, explain::ROUND_TRIP);

const CWND: Kind =
    ("cwnd", "cwnd", Unit::Segments, |sample| sample.cwnd, explain::CONGESTION_WINDOW);

const PEER_WINDOW: Kind =
    ("peer's window", "window", Unit::Bytes, |sample| sample.peer_window, explain::PEER_WINDOW);

const SPACE: Kind =
    ("receive space", "window", Unit::Bytes, |sample| sample.receive_space, explain::RECEIVE_SPACE);

const UNREAD: Kind = ("unread here", "unread", Unit::Bytes, unread, explain::UNREAD);

/// Unread bytes; a program that has read everything has no curve.
fn unread(sample: &Sample) -> Option<u64> {
    sample.unread.filter(|unread| *unread > 0)
}

/// Returns the curves of each connection that has at least two samples.
pub(super) fn curves(trace: &Trace) -> Vec<(u32, Vec<Curve>)> {
    let mut numbers: Vec<u32> = trace.samples.iter().map(|sample| sample.connection).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let of = |number| {
        let samples: Vec<_> =
            trace.samples.iter().filter(|sample| sample.connection == number).collect();
        // The windows of this end limit what it sends; the server has those of a download.
        let kinds: &[Kind] = match is_download(&samples) {
            true => &[RTT, SPACE, UNREAD],
            false => &[RTT, CWND, PEER_WINDOW, UNREAD],
        };
        let made = kinds.iter().map(|&(name, class, unit, value, explanation)| {
            let point = |sample: &&Sample| Some((sample.at, value(sample)? as f64));
            let points = samples.iter().filter_map(point).collect();
            Curve { name, class, unit, explanation, points }
        });
        let mut curves: Vec<_> = made.chain([rate(&samples)]).collect();
        curves.retain(|curve| curve.points.len() > 1);
        (number, curves)
    };
    let all = numbers.into_iter().map(of).filter(|(_, curves)| !curves.is_empty());
    all.take(CONNECTIONS).collect()
}

/// The value of the last sample that has one.
fn last(samples: &[&Sample], value: Value) -> u64 {
    samples.iter().rev().find_map(|sample| value(sample)).unwrap_or(0)
}

/// Whether more bytes were received than sent, beyond a few lines.
fn is_download(samples: &[&Sample]) -> bool {
    let received = last(samples, |sample| sample.received);
    received >= WORTH && received > last(samples, |sample| sample.acked)
}

/// Bytes below which the rate is that of a few lines: noise.
const WORTH: u64 = 1 << 16;

/// Rate of acknowledged bytes, or of received ones in a download.
fn rate(samples: &[&Sample]) -> Curve {
    let (value, explanation): (Value, _) = match is_download(samples) {
        true => (|sample| sample.received, explain::RECEIVING_RATE),
        false => (|sample| sample.acked, explain::SENDING_RATE),
    };
    let is_worth = last(samples, value) >= WORTH;
    let samples = if is_worth { samples } else { &[] };
    let steps = samples.windows(2).filter_map(|pair| {
        let [before, now] = pair else { return None };
        let bytes = value(now)?.checked_sub(value(before)?)?;
        let took = now.at.0.saturating_sub(before.at.0);
        // Samples at events may be so close that their difference means nothing.
        (took >= Duration::from_micros(500)).then(|| (now.at, bytes as f64 / took.as_secs_f64()))
    });
    let points = steps.collect();
    Curve { name: "rate", class: "rate", unit: Unit::Rate, explanation, points }
}

/// Heights of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Curve {
    /// The time from the first point of all to the last one.
    pub(super) fn span(curves: &[Self]) -> Option<(Time, Time)> {
        let times = || curves.iter().flat_map(|curve| &curve.points).map(|(at, _)| *at);
        Some((times().min()?, times().max()?))
    }

    /// The lowest and the highest value.
    pub(super) fn range(&self) -> (f64, f64) {
        let values = || self.points.iter().map(|(_, value)| *value);
        (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
    }

    /// A value with its unit.
    pub(super) fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Microseconds => duration(Duration::from_micros(value as u64)),
            Unit::Segments => format!("{} segments", grouped(value as u64)),
            Unit::Bytes => format_bytes(value as u64),
            Unit::Rate => format_rate(value),
        }
    }

    /// The lowest and the highest value with their unit.
    pub(super) fn show_range(&self, low: f64, high: f64) -> String {
        match [low, high].map(|value| self.show(value)) {
            [low, high] if low == high => low,
            [low, high] => match (low.split_once(' '), high.split_once(' ')) {
                (Some((number, unit)), Some((_, other))) if unit == other => {
                    format!("{number} to {high}")
                }
                _ => format!("{low} to {high}"),
            },
        }
    }

    /// One character for each part of the time: the highest value in it, or the one before.
    pub(super) fn sparkline(&self, from: Time, to: Time, columns: usize) -> String {
        let span = to.0.saturating_sub(from.0).as_secs_f64().max(1e-9);
        let mut highest = vec![None::<f64>; columns];
        for (at, value) in &self.points {
            let share = at.0.saturating_sub(from.0).as_secs_f64() / span;
            let place = ((share * columns as f64) as usize).min(columns - 1);
            if let Some(cell) = highest.get_mut(place) {
                *cell = Some(cell.map_or(*value, |before| before.max(*value)));
            }
        }
        let top = self.range().1.max(1e-9);
        let bar = |value: f64| BARS.get((value / top * 7.0).round() as usize).copied();
        let mut before = None;
        let cells = highest.into_iter().map(|value| {
            before = value.or(before);
            before.and_then(bar).unwrap_or(' ')
        });
        cells.collect()
    }
}
