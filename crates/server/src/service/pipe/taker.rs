//! Who takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::pipe::PipeKey;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::{Facts, Pipes, Seat};

/// The end that it comes out of. Dropped before [`Self::finish`], it has gone away.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(super) pipes: Arc<Pipes>,
    pub(super) key: PipeKey,
    pub(super) seat: Arc<Seat>,
    pub(super) wait: Duration,
    pub(super) until: Option<Instant>,
    pub(super) finished: bool,
}

/// What comes out of a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// So many bytes, in the buffer.
    Bytes(usize),
    /// Nothing yet; its gate is closed.
    Nothing,
    /// That was all.
    End,
    /// The giver broke off, for this reason.
    Broken(String),
}

impl Taker {
    /// What it waits for now: the giver and the other takers, or more content.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        let until = self.until.filter(|_| self.facts().is_none());
        let wait = Wait { gate: self.seat.gate.clone(), until, gone_below: 0 };
        (!wait.gate.is_open()).then_some(wait)
    }

    /// What it takes; none while it waits.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.seat.pipe.get().map(|(pipe, _)| &pipe.facts)
    }

    pub(crate) const fn key(&self) -> &PipeKey {
        &self.key
    }

    /// What comes next, as much as fits.
    pub(crate) fn next(&self, buffer: &mut [u8]) -> Given {
        self.seat.pipe.get().map_or(Given::Nothing, |(pipe, place)| pipe.fill(*place, buffer))
    }

    /// It has been given everything.
    pub(crate) fn finish(mut self) {
        if let Some((pipe, place)) = self.seat.pipe.get() {
            pipe.leave(*place, true);
            self.finished = true;
        }
    }

    /// Why it did not begin in time.
    pub(crate) fn in_vain(&self) -> Refusal {
        let message = format!(
            "the pipe did not start within {:?}: no sender, or too few receivers",
            self.wait
        );
        Refusal::new(RefusalCode::Interrupted, message)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut meetings = self.pipes.lock();
        // A pipe begins under the same lock.
        if let Some((pipe, place)) = self.seat.pipe.get() {
            drop(meetings);
            return pipe.leave(*place, false);
        }
        if let Some(meeting) = meetings.get_mut(&self.key) {
            meeting.takers.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        }
        Pipes::tidy(&mut meetings, &self.key);
    }
}
