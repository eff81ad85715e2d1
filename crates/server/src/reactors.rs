//! Reactor threads: each serves many interactive connections, which mostly wait.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyport_net::copy::Next;
use anyport_net::keepalive;
use anyport_net::reactor::{Host, Key, LiveTimes, Reactor, Times, Wires};

use crate::config::{Config, Timeouts};
use crate::health::Health;
use crate::layers::Connection;
use crate::live::Live;
use crate::service::rooms::{Groups, Listeners, Rooms, Wake};
use crate::session::Detached;

/// The reactors of a server.
#[derive(Clone)]
pub(crate) struct Reactors {
    /// The last one serves connections that use compression, if it was enabled at startup.
    reactors: Arc<[Reactor<Connection>]>,
    /// Number of reactors for connections without compression.
    plain: usize,
    rooms: Arc<Rooms>,
    listeners: Arc<Listeners>,
    next: Arc<AtomicUsize>,
    config: Arc<Live<Config>>,
}

impl Reactors {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system cannot create a thread or its descriptors.
    pub(crate) fn start(live: Arc<Live<Config>>, health: &mut Health) -> io::Result<Self> {
        let config = live.now();
        let times = times(&config.timeouts);
        let plain = config.startup.reactor_threads.max(1);
        let threads = plain + usize::from(config.deflate);
        let rooms = Arc::new(Rooms::new(config.rooms.clone(), threads));
        let mut start = |number: usize| {
            let turns = Arc::<AtomicU64>::default();
            let room_loop =
                RoomLoop { groups: Groups::new(rooms.clone(), number), turns: turns.clone() };
            let reactor = Reactor::start(&format!("reactor-{number}"), room_loop, times)?;
            rooms.set_waker(number, Wake::Thread(reactor.waker()));
            health.watch_reactor(reactor.waker(), turns);
            Ok(reactor)
        };
        let reactors = (0..threads).map(&mut start).collect::<io::Result<_>>()?;
        let listeners = Arc::new(Listeners::new(rooms.clone()));
        Ok(Self { reactors, plain, rooms, listeners, next: Arc::default(), config: live })
    }

    /// Returns the rooms of the server.
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        self.rooms.clone()
    }

    /// Returns the subscribers of rooms whose sessions run as tasks.
    pub(crate) fn room_listeners(&self) -> Arc<Listeners> {
        self.listeners.clone()
    }

    /// Takes over a connection whose pending output has been written.
    pub(crate) fn add(&self, socket: io::Result<TcpStream>, mut connection: Connection) {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return connection.broken(&error),
        };
        // Sessions here may stay idle, so only TCP keepalive detects a lost peer.
        if let Err(error) = keepalive::watch(&socket, self.config.now().timeouts.idle) {
            tracing::warn!(%error, "cannot enable TCP keepalive");
        }
        let number = if connection.inflates() && self.reactors.len() > self.plain {
            self.plain
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % self.plain
        };
        self.reactors[number].add(socket, connection);
    }

    /// Returns the time limits of the threads, which may change while they run.
    pub(crate) fn times(&self) -> Vec<LiveTimes> {
        self.reactors.iter().map(Reactor::times).collect()
    }

    /// Notifies all sessions that the server stops.
    pub(crate) fn stop(&self) {
        self.reactors.iter().for_each(Reactor::stop);
    }
}

impl std::fmt::Debug for Reactors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reactors")
    }
}

/// Returns the time limits of a reactor: how long a peer may leave output unread, and the timer
/// resolution, a fraction of the shortest timeout.
pub(crate) fn times(timeouts: &Timeouts) -> Times {
    let shortest = timeouts.idle.min(timeouts.message).min(timeouts.handshake);
    let tick = (shortest / 16).clamp(Duration::from_millis(5), Duration::from_secs(1));
    Times { unread: timeouts.idle, tick }
}

/// The room loop of one reactor thread.
struct RoomLoop {
    groups: Groups,
    /// Number of iterations of the reactor's loop, for health checks.
    turns: Arc<AtomicU64>,
}

impl Host for RoomLoop {
    type Session = Connection;

    fn begin(
        &mut self,
        key: Key,
        connection: &mut Connection,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        let groups = &mut self.groups;
        connection.arrive(out, |session, out| {
            let (subscription, next) = session.enter(&groups.rooms(), groups.shard(), out);
            if let Some(subscription) = subscription {
                groups.subscribe(key, subscription);
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
        self.groups.unsubscribe(key);
        if let Some(error) = error {
            connection.broken(&error);
        }
    }
}
