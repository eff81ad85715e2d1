//! The consequences of an error, for every command and protocol.

use anyport_proto::transfer::refusal::{self, RefusalCode, Retry};

/// The origin of an error, from which the exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorOrigin {
    /// This machine.
    Local,
    /// The name does not resolve, or no server accepts the connection.
    Unreachable,
    /// The server refused.
    Refused,
    /// The content that arrived differs from the content that was sent.
    Mismatch,
    /// The connection was lost; the same command may succeed.
    Interrupted,
    /// TLS failed, or the server is not trusted.
    Untrusted,
}

/// The consequences of an error: the exit code, the retry, and whether other files are affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consequence {
    pub(crate) origin: ErrorOrigin,
    pub(crate) retry: Retry,
    /// Other files of the same command are not concerned.
    pub(crate) one_file: bool,
}

impl Consequence {
    /// An error on this machine.
    pub(crate) const LOCAL: Self = Self::new(ErrorOrigin::Local, Retry::Never);
    /// The connection was lost.
    pub(crate) const LOST: Self = Self::new(ErrorOrigin::Interrupted, Retry::Repeatedly);

    pub(crate) const fn new(origin: ErrorOrigin, retry: Retry) -> Self {
        Self { origin, retry, one_file: false }
    }

    /// Returns the consequences of a refusal, by its code.
    pub(crate) const fn of(code: RefusalCode) -> Self {
        let refusal::Meaning { retry, failure, one_file, .. } = code.meaning();
        let origin = match failure {
            refusal::Failure::Refused => ErrorOrigin::Refused,
            refusal::Failure::Mismatch => ErrorOrigin::Mismatch,
            refusal::Failure::Interrupted => ErrorOrigin::Interrupted,
        };
        Self { origin, retry, one_file }
    }

    /// Returns the consequences of a Close before the server's reply; 1005 stands for one without a
    /// code.
    pub(crate) const fn of_close(code: u16) -> Self {
        match code {
            // Going away, service restart, try again later.
            1001 | 1012 | 1013 => Self::of(RefusalCode::Busy),
            1000 | 1005 => Self::LOST,
            _ => Self::new(ErrorOrigin::Refused, Retry::Never),
        }
    }
}
