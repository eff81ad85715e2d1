#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accept;
mod access;
mod address;
mod budget;
mod config;
mod connection;
mod datagram;
mod detect;
mod driving;
mod events;
mod greeting;
mod guard;
mod health;
mod layers;
mod link;
mod live;
mod opening;
mod overview;
mod per_address;
mod permits;
mod proxied;
mod proxies;
mod reactors;
mod reload;
mod service;
mod session;
mod share;
mod shared;
mod shutdown;
mod socket;
mod tls;
mod tokens;
mod traces;
mod unclassified;

pub use config::{
    Config, Fsync, ListenerConfig, OnTimeout, PipeLimits, RoomLimits, Service, SinkKind,
    SlowReader, Startup, Timeouts, TlsMode,
};
pub use events::{
    Answered, Change, Changed, Class, Counters, Decided, Direction, Dropped, Interrupted, Observer,
    Refused, Sent, SilentEnd, Snapshot, Transfer, Why,
};
pub use greeting::{Greeting, GreetingError};
pub use overview::Overview;
pub use proxies::{Proxies, ProxyAddress, ProxyAddressError};
pub use reload::Reload;
pub use tokens::Tokens;
pub use traces::{TraceDirectoryError, check_trace_directory};

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::address::Address;
use anyport_net::listen::Listening;
use anyport_proto::transfer::receipt::Engine;
use tokio::sync::Semaphore;

use accept::Bound;
use access::Access;
use budget::Budget;
use datagram::Datagrams;
use driving::Drivers;
use events::{Events, REPORT_EVERY};
use health::{Health, Probes};
use live::Live;
use per_address::PerAddress;
use permits::Permits;
use reactors::Reactors;
use reload::Replaceable;
use service::files::Files;
use service::pipe::Pipes;
use share::Shares;
use shared::Shared;
use shutdown::Stop;
use socket::Socket;
use traces::Traces;
use unclassified::Unclassified;

/// A listening socket and its settings.
#[derive(Debug)]
pub struct Listener {
    /// The socket, bound and listening.
    pub socket: Listening,
    /// Datagram socket of the same address, if [`Service::serves_udp`].
    pub datagrams: Option<UdpSocket>,
    /// Settings of this listener.
    pub config: ListenerConfig,
}

/// Returns a listener with default settings.
impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket: Listening::Tcp(socket), datagrams: None, config: ListenerConfig::default() }
    }
}

/// Returns a listener with default settings. The caller removes the file of the socket.
impl From<UnixListener> for Listener {
    fn from(socket: UnixListener) -> Self {
        Self { socket: Listening::Unix(socket), datagrams: None, config: ListenerConfig::default() }
    }
}

/// A server that is bound and not running yet.
#[derive(Debug)]
pub struct Server {
    shared: Shared,
    replaceable: Arc<Replaceable>,
    reactors: Reactors,
    listeners: Vec<(Bound, Probes)>,
    datagrams: Vec<Datagrams>,
    traces: Option<Arc<Traces>>,
}

impl Server {
    /// Takes ownership of `listeners`, so that the caller knows the ports before the server runs.
    ///
    /// Must be called within a multi-thread tokio runtime.
    ///
    /// # Errors The directory cannot be opened, a listener cannot be registered with the runtime,
    /// the system has no random bytes, or this build lacks the WebSocket implementation
    /// ([`io::ErrorKind::Unsupported`]).
    pub fn new(
        config: Config,
        listeners: Vec<Listener>,
        observer: impl Observer,
    ) -> io::Result<Self> {
        if config.engine == Engine::Library && !cfg!(feature = "library-engine") {
            let error = "this build has no library engine (cargo feature library-engine)";
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        }
        let events = Events::new(observer);
        let files = Files::open(&config, events.clone())?;
        let Startup { trace, directory, .. } = &config.startup;
        let traces = trace.as_ref().map(|trace| Traces::open(trace, directory)).transpose()?;
        let shares = Shares::open(files.shared_store(), &config.startup);
        let mut health = Health::default();
        let mut bound = Vec::with_capacity(listeners.len());
        let mut datagrams = Vec::new();
        for Listener { socket, datagrams: beside, config } in listeners {
            if let Some(socket) = beside {
                datagrams.push(Datagrams::new(socket, config.service, events.counters.clone())?);
            }
            let address = socket.address()?;
            let probes = health.watch_accept_loop(address.to_string());
            let (socket, config) = (Socket::of(socket)?, Arc::new(Live::new(config)));
            bound.push((Bound { socket, address, config }, probes));
        }
        let live = Arc::new(Live::new(config.clone()));
        let reactors = Reactors::start(live.clone(), &mut health)?;
        let per_address = PerAddress::new(&config);
        let shared = Shared {
            config: live.clone(),
            files: Arc::new(Live::new(files)),
            permits: Arc::new(Permits::new(config.max_connections)),
            stream_files: Arc::new(Budget::new(config.max_stream_files as u64)),
            live: Arc::new(Budget::new(session::live::most(config.max_connections))),
            buffered: Arc::new(Budget::new(config.max_buffered).with_allowance(SMALL_BUFFER)),
            per_address: Arc::new(per_address),
            access: Arc::new(Access::new(live.clone())),
            unclassified: Arc::new(Unclassified::new(config.max_unclassified)),
            events,
            rooms: reactors.rooms(),
            room_listeners: reactors.room_listeners(),
            pipes: Arc::new(Pipes::new(config.pipes.clone())?),
            shares: Arc::new(shares),
            health: Arc::new(health),
            together: Arc::default(),
        };
        let configs = bound.iter().map(|(listener, _)| listener.config.clone()).collect();
        let times = reactors.times();
        let replaceable = Replaceable { shared: shared.clone(), listeners: configs, times };
        let (replaceable, listeners) = (Arc::new(replaceable), bound);
        Ok(Self { shared, replaceable, reactors, listeners, datagrams, traces })
    }

