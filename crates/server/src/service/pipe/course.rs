//! How far a pipe is: what each of its takers still has to be given, and what its giver waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
    /// When the last taker left.
    pub(super) settled: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum End {
    Whole,
    Broken(String),
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) gate: Arc<Gate>,
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) bytes: usize,
}

impl Pipe {
    pub(super) fn lock(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or closes the giver's gate. Between half and all of the buffer it stays as it is, so that the two sides do not
    /// wake each other for every piece.
    pub(super) fn tune(&self, course: &Course) {
        let fullest = course.live().map(|queue| queue.bytes).max();
        match (fullest, &course.end) {
            _ if course.begun.is_none() => {}
            (None, _) => self.gate.open(),
            // It waits for those who still take.
            (Some(_), Some(_)) => self.gate.close(),
            (Some(bytes), None) if bytes >= self.buffer => self.gate.close(),
            (Some(bytes), None) if bytes <= self.buffer / 2 => self.gate.open(),
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
            queue.bytes += piece.len();
            queue.pieces.push_back(piece.clone());
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
        course.live().for_each(|queue| queue.gate.open());
        self.tune(&course);
    }

    pub(super) fn leave(&self, place: usize, whole: bool) {
        let mut course = self.lock();
        course.queues[place] = None;
        if whole {
            course.given += 1;
        } else {
            course.gone += 1;
        }
        if course.live().next().is_none() {
            course.settled = Some(Instant::now());
        }
        self.tune(&course);
    }

    pub(super) fn fill(&self, place: usize, buffer: &mut [u8]) -> Given {
        let mut course = self.lock();
        let Course { queues, end, .. } = &mut *course;
        // A content that is not whole is not worth its rest.
        if let Some(End::Broken(reason)) = end {
            return Given::Broken(reason.clone());
        }
        let Some(queue) = &mut queues[place] else { return Given::End };
        let filled = queue.fill(buffer);
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
}

impl Queue {
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
            }
        }
        self.bytes -= filled;
        filled
    }
}
