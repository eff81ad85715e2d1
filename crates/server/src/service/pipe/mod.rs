//! Pipes: content goes from one session to others while it comes, and is stored nowhere (docs/pipe.md).
//!
//! ```text
//!   giver ──► pieces, shared ──► a queue for each taker ──► taker
//!     ▲ gate: closed while a queue is full                    ▲ gate: closed while its queue is empty
//! ```
//!
//! A giver and as many takers as it wants meet by a key; further takers wait for the next giver of that key. The fullest
//! queue closes the giver's gate, so the slowest taker sets the pace, and what is held is one buffer and one read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::{Gate, Held};
use anyport_proto::limits::MAX_PIPE_RECEIVERS;
use anyport_proto::transfer::pipe::{Give, PipeKey, Piped};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use bytes::Bytes;

use crate::config::PipeLimits;
use crate::live::Live;

/// All pipes of a server.
#[derive(Debug)]
pub(crate) struct Pipes {
    limits: Live<PipeLimits>,
    meetings: Mutex<HashMap<PipeKey, Meeting>>,
}

/// Who has come for one key.
#[derive(Debug, Default)]
struct Meeting {
    /// It waits, or it gives.
    giver: Option<Arc<Pipe>>,
    /// Those who wait, in the order in which they came.
    takers: VecDeque<Arc<Seat>>,
}

/// What a giver says of its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: Option<u64>,
    /// Its media type, if that may be passed on.
    pub(crate) media: Option<String>,
}

#[derive(Debug)]
struct Pipe {
    facts: Facts,
    wanted: usize,
    buffer: usize,
    /// The giver's.
    gate: Arc<Gate>,
    course: Mutex<Course>,
}

/// How far it is.
#[derive(Debug, Default)]
struct Course {
    begun: Option<Instant>,
    /// What came before that: with the request, in the same read.
    early: Vec<Bytes>,
    /// One for each taker; none once it has left.
    queues: Vec<Option<Queue>>,
    bytes: u64,
    /// Takers that were given everything, and those that left before.
    given: usize,
    gone: usize,
    end: Option<End>,
    /// When the last taker left.
    settled: Option<Instant>,
}

#[derive(Debug)]
enum End {
    Whole,
    Broken(String),
}

#[derive(Debug)]
struct Queue {
    gate: Arc<Gate>,
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

/// Where a taker waits until there is a pipe for it, and its place there.
#[derive(Debug, Default)]
struct Seat {
    gate: Arc<Gate>,
    pipe: OnceLock<(Arc<Pipe>, usize)>,
}

/// The end of a pipe that content goes into. Dropped before [`Self::end`], it breaks the pipe.
#[derive(Debug)]
pub(crate) struct Giver {
    pipes: Arc<Pipes>,
    key: PipeKey,
    pipe: Arc<Pipe>,
    /// Of one read, so that what comes in crumbs is not passed on in crumbs.
    gathered: Vec<u8>,
    wait: Duration,
    until: Option<Instant>,
    /// When something came last.
    heard: Option<Instant>,
}

/// The end that it comes out of. Dropped before [`Self::finish`], it has gone away.
#[derive(Debug)]
pub(crate) struct Taker {
    pipes: Arc<Pipes>,
    key: PipeKey,
    seat: Arc<Seat>,
    wait: Duration,
    until: Option<Instant>,
    finished: bool,
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

impl Pipes {
    pub(crate) fn new(limits: PipeLimits) -> Self {
        Self { limits: Live::new(limits), meetings: Mutex::default() }
    }

    /// For pipes that begin from now on, and for their number.
    pub(crate) fn set_limits(&self, limits: PipeLimits) {
        self.limits.replace(limits);
    }

    /// Begins to give; it waits until all takers are there.
    pub(crate) fn give(
        self: &Arc<Self>,
        give: &Give,
        media: Option<String>,
    ) -> Result<Giver, Refusal> {
        let Give { key, size, receivers } = give;
        let mut meetings = self.lock();
        let meeting = self.meeting(&mut meetings, key)?;
        if meeting.giver.is_some() {
            let message = format!("pipe {key} has a sender already");
            let refusal = Refusal::new(RefusalCode::Exists, message);
            return Err(refusal.with_hint("wait until that has ended, or agree on another key"));
        }
        let pipe = Arc::new(Pipe {
            facts: Facts { size: *size, media },
            wanted: *receivers,
            buffer: self.limits.now().buffer,
            gate: Arc::default(),
            course: Mutex::default(),
        });
        tracing::info!(%key, receivers, "a sender came");
        meeting.giver = Some(pipe.clone());
        meeting.begin_if_all_are_there();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(Giver { pipes, key, pipe, gathered: Vec::new(), wait, until, heard: None })
    }

    /// Begins to take; it waits for a giver, and for the other takers.
    pub(crate) fn take(self: &Arc<Self>, key: &PipeKey) -> Result<Taker, Refusal> {
        let mut meetings = self.lock();
        let meeting = self.meeting(&mut meetings, key)?;
        if meeting.takers.len() >= MAX_PIPE_RECEIVERS {
            let message = format!("{MAX_PIPE_RECEIVERS} receivers wait for pipe {key} already");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        tracing::info!(%key, "a receiver came");
        let seat = Arc::<Seat>::default();
        meeting.takers.push_back(seat.clone());
        meeting.begin_if_all_are_there();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(Taker { pipes, key, seat, wait, until, finished: false })
    }

    fn meeting<'a>(
        &self,
        meetings: &'a mut HashMap<PipeKey, Meeting>,
        key: &PipeKey,
    ) -> Result<&'a mut Meeting, Refusal> {
        let limit = self.limits.now().pipes;
        if meetings.len() >= limit && !meetings.contains_key(key) {
            let message = format!("{limit} pipes are in use already");
            let refusal = Refusal::new(RefusalCode::Busy, message);
            return Err(refusal.with_hint("try again later; serve --max-pipes allows more"));
        }
        Ok(meetings.entry(key.clone()).or_default())
    }

