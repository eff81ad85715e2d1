//! Why a verdict was given, in words.
//!
//! A reason depends on the shortest prefix that decides and on nothing after it, so the two laws of
//! detection hold for it too: another cut of the stream gives the same reason, and more bytes do
//! not change it.

use std::fmt;

use super::{Allowed, Detection, PRECEDENCE, Probe, Verdict, detect_among};
use crate::limits::Limits;

/// A verdict and why it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The protocol.
    pub verdict: Verdict,
    /// Why that one.
    pub reason: Reason,
}

/// Why a verdict was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The opening of the protocol is there.
    Opening(Verdict),
    /// A frame header that a client may open with: its first byte.
    Frame(u8),
    /// A byte came that no protocol has there.
    NoOpening {
        /// Its place, from 0.
        at: usize,
        /// The byte.
        byte: u8,
        /// What the bytes before it could be.
        candidates: Candidates,
    },
    /// A request line that did not end within its limit.
    LineTooLong {
        /// Of [`Limits::request_line`].
        limit: usize,
    },
    /// It could be more, which is not taken here; empty where nothing is looked at.
    Forced {
        /// What it could be if everything were taken.
        candidates: Candidates,
    },
    /// No more bytes were waited for.
    Ended {
        /// What ended the wait.
        end: End,
        /// Bytes that were there.
        bytes: usize,
        /// What they could have become.
        candidates: Candidates,
    },
}

/// What ends the wait for more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The time for it is over.
    Deadline,
    /// The client ended its stream.
    OfStream,
    /// Another connection needs the place of this one.
    NoPermit,
}

/// Protocols that a prefix could yet be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Candidates(u8);

/// Judges the first bytes of a connection, with the reason. `None` while undecided; never with an
/// `end`, which makes raw what is undecided, except for an incomplete PROXY protocol header whose
/// rest may still arrive.
pub fn decide(
    prefix: &[u8],
    limits: &Limits,
    allowed: Allowed,
    end: Option<End>,
) -> Option<Decision> {
    let among = |prefix| detect_among(prefix, limits, allowed);
    let verdict = match (among(prefix), end) {
        (Detection::Known(verdict), _) => verdict,
        (Detection::NeedMore { .. }, None) => return None,
        (Detection::NeedMore { .. }, Some(end)) => {
            let candidates = Candidates::of(prefix, limits, allowed);
            let reason = Reason::Ended { end, bytes: prefix.len(), candidates };
            let is_proxy = end != End::OfStream
                && allowed.probes(Verdict::Proxy)
                && super::proxy::is_candidate(prefix);
            let verdict = if is_proxy { Verdict::Proxy } else { Verdict::Raw };
            return Some(Decision { verdict, reason });
        }
    };
    // A known verdict stays known, so the byte that decided is found by halving.
    let (mut shortest, mut longest) = (0, prefix.len());
    while shortest < longest {
        let middle = shortest.midpoint(longest);
        match among(prefix.get(..middle).unwrap_or(prefix)) {
            Detection::Known(_) => longest = middle,
            Detection::NeedMore { .. } => shortest = middle + 1,
        }
    }
    let decided = prefix.get(..longest).unwrap_or(prefix);
    let reason = match (verdict, decided.split_last()) {
        (Verdict::Raw, Some((byte, before))) => raw_reason(decided, *byte, before, limits, allowed),
        // Decided before the first byte.
        (Verdict::Raw, None) => Reason::Forced { candidates: Candidates::default() },
        (Verdict::FrameCandidate, _) => Reason::Frame(*prefix.first().unwrap_or(&0)),
        (opening, _) => Reason::Opening(opening),
    };
    Some(Decision { verdict, reason })
}

/// Why `decided` is raw, the last byte of which, after those `before`, decided.
fn raw_reason(
    decided: &[u8],
    byte: u8,
    before: &[u8],
    limits: &Limits,
    allowed: Allowed,
) -> Reason {
    let otherwise = Candidates::of(decided, limits, Allowed::ALL);
    if otherwise != Candidates::default() {
        return Reason::Forced { candidates: otherwise };
    }
    let unlimited = Limits { request_line: usize::MAX, ..*limits };
    if Candidates::of(decided, &unlimited, allowed) != Candidates::default() {
        return Reason::LineTooLong { limit: limits.request_line };
    }
    let candidates = Candidates::of(before, limits, allowed);
    Reason::NoOpening { at: before.len(), byte, candidates }
}

impl Candidates {
    /// The protocols whose probes do not say no.
    fn of(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Self {
        let possible = PRECEDENCE.iter().enumerate().filter(|(_, (verdict, probe))| {
            allowed.probes(*verdict) && probe(prefix, limits) != Probe::No
        });
        Self(possible.fold(0, |bits, (at, _)| bits | 1 << at))
    }

    fn verdicts(self) -> impl Iterator<Item = Verdict> {
        let all = PRECEDENCE.iter().enumerate();
        all.filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, (verdict, _))| *verdict)
    }
}

