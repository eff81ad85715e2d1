//! The HTTP/2 probe: the start of the connection preface of a client with prior knowledge (RFC 9113
//! §3.4).
//!
//! The preface looks like an HTTP/1 request line of a version that does not exist; its first line
//! without the line end is enough to distinguish the two.

use super::{Probe, opens_with};

pub(super) const PREFACE_START: &[u8] = b"PRI * HTTP/2.0";

pub(super) fn probe(prefix: &[u8]) -> Probe {
    opens_with(prefix, PREFACE_START)
}