    /// Returns its addresses, in the order of its listeners.
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.iter().map(|(listener, _)| listener.address.clone()).collect()
    }

    /// Returns its counters, which remain valid while it runs and after it has ended.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.events.counters.clone()
    }

    /// Returns a handle to its status, which remains valid while it runs and after it has ended.
    pub fn overview(&self) -> Overview {
        let Shared { config, events, rooms, files, health, .. } = self.shared.clone();
        Overview { config, events, rooms, files, health }
    }

    /// Returns a handle that replaces its settings, also while it runs.
    pub fn reload_handle(&self) -> Reload {
        Reload(Arc::downgrade(&self.replaceable))
    }

    /// Serves until `drain` completes, and for [`Timeouts::drain_delay`] after it, in which it is
    /// not ready; then accepts nothing new and lets running transfers finish, until `abort`
    /// completes or [`Timeouts::drain`] has passed; then aborts the rest.
    ///
    /// No incomplete file is published.
    ///
    /// Cancel safe: no; running transfers are aborted without their reports.
    pub async fn run(self, drain: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let (events, traces) = (self.shared.events.clone(), self.traces.clone());
        let mut serving = std::pin::pin!(self.serve(drain, abort));
        let mut due = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                biased;
                () = &mut serving => break,
                _ = due.tick() => events.report_suppressed(),
            }
        }
        events.report_suppressed();
        if let Some(traces) = traces {
            traces.flush().await;
        }
    }

    async fn serve(self, drain: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let stop = Stop::default();
        let shared = self.shared;
        let drivers = Drivers {
            reactors: self.reactors,
            bulk_threads: Arc::new(Semaphore::new(shared.config.now().startup.bulk_threads)),
            stop: stop.clone(),
            traces: self.traces,
        };
        let reactors = drivers.reactors.clone();
        stop.tasks.spawn(reactors.room_listeners().run(stop.draining.clone()));
        for (listener, probes) in self.listeners {
            stop.tasks.spawn(accept::run(listener, probes, shared.clone(), drivers.clone()));
        }
        let ports: Arc<[u16]> = self.datagrams.iter().map(Datagrams::port).collect();
        for datagrams in self.datagrams {
            stop.tasks.spawn(datagrams.run(ports.clone(), stop.draining.clone()));
        }
        let sweeper = tokio::spawn(sweep(shared.files.clone(), shared.config.clone()));
        drain.await;
        stop.announce();
        let mut abort = std::pin::pin!(abort);
        let delay = shared.config.now().timeouts.drain_delay;
        let is_aborted = tokio::select! {
            () = &mut abort => true,
            () = tokio::time::sleep(delay) => false,
        };
        sweeper.abort();
        stop.drain();
        reactors.stop();
        stop.tasks.close();
        let grace = tokio::time::sleep(shared.config.now().timeouts.drain);
        tokio::select! {
            () = stop.tasks.wait() => return,
            () = async {}, if is_aborted => {}
            () = grace => tracing::warn!(connections = stop.tasks.len(), "drain timeout reached; \
                closing the remaining connections"),
            () = &mut abort => {}
        }
        stop.abort();
        drop((reactors, drivers));
        if tokio::time::timeout(ABORT_TIME, stop.tasks.wait()).await.is_err() {
            tracing::error!(
                connections = stop.tasks.len(),
                "connections did not close in time; abandoning them"
            );
        }
    }
}

/// Returns why a server with `config` would refuse all uploads because of the files that are stored
/// already (`quota`, `max_entries`).
///
/// Changes nothing.
///
/// # Errors
/// The directory cannot be opened.
pub fn quota_excess(config: &Config) -> io::Result<Option<String>> {
    service::files::quota_excess(config)
}

/// Removes old partial files from time to time.
async fn sweep(files: Arc<Live<Files>>, config: Arc<Live<Config>>) {
    let mut looked = Instant::now();
    loop {
        let period = config.now().keep_partial / 4;
        tokio::time::sleep(period.clamp(SWEEP_PERIODS.0, SWEEP_PERIODS.1)).await;
        let (files, there) = (files.now(), looked.elapsed() > LOOK_PERIOD);
        if there {
            looked = Instant::now();
        }
        if let Err(error) = tokio::task::spawn_blocking(move || files.sweep(there)).await {
            tracing::error!(%error, "cannot remove old partial files");
        }
    }
}

/// Minimum and maximum interval of checks of the oldest partial file.
const SWEEP_PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Interval of searches for partial files of other processes.
const LOOK_PERIOD: Duration = Duration::from_secs(600);

/// Bytes of unfinished input for each connection in any case: a message of a room, or the names of
/// a small directory.
const SMALL_BUFFER: u64 = 64 * 1024;

/// Time for aborted connections to keep their partial files.
const ABORT_TIME: Duration = Duration::from_secs(5);
