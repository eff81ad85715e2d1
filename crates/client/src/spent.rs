//! The time that a source took, for the diagnosis of its transfer.

use std::time::{Duration, Instant};

/// The time that a source took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// When the first content was asked for.
    pub(crate) first: Option<Instant>,
    /// When the latest content was read.
    pub(crate) last: Option<Instant>,
    pub(crate) reading: Duration,
    /// In calls of sendfile that left nothing to send.
    pub(crate) by_kernel: Duration,
    pub(crate) hashing: Duration,
    /// Waiting for the requested rate.
    pub(crate) pausing: Duration,
    /// Whether it is a pipe or a device.
    pub(crate) is_stream: bool,
}
