//! The reason of a detection result, in words.
//!
//! A reason depends only on the shortest prefix that decides, so the two laws of detection hold for
//! it too: it does not depend on the segmentation, and more bytes do not change it.

use std::fmt;

use super::{Allowed, DetectedProtocol, End, PRECEDENCE, Probe};
use crate::limits::Limits;

/// The reason of a detection result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The input begins with the opening of the protocol.
    Opening(DetectedProtocol),
    /// The input begins with a possible frame header; its first byte.
    Frame(u8),
    /// A byte rules out all remaining protocols.
    NoOpening {
        /// Offset of the byte.
        at: usize,
        /// The byte.
        byte: u8,
        /// The protocols that were possible before it.
        candidates: Candidates,
    },
    /// A request line exceeds its limit.
    LineTooLong {
        /// The limit, [`Limits::request_line`].
        limit: usize,
    },
    /// The input may be a protocol that is not accepted here. Empty without detection.
    Forced {
        /// The protocols that it may be.
        candidates: Candidates,
    },
    /// The wait for more bytes ended.
    Ended {
        /// What ended it.
        end: End,
        /// Number of bytes that arrived.
        bytes: usize,
        /// The protocols that were still possible.
        candidates: Candidates,
    },
}

/// The protocols that a prefix may still be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Candidates(u8);

/// Returns why `decided` is raw: its last byte decided, after those in `before`.
pub(super) fn raw_reason(
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
    /// Returns the protocols whose probes do not rule them out.
    pub(super) fn of(prefix: &[u8], limits: &Limits, allowed: Allowed) -> Self {
        let possible = PRECEDENCE
            .iter()
            .enumerate()
            .filter(|(_, row)| row.is_probed(allowed) && (row.probe)(prefix, limits) != Probe::No);
        Self(possible.fold(0, |bits, (at, _)| bits | 1 << at))
    }

    fn protocols(self) -> impl Iterator<Item = DetectedProtocol> {
        let all = PRECEDENCE.iter().enumerate();
        all.filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, row)| row.protocol)
    }
}

/// Writes `an HTTP request line or a frame header`.
impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.protocols().map(DetectedProtocol::opening).collect();
        f.write_str(&words.join(" or "))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Opening(protocol) => write!(f, "starts with {}", protocol.opening()),
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

#[cfg(test)]
mod tests {
    use anyport_testkit::{every_cut, hex};
    use proptest::prelude::*;

    use super::super::{Decision, ProtocolName, decide};
    use super::*;

    fn words(prefix: &[u8], allowed: Allowed, end: Option<End>) -> String {
        decide(prefix, &Limits::default(), allowed, end).unwrap().reason.to_string()
    }

    #[test]
    fn each_result_has_a_reason_in_words() {
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
        let long = [b"BREW /", &[b'a'; 9000][..]].concat();
        let expected = "the first line is longer than 8192 bytes";
        assert_eq!(words(&long, Allowed::ALL, None), expected);
    }

    #[test]
    fn a_reason_has_the_received_bytes_and_the_candidates() {
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
                End::Evicted,
                "evicted (too many unclassified connections) after 1 byte that could be \
                a masked frame header",
            ),
        ] {
            assert_eq!(decide(prefix, &Limits::default(), Allowed::ALL, None), None);
            assert_eq!(words(prefix, Allowed::ALL, Some(end)), expected);
        }
        // An end does not change a known result.
        let known = decide(b"\x82\x85", &Limits::default(), Allowed::ALL, Some(End::Deadline));
        assert_eq!(known.unwrap().protocol, DetectedProtocol::FrameCandidate);
    }

    #[test]
    fn an_incomplete_proxy_header_counts_at_the_deadline_from_its_protocol_on() {
        let protocol = |prefix: &[u8], allowed, end| {
            let decision = decide(prefix, &Limits::default(), allowed, Some(end));
            decision.unwrap().protocol
        };
        for (prefix, expected) in [
            (&b"PROXY"[..], DetectedProtocol::Raw),
            (b"PROXY TCP4", DetectedProtocol::Raw),
            (b"PROXY TCP4 ", DetectedProtocol::Proxy),
            (b"PROXY TCP6 H", DetectedProtocol::Proxy),
            (b"PROXY UNKNOWN", DetectedProtocol::Proxy),
            (b"PROXY wars", DetectedProtocol::Raw),
            (b"\r\n\r\n", DetectedProtocol::Raw),
            (b"\r\n\r\n\0\r\nQUIT", DetectedProtocol::Proxy),
        ] {
            for end in [End::Deadline, End::Evicted] {
                assert_eq!(protocol(prefix, Allowed::ALL, end), expected, "{prefix:?}");
            }
            // No bytes follow it.
            assert_eq!(
                protocol(prefix, Allowed::ALL, End::OfStream),
                DetectedProtocol::Raw,
                "{prefix:?}"
            );
            let raw = Allowed::NONE.allow(ProtocolName::Raw);
            for allowed in [raw, Allowed::UNDETECTED] {
                assert_eq!(
                    protocol(prefix, allowed, End::Deadline),
                    DetectedProtocol::Raw,
                    "{prefix:?}"
                );
            }
        }
    }

    #[test]
    fn protocols_that_are_not_accepted_force_the_result() {
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

    /// Works like a driver: classifies after each piece, until there is a result.
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
        fn neither_segmentation_nor_more_bytes_change_a_reason(
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
