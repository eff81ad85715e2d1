//! One file a command.

mod banner;
pub(crate) mod cat;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod manuals;
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

use crate::{Failure, flags, trust};

/// How commands that receive connect.
fn connecting(connection: &flags::Connection) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::default();
    options.encryption = trust::client(&connection.tls)?;
    options.congestion = connection.congestion.clone();
    options.connect_timeout = connection.connect_timeout;
    options.timeout = connection.timeout;
    Ok(options)
}

/// An error and what is behind it, in one line.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors state their cause themselves.
        if !line.ends_with(&cause_text) {
            line.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    line
}
