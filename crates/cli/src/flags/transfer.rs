//! The flags of the commands that move files: `anyport send`, `get` and `ls`.

use std::path::PathBuf;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::pipe::PipeKey;
use clap::{Args, ValueEnum};

use super::{ClientTls, Engine};
use crate::access::Credential;
use crate::template::Template;
use crate::values;

/// Send files and directories to a server, and check its receipts.
///
/// TARGET is HOST:PORT, which is the best way there is, or tcp://HOST:PORT/ (raw TCP), ws://HOST:PORT/ (WebSocket),
/// frames://HOST:PORT/ (WebSocket frames without a handshake) or http://HOST/ (PUT, to any server that takes it); under TLS
/// tls://, wss://, frames+tls:// and https://, which is HTTP/2 where the server speaks it, with many files at once. A path names
/// the file, HOST:PORT/NAME; one that ends in / is the directory to send into. Without a port it is 8331, 80 for http://, 443
/// for https://; :PORT is this machine.
///
/// Over HTTP a file that breaks off begins anew, and one that the server has already is sent and compared; --perms and
/// --on-exists rename or overwrite cannot be said there.
///
/// A transfer that breaks off goes on where it stopped: by itself for a while (--retry), and when the same command is run
/// again. A file that the server has already, by name, size and time, is not sent again.
///
/// Exit codes: 0 sent and verified, 1 failed, 2 wrong usage, 3 cannot connect, 4 refused, 5 what arrived differs,
/// 6 broken off, run it again to go on, 7 TLS failed or the server is not trusted.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files and directories to send; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Where to: HOST:PORT, tcp://HOST:PORT/, ws://HOST:PORT/, frames://HOST:PORT/ or http://HOST:PORT/
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Send nothing but the bytes over tcp://, as nc -N does
    #[arg(long, conflicts_with_all = ["on_exists", "perms", "token_file"])]
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

    /// Compare files by digest, even if size and time are the same
    #[arg(long, conflicts_with = "plain", help_heading = "Files")]
    pub(crate) checksum: bool,

    /// Keep the permissions too, as far as the umask of the server allows (serve --perms: all)
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

    #[command(flatten)]
    pub(crate) tls: ClientTls,

    /// Send no more than so many bytes per second
    #[arg(long, value_name = "BYTES", value_parser = values::some_bytes, help_heading = "Connection")]
    pub(crate) limit_rate: Option<u64>,

    /// Neither progress nor receipts, only errors
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Receipts and failures as one JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print this of each file instead, as curl does: '%{path} %{bytes} %{seconds} %{rate}\n'; a wrong name lists all
    #[arg(short = 'w', long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    pub(crate) write_out: Option<Template>,
}

/// Receive files from a server, and check their digests.
///
/// URL is tcp://HOST:PORT/PATH (raw TCP), ws://HOST:PORT/PATH (WebSocket) or frames://HOST:PORT/PATH (WebSocket frames
/// without a handshake) or http://HOST/PATH (GET, from any server), or under TLS tls://, wss://, frames+tls:// and https://; with a slash at its end it is a directory, and all that is in it is received (over HTTP from anyport alone). A file is hidden
/// until it is whole; what came before a break is kept beside it, and goes on from there: by itself for a while (--retry),
/// and when the same command is run again. One that is here already, with the same size and time, is left alone.
///
/// Exit codes: 0 received and verified, 1 failed, 2 wrong usage, 3 cannot connect, 4 refused, 5 what arrived differs,
/// 6 broken off, the same command goes on, 7 TLS failed or the server is not trusted.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to receive: tcp://HOST:PORT/PATH, ws://HOST:PORT/PATH, frames://HOST:PORT/PATH or http://HOST/PATH
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// File or directory to receive into; - is standard output [default: the name in the URL, here]
    ///
    /// A FIFO or a character device (/dev/null, /dev/stdout) is written to, never replaced; a block device only with
    /// --on-exists overwrite. A reader of a FIFO is waited for as long as a server (--connect-timeout).
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,

    /// Take what somebody gives as KEY (anyport send FILE HOST:PORT --pipe KEY); URL is then HOST:PORT, and the file is called KEY unless -o says otherwise
    #[arg(long, value_name = "KEY", conflicts_with = "limit_rate")]
    pub(crate) pipe: Option<PipeKey>,

    /// What to do where another file is already: error, overwrite (regular files only) or rename
    #[arg(long, value_name = "WHAT", default_value = "error")]
    pub(crate) on_exists: OnExists,

    /// Compare files by digest, even if size and time are the same
    #[arg(long)]
    pub(crate) checksum: bool,

    /// Keep the permissions that files have on the server, even beyond the umask
    #[arg(short = 'p', long)]
    pub(crate) perms: bool,

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
    /// Directory or file: tcp://HOST:PORT/PATH, ws://HOST:PORT/PATH, frames://HOST:PORT/PATH or http://HOST:PORT/PATH
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

/// How a client that receives connects.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Congestion control of our socket: auto, system or a name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) congestion: Congestion,

    /// How long the server may send nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: ClientTls,
}

/// What symbolic links below a directory stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Links {
    /// Nothing
    Skip,
    /// What they lead to
    Follow,
}
