//! Protocol detection: the precedence table over the first bytes of a connection
//! (docs/PROTOCOLS.md).
//!
//! Detection is a pure function of the bytes. Two laws hold, and both are property tests: the
//! result does not depend on the segmentation of the stream, and a known result never changes when
//! bytes are added. Deadline and end of stream are inputs of [`decide`], which also returns the
//! reason; [`detect_at_end`] returns only the result at the end of the stream.
//!
//! ```text
//!   prefix ──► tls, http2, http1, preface, ws_frame, proxy   the first probe but "no" decides:
//!                "yes"   ──► Known(its protocol)
//!                "more"  ──► NeedMore
//!              all "no"  ──► Known(Raw)
//! ```

pub use allowed::{Allowed, ProtocolName, UnknownProtocol};
pub use reason::{Candidates, Reason};

use std::fmt;

use crate::limits::Limits;
use crate::proxy_protocol::MAX_V1;

mod allowed;
mod http1;
mod http2;
mod preface;
mod proxy;
mod reason;
mod tls;
mod ws_frame;

/// The detected protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DetectedProtocol {
    /// A TLS ClientHello (RFC 8446 §4.1.2).
    Tls,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// An HTTP/1.0 or HTTP/1.1 request line (RFC 9112 §3); its head may still be refused.
    Http1,
    /// The preface of anyport: `ANYPORT/` and a version, which may still be refused.
    Preface,
    /// A possible masked WebSocket frame without a handshake. Raw until confirmed: a file may begin
    /// like this too.
    FrameCandidate,
    /// A PROXY protocol header, version 1 or 2, in front of another protocol.
    Proxy,
    /// Raw bytes: a file, or any other data.
    Raw,
}

impl DetectedProtocol {
    /// All protocols, in the order of their precedence.
    pub const ALL: [Self; 7] = [
        Self::Tls,
        Self::Http2,
        Self::Http1,
        Self::Preface,
        Self::FrameCandidate,
        Self::Proxy,
        Self::Raw,
    ];

    /// Returns the name in log fields and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Http1 => "http1",
            Self::Preface => "preface",
            Self::FrameCandidate => "frame-candidate",
            Self::Proxy => "proxy",
            Self::Raw => "raw",
        }
    }

    /// Returns what such input begins with, in words.
    const fn opening(self) -> &'static str {
        match self {
            Self::Tls => "a TLS ClientHello",
            Self::Http2 => "the HTTP/2 preface",
            Self::Http1 => "an HTTP request line",
            Self::Preface => "anyport's preface",
            Self::FrameCandidate => "a masked frame header",
            Self::Proxy => "a PROXY protocol header",
            Self::Raw => "raw bytes",
        }
    }
}

impl fmt::Display for DetectedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The detection result for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// Classified; more bytes change nothing.
    Known(DetectedProtocol),
    /// Unclassified.
    NeedMore {
        /// Total length of the shortest prefix that may decide; always more than was given.
        at_least: usize,
    },
}

/// A detection result with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The detected protocol.
    pub protocol: DetectedProtocol,
    /// The reason.
    pub reason: Reason,
}

/// The end of the wait for more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The detection deadline passed.
    Deadline,
    /// The client closed its sending direction.
    OfStream,
    /// The connection was evicted.
    Evicted,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "detection timeout",
            Self::OfStream => "end of stream",
            Self::Evicted => "evicted (too many unclassified connections)",
        })
    }
}

/// Classifies the first bytes of a connection, with the reason.
///
/// Returns `None` while unclassified. With an `end`, unclassified input is raw, except for an
/// incomplete PROXY protocol header whose rest may still arrive.
pub fn decide(
    prefix: &[u8],
    limits: &Limits,
    allowed: Allowed,
    end: Option<End>,
) -> Option<Decision> {
    let among = |prefix| detect_among(prefix, limits, allowed);
    let protocol = match (among(prefix), end) {
        (Detection::Known(protocol), _) => protocol,
        (Detection::NeedMore { .. }, None) => return None,
        (Detection::NeedMore { .. }, Some(end)) => {
            let candidates = Candidates::of(prefix, limits, allowed);
            let reason = Reason::Ended { end, bytes: prefix.len(), candidates };
            let is_proxy =
                end != End::OfStream && PROXY.is_probed(allowed) && proxy::is_candidate(prefix);
            let protocol = if is_proxy { DetectedProtocol::Proxy } else { DetectedProtocol::Raw };
            return Some(Decision { protocol, reason });
        }
    };
    // A known result stays, so bisection finds the byte that decided.
    let (mut shortest, mut longest) = (0, prefix.len());
    while shortest < longest {
        let middle = shortest.midpoint(longest);
        match among(prefix.get(..middle).unwrap_or(prefix)) {
            Detection::Known(_) => longest = middle,
            Detection::NeedMore { .. } => shortest = middle + 1,
        }
    }
    let decided = prefix.get(..longest).unwrap_or(prefix);
    let reason = match (protocol, decided.split_last()) {
        (DetectedProtocol::Raw, Some((byte, before))) => {
            reason::raw_reason(decided, *byte, before, limits, allowed)
        }
        // Decided before the first byte.
        (DetectedProtocol::Raw, None) => Reason::Forced { candidates: Candidates::default() },
        (DetectedProtocol::FrameCandidate, _) => Reason::Frame(*prefix.first().unwrap_or(&0)),
        (opening, _) => Reason::Opening(opening),
    };
    Some(Decision { protocol, reason })
}

