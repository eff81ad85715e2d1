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
//! - [`Content`], [`Listing`]: reading and listing stored files, never outside of the directory
//! - [`disk`]: differences between file systems
//!
//! ```
//! use anyport_proto::transfer::file_path::FilePath;
//! use anyport_proto::transfer::offer::{Offer, OnExists};
//! use anyport_store::{Settings, Sink, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let store = Store::open(folder.path(), Settings::default())?;
//! let mut sink = Sink::File(store.now().create_partial(None)?);
//! sink.write(b"content")?;
//! let path = FilePath::parse("notes.txt")?;
//! let stored = sink.finish(&path, &Offer::default(), OnExists::Error, None)?;
//! assert_eq!(stored.path, Some(path));
//! assert_eq!(std::fs::read(folder.path().join("notes.txt"))?, b"content");
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

pub mod disk;
pub mod hashing;

mod beneath;
mod digest_cache;
mod directory;
mod hidden;
mod index;
mod key;
mod listing;
mod local;
mod memory;
mod names;
mod partial;
mod quota;
mod root;
mod sink;
mod state;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod usage;

pub use beneath::{Attributes, Content, Found, Kind};
pub use directory::{Directory, Settings};
pub use hidden::set_modified;
pub use key::{TransferKey, VersionKey};
pub use listing::{ListError, Listing};
pub use local::{LocalError, LocalFile, check_name, check_replaceable, present};
pub use memory::{Memory, Reserve};
pub use names::not_distinguished;
pub use partial::PartialFile;
pub use quota::{Full, StoreError};
pub use sink::{Sink, Stored};
pub use store::Store;
pub use target::{Impossible, Target};
pub use usage::{Excess, Usage};
