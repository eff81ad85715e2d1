//! The flags of every client about its connection.

use std::path::PathBuf;
use std::time::Duration;

use anyport_client::Capture;
use anyport_console::values;
use anyport_trace::Recorder;
use clap::Args;

use super::ClientTls;

/// Flags of a client's connection.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Maximum time to connect to one address, and for a handshake
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    /// Connect through the proxy at URL [default: from the environment]
    ///
    /// URL is http://HOST:PORT (the proxy must accept CONNECT to the port of the server) or
    /// socks5h://HOST:PORT, with USER:PASSWORD@ before HOST if the proxy requires it. The default
    /// port is 1080. The proxy resolves the name of the server; TLS remains between client and
    /// server. '' connects directly. -x applies to every server.
    ///
    /// Without -x, http:// and ws:// use the variable http_proxy (lower case), https:// and wss://
    /// use https_proxy, and every scheme uses all_proxy if its own is not set. Hosts in no_proxy
    /// (names with their subdomains, addresses, networks, or *) and this machine are connected to
    /// directly. Other users can see a password in the command line; use a variable.
    #[arg(short = 'x', long, value_name = "URL", help_heading = "Connection")]
    pub(crate) proxy: Option<String>,

    /// Connect to the Unix socket PATH, whatever the host of URL
    ///
    /// As in curl. The host of URL is still that of the request, of TLS and of the token. A target
    /// unix:PATH is short for --unix-socket PATH tcp://localhost.
    #[arg(long, value_name = "PATH", help_heading = "Connection", conflicts_with = "proxy")]
    pub(crate) unix_socket: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: ClientTls,

    /// Set by anyport trace.
    #[arg(skip)]
    pub(crate) trace: Option<Recorder>,

    /// Set by anyport trace.
    #[arg(skip)]
    pub(crate) capture: Option<Capture>,
}
