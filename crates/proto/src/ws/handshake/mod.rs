//! The opening handshake of WebSocket, both sides (RFC 6455 §4).
//!
//! Heads in, bytes out: the owner of the socket reads a head with [`crate::http1`], calls
//! [`accept`] or [`verify`], and writes the result. The one extension is permessage-deflate, if
//! requested.
//!
//! ```text
//!   client                                       server
//!   request(target, key) ──► GET, Upgrade ──►    accept(head, policy) ──► Acceptance or Refusal
//!   verify(head, key, target)   ◄── 101 ◄──      response
//! ```

mod client;
mod extensions;
mod key;
mod origin;
mod server;

pub(crate) use origin::split_port;

pub use client::{ClientTarget, RequestError, ResponseError, Verified, request, verify};
pub use key::Key;
pub use origin::{Origin, OriginError};
pub use server::{Acceptance, OriginPolicy, Policy, Refusal, accept, check_origin, is_own_origin};

/// The only supported version of the protocol (RFC 6455 §4.1).
const VERSION: &str = "13";
