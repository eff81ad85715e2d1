//! Rooms: each message of a member is sent to all others, in one order (docs/rooms.md).
//!
//! ```text
//!   session ──► Member::say ──► Room: a number, the history, and bytes for each form that is read
//!                                 │ pending, a batch for each thread that has members
//!                                 ▼
//!   Floor (one a thread): one write for each member and batch; unsent bytes wait, bounded
//!   Listeners (for all tasks): a queue for each listener, for streams that share a socket
//! ```
//!
//! A batch has all events since the last turn of its thread, so the busier a room is, the fewer
//! writes a message costs.

mod form;
mod groups;
mod history;
mod listeners;
mod member;
mod pending;
mod rate;
mod room;
#[cfg(test)]
mod tests;

pub(crate) use form::{Carrier, Form};
pub(crate) use groups::Groups;
pub(crate) use listeners::{Listener, Listeners};
pub(crate) use member::{Entry, Member, Subscription};
pub(crate) use rate::Rate;
pub(crate) use room::{PostError, Room, guest};

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::reactor::Waker;
use anyport_proto::peer::Peer;
use anyport_proto::rooms::{EventId, Join, Joined, Members, Nickname, RoomName};
use anyport_proto::setting::MAX_ROOMS;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use tokio::sync::Notify;

use crate::access::Participant;
use crate::budget::{Budget, Share};
use crate::config::RoomLimits;
use crate::live::Live;

/// All rooms of a server.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Those of rooms that begin from now on.
    limits: Live<RoomLimits>,
    rooms: Mutex<HashMap<RoomName, Opened>>,
    /// Budget of rooms, with a fair share for each address.
    places: Arc<Budget>,
    shards: Arc<[Shard]>,
    /// Messages in all rooms, also in those that are gone.
    said: Arc<AtomicU64>,
}

/// A room, and its place among those of the address that opened it.
#[derive(Debug)]
struct Opened {
    room: Arc<Room>,
    _place: Share,
}

/// The pending work of one thread that has members.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Rooms with something for members on this thread.
    due: Mutex<Vec<Arc<Room>>>,
    waker: OnceLock<Wake>,
}

/// Wakes the thread or task that serves a shard.
#[derive(Debug)]
pub(crate) enum Wake {
    Thread(Waker),
    /// The tasks of the runtime share one.
    Tasks(Arc<Notify>),
}

impl Wake {
    fn wake(&self) {
        match self {
            Self::Thread(waker) => waker.wake(),
            Self::Tasks(due) => due.notify_one(),
        }
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Room>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks `room` as due on this thread. `awake`: the caller is this thread, and its turn
    /// follows.
    fn mark(&self, room: &Arc<Room>, awake: bool) {
        self.lock().push(room.clone());
        if !awake && let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

impl Rooms {
    /// For members on `threads` threads, and among the tasks.
    pub(crate) fn new(limits: RoomLimits, threads: usize) -> Self {
        let shards = (0..=threads).map(|_| Shard::default()).collect();
        let places = Arc::new(Budget::new(limits.rooms as u64));
        let (rooms, said) = (Mutex::default(), Arc::default());
        Self { limits: Live::new(limits), rooms, places, shards, said }
    }

    /// For rooms that begin from now on, and for their number.
    pub(crate) fn set_limits(&self, limits: RoomLimits) {
        self.places.set_limit(limits.rooms as u64);
        self.limits.replace(limits);
    }

    /// Sets how the thread with this number is woken.
    pub(crate) fn set_waker(&self, shard: usize, wake: Wake) {
        // Set once, when the thread has been started.
        let _ = self.shards[shard].waker.set(wake);
    }

    /// Returns the shard of members that are tasks of the runtime.
    fn tasks(&self) -> usize {
        self.shards.len() - 1
    }

    /// The rooms that have something for members on a thread.
    fn take_due(&self, shard: usize) -> Vec<Arc<Room>> {
        std::mem::take(&mut self.shards[shard].lock())
    }

    /// Joins a room, on the thread with this number. `first` writes what precedes all other
    /// output; then `out` gets the announcement and the history of the room.
    ///
    /// # Errors
    /// There are too many rooms, or too many that this address opened.
    pub(crate) fn enter(
        &self,
        participant: Participant,
        join: &Join,
        form: Form,
        shard: usize,
        out: &mut Vec<u8>,
        first: impl FnOnce(Option<&Joined>, &mut Vec<u8>),
    ) -> Result<Entry, Refusal> {
        let mut rooms = self.lock();
        let room = self.open(&mut rooms, participant.peer(), &join.room)?;
        // Joined before the lock is released, so that no other thread removes the room as empty.
        Ok(Entry::new(&room, join, form, shard, out, first))
    }

    /// Sends a message to a room without joining it.
    ///
    /// # Errors
    /// There are too many rooms, or the message rate limit of the room is exceeded.
    pub(crate) fn post(
        &self,
        participant: Participant,
        room: &RoomName,
        nick: Option<Nickname>,
        text: String,
    ) -> Result<EventId, PostError> {
        let room = self.open(&mut self.lock(), participant.peer(), room);
        let room = room.map_err(|refusal| PostError { refusal, too_often: false })?;
        room.post(nick, text)
    }

    /// Returns the numbers of rooms, of members with listeners, and of messages in all rooms.
    pub(crate) fn counts(&self) -> (usize, u64, u64) {
        let now = Instant::now();
        let rooms: Vec<_> = self.lock().values().map(|opened| opened.room.clone()).collect();
        let rooms: Vec<_> = rooms.into_iter().filter(|room| !room.is_over(now)).collect();
        let members = rooms.iter().map(|room| room.readers()).sum();
        (rooms.len(), members, self.said.load(Ordering::Relaxed))
    }

    /// Returns the members of a room and its last event; `None` where there is no such room.
    pub(crate) fn look(
        &self,
        _: Participant,
        room: &RoomName,
    ) -> Option<(Members, Option<EventId>)> {
        let room = self.lock().get(room)?.room.clone();
        (!room.is_over(Instant::now())).then(|| room.look())
    }

    /// Returns the number of rooms that have members or had some a short time ago.
    pub(crate) fn count(&self) -> usize {
        let now = Instant::now();
        self.lock().values().filter(|opened| !opened.room.is_over(now)).count()
    }

    fn open(
        &self,
        rooms: &mut HashMap<RoomName, Opened>,
        peer: Peer,
        name: &RoomName,
    ) -> Result<Arc<Room>, Refusal> {
        let now = Instant::now();
        if let Some(opened) = rooms.get(name).filter(|opened| !opened.room.is_over(now)) {
            return Ok(opened.room.clone());
        }
        rooms.retain(|_, opened| !opened.room.is_over(now));
        let limits = self.limits.now();
        let mut place = self.places.share(peer);
        if !place.grow(1) {
            let limit = place.limit();
            let message = match self.places.is_exhausted() {
                true => format!("all {limit} rooms are in use ({MAX_ROOMS})"),
                false => {
                    format!("your address already uses its share of {limit} rooms ({MAX_ROOMS})")
                }
            };
            return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
        }
        let room = Arc::new(Room::new(
            name.clone(),
            RoomLimits::clone(&limits),
            self.shards.clone(),
            self.said.clone(),
        ));
        rooms.insert(name.clone(), Opened { room: room.clone(), _place: place });
        Ok(room)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomName, Opened>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an empty room keeps its history.
const REMEMBERED: Duration = Duration::from_secs(60);
