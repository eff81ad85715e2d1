//! The opening handshake of WebSocket, both sides (RFC 6455 §4).
//!
//! Heads go in and bytes come out: who owns the socket reads a head with [`crate::http1`], asks
//! [`accept`] or [`verify`], and writes what it gets. The one extension is permessage-deflate, for
//! those who ask for it.
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
pub use server::{Acceptance, OriginPolicy, Policy, Refusal, accept, check_origin};

/// The only version of the protocol that is spoken (RFC 6455 §4.1).
const VERSION: &str = "13";
