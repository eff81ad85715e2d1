//! Every flag of every command; the doc comments are the help.

use std::path::PathBuf;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_net::resolve::Port;
use anyport_proto::detect::ProtocolName;
use anyport_proto::rooms::Nickname;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::pipe::PipeKey;
use anyport_proto::ws::handshake::Origin;
use anyport_server::Greeting;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::listen::Listen;
use crate::template::Template;
use crate::{bench, values};

/// One port. Any client. A whole file. A number you can believe.
#[derive(Debug, Parser)]
#[command(name = "anyport", version, max_term_width = 100)]
pub(crate) struct Anyport {
    /// Say more on stderr: once for info, twice for debug, three times for trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Serve),
    Send(Send),
    Get(Get),
    Ls(Ls),
    Chat(Chat),
    Cat(Cat),
    Resolve(Resolve),
    Bench(bench::flags::Bench),
    /// A part of the bench as a process of its own; not for people.
    #[command(hide = true)]
    BenchPeer(bench::flags::Peer),
}

/// Receive files on one port, and give them, whatever the client speaks.
///
/// That is raw TCP (nc), raw TCP with anyport's preface, WebSocket, and WebSocket frames without a handshake. Each file lands in DIR complete or not at all, and ends in a receipt on stdout. What is in DIR can be listed and received (anyport ls, anyport get), but for hidden parts and links that lead out of it.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Directory that files land in, and are given from
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Address to listen on, HOST:PORT; port 0 picks a free one; repeatable (default: both loopback addresses, port 8331)
    #[arg(long, short, value_name = "ADDR")]
    pub(crate) bind: Vec<String>,

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

    /// Allow addresses beyond this machine: whoever reaches them may upload, and get and list what is in DIR
    #[arg(long)]
    pub(crate) open: bool,

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

    /// What the files and parts in DIR may take together, those that are there already too; what does not fit is refused [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, help_heading = "Files")]
    pub(crate) quota: Option<u64>,

    /// What all files in memory may take together, with --sink memory
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, default_value = "4GiB", help_heading = "Files")]
    pub(crate) max_memory: u64,

    /// What unfinished messages and undecided bytes may take together
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, default_value = "256MiB", help_heading = "Connections")]
    pub(crate) max_buffered: u64,

    /// How long the hidden part of an interrupted transfer is kept
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::duration, help_heading = "Files")]
    pub(crate) keep_parts: Duration,

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
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    pub(crate) max_undecided: Option<u32>,

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
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Speed")]
    pub(crate) conversation_threads: Option<u16>,

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

    /// One JSON object a line on stdout, for machines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Send files and directories to a server, and check its receipts.
