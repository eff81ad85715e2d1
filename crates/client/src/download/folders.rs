//! Local directories that received files are stored in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyport_store::check_name;

use super::Destination;
use crate::error::Error;
use crate::target::Scope;

/// The directories of one download.
pub(super) struct Folders {
    /// Named by the user; names below it are the server's.
    root: PathBuf,
    /// Known to have exactly their names.
    checked: HashSet<PathBuf>,
}

impl Folders {
    pub(super) fn new(asked: &Scope, into: &Destination) -> Self {
        let root = match into {
            Destination::File(path) if !asked.is_directory() => {
                path.parent().map_or_else(PathBuf::new, Path::to_owned)
            }
            Destination::File(path) | Destination::Directory(path) => path.clone(),
        };
        Self { root, checked: HashSet::new() }
    }

    /// Creates `path` and the directories above it. A directory with the name of another one, as
    /// the file system compares names, is not used instead.
    pub(super) fn create(&mut self, path: &Path) -> Result<(), Error> {
        let below = path.ancestors().take_while(|above| *above != self.root);
        let unchecked: Vec<&Path> = below.filter(|path| !self.checked.contains(*path)).collect();
        for path in unchecked.iter().rev() {
            check_name(path)?;
        }
        std::fs::create_dir_all(path)
            .map_err(|error| Error::local("create the directory", path, error))?;
        self.checked.extend(unchecked.into_iter().map(Path::to_owned));
        Ok(())
    }
}
