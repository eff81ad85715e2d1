//! WebSocket (RFC 6455, with permessage-deflate of RFC 7692) as a machine that never owns payload.
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
//! The two halves share nothing: what one side received never blocks what it sends. Whoever owns
//! both (a session, a channel) decides what answers what; [`handshake`] comes before them, or, for
//! bare frames, does not come at all.

pub mod close;
mod deflate;
pub mod error;
pub mod handshake;
pub mod header;
pub mod mask;
pub mod opcode;
pub mod proof;
pub mod receive;
pub mod send;
mod utf8;

pub use close::CloseCode;
pub use deflate::DeflateParameters;
pub use error::Violation;
pub use header::Header;
pub use mask::{KeySource, Mask};
pub use opcode::{Kind, Opcode};
pub use proof::Proof;
pub use receive::{Event, Receiver};
pub use send::{Fragment, Sender};

/// Which end of the connection we are. Clients mask, servers do not (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We dialled: what we send is masked, what we receive must not be.
    Client,
    /// We accepted: what we receive must be masked, what we send is not.
    Server,
}
