//! An open directory and the index of its partial files.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::OFlags;

use crate::disk::NameComparison;
use crate::index::{Partials, Sources};

/// A directory that is open, and the index of its partial files. All paths are resolved from the
/// handle.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) handle: Arc<File>,
    pub(crate) device: u64,
    /// Size of a block of its file system, in bytes.
    pub(crate) block: u64,
    /// Size of its file system, in bytes.
    pub(crate) capacity: u64,
    pub(crate) partials: Partials,
    pub(crate) sources: Sources,
    pub(crate) names: NameComparison,
    /// Held while an entry is removed, renamed or replaced, so that it is the one that was checked.
    changing: Mutex<()>,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let handle = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let device = rustix::fs::fstat(&handle)?.st_dev;
        let (block, capacity) = match rustix::fs::fstatvfs(&handle) {
            Ok(stat) => (stat.f_frsize.max(1), stat.f_blocks.saturating_mul(stat.f_frsize)),
            Err(_) => (USUAL_BLOCK, u64::MAX),
        };
        let (partials, sources) = (Partials::default(), Sources::default());
        let (handle, names) = (Arc::new(handle), NameComparison::default());
        let changing = Mutex::default();
        Ok(Self { handle, device, block, capacity, partials, sources, names, changing })
    }

    /// Excludes other changes of this process to entries that exist.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether it is the directory that `found` describes.
    pub(crate) fn is(&self, found: &Metadata) -> bool {
        let ours = self.handle.metadata();
        ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
}

/// The directory that a path leads to; transfers keep the one that they began with.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Root>>);

impl Current {
    pub(crate) fn new(root: Root) -> Self {
        Self(RwLock::new(Arc::new(root)))
    }

    pub(crate) fn now(&self) -> Arc<Root> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, root: Root) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(root);
    }
}

/// Size of a block where the file system does not report it.
const USUAL_BLOCK: u64 = 4096;
