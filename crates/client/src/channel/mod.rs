//! Ways to carry a file: one module a protocol, mirroring the server's sessions.

pub(crate) mod handshake;
pub(crate) mod library;
pub(crate) mod raw;
pub(crate) mod ws;

use std::io;

use crate::error::SendError;

/// Bytes of the buffer that content goes through. About the size of L2.
pub(crate) const BUFFER: usize = 256 * 1024;

/// Bytes that the kernel sends by itself before we look whether the server has said something.
const UNSEEN: usize = 1024 * 1024;

/// The longest answer that is read: a receipt, a refusal, a response to a handshake.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// The end of a stream where an answer was due.
pub(crate) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

/// How far writing came.
enum Written {
    All,
    /// The server spoke, or went, before everything was sent.
    UntilInterrupted,
}

/// Why writing stopped.
pub(crate) enum Stopped {
    Local(SendError),
    Broken(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}
