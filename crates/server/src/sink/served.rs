//! The served directory as its path leads to it: removed, replaced and unmounted while the server runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx};

use super::directory::{Directory, Place, Settings};
use crate::config::Config;
use crate::live::Live;

/// The served directory. What is opened below it is reached from a handle, which is replaced where the path leads to another
/// directory.
#[derive(Debug)]
pub(crate) struct Served {
    path: PathBuf,
    /// A file system was mounted there at the start: without it nothing is stored into the directory below.
    is_mount: bool,
    settings: Settings,
    current: Arc<Live<Place>>,
}

impl Served {
    /// Opens the directory of `config`.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        let served = Self::look_at(config)?;
        if served.settings.stores_files {
            served.now().index_partials();
        }
        Ok(served)
    }

    /// The same without a look at its partial files, old ones of which would be removed.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn look_at(config: &Config) -> io::Result<Self> {
        let path = std::path::absolute(&config.directory)?;
        let place = Place::open(&path)?;
        let is_mount = is_mount(&path);
        let current = Arc::new(Live::new(place));
        Ok(Self { path, is_mount, settings: Settings::of(config), current })
    }

    /// The same directory under other settings.
    pub(crate) fn with(&self, config: &Config) -> Self {
        let (path, current) = (self.path.clone(), self.current.clone());
        Self { path, current, is_mount: self.is_mount, settings: Settings::of(config) }
    }

    /// The directory as it was found last, for as long as one transfer takes.
    pub(crate) fn now(&self) -> Arc<Directory> {
        Arc::new(Directory::new(self.current.now(), self.settings))
    }

    /// Follows the path to where it leads now.
    ///
    /// # Errors
    /// Why nothing can be stored or found there: it is gone, no directory any more, or not mounted.
    pub(crate) fn check(&self) -> io::Result<()> {
        // Peers read this too, and where the directory is does not concern them.
        let cannot = |why: String| io::Error::other(format!("the served directory {why}"));
        let there = match std::fs::metadata(&self.path) {
            Ok(there) => there,
            // The handle still serves where only the way to it was closed.
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
        let place = Place::open(&self.path)
            .map_err(|error| cannot(format!("cannot be opened: {error}")))?;
        tracing::warn!(path = %self.path.display(), "the served directory was replaced");
        self.current.replace(place);
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
        // Kernels before 5.8: a bind mount of the same file system is not seen.
        _ => {
            let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
            device(path) != device(&path.join(".."))
        }
    }
}

impl Place {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
        let handle: File = options.open(path)?;
        Self::new(handle)
    }
}
