//! Why a chat ended.

use std::io;
use std::net::SocketAddr;

use anyport_net::dial::DialError;
use anyport_proto::rooms;
use anyport_proto::transfer::offer::OfferError;
use anyport_proto::transfer::preface::PrefaceError;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::Violation;

use crate::error::{Blame, SendError};

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
    /// Who is to blame.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Connect(error) => error.blame(),
            Self::BrokenOff { .. } => Blame::BrokenOff,
            Self::NoSubprotocol { .. }
            | Self::Closed { .. }
            | Self::Refused { .. }
            | Self::Violation { .. }
            | Self::Answer { .. }
            | Self::Event { .. }
            | Self::TooLong { .. } => Blame::Refused,
            Self::Target(_) | Self::Scheme { .. } | Self::Runtime(_) | Self::Output(_) => {
                Blame::Local
            }
        }
    }

    /// Whether another connection may fare better without anybody doing anything.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => error.may_pass(),
            Self::BrokenOff { .. } => true,
            Self::Refused { refusal, .. } => refusal.code == RefusalCode::Busy,
            Self::Closed { code, .. } => matches!(code, 1001 | 1005 | 1011..=1013),
            _ => false,
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
            Self::Refused { refusal, .. } => refusal.hint.clone(),
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
