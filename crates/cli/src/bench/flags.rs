//! Flags of `anyport bench`; the doc comments are the help.

use std::path::PathBuf;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::transfer::digest::Algorithm;
use clap::{Args, Subcommand};

use crate::flags::{Fsync, Sink};
use crate::values;

/// What does each way of sending cost on this machine?
///
/// Rows are pairs of a sender and a receiver, each in a process of its own over loopback: the six pairs of anyport, and
/// yardsticks, which are bare loops without product code. Every round runs all rows in a shuffled order; a first round
/// warms up and is dropped. Seconds are the receiver's, from the first to the last content byte. The bytes of every run
/// are checked, and the digest of what one further, untimed run of each row stored. A row that fails shows why and no
/// number. docs/BENCH.md says how each figure is come by.
///
/// With URLs, running servers are measured instead: tcp://HOST:PORT/, ws://HOST:PORT/ or frames://HOST:PORT/.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(super) what: Option<What>,

    /// Running servers to measure instead; each run leaves there what their sink keeps
    #[arg(value_name = "URL", conflicts_with_all = ["against", "pairs", "sink", "disk", "fsync", "buffer"])]
    pub(super) urls: Vec<String>,

    /// File to send
    #[arg(long, value_name = "FILE", conflicts_with = "size", help_heading = "Content")]
    pub(super) file: Option<PathBuf>,

    /// Size of a file of random bytes to make and send
    #[arg(long, value_name = "BYTES", value_parser = values::some_bytes, default_value = "1017558069", help_heading = "Content")]
    pub(super) size: u64,

    /// Measured rounds
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Runs")]
    pub(super) runs: u32,

    /// Senders of one pair at once: then the total rate counts, and how far the slowest is behind
    #[arg(long, short = 'P', value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Runs")]
    pub(super) parallel: u32,

    /// Only these rows, and what they are compared to; a wrong name lists all
    #[arg(long, value_name = "ROW", value_delimiter = ',', help_heading = "Runs")]
    pub(super) pairs: Vec<String>,

    /// Add rows with what else is installed: iperf3, nc, ncat, socat, websocat, websockets (PyPI), ws (npm), and what
    /// scripts/bench-peers builds: fastwebsockets and libwebsockets
    #[arg(long, help_heading = "Runs")]
    pub(super) against: bool,

    /// After this a run is ended and its row given up
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = values::duration, help_heading = "Runs")]
    pub(super) timeout: Duration,

    /// Where the timed runs' bytes rest
    #[arg(long, value_name = "SINK", default_value = "discard", help_heading = "Receivers")]
    pub(super) sink: Sink,

    /// Directory for what receivers store and for the made file [default: memory-backed, if it has room]
    #[arg(long, value_name = "PATH", help_heading = "Receivers")]
    pub(super) disk: Option<PathBuf>,

    /// What must be on disk before a stored run counts as done; its time is then part of the seconds
    #[arg(long, value_name = "WHAT", default_value = "none", help_heading = "Receivers")]
    pub(super) fsync: Fsync,

    /// Buffer of receivers, and of the yardsticks' senders
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "256KiB", help_heading = "Receivers")]
    pub(super) buffer: usize,

    /// Payload of one WebSocket frame
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "256KiB", help_heading = "Senders")]
    pub(super) frame_size: usize,

    /// Digest that both sides of anyport's pairs compute in timed runs: none, blake3 or sha256
    #[arg(long, value_name = "ALGORITHM", default_value = "none", help_heading = "Senders")]
    pub(super) digest: Algorithm,

    /// Congestion control of every sender that lets us choose: auto, system or a name
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Senders")]
    pub(super) congestion: Congestion,

    #[command(flatten)]
    pub(super) output: Output,
}

/// How results are told.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// One JSON object a line on stdout: the facts, then a row each
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,

    /// Comma-separated values on stdout, a line each row
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(super) csv: bool,

    /// Draw the rows into this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) svg: Option<PathBuf>,

    /// Write the picture, the table and the facts into this file, one page that needs no other
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    Echo(Echo),
    Idle(Idle),
    Rooms(Rooms),
}

