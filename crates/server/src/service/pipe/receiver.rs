//! The receiving end of a pipe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::pipe::PipeKey;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::{ContentInfo, Pipes, Waiting};

/// The receiving end of a pipe. If it is dropped before [`Self::finish`], the receiver counts
/// as disconnected.
#[derive(Debug)]
pub(crate) struct PipeReceiver {
    pub(super) pipes: Arc<Pipes>,
    pub(super) key: PipeKey,
    pub(super) waiting: Arc<Waiting>,
    /// Maximum time until the pipe begins, named in the refusal.
    pub(super) wait: Duration,
    /// End of that time; `None` if the clock cannot represent it.
    pub(super) until: Option<Instant>,
    pub(super) finished: bool,
}

/// The result of reading from a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Number of bytes in the buffer.
    Bytes(usize),
    /// No content yet; the receiver's gate is closed.
    Nothing,
    /// The end of complete content.
    End,
    /// The sender was interrupted, for this reason.
    Broken(String),
}

impl PipeReceiver {
    /// Returns the wait for the pipe to begin or for more content; `None` if it can read now.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        let until = self.until.filter(|_| self.info().is_none());
        let wait = Wait { gate: self.waiting.gate.clone(), until, gone_below: 0 };
        (!wait.gate.is_open()).then_some(wait)
    }

    /// Returns the properties of the content; `None` until the pipe begins.
    pub(crate) fn info(&self) -> Option<&ContentInfo> {
        self.waiting.pipe.get().map(|(pipe, _)| &pipe.info)
    }

    pub(crate) const fn key(&self) -> &PipeKey {
        &self.key
    }

    /// Reads the next content into `buffer`.
    pub(crate) fn next(&self, buffer: &mut [u8]) -> Output {
        self.waiting.pipe.get().map_or(Output::Nothing, |(pipe, index)| pipe.fill(*index, buffer))
    }

    /// Records that this receiver received all content.
    pub(crate) fn finish(mut self) {
        if let Some((pipe, index)) = self.waiting.pipe.get() {
            pipe.leave(*index, true);
            self.finished = true;
        }
    }

    /// Returns the refusal for a pipe that did not begin in time.
    pub(crate) fn never_began(&self) -> Refusal {
        let message = format!(
            "the pipe did not start within {:?}: no sender, or too few receivers",
            self.wait
        );
        Refusal::new(RefusalCode::Interrupted, message)
    }
}

impl Drop for PipeReceiver {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut table = self.pipes.lock();
        // A pipe begins under this lock, so it cannot begin between this check and the removal.
        if let Some((pipe, index)) = self.waiting.pipe.get() {
            drop(table);
            return pipe.leave(*index, false);
        }
        if let Some(rendezvous) = table.get_mut(&self.key) {
            rendezvous.receivers.retain(|waiting| !Arc::ptr_eq(waiting, &self.waiting));
        }
        Pipes::remove_if_unused(&mut table, &self.key);
    }
}
