//! Pipes: content passes from one session to others while it arrives, and is not stored
//! (docs/pipe.md).
//!
//! ```text
//!   sender ──► pieces, shared ──► a queue for each receiver ──► receiver
//!     ▲ gate: closed while a queue is full         ▲ gate: closed while its queue is empty
//! ```
//!
//! A key connects one sender with the number of receivers that it requests; further receivers wait
//! for the next sender with that key. The fullest queue closes the sender's gate, so the slowest
//! receiver sets the pace, and a pipe holds at most its buffer size plus one read.

mod progress;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub(crate) use receiver::{Output, PipeReceiver};
pub(crate) use sender::{Idle, PipeSender};

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::Gate;
use anyport_proto::limits::MAX_PIPE_RECEIVERS;
use anyport_proto::peer::Peer;
use anyport_proto::pipe::{Give, PipeKey};
use anyport_proto::setting::MAX_PIPES;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use crate::access::Participant;
use crate::budget::{Budget, Share};
use crate::config::PipeLimits;
use crate::live::Live;
use progress::{Pipe, Queue};

/// All pipes of a server.
#[derive(Debug)]
pub(crate) struct Pipes {
    limits: Live<PipeLimits>,
    /// Secret key of the hash that replaces the keys of pipes in the log.
    secret: [u8; 32],
    table: Mutex<HashMap<PipeKey, Rendezvous>>,
    /// Budget of keys, with a fair share for each address.
    keys: Arc<Budget>,
}

/// The sender and the waiting receivers of one key.
#[derive(Debug)]
struct Rendezvous {
    /// Share of the budget of keys, for the address that used the key first.
    _share: Share,
    /// A sender that waits or that is sending.
    sender: Option<Arc<Pipe>>,
    /// Receivers that wait, in the order of arrival.
    receivers: VecDeque<Arc<Waiting>>,
}

/// The announced properties of the content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContentInfo {
    pub(crate) size: Option<u64>,
    /// Its media type, if it is one that may be forwarded.
    pub(crate) media: Option<String>,
}

/// A connected receiver: it waits, then has a pipe and an index there.
#[derive(Debug, Default)]
struct Waiting {
    gate: Arc<Gate>,
    /// How long it may leave queued bytes unread; `None` where its own session checks that.
    idle_timeout: Option<Duration>,
    pipe: OnceLock<(Arc<Pipe>, usize)>,
}

