//! Reactors: interactive connections, which mostly wait, by the thousand on one thread.
//!
//! ```text
//!   turn:   epoll ──► read ──► step ──► one write      for each connection that has something
//!                     host.turn(wires)                 what is due to many, each with one write
//!                     the coarse timer                 sessions without progress for too long
//! ```
//!
//! A reactor drives the same sessions as the bulk loop ([`crate::copy`]). An idle connection has an
//! entry in a slab and no buffer, no task and no timer. Output that a socket does not accept waits
//! in a queue of shared pieces, so a message to a thousand slow readers is in memory once.

mod queue;
#[cfg(test)]
mod tests;
mod wires;

pub use wires::{Key, Wires};

use std::collections::BTreeSet;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::copy::{Event, Next, Session};
use crate::linger::{LINGER_BYTES, LINGER_TIME};
use crate::unix::is_unix;
use wires::{Flushed, Phase};

/// The state that the connections of a reactor share. All methods are called on the reactor's
/// thread.
pub trait Host: Send + 'static {
    /// The session of each connection.
    type Session: Session + Send + 'static;

    /// Called when a connection has arrived, before anything is read. `replies` are sent first.
    fn begin(
        &mut self,
        key: Key,
        session: &mut Self::Session,
        replies: &mut Vec<u8>,
    ) -> NextOf<Self::Session>;

    /// Called when the kernel has accepted all queued output of a slow peer; `replies` are sent
    /// next.
    fn drained(&mut self, key: Key, session: &mut Self::Session, replies: &mut Vec<u8>);

    /// Sends output that is due to several connections; called after all available input was read.
    fn turn(&mut self, wires: &mut Wires<Self::Session>);

    /// Called after a connection has ended, with the error if it was interrupted.
    fn ended(&mut self, key: Key, session: Self::Session, error: Option<io::Error>);
}

/// The result of a call of a session.
pub type NextOf<S> = Next<<S as Session>::Successor>;

/// The time limits of a reactor.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a peer may leave queued output unread.
    pub unread: Duration,
    /// Timer resolution: a timeout may exceed its time by this much.
    pub tick: Duration,
}

/// A running reactor. Dropping the last handle stops it and drops its remaining connections.
#[derive(Debug)]
pub struct Reactor<S> {
    shared: Arc<Shared<S>>,
    /// Dropping the last handle stops the thread.
    alive: Arc<Alive<S>>,
}

#[derive(Debug)]
struct Alive<S>(Arc<Shared<S>>);

impl<S> Drop for Alive<S> {
    fn drop(&mut self) {
        self.0.lock().order = Order::End;
        self.0.waker.wake();
    }
}

impl<S> Clone for Reactor<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), alive: self.alive.clone() }
    }
}

#[derive(Debug)]
struct Shared<S> {
    inbox: Mutex<Inbox<S>>,
    times: LiveTimes,
    waker: Waker,
}

