//! Ways to carry a file: one module a protocol, mirroring the server's sessions.

pub(crate) mod handshake;
pub(crate) mod library;
pub(crate) mod raw;
pub(crate) mod ws;

use std::io;
use std::net::TcpStream;

use rustix::net::{RecvFlags, recv};

use crate::error::SendError;

/// Bytes of the buffer that content goes through. About the size of L2.
pub(crate) const BUFFER: usize = 256 * 1024;

/// Bytes that the kernel sends by itself before we look whether the server has said something.
const UNSEEN: usize = 1024 * 1024;

/// The longest answer that is read: a receipt, a refusal, a response to a handshake.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// Whether the server has said something, or has gone, without waiting for it.
pub(crate) fn has_something_to_say(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    match recv(stream, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok(_) => true,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
        // An error that the next read will tell in full.
        Err(_) => true,
    }
}

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
