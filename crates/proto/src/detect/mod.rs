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
pub use reason::{Candidates, Decision, End, Reason, decide};

use std::fmt;

use crate::limits::Limits;

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

/// Classifies the first bytes of a connection. Call it again with a longer prefix, always from the
/// first byte.
pub fn detect(prefix: &[u8], limits: &Limits) -> Detection {
    detect_among(prefix, limits, Allowed::ALL)
}

/// Classifies the first bytes for a listener that accepts some protocols. Everything else is raw,
/// even if raw is not accepted: the caller decides what follows.
pub fn detect_among(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Detection {
    let mut pending: Option<usize> = None;
    for (protocol, probe) in
        PRECEDENCE.into_iter().filter(|(protocol, _)| allowed.probes(*protocol))
    {
        match (probe(prefix, limits), pending) {
            (Probe::Yes, None) => return Detection::Known(protocol),
            // A probe of higher precedence is still undecided, so this result cannot count yet.
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
    if limits.request_line > proxy::MAX_HEADER { limits.request_line } else { proxy::MAX_HEADER }
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

type ProbeFn = fn(&[u8], &Limits) -> Probe;

/// Highest precedence first. At most one probe confirms a prefix; the order only determines which
/// one runs first.
const PRECEDENCE: [(DetectedProtocol, ProbeFn); 6] = [
    (DetectedProtocol::Tls, |prefix, _| tls::probe(prefix)),
    (DetectedProtocol::Http2, |prefix, _| http2::probe(prefix)),
    (DetectedProtocol::Http1, |prefix, limits| http1::probe(prefix, limits.request_line)),
    (DetectedProtocol::Preface, |prefix, _| preface::probe(prefix)),
    (DetectedProtocol::FrameCandidate, |prefix, _| ws_frame::probe(prefix)),
    (DetectedProtocol::Proxy, |prefix, _| proxy::probe(prefix)),
];

#[cfg(test)]
mod tests;
