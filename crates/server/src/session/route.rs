//! The services of WebSocket, by path.

use anyport_proto::rooms::{Join, TargetError};
use anyport_proto::transfer::file_path::PathError;

/// The service that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Files: `/` and directories for uploads with a name in their offer or none, and for
    /// downloads; `/NAME` and `/files/NAME` for an upload with this name.
    Files {
        /// Percent-encoded, as it was received.
        path: Option<String>,
    },
    /// `/echo`.
    Echo,
    /// `/rooms/NAME`, with the options of the query.
    Room(Join),
}

/// Why a path names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("no WebSocket service at {0}; try /NAME, /files/NAME, /echo or /rooms/NAME")]
    NotFound(String),
    #[error("invalid name in {path}: {source}")]
    BadName { path: String, source: PathError },
    #[error(transparent)]
    BadRoom(#[from] TargetError),
}
