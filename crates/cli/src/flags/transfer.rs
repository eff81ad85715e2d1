//! The flags of the commands that move files: `anyport send`, `get` and `ls`.

use std::path::PathBuf;
use std::time::Duration;

use anyport_client::Links;
use anyport_console::values::Choices;
use anyport_console::{Engine, choices, values};
use anyport_net::congestion::Congestion;
use anyport_proto::pipe::PipeKey;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use clap::Args;

use super::Connect;
use crate::access::Credential;
use crate::template::Template;

/// Send files and directories to a server and verify its receipts
///
/// URL is HOST:PORT/NAME or tcp://HOST:PORT/NAME (raw TCP, recommended), ws://HOST:PORT/NAME
/// (WebSocket), frames://HOST:PORT/NAME (WebSocket frames without a handshake) or http://HOST/NAME
/// (PUT, to any HTTP server that accepts it). Under TLS these are tls://, wss://, frames+tls:// and
/// https://; over https:// many files are sent concurrently if the server supports HTTP/2.
///
/// NAME is the path of the file on the server. If it ends in /, it is a directory; without NAME,
/// files keep their names. A directory keeps its name, with or without / at its end.
/// The default port is 8331, also of ws:// and wss://; of http:// it is 80, of https:// 443. :PORT
/// means localhost:PORT.
///
/// An interrupted transfer is resumed: automatically for a while (--retry), and if you run the same
/// command again. A file that the server already has, by name, size and modification time, is not
/// sent again. With -v, receipts show whole digests.
///
/// Over HTTP: files of 1 MiB or more resume if the server announces resumable uploads (IETF draft
/// or tus), others are sent again from their start; --perms, --on-exists rename and --on-exists
/// overwrite are not supported.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files and directories to send; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Destination: HOST or HOST:PORT/NAME, ws://, http://; see --help
    ///
    /// The forms are listed above.
    #[arg(value_name = "URL")]
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Send only the bytes of the file, as nc -N does
    ///
    /// Only over tcp://; the server chooses the name of the file.
    #[arg(long, conflicts_with_all = ["on_exists", "perms", "token_file"])]
    pub(crate) plain: bool,

    /// Send through the pipe KEY; the server stores nothing
    ///
    /// The receiver runs anyport get HOST:PORT --pipe KEY or curl http://HOST:PORT/pipe/KEY. URL is
    /// HOST:PORT. The sender waits for the receivers as long as the server allows (serve
    /// --pipe-wait). The receipt has the bytes, but no digest.
    #[arg(long, value_name = "KEY", help_heading = "Pipe")]
    #[arg(conflicts_with_all = ["plain", "on_exists", "no_resume", "times", "no_times", "perms"])]
    #[arg(conflicts_with_all = ["deflate", "limit_rate", "write_out"])]
    pub(crate) pipe: Option<PipeKey>,

    /// Wait for this many receivers, 1 to 64
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        requires = "pipe",
        help_heading = "Pipe"
    )]
    #[arg(value_parser = values::number(1_u8..=64))]
    pub(crate) receivers: u8,

    /// If the name is taken: error, rename, overwrite [default: error]
    ///
    /// By default the policy of the server applies (serve --on-exists), which is error unless its
    /// owner set another; it renames standard input, and files sent with --no-times or --plain.
    #[arg(long, value_name = "POLICY", help_heading = "Files")]
    pub(crate) on_exists: Option<OnExists>,

    /// Start over after an interrupted attempt
    #[arg(long, help_heading = "Files")]
    pub(crate) no_resume: bool,

    /// Keep modification times (the default); overrides ANYPORT_NO_TIMES
    #[arg(short = 't', long, help_heading = "Files")]
    pub(crate) times: bool,

    /// Do not keep modification times
    ///
    /// The server then cannot recognize a file that it already has.
    #[arg(long, conflicts_with = "times", help_heading = "Files")]
    pub(crate) no_times: bool,

    /// Compare by digest, not size and time (as rsync -c)
    #[arg(long, conflicts_with = "plain", help_heading = "Files")]
    pub(crate) checksum: bool,

    /// Keep permissions, limited by the server's umask
    ///
    /// A server started with --perms applies all of them.
    #[arg(short = 'p', long, help_heading = "Files")]
    pub(crate) perms: bool,

    /// What to do with symbolic links in a directory
    #[arg(long, value_name = "POLICY", default_value = "skip", help_heading = "Files")]
    #[arg(value_parser = values::choice(LINKS))]
    pub(crate) links: Links,

    /// Give up after COUNT failed reconnects in a row
    ///
    /// The count restarts when a byte has been transferred. 0 disables reconnecting. If the first
    /// connection fails, as with connection refused, it is not retried.
    #[arg(long, value_name = "COUNT", default_value_t = 10, help_heading = "Connection")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) retry: u32,

    /// Maximum total time spent retrying
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    /// WebSocket implementation
    #[cfg_attr(feature = "library-engine", doc = " (library: ws:// only)")]
    #[arg(long, value_name = "ENGINE", default_value = "own", help_heading = "WebSocket")]
    #[arg(value_parser = choices::engine())]
    pub(crate) engine: Engine,

    /// Payload size of one WebSocket frame
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "256KiB")]
    #[arg(help_heading = "WebSocket")]
    pub(crate) frame_size: usize,

    /// Offer compression over ws:// (permessage-deflate, RFC 7692)
    ///
    /// For text over a slow network.
    #[arg(long, help_heading = "WebSocket")]
    pub(crate) deflate: bool,

    /// Digest that both sides compute: blake3, sha256 or none
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3", help_heading = "Files")]
    pub(crate) digest: Algorithm,

    /// TCP congestion control: auto, system or the name of an algorithm
    ///
    /// auto is reno on loopback connections, and the system's default on all others.
    #[arg(long, value_name = "ALGORITHM", default_value = "auto", help_heading = "Connection")]
    pub(crate) congestion: Congestion,

    /// Maximum time in which the server neither reads data nor answers
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Limit the rate, in bytes per second [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    #[arg(help_heading = "Connection")]
    pub(crate) limit_rate: Option<u64>,

    /// Print errors only, no progress and no receipts
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Print receipts and failures as JSON objects
    ///
    /// One object per line.
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print FORMAT instead of the receipt of each file, as curl -w
    ///
    /// For example:
    ///
    /// '%{path} %{bytes} %{rate}\n'
    ///
    /// Names: bytes; resumed (bytes that the server had already); seconds and durable_seconds
    /// (without and with fsync); rate; delivery_rate (the rate that TCP measured; both in bytes per
    /// second); digest; path; end (how the sender marked the end: fin, size or close); outcome
    /// (stored or already there); protocol; peer; congestion; rtt_us (microseconds); retransmits
    /// (packets); cwnd (packets); bottleneck (the slowest part). An unknown value is empty. \n, \t,
    /// \r, \\ and %% are escapes.
    #[arg(short = 'w', long, value_name = "FORMAT", conflicts_with_all = ["quiet", "json"])]
    pub(crate) write_out: Option<Template>,
}

