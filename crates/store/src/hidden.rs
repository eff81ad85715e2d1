//! A hidden file in a directory, until it is renamed: what partial files of server and client have
//! in common.

use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::OnExists;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::disk::{self, At, Lock};
use crate::names;

/// A hidden file, locked where the file system has locks.
#[derive(Debug)]
pub(crate) struct Hidden {
    pub(crate) directory: Arc<File>,
    pub(crate) file: Arc<File>,
    /// `None` where it never had a name, and once it is no longer hidden.
    pub(crate) name: Option<String>,
    /// Length, and the position of the next write.
    pub(crate) length: u64,
}

impl Hidden {
    /// Creates a file that no other attempt opens.
    pub(crate) fn create(directory: &Arc<File>, mode: Option<u32>) -> io::Result<Self> {
        let name = names::random()?;
        // Exclusive: the file is never shared, and a prepared link is not followed.
        let file = create(directory, &name, mode)?;
        // It may fail: no other connection opens a file of this name.
        disk::lock(&file);
        Ok(Self::new(directory, file, Some(name), 0))
    }

    /// Creates a file without a name, so that nothing of it remains after a crash; `None` where the
    /// file system or the kernel cannot name it later.
    pub(crate) fn unnamed(directory: &Arc<File>, mode: Option<u32>) -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = openat(directory, c".", flags, permissions(mode)).ok()?.into();
        descriptor(&file).exists().then(|| Self::new(directory, file, None, 0))
    }

    /// Opens or creates the file `name`, with permissions no wider than for `mode`. One that
    /// another user can have prepared is an error.
    pub(crate) fn open(
        directory: &Arc<File>,
        name: String,
        mode: Option<u32>,
    ) -> io::Result<(Self, Lock)> {
        let mut attempts = 1..OPEN_ATTEMPTS;
        let (file, lock) = loop {
            let flags = OFlags::RDWR | OFlags::CREATE;
            let file = disk::open_owned_at(directory, &name, flags, permissions(mode))?;
            let lock = disk::lock(&file);
            // Its last writer may have published or removed it before the lock.
            let is_ours = lock != Lock::Acquired || is_named(directory, &name, &file)?;
            if is_ours || attempts.next().is_none() {
                break (file, lock);
            }
        };
        let metadata = file.metadata()?;
        // An earlier attempt may have asked for wider permissions.
        let permitted = metadata.mode() & 0o777 & disk::partial_mode(mode);
        if lock != Lock::Held && permitted != metadata.mode() & 0o777 {
            // A file system without permissions protects no file anyway.
            if let Err(error) = file.set_permissions(Permissions::from_mode(permitted)) {
                tracing::debug!(%error, "cannot restrict the permissions of a partial file");
            }
        }
        Ok((Self::new(directory, file, Some(name), metadata.len()), lock))
    }

    fn new(directory: &Arc<File>, file: File, name: Option<String>, length: u64) -> Self {
        Self { directory: directory.clone(), file: Arc::new(file), name, length }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    /// Returns whether the name is still that of the file.
    pub(crate) fn is_named(&self) -> io::Result<bool> {
        self.name.as_ref().map_or(Ok(false), |name| is_named(&self.directory, name, &self.file))
    }

    /// Renames the file to the first of `named(None)`, `named(Some(1))`, … that is free; only to
    /// `named(None)` unless `on_exists` is `Rename`.
    ///
    /// # Errors
    /// `AlreadyExists`, or the kernel's error.
    pub(crate) fn rename<N: AsRef<Path>>(
        &self,
        into: BorrowedFd<'_>,
        on_exists: OnExists,
        named: impl Fn(Option<u32>) -> io::Result<N>,
    ) -> io::Result<N> {
        for attempt in 0..NAMES_IN_ORDER + RANDOM_NAMES {
            let candidate = match attempt {
                0 => named(None)?,
                _ if on_exists != OnExists::Rename => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                in_order if in_order < NAMES_IN_ORDER => named(Some(in_order))?,
                _ => named(Some(getrandom::u32()?))?,
            };
            // The kernel decides which of several concurrent transfers gets the name.
            match self.rename_exclusive(at(into, candidate.as_ref())?) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| candidate),
            }
        }
        let path = named(None)?;
        let message =
            format!("more than {NAMES_IN_ORDER} files are named like {}", path.as_ref().display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }

    /// Renames the file to `to`, in place of another file.
    pub(crate) fn replace(&self, into: BorrowedFd<'_>, to: &Path) -> io::Result<()> {
        let to = at(into, to)?;
        let renamed = match &self.name {
            Some(name) => renameat(&self.directory, name.as_str(), to.directory, to.name),
            None => {
                // A link replaces nothing, so for a moment the file has another name.
                let name = names::random()?;
                if link(&self.file, self.at(&name)).is_err() {
                    self.copy(&name)?;
                }
                renameat(&self.directory, name.as_str(), to.directory, to.name)
                    .inspect_err(|_| remove(&self.directory, &name))
            }
        };
        Ok(renamed?)
    }

    fn rename_exclusive(&self, to: At<'_>) -> io::Result<()> {
        let Some(name) = &self.name else {
            return match link(&self.file, to) {
                // The file system does not name it after all: its content gets a name.
                Err(error) if error != Errno::EXIST => {
                    let name = names::random()?;
                    let copy = self.copy(&name)?;
                    let renamed = disk::rename_no_replace(&copy, self.at(&name), to);
                    Ok(renamed.map(drop).inspect_err(|_| remove(&self.directory, &name))?)
                }
                linked => Ok(linked?),
            };
        };
        Ok(disk::rename_no_replace(&self.file, self.at(name), to).map(drop)?)
    }

    /// Copies the file, its time and its permissions to a new file, which is then durable.
    fn copy(&self, name: &str) -> io::Result<File> {
        let mut copy = create(&self.directory, name, Some(0o600))?;
        let copied = (|| {
            (&*self.file).rewind()?;
            io::copy(&mut &*self.file, &mut copy)?;
            let metadata = self.file.metadata()?;
            copy.set_permissions(metadata.permissions())?;
            copy.set_modified(metadata.modified()?)?;
            disk::sync(&copy)
        })();
        copied.inspect_err(|_| remove(&self.directory, name))?;
        Ok(copy)
    }

    fn at<'a>(&'a self, name: &'a str) -> At<'a> {
        At { directory: self.directory.as_fd(), name: Path::new(name) }
    }
}

