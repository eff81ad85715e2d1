//! The TLS probe: a handshake record that carries a ClientHello (RFC 8446 §4, §5.1).
//!
//! ```text
//!   16 03 xx  ll ll  01  hh hh hh  03 xx
//!   record    length │   length    legacy version
//!                    └ ClientHello
//! ```
//!
//! Four fixed bytes rather than two, because a raw file may begin `16 03` by chance.

use super::Probe;

pub(super) fn probe(prefix: &[u8]) -> Probe {
    for (at, expected) in FIXED {
        match prefix.get(at) {
            Some(byte) if *byte == expected => {}
            Some(_) => return Probe::No,
            None => return Probe::NeedMore { at_least: at + 1 },
        }
    }
    Probe::Yes
}

/// The bytes that every ClientHello since SSL 3.0 has, by offset.
const FIXED: [(usize, u8); 4] = [(0, 0x16), (1, 0x03), (5, 0x01), (9, 0x03)];
