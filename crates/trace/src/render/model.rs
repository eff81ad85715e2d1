//! The rows that all renderings show.

use std::time::Duration;

use super::words::duration;
use crate::event::{Basis, Side, Time, What};
use crate::explain::{Explanation, PREFACE};
use crate::segment::Mark;

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

    pub(super) fn of(what: &What) -> Self {
        match what {
            What::Head { start, .. } if start == PREFACE => Self::Http2,
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
            What::Failed { .. }
            | What::Hashed { .. }
            | What::Stored { .. }
            | What::Gap { .. }
            | What::Note { .. } => Self::Note,
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
pub(super) const SEEN: Duration = Duration::from_millis(1);

impl Row {
    /// Makes it a message that must have been on its way at the end of its event.
    pub(super) fn infer(&mut self) {
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

/// Whether it is a fault, or a loss.
pub(super) fn is_alarm(what: &What) -> bool {
    match what {
        What::AttemptFailed { .. } | What::Reset | What::Failed { .. } | What::Gap { .. } => true,
        What::Segment(segment) => {
            let is_bad = |mark: &Mark| !matches!(mark, Mark::WindowUpdate | Mark::Probe);
            segment.flags.iter().any(|flag| flag == "RST") || segment.marks.iter().any(is_bad)
        }
        What::WebSocketAccept { equal, .. } => !equal,
        _ => false,
    }
}
