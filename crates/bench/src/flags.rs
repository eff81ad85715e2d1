//! Flags of `anyport bench`; the doc comments are the help.

use std::path::PathBuf;
use std::time::Duration;

use anyport_console::choices::{FSYNC, SINKS};
use anyport_console::{Fsync, SinkKind, values};
use anyport_net::congestion::Congestion;
use anyport_proto::transfer::digest::Algorithm;
use clap::{Args, Subcommand};

/// Measure how fast files are sent over each protocol
///
/// Each row of the results names a sender and a receiver: two processes on this machine, connected
/// over loopback. A pair is a row of anyport's clients and servers; a baseline is a row of plain
/// loops without product code. A run is one transfer of one row. A round runs all rows in a
/// shuffled order; the first round is a warm-up and is not counted. The receiver measures the
/// seconds from the first to the last byte of content. The bytes of every run are checked, and one
/// further, untimed run of each row stores the file and checks its digest. A row that fails shows
/// the reason instead of a number. docs/BENCH.md explains each figure.
///
/// The default bench takes several minutes and about 2 GB of memory in /dev/shm, for the file and a
/// stored copy; if there is less, it uses the directory for temporary files.
///
/// With URLs, the bench measures running servers: tcp://HOST:PORT/, ws://HOST:PORT/ or
/// frames://HOST:PORT/.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Bench {
    #[command(subcommand)]
    pub(super) what: Option<What>,

    /// Measure these running servers, not a server started by bench
    ///
    /// Each run stores its file there, unless the server runs with --sink discard.
    #[arg(value_name = "URL")]
    #[arg(conflicts_with_all = ["against", "pairs", "sink", "disk", "fsync", "buffer"])]
    pub(super) urls: Vec<String>,

    /// File to send
    #[arg(long, value_name = "FILE", conflicts_with = "size", help_heading = "Content")]
    pub(super) file: Option<PathBuf>,

    /// Size of the generated file [default: 1017558069 bytes, about 1 GB]
    ///
    /// Its bytes are random.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    #[arg(default_value = "1017558069", hide_default_value = true, help_heading = "Content")]
    pub(super) size: u64,

    /// Number of measured rounds
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 5, help_heading = "Runs")]
    #[arg(value_parser = values::number(1_u32..=1000))]
    pub(super) runs: u32,

    /// Number of concurrent senders of one row
    ///
    /// With several senders, the result is the total rate, and how much longer the slowest took.
    #[arg(long, short = 'P', value_name = "COUNT", default_value_t = 1, help_heading = "Runs")]
    #[arg(value_parser = values::number(1_u32..=256))]
    pub(super) parallel: u32,

    /// Run only these rows and their baselines, for example raw-own,ws-own
    ///
    /// A name is CLIENT-SERVER: the protocol of anyport's client (library: tokio-tungstenite as
    /// client), and the implementation of the server. Rows of anyport: raw-own, ws-own, frames-own,
    /// library-own, library-library, ws-library; raw-own-file, ws-own-file, raw-own-blake3,
    /// tls-own, wss-own, wss-library. Baselines: bare-tcp, bare-tcp-read, bare-tcp-file, bare-ws,
    /// bare-ws-read; bare-own, bare-ws-own, bare-ws-library. Rows with WebSocket frames of other
    /// sizes end in -64k or -1m; an unknown name prints them all. raw-own always runs.
    #[arg(long, value_name = "ROW", value_delimiter = ',', help_heading = "Runs")]
    pub(super) pairs: Vec<String>,

    /// Compare with other installed programs
    ///
    /// They are iperf3, nc, ncat, socat, websocat, websockets (PyPI), ws (npm), and those that
    /// scripts/bench-peers builds: fastwebsockets and libwebsockets.
    #[arg(long, help_heading = "Runs")]
    pub(super) against: bool,

    /// Maximum time of one run; a longer one fails its row
    #[arg(long, value_name = "DURATION", default_value = "2m", help_heading = "Runs")]
    #[arg(value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// Storage backend of the receivers in timed runs
    #[arg(long, value_name = "BACKEND", default_value = "discard", help_heading = "Receivers")]
    #[arg(value_parser = values::choice(SINKS))]
    pub(super) sink: SinkKind,

    /// Directory for received files and the generated file
    ///
    /// [default: one in memory (tmpfs), if it has enough space]
    #[arg(long, value_name = "DIR", help_heading = "Receivers")]
    pub(super) disk: Option<PathBuf>,

    /// What to fsync before a stored run counts as finished
    ///
    /// The time for it is part of the measured seconds.
    #[arg(long, value_name = "MODE", default_value = "none", help_heading = "Receivers")]
    #[arg(value_parser = values::choice(FSYNC))]
    pub(super) fsync: Fsync,

    /// Buffer size of receivers, and of the senders of baselines
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "256KiB")]
    #[arg(help_heading = "Receivers")]
    pub(super) buffer: usize,

    /// Payload size of one WebSocket frame
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "256KiB")]
    #[arg(help_heading = "Senders")]
    pub(super) frame_size: usize,

    /// Digest that both sides compute: blake3, sha256 or none
    ///
    /// Applies to the timed runs of anyport's pairs.
    #[arg(long, value_name = "ALGORITHM", default_value = "none", help_heading = "Senders")]
    pub(super) digest: Algorithm,

    /// TCP congestion control: auto, system or the name of an algorithm
    ///
    /// Applies to every sender that has such an option. auto is reno on loopback connections, and
    /// the system's default on all others.
    #[arg(long, value_name = "ALGORITHM", default_value = "auto", help_heading = "Senders")]
    pub(super) congestion: Congestion,

    #[command(flatten)]
    pub(super) output: Output,
}

