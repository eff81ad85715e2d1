//! One file a command.

mod banner;
pub(crate) mod cat;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod manuals;
mod output_file;
pub(crate) mod pipe;
mod progress;
pub(crate) mod reload;
pub(crate) mod resolve;
mod running;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod token;

use anyport_client::ConnectOptions;
use anyport_console::Failure;

use crate::{flags, trust};

/// Returns the connection options of commands that receive.
fn connecting(connection: &flags::Connection) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::default();
    options.encryption = trust::client(&connection.tls)?;
    options.congestion = connection.congestion.clone();
    options.connect_timeout = connection.connect_timeout;
    options.timeout = connection.timeout;
    Ok(options)
}

/// Returns the connection options of `send`, also to a pipe.
fn connecting_to_send(flags: &flags::Send) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::default();
    options.encryption = trust::client(&flags.tls)?;
    options.congestion = flags.congestion.clone();
    options.connect_timeout = flags.connect_timeout;
    options.timeout = flags.timeout;
    Ok(options)
}
