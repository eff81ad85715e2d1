//! The flags of `anyport serve`.

use std::path::PathBuf;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::detect::ProtocolName;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::ws::handshake::Origin;
use anyport_server::{FileAccess, Greeting};
use clap::{Args, ValueEnum};

use super::{Engine, ServerTls};
use crate::access::Access;
use crate::listen::Listen;
use crate::logging::LogFormat;
use crate::{daemon, values};

/// Receive files on one port, and give them, whatever the client speaks.
///
/// That is raw TCP (nc), raw TCP with anyport's preface, WebSocket, and WebSocket frames without a handshake. Each file lands in DIR complete or not at all, and ends in a receipt on stdout. What is in DIR can be listed and received (anyport ls, anyport get), but for hidden parts and links that lead out of it.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Directory to serve; its last component is created if it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Address to listen on: HOST, HOST:PORT, or PORT on both loopback addresses
    ///
    /// Repeatable. Port 0 picks a free one. An IPv6 address with a port stands in brackets, and a link-local one
    /// has its zone: fe80::1%eth0. [default: both loopback addresses]
    #[arg(long, short, value_name = "ADDR")]
    pub(crate) bind: Vec<String>,

    /// Port of the addresses that name none [default: 8331]
    ///
    /// Without --bind these are both loopback addresses: --port 8080 and --bind 8080 mean the same.
    #[arg(long, short, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// The same with what is set for this listener alone: any://ADDR[?only=raw,http&detect-timeout=5s&detect=off], or echo://, greet://, time://, rfc868:// or daytime://ADDR, which serve one thing; repeatable
    ///
    /// any: the client asks for what it wants. only, detect-timeout, on-timeout and detect=off (or on) are --only,
    /// --detect-timeout, --on-timeout and --no-detect for this listener, which else has what those say.
    ///
    /// echo gives back what comes (RFC 862, port 7). greet says --greeting first and prints what is answered (port 9001). time
    /// tells the local time to any GET over HTTP (port 8080). rfc868 (port 37) and daytime (port 13) tell the time and close. echo,
    /// rfc868 and daytime answer over UDP too, on the same port: at most as many bytes as came, so who asks for the time sends
    /// at least 4, or for daytime 64. Each port 0 is another free one.
    #[arg(long, value_name = "SERVICE://ADDR")]
    pub(crate) listen: Vec<Listen>,

    /// File with settings: a key for each of these flags, as max-conns = 5 (anyport config example) [default: none]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Allow addresses beyond this machine: whoever reaches them may upload, and get and list what is in DIR (but see --token-file)
    #[arg(long)]
    pub(crate) open: bool,

    /// Refuse uploads: files can be listed and downloaded, and nothing in DIR is written
    ///
    /// DIR need not be writable. Uploads are refused with 403 over HTTP and with the error not-supported over the other
    /// protocols. Rooms, pipes and echo store nothing, and are not affected.
    #[arg(long, conflicts_with = "upload_only")]
    pub(crate) read_only: bool,

    /// Refuse downloads and listings; every upload is stored under a name of its own
    ///
    /// A file whose name is taken is renamed, whatever the client or --on-exists requests, and never counts as already there. An
    /// interrupted upload is resumed only by a client that sends its upload id.
    #[arg(long)]
    pub(crate) upload_only: bool,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) tls: ServerTls,

    /// Where received bytes rest; memory and discard are for measuring
    #[arg(long, value_name = "SINK", default_value = "file", help_heading = "Files")]
    pub(crate) sink: Sink,

    /// What is on disk before a receipt is given
    #[arg(long, value_name = "WHAT", default_value = "file", help_heading = "Files")]
    pub(crate) fsync: Fsync,

    /// Digest of files whose sender names none: blake3, sha256 or none
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3", help_heading = "Files")]
    pub(crate) digest: Algorithm,

    /// What happens if another file has the name: error, rename or overwrite; senders may ask for error or rename, and with overwrite here for that too [default: error for a file whose sender gave size and time, else rename]
    #[arg(long, value_name = "POLICY", help_heading = "Files")]
    pub(crate) on_exists: Option<OnExists>,

    /// Largest file, in bytes or with a unit (64MiB, 2GB) [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, help_heading = "Files")]
    pub(crate) max_size: Option<u64>,

    /// Space that the files, partial files and directories in DIR may take together, existing ones too [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, help_heading = "Files")]
    pub(crate) quota: Option<u64>,

    /// Number of files and directories that may be in DIR together, counted with --quota
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, help_heading = "Files")]
    pub(crate) max_entries: u64,

    /// What all files in memory may take together, with --sink memory
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, default_value = "4GiB", help_heading = "Files")]
    pub(crate) max_memory: u64,

    /// What unfinished messages and undecided bytes may take together
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, default_value = "256MiB", help_heading = "Connections")]
    pub(crate) max_buffered: u64,

    /// How long the hidden part of an interrupted transfer is kept
    #[arg(long, alias = "keep-parts", value_name = "DURATION", default_value = "24h", value_parser = values::duration, help_heading = "Files")]
    pub(crate) keep_partial: Duration,

    /// Number of partial files that are kept; beyond it the oldest are removed
    ///
    /// One address (IPv6: one /64) may have a fourth of them. The newest one of an address is always kept.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Files")]
    pub(crate) max_partial: u32,

    /// Space that partial files may take together, one address a fourth of it [default: half of the file system]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, help_heading = "Files")]
    pub(crate) max_partial_bytes: Option<u64>,

    /// Set the permissions that senders ask for (send --perms) even beyond the umask
    #[arg(long, help_heading = "Files")]
    pub(crate) perms: bool,

    /// Who speaks WebSocket
    #[arg(long, value_name = "ENGINE", default_value = "own", help_heading = "Connections")]
    pub(crate) engine: Engine,

    /// Compress WebSocket messages with clients that offer it (permessage-deflate, RFC 7692)
    #[arg(long, help_heading = "Connections")]
    pub(crate) deflate: bool,

    /// Web pages of ORIGIN (scheme, host and port, as browsers write it) may open a WebSocket, beside those of this host; repeatable
    #[arg(long, value_name = "ORIGIN", help_heading = "Connections")]
    pub(crate) allow_origin: Vec<Origin>,

    /// Connections at once; further ones wait until one ends, or take the place of one that has said nothing
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    pub(crate) max_conns: u32,

    /// Connections at once from one IP address, of IPv6 from one /64; a further one is closed [default: 256, or --max-conns if that is less; none for addresses of this machine, unless given]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    pub(crate) max_conns_per_ip: Option<u32>,

    /// Connections at once that have said nothing, or not enough to know what they speak; past it the one that has been silent for longest is closed [default: 256, or --max-conns if that is less]
    #[arg(long, alias = "max-undecided", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    pub(crate) max_unclassified: Option<u32>,

    /// Requests at once on one HTTP/2 connection; further ones are refused, and may be made again
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65536), help_heading = "Connections")]
    pub(crate) max_streams: u32,

    /// Take only clients that speak one of PROTOCOL,…: raw, http, ws, frames, tls
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', help_heading = "Connections")]
    pub(crate) only: Vec<ProtocolName>,

    /// Look at nothing: every byte of every client is raw
    #[arg(long, conflicts_with = "only", help_heading = "Connections")]
    pub(crate) no_detect: bool,

    /// How long after its first byte a client may stay undecided before it is raw TCP
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = values::duration, help_heading = "Connections")]
    pub(crate) detect_timeout: Duration,

    /// What becomes of a client that has sent no byte within --detect-timeout: wait for it, or greet it; who is greeted gets the greet service, which stores nothing
    #[arg(long, value_name = "WHAT", default_value = "wait", help_heading = "Connections")]
    pub(crate) on_timeout: OnTimeout,

    /// What greet:// says first, and ANYPORT/1 GREET is answered; one line [default: Welcome to anyport!]
    #[arg(long, value_name = "TEXT", help_heading = "Connections")]
    pub(crate) greeting: Option<Greeting>,

    /// How long an opening handshake, a preface line or an offer may take, from its first byte
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration, help_heading = "Connections")]
    pub(crate) handshake_timeout: Duration,

    /// How long a message may take that is kept until it is whole (/echo), from its first byte; files have no such limit
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::duration, help_heading = "Connections")]
    pub(crate) message_timeout: Duration,

    /// Silence after which a connection is given up and a transfer interrupted
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::duration, help_heading = "Connections")]
    pub(crate) idle_timeout: Duration,

    /// What running transfers get to finish when the server stops
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration, help_heading = "Connections")]
    pub(crate) drain_timeout: Duration,

    /// Rooms at once; one that was left counts for a minute
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Rooms")]
    pub(crate) max_rooms: u32,

    /// Messages per second of one member, in bursts of as many; who is faster is read more slowly. Also what all that post to one room by HTTP may say. 0 is no limit
    #[arg(long, value_name = "COUNT", default_value_t = 100, help_heading = "Rooms")]
    pub(crate) room_rate: u32,

    /// Longest message of a room
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "64KiB", help_heading = "Rooms")]
    pub(crate) room_message: usize,

    /// Events that a room keeps for those who come later, or come back; 256 KiB of them at most
    #[arg(long, value_name = "COUNT", default_value_t = 200, help_heading = "Rooms")]
    pub(crate) room_history: u32,

    /// What may wait for one member that does not read
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "1MiB", help_heading = "Rooms")]
    pub(crate) room_queue: usize,

    /// What happens to it beyond that: drop what it misses, and tell it how much; or close it
    #[arg(long, value_name = "WHAT", default_value = "drop", help_heading = "Rooms")]
    pub(crate) slow_reader: SlowReader,

    /// Pipes at once: keys that somebody gives to or waits for
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Pipes")]
    pub(crate) max_pipes: u32,

    /// How long the sender and the receivers of a pipe wait for each other
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration, help_heading = "Pipes")]
    pub(crate) pipe_wait: Duration,

    /// Threads of what waits more than it says: rooms and echo [default: 1 for 4 cores]
    #[arg(long, alias = "conversation-threads", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Speed")]
    pub(crate) reactor_threads: Option<u16>,

    /// Congestion control of accepted sockets: auto, system or a name
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Speed")]
    pub(crate) congestion: Congestion,

    /// Bytes per second of one connection, both ways together, and no more [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = values::some_bytes, help_heading = "Speed")]
    pub(crate) limit_rate: Option<u64>,

    /// Bulk transfers with a thread of their own [default: 2 for each core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=256), help_heading = "Speed")]
    pub(crate) bulk_threads: Option<u16>,

    /// Buffer of a bulk transfer
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "256KiB", help_heading = "Speed")]
    pub(crate) bulk_buffer: usize,

    /// Form of the log on stderr (-v for more of it): text, json, journald, or auto, which is the journal where stderr leads to it
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) log_format: LogFormat,

    /// One JSON object a line on stdout, for machines
    #[arg(long)]
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

    /// A file of its own gets lines, wherever stderr led before.
    pub(crate) fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormat::Auto if self.background.log_file.is_some() => LogFormat::Text,
            format => format,
        }
    }
}

/// What becomes of a client that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTimeout {
    /// It may, for --idle-timeout
    Wait,
    /// It is greeted
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

/// Where received bytes rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sink {
    /// Nowhere
    Discard,
    /// Memory, until the receipt is given
    Memory,
    /// A file
    File,
}

impl Sink {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

/// What happens to a member of a room that reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlowReader {
    /// It misses events, and is told how many
    Drop,
    /// It is closed
    Close,
}

/// What is on disk before a receipt is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fsync {
    /// The file and its directory entry
    File,
    /// Nothing is waited for
    None,
}

impl Fsync {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::None => "none",
        }
    }
}
