//! Why a chat ended.

use std::io;
use std::net::SocketAddr;

use anyport_proto::preface::PrefaceError;
use anyport_proto::rooms;
use anyport_proto::transfer::MessageError;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode, Retry};
use anyport_proto::ws::Violation;

use crate::error::{Blame, Consequence, SendError, closed, hint_of, violated};

/// Why a chat ended before it was left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The URL names no room.
    #[error(transparent)]
    Target(#[from] rooms::TargetError),
    /// Bare frames carry no path, and so no room.
    #[error("rooms are not supported over {scheme}://")]
    Scheme {
        /// As written.
        scheme: &'static str,
    },
    /// No connection came about, or its handshake failed.
    #[error(transparent)]
    Connect(#[from] SendError),
    /// The server takes the WebSocket and speaks no rooms on it.
    #[error(
        "{peer} does not support the WebSocket subprotocol {} at this path",
        rooms::SUBPROTOCOL
    )]
    NoSubprotocol {
        /// The server.
        peer: SocketAddr,
    },
    /// The connection ended.
    #[error("connection to {peer} lost")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The server closed the WebSocket.
    #[error("{peer} {}", closed(*code, reason))]
    Closed {
        /// The server.
        peer: SocketAddr,
        /// Its close code; 1005 stands for none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// The server does not let us in.
    #[error("{peer} refused: {refusal}")]
    Refused {
        /// The server.
        peer: SocketAddr,
        /// What it said.
        refusal: Refusal,
    },
    /// The server broke a rule of RFC 6455.
    #[error("{peer} {}", violated(violation))]
    Violation {
        /// The server.
        peer: SocketAddr,
        /// The rule.
        violation: Violation,
    },
    /// What came is no reply to JOIN.
    #[error("unexpected reply to JOIN from {peer}")]
    Answer {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: PrefaceError,
    },
    /// What came is no event of a room.
    #[error("invalid room event from {peer}")]
    Event {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: MessageError,
    },
    /// An event without an end.
    #[error("room event from {peer} is longer than {limit} bytes")]
    TooLong {
        /// The server.
        peer: SocketAddr,
        /// How long one may be.
        limit: usize,
    },
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Whoever is told what happens does not take it any more.
    #[error("cannot print room events")]
    Output(#[source] io::Error),
}

impl ChatError {
    /// Returns the origin of the error, from which the exit code follows.
    pub fn blame(&self) -> Blame {
        self.consequence().blame
    }

    /// Returns what follows from the error, whichever protocol reported it.
    pub(super) fn consequence(&self) -> Consequence {
        match self {
            Self::Connect(error) => error.consequence(),
            Self::BrokenOff { .. } => Consequence::LOST,
            Self::Refused { refusal, .. } => Consequence::of(refusal.code),
            // A room server that failed may be back.
            Self::Closed { code: 1011, .. } => Consequence::of(RefusalCode::Busy),
            Self::Closed { code, .. } => Consequence::of_close(*code),
            Self::NoSubprotocol { .. }
            | Self::Violation { .. }
            | Self::Answer { .. }
            | Self::Event { .. }
            | Self::TooLong { .. } => Consequence::new(Blame::Refused, Retry::Never),
            Self::Target(_) | Self::Scheme { .. } | Self::Runtime(_) | Self::Output(_) => {
                Consequence::LOCAL
            }
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(_) | Self::Scheme { .. } => {
                Some("use tcp://HOST:PORT/rooms/NAME or ws://HOST:PORT/rooms/NAME".to_owned())
            }
            Self::Connect(error) => match error {
                // Its advice is about files.
                SendError::BrokenOff { .. } => None,
                error => error.hint(),
            },
            Self::NoSubprotocol { .. } | Self::Answer { .. } => Some(
                "check that this is an anyport server; for other servers use anyport cat"
                    .to_owned(),
            ),
            Self::Refused { refusal, .. } => hint_of(refusal),
            _ => None,
        }
    }

    /// The connection ended; a name that does not resolve is none that ended.
    pub(super) fn broken(peer: SocketAddr, source: io::Error) -> Self {
        Self::BrokenOff { peer, source }
    }
}
