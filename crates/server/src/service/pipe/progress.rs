//! Progress of a pipe: the queue of each receiver, and the gate of the sender.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::Gate;
use bytes::Bytes;

use super::{ContentInfo, Output};

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) info: ContentInfo,
    pub(super) wanted: usize,
    pub(super) buffer: usize,
    /// The gate of the sender.
    pub(super) gate: Arc<Gate>,
    pub(super) progress: Mutex<Progress>,
}

/// The progress of a pipe.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) begun: Option<Instant>,
    /// Content that arrived before it began: in the same read as the request.
    pub(super) early: Vec<Bytes>,
    /// One for each receiver; `None` once it has left.
    pub(super) queues: Vec<Option<Queue>>,
    pub(super) bytes: u64,
    /// Receivers that received everything, and those that disconnected before.
    pub(super) completed: usize,
    pub(super) gone: usize,
    pub(super) end: Option<End>,
    /// When the pipe last continued without a slow receiver, for which the sender had to wait.
    pub(super) resumed_at: Option<Instant>,
    /// When the last receiver left.
    pub(super) finished_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum End {
    Whole,
    Broken(String),
}

/// The content that one receiver has not read yet.
#[derive(Debug)]
pub(super) struct Queue {
    gate: Arc<Gate>,
    pub(super) pieces: VecDeque<Bytes>,
    /// Their cost in the pipe's buffer.
    load: usize,
    /// How long it may leave queued bytes unread; `None` where its own session checks that.
    idle_timeout: Option<Duration>,
    /// Since when queued content waits, or when some of it was last read.
    waits_since: Option<Instant>,
}

impl Pipe {
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or closes the sender's gate. Between half and all of the buffer it stays as it is, so
    /// that the two sides do not wake each other for every piece.
    pub(super) fn update_gate(&self, progress: &Progress) {
        let fullest = progress.live().map(|queue| queue.load).max();
        match (fullest, &progress.end) {
            _ if progress.begun.is_none() => {}
            (None, _) => self.gate.open(),
            // The sender waits for the remaining receivers.
            (Some(_), Some(_)) => self.gate.close(),
            (Some(load), None) if load >= self.buffer => self.gate.close(),
            (Some(load), None) if load <= self.buffer / 2 => self.gate.open(),
            (Some(_), None) => {}
        }
    }

    pub(super) fn push(&self, piece: Bytes) {
        let mut progress = self.lock();
        progress.bytes += piece.len() as u64;
        if progress.begun.is_none() {
            progress.early.push(piece);
            return;
        }
        for queue in progress.queues.iter_mut().flatten() {
            queue.push(piece.clone());
            queue.gate.open();
        }
        self.update_gate(&progress);
    }

    pub(super) fn end(&self, end: End) {
        let mut progress = self.lock();
        if progress.end.is_some() {
            return;
        }
        progress.end = Some(end);
        for queue in progress.queues.iter_mut().flatten() {
            // The receiver must read the end too.
            queue.waits();
            queue.gate.open();
        }
        self.update_gate(&progress);
    }

    pub(super) fn leave(&self, place: usize, whole: bool) {
        let mut progress = self.lock();
        // A slow receiver that was removed has been counted.
        if progress.queues[place].take().is_none() {
            return;
        }
        if whole {
            progress.completed += 1;
        } else {
            progress.gone += 1;
        }
        progress.finish_if_done();
        self.update_gate(&progress);
    }

    /// Returns when the first receiver will be overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.lock().live().filter_map(Queue::overdue_at).min()
    }

    /// Removes the receivers that are overdue, and returns their number.
    pub(super) fn remove_slow(&self) -> usize {
        let mut progress = self.lock();
        let (now, gone) = (Instant::now(), progress.gone);
        let Progress { queues, gone: count, .. } = &mut *progress;
        for place in queues {
            let is_overdue = |queue: &mut Queue| queue.overdue_at().is_some_and(|at| at <= now);
            if let Some(queue) = place.take_if(is_overdue) {
                *count += 1;
                queue.gate.open();
            }
        }
        let left_behind = progress.gone - gone;
        if left_behind > 0 {
            progress.resumed_at = Some(now);
            progress.finish_if_done();
            self.update_gate(&progress);
        }
        left_behind
    }

    pub(super) fn fill(&self, place: usize, buffer: &mut [u8]) -> Output {
        let mut progress = self.lock();
        let Progress { queues, end, .. } = &mut *progress;
        // The rest of incomplete content is not worth sending.
        if let Some(End::Broken(reason)) = end {
            return Output::Broken(reason.clone());
        }
        let Some(queue) = &mut queues[place] else { return Output::Broken(TOO_SLOW.to_owned()) };
        let filled = queue.fill(buffer);
        if end.is_some() {
            queue.waits();
        }
        match (filled, end) {
            (0, Some(_)) => return Output::End,
            (0, None) => {
                queue.gate.close();
                return Output::Nothing;
            }
            _ => {}
        }
        self.update_gate(&progress);
        Output::Bytes(filled)
    }
}

impl Progress {
    pub(super) fn live(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().flatten()
    }

    fn finish_if_done(&mut self) {
        if self.live().next().is_none() {
            self.finished_at = Some(Instant::now());
        }
    }
}

impl Queue {
    pub(super) fn new(gate: Arc<Gate>, idle_timeout: Option<Duration>, early: &[Bytes]) -> Self {
        let (pieces, load, waits_since) = (VecDeque::new(), 0, None);
        let mut queue = Self { gate, pieces, load, idle_timeout, waits_since };
        early.iter().cloned().for_each(|piece| queue.push(piece));
        queue
    }

    fn push(&mut self, piece: Bytes) {
        self.load += piece.len() + PIECE_LOAD;
        self.pieces.push_back(piece);
        self.waits();
    }

    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len()
            && let Some(piece) = self.pieces.front_mut()
        {
            let part = piece.split_to(piece.len().min(buffer.len() - filled));
            buffer[filled..filled + part.len()].copy_from_slice(&part);
            filled += part.len();
            if piece.is_empty() {
                self.pieces.pop_front();
                self.load -= PIECE_LOAD;
            }
        }
        self.load -= filled;
        self.waits_since = None;
        if !self.pieces.is_empty() {
            self.waits();
        }
        filled
    }

    /// Starts the time for reading, unless it runs already.
    fn waits(&mut self) {
        if self.idle_timeout.is_some() {
            self.waits_since.get_or_insert_with(Instant::now);
        }
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.waits_since?.checked_add(self.idle_timeout?)
    }
}

/// Reason for a receiver that was removed because it read nothing for too long.
const TOO_SLOW: &str = "too slow: the pipe continued without this receiver";

/// Cost of a piece in the buffer beside its bytes: an allocation, and an entry in the queue of
/// each of up to 64 receivers. Otherwise content in single bytes would need a hundred times its
/// size.
pub(super) const PIECE_LOAD: usize = 2 * 1024;
