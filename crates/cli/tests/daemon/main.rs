//! The server as a process: settings, signals, drain, logs, metrics, systemd.
//!
//! - `closing` how a connection ends, and what is answered until then
//! - `config` settings from a file and the environment, and what tells of them
//! - `daemon` a server in the background: its log, its pid file, and its control socket
//! - `drain` clients of a stopping server
//! - `listeners` what is set for one listener alone
//! - `logs` what is said of each connection at its end
//! - `metrics` what is counted, as Prometheus reads it
//! - `reload` new settings for a server that runs
//! - `serving` one process for many clients, starting and stopping
//! - `standard_streams` what a process inherits: streams, ignored signals, an environment
//! - `systemd` messages to a service manager, and its sockets
//! - `trace_failures` refusals, failures and lost connections in such traces
//! - `trace_routes` what no route leaves in a trace
//! - `traces` a trace of each connection in a directory

#![expect(clippy::unwrap_used, reason = "tests")]

mod closing;
mod config;
mod daemon;
mod drain;
mod listeners;
mod logs;
mod metrics;
mod reload;
mod serving;
mod standard_streams;
mod systemd;
mod trace_failures;
mod trace_routes;
mod traces;