/// Sets the permissions of `file`, if they differ.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    match file.metadata()?.mode() & 0o777 == mode {
        true => Ok(()),
        false => file.set_permissions(Permissions::from_mode(mode)),
    }
}

/// Sets the modification time of `file`, if the system can represent it.
///
/// # Errors
/// The error of the file system.
pub fn set_modified(file: &File, mtime: FileTime) -> io::Result<()> {
    mtime.to_system_time().map_or(Ok(()), |time| file.set_modified(time))
}

/// Sets the requested modification time, if there is one.
pub(crate) fn set_time(file: &File, mtime: Option<FileTime>) {
    if let Err(error) = mtime.map_or(Ok(()), |mtime| set_modified(file, mtime)) {
        tracing::warn!(%error, "cannot set the requested modification time");
    }
}

/// Returns whether `name` in `directory` is `file`.
pub(crate) fn is_named(directory: &File, name: &str, file: &File) -> io::Result<bool> {
    let ours = rustix::fs::fstat(file)?;
    let named = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    Ok(named.is_ok_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)))
}

fn create(directory: &File, name: &str, mode: Option<u32>) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, permissions(mode))?.into())
}

fn permissions(mode: Option<u32>) -> Mode {
    Mode::from_raw_mode(disk::partial_mode(mode))
}

/// The file name of `path` in the directory `into`.
fn at<'a>(into: BorrowedFd<'a>, path: &'a Path) -> io::Result<At<'a>> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(At { directory: into, name: Path::new(name) })
}

/// Where the kernel shows an open file; a link made from there names it (open(2), `O_TMPFILE`).
fn descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Names a file that has no name, if the name is free.
fn link(file: &File, to: At<'_>) -> Result<(), Errno> {
    linkat(CWD, descriptor(file), to.directory, to.name, AtFlags::SYMLINK_FOLLOW)
}

fn remove(directory: &File, name: &str) {
    let _ = unlinkat(directory, name, AtFlags::empty());
}

/// Attempts to lock a file that others publish or remove; where the file system has no stable inode
/// numbers, all fail, and the last one counts.
const OPEN_ATTEMPTS: u32 = 100;

/// Names that are tried in order: `photo.jpg`, `photo-1.jpg`, … Then the numbers are random, so
/// that a client that repeats one name does not make each file cost more than the last.
const NAMES_IN_ORDER: u32 = 1000;

/// Random names that are tried before giving up.
const RANDOM_NAMES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_get_no_name_is_copied_to_one() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Arc::new(File::open(scratch.path()).unwrap());
        let mut hidden = Hidden::create(&directory, Some(0o600)).unwrap();
        hidden.write(b"content").unwrap();
        let copy = hidden.copy("copy").unwrap();
        assert_eq!(std::fs::read(scratch.path().join("copy")).unwrap(), b"content");
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
