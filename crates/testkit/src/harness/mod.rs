//! Drives the real program over real sockets and files: what every integration test of the command
//! line is written with.
//!
//! Needs the feature `harness`, so that the unit tests of a library crate do not build its
//! dependencies. A test starts a [`Server`] on a free port, drives it with [`anyport`], with a
//! third-party program ([`peer`]) or with bytes of its own ([`wire`], [`http2`], [`tls`]), and
//! waits for events of the server ([`Server::next_event`]) or for a condition ([`wait_until`]),
//! never for a length of time.
//!
//! Modules from the bottom to the top: [`waiting`] and [`files`], [`process`], [`program`], bytes
//! on sockets ([`wire`], [`deflate`]), [`server`], and above it one module for each subject that
//! several test binaries share.

#![expect(clippy::unwrap_used, reason = "a panic fails the test, at the line that is shown")]

pub mod deflate;
pub mod files;
pub mod folding_disk;
pub mod http;
pub mod http2;
pub mod pipe;
pub mod probe;
pub mod process;
pub mod program;
pub mod proxies;
pub mod python;
pub mod rooms;
pub mod sandbox;
pub mod screen;
pub mod server;
pub mod tls;
pub mod tokens;
pub mod traces;
pub mod tracing;
pub mod waiting;
pub mod wire;

pub use files::{Sample, SmallDisk, assert_same_bytes, blake3};
pub use process::{Outcome, Running, lines, node_with, peer, python_with, signal};
pub use program::{
    announcement, anyport, anyport_command, anyport_with_input, engines, program, program_path,
    start, state_home,
};
pub use server::{Expected, Server};
pub use waiting::{DEADLINE, has_ipv6, skip, wait_until};
