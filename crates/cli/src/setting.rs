//! Properties of a setting that clap does not know.

use clap::builder::ArgExt;

/// When a change of a flag of `anyport serve` needs a restart: a running server keeps its old
/// value. A reload applies flags without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// For any change.
    Always,
    /// To set or to unset it; another value is applied.
    ToSetOrUnset,
    /// To listen on other addresses; what is set for a present listener is applied.
    ToListenElsewhere,
}

impl ArgExt for Restart {}
