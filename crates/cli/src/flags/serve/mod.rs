//! The flags of `anyport serve`, a group in each file.
//!
//! A field is the only definition of its setting: name, help, default, parser, the key and variable
//! that are derived from it, and [`Restart`] where a reload does not apply it. `configure` beside
//! it passes its value to the server, whose [`Config`] is plain data.

mod detection;
mod files;
mod http;
mod limits;
mod listen;
mod listening;
mod performance;
mod proxies;
mod rooms;
mod websocket;

use std::path::PathBuf;

use anyport_console::Failure;
use anyport_server::Config;
use clap::Args;

use self::detection::Detection;
use self::files::Files;
use self::http::Http;
use self::limits::Limits;
use self::listening::Listening;
use self::performance::Performance;
use self::proxies::BehindProxy;
use self::rooms::RoomsAndPipes;
use self::websocket::WebSocket;
use super::ServerTls;
use crate::access::Access;
use crate::daemon;
use crate::logging::LogFormat;
use crate::setting::Restart;

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
    #[arg(value_name = "DIR", default_value = ".", add = Restart::Always)]
    pub(crate) directory: PathBuf,

    /// Read settings from FILE (see anyport config example)
    ///
    /// Each key is the name of one of these flags, as in max-conns = 5. Flags override environment
    /// variables (ANYPORT_MAX_CONNS=5), which override FILE. No file is read
    /// unless --config or ANYPORT_CONFIG names it.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) listening: Listening,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) behind_proxy: BehindProxy,

    #[command(flatten)]
    pub(crate) files: Files,

    #[command(flatten)]
    pub(crate) limits: Limits,

    #[command(flatten)]
    pub(crate) tls: ServerTls,

    #[command(flatten)]
    pub(crate) detection: Detection,

    #[command(flatten)]
    pub(crate) http: Http,

    #[command(flatten)]
    pub(crate) websocket: WebSocket,

    #[command(flatten)]
    pub(crate) rooms_and_pipes: RoomsAndPipes,

    #[command(flatten)]
    pub(crate) performance: Performance,

    /// Log format on stderr (-v for more detail)
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    #[arg(help_heading = "Logging", add = Restart::Always)]
    pub(crate) log_format: LogFormat,

    /// Print events as JSON on stdout, one object per line
    ///
    /// Events are listening addresses, receipts and failed transfers. The format of the log on
    /// stderr is that of --log-format.
    #[arg(long, help_heading = "Logging", add = Restart::Always)]
    pub(crate) json: bool,

    /// Write a trace of each connection to a file in DIR
    ///
    /// anyport trace --read FILE shows it: what was received and sent on each layer, when, and how
    /// the connection ended, without content, messages and tokens. DIR is created, readable by its
    /// owner alone; it is not in the served directory. The newest 1000 traces of at most 64 MiB
    /// together are kept, and at most 32 connections are traced at one time.
    #[arg(long, value_name = "DIR", help_heading = "Logging", add = Restart::Always)]
    pub(crate) trace: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) background: daemon::flags::Background,
}

impl Serve {
    /// Returns the settings of the server, without TLS and its listeners. Reads the tokens.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub(crate) fn configure(&self) -> Result<Config, Failure> {
        let mut config = Config::new(&self.directory);
        config.startup.trace.clone_from(&self.trace);
        self.access.configure(&mut config)?;
        self.behind_proxy.configure(&mut config);
        self.files.configure(&mut config);
        self.limits.configure(&mut config);
        self.detection.configure(&mut config);
        self.http.configure(&mut config);
        self.websocket.configure(&mut config);
        self.rooms_and_pipes.configure(&mut config);
        self.performance.configure(&mut config);
        Ok(config)
    }

    /// Returns the log format; a log file gets text, whatever stderr was connected to.
    pub(crate) fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormat::Auto if self.background.log_file.is_some() => LogFormat::Text,
            format => format,
        }
    }
}
