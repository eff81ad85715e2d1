//! Whether a file can be stored under a path, found out before there is content.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyport_disk::At;
use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::file_path::FilePath;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::directory::Directory;

/// A path that a file can be stored under.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// How many directories it lacks.
    pub(crate) missing: u64,
    /// The escaped name of the entry that is found under its file name, if that is another name.
    pub(crate) stored_as: Option<String>,
}

/// Why nothing can be stored under a path.
#[derive(Debug)]
pub(crate) enum Impossible {
    /// A component above it is no directory: which one, and what it is.
    NotADirectory(String, &'static str),
    /// A directory above it is stored under another name: which one, and that name.
    StoredAs(String, String),
    /// It lies in another file system than the partial files, which could not be renamed to it.
    Elsewhere,
    /// What the file system said of it.
    Error(io::Error),
}

impl Directory {
    /// Checks whether a file can be stored as `path`.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn check_target(&self, path: &FilePath) -> Result<Target, Impossible> {
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
            if let Some(other) = stored_as(at, name).map_err(Impossible::Error)? {
                return Err(Impossible::StoredAs(shown(), other));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            above = Some(openat(at, *name, flags, Mode::empty())?.into());
        }
        let at = above.as_ref().unwrap_or_else(|| self.handle());
        // A name that this file system cannot have is an error here already.
        let stored_as = stored_as(at, path.file_name().as_bytes()).map_err(Impossible::Error)?;
        writable(at)?;
        Ok(Target { missing: 0, stored_as })
    }
}

/// Checks that the entry `name` of `directory` has exactly this name, if there is one.
///
/// # Errors
/// `AlreadyExists` with the name that it has, or what the kernel said.
pub(super) fn check_name(directory: &File, name: &[u8]) -> io::Result<()> {
    match stored_as(directory, name)? {
        None => Ok(()),
        Some(other) => {
            let message = not_distinguished(&escaped(name), &other);
            Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
        }
    }
}

/// Returns why `asked` cannot be stored beside `other`.
pub(crate) fn not_distinguished(asked: &str, other: &str) -> String {
    format!("{asked} exists as {other}: the file system does not distinguish these names")
}

fn stored_as(directory: &File, name: &[u8]) -> io::Result<Option<String>> {
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let other = anyport_disk::stored_as(At { directory: directory.as_fd(), name })?;
    Ok(other.map(|other| escaped(other.as_bytes())))
}

/// Whether files can be created in `directory`.
fn writable(directory: &File) -> Result<(), Impossible> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS)?)
}

impl From<Errno> for Impossible {
    fn from(error: Errno) -> Self {
        Self::Error(error.into())
    }
}
