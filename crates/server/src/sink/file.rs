//! A file in the served directory: complete under its name, or not there at all (DESIGN section 6).
//!
//! ```text
//!   .anyport-<id>.part ──write──► checked ──fsync──► rename, never over another file ──fsync directory──► receipt
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyport_proto::transfer::file_name::FileName;
use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use crate::config::Fsync;

/// How many names made from one are tried in order: `photo.jpg`, `photo-1.jpg`, … Then numbers are drawn by lot, as a
/// peer that repeats one name must not make each file dearer than the last.
const NAMES_IN_ORDER: u32 = 1000;

/// How many are drawn before giving up.
const NAMES_BY_LOT: u32 = 100;

/// The directory that files land in.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// For its fsync, and for what is opened beneath it.
    handle: File,
    fsync: Fsync,
    /// How long a part is kept after its last byte.
    keep_parts: Duration,
}

impl Directory {
    pub(crate) fn open(path: &Path, fsync: Fsync, keep_parts: Duration) -> io::Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed())
            .open(path)?;
        let directory = Self { path: path.to_owned(), handle, fsync, keep_parts };
        directory.sweep_parts();
        Ok(directory)
    }

    /// The directory itself.
    pub(crate) const fn handle(&self) -> &File {
        &self.handle
    }

    /// Whether a receipt says that the file is on the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.fsync == Fsync::File
    }

    /// Removes parts that nobody has written to for `keep_parts`. What cannot be looked at is left alone.
    fn sweep_parts(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let age =
                |entry: &std::fs::DirEntry| entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if name.starts_with(PART_PREFIX)
                && name.ends_with(PART_SUFFIX)
                && age(&entry).is_some_and(|age| age > self.keep_parts)
            {
                match std::fs::remove_file(entry.path()) {
                    Ok(()) => tracing::info!(part = %name, "removed an old part"),
                    Err(error) => tracing::warn!(part = %name, %error, "cannot remove an old part"),
                }
            }
        }
    }

    /// Bytes that an upload could still take here.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(crate) fn create_part(self: &Arc<Self>) -> io::Result<FileSink> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let name = format!("{PART_PREFIX}{:016x}{PART_SUFFIX}", u64::from_be_bytes(id));
        let path = self.path.join(&name);
        // `create_new`: a part is never shared, and a link that lies in wait is not followed.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(FileSink {
            directory: self.clone(),
            file,
            part: Some(Part { path, name }),
            write_at: 0,
            read_at: 0,
            raw_len: 0,
        })
    }
}

const PART_PREFIX: &str = ".anyport-";
const PART_SUFFIX: &str = ".part";

#[derive(Debug)]
pub(crate) struct FileSink {
    directory: Arc<Directory>,
    file: File,
    part: Option<Part>,
    write_at: u64,
    read_at: u64,
    /// Bytes on disk before a rewrite; the file must be cut after it.
    raw_len: u64,
}

/// The hidden file; removed when dropped.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    name: String,
}

impl FileSink {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.write_at)?;
        self.write_at += bytes.len() as u64;
        Ok(())
    }

    /// Where the next bytes belong, for whoever can put them there without a way through our memory.
    pub(super) const fn next_place(&self) -> (&File, u64) {
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

    pub(super) fn finish(mut self, name: &FileName) -> io::Result<FileName> {
        self.cut_raw_tail()?;
        let durable = self.directory.is_durable();
        if durable {
            self.file.sync_all()?;
        }
        let Some(part) = &self.part else { return Err(io::ErrorKind::NotFound.into()) };
        let published = publish(&self.directory.path, &part.path, name)?;
        if durable && let Err(error) = self.directory.handle.sync_all() {
            // The sender is about to hear that nothing was stored, so nothing must be seen.
            let _ = std::fs::rename(self.directory.path.join(&published), &part.path);
            return Err(error);
        }
        self.part = None;
        Ok(published)
    }

    /// After a rewrite the file is longer than what was decoded.
    fn cut_raw_tail(&self) -> io::Result<()> {
        if self.raw_len > self.write_at { self.file.set_len(self.write_at) } else { Ok(()) }
    }

    pub(super) fn keep_part(mut self) -> Option<String> {
        // An empty part is of no use to anybody.
        if self.write_at == 0 || self.cut_raw_tail().is_err() {
            return None;
        }
        self.directory.sweep_parts();
        self.part.take().map(|part| part.name)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Some(part) = &self.part
            && let Err(error) = std::fs::remove_file(&part.path)
        {
            tracing::warn!(part = part.name, %error, "cannot remove an unfinished file");
        }
    }
}

