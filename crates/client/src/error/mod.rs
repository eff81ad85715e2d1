//! The error of the client: one type for all commands. Its kind decides the text, the exit code,
//! the retry and the hint (`kind.rs`).

mod consequence;
mod kind;
mod text;
mod trust;

pub(crate) use consequence::Consequence;
pub use consequence::ErrorOrigin;
pub(crate) use kind::token_hint;
pub use kind::{ErrorKind, LIST_HINT, RESUME_HINT, Transferred, congestion_hint};

use std::fmt;
use std::io;
use std::path::Path;

use anyport_net::dial::DialError;
use anyport_proto::peer::Peer;
use anyport_proto::rooms;
use anyport_proto::setting::TIMEOUT;
use anyport_proto::transfer::refusal::RefusalCode;
use anyport_proto::ws::Violation;
use anyport_store::LocalError;
use anyport_tls::TlsError;

use crate::proxy::ProxyUrlError;
use crate::target::TargetError;

/// Why a command failed.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    /// The server, or the proxy in its place.
    peer: Option<Peer>,
    cause: Option<Cause>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Returns an error that `peer` caused, or that happened on a connection to it.
    pub(crate) fn at(peer: Peer, kind: ErrorKind) -> Self {
        Self(Box::new(Parts { kind, peer: Some(peer), cause: None }))
    }

    /// Adds what caused the error.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Returns the error of a lost connection.
    ///
    /// If the socket's time limit was the reason, the error names it. An error of TLS is of the
    /// kind [`ErrorKind::Tls`] and not retried, because the next attempt would fail in the same
    /// way.
    pub(crate) fn lost(peer: Peer, moved: Transferred, source: io::Error) -> Self {
        let tls = source.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
        if let Some(tls) = tls.filter(|_| moved != Transferred::Messages) {
            return Self::at(peer, ErrorKind::Tls(Box::new(tls.clone())));
        }
        let waited_for = match moved {
            Transferred::Received(_) => "no data from the server",
            _ => "the server neither accepted data nor replied",
        };
        let source = match source.kind() {
            // A blocking socket reports its time limit by this kind.
            io::ErrorKind::WouldBlock => {
                let text = format!("{waited_for} for too long ({TIMEOUT})");
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
            _ => source,
        };
        Self::at(peer, ErrorKind::Lost(moved)).because(source)
    }

    /// Returns the error of a connection that was lost in the handshake of `protocol`, whose time
    /// limit is that of connecting.
    pub(crate) fn in_handshake(peer: Peer, protocol: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock => Self::at(peer, ErrorKind::NoHandshake(protocol)),
            _ => Self::lost(peer, Transferred::Sent(0), source),
        }
    }

    /// Returns whether a time limit of the client expired, rather than one of the kernel.
    pub fn is_timeout(&self) -> bool {
        let limit = |error: &io::Error| {
            error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
        };
        matches!(self.0.kind, ErrorKind::NoHandshake(_)) || self.io().is_some_and(limit)
    }

    /// Returns whether the peer answered what the protocol does not allow: as a rule it is another
    /// server.
    pub const fn is_unexpected_answer(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::NotHttp
                | ErrorKind::Violation { .. }
                | ErrorKind::NoReceipt(_)
                | ErrorKind::Answer(_)
                | ErrorKind::NoHttp(_)
                | ErrorKind::NoResource(_)
                | ErrorKind::Early { .. }
                | ErrorKind::NoFiles
                | ErrorKind::NoJoin
                | ErrorKind::NoListing { .. }
        )
    }

    /// Replaces the amount that a lost connection had transferred.
    #[must_use]
    pub(crate) fn moved(mut self, change: impl FnOnce(Transferred) -> Transferred) -> Self {
        if let ErrorKind::Lost(moved) = &mut self.0.kind {
            *moved = change(*moved);
        }
        self
    }

    /// Returns the error of an operation on a local path.
    pub fn local(what: &'static str, path: &Path, cause: io::Error) -> Self {
        LocalError::Io(what, path.to_owned(), cause).into()
    }

    /// Returns the error of a `peer` that broke a rule of WebSocket.
    pub(crate) fn violation(peer: Peer, rule: Violation, interactive: bool) -> Self {
        Self::at(peer, ErrorKind::Violation { rule, interactive })
    }

    /// Returns the error of an output that the client could not write to.
    pub fn output(what: &'static str, cause: io::Error) -> Self {
        Self::from(ErrorKind::Output(what)).because(cause)
    }

    /// Returns what went wrong.
    pub const fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    pub(crate) const fn peer(&self) -> Option<Peer> {
        self.0.peer
    }

    /// Returns the origin of the error, from which the exit code follows.
    pub fn origin(&self) -> ErrorOrigin {
        self.consequence().origin
    }

    /// Returns what the user can try.
    pub fn hint(&self) -> Option<String> {
        Some(self.0.kind.meaning(self.io()).1?.into_owned())
    }

    /// Returns what follows from the error.
    pub(crate) fn consequence(&self) -> Consequence {
        self.0.kind.meaning(self.io()).0
    }

    /// Returns whether the program that reads the client's output has closed it.
    pub fn is_closed_output(&self) -> bool {
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        matches!(self.0.kind, ErrorKind::Output(_)) && self.io().is_some_and(is_closed)
    }

    /// Returns whether the server refused with this code.
    pub(crate) fn is_refused(&self, code: RefusalCode) -> bool {
        matches!(&self.0.kind, ErrorKind::Refused(refusal) if refusal.code == code)
    }

    /// Returns the error of the operating system that caused it.
    fn io(&self) -> Option<&io::Error> {
        match &self.0.kind {
            ErrorKind::Local(LocalError::Io(_, _, error)) => Some(error),
            _ => self.0.cause.as_deref()?.downcast_ref(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { kind, peer, cause } = &*self.0;
        f.debug_tuple("Error").field(kind).field(peer).field(cause).finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.kind, &self.0.cause, self.0.peer) {
            (ErrorKind::Open, Some(cause), _) => cause.fmt(f),
            (kind, _, Some(peer)) => f.write_str(&kind.text(&peer)),
            (kind, _, None) => f.write_str(&kind.text(&"the server")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            // Their texts are those of the cause.
            ErrorKind::Dial(error) => error.source(),
            ErrorKind::Target(error) => error.source(),
            ErrorKind::RoomTarget(error) => error.source(),
            ErrorKind::ProxyUrl(error) => error.source(),
            ErrorKind::Local(error) => error.source(),
            ErrorKind::Open => self.0.cause.as_deref()?.source(),
            ErrorKind::Proxy { reason, .. } => Some(&**reason),
            ErrorKind::Name(_, reason) => Some(reason),
            ErrorKind::Tls(reason) => Some(&**reason),
            _ => self.0.cause.as_deref().map(|cause| cause as _),
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(Parts { kind, peer: None, cause: None }))
    }
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        ErrorKind::Dial(error).into()
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        ErrorKind::Target(error).into()
    }
}

impl From<rooms::TargetError> for Error {
    fn from(error: rooms::TargetError) -> Self {
        ErrorKind::RoomTarget(error).into()
    }
}

impl From<ProxyUrlError> for Error {
    fn from(error: ProxyUrlError) -> Self {
        ErrorKind::ProxyUrl(error).into()
    }
}

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        ErrorKind::Local(error).into()
    }
}

/// Returns the error of a runtime that could not be started, or of a task that panicked.
pub(crate) fn no_runtime(cause: io::Error) -> Error {
    Error::from(ErrorKind::Runtime).because(cause)
}

/// Why content was not sent completely.
pub(crate) enum Stopped {
    /// An error on this machine.
    Local(Error),
    /// An error of the connection. A refusal that the server has sent explains it better.
    Broken(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Maximum size of a reply, in bytes: a receipt, a refusal, the response to a handshake.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// The status code of a Close frame that has none (RFC 6455 §7.1.5).
pub(crate) const NO_CODE: u16 = 1005;

/// Returns the first [`SHOWN`] characters of a peer's text, for an error.
pub(crate) fn cut(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(SHOWN).collect()
}

/// Maximum length of a peer's text in an error, in characters.
pub(crate) const SHOWN: usize = 200;
