//! The probe for bare frames: the header of a masked client frame that can open a connection (RFC
//! 6455 §5.2).
//!
//! RSV 0; text, binary or ping; MASK set; the shortest form of the length. A continuation, pong or
//! close opens nothing. Each byte is checked when it arrives, so `89 50` of a PNG is ruled out at
//! its second byte. A match is no confirmation: Shift-JIS text begins `82 b1`. A candidate stays
//! raw until confirmed (docs/PROTOCOLS.md).

use super::Probe;

pub(super) fn probe(prefix: &[u8]) -> Probe {
    let [first, rest @ ..] = prefix else { return Probe::NeedMore { at_least: 1 } };
    let control = match first {
        0x01 | 0x02 | 0x81 | 0x82 => false,
        0x89 => true,
        _ => return Probe::No,
    };
    let [second, extended @ ..] = rest else { return Probe::NeedMore { at_least: 2 } };
    if second & MASK == 0 {
        return Probe::No;
    }
    match second & !MASK {
        126 | 127 if control => Probe::No,
        126 => probe_length16(extended),
        127 => probe_length64(extended),
        _ => Probe::Yes,
    }
}

/// Probes a 16-bit length, which must be 126 or more.
fn probe_length16(length: &[u8]) -> Probe {
    match length {
        [] => Probe::NeedMore { at_least: 3 },
        [0] => Probe::NeedMore { at_least: 4 },
        [0, low, ..] if *low < 126 => Probe::No,
        _ => Probe::Yes,
    }
}

/// Probes a 64-bit length, which must be 65 536 or more: one of the upper six bytes is not zero,
/// and the top bit is clear.
fn probe_length64(length: &[u8]) -> Probe {
    let upper = length.get(..6).unwrap_or(length);
    match upper.iter().position(|byte| *byte != 0) {
        Some(0) if upper.first().is_some_and(|byte| byte & 0x80 != 0) => Probe::No,
        Some(_) => Probe::Yes,
        None if upper.len() < 6 => Probe::NeedMore { at_least: 2 + upper.len() + 1 },
        None => Probe::No,
    }
}

const MASK: u8 = 0x80;