impl Pipes {
    /// Returns the pipes of a server, with none yet.
    ///
    /// # Errors
    /// The system has no random bytes. Without a secret, names in the log would be plain hashes,
    /// which reveal a key to an attacker who guesses it.
    pub(crate) fn new(limits: PipeLimits) -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let keys = Arc::new(Budget::new(limits.pipes as u64));
        Ok(Self { limits: Live::new(limits), secret, table: Mutex::default(), keys })
    }

    /// Returns the name of a pipe in the log. The key is the only protection of a pipe, so it
    /// is neither logged nor named in a refusal; and as people choose words as keys, an unkeyed
    /// hash would reveal them.
    fn alias(&self, key: &PipeKey) -> String {
        let hash = blake3::keyed_hash(&self.secret, key.as_str().as_bytes());
        hash.to_hex()[..ALIAS_LEN].to_owned()
    }

    /// Sets the limits: the number of pipes immediately, the others for pipes that begin later.
    pub(crate) fn set_limits(&self, limits: PipeLimits) {
        self.keys.set_limit(limits.pipes as u64);
        self.limits.replace(limits);
    }

    /// Registers a sender, which waits until all receivers are connected.
    pub(crate) fn give(
        self: &Arc<Self>,
        participant: Participant,
        give: &Give,
        media: Option<String>,
    ) -> Result<PipeSender, Refusal> {
        let Give { key, size, receivers } = give;
        let mut table = self.lock();
        let rendezvous = self.rendezvous(&mut table, participant.peer(), key)?;
        if rendezvous.sender.is_some() {
            let refusal = Refusal::new(RefusalCode::Exists, "this pipe already has a sender");
            return Err(refusal.with_hint("wait until it has finished, or use another key"));
        }
        let pipe = Arc::new(Pipe {
            info: ContentInfo { size: *size, media },
            wanted: *receivers,
            buffer: self.limits.now().buffer,
            gate: Arc::default(),
            progress: Mutex::default(),
        });
        tracing::info!(pipe = %self.alias(key), receivers, "pipe sender connected");
        rendezvous.sender = Some(pipe.clone());
        rendezvous.begin_if_complete();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(PipeSender { pipes, key, pipe, gathered: Vec::new(), wait, until, last_content: None })
    }

    /// Registers a receiver, which waits for a sender and for the other receivers.
    ///
    /// `idle_timeout` is for a receiver whose session cannot detect that its peer stopped reading:
    /// after that time the pipe removes it.
    pub(crate) fn take(
        self: &Arc<Self>,
        participant: Participant,
        key: &PipeKey,
        idle_timeout: Option<Duration>,
    ) -> Result<PipeReceiver, Refusal> {
        let mut table = self.lock();
        let rendezvous = self.rendezvous(&mut table, participant.peer(), key)?;
        if rendezvous.receivers.len() >= MAX_PIPE_RECEIVERS {
            let message = format!("{MAX_PIPE_RECEIVERS} receivers already wait for this pipe");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        tracing::info!(pipe = %self.alias(key), "pipe receiver connected");
        let waiting = Arc::new(Waiting { idle_timeout, ..Waiting::default() });
        rendezvous.receivers.push_back(waiting.clone());
        rendezvous.begin_if_complete();
        let (pipes, key, (wait, until)) = (self.clone(), key.clone(), self.wait());
        Ok(PipeReceiver { pipes, key, waiting, wait, until, finished: false })
    }

    /// Returns the entry of `key`; creates it if the budget allows.
    fn rendezvous<'a>(
        &self,
        table: &'a mut HashMap<PipeKey, Rendezvous>,
        peer: Peer,
        key: &PipeKey,
    ) -> Result<&'a mut Rendezvous, Refusal> {
        let entry = match table.entry(key.clone()) {
            Entry::Occupied(rendezvous) => return Ok(rendezvous.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let mut share = self.keys.share(peer);
        if !share.grow(1) {
            let limit = share.limit();
            let message = match self.keys.is_exhausted() {
                true => format!("all {limit} pipes are in use ({MAX_PIPES})"),
                false => {
                    format!("your address already uses its share of {limit} pipes ({MAX_PIPES})")
                }
            };
            let refusal = Refusal::new(RefusalCode::Busy, message);
            return Err(refusal.with_hint("try again later"));
        }
        Ok(entry.insert(Rendezvous { _share: share, sender: None, receivers: VecDeque::new() }))
    }

    /// Returns the maximum wait for the other side, and its deadline.
    fn wait(&self) -> (Duration, Option<Instant>) {
        let wait = self.limits.now().wait;
        // A deadline that the clock cannot represent is none.
        (wait, Instant::now().checked_add(wait))
    }

    /// Removes `key` from the table if it has neither a sender nor receivers.
    fn remove_if_unused(table: &mut HashMap<PipeKey, Rendezvous>, key: &PipeKey) {
        let is_empty = |rendezvous: &Rendezvous| {
            rendezvous.sender.is_none() && rendezvous.receivers.is_empty()
        };
        if table.get(key).is_some_and(is_empty) {
            table.remove(key);
        }
    }

    /// Returns the number of keys in use.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PipeKey, Rendezvous>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rendezvous {
    /// Begins the pipe if the sender and all requested receivers are connected.
    fn begin_if_complete(&mut self) {
        let Some(pipe) = &self.sender else { return };
        let mut progress = pipe.lock();
        if progress.begun.is_some() || self.receivers.len() < pipe.wanted {
            return;
        }
        progress.begun = Some(Instant::now());
        let early = std::mem::take(&mut progress.early);
        for (index, waiting) in self.receivers.drain(..pipe.wanted).enumerate() {
            progress.queues.push(Some(Queue::new(
                waiting.gate.clone(),
                waiting.idle_timeout,
                &early,
            )));
            // Cannot fail: the receiver has left the queue, so its pipe is set only once.
            let _ = waiting.pipe.set((pipe.clone(), index));
            waiting.gate.open();
        }
        pipe.update_gate(&progress);
    }
}

/// Hexadecimal digits of a pipe's name in the log: enough to distinguish concurrent pipes.
const ALIAS_LEN: usize = 8;
