//! What follows from an error, whichever command and protocol it interrupts.

use anyport_proto::transfer::refusal::{self, RefusalCode, Retry};

/// The origin of an error, from which the exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// This machine.
    Local,
    /// The name does not resolve, or no server accepts the connection.
    Unreachable,
    /// The server refused.
    Refused,
    /// The content that arrived differs from the content that was sent.
    Mismatch,
    /// The connection was lost; the same command may succeed.
    BrokenOff,
    /// TLS failed, or the server is not trusted.
    Untrusted,
}

/// What follows from an error: the exit code, whether to try again, and whether other files are
/// concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consequence {
    pub(crate) blame: Blame,
    pub(crate) retry: Retry,
    /// Other files of the same command are not concerned.
    pub(crate) one_file: bool,
}

impl Consequence {
    /// An error on this machine.
    pub(crate) const LOCAL: Self = Self::new(Blame::Local, Retry::Never);
    /// The connection was lost.
    pub(crate) const LOST: Self = Self::new(Blame::BrokenOff, Retry::Repeatedly);

    pub(crate) const fn new(blame: Blame, retry: Retry) -> Self {
        Self { blame, retry, one_file: false }
    }

    /// What follows from a refusal, by its code.
    pub(crate) const fn of(code: RefusalCode) -> Self {
        let refusal::Meaning { retry, failure, one_file, .. } = code.meaning();
        let blame = match failure {
            refusal::Failure::Refused => Blame::Refused,
            refusal::Failure::Mismatch => Blame::Mismatch,
            refusal::Failure::Interrupted => Blame::BrokenOff,
        };
        Self { blame, retry, one_file }
    }

    /// What follows from a Close before the server's reply; 1005 stands for one without a code.
    pub(crate) const fn of_close(code: u16) -> Self {
        match code {
            // Going away, service restart, try again later.
            1001 | 1012 | 1013 => Self::of(RefusalCode::Busy),
            1000 | 1005 => Self::LOST,
            _ => Self::new(Blame::Refused, Retry::Never),
        }
    }
}
