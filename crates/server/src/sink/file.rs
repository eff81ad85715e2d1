//! A file in the served directory: complete under its name, or not there at all (DESIGN section 6).
//!
//! ```text
//!   .anyport-<key>.part ──write──► checked ──fsync──► rename ──fsync directory──► receipt
//! ```

use std::fs::{File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::hasher::{Checkpoint, Hasher};
use anyport_proto::transfer::offer::{Offer, OnExists};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, statat};
use rustix::io::Errno;

use super::digest_memory;
use super::directory::Directory;
use super::part::{self, PartKey, StateFile};

#[derive(Debug)]
pub(crate) struct FileSink {
    directory: Arc<Directory>,
    /// Locked: nobody else writes to it, and nobody sweeps it.
    file: Arc<File>,
    part: Option<Part>,
    write_at: u64,
    read_at: u64,
    /// Bytes on disk before a rewrite; the file must be cut after it.
    raw_len: u64,
    /// Removed unless it is published.
    not_kept: bool,
}

/// The hidden file; removed when dropped.
#[derive(Debug)]
struct Part {
    name: String,
    /// Where it can be gone on with.
    state: Option<StateFile>,
}

impl FileSink {
    pub(super) fn create(directory: Arc<Directory>, mode: Option<u32>) -> io::Result<Self> {
        let name = part::random_name()?;
        // Exclusive: a part is never shared, and a link that lies in wait is not followed.
        let file = open_part(&directory, &name, OFlags::EXCL, mode)?;
        // Without locks too: no other connection opens a file of this name.
        lock(&file);
        Ok(Self::new(directory, file, Part { name, state: None }, 0))
    }

    /// The part of `key`, with what is in it if it is to be gone on with. `None` while somebody else holds it.
    pub(super) fn open(
        directory: Arc<Directory>,
        key: &PartKey,
        resume: bool,
        mode: Option<u32>,
    ) -> io::Result<Option<Self>> {
        let name = key.part_name();
        let file = loop {
            let file = open_part(&directory, &name, OFlags::empty(), mode)?;
            match lock(&file) {
                Lock::Ours => {}
                Lock::Held => return Ok(None),
                // Two connections could write to it, so none does.
                Lock::Unsupported => {
                    let _ =
                        rustix::fs::unlinkat(directory.handle(), name.as_str(), AtFlags::empty());
                    return Self::create(directory, mode).map(Some);
                }
            }
            // Whoever held it may have published or removed it between our two steps.
            let is_same = statat(directory.handle(), name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| file.metadata().is_ok_and(|ours| ours.ino() == stat.st_ino));
            if is_same {
                break file;
            }
        };
        directory.release_partial(&name);
        let mut state = StateFile::new(key);
        let metadata = file.metadata()?;
        // An earlier attempt may have asked for wider permissions.
        let wider = metadata.mode() & 0o777 & !anyport_disk::partial_mode(mode);
        if wider != 0 {
            let narrow = Permissions::from_mode(metadata.mode() & 0o777 & !wider);
            // A file system without permissions protects no file anyway.
            if let Err(error) = file.set_permissions(narrow) {
                tracing::debug!(%error, "cannot restrict the permissions of a partial file");
            }
        }
        let mut length = metadata.len();
        if !resume || length == 0 {
            // A state without its part, or beside a part that begins anew, is another one's.
            file.set_len(0)?;
            state.remove(directory.handle());
            length = 0;
        }
        Ok(Some(Self::new(directory, file, Part { name, state: Some(state) }, length)))
    }

    fn new(directory: Arc<Directory>, file: File, part: Part, length: u64) -> Self {
        let (file, part) = (Arc::new(file), Some(part));
        Self { directory, file, part, write_at: length, read_at: 0, raw_len: 0, not_kept: false }
    }

    /// The same, removed when it is interrupted.
    pub(crate) const fn not_kept(mut self) -> Self {
        self.not_kept = true;
        self
    }

    /// What an earlier attempt left.
    pub(crate) const fn length(&self) -> u64 {
        self.write_at
    }

