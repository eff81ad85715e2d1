//! Conversations: connections that wait more than they say, on threads that many of them share.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyport_net::copy::Next;
use anyport_net::keepalive;
use anyport_net::reactor::{Host, Key, LiveTimes, Reactor, Times, Wires};

use crate::config::{Config, Timeouts};
use crate::layers::Connection;
use crate::live::Live;
use crate::pulse::Pulse;
use crate::service::rooms::{Desk, Groups, Rooms, Wake};
use crate::session::Detached;

/// The reactors of a server.
#[derive(Clone)]
pub(crate) struct Conversations {
    /// The last one is for connections with compression, if the server was started with it.
    reactors: Arc<[Reactor<Connection>]>,
    /// Number of reactors for connections without compression.
    plain: usize,
    rooms: Arc<Rooms>,
    desk: Arc<Desk>,
    next: Arc<AtomicUsize>,
    config: Arc<Live<Config>>,
}

impl Conversations {
    /// Starts its threads.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn start(live: Arc<Live<Config>>, pulse: &mut Pulse) -> io::Result<Self> {
        let config = live.now();
        let times = times(&config.timeouts);
        let plain = config.reactor_threads.max(1);
        let threads = plain + usize::from(config.deflate);
        let rooms = Arc::new(Rooms::new(config.rooms.clone(), threads));
        let mut start = |number: usize| {
            let turns = Arc::<AtomicU64>::default();
            let floor = Floor { groups: Groups::new(rooms.clone(), number), turns: turns.clone() };
            let reactor = Reactor::start(&format!("talk-{number}"), floor, times)?;
            rooms.set_waker(number, Wake::Thread(reactor.waker()));
            pulse.conversing(reactor.waker(), turns);
            Ok(reactor)
        };
        let reactors = (0..threads).map(&mut start).collect::<io::Result<_>>()?;
        let desk = Arc::new(Desk::new(rooms.clone()));
        Ok(Self { reactors, plain, rooms, desk, next: Arc::default(), config: live })
    }

    /// The rooms in which they meet.
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        self.rooms.clone()
    }

    /// Where those listen that are tasks.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Takes over a connection whose output so far has been written.
    pub(crate) fn add(&self, socket: io::Result<TcpStream>, mut connection: Connection) {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return connection.broken(&error),
        };
        // Silence is no fault here, but a peer that is gone is not waited for.
        if let Err(error) = keepalive::watch(&socket, self.config.now().timeouts.idle) {
            tracing::warn!(%error, "cannot watch an idle connection for its end");
        }
        let number = if connection.inflates() && self.reactors.len() > self.plain {
            self.plain
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % self.plain
        };
        self.reactors[number].add(socket, connection);
    }

    /// What their threads measure by.
    pub(crate) fn times(&self) -> Vec<LiveTimes> {
        self.reactors.iter().map(Reactor::times).collect()
    }

    /// Tells all that the server stops.
    pub(crate) fn stop(&self) {
        self.reactors.iter().for_each(Reactor::stop);
    }
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conversations")
    }
}

/// How long a peer may take nothing, and how coarse the timer is: a small part of the shortest time
/// that it measures.
pub(crate) fn times(timeouts: &Timeouts) -> Times {
    let shortest = timeouts.idle.min(timeouts.message).min(timeouts.handshake);
    let tick = (shortest / 16).clamp(Duration::from_millis(5), Duration::from_secs(1));
    Times { unread: timeouts.idle, tick }
}

/// Where the conversations of one thread meet.
struct Floor {
    groups: Groups,
    /// Counted for who asks whether the thread turns.
    turns: Arc<AtomicU64>,
}

impl Host for Floor {
    type Session = Connection;

    fn begin(
        &mut self,
        key: Key,
        connection: &mut Connection,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        let groups = &mut self.groups;
        connection.arrive(out, |session, out| {
            let (seat, next) = session.enter(&groups.rooms(), groups.shard(), out);
            if let Some(seat) = seat {
                groups.sit(key, seat);
            }
            next
        })
    }

    fn drained(&mut self, key: Key, connection: &mut Connection, out: &mut Vec<u8>) {
        connection.append(out, |out| self.groups.drained(key, out));
    }

    fn turn(&mut self, wires: &mut Wires<Connection>) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.groups.deliver(wires);
    }

    fn ended(&mut self, key: Key, mut connection: Connection, error: Option<io::Error>) {
        self.groups.rise(key);
        if let Some(error) = error {
            connection.broken(&error);
        }
    }
}