///
/// TARGET is HOST:PORT, which is the best way there is, or tcp://HOST:PORT/ (raw TCP), ws://HOST:PORT/ (WebSocket) or
/// frames://HOST:PORT/ (WebSocket frames without a handshake). A path names the file: HOST:PORT/NAME,
/// ws://HOST:PORT/files/NAME; one that ends in / is the directory to send into. Without a port it is 8331.
///
/// A transfer that breaks off goes on where it stopped: by itself for a while (--retry), and when the same command is run
/// again. A file that the server has already, by name, size and time, is not sent again.
///
/// Exit codes: 0 sent and verified, 1 failed, 2 wrong usage, 3 cannot connect, 4 refused, 5 what arrived differs,
/// 6 broken off, run it again to go on.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files and directories to send; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Where to: HOST:PORT, tcp://HOST:PORT/, ws://HOST:PORT/ or frames://HOST:PORT/
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,

    /// Send nothing but the bytes over tcp://, as nc -N does
    #[arg(long, conflicts_with_all = ["on_exists", "perms"])]
    pub(crate) plain: bool,

    /// Store nothing there: give one file to whoever takes KEY (anyport get HOST:PORT --pipe KEY, curl http://HOST:PORT/pipe/KEY)
    #[arg(long, value_name = "KEY", help_heading = "Pipe", conflicts_with_all = ["plain", "on_exists", "no_resume", "times", "no_times", "perms", "deflate", "limit_rate", "write_out"])]
    pub(crate) pipe: Option<PipeKey>,

    /// How many receivers there are to be, 1 to 64; it begins when all are there
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64), requires = "pipe", help_heading = "Pipe")]
    pub(crate) receivers: u8,

    /// What the server is to do if another file has the name: error, rename or overwrite [default: the server's]
    #[arg(long, value_name = "POLICY", help_heading = "Files")]
    pub(crate) on_exists: Option<OnExists>,

    /// Begin from the start, whatever an earlier attempt left
    #[arg(long, help_heading = "Files")]
    pub(crate) no_resume: bool,

    /// Keep the time of the last change; this is the default
    #[arg(short = 't', long, help_heading = "Files")]
    pub(crate) times: bool,

    /// Do not; then the server cannot tell whether it has a file already
    #[arg(long, conflicts_with = "times", help_heading = "Files")]
    pub(crate) no_times: bool,

    /// Keep the permissions too
    #[arg(short = 'p', long, help_heading = "Files")]
    pub(crate) perms: bool,

    /// What symbolic links below a directory stand for: nothing, or what they lead to
    #[arg(long, value_name = "WHAT", default_value = "skip", help_heading = "Files")]
    pub(crate) links: Links,

    /// How often in a row a broken connection is replaced without bringing a byte further
    #[arg(long, value_name = "COUNT", default_value_t = 10, help_heading = "Connection")]
    pub(crate) retry: u32,

    /// How long that may go on
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = values::duration, help_heading = "Connection")]
    pub(crate) retry_max_time: Duration,

    /// Who speaks WebSocket; library is for ws:// only
    #[arg(long, value_name = "ENGINE", default_value = "own")]
    pub(crate) engine: Engine,

    /// Payload of one WebSocket frame
    #[arg(long, value_name = "BYTES", value_parser = values::buffer, default_value = "256KiB")]
    pub(crate) frame_size: usize,

    /// Offer to compress the messages of ws:// (permessage-deflate, RFC 7692); for text over a slow network
    #[arg(long)]
    pub(crate) deflate: bool,

    /// Digest that both sides compute: blake3, sha256 or none
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3")]
    pub(crate) digest: Algorithm,

    /// Congestion control of our socket: auto, system or a name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) congestion: Congestion,

    /// How long the server may neither take bytes nor answer
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    /// Send no more than so many bytes per second
    #[arg(long, value_name = "BYTES", value_parser = values::some_bytes, help_heading = "Connection")]
    pub(crate) limit_rate: Option<u64>,

    /// Neither progress nor receipts, only errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Receipts as one JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print this of each file instead, as curl does: '%{path} %{bytes} %{seconds} %{rate}\n'; a wrong name lists all
    #[arg(short = 'w', long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    pub(crate) write_out: Option<Template>,
}

/// Receive files from a server, and check their digests.
///
/// URL is tcp://HOST:PORT/PATH (raw TCP), ws://HOST:PORT/files/PATH (WebSocket) or frames://HOST:PORT/PATH (WebSocket frames
/// without a handshake); with a slash at its end it is a directory, and all that is in it is received. A file is hidden
/// until it is whole; what came before a break is kept beside it, and goes on from there: by itself for a while (--retry),
/// and when the same command is run again. One that is here already, with the same size and time, is left alone.
///
/// Exit codes: 0 received and verified, 1 failed, 2 wrong usage, 3 cannot connect, 4 refused, 5 what arrived differs,
/// 6 broken off, the same command goes on.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to receive: tcp://HOST:PORT/PATH, ws://HOST:PORT/files/PATH or frames://HOST:PORT/PATH
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// File or directory to receive into; - is standard output [default: the name in the URL, here]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,

    /// Take what somebody gives as KEY (anyport send FILE HOST:PORT --pipe KEY); URL is then HOST:PORT, and the file is called KEY unless -o says otherwise
    #[arg(long, value_name = "KEY", conflicts_with = "limit_rate")]
    pub(crate) pipe: Option<PipeKey>,

    /// What to do where another file is already: error, overwrite or rename
    #[arg(long, value_name = "WHAT", default_value = "error")]
    pub(crate) on_exists: OnExists,

    /// Digest that both sides compute: blake3, sha256 or none
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3")]
    pub(crate) digest: Algorithm,

    /// How often in a row a broken connection is replaced without bringing a byte further
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) retry: u32,

    /// How long that may go on
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    /// Receive no more than so many bytes per second
    #[arg(long, value_name = "BYTES", value_parser = values::some_bytes)]
    pub(crate) limit_rate: Option<u64>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Neither progress nor what was received, only errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// What was received as one JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

