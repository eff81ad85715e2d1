//! The space and the number of all entries in the served directory.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyport_proto::setting::QUOTA;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::names;
use crate::root::Root;

/// Space and number of files and directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of their blocks.
    pub bytes: u64,
    /// Files and directories.
    pub entries: u64,
}

impl Usage {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
        }
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            entries: self.entries.saturating_sub(other.entries),
        }
    }

    pub(crate) const fn excess(self, limit: Self) -> Option<Excess> {
        if self.entries > limit.entries {
            Some(Excess::Entries { limit: limit.entries })
        } else if self.bytes > limit.bytes {
            Some(Excess::Bytes { used: self.bytes, limit: limit.bytes })
        } else {
            None
        }
    }
}

/// A limit that stored files exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Space, in bytes.
    Bytes {
        /// Bytes that are used.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The number of files and directories.
    Entries {
        /// The limit.
        limit: u64,
    },
}

/// Adds up all entries of `root` but state files and those whose inode is `without`; stops
/// after `most` entries.
///
/// Links are not followed, and other file systems not entered, as nothing is published there. Each
/// link to a file is an entry, and its space counts once. Entries that cannot be read are logged
/// and left out: the content of the directory never keeps a server from starting.
pub(crate) fn usage_below(root: &Root, without: &dyn Fn(u64) -> bool, most: u64) -> Usage {
    let block = root.block;
    let (usage, links) = (Usage::default(), HashMap::new());
    let mut walk = Walk { block, without, most, usage, links, left_out: None };
    walk.entries(root.handle.as_fd(), root.device, 0);
    if let Some((count, why)) = walk.left_out {
        tracing::warn!(count, why, "part of the served directory cannot be counted ({QUOTA})");
    }
    walk.usage
}

struct Walk<'a> {
    block: u64,
    without: &'a dyn Fn(u64) -> bool,
    most: u64,
    usage: Usage,
    /// Inodes whose space was counted, with the number of links not found yet.
    links: HashMap<u64, u128>,
    /// The number of entries that could not be read, and the error of the first.
    left_out: Option<(u64, String)>,
}

impl Walk<'_> {
    fn entries(&mut self, directory: BorrowedFd<'_>, device: u64, depth: u32) {
        if depth > DEEPEST {
            self.leave_out(format!("more than {DEEPEST} levels of directories"));
            return;
        }
        let entries = match Dir::read_from(directory) {
            Ok(entries) => entries,
            Err(error) => return self.leave_out(error.to_string()),
        };
        for entry in entries {
            if self.usage.entries > self.most {
                return;
            }
            let counted = entry.map_err(Into::into).and_then(|entry| {
                let name = entry.file_name();
                if [c".", c".."].contains(&name) || name.to_str().is_ok_and(names::is_uncounted) {
                    return Ok(());
                }
                self.entry(directory, name, device, depth)
            });
            if let Err(error) = counted {
                self.leave_out(error.to_string());
            }
        }
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        device: u64,
        depth: u32,
    ) -> io::Result<()> {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed after its name was read.
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if (self.without)(stat.st_ino) {
            return Ok(());
        }
        let bytes = if self.is_counted(&stat) { 0 } else { space(&stat, self.block) };
        self.usage = self.usage.plus(Usage { bytes, entries: 1 });
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || stat.st_dev != device {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            below => self.entries(below?.as_fd(), device, depth + 1),
        }
        Ok(())
    }

    /// Returns whether the space of a file was counted under another name.
    fn is_counted(&mut self, stat: &Stat) -> bool {
        // The width of the field differs between platforms.
        let links = u128::from(stat.st_nlink);
        if links < 2 || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return false;
        }
        match self.links.get_mut(&stat.st_ino) {
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&stat.st_ino);
                }
                true
            }
            None => {
                if self.links.len() < MOST_LINKED {
                    self.links.insert(stat.st_ino, links - 1);
                }
                false
            }
        }
    }

    fn leave_out(&mut self, why: String) {
        self.left_out.get_or_insert((0, why)).0 += 1;
    }
}

