//! A file on its way to a local path: the client's partial file, hidden beside its target.
//!
//! A partial file `.anyport-<origin>-<version>.part` remains after an interruption. A source that
//! changed has another version, so content of two versions is never combined, and two processes
//! never write to one file. One that no later attempt resumes has no name until it is complete
//! (`O_TMPFILE`), so nothing of it remains after a crash.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_name::{FileName, escaped};
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::OnExists;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};

use crate::disk::{self, At, Lock};
use crate::hidden::{Hidden, set_mode, set_modified};
use crate::key::VersionKey;
use crate::{beneath, hashing};

/// A file on its way to a local path.
///
/// Dropped, its content remains for a later attempt, if it has a key.
#[derive(Debug)]
pub struct LocalFile {
    hidden: Hidden,
    target: PathBuf,
}

/// A file that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its path.
    pub path: PathBuf,
    /// The time in which the disk was waited for: fsync of the file and of its directory.
    pub syncing: Duration,
}

/// The reason why a file cannot be stored at a local path.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process is receiving the same file.
    #[error("another process is receiving {path}", path = .0.display())]
    Busy(PathBuf),
    /// Another file has the name.
    #[error("cannot store {path}: a different file exists there", path = .0.display())]
    Exists(PathBuf),
    /// The entry there is not a regular file: its type.
    #[error("cannot replace {path}: it is {1}", path = .0.display())]
    NotReplaced(PathBuf, &'static str),
    /// The file system does not distinguish the name from that of another entry: its escaped name.
    #[error(
        "{path} exists as {1}: the file system does not distinguish these names",
        path = .0.display()
    )]
    StoredAs(PathBuf, String),
    /// The error of an operation on a path.
    #[error("cannot {0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
}

impl LocalFile {
    /// Opens the partial file of `key` for `target`, with the content of an earlier attempt if that
    /// is not longer than `size`, and removes those of other versions.
    ///
    /// # Errors
    /// [`LocalError::Busy`], or the error of the file system.
    pub fn open(
        key: &VersionKey,
        target: &Path,
        size: Option<u64>,
        mode: Option<u32>,
    ) -> Result<Self, LocalError> {
        let folder = open_folder(target)?;
        remove_other_versions(&folder, key);
        let path = folder_of(target).join(key.partial_name());
        let (hidden, lock) = match Hidden::open(&folder, key.partial_name(), mode) {
            Ok(opened) => opened,
            // Content of another user is not resumed, and no reason not to receive the file.
            Err(error) if path.symlink_metadata().is_ok() => {
                tracing::warn!(path = %path.display(), %error, "partial file not used");
                return Self::fresh(target, mode);
            }
            Err(error) => return Err(LocalError::Io("open", path, error)),
        };
        // Without locks the user must not receive one file twice at the same time.
        if lock == Lock::Held {
            return Err(LocalError::Busy(target.to_owned()));
        }
        let metadata = hidden.file.metadata();
        if !metadata.map_err(|error| LocalError::Io("stat", path.clone(), error))?.is_file() {
            return Err(LocalError::Io("use", path, io::Error::other("not a regular file")));
        }
        let mut file = Self { hidden, target: target.to_owned() };
        if size.is_none_or(|size| file.length() > size) {
            file.truncate()?;
        }
        Ok(file)
    }

