//! splice(2): from a socket into a file without copying through this process.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

use super::Splice;

/// A pipe inside the kernel: splice(2) moves pages from a socket to it, and from it into a file.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes that left the socket and did not get into the file.
    held: usize,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe()?;
        // A pipe of the default size moves 64 KiB a turn, which is enough.
        let _ = fcntl_setpipe_size(&write, PIPE_SIZE);
        Ok(Self { read, write, held: 0 })
    }

    /// Waits for bytes like a read of `socket`, moves them, and returns how many are in the file;
    /// `None` after the peer's FIN. Bytes that the file did not accept are [`Self::held`].
    ///
    /// # Errors
    /// The error of reading the socket, from which nothing was removed. `InvalidInput` if it cannot
    /// be spliced.
    pub(super) fn turn(&mut self, socket: &TcpStream, into: &Splice) -> io::Result<Option<u64>> {
        let most = usize::try_from(into.limit.get()).unwrap_or(PIPE_SIZE).min(PIPE_SIZE);
        let flags = SpliceFlags::MOVE | SpliceFlags::MORE;
        self.held = retry_on_intr(|| splice(socket, None, &self.write, None, most, flags))?;
        if self.held == 0 {
            return Ok(None);
        }
        let (mut place, mut stored) = (into.at, 0);
        while self.held > 0 {
            let out = Some(&mut place);
            match splice(&self.read, None, &into.file, out, self.held, SpliceFlags::MOVE) {
                Err(Errno::INTR) => {}
                // The write of the rest fails for the same reason, and reports it.
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    self.held -= count;
                    stored += count as u64;
                }
            }
        }
        Ok(Some(stored))
    }

    /// Number of bytes that the file did not accept.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Reads the bytes that the file did not accept, at least one.
    ///
    /// # Errors
    /// The error of reading the pipe.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = retry_on_intr(|| rustix::io::read(&self.read, &mut *buffer))?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

/// Maximum size of a pipe of an unprivileged process.
const PIPE_SIZE: usize = 1024 * 1024;
