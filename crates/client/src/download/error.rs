//! Why a download failed, and whose fault it was.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::refusal::{Refusal, Retry};
use anyport_proto::ws::Violation;
use anyport_store::LocalError;
use anyport_tls::TlsError;

use crate::error::{
    ANYPORT_HINT, Blame, Consequence, SendError, closed, hint_of, hint_of_answer, violated,
};
use crate::target::TargetError;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// No connection came about, or no WebSocket on it.
    #[error(transparent)]
    Connect(#[from] SendError),
    /// The path of the URL names nothing that can be stored.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The URL names a directory, and one file was expected.
    #[error("{name} is a directory")]
    Directory {
        /// Its path on the server.
        name: String,
    },
    /// The server speaks WebSocket and not our subprotocol.
    #[error("{peer} does not serve files over WebSocket")]
    NoSubprotocol {
        /// The server.
        peer: SocketAddr,
    },
    /// The server refused, in its own words.
    #[error("{peer} refused: {refusal}")]
    Refused {
        /// The server.
        peer: SocketAddr,
        /// What it said.
        refusal: Refusal,
    },
    /// The server closed the WebSocket in the middle.
    #[error("{peer} {}", closed(*code, reason))]
    Closed {
        /// The server.
        peer: SocketAddr,
        /// Its close code; 1005 stands for none.
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
    /// The server's answer is not of the protocol.
    #[error("unexpected reply from {peer}: {answer:?}")]
    Answer {
        /// The server.
        peer: SocketAddr,
        /// What it said, cut, or what is wrong with it.
        answer: String,
    },
    /// The server lists without an end.
    #[error("listing from {peer} has more than {limit} entries")]
    TooMany {
        /// The server.
        peer: SocketAddr,
        /// How many are taken.
        limit: u64,
    },
    /// The listing takes more memory than it may.
    #[error("names in the listing from {peer} exceed {limit} bytes in total")]
    TooLong {
        /// The server.
        peer: SocketAddr,
        /// How many bytes are taken.
        limit: usize,
    },
    /// Two remote files would be stored as one.
    #[error(
        "cannot store a second file as {path}: this command already received one under this name",
        path = path.display()
    )]
    SameName {
        /// Where.
        path: PathBuf,
    },
    /// Some of several files were not received; each has been told of.
    #[error("{failed} of {of} entries were not received")]
    Some {
        /// How many.
        failed: usize,
        /// How many there were.
        of: usize,
        /// Who is to blame for the first.
        blame: Blame,
    },
    /// A directory of which there is no listing.
    #[error("cannot list {path} on {peer}: {reason}")]
    NoListing {
        /// The server.
        peer: SocketAddr,
        /// What was asked for.
        path: String,
        /// What there is instead.
        reason: String,
    },
    /// The connection ended.
    #[error("connection to {peer} lost after {received} bytes of content")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// Content bytes that came over this connection for the file at hand.
        received: u64,
        /// What the kernel said; an unexpected end of the stream if it was closed in order.
        #[source]
        source: io::Error,
    },
    /// The file is not the one any more that was listed a moment ago.
    #[error("{name} changed on the server during the transfer")]
    Changed {
        /// Its path on the server.
        name: String,
    },
    /// What came is not what the server hashed.
    #[error("digest of {name} differs: received {ours}, the server sent {theirs}")]
    DigestDiffers {
        /// Its path on the server.
        name: String,
        /// Of what is here.
        ours: Digest,
        /// Of what was sent.
        theirs: Digest,
    },
    /// Another file is where this one is to be.
    #[error("cannot store {path}: a different file exists there", path = path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no regular file is where this one is to be.
    #[error("cannot replace {path}: it is {what}", path = path.display())]
    NotReplaced {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The local file system does not distinguish this name from that of another file.
    #[error(
        "{path} exists as {other}: the file system does not distinguish these names",
        path = path.display()
    )]
    StoredAs {
        /// Where the file was to be stored.
        path: PathBuf,
        /// The escaped name of the entry that is there.
        other: String,
    },
    /// Another process is receiving the same file.
    #[error("another process is receiving {path}", path = path.display())]
    Busy {
        /// Where it is to be.
        path: PathBuf,
    },
    /// Something on our own disk.
    #[error("cannot {what} {path}", path = path.display())]
    Local {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The writer that content goes to takes no more.
    #[error("cannot write the received content")]
    Output(#[source] io::Error),
}

impl GetError {
    /// The connection ended; a time-out of ours is called so.
    pub(crate) fn broken_off(peer: SocketAddr, received: u64, source: io::Error) -> Self {
        // What TLS said is no accident.
        if source.get_ref().is_some_and(|error| error.is::<TlsError>()) {
            return Self::Connect(SendError::broken_off(peer, received, source));
        }
        let source = match source.kind() {
            // What a blocking socket says when its time-out has passed.
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                "no data from the server for too long (--timeout)",
            ),
            _ => source,
        };
        Self::BrokenOff { peer, received, source }
    }

    /// Returns the origin of the error, from which the exit code follows.
    pub fn blame(&self) -> Blame {
        self.consequence().blame
    }

    /// Returns what follows from the error, whichever protocol reported it.
    pub(super) fn consequence(&self) -> Consequence {
        match self {
            Self::Connect(error) => error.consequence(),
            Self::Refused { refusal, .. } => Consequence::of(refusal.code),
            Self::Closed { code, .. } => Consequence::of_close(*code),
            Self::NoSubprotocol { .. } | Self::NoListing { .. } => {
                Consequence::new(Blame::Refused, Retry::Never)
            }
            Self::Some { blame, .. } => Consequence::new(*blame, Retry::Never),
            Self::DigestDiffers { .. } => {
                Consequence { one_file: true, ..Consequence::new(Blame::Mismatch, Retry::Once) }
            }
            Self::BrokenOff { .. } => Consequence::LOST,
            // A source that changed is received from its first byte.
            Self::Changed { .. } => Consequence { one_file: true, ..Consequence::LOST },
            Self::Local { source, .. } if is_of_disk(source) => Consequence::LOCAL,
            Self::Exists { .. }
            | Self::SameName { .. }
            | Self::StoredAs { .. }
            | Self::Busy { .. }
            | Self::Local { .. } => Consequence { one_file: true, ..Consequence::LOCAL },
            _ => Consequence::LOCAL,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect(error) => return error.hint(),
            Self::Refused { refusal, .. } => return hint_of(refusal),
            Self::Answer { answer, .. } => return hint_of_answer(answer),
            Self::Directory { .. } => "end the URL with / to receive the whole directory",
            Self::NoSubprotocol { .. } => ANYPORT_HINT,
            Self::NoListing { .. } => {
                "over HTTP only anyport servers list files; try tcp:// or ws://, or the URL of one file"
            }
            Self::BrokenOff { .. } => {
                "the partial file is kept; run the same command again to resume"
            }
            Self::Changed { .. } => "run the same command again",
            Self::DigestDiffers { .. } => {
                "the file changed during the transfer or was corrupted; run the same command again"
            }
            Self::Exists { .. } => {
                "use --on-exists overwrite to replace it, or --on-exists rename to keep both"
            }
            Self::NotReplaced { .. } => {
                "only regular files are replaced; give another name with -o"
            }
            Self::StoredAs { .. } => {
                "receive it into another directory, or use --on-exists rename to keep both"
            }
            Self::SameName { .. } => "receive them one by one with -o, or use --on-exists rename",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<LocalError> for GetError {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Busy(path) => Self::Busy { path },
            LocalError::Exists(path) => Self::Exists { path },
            LocalError::NotReplaced(path, what) => Self::NotReplaced { path, what },
            LocalError::StoredAs(path, other) => Self::StoredAs { path, other },
            LocalError::Io(what, path, source) => Self::Local { what, path, source },
        }
    }
}

/// Whether an error of the local file system concerns every file that is stored there.
fn is_of_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}
