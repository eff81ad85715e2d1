//! The description of a remote file and the sink of its content, which every transport uses.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyport_proto::transfer::download::{Entry, FileHead};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;

use crate::error::Error;

/// The description of a remote file. An anyport server sends all of it, other servers a part.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub(super) name: FilePath,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<FileTime>,
    pub(super) mode: Option<u32>,
    /// A further validator: an entity tag, or a date as it was sent.
    pub(super) tag: Option<String>,
}

impl RemoteFile {
    /// Returns the description of a file of which only the name is known.
    pub(super) const fn named(name: FilePath) -> Self {
        Self { name, size: None, mtime: None, mode: None, tag: None }
    }

    /// Returns whether both may describe one version.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        same(self.size.as_ref(), other.size.as_ref())
            && self.mtime.zip(other.mtime).is_none_or(|(one, other)| one.may_equal(other))
            && same(self.tag.as_ref(), other.tag.as_ref())
    }
}

impl From<Entry> for RemoteFile {
    fn from(entry: Entry) -> Self {
        let Entry { name, size, mtime, mode, .. } = entry;
        let size = Some(size.unwrap_or_default());
        Self { name, size, mtime: Some(mtime), mode: Some(mode), tag: None }
    }
}

impl From<FileHead> for RemoteFile {
    fn from(head: FileHead) -> Self {
        let FileHead { name, size, mtime, mode, .. } = head;
        Self { name, size: Some(size), mtime: Some(mtime), mode: Some(mode), tag: None }
    }
}

/// A receiver of content.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Records a pause for the requested rate.
    fn paused(&mut self, _: Duration) {}

    /// Returns the file, and the offset in it, that the kernel may write the next bytes to.
    fn splice_target(&self) -> Option<(&Arc<File>, u64)> {
        None
    }

    /// Records that the kernel wrote `count` bytes there.
    fn put(&mut self, count: u64) {
        let _ = count;
    }
}

/// Maximum number of entries of one listing, which would otherwise fill the memory.
pub(super) const MOST_ENTRIES: u64 = 1_000_000;
