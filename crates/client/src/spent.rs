//! The time that a source took, for the diagnosis of its transfer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time that a source took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// When the first content was asked for.
    pub(crate) first: Option<Instant>,
    /// When the latest content was read.
    pub(crate) last: Option<Instant>,
    pub(crate) reading: Duration,
    /// In calls of sendfile that left nothing to send.
    pub(crate) by_kernel: Duration,
    pub(crate) hashing: Duration,
    /// Waiting for the requested rate.
    pub(crate) pausing: Duration,
    /// Whether it is a pipe or a device.
    pub(crate) is_stream: bool,
}

/// The content so far and its time, for another thread too.
#[derive(Debug, Clone, Default)]
pub(crate) struct SoFar(Arc<Mutex<(u64, Spent)>>);

impl SoFar {
    /// Sets the bytes so far and their time.
    pub(crate) fn set(&self, bytes: u64, spent: Spent) {
        *self.state() = (bytes, spent);
    }

    /// Adds a further file of the same transfer.
    pub(crate) fn add(&self, bytes: u64, spent: &Spent) {
        let (whole, so_far) = &mut *self.state();
        *whole += bytes;
        so_far.first = so_far.first.or(spent.first);
        so_far.last = spent.last.or(so_far.last);
        so_far.reading += spent.reading;
        so_far.hashing += spent.hashing;
    }

    /// Returns the bytes so far and their time.
    pub(crate) fn get(&self) -> (u64, Spent) {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, (u64, Spent)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What receiving has taken so far, for another thread too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake(Arc<Mutex<Work>>);

/// The work of this end on received content.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Bytes received.
    pub(crate) bytes: u64,
    pub(crate) hashing: Duration,
    /// Writing, and waiting for the disk.
    pub(crate) storing: Duration,
    /// Waiting for the requested rate.
    pub(crate) pausing: Duration,
}

impl Intake {
    /// Adds work.
    pub(crate) fn add(&self, work: Work) {
        let mut so_far = self.state();
        so_far.bytes += work.bytes;
        so_far.hashing += work.hashing;
        so_far.storing += work.storing;
        so_far.pausing += work.pausing;
    }

    /// Returns the work so far.
    pub(crate) fn get(&self) -> Work {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
