//! What the files in the served directory take together: their sizes, added up.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::part;

/// Adds up the sizes of all files below `root`, but for those whose inode is in `without`, and for what stands beside a
/// part. Links are not followed, and other file systems not entered, as nothing is published there.
///
/// # Errors
/// What the kernel said, or more entries or levels than are looked at.
pub(crate) fn bytes_below(root: &File, without: &HashSet<u64>) -> io::Result<u64> {
    let device = fstat(root)?.st_dev;
    let mut walk = Walk { device, without, entries: 0, bytes: 0 };
    walk.directory(root.as_fd(), 0)?;
    Ok(walk.bytes)
}

struct Walk<'a> {
    device: u64,
    without: &'a HashSet<u64>,
    entries: u64,
    bytes: u64,
}

impl Walk<'_> {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("more than {DEEPEST} levels of directories")));
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) || name.to_str().is_ok_and(part::is_state) {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(io::Error::other(format!("more than {MOST_ENTRIES} entries")));
            }
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed while we looked.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if !self.without.contains(&stat.st_ino) => {
                    self.bytes = self.bytes.saturating_add(stat.st_size.cast_unsigned());
                }
                FileType::Directory if stat.st_dev == self.device => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    match openat(directory, name, flags, Mode::empty()) {
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                        below => self.directory(below?.as_fd(), depth + 1)?,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Entries that are looked at before counting is given up.
const MOST_ENTRIES: u64 = 1_000_000;

/// Levels of directories; each takes a descriptor while it is looked at.
const DEEPEST: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_up_and_links_and_states_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(outside.path().join("large"), [0; 1000]).unwrap();
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/c"), [0; 7]).unwrap();
        std::fs::write(at(".anyport-01.part"), [0; 50]).unwrap();
        std::fs::write(at(".anyport-01.state"), [0; 300]).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("link")).unwrap();
        std::os::unix::fs::symlink("a/b/c", at("link-to-file")).unwrap();
        let root = File::open(scratch.path()).unwrap();
        assert_eq!(bytes_below(&root, &HashSet::new()).unwrap(), 57);
        let part = std::fs::metadata(at(".anyport-01.part")).unwrap();
        let without = HashSet::from([std::os::unix::fs::MetadataExt::ino(&part)]);
        assert_eq!(bytes_below(&root, &without).unwrap(), 7);
        // The handle is not used up.
        assert_eq!(bytes_below(&root, &without).unwrap(), 7);
    }

    #[test]
    fn too_deep_is_an_error_and_not_a_stack_that_overflows() {
        let scratch = tempfile::tempdir().unwrap();
        let below = |depth| scratch.path().join("d/".repeat(depth));
        let root = File::open(scratch.path()).unwrap();
        std::fs::create_dir_all(below(64)).unwrap();
        assert_eq!(bytes_below(&root, &HashSet::new()).unwrap(), 0);
        std::fs::create_dir_all(below(65)).unwrap();
        bytes_below(&root, &HashSet::new()).unwrap_err();
    }
}
