#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod disk;
pub mod hashing;

mod beneath;
mod changes;
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
mod shares;
mod sink;
mod state;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod usage;

pub use beneath::{Attributes, Content, Found, Kind};
pub use changes::{Renaming, Unchanged};
pub use directory::{Directory, SavedUpload, Settings};
pub use hidden::set_modified;
pub use key::{SourceKey, TransferKey, VersionKey};
pub use listing::{ListError, Listing};
pub use local::{LocalError, LocalFile, Published, check_name, check_replaceable, present};
pub use memory::{Memory, Reserve};
pub use names::not_distinguished;
pub use partial::PartialFile;
pub use quota::{Full, StoreError};
pub use shares::SharesFile;
pub use sink::{Fsync, Sink, SinkKind, Stored};
pub use state::Announced;
pub use store::Store;
pub use target::{Impossible, Target};
pub use usage::{Excess, Usage};
