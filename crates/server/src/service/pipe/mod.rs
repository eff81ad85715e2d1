//! Pipes: content goes from one session to others while it comes, and is stored nowhere
//! (docs/pipe.md).
//!
//! ```text
//!   giver ──► pieces, shared ──► a queue for each taker ──► taker
//!     ▲ gate: closed while a queue is full         ▲ gate: closed while its queue is empty
//! ```
//!
//! A giver and as many takers as it wants meet by a key; further takers wait for the next giver of
//! that key. The fullest queue closes the giver's gate, so the slowest taker sets the pace, and
//! what is held is one buffer and one read.

mod course;
mod giver;
mod taker;
#[cfg(test)]
mod tests;

pub(crate) use giver::{Giver, Idle};
pub(crate) use taker::{Given, Taker};

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::Gate;
use anyport_proto::limits::MAX_PIPE_RECEIVERS;
use anyport_proto::pipe::{Give, PipeKey};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use crate::budget::{Budget, Share};
use crate::config::PipeLimits;
use crate::live::Live;
use course::{Pipe, Queue};

/// All pipes of a server.
#[derive(Debug)]
pub(crate) struct Pipes {
    limits: Live<PipeLimits>,
    /// What names in the log are made with.
    secret: [u8; 32],
    meetings: Mutex<HashMap<PipeKey, Meeting>>,
    /// How many keys there may be.
    keys: Arc<Budget>,
}

/// Who has come for one key.
#[derive(Debug)]
struct Meeting {
    /// Its place among the keys of the address that named it first.
    _place: Share,
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

/// Where a taker waits until there is a pipe for it, and its place there.
#[derive(Debug, Default)]
struct Seat {
    gate: Arc<Gate>,
    /// How long it may take nothing of what waits for it; none where its own session sees to that.
    patience: Option<Duration>,
    pipe: OnceLock<(Arc<Pipe>, usize)>,
}

impl Pipes {
    pub(crate) fn new(limits: PipeLimits) -> Self {
        let mut secret = [0; 32];
        // Without it names in the log would be plain hashes, which give a key away only to who
        // guesses it.
        let _ = getrandom::fill(&mut secret);
        let keys = Arc::new(Budget::new(limits.pipes as u64));
        Self { limits: Live::new(limits), secret, meetings: Mutex::default(), keys }
    }

    /// What the log calls a pipe. Its key is all that keeps others from it, so that is neither
    /// logged nor named in a refusal; and as people take words for keys, a hash that can be made
    /// elsewhere would be as good.
    fn alias(&self, key: &PipeKey) -> String {
        let hash = blake3::keyed_hash(&self.secret, key.as_str().as_bytes());
        hash.to_hex()[..ALIAS_LEN].to_owned()
    }

    /// For pipes that begin from now on, and for their number.
    pub(crate) fn set_limits(&self, limits: PipeLimits) {
        self.keys.set_limit(limits.pipes as u64);
        self.limits.replace(limits);
    }

    /// Begins to give; it waits until all takers are there.
    pub(crate) fn give(
        self: &Arc<Self>,
        peer: IpAddr,
        give: &Give,
        media: Option<String>,
    ) -> Result<Giver, Refusal> {
        let Give { key, size, receivers } = give;
        let mut meetings = self.lock();
        let meeting = self.meeting(&mut meetings, peer, key)?;
        if meeting.giver.is_some() {
            let refusal = Refusal::new(RefusalCode::Exists, "this pipe already has a sender");
            return Err(refusal.with_hint("wait until it has finished, or use another key"));
        }
        let pipe = Arc::new(Pipe {
            facts: Facts { size: *size, media },
            wanted: *receivers,
            buffer: self.limits.now().buffer,
            gate: Arc::default(),
            course: Mutex::default(),
        });
        tracing::info!(pipe = %self.alias(key), receivers, "pipe sender connected");
        meeting.giver = Some(pipe.clone());
        meeting.begin_if_all_are_there();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(Giver { pipes, key, pipe, gathered: Vec::new(), wait, until, heard: None })
    }

    /// Begins to take; it waits for a giver, and for the other takers. Where its session does not
    /// see whether its peer takes anything, `patience` says how long it may take nothing before the
    /// others go on without it.
    pub(crate) fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        key: &PipeKey,
        patience: Option<Duration>,
    ) -> Result<Taker, Refusal> {
        let mut meetings = self.lock();
        let meeting = self.meeting(&mut meetings, peer, key)?;
        if meeting.takers.len() >= MAX_PIPE_RECEIVERS {
            let message = format!("{MAX_PIPE_RECEIVERS} receivers already wait for this pipe");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        tracing::info!(pipe = %self.alias(key), "pipe receiver connected");
        let seat = Arc::new(Seat { patience, ..Seat::default() });
        meeting.takers.push_back(seat.clone());
        meeting.begin_if_all_are_there();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(Taker { pipes, key, seat, wait, until, finished: false })
    }

    fn meeting<'a>(
        &self,
        meetings: &'a mut HashMap<PipeKey, Meeting>,
        peer: IpAddr,
        key: &PipeKey,
    ) -> Result<&'a mut Meeting, Refusal> {
        let entry = match meetings.entry(key.clone()) {
            Entry::Occupied(meeting) => return Ok(meeting.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let mut place = self.keys.share(peer);
        if !place.grow(1) {
            let limit = place.limit();
            let message = match self.keys.is_exhausted() {
                true => format!("all {limit} pipes are in use (--max-pipes)"),
                false => {
                    format!("your address already uses its share of {limit} pipes (--max-pipes)")
                }
            };
            let refusal = Refusal::new(RefusalCode::Busy, message);
            return Err(refusal.with_hint("try again later"));
        }
        Ok(entry.insert(Meeting { _place: place, giver: None, takers: VecDeque::new() }))
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
            course.queues.push(Some(Queue::new(seat.gate.clone(), seat.patience, &early)));
            // Set once: a seat leaves those who wait here.
            let _ = seat.pipe.set((pipe.clone(), place));
            seat.gate.open();
        }
        pipe.tune(&course);
    }
}

/// Hexadecimal digits of a pipe's name in the log: enough to tell those apart that are there at
/// once.
const ALIAS_LEN: usize = 8;
