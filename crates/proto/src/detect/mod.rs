//! Which protocol is this? The precedence table over the first bytes of a connection (DESIGN
//! section 5).
//!
//! Detection is a pure function of the bytes. Two laws hold, and both are property tests: cutting
//! the stream differently never changes the verdict, and a verdict once known never changes when
//! bytes are added. Deadline and end of stream are ordinary inputs of [`decide`], which also gives
//! the reason; [`detect_at_end`] is the verdict at the end of the stream alone.
//!
//! ```text
//!   prefix ──► tls, http2, http1, preface, ws_frame, proxy   the first probe but "no" decides:
//!                "yes"   ──► Known(its verdict)
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

/// The protocol that the first bytes of a connection speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A TLS ClientHello (RFC 8446 §4.1.2).
    Tls,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// An HTTP/1.0 or HTTP/1.1 request line (RFC 9112 §3); its head may still be refused.
    Http1,
    /// The preface of anyport, `ANYPORT/` and a version; the version may still be refused.
    Preface,
    /// What may be a masked WebSocket frame without a handshake. Raw until proven: a file may begin
    /// like this too.
    FrameCandidate,
    /// A PROXY protocol header, version 1 or 2, in front of another protocol.
    Proxy,
    /// Raw bytes: a file, or anything else.
    Raw,
}

impl Verdict {
    /// The name in log fields and counters.
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

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a prefix says so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// Decided; more bytes change nothing.
    Known(Verdict),
    /// Undecided.
    NeedMore {
        /// Total length of the shortest prefix that may decide; always more than was given.
        at_least: usize,
    },
}

/// Judges the first bytes of a connection. Call again with a longer prefix, always from the first
/// byte.
pub fn detect(prefix: &[u8], limits: &Limits) -> Detection {
    detect_among(prefix, limits, Allowed::ALL)
}

/// The same for a listener that takes only some protocols. What is left then is raw, also where raw
/// is not taken: the caller decides what that means.
pub fn detect_among(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Detection {
    let mut pending: Option<usize> = None;
    for (verdict, probe) in PRECEDENCE.into_iter().filter(|(verdict, _)| allowed.probes(*verdict)) {
        match (probe(prefix, limits), pending) {
            (Probe::Yes, None) => return Detection::Known(verdict),
            // A probe of higher precedence may still say yes; until it says no, this yes cannot
            // count.
            (Probe::Yes, Some(_)) => break,
            (Probe::NeedMore { at_least }, None) => pending = Some(at_least),
            (Probe::NeedMore { at_least }, Some(other)) => pending = Some(other.min(at_least)),
            (Probe::No, _) => {}
        }
    }
    match pending {
        Some(at_least) => Detection::NeedMore { at_least },
        None => Detection::Known(Verdict::Raw),
    }
}

/// The verdict at the end of the stream: what is undecided then is raw.
pub fn detect_at_end(prefix: &[u8], limits: &Limits) -> Verdict {
    detect_at_end_among(prefix, limits, Allowed::ALL)
}

/// The same for a listener that takes only some protocols.
pub fn detect_at_end_among(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Verdict {
    match detect_among(prefix, limits, allowed) {
        Detection::Known(verdict) => verdict,
        Detection::NeedMore { .. } => Verdict::Raw,
    }
}

/// The length of prefix at which [`detect`] always knows, and so the size of the buffer that it
/// needs.
pub const fn max_prefix(limits: &Limits) -> usize {
    if limits.request_line > proxy::MAX_HEADER { limits.request_line } else { proxy::MAX_HEADER }
}

/// One protocol's answer to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Yes,
    No,
    /// Total length of the shortest prefix that may change the answer.
    NeedMore {
        at_least: usize,
    },
}

/// Whether `prefix` begins with `opening`, decided at the first byte that differs.
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

/// Highest precedence first. No prefix makes two of these say yes; the order only tells which is
/// asked first.
const PRECEDENCE: [(Verdict, ProbeFn); 6] = [
    (Verdict::Tls, |prefix, _| tls::probe(prefix)),
    (Verdict::Http2, |prefix, _| http2::probe(prefix)),
    (Verdict::Http1, |prefix, limits| http1::probe(prefix, limits.request_line)),
    (Verdict::Preface, |prefix, _| preface::probe(prefix)),
    (Verdict::FrameCandidate, |prefix, _| ws_frame::probe(prefix)),
    (Verdict::Proxy, |prefix, _| proxy::probe(prefix)),
];

#[cfg(test)]
mod tests;
