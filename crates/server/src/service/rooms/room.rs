//! One room: the order of its events, its members, and the events they have not received yet.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyport_proto::rooms::{
    Epoch, Event, EventId, Join, Joined, Members, MessageKey, Nickname, RoomName,
};
use anyport_proto::setting::ROOM_RATE;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use jiff::Timestamp;

use super::form::{FORMS, Form};
use super::history::{History, Stored, What};
use super::pending::Pending;
use super::rate::Rate;
use super::{REMEMBERED, Shard};
use crate::config::RoomLimits;

#[derive(Debug)]
pub(crate) struct Room {
    name: RoomName,
    /// Unique within this process.
    pub(super) number: u64,
    pub(super) limits: RoomLimits,
    shards: Arc<[Shard]>,
    /// Messages in all rooms.
    said: Arc<AtomicU64>,
    state: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// ID of the last event; its number is 0 before the first.
    last: EventId,
    history: History,
    /// By number, which is the order in which they joined.
    members: BTreeMap<u64, Arc<Nickname>>,
    taken: HashSet<Arc<Nickname>>,
    listeners: u64,
    /// Number of readers of each form, on each thread.
    readers: Vec<[u32; FORMS]>,
    pending: Vec<Pending>,
    next_member: u64,
    empty_since: Option<Instant>,
    /// The rate limit of messages from clients that have not joined.
    posts: Rate,
    /// Scratch buffer for encoding.
    text: String,
}

/// Why a message of a client that has not joined was refused.
#[derive(Debug)]
pub(crate) struct PostError {
    pub(crate) refusal: Refusal,
    /// The rate limit of the room was exceeded.
    pub(crate) too_often: bool,
}

/// The author of events that no member caused.
pub(super) const NO_MEMBER: u64 = 0;

impl Room {
    pub(super) fn new(
        name: RoomName,
        limits: RoomLimits,
        shards: Arc<[Shard]>,
        said: Arc<AtomicU64>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut random = [0; 6];
        // Without randomness two rooms of one name may have the same epoch; then lost events are
        // miscounted.
        let _ = getrandom::fill(&mut random);
        let state = Inner {
            last: EventId { epoch: Epoch::new(random), number: 0 },
            history: History::new(limits.history, limits.history_bytes),
            members: BTreeMap::new(),
            taken: HashSet::new(),
            listeners: 0,
            readers: vec![[0; FORMS]; shards.len()],
            pending: shards.iter().map(|_| Pending::default()).collect(),
            next_member: NO_MEMBER + 1,
            empty_since: Some(Instant::now()),
            posts: Rate::new(limits.rate),
            text: String::new(),
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name, number, limits, shards, said, state: Mutex::new(state) }
    }

    /// Adds a member, and appends its first output to `out`. Returns its number, its name, and
    /// the number of the last event that it received.
    pub(super) fn enter(
        self: &Arc<Self>,
        join: &Join,
        form: Form,
        shard: usize,
        out: &mut Vec<u8>,
        first: impl FnOnce(Option<&Joined>, &mut Vec<u8>),
    ) -> (u64, Option<Arc<Nickname>>, u64) {
        let mut state = self.lock();
        let nick = join.nick.as_ref().map(|nick| Arc::new(state.free(nick)));
        let last = (state.last.number > 0).then_some(state.last);
        let joined = nick.as_ref().map(|nick| Joined {
            room: self.name.clone(),
            nick: Nickname::clone(nick),
            others: state.members(),
            last,
        });
        first(joined.as_ref(), out);
        if let Some(joined) = joined {
            form.encode(&Event::Joined(joined), out);
        }
        let Inner { history, text, last, .. } = &mut *state;
        let past = match join.since {
            Some(since) => history.since(since, *last),
            None => history.last(join.history),
        };
        if let Some(count) = past.lost {
            form.encode(&Event::Lost { count }, out);
        }
        for event in past.events {
            form.encode_stored(event, text, out);
        }
        let number = state.next_member;
        state.next_member += 1;
        let after = state.last.number;
        state.readers[shard][form.index()] += 1;
        state.empty_since = None;
        match &nick {
            Some(nick) => {
                state.members.insert(number, nick.clone());
                state.taken.insert(nick.clone());
                self.presence(&mut state, number, What::Join(nick.clone()), Some(shard));
            }
            None => state.listeners += 1,
        }
        drop(state);
        (number, nick, after)
    }

