//! WebSocket (RFC 6455, with permessage-deflate of RFC 7692) as a state machine that never owns
//! payload.
//!
//! ```text
//!             ┌───────────── Receiver ─────────────┐
//!  bytes ───► │ header ► mask ► inflate ► UTF-8    │ ───► Event::Data { data: lent, unmasked }
//!             └────────────────────────────────────┘      Event::Ping / Pong / Close
//!             ┌────────────── Sender ──────────────┐
//!  bytes ◄─── │ header ◄ mask ◄ deflate ◄ state    │ ◄─── message / ping / pong / close
//!             └────────────────────────────────────┘
//! ```
//!
//! The two halves share nothing: receiving never blocks sending. Their owner (a session, a channel)
//! decides which event needs which reply; [`handshake`] comes before them, and is omitted for bare
//! frames.

pub mod candidate;
pub mod close;
mod deflate;
pub mod error;
pub mod handshake;
pub mod header;
pub mod mask;
pub mod opcode;
pub mod receive;
pub mod send;
mod utf8;

pub use candidate::Confirmation;
pub use close::CloseCode;
pub use deflate::DeflateParameters;
pub use error::Violation;
pub use header::Header;
pub use mask::{KeySource, Mask};
pub use opcode::{Kind, Opcode};
pub use receive::{Event, Receiver};
pub use send::{Fragment, Sender};

/// One end of the connection.
///
/// Clients mask, servers do not (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Output is masked, input must not be.
    Client,
    /// Input must be masked, output is not.
    Server,
}