/// Download files and directories and verify their digests
///
/// URL is HOST:PORT/PATH or tcp://HOST:PORT/PATH (raw TCP, recommended), ws://HOST:PORT/PATH
/// (WebSocket), frames://HOST:PORT/PATH (WebSocket frames without a handshake) or http://HOST/PATH
/// (GET, from any HTTP server). Under TLS these are tls://, wss://, frames+tls:// and https://. The
/// default port is 8331, also of ws:// and wss://; of http:// it is 80, of https:// 443. :PORT
/// means localhost:PORT. A PATH that ends in / is a directory, which is downloaded with all its
/// content (over HTTP from anyport servers only). Without PATH, all files are downloaded.
///
/// A file appears under its name only when it is complete. An interrupted download leaves a partial
/// file, from which it is resumed: automatically for a while (--retry), and if you run the same
/// command again. A file that exists here with the same size and modification time is not
/// downloaded again. With -v, results show whole digests.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Source: HOST:PORT/PATH or HOST; ws://, http://, TLS: see --help
    ///
    /// The forms are listed above.
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// File or directory to write to; - is standard output
    ///
    /// A directory ends in /, as in -o here/. Missing directories are created. A FIFO or a
    /// character device (/dev/null, /dev/stdout) is written to, never replaced; a block device only
    /// with --on-exists overwrite. The wait for a reader of a FIFO is limited by --connect-timeout.
    /// [default: the name in the URL, in the current directory]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,

    /// Receive from the pipe with KEY
    ///
    /// The sender runs anyport send FILE HOST:PORT --pipe KEY. URL is then HOST:PORT, and the file
    /// is named KEY unless -o is given. The receiver waits for the sender as long as the server
    /// allows (serve --pipe-wait). There is no digest to verify.
    #[arg(long, value_name = "KEY", conflicts_with = "limit_rate")]
    pub(crate) pipe: Option<PipeKey>,

    /// If the file exists: error, rename or overwrite
    ///
    /// Only regular files are overwritten.
    #[arg(long, value_name = "POLICY", default_value = "error", help_heading = "Files")]
    pub(crate) on_exists: OnExists,

    /// Compare by digest, not size and time (as rsync -c)
    #[arg(long, help_heading = "Files")]
    pub(crate) checksum: bool,

    /// Keep permissions, even beyond the local umask
    #[arg(short = 'p', long, help_heading = "Files")]
    pub(crate) perms: bool,

    /// Digest that both sides compute: blake3, sha256 or none
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3", help_heading = "Files")]
    pub(crate) digest: Algorithm,

    /// Give up after COUNT failed reconnects in a row
    ///
    /// The count restarts when a byte has been transferred. 0 disables reconnecting. If the first
    /// connection fails, as with connection refused, it is not retried.
    #[arg(long, value_name = "COUNT", default_value_t = 10, help_heading = "Connection")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) retry: u32,

    /// Maximum total time spent retrying
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    /// Limit the rate, in bytes per second [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    #[arg(help_heading = "Connection")]
    pub(crate) limit_rate: Option<u64>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Print errors only, no progress and no results
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Print results as JSON, one object per line
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

/// List the files of a server: size, modification time (UTC), name
///
/// URL is as for anyport get; without a path, the whole served directory is listed. / at the end of
/// a directory is optional.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Directory or file: HOST:PORT/PATH, ws:// or http://HOST:PORT/PATH
    ///
    /// See anyport get --help for all forms.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// List subdirectories too
    #[arg(long, short = 'R')]
    pub(crate) recursive: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Print entries as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connection of a client that receives.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    #[command(flatten)]
    pub(crate) credential: Credential,

    /// TCP congestion control: auto, system or the name of an algorithm
    ///
    /// auto is reno on loopback connections, and the system's default on all others.
    #[arg(long, value_name = "ALGORITHM", default_value = "auto", help_heading = "Connection")]
    pub(crate) congestion: Congestion,

    /// Maximum time without data from the server
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// Treatment of symbolic links in a directory.
const LINKS: Choices<Links> = &[
    ("skip", Links::Skip, "Leave them out"),
    ("follow", Links::Follow, "Send the file or directory that they point to"),
];