/// Format of the results.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON on stdout, one object per line
    ///
    /// The first object describes the machine, each further one is a row.
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,

    /// Print comma-separated values on stdout, one line per row
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(super) csv: bool,

    /// Write an SVG chart to FILE
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) svg: Option<PathBuf>,

    /// Write an HTML report to FILE: chart, table and machine
    ///
    /// The page is self-contained.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
}

/// Benchmarks of WebSocket services.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the variants take their help from their flags")]
pub enum What {
    Echo(Echo),
    Idle(Idle),
    Rooms(Rooms),
}

/// Measure the message rate and latency of a WebSocket echo service
///
/// Works with any server that returns each message unchanged; every answer is compared.
#[derive(Debug, Args)]
pub struct Echo {
    /// Echo service: ws://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Number of concurrent connections
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 50)]
    #[arg(value_parser = values::number(1_u32..=100_000))]
    pub(super) connections: u32,

    /// Unanswered messages per connection
    ///
    /// Separate several numbers with commas; each is measured.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = values::number(1_u32..=65_536))]
    pub(super) in_flight: Vec<u32>,

    /// Payload size of one message
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = values::some_bytes)]
    pub(super) payload: u64,

    /// Measuring time, after a short warm-up
    ///
    /// The warm-up is a tenth of it.
    #[arg(long, short = 'd', value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = values::duration)]
    pub(super) duration: Duration,

    /// Compare with a baseline: a plain epoll loop
    ///
    /// It echoes as many bytes without WebSocket.
    #[arg(long = "yardstick")]
    pub(super) baseline: bool,

    /// Number of rounds [default: 1, with --yardstick 3]
    ///
    /// With --yardstick, the server and the baseline take turns.
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = values::number(1_u32..=1000))]
    pub(super) rounds: Option<u32>,

    /// Idle time before the bench fails
    ///
    /// Applies when no connection receives anything.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// Print one JSON object on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// Measure the memory of a server per idle WebSocket connection
///
/// Opens connections, waits for the time of --settle, and measures the memory of the server. Then
/// each connection is pinged: a result is printed only if all of them answer.
#[derive(Debug, Args)]
pub struct Idle {
    /// WebSocket service: ws://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Number of connections
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 1000)]
    #[arg(value_parser = values::number(1_u32..=1_000_000))]
    pub(super) connections: u32,

    /// Process id of the server, which must run on this machine
    #[arg(long, value_name = "PID")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(super) pid: Option<u32>,

    /// Time to wait before memory is measured
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration)]
    pub(super) settle: Duration,

    /// Maximum time to connect, and to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// Print one JSON object on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// Measure the message rate and latency of a room with many members
