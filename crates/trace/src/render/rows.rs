//! What all renderings show: one row for each event, or for several that repeat each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyport_proto::visible::make_visible;

use super::model::{Detail, Layer, Row, SEEN, is_alarm};
use super::words::duration;
use super::{details, labels};
use crate::event::{Basis, Event, Side, Time, What};
use crate::explain::explain;
use crate::recorder::Trace;
use crate::segment::Segment;

/// Heads, lines and messages of one shape that are shown one by one; further ones are folded.
const SHOWN: usize = 3;

/// Returns the rows of a trace; events that repeat each other are folded over at most `run` of
/// them.
pub(super) fn rows(trace: &Trace, run: usize) -> Vec<Row> {
    let mut builder = Builder::new(trace);
    let mut bulk: Vec<(Key, &Event)> = Vec::new();
    for event in &trace.events {
        if builder.is_shown_otherwise(event) {
            continue;
        }
        match builder.key(event) {
            Some(key) => {
                bulk.push((key, event));
                if bulk.len() >= run {
                    builder.fold(&mut bulk);
                }
            }
            None => {
                builder.fold(&mut bulk);
                builder.single(event);
            }
        }
    }
    builder.fold(&mut bulk);
    // The end of a handshake is later than its event, which is at its beginning.
    builder.rows.sort_by_key(|row| row.at);
    builder.rows
}

/// Events of one key are folded to one row.
type Key = (Option<u32>, Option<Side>, Layer, String);

struct Builder {
    rows: Vec<Row>,
    /// Keys that were shown, with their number.
    shown: BTreeMap<Key, usize>,
    explained: BTreeSet<&'static str>,
    /// Connections of which captured segments show the handshake, and the end.
    with_syn: BTreeSet<Option<u32>>,
    with_end: BTreeSet<Option<u32>>,
    recorded_by: Side,
}

impl Builder {
    fn new(trace: &Trace) -> Self {
        let with = |flags: &[&str]| {
            let has = |what: &What| match what {
                What::Segment(segment) => {
                    segment.flags.iter().any(|flag| flags.contains(&flag.as_str()))
                }
                _ => false,
            };
            let events = trace.events.iter().filter(|event| has(&event.what));
            events.map(|event| event.connection).collect()
        };
        Self {
            rows: Vec::new(),
            shown: BTreeMap::new(),
            explained: BTreeSet::new(),
            with_syn: with(&["SYN"]),
            with_end: with(&["FIN", "RST"]),
            recorded_by: trace.header.recorded_by,
        }
    }

    /// Whether another row shows the same: captured segments have numbers too.
    fn is_shown_otherwise(&self, event: &Event) -> bool {
        match &event.what {
            What::Fin | What::Reset => self.with_end.contains(&event.connection),
            // Nothing was asked for an address.
            What::Resolved { host, .. } => host.parse::<IpAddr>().is_ok(),
            _ => false,
        }
    }

    /// Returns the key of an event that may be folded.
    fn key(&mut self, event: &Event) -> Option<Key> {
        let (kind, shown) = match &event.what {
            What::Content { .. } => (String::new(), 0),
            What::TlsRecords { kind, .. } if kind == "application-data" => (kind.clone(), 0),
            What::Segment(segment) => segment_kind(segment)?,
            What::Frame(frame) => match frame.opcode.as_str() {
                "binary" | "continuation" => ("data".to_owned(), 1),
                "text" if frame.text.is_none() => ("text".to_owned(), 1),
                other => (other.to_owned(), 4 * SHOWN),
            },
            What::Http2(frame) => match frame.kind.as_str() {
                "DATA" | "WINDOW_UPDATE" => (frame.kind.clone(), 0),
                "HEADERS" => (frame.kind.clone(), 2),
                other => (other.to_owned(), SHOWN),
            },
            What::Head { .. } => (String::new(), SHOWN),
            What::Line { .. } => (String::new(), 2 * SHOWN),
            What::Note { .. } | What::AttemptFailed { .. } | What::Attempt { .. } => {
                (String::new(), 4 * SHOWN)
            }
            _ => return None,
        };
        let key = (event.connection, event.from, Layer::of(&event.what), kind);
        let before = self.shown.entry(key.clone()).or_default();
        *before += 1;
        (*before > shown).then_some(key)
    }