/// Gives a reactor's host a turn without input; does not keep the reactor running.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Wakes the thread if it sleeps.
    pub fn wake(&self) {
        // An eventfd. Writing fails only if it is full, and then a wake-up is pending.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// The time limits of a running reactor; does not keep it running.
#[derive(Debug, Clone)]
pub struct LiveTimes(Arc<Mutex<Times>>);

impl LiveTimes {
    /// Changes them from the next turn on, for waits that begin then.
    pub fn set(&self, times: Times) {
        *self.lock() = times;
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Inbox<S> {
    arriving: Vec<(TcpStream, S)>,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    None,
    /// Notify each session that the program stops.
    Stop,
    End,
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Inbox<S>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Session + Send + 'static> Reactor<S> {
    /// Starts a reactor thread.
    ///
    /// # Errors
    /// The system has no epoll set, eventfd or thread left.
    pub fn start<H: Host<Session = S>>(name: &str, host: H, times: Times) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &wake, epoll::EventData::new_u64(WAKE), EventFlags::IN)?;
        let inbox = Mutex::new(Inbox { arriving: Vec::new(), order: Order::None });
        let waker = Waker(Arc::new(wake));
        let shared =
            Arc::new(Shared { inbox, times: LiveTimes(Arc::new(Mutex::new(times))), waker });
        let now = Instant::now();
        let mut running = Running {
            host,
            wires: Wires::new(poll),
            shared: shared.clone(),
            times,
            buffer: vec![0; BUFFER],
            replies: Vec::new(),
            sleepers: BTreeSet::new(),
            next_tick: now + times.tick,
            now,
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || running.run())?;
        Ok(Self { alive: Arc::new(Alive(shared.clone())), shared })
    }

    /// Adds a connection, whose socket must be non-blocking.
    pub fn add(&self, socket: TcpStream, session: S) {
        self.shared.lock().arriving.push((socket, session));
        self.shared.waker.wake();
    }

    /// Returns a handle that wakes the thread.
    pub fn waker(&self) -> Waker {
        self.shared.waker.clone()
    }

    /// Returns the time limits, which may be changed while it runs.
    pub fn times(&self) -> LiveTimes {
        self.shared.times.clone()
    }

    /// Notifies each session that the program stops.
    pub fn stop(&self) {
        self.shared.lock().order = Order::Stop;
        self.shared.waker.wake();
    }
}

/// The state of the reactor thread.
struct Running<H: Host> {
    host: H,
    wires: Wires<H::Session>,
    shared: Arc<Shared<H::Session>>,
    times: Times,
    buffer: Vec<u8>,
    /// Empty between two calls.
    replies: Vec<u8>,
    /// Connections that wait for an instant ([`crate::copy::Interest::wake`]). Outdated entries are
    /// skipped.
    sleepers: BTreeSet<(Instant, Key)>,
    next_tick: Instant,
    /// When this turn began, which is precise enough for all events in it.
    now: Instant,
}

impl<H: Host> Running<H> {
    fn run(&mut self) {
        let mut ready = Vec::with_capacity(EVENTS);
        loop {
            ready.clear();
            let timeout = Timespec::try_from(self.timeout()).unwrap_or(LONGEST);
            let room = rustix::buffer::spare_capacity(&mut ready);
            match epoll::wait(self.wires.poll(), room, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    return tracing::error!(%error, "epoll failed: the connections of \
                        this reactor thread end");
                }
            }
            self.now = Instant::now();
            self.times = *self.shared.times.lock();
            for event in &ready {
                let event: &epoll::Event = event;
                let (data, flags) = (event.data.u64(), event.flags);
                match Key::from_data(data) {
                    Some(key) => self.guarded(key, |running| running.ready(key, flags)),
                    None => self.woken(),
                }
            }
            if self.take_inbox() == Order::End {
                return self.end();
            }
            self.turn();
            self.wake_sleepers();
            if self.now >= self.next_tick {
                self.next_tick = self.now + self.times.tick;
                self.tick();
            }
        }
    }

    fn timeout(&self) -> Duration {
        let sleeper = self.sleepers.first().map(|(until, _)| *until);
        let next = sleeper.map_or(self.next_tick, |sleeper| sleeper.min(self.next_tick));
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up: an early wake-up would poll without sleeping.
        if left.is_zero() { left } else { left + Duration::from_micros(100) }
    }

    /// Runs `act`; a panic ends this connection only.
    fn guarded(&mut self, key: Key, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            tracing::error!("internal error: a session panicked");
            self.replies = Vec::new();
            self.remove(key, Some(io::Error::other("internal error")));
        }
    }

    fn woken(&self) {
        let mut count = [0; 8];
        // The caller of the waker left its request in the inbox.
        let _ = rustix::io::read(&self.shared.waker.0, &mut count);
    }

    fn take_inbox(&mut self) -> Order {
        let (arriving, order) = {
            let mut inbox = self.shared.lock();
            let order = inbox.order;
            if order == Order::Stop {
                inbox.order = Order::None;
            }
            (std::mem::take(&mut inbox.arriving), order)
        };
        for (socket, session) in arriving {
            match self.wires.add(socket, session) {
                Ok(key) => self.guarded(key, |running| running.begin(key)),
                Err((session, error)) => {
                    self.host.ended(Key::NOWHERE, session, Some(error));
                }
            }
        }
        if order == Order::Stop {
            for key in self.wires.keys() {
                self.guarded(key, |running| running.call(key, Call::Stopping));
            }
        }
        order
    }

    fn begin(&mut self, key: Key) {
        let Some(session) = self.wires.session(key) else { return };
        let next = self.host.begin(key, session, &mut self.replies);
        self.reply(key, &next);
    }

    fn ready(&mut self, key: Key, flags: EventFlags) {
        let Some(wire) = self.wires.get(key) else { return };
        if flags.contains(EventFlags::OUT) && wire.queued() > 0 {
            match wire.flush() {
                Ok(Flushed::All) => self.drained(key),
                Ok(Flushed::Some) if wire.state != (Phase::Finishing { by_host: true }) => {
                    wire.wait_for_reader(self.now + self.times.unread);
                }
                Ok(Flushed::Some | Flushed::None) => {}
                Err(error) => return self.remove(key, Some(error)),
            }
        }
        let is_error = flags.contains(EventFlags::ERR);
        if flags.contains(EventFlags::HUP) && !is_error && self.is_delayed_of_unix(key) {
            return self.wires.ignore_hang_up(key);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(key, flags.intersects(EventFlags::HUP | EventFlags::ERR));
        }
    }

    /// Returns whether the session of a Unix socket does not read now. Its peer closed, which is no
    /// reset: the session reads the rest of the input later.
    fn is_delayed_of_unix(&mut self, key: Key) -> bool {
        let wire = self.wires.get(key).filter(|wire| !wire.wants_input());
        wire.is_some_and(|wire| is_unix(wire.socket()))
    }

    /// Reads once: with more input the socket is ready again, and other connections get their turn
    /// first.
    fn read(&mut self, key: Key, hung_up: bool) {
        let Some(wire) = self.wires.get(key) else { return };
        if !wire.wants_input() && !hung_up {
            return;
        }
        match recv(wire.socket(), &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => {
                if hung_up {
                    self.remove(key, Some(io::ErrorKind::ConnectionReset.into()));
                }
            }
            Err(error) => self.remove(key, Some(error.into())),
            Ok((0, _)) if wire.state.is_lingering() => self.remove(key, None),
            Ok((count, _)) if wire.state.is_lingering() => {
                if wire.state.drained(count as u64) > LINGER_BYTES {
                    self.remove(key, None);
                }
            }
            // The session does not read, and the peer is gone.
            Ok(_) if !wire.wants_input() => {
                self.remove(key, Some(io::ErrorKind::ConnectionReset.into()));
            }
            Ok((0, _)) => self.call(key, Call::End),
            Ok((count, _)) => self.call(key, Call::Bytes(count)),
        }
    }

    fn call(&mut self, key: Key, call: Call) {
        let Some(wire) = self.wires.get(key) else { return };
        if !wire.state.is_open() {
            return;
        }
        let event = match call {
            Call::Bytes(count) => Event::Bytes(self.buffer.split_at_mut(count).0),
            Call::End => {
                wire.state = Phase::Ended;
                Event::EndOfStream
            }
            Call::Idle => Event::Idle,
            Call::Timer => Event::Timer,
            Call::Stopping => Event::Shutdown,
        };
        let next = wire.session.handle(event, self.now, &mut self.replies);
        self.reply(key, &next);
    }

    /// Writes the replies of a call, and updates what the connection waits for.
    fn reply(&mut self, key: Key, next: &NextOf<H::Session>) {
        let Some(wire) = self.wires.get(key) else { return };
        let waited = wire.queued() > 0;
        let written = wire.write_vec(&mut self.replies);
        if self.replies.capacity() > KEPT_REPLIES {
            self.replies = Vec::new();
        }
        if let Err(error) = written {
            return self.remove(key, Some(error));
        }
        if !matches!(next, Next::Continue) {
            wire.state = Phase::Finishing { by_host: false };
        }
        self.update(key, waited);
    }

    /// Updates what a connection waits for. `waited`: output was queued before, and its timeout
    /// continues.
    fn update(&mut self, key: Key, waited: bool) {
        let Some(wire) = self.wires.get(key) else { return };
        let queued = wire.queued() > 0;
        let mut idle = Duration::MAX;
        if wire.state.is_open() {
            let before = wire.wake;
            idle = wire.ask();
            if let Some(at) = wire.wake
                && (wire.wake != before || at <= self.now)
            {
                self.sleepers.insert((at, key));
            }
        }
        match wire.state {
            Phase::Open | Phase::Ended if queued && waited => {}
            Phase::Finishing { by_host: true } if queued => {
                wire.deadline = Some(self.now + self.times.unread.min(CLOSE_TIMEOUT));
            }
            Phase::Open | Phase::Ended | Phase::Finishing { .. } if queued => {
                wire.wait_for_reader(self.now + self.times.unread);
            }
            Phase::Open => wire.deadline = self.now.checked_add(idle),
            // It had output to send before it could end: the end is repeated now.
            Phase::Ended => {
                let next = wire.session.handle(Event::EndOfStream, self.now, &mut self.replies);
                let silent = self.replies.is_empty();
                if silent {
                    wire.state = Phase::Finishing { by_host: false };
                }
                return self.reply(key, &next);
            }
            Phase::Finishing { .. } => {
                if let Err(error) = wire.shut() {
                    return self.remove(key, Some(error));
                }
                wire.state = Phase::Lingering { drained: 0 };
                wire.deadline = Some(self.now + LINGER_TIME);
            }
            Phase::Lingering { .. } => {}
        }
        self.wires.watch(key);
    }

    fn drained(&mut self, key: Key) {
        let Some(wire) = self.wires.get(key) else { return };
        if wire.state.is_open() {
            self.host.drained(key, &mut wire.session, &mut self.replies);
        }
        self.reply(key, &Next::Continue);
    }

    fn turn(&mut self) {
        let turned = catch_unwind(AssertUnwindSafe(|| self.host.turn(&mut self.wires)));
        if turned.is_err() {
            tracing::error!("internal error: a message to several sessions panicked");
        }
        while let Some((key, waited, error)) = self.wires.touched.pop() {
            match error {
                Some(error) => self.remove(key, Some(error)),
                None => self.update(key, waited),
            }
        }
    }

    fn wake_sleepers(&mut self) {
        let later = match self.sleepers.first() {
            Some((at, _)) if *at <= self.now => {
                self.sleepers.split_off(&(self.now + Duration::from_nanos(1), Key::of(0)))
            }
            _ => return,
        };
        // A session that asks for another wake-up gets its turn after the others.
        for (at, key) in std::mem::replace(&mut self.sleepers, later) {
            // The key may belong to another connection by now. One whose peer does not read is
            // woken when its queue is empty.
            let wire = self.wires.get(key).filter(|wire| wire.wake == Some(at));
            if let Some(wire) = wire.filter(|wire| wire.takes_input()) {
                wire.wake = None;
                self.guarded(key, |running| running.call(key, Call::Timer));
            }
        }
    }

    /// Handles the connections whose deadline has passed.
    fn tick(&mut self) {
        for key in self.wires.late(self.now) {
            let Some(wire) = self.wires.get(key) else { continue };
            if wire.state.is_lingering() {
                self.remove(key, None);
            } else if wire.queued() > 0
                && wire.state != (Phase::Finishing { by_host: true })
                && wire.has_slow_reader()
            {
                wire.deadline = Some(self.now + self.times.unread);
            } else if wire.queued() > 0 {
                let error = io::Error::new(io::ErrorKind::TimedOut, UNREAD);
                self.remove(key, Some(error));
            } else if wire.wake.is_none() {
                // A session that does not read is never idle.
                self.guarded(key, |running| running.call(key, Call::Idle));
            }
        }
    }

    fn remove(&mut self, key: Key, error: Option<io::Error>) {
        if let Some(session) = self.wires.remove(key) {
            let ended = catch_unwind(AssertUnwindSafe(|| self.host.ended(key, session, error)));
            if ended.is_err() {
                tracing::error!("internal error: the end of a session panicked");
            }
        }
    }

    fn end(&mut self) {
        for key in self.wires.keys() {
            self.remove(key, Some(io::Error::other("the server stopped")));
        }
    }
}

enum Call {
    Bytes(usize),
    End,
    Idle,
    Stopping,
    Timer,
}

/// How long a peer may take to read the output queued before a close by the host.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The epoll data of the eventfd; no key has this value.
const WAKE: u64 = u64::MAX;

/// Maximum number of events of one turn.
const EVENTS: usize = 1024;

/// Size of the shared buffer, and so of one read.
const BUFFER: usize = 64 * 1024;

/// A larger buffer of replies is released.
const KEPT_REPLIES: usize = 1024 * 1024;

/// An hour: longer than any tick.
const LONGEST: Timespec = Timespec { tv_sec: 3600, tv_nsec: 0 };

const UNREAD: &str = "the peer does not read the replies";