    /// How long one waits for the other, and until when.
    fn wait(&self) -> (Duration, Option<Instant>) {
        let wait = self.limits.now().wait;
        // A wait beyond what the clock can tell has no end.
        (wait, Instant::now().checked_add(wait))
    }

    /// Forgets a key that nobody is here for.
    fn tidy(meetings: &mut HashMap<PipeKey, Meeting>, key: &PipeKey) {
        let is_empty = |meeting: &Meeting| meeting.giver.is_none() && meeting.takers.is_empty();
        if meetings.get(key).is_some_and(is_empty) {
            meetings.remove(key);
        }
    }

    /// Keys that somebody gives to or waits for.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PipeKey, Meeting>> {
        self.meetings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meeting {
    fn begin_if_all_are_there(&mut self) {
        let Some(pipe) = &self.giver else { return };
        let mut course = pipe.lock();
        if course.begun.is_some() || self.takers.len() < pipe.wanted {
            return;
        }
        course.begun = Some(Instant::now());
        let early = std::mem::take(&mut course.early);
        for (place, seat) in self.takers.drain(..pipe.wanted).enumerate() {
            let gate = seat.gate.clone();
            let bytes = early.iter().map(Bytes::len).sum();
            course.queues.push(Some(Queue { gate, pieces: early.clone().into(), bytes }));
            // Set once: a seat leaves those who wait here.
            let _ = seat.pipe.set((pipe.clone(), place));
            seat.gate.open();
        }
        pipe.tune(&course);
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or closes the giver's gate. Between half and all of the buffer it stays as it is, so that the two sides do not
    /// wake each other for every piece.
    fn tune(&self, course: &Course) {
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

    fn push(&self, piece: Bytes) {
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

    fn end(&self, end: End) {
        let mut course = self.lock();
        if course.end.is_some() {
            return;
        }
        course.end = Some(end);
        course.live().for_each(|queue| queue.gate.open());
        self.tune(&course);
    }

    fn leave(&self, place: usize, whole: bool) {
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

    fn fill(&self, place: usize, buffer: &mut [u8]) -> Given {
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
    fn live(&self) -> impl Iterator<Item = &Queue> {
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

impl Giver {
    /// What it waits for now: the takers, or room in their queues, or that they have everything.
    pub(crate) fn held(&self) -> Option<Held> {
        let until = self.until.filter(|_| !self.has_begun());
        let held = Held { gate: self.pipe.gate.clone(), until };
        (!held.gate.is_open()).then_some(held)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.pipe.lock().begun.is_some()
    }

    /// For how long nothing has come, though it might have.
    fn silence(&self) -> Option<Duration> {
        let begun = self.pipe.lock().begun?;
        Some(self.heard.map_or(begun, |heard| heard.max(begun)).elapsed())
    }

    /// Whether that is too long.
    pub(crate) fn is_silent_for(&self, idle: Duration) -> bool {
        self.silence().is_some_and(|silence| silence >= idle)
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
            let message = format!("{who} of pipe {} went away", self.key);
            return Some(Err(Refusal::new(RefusalCode::Interrupted, message)));
        }
        let seconds = settled.duration_since(begun).as_secs_f64();
        Some(Ok(Piped { bytes, seconds, receivers, gone }))
    }

    /// Why it did not begin in time.
    pub(crate) fn in_vain(&self) -> Refusal {
        let Self { pipes, key, pipe, wait, .. } = self;
        let there = pipes.lock().get(key).map_or(0, |meeting| meeting.takers.len());
        let wanted = pipe.wanted;
        let message = match wanted {
            1 => format!("nobody took pipe {key} within {wait:?}"),
            _ => format!("{there} of {wanted} receivers came to pipe {key} within {wait:?}"),
        };
        Refusal::new(RefusalCode::Interrupted, message)
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.pipe.end(End::Broken("the sender went away".to_owned()));
        match self.outcome() {
            Some(Ok(Piped { bytes, seconds, receivers, gone })) => {
                tracing::info!(key = %self.key, bytes, seconds, receivers, gone, "piped");
            }
            _ => tracing::info!(key = %self.key, "not piped"),
        }
        let mut meetings = self.pipes.lock();
        if let Some(meeting) = meetings.get_mut(&self.key) {
            meeting.giver = None;
        }
        Pipes::tidy(&mut meetings, &self.key);
    }
}

impl Taker {
    /// What it waits for now: the giver and the other takers, or more content.
    pub(crate) fn held(&self) -> Option<Held> {
        let until = self.until.filter(|_| self.facts().is_none());
        let held = Held { gate: self.seat.gate.clone(), until };
        (!held.gate.is_open()).then_some(held)
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
        let message = format!("nothing came through pipe {} within {:?}", self.key, self.wait);
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

/// A sender that says nothing is told within this time that nobody takes any more.
const LOOK_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