/// List the files of a server: bytes, time of the last change (UTC), name.
///
/// URL is as for anyport get; without a path it is the whole served directory. Exit codes are those of anyport get.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Directory or file: tcp://HOST:PORT/PATH, ws://HOST:PORT/files/PATH or frames://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// List what is in directories too
    #[arg(long, short = 'R')]
    pub(crate) recursive: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Entries as one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What names stand for: their addresses and canonical names, as this system resolves them.
///
/// NAME is a name or a numeric address, alone or with a port: NAME:80, NAME:http; an IPv6 address with a port stands in
/// brackets. Addresses come in the order in which clients try them (getaddrinfo). A name that does not resolve stops none of
/// the others.
///
/// Exit codes: 0 all resolved, 2 wrong usage, 3 one or more did not.
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// Names to resolve
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,

    /// Only IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,

    /// Only IPv6 addresses
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,

    /// Port of those that name none: a number, or a service over TCP such as http
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<Port>,

    /// Ask for the name of each address too
    #[arg(long)]
    pub(crate) reverse: bool,

    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// One JSON object a name on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Talk in a room, over raw TCP or WebSocket.
///
/// On a terminal, type lines; what others say appears above. /who asks who is here, /help what there is to type, Ctrl-D
/// leaves. In a pipe each line of standard input is a message, as it stands; messages go to stdout and notices to stderr,
/// and at the end of the input it leaves when the room has confirmed all of them.
///
/// After a break it is back by itself, hears what it missed and says again what nobody has confirmed: no gap, and no
/// duplicate. Exit codes: 0 left, 2 usage, 3 unreachable, 4 refused, 6 broken off for good, 130 left by Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The room: HOST:PORT/rooms/NAME, tcp://HOST:PORT/rooms/NAME or ws://HOST:PORT/rooms/NAME
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Your name in the room [default: guest- and four characters]
    #[arg(long = "as", value_name = "NICK")]
    pub(crate) nick: Option<Nickname>,

    /// Begin with at most so many of the last events [default: all that the room keeps]
    #[arg(long, value_name = "COUNT")]
    pub(crate) history: Option<u32>,

    /// How often in a row a broken connection is replaced without hearing anything
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) retry: u32,

    /// How long that may go on
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    /// Events as one JSON object a line on stdout, your own messages among them
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connect standard input and output to any server: what nc and websocat do.
///
/// Input goes to the server and what comes goes to stdout, both at once. At the end of the input the server is told
/// (FIN, or Close 1000), and what it still says is waited for until it closes too. The other way round, after the server's
/// FIN the rest of the input is sent, unless it is typed on a terminal. Over WebSocket each line of the input is
/// a text message, and each text message that comes gets a line end unless it has one; with --binary they are the bytes as they are read. Over UDP
/// each read of up to 16 KiB is a datagram.
///
/// Exit codes: 0 the server ended in order, 1 failed, 2 usage, 3 unreachable, 4 refused or closed with another code than
/// 1000, 6 broken off.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// tcp://HOST:PORT, ws://HOST:PORT/PATH, frames://HOST:PORT or udp://HOST:PORT
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Over WebSocket: binary messages, each what one read gave; nothing is added to what comes
    #[arg(long, short)]
    pub(crate) binary: bool,

    /// After the end of the input wait so long for the server, then leave [default: until it closes]
    #[arg(long, short = 'q', value_name = "DURATION", value_parser = values::wait)]
    pub(crate) quit_after: Option<Duration>,

    /// Do not tell the server that the input has ended
    #[arg(long)]
    pub(crate) no_shutdown: bool,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,
}

/// How a client that receives connects.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Congestion control of our socket: auto, system or a name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) congestion: Congestion,

    /// How long the server may send nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,
}

/// Who speaks WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The project's own
    Own,
    /// tokio-tungstenite, for comparison
    Library,
}

impl Engine {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Library => "library",
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

/// What symbolic links below a directory stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Links {
    /// Nothing
    Skip,
    /// What they lead to
    Follow,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_fit_together() {
        Anyport::command().debug_assert();
    }

    #[test]
    fn the_last_word_of_send_is_the_target() {
        let flags = Anyport::parse_from(["anyport", "send", "a", "-", "tcp://h/"]);
        let Command::Send(send) = flags.command else { panic!() };
        assert_eq!(send.files, [PathBuf::from("a"), PathBuf::from("-")]);
        assert_eq!(send.target, "tcp://h/");
        assert!(Anyport::try_parse_from(["anyport", "send", "tcp://h/"]).is_err());
    }
}
