//! Basics that the commands of anyport share: exit codes, failures with hints, output that a peer
//! cannot abuse, and values of the command line.
//!
//! The feature `library-engine`, on by default, accepts `--engine library`.

#![forbid(unsafe_code)]

pub mod choices;
mod exit;
mod failure;
mod print;
pub mod values;

pub use anyport_proto::one_line::reason;
pub use anyport_proto::transfer::receipt::Engine;
pub use anyport_store::{Fsync, SinkKind};
pub use exit::Exit;
pub use failure::Failure;
pub use print::{
    json_to_stdout, lines_to_stdout, print_failure, stdout, to_stderr, to_stdout, write_stdout,
};
