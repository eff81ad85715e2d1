//! The served directory by its path, which may be removed, replaced and unmounted while it is
//! served.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx};

use crate::directory::{Directory, Root, Settings};

/// The served directory. Files are opened relative to a handle, which is replaced when the path
/// leads to another directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Whether a file system was mounted there at the start; nothing is stored below its mount
    /// point.
    is_mount: bool,
    settings: Settings,
    current: Arc<RwLock<Arc<Root>>>,
}

impl Store {
    /// Opens the directory at `path`, and removes its old partial files.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open(path: &Path, settings: Settings) -> io::Result<Self> {
        let store = Self::inspect(path, settings)?;
        if store.settings.stores_files {
            store.now().index_partials();
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
        let current = Arc::new(RwLock::new(Arc::new(root)));
        Ok(Self { path, is_mount, settings, current })
    }

    /// Returns the same directory with other settings.
    #[must_use]
    pub fn with(&self, settings: Settings) -> Self {
        let (path, current) = (self.path.clone(), self.current.clone());
        Self { path, current, is_mount: self.is_mount, settings }
    }

    /// Returns the directory that was found last, for one transfer.
    pub fn now(&self) -> Arc<Directory> {
        Arc::new(Directory::new(self.root(), self.settings))
    }

    fn root(&self) -> Arc<Root> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        if self.root().is(&there) {
            return Ok(());
        }
        if self.is_mount && !is_mount(&self.path) {
            return Err(cannot("is not mounted".to_owned()));
        }
        let root =
            Root::open(&self.path).map_err(|error| cannot(format!("cannot be opened: {error}")))?;
        tracing::warn!(path = %self.path.display(), "the served directory was replaced");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(root);
        if self.settings.stores_files {
            self.now().index_partials();
        }
        Ok(())
    }
}

/// Whether a file system is mounted at `path`.
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

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
        let handle: File = options.open(path)?;
        Self::new(handle)
    }
}
