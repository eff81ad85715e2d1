//! Receiver and sender by the rules of RFC 6455, over every cut of the stream. The name of a test
//! begins with its rule; docs/PROTOCOLS.md lists them all.
#![expect(clippy::unwrap_used, reason = "tests")]

mod closing;
mod cuts;
mod framing;
mod limits;
mod masking;
mod messages;
mod session;
mod text;
