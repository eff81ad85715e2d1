//! Ways to carry a file: one module a protocol, mirroring the server's sessions.

pub(crate) mod handshake;
pub(crate) mod library;
pub(crate) mod raw;
pub(crate) mod ws;

/// Bytes that the kernel sends by itself before we look whether the server has said something.
const UNSEEN: usize = 1024 * 1024;

/// How far writing came.
enum Written {
    All,
    /// The server spoke, or went, before everything was sent.
    UntilInterrupted,
}
