//! Commands as users type them: addresses, errors, help, documents, bench.
//!
//! - `addresses` hosts, ports and paths as people type them
//! - `banner` what `serve` prints at its start, run as it is printed
//! - `bench` the comparison, its outputs, and what it does when a part of it fails
//! - `bench_rooms` `bench rooms`: its rows and faults
//! - `doc_examples` the commands of docs/, and the output that its pages show
//! - `for_people` receipts, listings, the progress bar, and Ctrl-C
//! - `injection` control characters in names and messages
//! - `manuals` manual pages and completions, as man and shells take them
//! - `probe` what a port speaks, and why it does not work
//! - `probe_under_tls` the same of ports that speak TLS
//! - `probe_unix` the same of Unix sockets
//! - `readme` the commands of README.md, as a newcomer types them
//! - `release` `--version`, and what `scripts/release` refuses
//! - `resolve` what names stand for
//! - `trace` what a trace has of each scheme, its outputs, and that its command is as without it
//! - `trace_ends` how traces of failed and interrupted commands end, with which outputs
//! - `trace_syn` the SYN that a server reports to a traced command
//! - `wrong_inputs` wrong flags, URLs and files, and their errors

#![expect(clippy::unwrap_used, reason = "tests")]

mod addresses;
mod banner;
mod bench;
mod bench_rooms;
mod doc_examples;
mod for_people;
mod injection;
mod manuals;
mod probe;
mod probe_under_tls;
mod probe_unix;
mod readme;
mod release;
mod resolve;
mod trace;
mod trace_ends;
mod trace_syn;
mod wrong_inputs;
