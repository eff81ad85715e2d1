//! The probe for anyport's preface, a line that a person can type (docs/PROTOCOLS.md).
//!
//! `ANYPORT/1 ` is the preface. Another version of up to three digits counts too, so that a future
//! client gets an error line; as raw input it would become an unwanted file.

use super::{Probe, opens_with};

pub(super) fn probe(prefix: &[u8]) -> Probe {
    match opens_with(prefix, OPENING) {
        Probe::Yes => probe_version(prefix),
        answer => answer,
    }
}

fn probe_version(prefix: &[u8]) -> Probe {
    let version = prefix.get(OPENING.len()..).unwrap_or_default();
    let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match version.get(digits) {
        _ if digits > MOST_DIGITS => Probe::No,
        None => Probe::NeedMore { at_least: prefix.len() + 1 },
        Some(b' ') if digits > 0 => Probe::Yes,
        Some(_) => Probe::No,
    }
}

const OPENING: &[u8] = b"ANYPORT/";

const MOST_DIGITS: usize = 3;
