//! Exit codes, in one place.

use std::process::ExitCode;

use anyport_client::Blame;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, and verified where there was something to verify.
    Done = 0,
    /// Something failed that no other code names.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The name does not resolve, or nobody listens.
    Unreachable = 3,
    /// The other side said no.
    Refused = 4,
    /// What arrived is not what was sent.
    Mismatch = 5,
    /// Broken off; sending again may work.
    BrokenOff = 6,
    /// TLS failed, or the server is not trusted.
    Untrusted = 7,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    pub(crate) const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::Mismatch,
        Self::BrokenOff,
        Self::Untrusted,
        Self::Interrupted,
    ];

    /// What another process of ours ended with.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as i32 == code)
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Done, and verified where there was something to verify.",
            Self::Failed => "Something failed that no other code names.",
            Self::Usage => "The command line or a setting makes no sense.",
            Self::Unreachable => "A name does not resolve, or nobody listens.",
            Self::Refused => "The other side said no.",
            Self::Mismatch => "What arrived is not what was sent.",
            Self::BrokenOff => "Broken off; the same command goes on.",
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

impl From<Blame> for Exit {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Unreachable => Self::Unreachable,
            Blame::Refused => Self::Refused,
            Blame::Mismatch => Self::Mismatch,
            Blame::BrokenOff => Self::BrokenOff,
            Blame::Untrusted => Self::Untrusted,
            _ => Self::Failed,
        }
    }
}