    /// What the file system calls it, whatever its name.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.ino())
    }

    /// Whether another attempt can go on with it.
    pub(super) const fn can_be_resumed(&self) -> bool {
        matches!(&self.part, Some(Part { state: Some(_), .. }))
    }

    /// What is to be said of it to the operator.
    pub(crate) fn describe(&mut self, path: &FilePath, offer: &Offer) {
        if let Some(Part { state: Some(state), .. }) = &mut self.part {
            state.describe(path, offer);
        }
    }

    /// Returns a hasher that has seen what the checkpoints of an earlier attempt cover.
    pub(crate) fn hasher(&self, algorithm: Algorithm) -> Hasher {
        let checkpoints = match &self.part {
            Some(Part { state: Some(state), .. }) if self.write_at > 0 => {
                state.read(self.directory.handle(), self.write_at)
            }
            _ => Vec::new(),
        };
        Hasher::resume(algorithm, &checkpoints, self.write_at)
    }

    /// Keeps what the digest can go on from after a break.
    pub(super) fn save(&mut self, checkpoints: &[Checkpoint]) {
        if let Some(Part { state: Some(state), .. }) = &mut self.part {
            state.append(self.directory.handle(), checkpoints);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.write_at)?;
        self.write_at += bytes.len() as u64;
        Ok(())
    }

    /// Where the next bytes belong, for whoever can put them there without a way through our memory.
    pub(crate) const fn next_place(&self) -> (&Arc<File>, u64) {
        (&self.file, self.write_at)
    }

    /// So many bytes were put there.
    pub(super) const fn put(&mut self, count: u64) {
        self.write_at += count;
    }

    pub(super) const fn begin_rewrite(&mut self) {
        self.raw_len = self.write_at;
        self.read_at = 0;
        self.write_at = 0;
    }

    pub(super) fn read_back(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.raw_len - self.read_at).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let (wanted, _) = buffer.split_at_mut(count);
        self.file.read_exact_at(wanted, self.read_at)?;
        self.read_at += count as u64;
        Ok(count)
    }

    /// Publishes what is there, and says whether it is durable. After an error the part is still ours.
    pub(super) fn finish(
        &mut self,
        path: &FilePath,
        offer: &Offer,
        on_exists: OnExists,
        digest: Option<&Digest>,
    ) -> io::Result<(FilePath, bool)> {
        self.cut_raw_tail()?;
        // Before the sync, which carries all of it to the disk.
        self.set_mode(offer);
        date(&self.file, offer.mtime);
        if let Some(digest) = digest {
            digest_memory::remember(&self.file, digest);
        }
        let published = self.sync().and_then(|synced| {
            let Some(part) = &self.part else { return Err(io::ErrorKind::NotFound.into()) };
            let (published, named) =
                self.directory.publish(&part.name, &self.file, path, on_exists)?;
            Ok((published, synced && named))
        });
        match &published {
            Ok(_) => {
                if let Some(Part { state: Some(mut state), .. }) = self.part.take() {
                    state.remove(self.directory.handle());
                }
            }
            // A part that looks as old as its file would be swept.
            Err(_) => drop(self.file.set_modified(std::time::SystemTime::now())),
        }
        published
    }

    fn sync(&mut self) -> io::Result<bool> {
        if !self.directory.is_durable() {
            return Ok(false);
        }
        anyport_disk::sync(&self.file).inspect_err(|_| {
            // The kernel may have given up pages that never reached the disk: nobody may go on with them.
            if let Some(mut state) = self.part.as_mut().and_then(|part| part.state.take()) {
                state.remove(self.directory.handle());
            }
        })
    }

    /// Sets the permissions that the sender asked for, before anybody can see the file. What the file system does not know is
    /// not worth losing the file.
    fn set_mode(&self, offer: &Offer) {
        let Some(mode) = offer.mode.map(|mode| self.directory.limited_mode(mode)) else { return };
        let set = self.file.metadata().and_then(|metadata| match metadata.mode() & 0o777 == mode {
            true => Ok(()),
            false => self.file.set_permissions(Permissions::from_mode(mode)),
        });
        if let Err(error) = set {
            tracing::warn!(%error, "cannot set the requested permissions");
        }
    }

    /// After a rewrite the file is longer than what was decoded.
    fn cut_raw_tail(&self) -> io::Result<()> {
        if self.raw_len > self.write_at { self.file.set_len(self.write_at) } else { Ok(()) }
    }

    pub(super) fn keep_part(mut self, owner: IpAddr) -> Option<String> {
        // An empty part is of no use to anybody.
        if self.not_kept || self.write_at == 0 || self.cut_raw_tail().is_err() {
            return None;
        }
        // An operator who finds the part finds whose it is, too.
        self.save(&[]);
        let part = self.part.take()?;
        self.directory.add_partial(&part.name, Some(owner), self.write_at);
        Some(part.name)
    }

    /// Keeps it where nobody goes on with it.
    pub(super) fn keep_apart(mut self, owner: IpAddr) -> Option<String> {
        let apart = part::random_name().ok()?;
        let part = self.part.as_mut()?;
        let handle = self.directory.handle();
        rustix::fs::renameat(handle, part.name.as_str(), handle, apart.as_str()).ok()?;
        part.name = apart;
        if let Some(mut state) = part.state.take() {
            state.remove(handle);
        }
        self.keep_part(owner)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        let Some(part) = &mut self.part else { return };
        let handle = self.directory.handle();
        if let Err(error) = rustix::fs::unlinkat(handle, part.name.as_str(), AtFlags::empty()) {
            tracing::warn!(part = part.name, %error, "cannot remove a partial file");
        }
        if let Some(state) = &mut part.state {
            state.remove(handle);
        }
    }
}

