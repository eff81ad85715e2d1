//! A file on its way in: hidden beside its place until it is whole, and gone on with after a break.
//!
//! The part is `.anyport-<where from>-<which version>.part`, both hashed: a source that changed is another version, so
//! nothing is ever pasted together from two of them. Two processes never write to one part.
//!
//! What nobody can go on with has no name until it is whole (`O_TMPFILE`), so that nothing of it is left, whatever ends us.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::SystemTime;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_name::{FileName, escaped};
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::OnExists;
use anyport_store::disk::At;
use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;

use super::{Facts, GetError};
use crate::content::mtime;
use crate::stream::BUFFER;

pub(super) struct Part {
    file: Arc<File>,
    /// None where it has no name yet.
    path: Option<PathBuf>,
    /// Where it is to be.
    target: PathBuf,
    length: u64,
}

impl Part {
    /// The part for `target`, with what came before, if that was of the same version.
    pub(super) fn open(host: &str, facts: &Facts, target: &Path) -> Result<Self, GetError> {
        let folder = folder_of(target);
        let (origin, version) = part_name(host, facts, target);
        remove_other_versions(folder, &origin, &version);
        let path = folder.join(format!("{origin}{version}"));
        let local = |what| {
            let path = path.clone();
            move |source| GetError::Local { what, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(anyport_store::disk::partial_mode(facts.mode));
        // What this process creates is its own, whomever the file system says that it belongs to.
        let file = match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match anyport_store::disk::open_owned(options.create(true).truncate(false), &path) {
                    Ok(file) => file,
                    // Another user's content is neither continued nor a reason not to receive the file.
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "partial file not used");
                        return Self::fresh(target, facts.mode);
                    }
                }
            }
            created => created.map_err(local("open"))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(GetError::Busy { path: target.to_owned() });
            }
            // A file system without locks: then the user must take care.
            Err(TryLockError::Error(_)) => {}
        }
        let metadata = file.metadata().map_err(local("stat"))?;
        if !metadata.is_file() {
            return Err(local("use")(io::Error::other("not a regular file")));
        }
        // An earlier attempt may have had wider permissions.
        let mode = metadata.permissions().mode() & 0o777;
        let narrowed = mode & anyport_store::disk::partial_mode(facts.mode);
        if narrowed != mode {
            let permissions = std::fs::Permissions::from_mode(narrowed);
            // A file system without permissions protects no file anyway.
            if let Err(error) = file.set_permissions(permissions) {
                tracing::debug!(%error, "cannot restrict the permissions of a partial file");
            }
        }
        let (path, target) = (Some(path), target.to_owned());
        let file = Arc::new(file);
        let mut part = Self { file, path, target, length: metadata.len() };
        if facts.size.is_none_or(|size| part.length > size) {
            part.cut()?;
        }
        Ok(part)
    }

    /// A new one for `target` that nobody goes on with.
    pub(super) fn fresh(target: &Path, mode: Option<u32>) -> Result<Self, GetError> {
        match unnamed(folder_of(target), mode) {
            Some(file) => Ok(Self::new(file, None, target)),
            None => Self::named(target, mode),
        }
    }

    /// The same where a file must have a name.
    fn named(target: &Path, mode: Option<u32>) -> Result<Self, GetError> {
        let path = fresh_name(target);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(anyport_store::disk::partial_mode(mode));
        match options.create_new(true).open(&path) {
            Ok(file) => Ok(Self::new(file, Some(path), target)),
            Err(source) => Err(GetError::Local { what: "create", path, source }),
        }
    }

    fn new(file: File, path: Option<PathBuf>, target: &Path) -> Self {
        Self { file: Arc::new(file), path, target: target.to_owned(), length: 0 }
    }

    /// Bytes that are there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), GetError> {
        self.file
            .write_all_at(bytes, self.length)
            .map_err(|source| self.local("write to", source))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Where the next bytes belong, for whoever can put them there without a way through our memory.
    pub(super) const fn next_place(&self) -> (&Arc<File>, u64) {
        (&self.file, self.length)
    }

    /// So many bytes were put there.
    pub(super) const fn put(&mut self, count: u64) {
        self.length += count;
    }

    /// Hashes what is there, from its first byte.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Result<Option<Digest>, GetError> {
        digest_of(&self.file, self.length, algorithm).map_err(|source| self.local("read", source))
    }

    /// What came is of no use.
    pub(super) fn discard(self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Makes it durable and visible; where it is then. `exact`: with permissions beyond the umask, if it has such.
    pub(super) fn publish(
        self,
        facts: &Facts,
        exact: bool,
        on_exists: OnExists,
    ) -> Result<PathBuf, GetError> {
        if let Some(mode) = facts.mode.map(|mode| anyport_store::disk::limited_mode(mode, exact)) {
            let set = self.file.metadata().and_then(|metadata| {
                let permissions = std::fs::Permissions::from_mode(mode);
                if metadata.permissions().mode() & 0o777 == mode {
                    Ok(())
                } else {
                    self.file.set_permissions(permissions)
                }
            });
            warn_once(&MODES, "cannot set the permissions of received files", set);
        }
        if let Some(mtime) = facts.mtime {
            let set = self.file.set_modified(system_time(mtime));
            warn_once(&TIMES, "cannot set the times of received files", set);
        }
        self.publish_as_it_is(on_exists)
    }

    /// The same with the time and the permissions that it has.
    pub(super) fn publish_as_it_is(self, on_exists: OnExists) -> Result<PathBuf, GetError> {
        anyport_store::disk::sync(&self.file).map_err(|source| self.local("sync", source))?;
        let published = self.rename(on_exists)?;
        // The file is whole and has its name, so this is no failure any more.
        let synced =
            File::open(folder_of(&published)).and_then(anyport_store::disk::sync).map(drop);
        warn_once(
            &SYNCS,
            "cannot sync the directory: received files may be lost in a crash",
            synced,
        );
        Ok(published)
    }

    fn rename(&self, on_exists: OnExists) -> Result<PathBuf, GetError> {
        if on_exists == OnExists::Overwrite {
            // It may have changed since the start.
            check_replaceable(&self.target)?;
            self.replace().map_err(|source| self.local("rename", source))?;
            return Ok(self.target.clone());
        }
        for candidate in candidates(&self.target, on_exists) {
            let renamed = match &self.path {
                Some(path) => rename_exclusive(&self.file, path, &candidate),
                None => self.link_exclusive(&candidate),
            };
            match renamed {
                Ok(()) => return Ok(candidate),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.local("rename", error)),
            }
        }
        Err(GetError::Exists { path: self.target.clone() })
    }

    fn replace(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            return std::fs::rename(path, &self.target);
        }
        // A link replaces nothing, so for a moment it has a name of its own.
        let path = fresh_name(&self.target);
        self.link_or_copy(&path)?;
        std::fs::rename(&path, &self.target).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })
    }

    fn link_exclusive(&self, candidate: &Path) -> io::Result<()> {
        match link(&self.file, candidate) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(Errno::EXIST.into()),
            // It can have no name, which nothing says beforehand: its content gets one.
            Err(_) => {
                let path = fresh_name(candidate);
                let copy = self.copy(&path)?;
                rename_exclusive(&copy, &path, candidate).inspect_err(|_| {
                    let _ = std::fs::remove_file(&path);
                })
            }
        }
    }

    fn link_or_copy(&self, path: &Path) -> io::Result<()> {
        link(&self.file, path).or_else(|_| self.copy(path).map(drop))
    }

    /// The same content, time and permissions under a name, on the disk.
    fn copy(&self, path: &Path) -> io::Result<File> {
        let mut copy =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let copied = (|| {
            (&*self.file).seek(SeekFrom::Start(0))?;
            io::copy(&mut &*self.file, &mut copy)?;
            let metadata = self.file.metadata()?;
            copy.set_permissions(metadata.permissions())?;
            copy.set_modified(metadata.modified()?)?;
            anyport_store::disk::sync(&copy)
        })();
        copied.inspect_err(|_| drop(std::fs::remove_file(path)))?;
        Ok(copy)
    }

    /// Nothing that is there is of use.
    pub(super) fn cut(&mut self) -> Result<(), GetError> {
        self.file.set_len(0).map_err(|source| self.local("truncate", source))?;
        self.length = 0;
        Ok(())
    }

    fn local(&self, what: &'static str, source: io::Error) -> GetError {
        let path = self.path.as_ref().unwrap_or(&self.target).clone();
        GetError::Local { what, path, source }
    }
}

