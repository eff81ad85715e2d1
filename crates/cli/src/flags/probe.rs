//! The flags of `anyport probe`.

use std::path::PathBuf;
use std::time::Duration;

use anyport_console::values;
use clap::Args;

use super::ClientTls;

/// Find out what a port speaks, and why it does not work
///
/// Connects to all addresses of the host, and waits 500 ms for a greeting, as servers of SSH, mail
/// and FTP send one; such a server receives nothing. Otherwise asks on further connections:
/// OPTIONS * of HTTP, TLS 1.3 and 1.2, HTTP/2, the handshake of WebSocket, and the preface of
/// anyport; MQTT on the ports 1883 and 8883 and with --mqtt. It prints what it sends, ends with
/// what the port is and which command can use it, and needs no token. A port that answers nothing
/// takes about 10 s.
///
/// A receiver of raw bytes, such as nc -l > FILE, may store what is sent. Certificates are verified
/// as by the other commands, but no server is remembered. Proxies are not used.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// Port to probe: HOST:PORT, or a URL whose path is requested too
    ///
    /// unix:PATH is a Unix socket. The default port is 8331, of http:// 80 and of https:// 443. A
    /// scheme with TLS, such as https:// or tls://, leaves out the probes without TLS.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Send CONNECT of MQTT to every port
    #[arg(long)]
    pub(crate) mqtt: bool,

    /// Print JSON on stdout, one object per line
    #[arg(long)]
    pub(crate) json: bool,

    /// Connect to the Unix socket PATH, whatever the host of URL
    ///
    /// The host of URL is still that of requests and of TLS. unix:PATH is short for
    /// --unix-socket PATH localhost.
    #[arg(long, value_name = "PATH", help_heading = "Connection")]
    pub(crate) unix_socket: Option<PathBuf>,

    /// Maximum time to resolve the name, and to connect to one address
    #[arg(long, value_name = "DURATION", default_value = "5s", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    /// Maximum time of one probe
    #[arg(long, value_name = "DURATION", default_value = "3s", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// Time in which a server that speaks first has to begin
    ///
    /// Some mail servers wait for seconds, and so does an SSH server that looks up its clients.
    #[arg(long, value_name = "DURATION", default_value = "500ms", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) greeting_timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: ClientTls,
}