/// How many messages per second a WebSocket server gives back, and how soon.
///
/// Works with any server that sends back each message as it came; every answer is compared.
#[derive(Debug, Args)]
pub(crate) struct Echo {
    /// The echo service: ws://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Connections at once
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) connections: u32,

    /// Messages that each connection has under way; of several numbers each is measured
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: Vec<u32>,

    /// Payload of one message
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = values::some_bytes)]
    pub(super) payload: u64,

    /// How long to measure, after a tenth of it to warm up
    #[arg(long, short = 'd', value_name = "DURATION", default_value = "5s", value_parser = values::duration)]
    pub(super) duration: Duration,

    /// Measure a bare epoll loop too, by plain bytes of the same size, and say how the server compares
    #[arg(long)]
    pub(super) yardstick: bool,

    /// Rounds; with --yardstick the server and the bare loop take turns [default: 1, with --yardstick 3]
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: Option<u32>,

    /// Silence of all connections after which the server is given up
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// One JSON object on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// What an idle WebSocket connection costs a server in memory.
///
/// Opens connections, waits until the server's memory is at rest, and compares. Afterwards each connection is pinged:
/// only if all of them answer is there a figure.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Any WebSocket service: ws://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Connections to open
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) connections: u32,

    /// The server's process on this machine, whose memory is looked at
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,

    /// How long to wait before memory is looked at
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration)]
    pub(super) settle: Duration,

    /// How long one connection may take to be opened, or to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// One JSON object on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// How many messages per second a room gives to all who are in it, and how soon the last of them has one.
///
/// Works with any WebSocket server that sends each message to all members of the room that the URL names; it may put
/// words before it. Every delivery is counted, and nothing may be lost. For anyport start serve with --room-rate high
/// enough, and --max-conns.
#[derive(Debug, Args)]
pub(crate) struct Rooms {
    /// The room: ws://HOST:PORT/rooms/NAME
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Members that hear; one more says
    #[arg(long, short = 'm', value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) members: u32,

    /// Members beside them that never read; what the others get is measured
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(super) slow: u32,

    /// Messages that may be under way, a run for each: published, and not yet with every member [default: 1,16,64,256]
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: Vec<u32>,

    /// Messages that go out with one write, a number for each run [default: 1,16,1,64; with --in-flight 1 each]
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) burst: Vec<u32>,

    /// Payload of one message
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = values::some_bytes)]
    pub(super) payload: u64,

    /// Rounds, in each of which every run has its turn
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,

    /// How long each run of a round lasts, after a tenth of it to warm up
    #[arg(long, short = 'd', value_name = "DURATION", default_value = "700ms", value_parser = values::duration)]
    pub(super) duration: Duration,

    /// The server's process on this machine, whose work is told too
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,

    /// Silence of all members after which messages count as lost
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(super) timeout: Duration,

    /// A JSON object for each run on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// A part of the bench as a process of its own; not for people.
#[derive(Debug, Args)]
pub(crate) struct Peer {
    #[command(subcommand)]
    pub(super) part: Part,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Become PROGRAM, and die with the bench
    Exec {
        #[arg(value_name = "PROGRAM", trailing_var_arg = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Send by a bare loop
    Send(BareSend),
    /// Give back what comes by a bare loop
    Echo,
    /// Receive by a bare loop
    Receive(BareReceive),
}

#[derive(Debug, Args)]
pub(crate) struct BareSend {
    #[arg(long)]
    pub(super) to: std::net::SocketAddr,
    #[arg(long)]
    pub(super) size: u64,
    /// What is sent; without it one buffer again and again
    #[arg(long)]
    pub(super) file: Option<PathBuf>,
    #[arg(long)]
    pub(super) buffer: usize,
    /// Masked frames of so much payload
    #[arg(long)]
    pub(super) frame_size: Option<usize>,
    /// Ask for an upgrade first, and close as WebSocket does
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
    #[arg(long)]
    pub(super) sink: Sink,
    /// Where a file goes
    #[arg(long)]
    pub(super) directory: PathBuf,
    #[arg(long)]
    pub(super) fsync: Fsync,
}