/// The local file at `target`, a link followed, if it is a regular file of `size` bytes.
pub(super) fn present(target: &Path, size: u64) -> Option<(File, FileTime)> {
    // A pipe that nobody writes to must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(target).ok()?;
    let metadata = file.metadata().ok()?;
    let same_size = metadata.is_file() && metadata.len() == size;
    same_size.then(|| (file, mtime(&metadata)))
}

/// The digest of the first `size` bytes of `file`.
pub(super) fn digest_of(
    file: &File,
    size: u64,
    algorithm: Algorithm,
) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER];
    while hasher.bytes() < size {
        match file.read_at(&mut buffer, hasher.bytes()) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

fn part_name(host: &str, facts: &Facts, target: &Path) -> (String, String) {
    let hash = |parts: &[&[u8]]| {
        let mut hasher = Hasher::new(Algorithm::Blake3);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let digest = hasher.finish().map(|digest| digest.to_string()).unwrap_or_default();
        digest.chars().skip("blake3:".len()).take(HASH_LEN).collect::<String>()
    };
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    let origin = hash(&[host.as_bytes(), facts.name.as_bytes(), name]);
    let size = facts.size.unwrap_or_default().to_le_bytes();
    let mtime = facts.mtime.map_or(0, |mtime| mtime.seconds).to_le_bytes();
    let version = match &facts.tag {
        None => hash(&[&size, &mtime]),
        Some(tag) => hash(&[&size, &mtime, tag.as_bytes()]),
    };
    (format!("{PART_PREFIX}{origin}-"), format!("{version}{PART_SUFFIX}"))
}

/// Parts of the same source that changed since: nobody will go on with them.
fn remove_other_versions(folder: &Path, origin: &str, version: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(other) = name.to_str().and_then(|name| name.strip_prefix(origin)) else {
            continue;
        };
        if other != version && other.ends_with(PART_SUFFIX) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The names that are tried in order.
fn candidates(target: &Path, on_exists: OnExists) -> impl Iterator<Item = PathBuf> {
    let name = target.file_name().and_then(|name| FileName::exact(name.as_encoded_bytes()).ok());
    let numbers = if on_exists == OnExists::Rename { MOST_NUMBERS } else { 0 };
    let folder = folder_of(target).to_owned();
    let numbered = (1..=numbers).filter_map(move |n| Some(folder.join(name.as_ref()?.numbered(n))));
    std::iter::once(target.to_owned()).chain(numbered)
}

fn rename_exclusive(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    let at = |name| At { directory: CWD, name };
    Ok(anyport_store::disk::rename_no_replace(file, at(from), at(to)).map(drop)?)
}

/// Whether `--on-exists overwrite` replaces what is at `target`: a regular file, and nothing else.
pub(super) fn check_replaceable(target: &Path) -> Result<(), GetError> {
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
    Err(GetError::NotReplaced { path: target.to_owned(), what })
}

/// Checks that what is at `target`, if anything, has exactly this name.
pub(super) fn check_name(target: &Path) -> Result<(), GetError> {
    let path = target.to_owned();
    match anyport_store::disk::stored_as(At { directory: CWD, name: target }) {
        Ok(None) => Ok(()),
        Ok(Some(other)) => Err(GetError::StoredAs { path, other: escaped(other.as_bytes()) }),
        Err(source) => Err(GetError::Local { what: "stat", path, source }),
    }
}

/// Says once for all files that one of them lacks something that its file system cannot do.
fn warn_once(once: &Once, what: &'static str, done: io::Result<()>) {
    if let Err(error) = done {
        once.call_once(|| tracing::warn!(%error, "{what}"));
    }
}

static MODES: Once = Once::new();
static TIMES: Once = Once::new();
static SYNCS: Once = Once::new();

/// A file without a name in `folder`, where the file system knows such and there is a way to name it later.
fn unnamed(folder: &Path, mode: Option<u32>) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(anyport_store::disk::partial_mode(mode));
    let file = options.custom_flags(OFlags::TMPFILE.bits().cast_signed()).open(folder).ok()?;
    descriptor(&file).exists().then_some(file)
}

/// Where the kernel shows an open file; a link made from there names it (open(2), `O_TMPFILE`).
fn descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Names a file that has no name, if nothing is called so.
fn link(file: &File, to: &Path) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, descriptor(file), CWD, to, AtFlags::SYMLINK_FOLLOW)
}

