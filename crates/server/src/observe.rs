//! What a server tells whoever runs it: each transfer's end, whole or not, and each refused peer.

use std::net::SocketAddr;

use anyport_proto::transfer::receipt::{Engine, Protocol, Receipt};

/// Hears of transfers as they end. Called on the thread that served the transfer, so it should be quick.
pub trait Observer: Send + Sync + 'static {
    /// A transfer is whole and stored.
    fn receipt(&self, receipt: &Receipt);
    /// A transfer broke off; nothing was published.
    fn interrupted(&self, transfer: &Interrupted);
    /// A peer was refused before any transfer began.
    fn refused(&self, peer: &Refused);
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
}
