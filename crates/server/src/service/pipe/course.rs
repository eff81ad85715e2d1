//! How far a pipe is: what each of its takers still has to be given, and what its giver waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::Gate;
use bytes::Bytes;

use super::{Facts, Given};

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) facts: Facts,
    pub(super) wanted: usize,
    pub(super) buffer: usize,
    /// The giver's.
    pub(super) gate: Arc<Gate>,
    pub(super) course: Mutex<Course>,
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) begun: Option<Instant>,
    /// What came before that: with the request, in the same read.
    pub(super) early: Vec<Bytes>,
    /// One for each taker; none once it has left.
    pub(super) queues: Vec<Option<Queue>>,
    pub(super) bytes: u64,
    /// Takers that were given everything, and those that left before.
    pub(super) given: usize,
    pub(super) gone: usize,
    pub(super) end: Option<End>,
    /// When the giver went on without somebody for whom it had been kept waiting.
    pub(super) relieved: Option<Instant>,
    /// When the last taker left.
    pub(super) settled: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum End {
    Whole,
    Broken(String),
}

/// What one taker still has to be given.
#[derive(Debug)]
pub(super) struct Queue {
    gate: Arc<Gate>,
    pub(super) pieces: VecDeque<Bytes>,
    /// What they are worth in the pipe's buffer.
    load: usize,
    /// How long it may take nothing; none where its own session sees to that.
    patience: Option<Duration>,
    /// Since when something waits for it, or when it took some of that last.
    waits_since: Option<Instant>,
}

impl Pipe {
    pub(super) fn lock(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or closes the giver's gate. Between half and all of the buffer it stays as it is, so
    /// that the two sides do not wake each other for every piece.
    pub(super) fn tune(&self, course: &Course) {
        let fullest = course.live().map(|queue| queue.load).max();
        match (fullest, &course.end) {
            _ if course.begun.is_none() => {}
            (None, _) => self.gate.open(),
            // It waits for those who still take.
            (Some(_), Some(_)) => self.gate.close(),
            (Some(load), None) if load >= self.buffer => self.gate.close(),
            (Some(load), None) if load <= self.buffer / 2 => self.gate.open(),
            (Some(_), None) => {}
        }
    }

    pub(super) fn push(&self, piece: Bytes) {
        let mut course = self.lock();
        course.bytes += piece.len() as u64;
        if course.begun.is_none() {
            course.early.push(piece);
            return;
        }
        for queue in course.queues.iter_mut().flatten() {
            queue.push(piece.clone());
            queue.gate.open();
        }
        self.tune(&course);
    }

    pub(super) fn end(&self, end: End) {
        let mut course = self.lock();
        if course.end.is_some() {
            return;
        }
        course.end = Some(end);
        for queue in course.queues.iter_mut().flatten() {
            // The end waits for it too.
            queue.waits();
            queue.gate.open();
        }
        self.tune(&course);
    }

    pub(super) fn leave(&self, place: usize, whole: bool) {
        let mut course = self.lock();
        // One that was left behind has been counted.
        if course.queues[place].take().is_none() {
            return;
        }
        if whole {
            course.given += 1;
        } else {
            course.gone += 1;
        }
        course.settle();
        self.tune(&course);
    }

    /// When one of its takers will have taken nothing for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.lock().live().filter_map(Queue::overdue_at).min()
    }

    /// Goes on without those that have taken nothing for too long; gives how many that were.
    pub(super) fn leave_behind(&self) -> usize {
        let mut course = self.lock();
        let (now, gone) = (Instant::now(), course.gone);
        let Course { queues, gone: count, .. } = &mut *course;
        for place in queues {
            let is_overdue = |queue: &mut Queue| queue.overdue_at().is_some_and(|at| at <= now);
            if let Some(queue) = place.take_if(is_overdue) {
                *count += 1;
                queue.gate.open();
            }
        }
        let left_behind = course.gone - gone;
        if left_behind > 0 {
            course.relieved = Some(now);
            course.settle();
            self.tune(&course);
        }
        left_behind
    }

    pub(super) fn fill(&self, place: usize, buffer: &mut [u8]) -> Given {
        let mut course = self.lock();
        let Course { queues, end, .. } = &mut *course;
        // A content that is not whole is not worth its rest.
        if let Some(End::Broken(reason)) = end {
            return Given::Broken(reason.clone());
        }
        let Some(queue) = &mut queues[place] else { return Given::Broken(LEFT_BEHIND.to_owned()) };
        let filled = queue.fill(buffer);
        if end.is_some() {
            queue.waits();
        }
        match (filled, end) {
            (0, Some(_)) => return Given::End,
            (0, None) => {
                queue.gate.close();
                return Given::Nothing;
            }
            _ => {}
        }
        self.tune(&course);
        Given::Bytes(filled)
    }
}

impl Course {
    pub(super) fn live(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().flatten()
    }

    fn settle(&mut self) {
        if self.live().next().is_none() {
            self.settled = Some(Instant::now());
        }
    }
}

impl Queue {
    pub(super) fn new(gate: Arc<Gate>, patience: Option<Duration>, early: &[Bytes]) -> Self {
        let (pieces, load, waits_since) = (VecDeque::new(), 0, None);
        let mut queue = Self { gate, pieces, load, patience, waits_since };
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

    /// Something waits for it, from now on if it did not before.
    fn waits(&mut self) {
        if self.patience.is_some() {
            self.waits_since.get_or_insert_with(Instant::now);
        }
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.waits_since?.checked_add(self.patience?)
    }
}

/// What a taker is told that took nothing for too long.
const LEFT_BEHIND: &str = "too slow: the pipe continued without this receiver";

/// What a piece takes of the buffer beside its bytes: a place in the queue of each receiver, of
/// which there are up to 64, and an allocation. Else content that comes byte by byte would take a
/// hundred times its size.
pub(super) const PIECE_LOAD: usize = 2 * 1024;
