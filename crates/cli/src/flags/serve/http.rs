//! HTTP.

use anyport_proto::http1::BasePath;
use anyport_proto::ws::handshake::Origin;
use anyport_server::Config;
use clap::Args;

/// HTTP.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct Http {
    /// Path at which a reverse proxy forwards requests, such as /share
    ///
    /// Requests may have the path or not, as some proxies remove it. Locations in responses and the
    /// lines of /help have it. Other protocols are not affected.
    #[arg(long, value_name = "PATH")]
    pub(crate) base_path: Option<BasePath>,

    /// Allow web pages of ORIGIN to use the server; repeatable
    ///
    /// ORIGIN is scheme, host and port as browsers send them, such as https://HOST:8443. Its pages
    /// may send all requests (CORS) and open WebSockets. Pages that this server sent are always
    /// allowed.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<Origin>,
}

impl Http {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.allowed_origins.clone_from(&self.allow_origin);
        config.base_path = self.base_path.clone().unwrap_or_default();
    }
}
