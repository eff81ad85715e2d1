//! The commands, one file each, and what they share.

mod banner;
pub(crate) mod cat;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod manuals;
mod output_file;
pub(crate) mod pipe;
pub(crate) mod probe;
mod progress;
pub(crate) mod reload;
pub(crate) mod resolve;
mod running;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod share;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod token;
pub(crate) mod trace;

use std::{env, slice};

use anyhow::anyhow;
use anyport_client::{ConnectOptions, Proxies, ProxyUrlError, Target};
use anyport_console::{Exit, Failure};

use crate::{flags, trust};

/// Returns the options of connections to `targets` that all clients have.
fn connecting(flags: &flags::Connect, targets: &[Target]) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::default();
    options.encryption = trust::client(&flags.tls, targets)?;
    options.connect_timeout = flags.connect_timeout;
    options.unix_socket = flags.unix_socket.clone();
    options.trace = flags.trace.clone();
    options.capture = flags.capture.clone();
    if let Some(target) = targets.iter().find(|target| target.socket.is_some()) {
        let other = match (&flags.unix_socket, flags.proxy.as_deref()) {
            (Some(_), _) => Some("--unix-socket"),
            (None, None | Some("")) => None,
            (None, Some(_)) => Some("-x"),
        };
        if let Some(other) = other {
            let error = anyhow!("{other} cannot be combined with {target}");
            return Err(Failure::new(Exit::Usage, error).with_hint("leave out one of them"));
        }
    }
    options.proxies = match flags.proxy.as_deref() {
        _ if flags.unix_socket.is_some() => Proxies::Direct,
        None => Proxies::from_environment(|name| env::var(name).ok()),
        Some("") => Proxies::Direct,
        Some(url) => Proxies::All(url.parse().map_err(|error: ProxyUrlError| {
            let hint = error.hint();
            Failure::new(Exit::Usage, error).with_hint(hint)
        })?),
    };
    Ok(options)
}

/// Returns the connection options of commands that receive.
fn receiving(flags: &flags::Connection, targets: &[Target]) -> Result<ConnectOptions, Failure> {
    let mut options = connecting(&flags.connect, targets)?;
    options.congestion = flags.congestion.clone();
    options.timeout = flags.timeout;
    Ok(options)
}

/// Returns the connection options of `send`, also to a pipe.
fn connecting_to_send(flags: &flags::Send, target: &Target) -> Result<ConnectOptions, Failure> {
    let mut options = connecting(&flags.connect, slice::from_ref(target))?;
    options.congestion = flags.congestion.clone();
    options.timeout = flags.timeout;
    Ok(options)
}
