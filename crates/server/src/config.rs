//! The settings of a server: plain data, with the reasons of the defaults. How a program reads them
//! (flags, a file, the environment) is its own business.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::access::HostName;
use anyport_proto::detect::Allowed;
use anyport_proto::limits::Limits;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::ws::handshake::Origin;
pub use anyport_store::{Fsync, SinkKind};

use crate::greeting::Greeting;
use crate::tokens::Tokens;

/// The settings of a [`crate::Server`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Settings that [`crate::Reload::replace`] ignores. It applies all others.
    pub startup: Startup,
    /// What is on disk before a receipt is sent.
    pub fsync: Fsync,
    /// The digest of transfers that name none themselves.
    pub digest: Algorithm,
    /// What happens if another file has the name, unless the sender asks for something else.
    /// `None`: offers with a size, and a time or an id, are refused, all else is renamed. Only
    /// where this is [`OnExists::Overwrite`] can a sender ask to overwrite.
    pub on_exists: Option<OnExists>,
    /// Whose web pages may open a WebSocket, beside those of the host that they connect to.
    pub allowed_origins: Vec<Origin>,
    /// Whoever comes shows one of these, but for [`Service`]s that hear of none. `None`: everybody
    /// may come in.
    pub tokens: Option<Tokens>,
    /// Names that HTTP requests may be for, beside addresses and local names, where no token says
    /// who sends them. Empty: any name, but from this machine, where a browser may be led here by a
    /// name of somebody else's.
    pub allowed_hosts: Vec<HostName>,
    /// Whether `/metrics` tells what is counted, to all who may come in.
    pub metrics: bool,
    /// Who speaks WebSocket.
    pub engine: Engine,
    /// Whether permessage-deflate is agreed to where a client offers it; engine own only.
    pub deflate: bool,
    /// Congestion control of accepted sockets.
    pub congestion: Congestion,
    /// Bytes of the bulk loop's buffer. About the size of L2, so that what was read is unmasked
    /// while it is hot.
    pub bulk_buffer: usize,
    /// Connections at once; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Requests of one HTTP/2 connection at once; RFC 9113 §6.5.2 asks for 100 at least.
    pub max_streams: u32,
    /// Files that HTTP/2 streams may have open beside one of each connection, all connections
    /// together.
    pub max_stream_files: usize,
    /// Connections of one peer address at once, of an IPv6 peer those of its /64; a further one is
    /// closed.
    pub max_per_address: usize,
    /// Whether that holds for peers on this machine too, who could do worse than to connect.
    pub counts_loopback: bool,
    /// New connections of one peer address in a second, of an IPv6 peer those of its /64, in bursts
    /// of twice as many; a further one is closed. `None`: as fast as they like.
    pub max_rate_per_address: Option<u32>,
    /// Whether that holds for peers on this machine too.
    pub rate_counts_loopback: bool,
    /// Connections without a byte, or whose protocol is not known yet, at once; at most
    /// [`Self::max_connections`] makes sense. Past it the one that has been silent for longest
    /// gives way.
    pub max_unclassified: usize,
    /// Bytes of the largest file.
    pub max_size: u64,
    /// Bytes of the blocks that files, partial files and directories in the served directory may
    /// take together, whoever put them there. `None`: no limit.
    pub quota: Option<u64>,
    /// Files and directories that may be there together, where [`Self::quota`] is set.
    pub max_entries: u64,
    /// Bytes that all memory sinks together may hold.
    pub max_memory: u64,
    /// Bytes per second of one connection, both ways together; own engine only. `None`: as fast as
    /// it goes.
    pub limit_rate: Option<u64>,
    /// Bytes that unfinished messages and candidates for bare frames may hold in memory, all
    /// together.
    pub max_buffered: u64,
    /// What a client is told first by [`Service::Greet`], and the answer to `ANYPORT/1 GREET`.
    pub greeting: Greeting,
    /// TLS, where it is spoken; each listener says whether it must be.
    pub tls: Option<anyport_tls::server::Server>,
    /// How long the part of an interrupted transfer is kept after its last byte. Longer than
    /// [`Timeouts::idle`].
    pub keep_partial: Duration,
    /// Partial files that are kept; beyond it the oldest are removed. One address may have a fourth
    /// of them.
    pub max_partial: usize,
    /// Bytes that they may take together, one address a fourth of them. `None`: half of the file
    /// system.
    pub max_partial_bytes: Option<u64>,
    /// Whether the permissions that a sender asks for are set even beyond the umask.
    pub perms: bool,
    /// What rooms may take.
    pub rooms: RoomLimits,
    /// What pipes may take.
    pub pipes: PipeLimits,
    /// Sizes of the wire.
    pub limits: Limits,
    /// Durations.
    pub timeouts: Timeouts,
}

