//! The progress of one response, which its flow records and the watch of its connection checks.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The progress of one response. Times are in milliseconds since the beginning of the connection.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the socket last accepted a byte of the response, or the client's window last had room
    /// for a piece.
    pub(super) moved: AtomicU64,
    /// The response waits for its client, and for nothing else.
    pub(super) waits: AtomicBool,
    /// Bytes that hyper and h2 hold.
    pub(super) held: AtomicUsize,
    cancel: Notify,
}

impl Progress {
    pub(super) fn new(now: u64) -> Self {
        let (waits, held) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { moved: AtomicU64::new(now), waits, held, cancel: Notify::new() }
    }

    /// Returns when the response last made progress, if nothing but its client can make more.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let waits = self.waits.load(Ordering::Acquire) || self.held.load(Ordering::Acquire) > 0;
        waits.then(|| self.moved.load(Ordering::Relaxed))
    }

    /// Ends the task of the stream.
    pub(super) fn cancel(&self) {
        self.cancel.notify_one();
    }

    /// Waits for [`Self::cancel`].
    ///
    /// Cancel safe: yes.
    pub(super) async fn cancelled(&self) {
        self.cancel.notified().await;
    }
}