    /// Creates a file for `target` that no attempt resumes.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn fresh(target: &Path, mode: Option<u32>) -> Result<Self, LocalError> {
        let folder = open_folder(target)?;
        let hidden = Hidden::unnamed(&folder, mode).map_or_else(
            || {
                Hidden::create(&folder, mode)
                    .map_err(|error| LocalError::Io("create", target.to_owned(), error))
            },
            Ok,
        )?;
        Ok(Self { hidden, target: target.to_owned() })
    }

    /// Returns the length of the content.
    pub const fn length(&self) -> u64 {
        self.hidden.length
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LocalError> {
        self.hidden.write(bytes).map_err(|error| self.failed("write to", error))
    }

    /// Returns the file and the position for spliced content.
    pub const fn splice_target(&self) -> (&Arc<File>, u64) {
        (&self.hidden.file, self.hidden.length)
    }

    /// Records that `count` bytes were spliced.
    pub const fn spliced(&mut self, count: u64) {
        self.hidden.length += count;
    }

    /// Hashes the content.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn digest(&self, algorithm: Algorithm) -> Result<Option<Digest>, LocalError> {
        hashing::digest(&self.hidden.file, self.hidden.length, algorithm, || false)
            .map_err(|error| self.failed("read", error))
    }

    /// Removes all content.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn truncate(&mut self) -> Result<(), LocalError> {
        self.hidden.truncate(0).map_err(|error| self.failed("truncate", error))
    }

    /// Removes the file.
    pub fn discard(self) {
        if let Some(name) = &self.hidden.name {
            let _ = unlinkat(&self.hidden.directory, name.as_str(), AtFlags::empty());
        }
    }

    /// Makes the file durable and visible, with these permissions and time.
    ///
    /// # Errors
    /// The name is taken and `on_exists` does not allow another one, or the error of the file
    /// system.
    pub fn publish(
        self,
        mode: Option<u32>,
        mtime: Option<FileTime>,
        on_exists: OnExists,
    ) -> Result<Published, LocalError> {
        let file = &self.hidden.file;
        let set = mode.map_or(Ok(()), |mode| set_mode(file, mode));
        warn_once(&MODES, "cannot set the permissions of received files", set);
        let set = mtime.map_or(Ok(()), |mtime| set_modified(file, mtime));
        warn_once(&TIMES, "cannot set the times of received files", set);
        let began = Instant::now();
        disk::sync(file).map_err(|error| self.failed("sync", error))?;
        let mut syncing = began.elapsed();
        let path = self.rename(on_exists)?;
        let began = Instant::now();
        // The file is complete and has its name, so an error is none of the transfer.
        let synced = readable(&self.hidden.directory).and_then(disk::sync).map(drop);
        let consequence = "cannot sync the directory: received files may be lost in a crash";
        warn_once(&SYNCS, consequence, synced);
        syncing += began.elapsed();
        Ok(Published { path, syncing })
    }

    fn rename(&self, on_exists: OnExists) -> Result<PathBuf, LocalError> {
        let into = self.hidden.directory.as_fd();
        let name = self.target.file_name();
        let name = name.and_then(|name| FileName::exact(name.as_encoded_bytes()).ok());
        let named = |number: Option<u32>| match (number, &name) {
            (None, _) => Ok(self.target.clone()),
            (Some(number), Some(name)) => Ok(folder_of(&self.target).join(name.numbered(number))),
            (Some(_), None) => Err(io::ErrorKind::AlreadyExists.into()),
        };
        match self.hidden.rename(into, on_exists, named) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.failed("rename", error))
            }
            Err(_) if on_exists == OnExists::Overwrite => {
                check_replaceable(&self.target)?;
                let replaced = self.hidden.replace(into, &self.target);
                replaced.map_err(|error| self.failed("rename", error))?;
                Ok(self.target.clone())
            }
            Err(_) => Err(LocalError::Exists(self.target.clone())),
            Ok(path) => Ok(path),
        }
    }

    fn failed(&self, what: &'static str, error: io::Error) -> LocalError {
        let path = match &self.hidden.name {
            Some(name) => folder_of(&self.target).join(name),
            None => self.target.clone(),
        };
        LocalError::Io(what, path, error)
    }
}

/// Opens the local file at `target` and returns its time, if it is a regular file of `size` bytes;
/// links are followed.
pub fn present(target: &Path, size: u64) -> Option<(File, FileTime)> {
    // Opening a FIFO must not wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(target).ok()?;
    let attributes = beneath::attributes_of(&file).ok()?;
    let same_size = file.metadata().ok()?.is_file() && attributes.size == size;
    same_size.then_some((file, attributes.mtime))
}

/// Checks that the entry at `target`, if there is one, is a regular file of exactly this name.
///
/// # Errors
/// [`LocalError::NotReplaced`], and as [`check_name`].
pub fn check_replaceable(target: &Path) -> Result<(), LocalError> {
    check_name(target)?;
    let Ok(metadata) = std::fs::symlink_metadata(target) else { return Ok(()) };
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(LocalError::NotReplaced(target.to_owned(), what))
}