/// Classifies the first bytes of a connection.
///
/// Call it again with a longer prefix, always from the first byte.
pub fn detect(prefix: &[u8], limits: &Limits) -> Detection {
    detect_among(prefix, limits, Allowed::ALL)
}

/// Classifies the first bytes for a listener that accepts some protocols.
///
/// Everything else is raw, even if raw is not accepted: the caller decides what follows.
pub fn detect_among(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Detection {
    let mut pending: Option<usize> = None;
    for row in PRECEDENCE.into_iter().filter(|row| row.is_probed(allowed)) {
        match ((row.probe)(prefix, limits), pending) {
            (Probe::Yes, None) => return Detection::Known(row.protocol),
            // A probe of higher precedence may still match, so this result cannot count yet.
            (Probe::Yes, Some(_)) => break,
            (Probe::NeedMore { at_least }, None) => pending = Some(at_least),
            (Probe::NeedMore { at_least }, Some(other)) => pending = Some(other.min(at_least)),
            (Probe::No, _) => {}
        }
    }
    match pending {
        Some(at_least) => Detection::NeedMore { at_least },
        None => Detection::Known(DetectedProtocol::Raw),
    }
}

/// Classifies a complete stream: what is still unclassified is raw.
pub fn detect_at_end(prefix: &[u8], limits: &Limits) -> DetectedProtocol {
    detect_at_end_among(prefix, limits, Allowed::ALL)
}

/// Classifies a complete stream, for a listener that accepts some protocols.
pub fn detect_at_end_among(prefix: &[u8], limits: &Limits, allowed: Allowed) -> DetectedProtocol {
    match detect_among(prefix, limits, allowed) {
        Detection::Known(protocol) => protocol,
        Detection::NeedMore { .. } => DetectedProtocol::Raw,
    }
}

/// Returns the prefix length at which [`detect`] always has a result, which is the buffer size it
/// needs.
pub const fn max_prefix(limits: &Limits) -> usize {
    if limits.request_line > MAX_V1 { limits.request_line } else { MAX_V1 }
}

/// The answer of one probe to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Yes,
    No,
    /// Total length of the shortest prefix that may change the answer.
    NeedMore {
        at_least: usize,
    },
}

/// Probes for `opening`; the first different byte decides.
fn opens_with(prefix: &[u8], opening: &[u8]) -> Probe {
    if prefix.starts_with(opening) {
        Probe::Yes
    } else if opening.starts_with(prefix) {
        Probe::NeedMore { at_least: prefix.len() + 1 }
    } else {
        Probe::No
    }
}

/// How one protocol is detected.
#[derive(Clone, Copy)]
struct Row {
    protocol: DetectedProtocol,
    /// Whether a listener with these protocols accepts it.
    is_accepted: fn(Allowed) -> bool,
    probe: fn(&[u8], &Limits) -> Probe,
}

impl Row {
    fn is_probed(self, allowed: Allowed) -> bool {
        allowed.detect && (self.is_accepted)(allowed)
    }
}

/// Highest precedence first. At most one probe confirms a prefix; the order only determines which
/// one runs first.
const PRECEDENCE: [Row; 6] = [
    Row {
        protocol: DetectedProtocol::Tls,
        is_accepted: |allowed| allowed.tls,
        probe: |prefix, _| tls::probe(prefix),
    },
    Row {
        protocol: DetectedProtocol::Http2,
        is_accepted: |allowed| allowed.http,
        probe: |prefix, _| http2::probe(prefix),
    },
    Row {
        protocol: DetectedProtocol::Http1,
        // An opening handshake is an HTTP request; the session refuses what is not accepted.
        is_accepted: |allowed| allowed.http || allowed.ws,
        probe: |prefix, limits| http1::probe(prefix, limits.request_line),
    },
    Row {
        protocol: DetectedProtocol::Preface,
        is_accepted: |allowed| allowed.raw,
        probe: |prefix, _| preface::probe(prefix),
    },
    Row {
        protocol: DetectedProtocol::FrameCandidate,
        is_accepted: |allowed| allowed.frames,
        probe: |prefix, _| ws_frame::probe(prefix),
    },
    PROXY,
];

const PROXY: Row = Row {
    protocol: DetectedProtocol::Proxy,
    // Where all input is raw bytes, such a header is content.
    is_accepted: |allowed| allowed.http || allowed.ws || allowed.frames || allowed.tls,
    probe: |prefix, _| proxy::probe(prefix),
};

#[cfg(test)]
mod tests;
