//! The probe for a PROXY protocol header ([`crate::proxy_protocol`]) from a client that must not
//! send one: the words that a v1 line begins with, or the signature of v2.
//!
//! The rest need not be valid: what follows a header with a fault may have credentials too. An
//! incomplete header whose sender is slower than the detection deadline counts from
//! [`V1_CANDIDATES`] or [`V2_CANDIDATE`] on.

use super::{Probe, opens_with};
use crate::proxy_protocol::V2_SIGNATURE;

pub(super) fn probe(prefix: &[u8]) -> Probe {
    match prefix.first() {
        Some(b'\r') => opens_with(prefix, V2_SIGNATURE),
        _ => probe_v1(prefix),
    }
}

/// Returns whether `prefix` is an incomplete header, long enough that a file which begins like it
/// is not to be expected.
pub(super) fn is_candidate(prefix: &[u8]) -> bool {
    let mut candidates = V1_CANDIDATES.into_iter().chain([V2_CANDIDATE]);
    candidates.any(|opening| prefix.starts_with(opening)) && !matches!(probe(prefix), Probe::No)
}

fn probe_v1(prefix: &[u8]) -> Probe {
    let answers = V1_WORDS.map(|words| (words, opens_with(prefix, words)));
    let possible = answers.into_iter().find(|(_, answer)| !matches!(answer, Probe::No));
    let Some((words, answer)) = possible else { return Probe::No };
    match prefix.get(words.len()..).unwrap_or_default() {
        [] if matches!(answer, Probe::NeedMore { .. }) => answer,
        [] => Probe::NeedMore { at_least: words.len() + 1 },
        [b'\r' | b'\n', ..] => Probe::Yes,
        // A line with the version of HTTP behind them is a request line.
        [b' ', rest @ ..] => match opens_with(rest, b"HTTP/") {
            Probe::Yes => Probe::No,
            Probe::No => Probe::Yes,
            Probe::NeedMore { .. } => Probe::NeedMore { at_least: prefix.len() + 1 },
        },
        _ => Probe::No,
    }
}

/// The words that begin a v1 line.
const V1_WORDS: [&[u8]; 3] = [b"PROXY TCP4", b"PROXY TCP6", b"PROXY UNKNOWN"];

/// `PROXY ` and a protocol: text that begins with the word alone stays raw.
const V1_CANDIDATES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// The signature up to its NUL, which text does not have: a file may begin with two blank lines.
const V2_CANDIDATE: &[u8] = b"\r\n\r\n\0";
