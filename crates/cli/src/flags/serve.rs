//! The flags of `anyport serve`.

use std::path::PathBuf;
use std::time::Duration;

use anyport_console::{Engine, Fsync, Sink, values};
use anyport_net::congestion::Congestion;
use anyport_proto::detect::ProtocolName;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::ws::handshake::Origin;
use anyport_server::{FileAccess, Greeting};
use clap::{Args, ValueEnum};

use super::ServerTls;
use super::listen::Listen;
use crate::access::Access;
use crate::daemon;
use crate::logging::LogFormat;

/// Receive and serve files on one port, over any protocol
///
/// The server detects the protocol of each connection: raw TCP (nc), raw TCP that begins with a
/// preface line (ANYPORT/1 and a verb; ANYPORT/1 HELP lists them), HTTP/1.1 and HTTP/2 (curl,
/// browsers), WebSocket, and WebSocket frames without a handshake, each also under TLS. A file is
/// stored in DIR only when it is complete; the server prints a receipt for each. Clients can list
/// and download the content of DIR (anyport ls, anyport get), except partial files and links that
/// lead out of DIR. With -v, receipts show whole digests. A receipt is unconfirmed (in JSON:
/// confirmed=false) if the client announced no size, as nc: the file of a killed client then looks
/// like a complete one.
///
/// By default only this machine can connect: see --bind and --open.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Directory to serve, created if it does not exist
    ///
    /// Only its last component is created, and with --read-only none.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Read settings from FILE (see anyport config example)
    ///
    /// Each key is the name of one of these flags, as in max-conns = 5. Flags override environment
    /// variables (ANYPORT_MAX_CONNS=5), which override FILE. No file is read
    /// unless --config or ANYPORT_CONFIG names it.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Listen on HOST:PORT, HOST or PORT [default: loopback only]
    ///
    /// Repeatable. HOST alone uses the port of --port, PORT alone stands for that port on both
    /// loopback addresses. Port 0 selects a free port. An IPv6 address with a port stands in
    /// brackets, a link-local address has its zone: fe80::1%eth0. By default, the server listens on
    /// both loopback addresses, 127.0.0.1 and ::1.
    #[arg(long, short, value_name = "ADDR", help_heading = "Listening")]
    pub(crate) bind: Vec<String>,

    /// Port to listen on, unless --bind names one [default: 8331]
    ///
    /// Without --bind, the port on both loopback addresses: --port 8080 and --bind 8080 mean the
    /// same. Does not apply to --listen.
    #[arg(long, short, value_name = "PORT", help_heading = "Listening")]
    #[arg(value_parser = values::number(0..=u16::MAX))]
    pub(crate) port: Option<u16>,

    /// Add a listener: echo, greet, time or files (any)
    ///
    /// Repeatable; each can have its own settings. --listen replaces the default addresses: with it
    /// and without --bind and --port, the server listens on these addresses only, and only any://
    /// accepts files.
    ///
    /// any://ADDR accepts the same clients as --bind ADDR. Settings for this listener alone follow
    /// a question mark: any://ADDR?only=raw,http&detect-timeout=5s. The keys are only, detect (on
    /// or off), detect-timeout, on-timeout and tls; for those not given, the flags --only,
    /// --no-detect, --detect-timeout, --on-timeout and --tls apply.
    ///
    /// Other services: echo://ADDR returns its input (RFC 862, default port 7). greet://ADDR sends
    /// the line of --greeting and prints the answer of the client (default port 9001). time://ADDR
    /// answers any HTTP GET request with the local time (default port 8080). rfc868://ADDR (default
    /// port 37) and daytime://ADDR (default port 13) send the time and close the connection. echo,
    /// rfc868 and daytime also answer UDP on the same port, with at most as many bytes as the
    /// request has: to get the time, send at least 4 bytes to rfc868 and 64 bytes to daytime. Each
    /// port 0 selects another free port.
    #[arg(long, value_name = "URL", help_heading = "Listening")]
    pub(crate) listen: Vec<Listen>,

    /// Allow --bind addresses that other machines can reach
    ///
    /// Also those of --listen and of systemd sockets. Has no effect without them: the default
    /// addresses can be reached from this machine only. Every client that reaches the address may
    /// upload to DIR, list it and download from it, unless --token-file, --read-only or
    /// --upload-only restricts that.
    #[arg(long, help_heading = "Listening")]
    pub(crate) open: bool,

    /// Refuse uploads; never write to DIR
    ///
    /// DIR need not be writable. The server refuses uploads with 403 over HTTP and with the error
    /// not-supported over the other protocols. Rooms, pipes and echo store nothing and are not
    /// affected.
    #[arg(long, conflicts_with = "upload_only", help_heading = "Access")]
    pub(crate) read_only: bool,

    /// Refuse downloads and listings; never replace a file
    ///
    /// If the name is taken, the server renames the upload, whatever the client or --on-exists
    /// requests, and never reports the file as already stored. An interrupted upload is resumed
    /// only for a client that sends an upload id, as anyport send does except over HTTP.
    #[arg(long, help_heading = "Access")]
    pub(crate) upload_only: bool,

    /// Storage backend (memory and discard are for benchmarks)
    #[arg(long, value_name = "BACKEND", default_value = "file", help_heading = "Files")]
    pub(crate) sink: Sink,

    /// What to fsync before sending the receipt
    #[arg(long, value_name = "MODE", default_value = "file", help_heading = "Files")]
    pub(crate) fsync: Fsync,

    /// Digest of files whose client selects no algorithm
    ///
    /// ALGORITHM is blake3, sha256 or none (no digest).
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3", help_heading = "Files")]
    pub(crate) digest: Algorithm,

    /// If the name is taken: error, rename, overwrite
    ///
    /// Clients may request error or rename instead; they may request overwrite only if it is given
    /// here. [default: error for clients that send size and modification time (anyport send), and
    /// rename for all others (nc, curl, browsers, anyport send from standard input)]
    #[arg(long, value_name = "POLICY", help_heading = "Files")]
    pub(crate) on_exists: Option<OnExists>,

    /// Maximum size of one file [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, help_heading = "Files")]
    pub(crate) max_size: Option<u64>,

    /// Maximum total size of DIR [default: unlimited]
    ///
    /// Counts files, partial files and directories, including those that exist before the start.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, help_heading = "Files")]
    pub(crate) quota: Option<u64>,

    /// Maximum number of files and directories in DIR, with --quota
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, help_heading = "Files")]
    #[arg(value_parser = values::number(1..=u64::MAX))]
    pub(crate) max_entries: u64,

    /// Maximum total size of files in memory, with --sink memory
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, default_value = "4GiB")]
    #[arg(help_heading = "Files")]
    pub(crate) max_memory: u64,

    /// Time after which partial files of interrupted uploads are removed
    #[arg(long, alias = "keep-parts", value_name = "DURATION", default_value = "24h")]
    #[arg(value_parser = values::duration, help_heading = "Files")]
    pub(crate) keep_partial: Duration,

    /// Maximum number of partial files; the oldest are removed
    ///
    /// One IP address (for IPv6, one /64 network) may have a quarter of them. The newest partial
    /// file of each address is always kept.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, help_heading = "Files")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_partial: u32,

    /// Maximum total size of partial files [default: half the file system]
    ///
    /// One IP address (for IPv6, one /64 network) may use a quarter of it.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, help_heading = "Files")]
    pub(crate) max_partial_bytes: Option<u64>,

    /// Apply the permissions that clients request, even beyond the umask
    ///
    /// Clients request them with anyport send --perms. Without this flag the umask of the server
    /// limits them.
    #[arg(long, help_heading = "Files")]
    pub(crate) perms: bool,

    /// Maximum number of connections
    ///
    /// At the limit, a new connection replaces one that has sent nothing; if there is none, it
    /// waits until a connection ends.
    #[arg(long, value_name = "COUNT", default_value_t = 1024, help_heading = "Limits")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_conns: u32,

    /// Maximum number of connections from one IP address
    ///
    /// For IPv6, from one /64 network. The server closes further connections. [default: 256, or
    /// --max-conns if that is less; unlimited for loopback addresses unless given]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_conns_per_ip: Option<u32>,

    /// Maximum number of unclassified connections
    ///
    /// Unclassified: protocol not yet detected. The client has sent nothing, or too little. Beyond
    /// the limit, the server takes the IP address that has most of them, and closes the connection
    /// of it that has been silent for longest. [default: 256, or --max-conns if that is less]
    #[arg(long, alias = "max-undecided", value_name = "COUNT", help_heading = "Limits")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_unclassified: Option<u32>,

    /// Maximum number of concurrent requests on one HTTP/2 connection
    ///
    /// The server refuses further requests; the client may retry them.
    #[arg(long, value_name = "COUNT", default_value_t = 128, help_heading = "Limits")]
    #[arg(value_parser = values::number(1_u32..=65536))]
    pub(crate) max_streams: u32,

    /// Memory limit for incomplete messages and unclassified input
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, default_value = "256MiB")]
    #[arg(help_heading = "Limits")]
    pub(crate) max_buffered: u64,

    /// Limit a connection, in and out [default: unlimited]
    ///
    /// Both directions count together, in bytes per second.
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = "Limits")]
    pub(crate) limit_rate: Option<u64>,

    /// Idle time after which a connection is closed
    ///
    /// The transfer that it carries, if any, is interrupted and can be resumed.
    #[arg(long, value_name = "DURATION", default_value = "60s", help_heading = "Limits")]
    #[arg(value_parser = values::duration)]
    pub(crate) idle_timeout: Duration,

    /// Maximum time for a handshake, a preface line or an upload request
    ///
    /// Measured from its first byte.
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "Limits")]
    #[arg(value_parser = values::duration)]
    pub(crate) handshake_timeout: Duration,

    /// Maximum time to receive a message that is buffered whole (/echo)
    ///
    /// Measured from its first byte, even while bytes arrive. Files are not buffered and have no
    /// such limit: only --idle-timeout ends them.
    #[arg(long, value_name = "DURATION", default_value = "60s", help_heading = "Limits")]
    #[arg(value_parser = values::duration)]
    pub(crate) message_timeout: Duration,

    /// Maximum time to wait for running transfers when the server stops
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = "Limits")]
    #[arg(value_parser = values::duration)]
    pub(crate) drain_timeout: Duration,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) tls: ServerTls,

    /// Accept only these: raw,http,ws,frames,tls (as ws,tls)
    ///
    /// tls alone accepts every protocol, but only under TLS; in a list, it accepts the listed
    /// protocols under TLS too. raw stores whatever is not recognized as an accepted protocol:
    /// with raw alone, requests of HTTP and TLS are stored as raw bytes and get no answer.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', help_heading = "Detection")]
    pub(crate) only: Vec<ProtocolName>,

    /// Disable detection; treat all input as raw bytes
    #[arg(long, conflicts_with = "only", help_heading = "Detection")]
    pub(crate) no_detect: bool,

    /// Time after which an unclassified client is treated as raw TCP
    ///
    /// The time begins with its first byte. With --on-timeout greet it begins with the connection,
    /// for a client that sends nothing.
    #[arg(long, value_name = "DURATION", default_value = "3s", help_heading = "Detection")]
    #[arg(value_parser = values::duration)]
    pub(crate) detect_timeout: Duration,

    /// What to do if a client sends nothing within --detect-timeout
    #[arg(long, value_name = "POLICY", default_value = "wait", help_heading = "Detection")]
    pub(crate) on_timeout: OnTimeout,

    /// Line that greet:// sends [default: Welcome to anyport!]
    ///
    /// Also the answer to ANYPORT/1 GREET and to clients greeted by --on-timeout greet.
    #[arg(long, value_name = "TEXT", help_heading = "Detection")]
    pub(crate) greeting: Option<Greeting>,

    /// WebSocket implementation
    #[arg(long, value_name = "ENGINE", default_value = "own", help_heading = "WebSocket")]
    #[arg(value_parser = values::engine())]
    pub(crate) engine: Engine,

    /// Compress WebSocket messages (permessage-deflate, RFC 7692)
    ///
    /// Applies to clients that offer the extension.
    #[arg(long, help_heading = "WebSocket")]
    pub(crate) deflate: bool,

    /// Allow WebSocket connections from web pages of ORIGIN; repeatable
    ///
    /// ORIGIN is scheme, host and port as browsers send them, such as https://HOST:8443. Pages that
    /// this server sent are always allowed.
    #[arg(long, value_name = "ORIGIN", help_heading = "WebSocket")]
    pub(crate) allow_origin: Vec<Origin>,

    /// Maximum number of rooms
    ///
    /// A room that all members have left counts for one more minute.
    #[arg(long, value_name = "COUNT", default_value_t = 1024, help_heading = "Rooms and pipes")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_rooms: u32,

    /// Messages per second of one room member (0: unlimited)
    ///
    /// A member may send as many in one burst; the server reads more slowly from a member that
    /// sends faster. All HTTP POST requests to one room (curl -d TEXT http://HOST:8331/rooms/NAME)
    /// together have the same limit.
    #[arg(long, value_name = "COUNT", default_value_t = 100, help_heading = "Rooms and pipes")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) room_rate: u32,

    /// Maximum size of a room message
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "64KiB")]
    #[arg(help_heading = "Rooms and pipes")]
    pub(crate) room_message: usize,

    /// Events that a room keeps for members that join or rejoin
    ///
    /// At most 256 KiB of them.
    #[arg(long, value_name = "COUNT", default_value_t = 200, help_heading = "Rooms and pipes")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) room_history: u32,

    /// Maximum output queued for a room member that does not read
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "1MiB")]
    #[arg(help_heading = "Rooms and pipes")]
    pub(crate) room_queue: usize,

    /// What to do if the queue of a room member is full
    #[arg(long, value_name = "POLICY", default_value = "drop", help_heading = "Rooms and pipes")]
    pub(crate) slow_reader: SlowReader,

    /// Maximum number of pipes
    ///
    /// Waiting pipes count too.
    #[arg(long, value_name = "COUNT", default_value_t = 256, help_heading = "Rooms and pipes")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(crate) max_pipes: u32,

    /// Maximum time that sender and receivers of a pipe wait for each other
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = "Rooms and pipes")]
    #[arg(value_parser = values::duration)]
    pub(crate) pipe_wait: Duration,

    /// Number of reactor threads [default: 1 for each 4 cores]
    ///
    /// The server has three kinds of threads. Reactor threads serve rooms, echo and idle
    /// connections. Bulk threads run one large transfer each. Worker threads, one for each core,
    /// run everything else.
    #[arg(long, alias = "conversation-threads", value_name = "COUNT")]
    #[arg(value_parser = values::number(1_u16..=256), help_heading = "Performance")]
    pub(crate) reactor_threads: Option<u16>,

    /// TCP congestion control: auto, system or the name of an algorithm
    ///
    /// auto is reno on loopback connections, and the system's default on all others.
    #[arg(long, value_name = "ALGORITHM", default_value = "auto", help_heading = "Performance")]
    pub(crate) congestion: Congestion,

    /// Number of bulk threads [default: 2 for each core]
    ///
    /// Each runs one large transfer. Further transfers share the worker threads (see
    /// --reactor-threads).
    #[arg(long, value_name = "COUNT", help_heading = "Performance")]
    #[arg(value_parser = values::number(0_u16..=256))]
    pub(crate) bulk_threads: Option<u16>,

    /// Buffer size of a bulk thread
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "256KiB")]
    #[arg(help_heading = "Performance")]
    pub(crate) bulk_buffer: usize,

    /// Log format on stderr (-v for more detail)
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = "Logging")]
    pub(crate) log_format: LogFormat,

    /// Print events as JSON on stdout, one object per line
    ///
    /// Events are listening addresses, receipts and failed transfers. The format of the log on
    /// stderr is that of --log-format.
    #[arg(long, help_heading = "Logging")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) background: daemon::flags::Background,
}

impl Serve {
    /// Which file operations clients may request.
    pub(crate) const fn file_access(&self) -> FileAccess {
        match (self.read_only, self.upload_only) {
            (true, _) => FileAccess::ReadOnly,
            (false, true) => FileAccess::UploadOnly,
            (false, false) => FileAccess::ReadWrite,
        }
    }

    /// Returns the log format; a log file gets text, whatever stderr was connected to.
    pub(crate) fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormat::Auto if self.background.log_file.is_some() => LogFormat::Text,
            format => format,
        }
    }
}

/// What to do if a client sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTimeout {
    /// Wait for its first byte, until --idle-timeout
    Wait,
    /// Send --greeting, then serve it as greet:// does: nothing is stored
    Greet,
}

impl From<OnTimeout> for anyport_server::OnTimeout {
    fn from(on_timeout: OnTimeout) -> Self {
        match on_timeout {
            OnTimeout::Wait => Self::Wait,
            OnTimeout::Greet => Self::Greet,
        }
    }
}

/// What to do with a room member that reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlowReader {
    /// Drop events, and notify the member how many were dropped
    Drop,
    /// Close its connection
    Close,
}
