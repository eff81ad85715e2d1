//! Names that a file system does not distinguish: `README` and `readme` on FAT, two Unicode
//! normalization forms on APFS.
//!
//! A directory entry found under a name may have another one, and is then another file. Only
//! reading the directory shows its name (`/proc/self/fd` shows the name that was looked up), so a
//! cheap test comes first: is the entry also found under other spellings of the name?

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstatfs, ioctl_getflags, openat, statat};
use rustix::io::Errno;

use super::At;

/// A cache of how one open directory compares names, so that later entries need no lookup under
/// other spellings.
///
/// The first entry that is found in the directory fills it. The `casefold` attribute can be changed
/// only while a directory is empty, so the cache can become wrong only if a served directory is
/// emptied and changed while it is open.
#[derive(Debug, Default)]
pub struct NameComparison {
    /// Whether names are compared as bytes; unset until an entry is found.
    is_exact: OnceLock<bool>,
}

impl NameComparison {
    /// Returns the same as [`stored_as`] for the entry `name` of `directory`, which must be the
    /// same directory in each call.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn stored_as(&self, directory: &File, name: &Path) -> io::Result<Option<OsString>> {
        if self.is_exact.get() == Some(&true) {
            return Ok(None);
        }
        let directory = directory.as_fd();
        let stored = stored_as(At { directory, name })?;
        let is_found = |name: &Path| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let bytes = name.as_os_str().as_bytes();
        // Only a name with letters has another spelling on every file system that folds case.
        if self.is_exact.get().is_none()
            && bytes.iter().any(u8::is_ascii_alphabetic)
            && is_found(name)
        {
            let is_other = |other: &Vec<u8>| is_found(Path::new(OsStr::from_bytes(other)));
            if !compares_bytes(directory) {
                let _ = self.is_exact.set(false);
            } else if !spellings(bytes).iter().any(is_other) {
                let _ = self.is_exact.set(true);
            }
        }
        Ok(stored)
    }
}

/// Returns the name of the directory entry found at `at`, if that is not exactly the requested
/// name.
///
/// The parent directory is read only where its file system may not distinguish names.
///
/// # Errors
/// The kernel's error.
pub fn stored_as(at: At<'_>) -> io::Result<Option<OsString>> {
    let Some(name) = at.name.file_name().map(OsStr::as_bytes) else { return Ok(None) };
    let stat = |path: &Path| statat(at.directory, path, AtFlags::SYMLINK_NOFOLLOW);
    let found = match stat(at.name) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        found => found?,
    };
    let is_found =
        |other: &Vec<u8>| stat(&at.name.with_file_name(OsStr::from_bytes(other))).is_ok();
    let is_ambiguous = spellings(name).iter().any(is_found);
    // An ASCII name has only one normalization form.
    if !is_ambiguous && name.is_ascii() {
        return Ok(None);
    }
    let parent = match at.name.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match openat(at.directory, parent, flags, Mode::empty()) {
        // The directory may be writable and not readable.
        Err(Errno::ACCESS) if !is_ambiguous => return Ok(None),
        directory => directory?,
    };
    if !is_ambiguous && compares_bytes(&directory) {
        return Ok(None);
    }
    let mut stored = None;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let other = entry.file_name().to_bytes();
        if other == name {
            return Ok(None);
        }
        // Some FUSE file systems have another inode number for each spelling.
        if entry.ino() == found.st_ino || folded(other) == folded(name) {
            stored.get_or_insert_with(|| other.to_vec());
        }
    }
    // The entry may have been removed while the directory was read.
    if stat(at.name).is_err() {
        return Ok(None);
    }
    Ok(Some(OsString::from_vec(stored.unwrap_or_else(|| UNKNOWN.to_vec()))))
}

