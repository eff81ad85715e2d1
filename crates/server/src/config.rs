//! The settings of a server: plain data, with the reasons of the defaults. The program decides how
//! to read them (flags, a file, the environment).

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::access::{HostName, Rights};
use anyport_proto::detect::Allowed;
use anyport_proto::http1::BasePath;
use anyport_proto::limits::Limits;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::ws::handshake::Origin;
pub use anyport_store::{Fsync, SinkKind};

use crate::greeting::Greeting;
use crate::proxies::Proxies;
use crate::tokens::Tokens;

/// The settings of a [`crate::Server`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Settings that [`crate::Reload::replace`] ignores.
    ///
    /// It applies all others.
    pub startup: Startup,
    /// The data that is on disk before a receipt is sent.
    pub fsync: Fsync,
    /// Digest of transfers that request none.
    pub digest: Algorithm,
    /// Action if another file has the name, unless the sender requests another one.
    ///
    /// `None`: the server refuses an offer that has a size and a time or an id, and renames any
    /// other. A sender can request to overwrite only if this is [`OnExists::Overwrite`].
    pub on_exists: Option<OnExists>,
    /// Origins whose web pages may open a WebSocket, beside those of the host that they connect to.
    pub allowed_origins: Vec<Origin>,
    /// Accepted tokens; only [`Service::Any`] requires one.
    ///
    /// `None`: all clients are admitted.
    pub tokens: Option<Tokens>,
    /// The rights of all clients if no token is required.
    pub open_rights: Rights,
    /// Accepted host names of HTTP requests, in addition to addresses, local names, the name of
    /// this machine and those of the certificate; not checked if a token is required.
    ///
    /// Other names are refused, because DNS rebinding could direct a browser to the server.
    pub allowed_hosts: Vec<HostName>,
    /// The path at which a reverse proxy forwards HTTP requests to the server.
    pub base_path: BasePath,
    /// Whether to serve `/metrics`, to clients with [`Rights::ADMIN`].
    pub metrics: bool,
    /// The WebSocket implementation.
    pub engine: Engine,
    /// Whether an offered permessage-deflate is accepted; built-in implementation only.
    pub deflate: bool,
    /// Congestion control of accepted sockets.
    pub congestion: Congestion,
    /// Buffer size of a bulk thread, in bytes.
    ///
    /// About the size of the L2 cache, so that payload is unmasked while it is cached.
    pub bulk_buffer: usize,
    /// Maximum number of connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Maximum number of concurrent requests of one HTTP/2 connection; RFC 9113 §6.5.2 recommends
    /// at least 100.
    pub max_streams: u32,
    /// Maximum number of files that HTTP/2 streams of all connections have open, in addition to one
    /// file of each connection.
    pub max_stream_files: usize,
    /// Maximum number of connections of one peer address, of an IPv6 peer those of its /64; a
    /// further one is closed.
    pub max_per_address: usize,
    /// Whether [`Self::max_per_address`] also limits peers on this machine, which have other ways
    /// to overload it.
    pub counts_loopback: bool,
    /// Proxies that begin each connection with a PROXY protocol header, which states its client.
    ///
    /// Their own addresses are not limited by [`Self::max_per_address`] and
    /// [`Self::max_rate_per_address`], but those of their clients are.
    pub proxy_protocol_from: Proxies,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` fields state the client of a request; their
    /// own addresses are not limited either.
    pub trusted_proxies: Proxies,
    /// Maximum rate of new connections of one peer address per second, of an IPv6 peer those of its
    /// /64, with bursts of twice as many; a further one is closed.
    ///
    /// `None`: no limit.
    pub max_rate_per_address: Option<u32>,
    /// Whether [`Self::max_rate_per_address`] also limits peers on this machine.
    pub rate_counts_loopback: bool,
    /// Maximum number of connections without input or with a protocol that is not yet detected; at
    /// most [`Self::max_connections`].
    ///
    /// At the limit, the server evicts the one that was idle longest.
    pub max_unclassified: usize,
    /// Maximum size of a file, in bytes.
    pub max_size: u64,
    /// Maximum space of all files, partial files and directories in the served directory, in bytes
    /// of whole blocks.
    ///
    /// `None`: no limit.
    pub quota: Option<u64>,
    /// Maximum number of files and directories, if [`Self::quota`] is set.
    pub max_entries: u64,
    /// Maximum memory of all memory sinks together, in bytes.
    pub max_memory: u64,
    /// Rate limit of one connection, in bytes per second for both directions together; built-in
    /// implementation only.
    ///
    /// `None`: no limit.
    pub limit_rate: Option<u64>,
    /// Minimum average rate of an upload after its first 10 s, in bytes per second.
    ///
    /// `None`: no minimum, as `tail -f` is a legitimate source.
    pub min_upload_rate: Option<u64>,
    /// Maximum memory of incomplete messages and candidates for bare frames together, in bytes.
    pub max_buffered: u64,
    /// The line that [`Service::Greet`] sends first, and the reply to `ANYPORT/1 GREET`.
    pub greeting: Greeting,
    /// TLS settings; each listener has its [`TlsMode`].
    pub tls: Option<anyport_tls::server::Server>,
    /// How long a partial file is kept after its last byte.
    ///
    /// Longer than [`Timeouts::idle`].
    pub keep_partial: Duration,
    /// Maximum number of partial files; beyond it the oldest are removed.
    ///
    /// One address may have a quarter of them.
    pub max_partial: usize,
    /// Maximum size of all partial files in bytes; one address may use a quarter of it.
    ///
    /// `None`: half of the file system.
    pub max_partial_bytes: Option<u64>,
    /// Whether to set the permissions that a sender requests, regardless of the umask.
    pub perms: bool,
    /// The limits of rooms.
    pub rooms: RoomLimits,
    /// The limits of pipes.
    pub pipes: PipeLimits,
    /// Size limits of the protocols.
    pub limits: Limits,
    /// Timeouts of connections.
    pub timeouts: Timeouts,
}

impl Config {
    /// Returns the defaults, for `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            startup: Startup::new(directory.into()),
            fsync: Fsync::default(),
            digest: Algorithm::default(),
            on_exists: None,
            allowed_origins: Vec::new(),
            tokens: None,
            open_rights: Rights::DEFAULT,
            allowed_hosts: Vec::new(),
            base_path: BasePath::default(),
            metrics: false,
            engine: Engine::Own,
            deflate: false,
            congestion: Congestion::default(),
            bulk_buffer: 256 * 1024,
            max_connections: 1024,
            max_streams: 128,
            // As many as connections, since an open file is what a stream costs.
            max_stream_files: 1024,
            max_per_address: 256,
            counts_loopback: false,
            proxy_protocol_from: Proxies::default(),
            trusted_proxies: Proxies::default(),
            max_rate_per_address: Some(100),
            rate_counts_loopback: false,
            max_unclassified: 256,
            max_size: u64::MAX,
            quota: None,
            // As many inodes as a file system of 16 GB has.
            max_entries: 1_000_000,
            max_memory: 4 * 1024 * 1024 * 1024,
            limit_rate: None,
            min_upload_rate: None,
            max_buffered: 256 * 1024 * 1024,
            greeting: Greeting::default(),
            tls: None,
            keep_partial: Duration::from_secs(24 * 60 * 60),
            // A directory with this number of names is listed, and swept, within a tenth of a
            // second.
            max_partial: 10_000,
            max_partial_bytes: None,
            perms: false,
            rooms: RoomLimits::default(),
            pipes: PipeLimits::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Settings that a server uses once, when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Startup {
    /// The served directory.
    pub directory: PathBuf,
    /// The rights that no client has, whatever its token says.
    ///
    /// With uploads, the server checks the directory and removes old partial files when it starts.
    /// Without [`Rights::READ`], no answer depends on the content of a stored file.
    pub withheld: Rights,
    /// The directory of traces, one file for each connection; `None`: connections are not traced.
    ///
    /// Created if it is missing, and neither in the served directory nor around it.
    pub trace: Option<PathBuf>,
    /// The storage backend.
    pub sink: SinkKind,
    /// Number of bulk threads, one per bulk transfer; the async loop serves further transfers.
    pub bulk_threads: usize,
    /// Reactor threads, shared by all interactive connections (echo, rooms).
    pub reactor_threads: usize,
}

