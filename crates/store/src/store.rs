//! The served directory by its path, which may be removed, replaced and unmounted while it is
//! served.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::directory::{Directory, Settings};
use crate::quota::Quota;
use crate::root::{Current, Root};
use crate::usage::{Excess, usage_below};

/// The served directory.
///
/// Files are opened relative to a handle, which is replaced when the path leads to another
/// directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Whether a file system was mounted there at the start; nothing is stored below its mount
    /// point.
    is_mount: bool,
    settings: Settings,
    current: Arc<Current>,
    /// `None` without a limit: then nothing is counted.
    quota: Option<Arc<Quota>>,
}

impl Store {
    /// Opens the directory at `path`, removes its old partial files, and counts its entries if
    /// there is a quota.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open(path: &Path, settings: Settings) -> io::Result<Self> {
        let mut store = Self::inspect(path, settings)?;
        if settings.stores_files {
            store.now().index_partials();
            let quota = |limit| Arc::new(Quota::open(limit, store.current.clone()));
            store.quota = settings.quota.map(quota);
        }
        Ok(store)
    }

    /// Opens the directory at `path`, and changes nothing.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn inspect(path: &Path, settings: Settings) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let root = Root::open(&path)?;
        let is_mount = is_mount(&path);
        let current = Arc::new(Current::new(root));
        Ok(Self { path, is_mount, settings, current, quota: None })
    }

    /// Returns the same directory with other settings; partial files and claims are shared.
    ///
    /// A quota changes only where there was one.
    #[must_use]
    pub fn with(&self, settings: Settings) -> Self {
        if let (Some(quota), Some(limit)) = (&self.quota, settings.quota) {
            quota.set_limit(limit);
        }
        let Self { path, current, is_mount, quota, .. } = self;
        let (path, current, quota) = (path.clone(), current.clone(), quota.clone());
        Self { path, is_mount: *is_mount, settings, current, quota }
    }

    /// Returns the bytes of the quota that are free; `u64::MAX` without one.
    pub fn free_quota(&self) -> u64 {
        self.quota.as_ref().map_or(u64::MAX, |quota| quota.free())
    }

    /// Returns the limit of the quota that the stored files exceed already.
    pub fn excess(&self) -> Option<Excess> {
        match (&self.quota, self.settings.quota) {
            (Some(quota), _) => quota.excess(),
            (None, Some(limit)) => {
                usage_below(&self.current.now(), &|_| false, limit.entries).excess(limit)
            }
            (None, None) => None,
        }
    }

    /// Returns the directory that was found last, for one transfer.
    pub fn now(&self) -> Arc<Directory> {
        Arc::new(Directory::new(self.current.now(), self.settings, self.quota.clone()))
    }

    /// Resolves the path again, and opens the directory there if it is another one.
    ///
    /// # Errors
    /// The reason why nothing can be stored or found there: it is gone, no directory, or not
    /// mounted.
    pub fn check(&self) -> io::Result<()> {
        // Clients read this too, and the path does not concern them.
        let cannot = |why: String| io::Error::other(format!("the served directory {why}"));
        let there = match std::fs::metadata(&self.path) {
            Ok(there) => there,
            // The handle still works.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(cannot("is gone".to_owned()));
            }
            Err(error) => return Err(cannot(format!("cannot be reached: {error}"))),
        };
        if self.current.now().is(&there) {
            return Ok(());
        }
        if self.is_mount && !is_mount(&self.path) {
            return Err(cannot("is not mounted".to_owned()));
        }
        let root =
            Root::open(&self.path).map_err(|error| cannot(format!("cannot be opened: {error}")))?;
        tracing::warn!(path = %self.path.display(), "the served directory was replaced");
        self.current.replace(root);
        if self.settings.stores_files {
            self.now().index_partials();
        }
        Ok(())
    }
}

/// Returns whether a file system is mounted at `path`.
fn is_mount(path: &Path) -> bool {
    let attributes = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    match attributes {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        // Kernels before 5.8: a bind mount of the same file system is not recognized.
        _ => {
            let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
            device(path) != device(&path.join(".."))
        }
    }
}
