//! One file a command.

pub(crate) mod send;
pub(crate) mod serve;
