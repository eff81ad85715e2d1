//! The probe for a PROXY protocol header (haproxy, `doc/proxy-protocol.txt`, version 2.2).
//!
//! ```text
//!   v1   PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CR LF      at most 107 bytes (section 2.1)
//!   v2   0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a                 the signature (section 2.2)
//! ```
//!
//! A v1 line counts when it is complete and valid, so that a text which only begins with `PROXY `
//! stays raw. An incomplete header whose sender is slower than the detection deadline counts from
//! [`V1_CANDIDATES`] or [`V2_CANDIDATE`] on, as credentials may follow it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Probe, opens_with};

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
    let rest = prefix.get(V1_OPENING.len()..MAX_HEADER.min(prefix.len())).unwrap_or_default();
    let text = rest.iter().take_while(|byte| is_line_byte(**byte)).count();
    match rest.get(text..).unwrap_or_default() {
        [] | [b'\r'] if prefix.len() < MAX_HEADER => Probe::NeedMore { at_least: prefix.len() + 1 },
        [b'\r', b'\n', ..] if is_v1(rest.get(..text).unwrap_or_default()) => Probe::Yes,
        _ => Probe::No,
    }
}

/// Returns whether `line`, the text between `PROXY ` and the line end, has one of the three forms.
fn is_v1(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    match line.split_once(' ') {
        Some(("TCP4", addresses)) => are_endpoints::<Ipv4Addr>(addresses),
        Some(("TCP6", addresses)) => are_endpoints::<Ipv6Addr>(addresses),
        // A receiver must ignore the rest of the line. One that begins like a version is an HTTP
        // request line.
        Some(("UNKNOWN", rest)) => !rest.starts_with("HTTP/"),
        Some(_) => false,
        None => line == "UNKNOWN",
    }
}

/// Returns whether `text` is two addresses and two ports.
fn are_endpoints<A: FromStr>(text: &str) -> bool {
    let mut words = text.split(' ');
    let mut address = || words.next().is_some_and(|word| word.parse::<A>().is_ok());
    if !(address() && address()) {
        return false;
    }
    let mut port = || words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    port() && port() && words.next().is_none()
}

fn is_line_byte(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte)
}

/// Size of the longest v1 header, line end included.
pub(super) const MAX_HEADER: usize = 107;

const V1_OPENING: &[u8] = b"PROXY ";

/// `PROXY ` and a protocol: text that begins with the word alone stays raw.
const V1_CANDIDATES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// The signature up to its NUL, which text does not have: a file may begin with two blank lines.
const V2_CANDIDATE: &[u8] = b"\r\n\r\n\0";

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