/// Returns the usage that ends when an entry is removed, which is never more than was counted for
/// it: a directory counts as one block when it is created, and a file by its size. A file with
/// other links keeps its space.
pub(crate) fn usage_of(stat: &Stat, block: u64) -> Usage {
    let bytes = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink > 1 => 0,
        FileType::RegularFile => in_blocks(stat.st_size.cast_unsigned(), block),
        FileType::Directory => block,
        _ => 0,
    };
    Usage { bytes, entries: 1 }
}

/// Bytes that an entry takes: its blocks, and at least those of its size, which some file systems
/// allocate late. A directory takes a block at least.
fn space(stat: &Stat, block: u64) -> u64 {
    let size = stat.st_size.cast_unsigned();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => in_blocks(size, block).max(stat.st_blocks.cast_unsigned() * 512),
        FileType::Directory => in_blocks(size.max(1), block),
        _ => 0,
    }
}

/// `bytes` rounded up to whole blocks.
pub(crate) const fn in_blocks(bytes: u64, block: u64) -> u64 {
    bytes.div_ceil(block).saturating_mul(block)
}

/// Files with several links that one count remembers, in about 4 MiB. Links of further ones count
/// like separate files, so the count is never too low.
const MOST_LINKED: usize = 128 * 1024;

/// Maximum depth of directories; each takes a descriptor while it is counted.
const DEEPEST: u32 = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn blocks_and_entries_are_added_up_and_links_and_states_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(outside.path().join("large"), [0; 100_000]).unwrap();
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/c"), [0; 7]).unwrap();
        std::fs::write(at("a/b/empty"), b"").unwrap();
        std::fs::write(at(".anyport-01.part"), [0; 50]).unwrap();
        std::fs::write(at(".anyport-01.state"), [0; 300]).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("link")).unwrap();
        let root = Root::open(scratch.path()).unwrap();
        let block = root.block;
        let usage = |without: &HashSet<u64>, most| {
            usage_below(&root, &|inode| without.contains(&inode), most)
        };
        let all = usage(&HashSet::new(), 100);
        assert_eq!((all.entries, all.bytes % block), (6, 0));
        // Two directories and two files.
        assert!(all.bytes >= 4 * block, "{all:?}");
        let part = std::fs::metadata(at(".anyport-01.part")).unwrap();
        let without = HashSet::from([std::os::unix::fs::MetadataExt::ino(&part)]);
        let some = usage(&without, 100);
        assert_eq!((some.entries, all.bytes - some.bytes), (5, block));
        // The handle is not used up, and counting ends early.
        assert_eq!(usage(&without, 2).entries, 3);
    }

    #[test]
    fn the_space_of_a_file_with_several_links_counts_once() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let root = Root::open(scratch.path()).unwrap();
        let usage = || usage_below(&root, &|_| false, 100);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("one"), [7; 100_000]).unwrap();
        let one = usage();
        std::fs::hard_link(at("one"), at("two")).unwrap();
        std::fs::hard_link(at("one"), at("d/three")).unwrap();
        assert_eq!(usage(), Usage { entries: one.entries + 2, ..one });
        // A link outside is never found, and another file is not taken for it.
        std::fs::hard_link(at("one"), outside.path().join("four")).unwrap();
        std::fs::write(at("other"), [7; 100_000]).unwrap();
        assert_eq!(usage().entries, one.entries + 3);
        assert!(usage().bytes >= one.bytes + 100_000);
    }

    #[test]
    fn entries_that_are_too_deep_are_omitted_and_no_stack_overflows() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("d/".repeat(80))).unwrap();
        let root = Root::open(scratch.path()).unwrap();
        let usage = usage_below(&root, &|_| false, 100);
        assert_eq!(usage.entries, u64::from(DEEPEST) + 1);
    }
}