impl Startup {
    fn new(directory: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            directory,
            withheld: Rights::NONE,
            trace: None,
            sink: SinkKind::default(),
            bulk_threads: 2 * cores,
            // One thread can use a whole core, and clients, disk and kernel need cores too.
            reactor_threads: cores.div_ceil(4),
        }
    }

    /// Returns whether uploads become files in the served directory.
    pub(crate) const fn stores_files(&self) -> bool {
        matches!(self.sink, SinkKind::File) && !self.withheld.contains(Rights::WRITE)
    }
}

/// The settings of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The service of the listener.
    ///
    /// The other settings apply to [`Service::Any`].
    pub service: Service,
    /// The accepted protocols.
    pub allowed: Allowed,
    /// Maximum time to detect the protocol, from the first byte; after it, the input is raw bytes.
    ///
    /// Also the idle time that confirms bare frames.
    pub detect_timeout: Duration,
    /// Action for a client that sends nothing within [`Self::detect_timeout`] of connecting.
    pub on_timeout: OnTimeout,
    /// Whether clients use TLS.
    pub tls: TlsMode,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            service: Service::Any,
            allowed: Allowed::ALL,
            detect_timeout: Duration::from_secs(3),
            on_timeout: OnTimeout::Wait,
            tls: TlsMode::default(),
        }
    }
}