/// `an HTTP request line or a frame header`
impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.verdicts().map(opening_words).collect();
        f.write_str(&words.join(" or "))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Opening(verdict) => write!(f, "starts with {}", opening_words(verdict)),
            Self::Frame(first) => {
                let kind = match first & 0x0f {
                    1 => "text",
                    2 => "binary",
                    _ => "ping",
                };
                let part = if first & 0x80 == 0 { ", not the final fragment" } else { "" };
                write!(f, "starts with a masked frame header, {kind}{part}, of minimal length")
            }
            Self::NoOpening { at: 0, byte, .. } => {
                write!(f, "the first byte 0x{byte:02x} matches no enabled protocol")
            }
            Self::NoOpening { at, byte, candidates } => {
                write!(f, "0x{byte:02x} after {} does not match {candidates}", Bytes(at))
            }
            Self::LineTooLong { limit } => {
                write!(f, "the first line is longer than {limit} bytes")
            }
            Self::Forced { candidates } if candidates == Candidates::default() => {
                f.write_str("detection is disabled")
            }
            Self::Forced { candidates } => {
                write!(f, "could be {candidates}, which is not enabled")
            }
            Self::Ended { end, bytes, candidates } => {
                write!(f, "{end} after {} that could be {candidates}", Bytes(bytes))
            }
        }
    }
}

struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            more => write!(f, "{more} bytes"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "detection timeout",
            Self::OfStream => "end of stream",
            Self::NoPermit => "evicted (too many unclassified connections)",
        })
    }
}

const fn opening_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Tls => "a TLS ClientHello",
        Verdict::Http2 => "the HTTP/2 preface",
        Verdict::Http1 => "an HTTP request line",
        Verdict::Preface => "anyport's preface",
        Verdict::FrameCandidate => "a masked frame header",
        Verdict::Proxy => "a PROXY protocol header",
        Verdict::Raw => "raw bytes",
    }
}

#[cfg(test)]
mod tests {
    use anyport_testkit::{every_cut, hex};
    use proptest::prelude::*;

    use super::super::ProtocolName;
    use super::*;

    fn words(prefix: &[u8], allowed: Allowed, end: Option<End>) -> String {
        decide(prefix, &Limits::default(), allowed, end).unwrap().reason.to_string()
    }

    #[test]
    fn each_verdict_has_a_reason_in_words() {
        let table: &[(&[u8], &str)] = &[
            (b"\xff\xfe", "the first byte 0xff matches no enabled protocol"),
            (b"GET me a coffee", "0x61 after 7 bytes does not match an HTTP request line"),
            (b"\x82\x05", "0x05 after 1 byte does not match a masked frame header"),
            (b"GET / HTTP/1.1\r\n", "starts with an HTTP request line"),
            (b"ANYPORT/1 PUT", "starts with anyport's preface"),
            (b"\x82\x85", "starts with a masked frame header, binary, of minimal length"),
            (
                b"\x01\x85",
                "starts with a masked frame header, text, not the final \
                fragment, of minimal length",
            ),
        ];
        for (prefix, expected) in table {
            assert_eq!(words(prefix, Allowed::ALL, None), *expected);
        }
        let long = [b"GET /", &[b'a'; 9000][..]].concat();
        let expected = "the first line is longer than 8192 bytes";
        assert_eq!(words(&long, Allowed::ALL, None), expected);
    }

    #[test]
    fn an_end_tells_what_was_there_and_what_it_could_be() {
        for (prefix, end, expected) in [
            (
                &b"GET"[..],
                End::Deadline,
                "detection timeout after 3 bytes that could be an HTTP request line",
            ),
            (
                b"P",
                End::OfStream,
                "end of stream after 1 byte that could be the HTTP/2 preface or an \
                HTTP request line \
                 or a PROXY protocol header",
            ),
            (
                b"\x82",
                End::NoPermit,
                "evicted (too many unclassified connections) after 1 byte that could be \
                a masked frame header",
            ),
        ] {
            assert_eq!(decide(prefix, &Limits::default(), Allowed::ALL, None), None);
            assert_eq!(words(prefix, Allowed::ALL, Some(end)), expected);
        }
        // What is known is not made raw by an end.
        let known = decide(b"\x82\x85", &Limits::default(), Allowed::ALL, Some(End::Deadline));
        assert_eq!(known.unwrap().verdict, Verdict::FrameCandidate);
    }