/// A hidden name beside `target` that nobody else has.
fn fresh_name(target: &Path) -> PathBuf {
    let id = crate::keys::handshake_key().map(|byte| format!("{byte:02x}")).concat();
    folder_of(target).join(format!("{PART_PREFIX}{id}{PART_SUFFIX}"))
}

/// The directory of a path; a bare name is in the current one.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The time for the file system; what it cannot store becomes the epoch.
pub(super) fn system_time(mtime: FileTime) -> SystemTime {
    mtime.to_system_time().unwrap_or(SystemTime::UNIX_EPOCH)
}

const PART_PREFIX: &str = ".anyport-";
const PART_SUFFIX: &str = ".part";

/// Hexadecimal digits: 64 bits.
const HASH_LEN: usize = 16;

/// How many numbered names are tried before giving up.
const MOST_NUMBERS: u32 = 1000;

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

    /// With a name and without one, as file systems differ.
    #[test]
    fn a_fresh_part_is_published_whatever_is_there_already() {
        for begin in [Part::named, Part::fresh] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("taken");
            let part = |content: &[u8]| {
                let mut part = begin(&target, None).unwrap();
                part.write(content).unwrap();
                part
            };
            part(b"given up").discard();
            assert_eq!(names(folder.path()), [""; 0]);
            let published = |content, on_exists| part(content).publish_as_it_is(on_exists);
            assert_eq!(published(b"first", OnExists::Error).unwrap(), target);
            let refused = published(b"second", OnExists::Error);
            assert!(matches!(refused, Err(GetError::Exists { .. })), "{refused:?}");
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
    fn a_file_that_can_get_no_name_is_copied_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::named(&folder.path().join("x"), Some(0o600)).unwrap();
        part.write(b"content").unwrap();
        let path = folder.path().join("copy");
        let copy = part.copy(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_fresh_part_is_not_seen_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        if unnamed(folder.path(), None).is_none() {
            return;
        }
        let mut part = Part::fresh(&folder.path().join("taken"), None).unwrap();
        part.write(b"half").unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
