//! Exit codes.

use std::process::ExitCode;

use anyport_client::ErrorOrigin;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and verified where possible.
    Done = 0,
    /// Failed for a reason that no other code names.
    Failed = 1,
    /// The command line or a setting is invalid.
    Usage = 2,
    /// The name does not resolve, or the server cannot be reached.
    Unreachable = 3,
    /// The peer refused the request.
    Refused = 4,
    /// The stored file differs from the file that was sent.
    Mismatch = 5,
    /// Connection lost; the same command resumes the transfer.
    ConnectionLost = 6,
    /// TLS failed, or the server is not trusted.
    Untrusted = 7,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// All exit codes.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::Mismatch,
        Self::ConnectionLost,
        Self::Untrusted,
        Self::Interrupted,
    ];

    /// Returns the exit code of another anyport process.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as i32 == code)
    }

    /// Returns the meaning for manual pages.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Success; transfers are verified.",
            Self::Failed => "Failed for a reason that no other code names.",
            Self::Usage => "The command line or a setting is invalid.",
            Self::Unreachable => "A name does not resolve, or the server cannot be reached.",
            Self::Refused => "The peer refused the request.",
            Self::Mismatch => "The received data differ from the data that were sent.",
            Self::ConnectionLost => "Connection lost; the same command resumes the transfer.",
            Self::Untrusted => "TLS failed, or the server is not trusted.",
            Self::Interrupted => "Stopped by Ctrl-C.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorOrigin> for Exit {
    fn from(origin: ErrorOrigin) -> Self {
        match origin {
            ErrorOrigin::Unreachable => Self::Unreachable,
            ErrorOrigin::Refused => Self::Refused,
            ErrorOrigin::Mismatch => Self::Mismatch,
            ErrorOrigin::Interrupted => Self::ConnectionLost,
            ErrorOrigin::Untrusted => Self::Untrusted,
            _ => Self::Failed,
        }
    }
}
