//! Features that a file system lacks, found out with an empty file before there is content to lose.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, statat, unlinkat};

use super::{At, Way, rename_no_replace, sync};

/// A feature that a file system lacks; its text includes the consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// `RENAME_NOREPLACE` and hard links.
    Exclusive,
    /// fsync of a file.
    FileSync,
    /// fsync of a directory.
    DirectorySync,
    /// flock.
    Locks,
    /// chmod.
    Permissions,
    /// Setting the time of a file, to the second.
    Times,
    /// Names that differ only in case.
    Case,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exclusive => {
                "neither RENAME_NOREPLACE nor hard links: another program that creates the same \
                 name at the same moment may be overwritten"
            }
            Self::FileSync => "no fsync: a file may be lost if the machine stops after its receipt",
            Self::DirectorySync => {
                "no fsync of directories: a name may be lost if the machine stops after its receipt"
            }
            Self::Locks => "no file locks: an interrupted upload begins anew",
            Self::Permissions => "no chmod: permissions that a sender asks for are not kept",
            Self::Times => {
                "no exact times: an unchanged file is recognized by its digest, not by its time"
            }
            Self::Case => "no case in names: of README and Readme only the first is stored",
        })
    }
}

/// Stores an empty file in `directory` like any other file (create, write, fsync, rename without
/// replacing, fsync of the directory), removes it, and returns the missing features. `names` are
/// two hidden names that are free.
///
/// # Errors
/// The kernel's error from an operation without which nothing can be stored.
pub fn probe(directory: &File, names: [&str; 2]) -> io::Result<Vec<Lack>> {
    let [from, to] = names.map(Path::new);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(directory, from, flags, Mode::from_raw_mode(0o600))?);
    let found = sequence(directory, &file, from, to);
    for name in [from, to] {
        let _ = unlinkat(directory, name, AtFlags::empty());
    }
    found
}

fn sequence(directory: &File, file: &File, from: &Path, to: &Path) -> io::Result<Vec<Lack>> {
    let mut lacks = Vec::new();
    io::Write::write_all(&mut &*file, b"anyport")?;
    if flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        lacks.push(Lack::Locks);
    }
    // Modes and times that no file system has by default.
    if file.set_permissions(Permissions::from_mode(0o640)).is_err() {
        lacks.push(Lack::Permissions);
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(ODD_SECOND);
    let set = file.set_modified(time).and_then(|()| file.metadata()?.modified());
    if !set.is_ok_and(|set| set == time) {
        lacks.push(Lack::Times);
    }
    if !sync(file)? {
        lacks.push(Lack::FileSync);
    }
    let at = |name| At { directory: directory.as_fd(), name };
    if rename_no_replace(file, at(from), at(to))? == Way::Checked {
        lacks.push(Lack::Exclusive);
    }
    let other = to.to_string_lossy().to_uppercase();
    if other.as_bytes() != to.as_os_str().as_encoded_bytes()
        && statat(directory, other, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    {
        lacks.push(Lack::Case);
    }
    if !sync(directory)? {
        lacks.push(Lack::DirectorySync);
    }
    Ok(lacks)
}

/// FAT keeps even seconds only.
const ODD_SECOND: u64 = 1_700_000_001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_system_lacks_nothing_and_keeps_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = File::open(scratch.path()).unwrap();
        assert_eq!(probe(&directory, [".a", ".b"]).unwrap(), []);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