impl Config {
    /// The defaults, for `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            startup: Startup::new(directory.into()),
            fsync: Fsync::default(),
            digest: Algorithm::default(),
            on_exists: None,
            allowed_origins: Vec::new(),
            tokens: None,
            allowed_hosts: Vec::new(),
            metrics: false,
            engine: Engine::Own,
            deflate: false,
            congestion: Congestion::default(),
            bulk_buffer: 256 * 1024,
            max_connections: 1024,
            max_streams: 128,
            // As many as connections: a file is what costs.
            max_stream_files: 1024,
            max_per_address: 256,
            counts_loopback: false,
            max_rate_per_address: Some(100),
            rate_counts_loopback: false,
            max_unclassified: 256,
            max_size: u64::MAX,
            quota: None,
            // As many inodes as a file system of 16 GB has.
            max_entries: 1_000_000,
            max_memory: 4 * 1024 * 1024 * 1024,
            limit_rate: None,
            max_buffered: 256 * 1024 * 1024,
            greeting: Greeting::default(),
            tls: None,
            keep_partial: Duration::from_secs(24 * 60 * 60),
            // A directory of so many names is listed, and swept, within a tenth of a second.
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
    /// Which file operations clients may request. With uploads, the server checks the directory
    /// and removes old partial files when it starts.
    pub file_access: FileAccess,
    /// The storage backend.
    pub sink: SinkKind,
    /// Bulk transfers that have a thread of their own; the async loop serves further ones.
    pub bulk_threads: usize,
    /// Reactor threads, shared by all interactive connections (echo, rooms).
    pub reactor_threads: usize,
}

impl Startup {
    fn new(directory: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            directory,
            file_access: FileAccess::default(),
            sink: SinkKind::default(),
            bulk_threads: 2 * cores,
            // One keeps a core busy, and the clients, the disk and the kernel want some too.
            reactor_threads: cores.div_ceil(4),
        }
    }

    /// Returns whether uploads become files in the served directory.
    pub(crate) const fn stores_files(&self) -> bool {
        matches!(self.sink, SinkKind::File) && self.file_access.may_write()
    }
}

/// What is set for one listener alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// What its clients get. All that follows is for [`Service::Any`].
    pub service: Service,
    /// The protocols that are taken.
    pub allowed: Allowed,
    /// Time from a client's first byte until its protocol must be detected; then it is raw. Also
    /// the idle time that confirms bare frames.
    pub detect_timeout: Duration,
    /// What becomes of a client that has sent no byte [`Self::detect_timeout`] after it connected.
    pub on_timeout: OnTimeout,
    /// Whether clients speak TLS here.
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

/// What rooms may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomLimits {
    /// Rooms at once, those that were just left too.
    pub rooms: usize,
    /// Messages per second of one member, in bursts of as many, and of all that post to a room
    /// together. `None`: no limit.
    pub rate: Option<u32>,
    /// Events that a room keeps for those who come later.
    pub history: usize,
    /// Bytes of these.
    pub history_bytes: usize,
    /// Bytes that wait for one member that does not read.
    pub queue: usize,
    /// What happens to it beyond that.
    pub slow_reader: SlowReader,
    /// Members up to which a room is told who joins and leaves; more of them would hear of nothing
    /// else.
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

