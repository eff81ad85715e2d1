//! One file a command.

pub(crate) mod cat;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod manuals;
pub(crate) mod pipe;
pub(crate) mod resolve;
pub(crate) mod send;
pub(crate) mod serve;

use anyport_client::GetOptions;

use crate::flags;

/// What all commands that receive have in common.
fn receiving(connection: &flags::Connection) -> GetOptions {
    let mut options = GetOptions::default();
    options.congestion = connection.congestion.clone();
    options.connect_timeout = connection.connect_timeout;
    options.timeout = connection.timeout;
    options
}

/// An error and what is behind it, in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
