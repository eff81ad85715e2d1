//! Why a chat ended.

use std::io;
use std::net::SocketAddr;

use anyport_net::dial::DialError;
use anyport_proto::rooms;
use anyport_proto::transfer::offer::OfferError;
use anyport_proto::transfer::preface::PrefaceError;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode, Retry};
use anyport_proto::ws::Violation;

use crate::error::{Blame, Consequence, SendError, hint_of};

/// Why a chat ended before it was left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The URL names no room.
    #[error(transparent)]
    Target(#[from] rooms::TargetError),
    /// Bare frames carry no path, and so no room.
    #[error("rooms are over tcp:// and ws://, not {scheme}://")]
    Scheme {
        /// As written.
        scheme: &'static str,
    },
    /// No connection came about, or its handshake failed.
    #[error(transparent)]
    Connect(#[from] SendError),
    /// The server takes the WebSocket and speaks no rooms on it.
    #[error("{peer} does not speak {} at that path", rooms::SUBPROTOCOL)]
    NoSubprotocol {
        /// The server.
        peer: SocketAddr,
    },
    /// The connection ended.
    #[error("the connection to {peer} broke off")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The server closed the WebSocket.
    #[error("{peer} closed the WebSocket with {code}: {reason:?}")]
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
    #[error("{peer} broke the WebSocket protocol: {violation} ({section})", section = violation.section())]
    Violation {
        /// The server.
        peer: SocketAddr,
        /// The rule.
        violation: Violation,
    },
    /// What came is no reply to JOIN.
    #[error("{peer} answered JOIN with something else")]
    Answer {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: PrefaceError,
    },
    /// What came is no event of a room.
    #[error("{peer} said something that is no event of a room")]
    Event {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: OfferError,
    },
    /// An event without an end.
    #[error("{peer} sent an event of more than {limit} bytes")]
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
    #[error("cannot tell what happens in the room")]
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
                Some("a room is HOST:PORT/rooms/NAME, tcp://… or ws://…".to_owned())
            }
            Self::Connect(error) => match error {
                // Its advice is about files.
                SendError::BrokenOff { .. } => None,
                error => error.hint(),
            },
            Self::NoSubprotocol { .. } | Self::Answer { .. } => {
                Some("is that an anyport server? anyport cat talks to any".to_owned())
            }
            Self::Refused { refusal, .. } => hint_of(refusal),
            _ => None,
        }
    }

    /// The connection ended; a name that does not resolve is none that ended.
    pub(super) fn broken(peer: SocketAddr, source: io::Error) -> Self {
        Self::BrokenOff { peer, source }
    }
}

impl From<DialError> for ChatError {
    fn from(error: DialError) -> Self {
        Self::Connect(error.into())
    }
}
