//! The protocols of anyport without sockets, files, clocks or tasks: bytes in → events out, commands in → bytes out.
//!
//! ```text
//!   bytes ──► detect ──► Verdict          which protocol is this?
//!   bytes ──► http1::head, ws::handshake  an opening handshake, accepted or refused in words
//!   bytes ──► ws::Receiver ──► events     payload unmasked in place, never owned, never assembled
//!   commands ──► ws::Sender ──► bytes
//!   lines ──► preface                     what a person types: ANYPORT/1 PUT name size=N
//!   texts ──► rooms                       what people say to each other, and what they are told
//!   fields, lines ──► access              who may come in: tokens, and names of hosts
//! ```
//!
//! Whoever owns the socket (the server's sessions, the client's channels) reads into a buffer, hands it in, and
//! writes out what comes back. Every size a peer can influence has its name in [`limits`].

#![forbid(unsafe_code)]

pub mod access;
pub mod detect;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod one_line;
pub mod pipe;
pub mod preface;
pub mod rooms;
pub mod transfer;
pub mod visible;
pub mod ws;