/// The limits of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomLimits {
    /// Maximum number of rooms, including those that became empty a short time ago.
    pub rooms: usize,
    /// Maximum messages per second of one member, and separately of a whole room.
    ///
    /// Bursts of one second's messages are allowed. `None`: no limit.
    pub rate: Option<u32>,
    /// Maximum number of events that a room stores for later members.
    pub history: usize,
    /// Maximum size of these events, in bytes.
    pub history_bytes: usize,
    /// Maximum queue of one member, in bytes.
    pub queue: usize,
    /// Action for a member whose [`Self::queue`] is full.
    pub slow_reader: SlowReader,
    /// Maximum size of a room that publishes joins and leaves, in members; in larger ones there
    /// would be too many.
    pub notices: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            rooms: 1024,
            rate: Some(100),
            history: 200,
            history_bytes: 256 * 1024,
            queue: 1024 * 1024,
            slow_reader: SlowReader::Drop,
            notices: 100,
        }
    }
}

/// The limits of pipes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeLimits {
    /// Maximum number of keys in use, by senders or waiting receivers.
    pub pipes: usize,
    /// Maximum queue of the slowest receiver of one pipe, in bytes; at the limit, the server stops
    /// reading from the sender.
    ///
    /// One more read may be queued: [`Config::bulk_buffer`].
    pub buffer: usize,
    /// How long sender and receivers wait for each other.
    pub wait: Duration,
}

impl Default for PipeLimits {
    fn default() -> Self {
        // The size of one read of the bulk loop, so that both sides can work concurrently.
        Self { pipes: 256, buffer: 256 * 1024, wait: Duration::from_secs(5 * 60) }
    }
}

/// The action for a member of a room that reads too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// Drop events, and send the member their number.
    #[default]
    Drop,
    /// Close its connection.
    Close,
}

/// The service of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// All services, over all protocols.
    #[default]
    Any,
    /// Echo (RFC 862); over UDP too.
    Echo,
    /// A greeting before any input; the observer receives the lines of the client.
    Greet,
    /// The local time, over HTTP.
    Time,
    /// Seconds since 1900 in four bytes (RFC 868), then FIN; over UDP too.
    Rfc868,
    /// The time in words (RFC 867), then FIN; over UDP too.
    Daytime,
}

impl Service {
    /// All services, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Any, Self::Echo, Self::Greet, Self::Time, Self::Rfc868, Self::Daytime];

    /// Returns its scheme, the word before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Echo => "echo",
            Self::Greet => "greet",
            Self::Time => "time",
            Self::Rfc868 => "rfc868",
            Self::Daytime => "daytime",
        }
    }

    /// Returns whether idle connections count as unclassified, because the service needs input.
    ///
    /// Echo connections may be idle, and the other services close without input.
    pub(crate) const fn counts_idle_as_unclassified(self) -> bool {
        matches!(self, Self::Any | Self::Greet | Self::Time)
    }

    /// Returns whether it is served over UDP too.
    pub const fn serves_udp(self) -> bool {
        matches!(self, Self::Echo | Self::Rfc868 | Self::Daytime)
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|service| service.as_str() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown service {word:?}; expected one of {known}")
        })
    }
}

/// The action for a client that sends no byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// Wait until the idle timeout. In most protocols the client sends first, and a greeting would
    /// be invalid input for it.
    #[default]
    Wait,
    /// Greet it, and continue with [`Service::Greet`]: its lines are reported and never stored, so
    /// that no file begins with the reply to a greeting.
    Greet,
}

/// Whether the clients of a listener use TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// With or without TLS.
    #[default]
    Optional,
    /// Only with TLS: plain HTTP is redirected to `https`, other clients are refused.
    Required,
    /// Only without TLS.
    Off,
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Time from the first byte of an opening handshake to its last; also of a preface line and of
    /// an offer.
    pub handshake: Duration,
    /// Time from the first to the last byte of a message that a service buffers completely (echo).
    ///
    /// Uploads are streamed, so only [`Self::idle`] applies to them.
    pub message: Duration,
    /// Idle timeout, after which a connection is closed, and a transfer is interrupted.
    pub idle: Duration,
    /// Time between the request to stop and the drain, in which the server accepts connections and
    /// is not ready.
    pub drain_delay: Duration,
    /// Time for running transfers to finish when the server stops.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            message: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
        }
    }
}
