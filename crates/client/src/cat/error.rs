//! Why a pipe to a server broke.

use std::io;
use std::net::SocketAddr;

use anyport_net::dial::DialError;
use anyport_proto::ws::Violation;

use crate::error::{Blame, SendError, closed, violated};
use crate::target::{Target, TargetError};

/// Why `cat` ended before the server did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatError {
    /// The URL names nobody.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A path where nothing says it to the server.
    #[error("{scheme}:// has no paths in cat")]
    NoPath {
        /// As written.
        scheme: &'static str,
        /// The rest of the URL.
        target: Target,
    },
    /// Proxies carry streams only.
    #[error("udp:// is not supported through a proxy (-x)")]
    NoDatagrams,
    /// No connection came about, or its handshake failed.
    #[error(transparent)]
    Connect(#[from] SendError),
    /// The connection ended.
    #[error("connection to {peer} lost")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No process receives at that port.
    #[error("no UDP service at {peer}")]
    NoPort {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The server closed the WebSocket, and not as one that is done.
    #[error("{peer} {}", closed(*code, reason))]
    Closed {
        /// The server.
        peer: SocketAddr,
        /// Its close code.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// The server broke a rule of RFC 6455.
    #[error("{peer} {}", violated(violation))]
    Violation {
        /// The server.
        peer: SocketAddr,
        /// The rule.
        violation: Violation,
    },
    /// A line that can be no text message.
    #[error("input line {line} is not UTF-8")]
    NotText {
        /// Which, from 1.
        line: u64,
    },
    /// A line without an end.
    #[error("input line {line} is longer than {limit} bytes")]
    LongLine {
        /// Which, from 1.
        line: u64,
        /// How long one may be.
        limit: usize,
    },
    /// The input cannot be read.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// The output takes no more.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl CatError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Connect(error) => error.blame(),
            Self::NoPort { .. } => Blame::Unreachable,
            Self::BrokenOff { .. } => Blame::BrokenOff,
            Self::Closed { .. } | Self::Violation { .. } => Blame::Refused,
            _ => Blame::Local,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(error) => Some(error.hint().unwrap_or_else(|| {
                "use tcp://HOST:PORT, ws://HOST:PORT/PATH or udp://HOST:PORT".to_owned()
            })),
            Self::Connect(error) => match error {
                // Its advice is about files.
                SendError::BrokenOff { .. } => None,
                error => error.hint(),
            },
            Self::NoPath { scheme: "udp", .. } => Some("leave out the path".to_owned()),
            Self::NoPath { target, .. } => {
                let scheme = if target.encrypted { "wss" } else { "ws" };
                let (address, path) = (target.address(), &target.path);
                Some(format!(
                    "use {scheme}://{address}{path}, or leave out the path and send ANYPORT/1 ECHO \
                     as the first line"
                ))
            }
            Self::NoDatagrams => Some("leave out -x, or use tcp://".to_owned()),
            Self::NotText { .. } | Self::LongLine { .. } => {
                Some("use --binary to send the input unchanged, in binary messages".to_owned())
            }
            _ => None,
        }
    }
}

impl From<DialError> for CatError {
    fn from(error: DialError) -> Self {
        Self::Connect(error.into())
    }
}
