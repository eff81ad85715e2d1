//! Why a pipe to a server broke.

use std::io;
use std::net::SocketAddr;

use anyport_net::dial::DialError;
use anyport_proto::ws::Violation;

use crate::error::{Blame, SendError};
use crate::target::TargetError;

/// Why `cat` ended before the server did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatError {
    /// The URL names nobody.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No connection came about, or its handshake failed.
    #[error(transparent)]
    Connect(#[from] SendError),
    /// The connection ended.
    #[error("the connection to {peer} broke off")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nobody is at that port.
    #[error("nobody takes datagrams at {peer}")]
    NoPort {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The server closed the WebSocket, and not as one that is done.
    #[error("{peer} closed the WebSocket with {code}: {reason:?}")]
    Closed {
        /// The server.
        peer: SocketAddr,
        /// Its close code.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// The server broke a rule of RFC 6455.
    #[error("{peer} broke the WebSocket protocol: {violation} ({section})", section = violation.section())]
    Violation {
        /// The server.
        peer: SocketAddr,
        /// The rule.
        violation: Violation,
    },
    /// A line that can be no text message.
    #[error("line {line} of the input is not UTF-8")]
    NotText {
        /// Which, from 1.
        line: u64,
    },
    /// A line without an end.
    #[error("line {line} of the input is longer than {limit} bytes")]
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
    #[error("cannot write to the output")]
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
                "a URL is such as tcp://HOST:PORT, ws://HOST:PORT/PATH, udp://HOST:PORT".to_owned()
            })),
            Self::Connect(error) => match error {
                // Its advice is about files.
                SendError::BrokenOff { .. } => None,
                error => error.hint(),
            },
            Self::NotText { .. } | Self::LongLine { .. } => {
                Some("--binary sends bytes as they are read".to_owned())
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