/// What pipes may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeLimits {
    /// Keys at once that somebody gives to or waits for.
    pub pipes: usize,
    /// Bytes that wait for the slowest receiver of one pipe; the sender is not read while there are
    /// as many. One more read may be there: [`Config::bulk_buffer`].
    pub buffer: usize,
    /// How long sender and receivers wait for each other.
    pub wait: Duration,
}

impl Default for PipeLimits {
    fn default() -> Self {
        // As much as one read of the bulk loop, so that both sides have something to do.
        Self { pipes: 256, buffer: 256 * 1024, wait: Duration::from_secs(5 * 60) }
    }
}

/// What happens to a member of a room that reads too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It misses events, and is told how many.
    #[default]
    Drop,
    /// It is closed.
    Close,
}

impl SlowReader {
    /// Returns its name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Close => "close",
        }
    }
}

/// What the clients of a listener get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// Whatever they ask for, in whichever protocol.
    #[default]
    Any,
    /// What they send (RFC 862); over UDP too.
    Echo,
    /// A greeting before they have said anything. What they answer is told to the observer.
    Greet,
    /// The local time, over HTTP.
    Time,
    /// Seconds since 1900 in four bytes (RFC 868), and the end; over UDP too.
    Rfc868,
    /// The time in words (RFC 867), and the end; over UDP too.
    Daytime,
}

impl Service {
    /// In the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Any, Self::Echo, Self::Greet, Self::Time, Self::Rfc868, Self::Daytime];

    /// The word for it in front of `://`.
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

    /// Whether silent connections count as unclassified, because the service needs input. Echo
    /// connections may be silent, and the other services close without input.
    pub(crate) const fn limits_silence(self) -> bool {
        matches!(self, Self::Any | Self::Greet | Self::Time)
    }

    /// Whether it is served over UDP too.
    pub const fn takes_datagrams(self) -> bool {
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

/// What becomes of a client that says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// It may, for the idle time. Most clients speak first, and a word of ours would get among
    /// theirs.
    #[default]
    Wait,
    /// It is greeted, and gets [`Service::Greet`] from then on: what it says is told and never
    /// stored, so that no file begins with what somebody answered to a greeting.
    Greet,
}

impl OnTimeout {
    /// Returns its name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Greet => "greet",
        }
    }
}

/// Whether the clients of a listener speak TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// As they like.
    #[default]
    Optional,
    /// All of them: plain HTTP is sent to `https`, and all else is told.
    Required,
    /// None of them.
    Off,
}

impl TlsMode {
    /// Returns its name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Off => "off",
        }
    }
}

/// Which file operations clients may request, whatever protocol they speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileAccess {
    /// Uploads, downloads and listings.
    #[default]
    ReadWrite,
    /// Downloads and listings; nothing in the served directory is written.
    ReadOnly,
    /// Uploads, each under a name of its own; no answer depends on the content of a stored file.
    UploadOnly,
}

impl FileAccess {
    /// Returns whether uploads are served.
    pub(crate) const fn may_write(self) -> bool {
        !matches!(self, Self::ReadOnly)
    }

    /// Returns whether downloads and listings are served.
    pub(crate) const fn may_read(self) -> bool {
        !matches!(self, Self::UploadOnly)
    }
}

/// How long a peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the first byte of an opening handshake to its last; of a preface line and of an offer
    /// too.
    pub handshake: Duration,
    /// From the first byte of a message that a service keeps until it is whole (echo) to its last.
    /// Uploads are streamed and know only [`Self::idle`].
    pub message: Duration,
    /// Silence after which a connection is given up, and a transfer is interrupted.
    pub idle: Duration,
    /// What running transfers get to finish when the server stops.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            message: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}