///
/// The latency is the time until the last member has received a message. Works with any WebSocket
/// server that sends each message, with or without a prefix, to all members of the room in the URL.
/// Every delivery is counted, and a lost message is an error. Start anyport serve with a sufficient
/// --room-rate and --max-conns.
#[derive(Debug, Args)]
pub struct Rooms {
    /// Room: ws://HOST:PORT/rooms/NAME
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Number of receiving members; one additional member sends
    #[arg(long, short = 'm', value_name = "COUNT", default_value_t = 1000)]
    #[arg(value_parser = values::number(1_u32..=100_000))]
    pub(super) members: u32,

    /// Additional members that never read
    ///
    /// Their effect on the other members is measured.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    #[arg(value_parser = values::number(0_u32..=100_000))]
    pub(super) slow: u32,

    /// Messages sent but not yet received by all members
    ///
    /// Separate several numbers with commas; each is one run. [default: 1,16,64,256]
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    #[arg(value_parser = values::number(1_u32..=65_536))]
    pub(super) in_flight: Vec<u32>,

    /// Number of messages per write
    ///
    /// One number for each run, separated by commas. [default: 1,16,1,64; with --in-flight, 1 for
    /// each run]
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    #[arg(value_parser = values::number(1_u32..=65_536))]
    pub(super) burst: Vec<u32>,

    /// Payload size of one message
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = values::some_bytes)]
    pub(super) payload: u64,

    /// Number of rounds; each round repeats all runs
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = values::number(1_u32..=1000))]
    pub(super) rounds: u32,

    /// Time of one run, after a short warm-up
    ///
    /// The warm-up is a tenth of it.
    #[arg(long, short = 'd', value_name = "DURATION", default_value = "700ms")]
    #[arg(value_parser = values::duration)]
    pub(super) duration: Duration,

    /// Process id of the server, to report its CPU time
    ///
    /// The server must run on this machine.
    #[arg(long, value_name = "PID")]
    #[arg(value_parser = values::number(1..=u32::MAX))]
    pub(super) pid: Option<u32>,

    /// Idle time after which messages count as lost
    ///
    /// Applies when no member receives anything.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// Print JSON on stdout, one object per run
    #[arg(long)]
    pub(super) json: bool,
}

/// Internal process of anyport bench
#[derive(Debug, Args)]
pub struct Peer {
    #[command(subcommand)]
    pub(super) part: Part,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Execute PROGRAM, and terminate it when the benchmark exits
    Exec {
        #[arg(value_name = "PROGRAM", trailing_var_arg = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Send from a plain loop
    Send(BareSend),
    /// Echo from a plain loop
    Echo,
    /// Receive in a plain loop
    Receive(BareReceive),
}

#[derive(Debug, Args)]
pub(crate) struct BareSend {
    #[arg(long)]
    pub(super) to: std::net::SocketAddr,
    #[arg(long)]
    pub(super) size: u64,
    /// File to send [default: one buffer, repeatedly]
    #[arg(long)]
    pub(super) file: Option<PathBuf>,
    #[arg(long)]
    pub(super) buffer: usize,
    /// Send masked frames with this payload size
    #[arg(long)]
    pub(super) frame_size: Option<usize>,
    /// Send an upgrade request first, and close with a WebSocket handshake
    #[arg(long, requires = "frame_size")]
    pub(super) handshake: bool,
    #[arg(long)]
    pub(super) congestion: Congestion,
}

#[derive(Debug, Args)]
pub(crate) struct BareReceive {
    #[arg(long)]
    pub(super) buffer: usize,
    /// Unmask frames in place
    #[arg(long)]
    pub(super) frames: bool,
    #[arg(long, value_parser = values::choice(SINKS))]
    pub(super) sink: SinkKind,
    /// Directory to store a file in
    #[arg(long)]
    pub(super) directory: PathBuf,
    #[arg(long, value_parser = values::choice(FSYNC))]
    pub(super) fsync: Fsync,
}
