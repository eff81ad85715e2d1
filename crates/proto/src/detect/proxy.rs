//! The probe for a PROXY protocol header ([`crate::proxy_protocol`]) from a client that must not
//! send one: a complete v1 line, or the signature of v2.
//!
//! A v1 line counts when it is complete and valid, so that a text which only begins with `PROXY `
//! stays raw. An incomplete header whose sender is slower than the detection deadline counts from
//! [`V1_CANDIDATES`] or [`V2_CANDIDATE`] on, as credentials may follow it.

use super::{Probe, opens_with};
use crate::proxy_protocol::{MAX_V1, V1_OPENING, V2_SIGNATURE, v1_client};

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
    candidates.any(|opening| prefix.starts_with(opening))
        && matches!(probe(prefix), Probe::NeedMore { .. })
}

fn probe_v1(prefix: &[u8]) -> Probe {
    match opens_with(prefix, V1_OPENING) {
        Probe::Yes => {}
        answer => return answer,
    }
    let rest = prefix.get(V1_OPENING.len()..MAX_V1.min(prefix.len())).unwrap_or_default();
    let text = rest.iter().take_while(|byte| is_line_byte(**byte)).count();
    match rest.get(text..).unwrap_or_default() {
        [] | [b'\r'] if prefix.len() < MAX_V1 => Probe::NeedMore { at_least: prefix.len() + 1 },
        [b'\r', b'\n', ..] => {
            let line = prefix.get(..V1_OPENING.len() + text + 2).unwrap_or_default();
            if is_v1(line) { Probe::Yes } else { Probe::No }
        }
        _ => Probe::No,
    }
}

/// Returns whether `line` is a header with its line end. A receiver must ignore what follows
/// `UNKNOWN`, but a line with the version of HTTP there is a request line.
fn is_v1(line: &[u8]) -> bool {
    !line.starts_with(b"PROXY UNKNOWN HTTP/") && v1_client(line).is_ok()
}

fn is_line_byte(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte)
}

/// `PROXY ` and a protocol: text that begins with the word alone stays raw.
const V1_CANDIDATES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// The signature up to its NUL, which text does not have: a file may begin with two blank lines.
const V2_CANDIDATE: &[u8] = b"\r\n\r\n\0";
