//! What a server tells whoever runs it: each transfer's end, whole or not, and each refused peer.

use std::net::SocketAddr;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::{Engine, Protocol, Receipt};

/// Hears of transfers as they end. Called on the thread that served the transfer, so it should be quick.
pub trait Observer: Send + Sync + 'static {
    /// A transfer is whole and stored.
    fn receipt(&self, receipt: &Receipt);
    /// A transfer broke off; nothing was published.
    fn interrupted(&self, transfer: &Interrupted);
    /// A peer was refused before any transfer began.
    fn refused(&self, peer: &Refused);
    /// Further peers were refused, more than are reported one by one.
    fn suppressed(&self, refusals: u64) {
        let _ = refusals;
    }
    /// A file was sent to a peer, or a part of it.
    fn sent(&self, file: &Sent) {
        let _ = file;
    }
    /// A peer answered to a greeting.
    fn answered(&self, answer: &Answered) {
        let _ = answer;
    }
}

/// A transfer that broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interrupted {
    /// What carried it.
    pub protocol: Protocol,
    /// Who spoke it on our side.
    pub engine: Engine,
    /// The other end.
    pub peer: SocketAddr,
    /// Content bytes that came.
    pub bytes: u64,
    /// The name it was to have, if the sender gave one.
    pub name: Option<String>,
    /// What happened, in words.
    pub reason: String,
    /// Whether the server refused it, rather than lost it.
    pub refused: bool,
    /// The hidden file that holds what came, if it is kept.
    pub part: Option<String>,
}

/// A peer that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// What it spoke.
    pub protocol: &'static str,
    /// The other end.
    pub peer: SocketAddr,
    /// The rule that was broken, in words.
    pub reason: String,
    /// Its kind.
    pub why: Why,
}

/// Kinds of refusals, for whoever counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// What came breaks a rule, or asks for what is not here or not given.
    Request,
    /// No token was shown.
    NoToken,
    /// A token was shown that is nobody's.
    WrongToken,
    /// Its address had shown too many of these.
    Guessing,
    /// A page of another origin sent it.
    Origin,
    /// It was for a name that is not ours.
    Host,
    /// Its address had too many connections.
    TooMany,
    /// Its address made too many in too short a time.
    TooFast,
}

impl Why {
    /// In the order of their discriminants.
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

    /// The name in events and metrics.
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

/// A line that somebody said to a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// The other end.
    pub peer: SocketAddr,
    /// Its words. No terminal is steered by them.
    pub text: String,
}

/// A file that went out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// What carried it.
    pub protocol: Protocol,
    /// Who spoke it on our side.
    pub engine: Engine,
    /// The other end.
    pub peer: SocketAddr,
    /// Where it is, from the served directory on.
    pub name: FilePath,
    /// Bytes of the whole file.
    pub size: u64,
    /// The first byte that was asked for.
    pub offset: u64,
    /// Content bytes that were handed to the kernel, from there on.
    pub bytes: u64,
    /// From the request to the last of them, in whole microseconds.
    pub seconds: f64,
    /// The digest that was told, of the whole file.
    pub digest: Option<Digest>,
    /// Why it broke off; `None` if all of it went.
    pub broken: Option<String>,
}

impl Sent {
    /// Bytes per second; `None` where nothing went, or no time was measured.
    pub fn rate(&self) -> Option<f64> {
        Some(self.bytes as f64 / self.seconds).filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}
