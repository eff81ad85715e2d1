//! One file a command.

pub(crate) mod get;
pub(crate) mod ls;
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
