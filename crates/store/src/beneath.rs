//! Opens and lists stored files: never outside of the served directory, whatever links there are.
//!
//! The kernel resolves each path and refuses one that leaves the directory (openat2 with
//! `RESOLVE_BENEATH`). A kernel without that call, or a sandbox that forbids it, gets the path
//! component by component, and then no link is followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_name::{IDENTITY, is_partial};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::hasher::Hasher;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use crate::hidden::set_time;
use crate::{digest_cache, hashing};

/// The file or directory at a path, opened for reading.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    File(Content),
    /// A directory.
    Directory,
    /// A FIFO, a socket or a device.
    Other,
}

/// The content of a stored file, open for reading.
#[derive(Debug)]
pub struct Content {
    file: Arc<File>,
    /// The attributes when it was opened.
    pub attributes: Attributes,
}

impl Content {
    /// Reads content at `at` into `buffer`, at least one byte.
    ///
    /// # Errors
    /// The file cannot be read, or ends there.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        hashing::read_at(&self.file, buffer, at)
    }

    /// Returns the file for content that the kernel sends; `None` where the backend has no file.
    pub const fn file(&self) -> Option<&Arc<File>> {
        Some(&self.file)
    }

    /// Returns the current attributes.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn current(&self) -> io::Result<Attributes> {
        attributes_of(&self.file)
    }

    /// Hashes the content from the position of `hasher` to the byte `until`.
    ///
    /// # Errors
    /// As [`hashing::hash`].
    pub fn hash(
        &self,
        hasher: &mut Hasher,
        until: u64,
        is_gone: impl Fn() -> bool,
    ) -> io::Result<()> {
        hashing::hash(&self.file, hasher, until, is_gone)
    }

    /// Returns the digest from the cache, if the file is unchanged since.
    pub fn known_digest(&self, algorithm: Algorithm) -> Option<Digest> {
        digest_cache::recall(&self.file, algorithm)
    }

    /// Returns the digest of the content, from the cache if the file is unchanged since.
    ///
    /// # Errors
    /// As [`hashing::hash`].
    pub fn digest(
        &self,
        algorithm: Algorithm,
        is_gone: impl Fn() -> bool,
    ) -> io::Result<Option<Digest>> {
        match digest_cache::recall(&self.file, algorithm) {
            None => hashing::digest(&self.file, self.attributes.size, algorithm, is_gone),
            known => Ok(known),
        }
    }

    /// Records that the content has `digest`, after setting the time that the next comparison
    /// needs.
    pub fn confirm(&self, digest: &Digest, mtime: Option<FileTime>) {
        set_time(&self.file, mtime.filter(|mtime| *mtime != self.attributes.mtime));
        digest_cache::remember(&self.file, digest);
    }
}

/// The attributes of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Size in bytes.
    pub size: u64,
    /// The exact modification time.
    pub mtime: FileTime,
    /// Permission bits, without set-user-id and its like.
    pub mode: u32,
    /// Inode number.
    pub inode: u64,
}

/// Opens the file at `path` below `root` for reading; links inside are followed.
///
/// # Errors
/// The kernel's error; `EXDEV` for a path that leaves `root`.
pub(crate) fn open(root: &File, path: &FilePath) -> io::Result<Found> {
    // Opening a FIFO must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = open_beneath(root.as_fd(), path, flags)?;
    let stat = fstat(&opened)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            Found::File(Content { file: Arc::new(opened.into()), attributes: attributes(&stat) })
        }
        FileType::Directory => Found::Directory,
        _ => Found::Other,
    })
}

/// Returns what is at `path`, for a listing: nothing is opened for reading, and a link to a regular
/// file beneath `root` counts as that file.
///
/// # Errors
/// The kernel's error; `NOENT` where nothing is.
pub(crate) fn look_at(root: &File, path: &FilePath) -> Result<Kind, Errno> {
    match entry(root, path, OFlags::NOFOLLOW)? {
        Kind::Link => match entry(root, path, OFlags::empty()) {
            Ok(Kind::File(attributes)) => Ok(Kind::File(attributes)),
            _ => Ok(Kind::Link),
        },
        kind => Ok(kind),
    }
}

fn entry(root: &File, path: &FilePath, how: OFlags) -> Result<Kind, Errno> {
    let stat = fstat(open_beneath(root.as_fd(), path, OFlags::PATH | how)?)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File(attributes(&stat)),
        FileType::Directory => Kind::Directory(attributes(&stat)),
        FileType::Symlink => Kind::Link,
        _ => Kind::Special,
    })
}

/// Returns the current attributes of an open file.
///
/// # Errors
/// The kernel's error.
pub(crate) fn attributes_of(file: &File) -> io::Result<Attributes> {
    Ok(attributes(&fstat(file)?))
}

