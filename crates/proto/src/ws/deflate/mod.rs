//! permessage-deflate (RFC 7692): its parameters, and both directions.
//!
//! ```text
//!   wire, unmasked ──► Inflater ──► pieces of the message, lent out of its window
//!   message ──► Deflater ──► payload of one frame with RSV1
//! ```
//!
//! Off unless negotiated, and without memory before the first compressed message; then about 400
//! KiB a connection for both directions together (measured: bench/records/2026-11-21-memory.md),
//! whatever the peer sends.

mod compress;
mod inflate;

pub(super) use compress::Deflater;
pub(super) use inflate::{Inflated, Inflater, NotDeflate};

/// The negotiated parameters (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeflateParameters {
    /// The server resets its compression context after each message.
    pub server_no_context_takeover: bool,
    /// The client resets its compression context after each message.
    pub client_no_context_takeover: bool,
    /// The server's window has 2^N bytes, 9 to 15; `None` is 15.
    pub server_max_window_bits: Option<u8>,
    /// The client's window has 2^N bytes, 8 to 15; `None` is 15.
    pub client_max_window_bits: Option<u8>,
}

/// The smallest window of zlib, which uses 9 instead of 8 and so would violate the agreement.
pub(super) const SMALLEST_WINDOW: u8 = 9;

/// The largest window; it inflates the output of every smaller one.
const LARGEST_WINDOW: u8 = 15;

/// A sync flush ends with an empty stored block; its last four bytes are not sent (RFC 7692
/// §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
