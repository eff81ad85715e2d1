//! What every transport of a download shares: the facts of a file, and the sink of its content.

use std::fs::File;
use std::sync::Arc;

use anyport_proto::transfer::download::{Entry, FileHead};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;

use crate::error::Error;

/// What is known of a file on the server. Ours says all of it, other servers what they like.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) name: FilePath,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<FileTime>,
    pub(super) mode: Option<u32>,
    /// What tells its versions apart beside these: an entity tag, or a date as it came.
    pub(super) tag: Option<String>,
}

impl Facts {
    /// Nothing but its name.
    pub(super) const fn named(name: FilePath) -> Self {
        Self { name, size: None, mtime: None, mode: None, tag: None }
    }

    /// Whether these may be of one version, as far as both say.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        same(self.size.as_ref(), other.size.as_ref())
            && self.mtime.zip(other.mtime).is_none_or(|(one, other)| one.may_equal(other))
            && same(self.tag.as_ref(), other.tag.as_ref())
    }
}

impl From<Entry> for Facts {
    fn from(entry: Entry) -> Self {
        let Entry { name, size, mtime, mode, .. } = entry;
        let size = Some(size.unwrap_or_default());
        Self { name, size, mtime: Some(mtime), mode: Some(mode), tag: None }
    }
}

impl From<FileHead> for Facts {
    fn from(head: FileHead) -> Self {
        let FileHead { name, size, mtime, mode, .. } = head;
        Self { name, size: Some(size), mtime: Some(mtime), mode: Some(mode), tag: None }
    }
}

/// Takes content as it comes.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// The file, and the place in it, that the next bytes may be put into without being looked at.
    fn place(&self) -> Option<(&Arc<File>, u64)> {
        None
    }

    /// So many bytes were put there.
    fn put(&mut self, count: u64) {
        let _ = count;
    }
}

/// A server that lists without an end must not fill our memory.
pub(super) const MOST_ENTRIES: u64 = 1_000_000;
