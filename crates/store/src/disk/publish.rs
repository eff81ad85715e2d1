//! Renaming without replacing another file, and fsync, as far as the file system has them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, linkat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The directory, or [`rustix::fs::CWD`].
    pub directory: BorrowedFd<'a>,
    /// A path below it.
    pub name: &'a Path,
}

/// The way in which a file was renamed without replacing another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `RENAME_NOREPLACE`.
    Rename,
    /// A hard link, and the old name removed.
    Link,
    /// The name was free, and a rename followed: only programs that lock the directory are
    /// excluded.
    Checked,
}

/// Gives `file` the name `to` instead of `from`, unless something has that name already (`EEXIST`).
///
/// # Errors
/// The kernel's error, unless the file has its new name: NFS repeats a request whose reply was
/// lost.
pub fn rename_no_replace(file: &File, from: At<'_>, to: At<'_>) -> Result<Way, Errno> {
    let renamed = match with_flag(from, to) {
        // Whatever the reason: a file system that fails for another one fails again.
        Err(error) if error != Errno::EXIST => with_link(from, to).or_else(|error| match error {
            Errno::EXIST => Err(error),
            _ => with_check(from, to),
        }),
        done => done,
    };
    renamed.or_else(|error| if is_at(file, to) { Ok(Way::Rename) } else { Err(error) })
}

fn with_flag(from: At<'_>, to: At<'_>) -> Result<Way, Errno> {
    renameat_with(from.directory, from.name, to.directory, to.name, RenameFlags::NOREPLACE)?;
    Ok(Way::Rename)
}

fn with_link(from: At<'_>, to: At<'_>) -> Result<Way, Errno> {
    linkat(from.directory, from.name, to.directory, to.name, AtFlags::empty())?;
    // The file has its name; a second, hidden one is swept later.
    let _ = unlinkat(from.directory, from.name, AtFlags::empty());
    Ok(Way::Link)
}

/// For file systems that have neither: an empty file as a placeholder would be visible.
fn with_check(from: At<'_>, to: At<'_>) -> Result<Way, Errno> {
    static OURS: Mutex<()> = Mutex::new(());
    let _among_threads = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let _among_processes = locked(to);
    match statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    renameat(from.directory, from.name, to.directory, to.name)?;
    Ok(Way::Checked)
}

/// Locks the directory of `to`; a process that holds the lock for long does not stop others.
fn locked(to: At<'_>) -> Option<rustix::fd::OwnedFd> {
    let parent = to.name.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let directory = openat(to.directory, parent, flags, Mode::empty()).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            // A file system without locks.
            Err(_) => return None,
            Ok(()) => return Some(directory),
        }
    }
    None
}

fn is_at(file: &File, at: At<'_>) -> bool {
    let named = statat(at.directory, at.name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(ours), Ok(named)) = (fstat(file), named) else { return false };
    (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
}

/// Makes a file or the entries of a directory durable; returns `false` where the file system has no
/// fsync for them.
///
/// # Errors
/// The kernel's error: the disk may have failed.
pub fn sync(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::fsync(file) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF | Errno::ISDIR) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Attempts to lock a directory, for about 0.1 s in total: a rename takes microseconds.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_replaces_a_file() {
        for way in [with_flag, with_link, with_check] {
            let scratch = tempfile::tempdir().unwrap();
            let directory = File::open(scratch.path()).unwrap();
            let at = |name| At { directory: directory.as_fd(), name: Path::new(name) };
            for name in ["from", "taken"] {
                std::fs::write(scratch.path().join(name), name).unwrap();
            }
            assert_eq!(way(at("from"), at("taken")), Err(Errno::EXIST));
            way(at("from"), at("free")).unwrap();
            assert_eq!(std::fs::read(scratch.path().join("free")).unwrap(), b"from");
            assert_eq!(std::fs::read(scratch.path().join("taken")).unwrap(), b"taken");
            assert!(!scratch.path().join("from").exists());
        }
    }

    #[test]
    fn many_threads_without_help_of_the_kernel_get_a_name_each() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = File::open(scratch.path()).unwrap();
        let won = std::thread::scope(|scope| {
            let rename = |number: usize| {
                let directory = &directory;
                let from = format!("from-{number}");
                std::fs::write(scratch.path().join(&from), &from).unwrap();
                scope.spawn(move || {
                    let at = |name| At { directory: directory.as_fd(), name };
                    with_check(at(Path::new(&from)), at(Path::new("to"))).is_ok()
                })
            };
            let threads: Vec<_> = (0..50).map(rename).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }
}
