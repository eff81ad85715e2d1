//! Files in both directions over raw TCP, WebSocket and bare frames, and their storage.
//!
//! - `compression` permessage-deflate, both roles
//! - `downloads` files that leave the server, and what must not
//! - `durability` what a receipt promises, and faults of disks
//! - `faults` one fault on every protocol, with one outcome
//! - `folding` names that a file system does not distinguish
//! - `interruptions` interrupted transfers; nothing is published
//! - `lookalikes` files that begin like something else, and bare frames that are some
//! - `matrix` each of our clients against each engine
//! - `names` what files are called, and what is said of those that have no way over
//! - `real_clients` tools that know nothing of anyport
//! - `refusals` mistakes of peers and users, and their errors
//! - `resuming` interrupted transfers resume
//! - `same_file` files that are there already, and sources that change while they are read
//! - `storage` storage backends and file systems
//! - `splicing` files that the kernel stores, without a digest

#![expect(clippy::unwrap_used, reason = "tests")]

mod compression;
mod downloads;
mod durability;
mod faults;
mod folding;
mod interruptions;
mod lookalikes;
mod matrix;
mod names;
mod real_clients;
mod refusals;
mod resuming;
mod same_file;
mod splicing;
mod storage;
