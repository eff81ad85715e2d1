//! Locks of files, which end when the file is closed.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The result of locking a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// The lock is held until the file is closed.
    Acquired,
    /// Another open file has the lock.
    Held,
    /// The file system has no locks.
    Unsupported,
}

/// Locks a file until it is closed.
pub fn lock(file: &File) -> Lock {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Acquired,
        Err(Errno::WOULDBLOCK) => Lock::Held,
        Err(_) => Lock::Unsupported,
    }
}