/// Returns the entry `path`, which may be a link; `None` where there is none.
///
/// # Errors
/// The kernel's error; `EXDEV` for a path that leaves `root`.
pub(crate) fn present(root: &File, path: &FilePath) -> io::Result<Option<Kind>> {
    match entry(root, path, OFlags::NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(Attributes),
    /// A directory.
    Directory(Attributes),
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device.
    Special,
}

/// Returns the names in a directory, in the order of the disk, without partial files.
///
/// # Errors
/// The kernel's error when the directory was opened, or read.
pub(crate) fn names(
    root: &File,
    path: Option<&FilePath>,
) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let opened = match path {
        Some(path) => open_beneath(root.as_fd(), path, flags)?,
        // A description of its own: all users of a shared one would share its position.
        None => openat(root, c".", flags | OFlags::CLOEXEC, Mode::empty())?,
    };
    let directory = Dir::new(opened)?;
    Ok(directory.filter_map(|entry| {
        let name = match &entry {
            Ok(entry) => entry.file_name().to_bytes(),
            Err(error) => return Some(Err((*error).into())),
        };
        let is_own = is_partial(name) || name == IDENTITY.as_bytes();
        let is_entry = !matches!(name, b"." | b"..") && !is_own;
        is_entry.then(|| Ok(name.to_vec()))
    }))
}

fn open_beneath(root: BorrowedFd<'_>, path: &FilePath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
            // A rename disturbed the resolution.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_by_components(root, path, flags),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// The same without openat2: a link anywhere in the path is an error.
fn open_by_components(
    root: BorrowedFd<'_>,
    path: &FilePath,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory: Option<OwnedFd> = None;
    for component in path.parent().iter().flat_map(FilePath::components) {
        let at = directory.as_ref().map_or(root, AsFd::as_fd);
        directory = Some(openat(at, component, step, Mode::empty())?);
    }
    let at = directory.as_ref().map_or(root, AsFd::as_fd);
    let last = path.file_name();
    openat(at, last.as_bytes(), flags | OFlags::NOFOLLOW, Mode::empty())
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: digest_cache::mtime(stat),
        mode: stat.st_mode & 0o777,
        inode: stat.st_ino,
    }
}

/// Attempts to resolve a path that concurrent renames disturb.
const RETRIES: u32 = 100;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    /// A served directory with something of each kind in it, and a secret beside it.
    fn tree() -> (tempfile::TempDir, File) {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("served");
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::write(scratch.path().join("secret"), b"secret").unwrap();
        std::fs::write(root.join("a"), b"aaa").unwrap();
        std::fs::write(root.join("d/e/b"), b"b").unwrap();
        std::fs::write(root.join(".anyport-1.part"), b"part").unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink("../../a", root.join("d/e/up")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("..", root.join("parent")).unwrap();
        symlink("d", root.join("directory")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/root/etc", root.join("magic")).unwrap();
        let fifo = root.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let root = File::open(root).unwrap();
        (scratch, root)
    }

    #[test]
    fn files_beneath_are_opened_through_links_that_stay_inside() {
        let (_scratch, root) = tree();
        for (name, size) in
            [("a", 3), ("d/e/b", 1), ("inside", 3), ("d/e/up", 3), ("directory/e/b", 1)]
        {
            match open(&root, &path(name)).unwrap() {
                Found::File(content) => assert_eq!(content.attributes.size, size, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(matches!(open(&root, &path("d")).unwrap(), Found::Directory));
        assert!(matches!(open(&root, &path("fifo")).unwrap(), Found::Other));
    }

    #[test]
    fn no_link_leads_out() {
        let (_scratch, root) = tree();
        for name in
            ["outside", "absolute", "parent/secret", "loop", "magic/passwd", "parent", "none"]
        {
            assert!(open(&root, &path(name)).is_err(), "{name}");
            let looked = look_at(&root, &path(name));
            assert!(matches!(looked, Err(_) | Ok(Kind::Link)), "{name}: {looked:?}");
        }
    }

    #[test]
    fn without_the_kernels_help_no_link_is_followed() {
        let (_scratch, root) = tree();
        let open = |name: &str| open_by_components(root.as_fd(), &path(name), OFlags::RDONLY);
        assert!(open("a").is_ok() && open("d/e/b").is_ok());
        for name in ["inside", "outside", "absolute", "parent/secret", "directory/e/b", "a/b"] {
            assert!(open(name).is_err(), "{name}");
        }
    }

    #[test]
    fn listings_show_files_directories_and_links_to_files_inside() {
        let (_scratch, root) = tree();
        let mut seen: Vec<(String, Kind)> = names(&root, None)
            .unwrap()
            .map(|name| {
                let path = FilePath::exact(&name.unwrap()).unwrap();
                (path.to_string(), look_at(&root, &path).unwrap())
            })
            .collect();
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        let names = |wanted: fn(&Kind) -> bool| {
            let seen = seen.iter().filter(|(_, looked)| wanted(looked));
            seen.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(|looked| matches!(looked, Kind::File(_))), ["a", "inside"]);
        assert_eq!(names(|looked| matches!(looked, Kind::Directory(_))), ["d"]);
        assert_eq!(names(|looked| *looked == Kind::Special), ["fifo"]);
        let links = ["absolute", "directory", "loop", "magic", "outside", "parent"];
        assert_eq!(names(|looked| *looked == Kind::Link), links);
    }
}
