//! Checks whether a file can be stored under a path, before there is content.

use std::fs::File;
use std::io;

use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::file_path::FilePath;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::directory::Directory;

/// A path that a file can be stored under.
#[derive(Debug, Default)]
pub struct Target {
    /// The number of missing directories above it.
    pub missing: u64,
    /// The escaped name of the entry that is found under its file name, if that is another name.
    pub stored_as: Option<String>,
}

/// The reason why nothing can be stored under a path.
#[derive(Debug)]
pub enum Impossible {
    /// A component above it is no directory: its path and its type.
    NotADirectory(String, &'static str),
    /// A directory above it is stored under another name: its path and that name.
    StoredAs(String, String),
    /// It is on another file system than the partial files, so none could be renamed to it.
    Elsewhere,
    /// The error of the file system.
    Error(io::Error),
}

impl Directory {
    /// Checks whether a file can be stored as `path`.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check_target(&self, path: &FilePath) -> Result<Target, Impossible> {
        let parent = path.parent();
        let mut above: Option<File> = None;
        let mut so_far = Vec::new();
        let components: Vec<&[u8]> = parent.iter().flat_map(FilePath::components).collect();
        for (depth, name) in components.iter().enumerate() {
            let at = above.as_ref().unwrap_or_else(|| self.handle());
            so_far.push(*name);
            let shown = || escaped(&so_far.join(&b'/'));
            let stat = match statat(at, *name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {
                    writable(at)?;
                    let missing = (components.len() - depth) as u64;
                    return Ok(Target { missing, stored_as: None });
                }
                stat => stat?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if stat.st_dev != self.device() => {
                    return Err(Impossible::Elsewhere);
                }
                FileType::Directory => {}
                FileType::Symlink => {
                    return Err(Impossible::NotADirectory(shown(), "a symbolic link"));
                }
                _ => return Err(Impossible::NotADirectory(shown(), "not a directory")),
            }
            if let Some(other) = self.stored_as(above.as_ref(), name).map_err(Impossible::Error)? {
                return Err(Impossible::StoredAs(shown(), other));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            above = Some(openat(at, *name, flags, Mode::empty())?.into());
        }
        let at = above.as_ref().unwrap_or_else(|| self.handle());
        // A name that this file system cannot have is an error here already.
        let stored_as = self.stored_as(above.as_ref(), path.file_name().as_bytes());
        let stored_as = stored_as.map_err(Impossible::Error)?;
        writable(at)?;
        Ok(Target { missing: 0, stored_as })
    }
}

/// Returns whether files can be created in `directory`.
fn writable(directory: &File) -> Result<(), Impossible> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS)?)
}

impl From<Errno> for Impossible {
    fn from(error: Errno) -> Self {
        Self::Error(error.into())
    }
}
