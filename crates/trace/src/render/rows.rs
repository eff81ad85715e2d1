//! What all renderings show: one row for each event, or for several that repeat each other.

use std::collections::BTreeSet;
use std::time::Duration;

use anyport_proto::visible::make_visible;

use super::words::{duration, grouped};
use super::{details, labels};
use crate::event::{Basis, Event, Side, Time, What};
use crate::explain::{Explanation, explain};
use crate::recorder::Trace;
use crate::segment::{Mark, Segment};

/// The layer that an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Name,
    Tcp,
    Tls,
    Http,
    WebSocket,
    Http2,
    Preface,
    Content,
    Note,
}

impl Layer {
    /// From the bottom to the top.
    pub(super) const ALL: [Self; 9] = [
        Self::Name,
        Self::Tcp,
        Self::Tls,
        Self::Http,
        Self::WebSocket,
        Self::Http2,
        Self::Preface,
        Self::Content,
        Self::Note,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "names",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::WebSocket => "WebSocket",
            Self::Http2 => "HTTP/2",
            Self::Preface => "anyport lines",
            Self::Content => "content",
            Self::Note => "remarks",
        }
    }

    /// At most 6 characters.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Name => "DNS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::WebSocket => "WS",
            Self::Http2 => "HTTP/2",
            Self::Preface => "line",
            Self::Content => "data",
            Self::Note => "",
        }
    }

    /// The name that style sheets use.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Name => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::WebSocket => "ws",
            Self::Http2 => "h2",
            Self::Preface => "line",
            Self::Content => "data",
            Self::Note => "note",
        }
    }

    pub(super) const fn of(what: &What) -> Self {
        match what {
            What::Resolved { .. } => Self::Name,
            What::Attempt { .. }
            | What::AttemptFailed { .. }
            | What::Connected { .. }
            | What::Segment(_)
            | What::Syn(_)
            | What::Fin
            | What::Reset => Self::Tcp,
            What::TlsMessage(_) | What::TlsRecords { .. } | What::TlsDone { .. } => Self::Tls,
            What::Head { .. } => Self::Http,
            What::WebSocketAccept { .. } | What::Frame(_) => Self::WebSocket,
            What::Http2(_) => Self::Http2,
            What::Line { .. } => Self::Preface,
            What::Content { .. } => Self::Content,
            What::Failed { .. } | What::Note { .. } => Self::Note,
        }
    }
}

/// What stands below a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Detail {
    /// A name and its value.
    Pair(String, String),
    /// Parts of a header: the bytes, their bits, their meaning.
    Bits(Vec<[String; 3]>),
}

/// One line of a rendering. All texts are visible characters only.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) at: Time,
    /// The end of the last event of a folded row, or of the event.
    pub(super) end: Time,
    pub(super) connection: Option<u32>,
    pub(super) from: Option<Side>,
    pub(super) basis: Basis,
    pub(super) layer: Layer,
    /// Whether something travels from one end to the other one.
    pub(super) is_arrow: bool,
    /// Whether it is a fault, or a loss.
    pub(super) is_alarm: bool,
    /// Whether it stands for several messages, or for one that took its time.
    pub(super) is_many: bool,
    pub(super) label: String,
    pub(super) details: Vec<Detail>,
    pub(super) stream: Option<u32>,
    /// Set at the first row of each kind.
    pub(super) explanation: Option<Explanation>,
}

/// A time that an arrow has in its label.
const SEEN: Duration = Duration::from_millis(1);

impl Row {
    /// Makes it a message that must have been on its way at the end of its event.
    fn infer(&mut self) {
        (self.is_arrow, self.is_many) = (true, false);
        (self.basis, self.at) = (Basis::Inferred, self.end);
    }

    /// Returns the label, and how long it took if that is worth a word.
    pub(super) fn label_with_time(&self) -> String {
        let took = self.end.0.saturating_sub(self.at.0);
        match self.is_arrow && took >= SEEN {
            true => format!("{}, in {}", self.label, duration(took)),
            false => self.label.clone(),
        }
    }
}

/// Heads, lines and messages of one shape that are shown one by one; further ones are folded.
const SHOWN: usize = 3;

/// Returns the rows of a trace; events that repeat each other are folded over at most `run` of
/// them.
pub(super) fn rows(trace: &Trace, run: usize) -> Vec<Row> {
    let mut builder = Builder::new(trace);
    let mut bulk: Vec<(Key, &Event)> = Vec::new();
    for event in &trace.events {
        if builder.is_shown_otherwise(&event.what) {
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
    shown: std::collections::BTreeMap<Key, usize>,
    explained: BTreeSet<&'static str>,
    /// Whether captured segments show the handshakes and ends of connections.
    has_segments: bool,
}

impl Builder {
    fn new(trace: &Trace) -> Self {
        let any = |is: fn(&What) -> bool| trace.events.iter().any(|event| is(&event.what));
        Self {
            rows: Vec::new(),
            shown: std::collections::BTreeMap::new(),
            explained: BTreeSet::new(),
            has_segments: any(|what| matches!(what, What::Segment(_))),
        }
    }

    /// A captured segment shows the same, with its numbers.
    const fn is_shown_otherwise(&self, what: &What) -> bool {
        self.has_segments && matches!(what, What::Fin | What::Reset)
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
        let mut groups: Vec<(Key, Vec<&Event>)> = Vec::new();
        for (key, event) in bulk.drain(..) {
            match groups.iter_mut().find(|(other, _)| *other == key) {
                Some((_, group)) => group.push(event),
                None => groups.push((key, vec![event])),
            }
        }
        for (_, group) in groups {
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
            What::Attempt { address } if !self.has_segments => {
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
        if self.has_segments {
            return self.row(event, labels::of_one(event), Vec::new());
        }
        let details = details::of(&event.what, &mut |_| true);
        let (server, client) = (Some(Side::Server), Some(Side::Client));
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

pub(super) fn is_alarm(what: &What) -> bool {
    match what {
        What::AttemptFailed { .. } | What::Reset | What::Failed { .. } => true,
        What::Segment(segment) => {
            let is_bad = |mark: &Mark| !matches!(mark, Mark::WindowUpdate | Mark::Probe);
            segment.flags.iter().any(|flag| flag == "RST") || segment.marks.iter().any(is_bad)
        }
        What::WebSocketAccept { equal, .. } => !equal,
        _ => false,
    }
}

/// Kind of a segment that may be folded, and how many are shown before.
fn segment_kind(segment: &Segment) -> Option<(String, usize)> {
    let special = |flag: &String| matches!(flag.as_str(), "SYN" | "FIN" | "RST");
    if segment.flags.iter().any(special) {
        return None;
    }
    Some(match segment.marks.first() {
        Some(mark) => (labels::mark(*mark).to_owned(), 1),
        None if segment.payload > 0 => ("data".to_owned(), 1),
        None => ("ACK".to_owned(), 1),
    })
}

/// A number with its unit, the unit in the plural unless it is one.
pub(super) fn count(number: u64, unit: &str) -> String {
    format!("{} {unit}{}", grouped(number), if number == 1 { "" } else { "s" })
}
