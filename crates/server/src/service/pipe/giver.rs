//! Who gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::pipe::{PipeKey, Piped};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use bytes::Bytes;

use super::Pipes;
use super::course::{Course, End, Pipe};

/// The end of a pipe that content goes into. Dropped before [`Self::end`], it breaks the pipe.
#[derive(Debug)]
pub(crate) struct Giver {
    pub(super) pipes: Arc<Pipes>,
    pub(super) key: PipeKey,
    pub(super) pipe: Arc<Pipe>,
    /// Of one read, so that what comes in crumbs is not passed on in crumbs.
    pub(super) gathered: Vec<u8>,
    pub(super) wait: Duration,
    pub(super) until: Option<Instant>,
    /// When something came last.
    pub(super) heard: Option<Instant>,
}

/// What a time without content means for a sender.
#[derive(Debug)]
pub(crate) enum Idle {
    Continue,
    /// It waited too long for receivers.
    NotBegun(Refusal),
    /// It sent nothing for the idle timeout, although it could.
    Silent,
}

impl Giver {
    /// What it waits for now: the takers, or room in their queues, or that they have everything.
    /// When that is over it [`Self::leaves_behind`] what [`Self::idle`] says.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        let gate = self.pipe.gate.clone();
        if gate.is_open() {
            return None;
        }
        let until = if self.has_begun() { self.pipe.overdue_at() } else { self.until };
        Some(Wait { gate, until, gone_below: 0 })
    }

    /// Goes on without those that have taken nothing for too long, if there are any.
    pub(super) fn leaves_behind(&self) -> bool {
        let count = self.pipe.leave_behind();
        if count > 0 {
            let pipe = self.pipes.alias(&self.key);
            tracing::warn!(%pipe, count, "slow receivers removed from the pipe");
        }
        count > 0
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.pipe.lock().begun.is_some()
    }

    /// For how long nothing has come, though it might have.
    fn silence(&self) -> Option<Duration> {
        let (begun, relieved) = {
            let course = self.pipe.lock();
            (course.begun?, course.relieved)
        };
        Some(begun.max(relieved.unwrap_or(begun)).max(self.heard.unwrap_or(begun)).elapsed())
    }

    /// Decides what a time without content means, or the end of a wait: the pipe goes on without
    /// receivers that are too slow, if there are any, or ends if it did not begin in time.
    pub(crate) fn idle(&self, idle: Duration) -> Idle {
        if self.leaves_behind() {
            return Idle::Continue;
        }
        if !self.has_begun() {
            return Idle::NotBegun(self.in_vain());
        }
        let is_silent = self.silence().is_some_and(|silence| silence >= idle);
        if is_silent && !self.is_ended() { Idle::Silent } else { Idle::Continue }
    }

    /// Returns whether all of the content was written, or no more is.
    pub(crate) fn is_ended(&self) -> bool {
        self.pipe.lock().end.is_some()
    }

    /// How long to wait for more before looking whether anybody still takes it.
    pub(crate) fn patience(&self, idle: Duration) -> Duration {
        let left = self.silence().map_or(idle, |silence| idle.saturating_sub(silence));
        left.clamp(Duration::from_millis(1), LOOK_UP)
    }

    /// Takes a piece; it is on its way with [`Self::pass_on`].
    pub(crate) fn write(&mut self, piece: &[u8]) {
        self.gathered.extend_from_slice(piece);
        self.heard = Some(Instant::now());
    }

    /// Passes on what was written since.
    pub(crate) fn pass_on(&mut self) {
        if !self.gathered.is_empty() {
            self.pipe.push(Bytes::from(std::mem::take(&mut self.gathered)));
        }
    }

    /// That was all of it.
    pub(crate) fn end(&mut self) {
        self.pass_on();
        self.pipe.end(End::Whole);
    }

    /// No more comes, and it was not all.
    pub(crate) fn broken(&self, reason: &str) {
        self.pipe.end(End::Broken(reason.to_owned()));
    }

    /// What there is to tell the sender, once no taker is left.
    pub(crate) fn outcome(&self) -> Option<Result<Piped, Refusal>> {
        let course = self.pipe.lock();
        let (begun, settled) = (course.begun?, course.settled?);
        let Course { given: receivers, gone, bytes, .. } = *course;
        if receivers == 0 {
            let who = if gone == 1 { "the receiver" } else { "all receivers" };
            let message = format!("{who} of this pipe disconnected");
            return Some(Err(Refusal::new(RefusalCode::Interrupted, message)));
        }
        let seconds = settled.duration_since(begun).as_secs_f64();
        Some(Ok(Piped { bytes, seconds, receivers, gone }))
    }

    /// Returns why it did not begin in time.
    pub(super) fn in_vain(&self) -> Refusal {
        let Self { pipes, key, pipe, wait, .. } = self;
        let there = pipes.lock().get(key).map_or(0, |meeting| meeting.takers.len());
        let wanted = pipe.wanted;
        let message = match wanted {
            1 => format!("no receiver connected to this pipe within {wait:?}"),
            _ => format!("{there} of {wanted} receivers connected to this pipe within {wait:?}"),
        };
        Refusal::new(RefusalCode::Interrupted, message)
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.pipe.end(End::Broken("the sender disconnected".to_owned()));
        let pipe = self.pipes.alias(&self.key);
        match self.outcome() {
            Some(Ok(Piped { bytes, seconds, receivers, gone })) => {
                tracing::info!(%pipe, bytes, seconds, receivers, gone, "piped");
            }
            _ => tracing::info!(%pipe, "pipe failed"),
        }
        let mut meetings = self.pipes.lock();
        if let Some(meeting) = meetings.get_mut(&self.key) {
            meeting.giver = None;
        }
        Pipes::tidy(&mut meetings, &self.key);
    }
}

/// A sender that says nothing is told within this time that nobody takes any more.
const LOOK_UP: Duration = Duration::from_secs(1);
