//! The sending end of a pipe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::pipe::{PipeKey, Piped};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use bytes::Bytes;

use super::Pipes;
use super::progress::{End, Pipe, Progress};

/// The sending end of a pipe. If it is dropped before [`Self::end`], the pipe ends incomplete.
#[derive(Debug)]
pub(crate) struct PipeSender {
    pub(super) pipes: Arc<Pipes>,
    pub(super) key: PipeKey,
    pub(super) pipe: Arc<Pipe>,
    /// Pieces of one read, which go to the receivers as one.
    pub(super) gathered: Vec<u8>,
    pub(super) wait: Duration,
    pub(super) until: Option<Instant>,
    /// When the last content arrived.
    pub(super) last_content: Option<Instant>,
}

/// What follows after a time without content from a sender.
#[derive(Debug)]
pub(crate) enum Idle {
    Continue,
    /// It waited too long for receivers.
    NotBegun(Refusal),
    /// It sent nothing for the idle timeout, although it could.
    Silent,
}

impl PipeSender {
    /// Returns what it waits for: the receivers, room in their queues, or that they received
    /// everything. After that wait [`Self::idle`] decides.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        let gate = self.pipe.gate.clone();
        if gate.is_open() {
            return None;
        }
        let until = if self.has_begun() { self.pipe.overdue_at() } else { self.until };
        Some(Wait { gate, until, gone_below: 0 })
    }

    /// Continues without receivers that are overdue. Returns whether there were any.
    pub(super) fn remove_slow_receivers(&self) -> bool {
        let count = self.pipe.remove_slow();
        if count > 0 {
            let pipe = self.pipes.alias(&self.key);
            tracing::warn!(%pipe, count, "slow receivers removed from the pipe");
        }
        count > 0
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.pipe.lock().begun.is_some()
    }

    /// Returns how long the sender has sent nothing although it could.
    fn silence(&self) -> Option<Duration> {
        let (begun, resumed_at) = {
            let progress = self.pipe.lock();
            (progress.begun?, progress.resumed_at)
        };
        Some(
            begun
                .max(resumed_at.unwrap_or(begun))
                .max(self.last_content.unwrap_or(begun))
                .elapsed(),
        )
    }

    /// Decides what follows after a time without content, or after a wait: the pipe continues
    /// without receivers that are overdue, or ends if it did not begin in time.
    pub(crate) fn idle(&self, idle: Duration) -> Idle {
        if self.remove_slow_receivers() {
            return Idle::Continue;
        }
        if !self.has_begun() {
            return Idle::NotBegun(self.never_began());
        }
        let is_silent = self.silence().is_some_and(|silence| silence >= idle);
        if is_silent && !self.is_ended() { Idle::Silent } else { Idle::Continue }
    }

    /// Returns whether the content has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.pipe.lock().end.is_some()
    }

    /// Returns how long to wait for content before checking the receivers again.
    pub(crate) fn idle_timeout(&self, idle: Duration) -> Duration {
        let left = self.silence().map_or(idle, |silence| idle.saturating_sub(silence));
        left.clamp(Duration::from_millis(1), LOOK_UP)
    }

    /// Accepts a piece, which [`Self::pass_on`] sends.
    pub(crate) fn write(&mut self, piece: &[u8]) {
        self.gathered.extend_from_slice(piece);
        self.last_content = Some(Instant::now());
    }

    /// Sends the accepted pieces to the receivers.
    pub(crate) fn pass_on(&mut self) {
        if !self.gathered.is_empty() {
            self.pipe.push(Bytes::from(std::mem::take(&mut self.gathered)));
        }
    }

    /// Ends the content.
    pub(crate) fn end(&mut self) {
        self.pass_on();
        self.pipe.end(End::Whole);
    }

    /// Ends the pipe with incomplete content.
    pub(crate) fn broken(&self, reason: &str) {
        self.pipe.end(End::Broken(reason.to_owned()));
    }

    /// Returns the result for the sender, once no receiver is left.
    pub(crate) fn outcome(&self) -> Option<Result<Piped, Refusal>> {
        let progress = self.pipe.lock();
        let (begun, finished_at) = (progress.begun?, progress.finished_at?);
        let Progress { completed: receivers, gone, bytes, .. } = *progress;
        if receivers == 0 {
            let who = if gone == 1 { "the receiver" } else { "all receivers" };
            let message = format!("{who} of this pipe disconnected");
            return Some(Err(Refusal::new(RefusalCode::Interrupted, message)));
        }
        let seconds = finished_at.duration_since(begun).as_secs_f64();
        Some(Ok(Piped { bytes, seconds, receivers, gone }))
    }

    /// Returns why it did not begin in time.
    pub(super) fn never_began(&self) -> Refusal {
        let Self { pipes, key, pipe, wait, .. } = self;
        let there = pipes.lock().get(key).map_or(0, |rendezvous| rendezvous.receivers.len());
        let wanted = pipe.wanted;
        let message = match wanted {
            1 => format!("no receiver connected to this pipe within {wait:?}"),
            _ => format!("{there} of {wanted} receivers connected to this pipe within {wait:?}"),
        };
        Refusal::new(RefusalCode::Interrupted, message)
    }
}

impl Drop for PipeSender {
    fn drop(&mut self) {
        self.pipe.end(End::Broken("the sender disconnected".to_owned()));
        let pipe = self.pipes.alias(&self.key);
        match self.outcome() {
            Some(Ok(Piped { bytes, seconds, receivers, gone })) => {
                tracing::info!(%pipe, bytes, seconds, receivers, gone, "piped");
            }
            _ => tracing::info!(%pipe, "pipe failed"),
        }
        let mut table = self.pipes.lock();
        if let Some(rendezvous) = table.get_mut(&self.key) {
            rendezvous.sender = None;
        }
        Pipes::remove_if_unused(&mut table, &self.key);
    }
}

/// Maximum time until an idle sender is notified that all receivers left.
const LOOK_UP: Duration = Duration::from_secs(1);