/// Renames `part` to `name`, or to the first numbered name that is free. Never over another file, also when many do so
/// at once: the kernel decides who has a name.
fn publish(directory: &Path, part: &Path, name: &FileName) -> io::Result<FileName> {
    for attempt in 0..NAMES_IN_ORDER + NAMES_BY_LOT {
        let candidate = match attempt {
            0 => name.clone(),
            in_order if in_order < NAMES_IN_ORDER => name.numbered(in_order),
            _ => name.numbered(getrandom::u32()?),
        };
        match rename_exclusive(part, &directory.join(&candidate)) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(candidate),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("more than {NAMES_IN_ORDER} files are named like {name}"),
    ))
}

fn rename_exclusive(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without RENAME_NOREPLACE: a link is exclusive too.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            // The file is there under its name; a second, hidden one is swept later.
            let _ = rustix::fs::unlink(from);
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn directory(path: &Path) -> Arc<Directory> {
        Arc::new(Directory::open(path, Fsync::File, DAY).unwrap())
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn name(text: &str) -> FileName {
        FileName::sanitize(text).unwrap()
    }

    #[test]
    fn a_file_is_hidden_until_it_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_part().unwrap();
        sink.write(b"half").unwrap();
        assert!(names(scratch.path())[0].starts_with(".anyport-"));
        sink.write(b" and half").unwrap();
        sink.finish(&name("whole.txt")).unwrap();
        assert_eq!(names(scratch.path()), ["whole.txt"]);
        assert_eq!(std::fs::read(scratch.path().join("whole.txt")).unwrap(), b"half and half");
    }

    #[test]
    fn dropped_it_leaves_nothing_and_kept_it_leaves_the_part() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = directory(scratch.path());
        let mut sink = directory.create_part().unwrap();
        sink.write(b"lost").unwrap();
        drop(sink);
        assert!(names(scratch.path()).is_empty());
        let mut sink = directory.create_part().unwrap();
        sink.write(b"kept").unwrap();
        let part = sink.keep_part().unwrap();
        assert_eq!(names(scratch.path()), [part]);
        assert_eq!(directory.create_part().unwrap().keep_part(), None);
    }

    #[test]
    fn a_kept_part_holds_what_was_decoded_and_no_raw_tail() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_part().unwrap();
        sink.write(b"h-e-l-l-o-").unwrap();
        sink.begin_rewrite();
        sink.write(b"hel").unwrap();
        let part = sink.keep_part().unwrap();
        assert_eq!(std::fs::read(scratch.path().join(part)).unwrap(), b"hel");
    }

    #[test]
    fn parts_are_kept_for_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let fresh = scratch.path().join(".anyport-0123.part");
        let old = scratch.path().join(".anyport-4567.part");
        let other = scratch.path().join("old.part");
        let long_ago = std::time::SystemTime::now() - 2 * DAY;
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
                        let mut sink = directory.create_part().unwrap();
                        sink.write(&[i; 10]).unwrap();
                        (i, sink.finish(&name("same.bin")).unwrap())
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
        let mut sink = directory(scratch.path()).create_part().unwrap();
        sink.write(b"h-e-l-l-o-").unwrap();
        sink.begin_rewrite();
        let mut pair = [0; 2];
        while sink.read_back(&mut pair).unwrap() > 0 {
            sink.write(&pair[..1]).unwrap();
        }
        sink.write(b"!").unwrap();
        let stored = sink.finish(&name("x")).unwrap();
        assert_eq!(std::fs::read(scratch.path().join(stored)).unwrap(), b"hello!");
    }
}
