//! permessage-deflate (RFC 7692): what two ends agree on, and both directions of it.
//!
//! ```text
//!   wire, unmasked ──► Inflater ──► pieces of the message, lent out of its window
//!   message ──► Deflater ──► payload of one frame with RSV1
//! ```
//!
//! Off unless it was agreed on, and no memory before the first compressed message; then about 400
//! KiB a connection for both directions together (measured: bench/records/2026-11-21-memory.md),
//! whatever the peer sends.

mod compress;
mod inflate;

pub(super) use compress::Deflater;
pub(super) use inflate::{Inflated, Inflater, NotDeflate};

/// What two ends agreed on in the opening handshake (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeflateParameters {
    /// The server forgets what it compressed after each message.
    pub server_no_context_takeover: bool,
    /// The client does.
    pub client_no_context_takeover: bool,
    /// The server looks back at most 2^N bytes, 9 to 15; `None` is 15.
    pub server_max_window_bits: Option<u8>,
    /// The client looks back at most 2^N bytes, 8 to 15; `None` is 15.
    pub client_max_window_bits: Option<u8>,
}

/// The smallest window that zlib really keeps: asked for 8 it uses 9, which is not what was agreed.
pub(super) const SMALLEST_WINDOW: u8 = 9;

/// The largest window, and the one that inflates whatever a peer compressed with a smaller one.
const LARGEST_WINDOW: u8 = 15;

/// A sync flush ends with an empty stored block; its last four bytes are not sent (RFC 7692
/// §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