/// Returns other spellings that find the same entry if the file system folds names: the other case,
/// and a trailing dot, which FAT drops.
fn spellings(name: &[u8]) -> Vec<Vec<u8>> {
    // Every file system that folds case folds that of ASCII; which others it folds depends on its
    // tables.
    let swapped = if name.iter().any(u8::is_ascii_alphabetic) {
        let swap = |byte: &u8| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { *byte };
        name.iter().map(swap).collect()
    } else {
        let text = String::from_utf8_lossy(name);
        let (upper, lower) = (text.to_uppercase(), text.to_lowercase());
        if upper.as_bytes() == name { lower } else { upper }.into_bytes()
    };
    let mut spellings = vec![swapped, [name, b"."].concat()];
    spellings.retain(|other| other != name);
    spellings
}

/// Returns whether the file system of `directory` is known to compare its names as bytes.
fn compares_bytes(directory: impl AsFd) -> bool {
    let is_known = fstatfs(&directory).is_ok_and(|stat| {
        // The type of the field differs between platforms.
        KNOWN.contains(&(i128::from(stat.f_type) & 0xffff_ffff))
    });
    let is_folded = || ioctl_getflags(&directory).is_ok_and(|flags| flags.bits() & CASEFOLD != 0);
    is_known && !is_folded()
}

/// Returns `name` in lower case, without trailing dots.
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end_matches('.').to_lowercase()
}

/// File systems that compare bytes, unless a directory has [`CASEFOLD`]: ext2 to ext4, XFS, Btrfs,
/// tmpfs, F2FS, overlay.
const KNOWN: [i128; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630];

/// `FS_CASEFOLD_FL`.
const CASEFOLD: u32 = 0x4000_0000;

/// Name to show if no entry of the directory matches.
const UNKNOWN: &[u8] = b"another name";

#[cfg(test)]
mod tests {
    use super::*;

    /// The file system of the test compares bytes, so other spellings are other files.
    #[test]
    fn names_that_a_directory_has_are_exact() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = File::open(scratch.path()).unwrap();
        let stored = |name: &str| {
            stored_as(At { directory: directory.as_fd(), name: Path::new(name) }).unwrap()
        };
        for name in ["README", "rEADME", "a", "a.", "1", "e\u{301}", "\u{e9}", "\u{c9}", "\u{304c}"]
        {
            assert_eq!(stored(name), None, "{name} before it is there");
            std::fs::write(scratch.path().join(name), name).unwrap();
            assert_eq!(stored(name), None, "{name}");
        }
        assert!(compares_bytes(&directory));
        let kept = NameComparison::default();
        assert_eq!(kept.stored_as(&directory, Path::new("missing")).unwrap(), None);
        assert_eq!(kept.is_exact.get(), None, "a missing entry shows nothing");
        for ambiguous in ["a", "1"] {
            assert_eq!(kept.stored_as(&directory, Path::new(ambiguous)).unwrap(), None);
            assert_eq!(kept.is_exact.get(), None, "{ambiguous} shows nothing");
        }
        std::fs::write(scratch.path().join("alone"), b"").unwrap();
        assert_eq!(kept.stored_as(&directory, Path::new("alone")).unwrap(), None);
        assert_eq!(kept.is_exact.get(), Some(&true));
        std::fs::create_dir(scratch.path().join("d")).unwrap();
        std::fs::write(scratch.path().join("d/x"), b"").unwrap();
        assert_eq!((stored("d/x"), stored("d/X"), stored("README/x")), (None, None, None));
    }

    #[test]
    fn alternative_names_are_the_other_case_and_a_dot() {
        let spellings = |name: &str| {
            let others = spellings(name.as_bytes()).into_iter();
            others.map(|other| String::from_utf8(other).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(spellings("ReadMe.1"), ["rEADmE.1", "ReadMe.1."]);
        assert_eq!(spellings("\u{e9}a"), ["\u{e9}A", "\u{e9}a."]);
        assert_eq!(spellings("\u{e9}"), ["\u{c9}", "\u{e9}."]);
        assert_eq!(spellings("\u{c9}"), ["\u{e9}", "\u{c9}."]);
        assert_eq!(spellings("1"), ["1."]);
        assert_eq!(folded(b"README."), folded(b"readme"));
    }
}