    /// Adds one row for each key, in the order of their first events, and empties the run.
    fn fold(&mut self, bulk: &mut Vec<(Key, &Event)>) {
        let mut groups: Vec<Vec<&Event>> = Vec::new();
        let mut places = BTreeMap::new();
        for (key, event) in bulk.drain(..) {
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(event),
                None => groups.push(vec![event]),
            }
        }
        for group in groups {
            match group.as_slice() {
                [single] => self.single(single),
                [first, .., last] => {
                    let label = labels::of_several(&group);
                    let index = self.rows.len();
                    self.row(first, label, Vec::new());
                    if let Some(row) = self.rows.get_mut(index) {
                        row.end = end(last);
                        row.stream = None;
                        row.is_many = true;
                    }
                }
                [] => {}
            }
        }
    }

    fn single(&mut self, event: &Event) {
        match &event.what {
            What::Attempt { address } if !self.with_syn.contains(&event.connection) => {
                let label = format!("SYN to {}", make_visible(address));
                let syn = Event { from: Some(Side::Client), ..event.clone() };
                self.row(&syn, label, Vec::new());
                self.last(|row| (row.is_arrow, row.basis) = (true, Basis::Inferred));
            }
            What::Connected { .. } => self.connected(event),
            _ => {
                let key = (event.connection, event.from, Layer::of(&event.what), String::new());
                let details = details::of(&event.what, &mut |shape| {
                    let key = (key.0, key.1, key.2, format!("details of {shape}"));
                    let count = self.shown.entry(key).or_default();
                    *count += 1;
                    *count == 1
                });
                self.row(event, labels::of_one(event), details);
            }
        }
    }

    /// The second and the third step of the handshake must have happened when it is complete.
    fn connected(&mut self, event: &Event) {
        if self.with_syn.contains(&event.connection) {
            self.row(event, labels::of_one(event), Vec::new());
            // Behind the segments that it follows from.
            return self.last(|row| row.at = row.end);
        }
        let details = details::of(&event.what, &mut |_| true);
        let (server, client) = (Some(Side::Server), Some(Side::Client));
        // A server accepts what has begun before its trace.
        if self.recorded_by == Side::Server {
            self.row(&Event { from: client, ..event.clone() }, "SYN".to_owned(), Vec::new());
            self.last(Row::infer);
        }
        self.row(&Event { from: server, ..event.clone() }, "SYN ACK".to_owned(), Vec::new());
        self.last(Row::infer);
        let took = event.took.map(|took| format!(" after {}", duration(took.0)));
        let label = format!("ACK: connected{}", took.unwrap_or_default());
        self.row(&Event { from: client, ..event.clone() }, label, details);
        self.last(Row::infer);
    }

    fn last(&mut self, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.last_mut() {
            change(row);
        }
    }

    fn row(&mut self, event: &Event, label: String, details: Vec<Detail>) {
        let what = &event.what;
        let explanation = explain(what);
        let is_new = self.explained.insert(explanation.text) && !matches!(what, What::Note { .. });
        let stream = match what {
            What::Http2(frame) => Some(frame.stream),
            _ => None,
        };
        self.rows.push(Row {
            at: event.at,
            end: end(event),
            connection: event.connection,
            from: event.from,
            basis: event.basis,
            layer: Layer::of(what),
            is_arrow: event.from.is_some() && travels(what),
            is_alarm: is_alarm(what),
            is_many: event.took.is_some_and(|took| took.0 >= SEEN),
            label,
            details,
            stream,
            explanation: is_new.then_some(explanation),
        });
    }
}

/// The time at which an event was over.
fn end(event: &Event) -> Time {
    Time(event.at.0.saturating_add(event.took.unwrap_or_default().0))
}

/// Whether it goes from one end to the other one, and is no state of one end.
const fn travels(what: &What) -> bool {
    matches!(
        what,
        What::Segment(_)
            | What::TlsMessage(_)
            | What::TlsRecords { .. }
            | What::Head { .. }
            | What::Frame(_)
            | What::Http2(_)
            | What::Line { .. }
            | What::Content { .. }
            | What::Fin
            | What::Reset
    )
}

/// Kind of a segment that may be folded, and how many are shown before.
fn segment_kind(segment: &Segment) -> Option<(String, usize)> {
    let special = |flag: &String| matches!(flag.as_str(), "SYN" | "FIN" | "RST");
    if segment.flags.iter().any(special) {
        return None;
    }
    Some(match segment.mark() {
        Some(mark) => (labels::mark(mark).to_owned(), 1),
        None if segment.payload > 0 => ("data".to_owned(), 1),
        None => ("ACK".to_owned(), 1),
    })
}