/// Checks that the entry at `target`, if there is one, has exactly this name.
///
/// # Errors
/// [`LocalError::StoredAs`], or the error of the file system.
pub fn check_name(target: &Path) -> Result<(), LocalError> {
    let path = target.to_owned();
    match disk::stored_as(At { directory: CWD, name: target }) {
        Ok(None) => Ok(()),
        Ok(Some(other)) => Err(LocalError::StoredAs(path, escaped(other.as_bytes()))),
        Err(error) => Err(LocalError::Io("stat", path, error)),
    }
}

/// Removes partial files of the same source that changed since: no attempt resumes them.
fn remove_other_versions(folder: &File, key: &VersionKey) {
    let Ok(entries) = readable(folder).and_then(|folder| Ok(Dir::new(folder)?)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_ok_and(|name| key.is_other_version(name)) {
            let _ = unlinkat(folder, entry.file_name(), AtFlags::empty());
        }
    }
}

/// The directory of a path; a bare name is in the current one.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn open_folder(target: &Path) -> Result<Arc<File>, LocalError> {
    let folder = folder_of(target);
    // A directory that may be written to and not read can be opened this way.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, folder, flags, Mode::empty()) {
        Ok(opened) => Ok(Arc::new(opened.into())),
        Err(error) => Err(LocalError::Io("open", folder.to_owned(), error.into())),
    }
}

/// The same directory for reading and syncing.
fn readable(folder: &File) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(folder, c".", flags, Mode::empty())?)
}

/// Logs once for all files which feature their file system lacks.
fn warn_once(once: &Once, what: &'static str, done: io::Result<()>) {
    if let Err(error) = done {
        once.call_once(|| tracing::warn!(%error, "{what}"));
    }
}

static MODES: Once = Once::new();
static TIMES: Once = Once::new();
static SYNCS: Once = Once::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// As on a file system that has no files without a name.
    fn named(target: &Path, mode: Option<u32>) -> Result<LocalFile, LocalError> {
        let hidden = Hidden::create(&open_folder(target)?, mode).unwrap();
        Ok(LocalFile { hidden, target: target.to_owned() })
    }

    /// With a name and without one, as file systems differ.
    #[test]
    fn a_fresh_part_is_published_whatever_is_there_already() {
        for begin in [named, LocalFile::fresh] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("taken");
            let part = |content: &[u8]| {
                let mut part = begin(&target, None).unwrap();
                part.write(content).unwrap();
                part
            };
            part(b"given up").discard();
            assert_eq!(names(folder.path()), [""; 0]);
            let published = |content, on_exists| {
                part(content).publish(None, None, on_exists).map(|published| published.path)
            };
            assert_eq!(published(b"first", OnExists::Error).unwrap(), target);
            let refused = published(b"second", OnExists::Error);
            assert!(matches!(refused, Err(LocalError::Exists(_))), "{refused:?}");
            assert_eq!(std::fs::read(&target).unwrap(), b"first");
            let beside = published(b"third", OnExists::Rename).unwrap();
            assert_eq!(std::fs::read(beside).unwrap(), b"third");
            assert_eq!(published(b"fourth", OnExists::Overwrite).unwrap(), target);
            assert_eq!(std::fs::read(&target).unwrap(), b"fourth");
            let shown = names(folder.path()).into_iter().filter(|name| !name.starts_with('.'));
            assert_eq!(shown.count(), 2);
        }
    }

    #[test]
    fn partial_files_are_resumed_in_one_version_and_removed_in_others() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let path = anyport_proto::transfer::file_path::FilePath::parse("x").unwrap();
        let key = |size| VersionKey::new("host", &path, &target, Some(size), None, None);
        let open = |size| LocalFile::open(&key(size), &target, Some(size), None);
        let mut file = open(9).unwrap();
        file.write(b"half").unwrap();
        assert!(matches!(open(9), Err(LocalError::Busy(_))));
        drop(file);
        assert_eq!(open(9).unwrap().length(), 4);
        assert_eq!(open(8).unwrap().length(), 0);
        assert_eq!(names(folder.path()), [key(8).partial_name()]);
    }

    #[test]
    fn a_fresh_part_is_not_seen_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        if Hidden::unnamed(&open_folder(&target).unwrap(), None).is_none() {
            return;
        }
        let mut part = LocalFile::fresh(&target, None).unwrap();
        part.write(b"half").unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