/// Whether a partial file could be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Ours,
    /// By another connection.
    Held,
    /// The file system has no locks.
    Unsupported,
}

/// Locks a partial file until it is closed.
pub(super) fn lock(file: &File) -> Lock {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Ours,
        Err(Errno::WOULDBLOCK) => Lock::Held,
        Err(_) => Lock::Unsupported,
    }
}

fn open_part(
    directory: &Directory,
    name: &str,
    how: OFlags,
    mode: Option<u32>,
) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
    let mode = Mode::from_raw_mode(anyport_disk::partial_mode(mode));
    Ok(openat(directory.handle(), name, flags, mode)?.into())
}

/// Sets the time that the sender asked for.
pub(crate) fn date(file: &File, mtime: Option<FileTime>) {
    if let Some(time) = mtime.and_then(FileTime::to_system_time)
        && let Err(error) = file.set_modified(time)
    {
        tracing::warn!(%error, "cannot set the requested modification time");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::Config;
    use crate::sink::Served;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn directory(path: &Path) -> Arc<Directory> {
        let mut config = Config::new(path);
        config.keep_partial = DAY;
        Served::open(&config).unwrap().now()
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    const OWNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn name(text: &str) -> FilePath {
        FilePath::sanitize(text).unwrap()
    }

    fn finish(mut sink: FileSink, path: &str) -> FilePath {
        sink.finish(&name(path), &Offer::default(), OnExists::Rename, None).unwrap().0
    }

    #[test]
    fn a_file_is_hidden_until_it_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_part(None).unwrap();
        sink.write(b"half").unwrap();
        assert!(names(scratch.path())[0].starts_with(".anyport-"));
        sink.write(b" and half").unwrap();
        finish(sink, "whole.txt");
        assert_eq!(names(scratch.path()), ["whole.txt"]);
        assert_eq!(std::fs::read(scratch.path().join("whole.txt")).unwrap(), b"half and half");
    }

    #[test]
    fn dropped_it_leaves_nothing_and_kept_it_leaves_the_part() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = directory(scratch.path());
        let mut sink = directory.create_part(None).unwrap();
        sink.write(b"lost").unwrap();
        drop(sink);
        assert!(names(scratch.path()).is_empty());
        let mut sink = directory.create_part(None).unwrap();
        sink.write(b"kept").unwrap();
        let part = sink.keep_part(OWNER).unwrap();
        assert_eq!(names(scratch.path()), [part]);
        assert_eq!(directory.create_part(None).unwrap().keep_part(OWNER), None);
    }

    #[test]
    fn a_kept_part_holds_what_was_decoded_and_no_raw_tail() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_part(None).unwrap();
        sink.write(b"h-e-l-l-o-").unwrap();
        sink.begin_rewrite();
        sink.write(b"hel").unwrap();
        let part = sink.keep_part(OWNER).unwrap();
        assert_eq!(std::fs::read(scratch.path().join(part)).unwrap(), b"hel");
    }

    #[test]
    fn parts_are_kept_for_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let fresh = scratch.path().join(".anyport-0123.part");
        let old = scratch.path().join(".anyport-4567.part");
        let other = scratch.path().join("old.part");
        let long_ago = SystemTime::now() - 2 * DAY;
        for path in [&fresh, &old, &other] {
            let file = File::create(path).unwrap();
            if path != &fresh {
                file.set_modified(long_ago).unwrap();
            }
        }
        directory(scratch.path());
        assert_eq!(names(scratch.path()), [".anyport-0123.part", "old.part"]);
    }

    #[test]
    fn a_hundred_files_of_one_name_at_once_are_a_hundred_files() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = directory(scratch.path());
        let stored: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100_u8)
                .map(|i| {
                    let directory = &directory;
                    scope.spawn(move || {
                        let mut sink = directory.create_part(None).unwrap();
                        sink.write(&[i; 10]).unwrap();
                        (i, finish(sink, "same.bin"))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(names(scratch.path()).len(), 100);
        for (i, name) in stored {
            assert_eq!(std::fs::read(scratch.path().join(name)).unwrap(), [i; 10]);
        }
    }

    #[test]
    fn a_rewritten_file_is_cut_to_what_was_rewritten() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_part(None).unwrap();
        sink.write(b"h-e-l-l-o-").unwrap();
        sink.begin_rewrite();
        let mut pair = [0; 2];
        while sink.read_back(&mut pair).unwrap() > 0 {
            sink.write(&pair[..1]).unwrap();
        }
        sink.write(b"!").unwrap();
        let stored = finish(sink, "x");
        assert_eq!(std::fs::read(scratch.path().join(stored)).unwrap(), b"hello!");
    }
}
