//! The file store of anyport's server and client.
//!
//! A file is hidden until it is complete:
//!
//! ```text
//!   .anyport-<key>.part ──write──► checked ──fsync──► rename ──fsync directory──► stored
//!          ▲      │
//!          │      └─interrupted─► kept, with checkpoints of its digest in .anyport-<key>.state
//!          └──────────resume──────┘      └─too old, or beyond the limits─► removed
//! ```
//!
//! - [`Store`]: the served directory, which may be replaced or unmounted while it is served
//! - [`Directory`]: the same as one transfer sees it
//! - [`Sink`]: content on its way into a storage backend
//! - [`LocalFile`]: a file on its way to a local path, which the client receives
//! - [`hashing`]: digests of stored content
//! - [`beneath`]: opening and listing stored files, never outside of the directory
//! - [`usage_below`]: the space and the number of all entries
//! - [`disk`]: differences between file systems

#![forbid(unsafe_code)]

pub mod beneath;
pub mod digest_cache;
pub mod disk;
pub mod hashing;

mod directory;
mod hidden;
mod index;
mod key;
mod local;
mod memory;
mod names;
mod partial;
mod sink;
mod state;
mod store;
mod target;
mod usage;

pub use directory::{Directory, Present, Settings};
pub use hidden::set_modified;
pub use key::{TransferKey, VersionKey};
pub use local::{LocalError, LocalFile, check_name, check_replaceable, present};
pub use memory::{Memory, Reserve};
pub use names::not_distinguished;
pub use partial::{PartialFile, set_time};
pub use sink::{Sink, Stored};
pub use store::Store;

pub use target::{Impossible, Target};
pub use usage::{Usage, in_blocks, usage_below};