    /// Sends a message of a member to all.
    pub(super) fn say(
        self: &Arc<Self>,
        author: u64,
        from: &Arc<Nickname>,
        text: String,
        key: Option<MessageKey>,
        shard: usize,
    ) {
        let what = What::Message { from: from.clone(), text, key };
        self.tell(&mut self.lock(), author, what, Some(shard));
    }

    pub(super) fn post(
        self: &Arc<Self>,
        nick: Option<Nickname>,
        text: String,
    ) -> Result<EventId, PostError> {
        let mut state = self.lock();
        let now = Instant::now();
        if state.posts.wake(now).is_some() {
            let message =
                format!("message rate limit of the room {} exceeded ({ROOM_RATE})", self.name);
            let refusal = Refusal::new(RefusalCode::Busy, message).with_hint("send fewer messages");
            return Err(PostError { refusal, too_often: true });
        }
        state.posts.spend(now);
        // A poster never gets the name of a member.
        let from = Arc::new(state.free(&nick.unwrap_or_else(guest)));
        if state.is_empty() {
            state.empty_since = Some(now);
        }
        Ok(self.tell(&mut state, NO_MEMBER, What::Message { from, text, key: None }, None))
    }

    pub(super) fn leave(self: &Arc<Self>, member: u64, form: Form, shard: usize) {
        let mut state = self.lock();
        state.readers[shard][form.index()] -= 1;
        match state.members.remove(&member) {
            Some(nick) => {
                state.taken.remove(&nick);
                self.presence(&mut state, member, What::Leave(nick), None);
            }
            None => state.listeners -= 1,
        }
        if state.is_empty() {
            state.empty_since = Some(Instant::now());
        }
    }

    /// Returns the events that the members on a thread have not received yet.
    pub(super) fn take_pending(&self, shard: usize) -> Pending {
        std::mem::take(&mut self.lock().pending[shard])
    }

    pub(super) fn look(&self) -> (Members, Option<EventId>) {
        let state = self.lock();
        (state.members(), (state.last.number > 0).then_some(state.last))
    }

    /// Returns the number of members and listeners.
    pub(super) fn readers(&self) -> u64 {
        let state = self.lock();
        state.members.len() as u64 + state.listeners
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let empty_since = self.lock().empty_since;
        empty_since.is_some_and(|since| now.saturating_duration_since(since) >= REMEMBERED)
    }

    #[cfg(test)]
    pub(super) fn grow_old(&self) {
        self.lock().empty_since = Instant::now().checked_sub(REMEMBERED);
    }

    /// Publishes a join or a leave, unless the room is large.
    fn presence(self: &Arc<Self>, state: &mut Inner, member: u64, what: What, here: Option<usize>) {
        if state.members.len() <= self.limits.notices {
            self.tell(state, member, what, here);
        }
    }

    /// Publishes an event. `here`: the shard of the calling thread.
    fn tell(
        self: &Arc<Self>,
        state: &mut Inner,
        author: u64,
        what: What,
        here: Option<usize>,
    ) -> EventId {
        state.last.number += 1;
        if matches!(what, What::Message { .. }) {
            self.said.fetch_add(1, Ordering::Relaxed);
        }
        let stored = Stored { id: state.last, at: Timestamp::now(), what };
        let Inner { readers, pending, text, .. } = state;
        for (shard, (read, pending)) in readers.iter().zip(pending).enumerate() {
            if read.iter().all(|count| *count == 0) {
                continue;
            }
            if pending.is_empty() {
                self.shards[shard].mark(self, here == Some(shard));
            }
            pending.push(&stored, author, read, text);
        }
        state.history.push(stored);
        state.last
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Returns the nickname, or the first numbered one that is not in use.
    fn free(&self, nick: &Nickname) -> Nickname {
        let mut free = nick.clone();
        let mut number = 1;
        while self.taken.contains(&free) {
            number += 1;
            free = nick.numbered(number);
        }
        free
    }

    fn members(&self) -> Members {
        let members = self.members.values().take(NAMED).map(|nick| Nickname::clone(nick));
        Members { members: members.collect(), listeners: self.listeners }
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.listeners == 0
    }
}

/// Returns the nickname of a client that did not choose one.
pub(crate) fn guest() -> Nickname {
    let mut random = [0; 4];
    // Without randomness, guests get the same name with different numbers.
    let _ = getrandom::fill(&mut random);
    Nickname::guest(random)
}

/// Maximum number of members in a list of names.
const NAMED: usize = 1000;
