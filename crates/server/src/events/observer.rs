//! The observer of a server: it is notified of each transfer's end and of each refused peer.

use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::{Engine, Protocol, Receipt};

/// Is notified of transfers as they end.
///
/// Called on the thread that served the transfer, so it should return soon.
pub trait Observer: Send + Sync + 'static {
    /// A file was received completely and stored.
    fn receipt(&self, receipt: &Receipt);
    /// An upload was interrupted; nothing was published.
    fn interrupted(&self, transfer: &Interrupted);
    /// A peer was refused before any transfer began.
    fn refused(&self, peer: &Refused);
    /// Further peers were refused, too many to report them one by one.
    fn suppressed(&self, refusals: u64) {
        let _ = refusals;
    }
    /// A file was sent to a peer, completely or in part.
    fn sent(&self, file: &Sent) {
        let _ = file;
    }
    /// A client deleted, renamed or created an entry.
    fn changed(&self, changed: &Changed) {
        let _ = changed;
    }
    /// A peer sent a line after a greeting.
    fn answered(&self, answer: &Answered) {
        let _ = answer;
    }
}

/// An upload that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interrupted {
    /// The protocol.
    pub protocol: Protocol,
    /// The WebSocket implementation.
    pub engine: Engine,
    /// The client's address.
    pub peer: Peer,
    /// Content bytes that were received.
    pub bytes: u64,
    /// The name in the offer, if there is one.
    pub name: Option<String>,
    /// The reason, as text.
    pub reason: String,
    /// Whether the server refused it, in contrast to a lost connection.
    pub refused: bool,
    /// The partial file, if it is kept.
    pub part: Option<String>,
}

/// A stored file or directory that a client changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The protocol.
    pub protocol: Protocol,
    /// The client's address.
    pub peer: Peer,
    /// The path before the change.
    pub name: FilePath,
    /// The change.
    pub change: Change,
}

/// A change that a client made to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The file or the empty directory was deleted.
    Deleted,
    /// It has this path now, perhaps in place of another file.
    Renamed(FilePath),
    /// The directory was created.
    Created,
}

/// A peer that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The protocol.
    pub protocol: &'static str,
    /// The client's address.
    pub peer: Peer,
    /// The violated rule, as text.
    pub reason: String,
    /// The kind of refusal.
    pub why: Why,
}

/// The kind of a refusal, as counted in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The input violates a rule, or asks for something that is not here or not allowed.
    Request,
    /// No token.
    NoToken,
    /// An invalid token.
    WrongToken,
    /// Too many invalid tokens from its address.
    Guessing,
    /// A page of another origin.
    Origin,
    /// A host name that the server does not serve.
    Host,
    /// Too many connections of its address.
    TooMany,
    /// Too many new connections of its address per second.
    TooFast,
}

impl Why {
    /// All, in the order of their discriminants.
    pub(crate) const ALL: [Self; 8] = [
        Self::Request,
        Self::NoToken,
        Self::WrongToken,
        Self::Guessing,
        Self::Origin,
        Self::Host,
        Self::TooMany,
        Self::TooFast,
    ];

    /// Returns the name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::NoToken => "no-token",
            Self::WrongToken => "wrong-token",
            Self::Guessing => "guessing",
            Self::Origin => "origin",
            Self::Host => "host",
            Self::TooMany => "conns-per-ip",
            Self::TooFast => "rate-per-ip",
        }
    }
}

/// A line that a peer sent after a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// The client's address.
    pub peer: Peer,
    /// The line, with control characters made visible.
    pub text: String,
}

/// A file that was sent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// The protocol.
    pub protocol: Protocol,
    /// The WebSocket implementation.
    pub engine: Engine,
    /// The client's address.
    pub peer: Peer,
    /// Its path below the served directory.
    pub name: FilePath,
    /// Size of the whole file.
    pub size: u64,
    /// The first requested byte.
    pub offset: u64,
    /// Content bytes that were handed to the kernel.
    pub bytes: u64,
    /// Time from the request to the last of them, in whole microseconds.
    pub seconds: f64,
    /// The digest that was sent, of the whole file.
    pub digest: Option<Digest>,
    /// Why it was interrupted; `None` if it was sent completely.
    pub broken: Option<String>,
}

impl Sent {
    /// Returns the bytes per second; `None` if nothing was sent, or no time was measured.
    pub fn rate(&self) -> Option<f64> {
        Some(self.bytes as f64 / self.seconds).filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}