    #[test]
    fn an_incomplete_proxy_header_counts_at_the_deadline_from_its_protocol_on() {
        let verdict = |prefix: &[u8], allowed, end| {
            let decision = decide(prefix, &Limits::default(), allowed, Some(end));
            decision.unwrap().verdict
        };
        for (prefix, expected) in [
            (&b"PROXY"[..], Verdict::Raw),
            (b"PROXY TCP4", Verdict::Raw),
            (b"PROXY TCP4 ", Verdict::Proxy),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r", Verdict::Proxy),
            (b"PROXY UNKNOWN", Verdict::Proxy),
            (b"PROXY wars", Verdict::Raw),
            (b"\r\n\r\n", Verdict::Raw),
            (b"\r\n\r\n\0\r\nQUIT", Verdict::Proxy),
        ] {
            for end in [End::Deadline, End::NoPermit] {
                assert_eq!(verdict(prefix, Allowed::ALL, end), expected, "{prefix:?}");
            }
            // Nothing follows it.
            assert_eq!(verdict(prefix, Allowed::ALL, End::OfStream), Verdict::Raw, "{prefix:?}");
            let raw = Allowed::NONE.allow(ProtocolName::Raw);
            for allowed in [raw, Allowed::UNDETECTED] {
                assert_eq!(verdict(prefix, allowed, End::Deadline), Verdict::Raw, "{prefix:?}");
            }
        }
    }

    #[test]
    fn what_is_not_taken_forces_the_verdict() {
        let raw = Allowed::NONE.allow(ProtocolName::Raw);
        let expected = "could be the HTTP/2 preface or an HTTP request line or a PROXY protocol \
                        header, which is not enabled";
        assert_eq!(words(b"PRI", raw, None), expected);
        assert_eq!(
            words(b"\x82\x85", raw, None),
            "could be a masked frame header, which is not enabled"
        );
        assert_eq!(words(b"\xff", raw, None), "the first byte 0xff matches no enabled protocol");
        assert_eq!(words(b"GET / ", Allowed::UNDETECTED, None), "detection is disabled");
    }

    /// What a driver does: asks after each piece, stops at the first decision.
    fn decide_pieces(pieces: &[&[u8]], allowed: Allowed) -> Decision {
        let limits = Limits { request_line: 24, ..Limits::default() };
        let mut prefix = Vec::new();
        let mut ask = |piece: &[u8]| {
            prefix.extend_from_slice(piece);
            decide(&prefix, &limits, allowed, None)
        };
        let early = pieces.iter().find_map(|piece| ask(piece));
        early.or_else(|| decide(&prefix, &limits, allowed, Some(End::OfStream))).unwrap()
    }

    fn laws(wire: &[u8], tail: &[u8], allowed: Allowed) {
        let whole = decide_pieces(&[wire], allowed);
        every_cut(wire, |pieces| assert_eq!(decide_pieces(pieces, allowed), whole));
        if decide(wire, &Limits { request_line: 24, ..Limits::default() }, allowed, None).is_some()
        {
            assert_eq!(decide_pieces(&[&[wire, tail].concat()], allowed), whole);
        }
    }

    #[test]
    fn openings_keep_the_laws() {
        for wire in [
            &b"GET /file HTTP/1.1\r\nHost: a\r\n"[..],
            b"GET /a/path/that/is/too/long HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"PRI * HTTP/3.0\r\n",
            b"ANYPORT/1 PUT name\n",
            b"ANYPORTS",
            &hex("16 03 01 02 00 01 00 01 fc 03 03"),
            &hex("82 ff 00 00 00 00 00 01 00 00"),
            &hex("82 fe 00 05"),
        ] {
            for allowed in [
                Allowed::ALL,
                Allowed::UNDETECTED,
                Allowed::NONE.allow(ProtocolName::Raw),
                Allowed::NONE.allow(ProtocolName::Ws).allow(ProtocolName::Frames),
            ] {
                laws(wire, b"tail\r\n", allowed);
            }
        }
    }

    proptest! {
        /// Laws 1 and 2 of detection, for the reason.
        #[test]
        fn neither_cuts_nor_more_bytes_change_a_reason(
            wire in prop_oneof![
                "[A-Z]{1,4} [a-z/]{1,30} HTTP/1[.][012]\r?\n?".prop_map(String::into_bytes),
                "(PRI|ANYPORT/)[ -~]{0,12}".prop_map(String::into_bytes),
                prop::collection::vec(prop_oneof![Just(0x82), Just(0x16), any::<u8>()], 0..14),
            ],
            tail in prop::collection::vec(any::<u8>(), 0..20),
            kinds in any::<u8>(),
        ) {
            use ProtocolName::{Frames, Http, Raw, Ws};
            let names = [Raw, Http, Ws, Frames];
            let some = names.into_iter().enumerate().filter(|(at, _)| kinds & 1 << at != 0);
            let some = some.fold(Allowed::NONE, |allowed, (_, name)| allowed.allow(name));
            for allowed in [Allowed::ALL, some] {
                laws(&wire, &tail, allowed);
            }
        }
    }
}
