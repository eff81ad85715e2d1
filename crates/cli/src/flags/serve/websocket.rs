//! WebSocket connections.

use anyport_console::choices;
use anyport_proto::transfer::receipt::Engine;
use anyport_server::Config;
use clap::Args;

/// WebSocket connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "WebSocket")]
pub(crate) struct WebSocket {
    /// WebSocket implementation
    #[arg(long, value_name = "ENGINE", default_value = "own", value_parser = choices::engine())]
    pub(crate) engine: Engine,

    /// Compress WebSocket messages (permessage-deflate, RFC 7692)
    ///
    /// Applies to clients that offer the extension.
    #[arg(long)]
    pub(crate) deflate: bool,
}

impl WebSocket {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.engine = self.engine;
        config.deflate = self.deflate;
    }
}
