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

use anyport_proto::transfer::file_name::FileName;
use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use crate::config::Fsync;

/// How many names made from one are tried before giving up: `photo.jpg`, `photo-1.jpg`, …
const NAME_ATTEMPTS: u32 = 100_000;

/// The directory that files land in.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// For its fsync.
    handle: File,
    fsync: Fsync,
}

impl Directory {
    pub(crate) fn open(path: &Path, fsync: Fsync) -> io::Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed())
            .open(path)?;
        Ok(Self { path: path.to_owned(), handle, fsync })
    }

    /// Bytes that an upload could still take here.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(crate) fn create_part(self: &Arc<Self>) -> io::Result<FileSink> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let name = format!(".anyport-{:016x}.part", u64::from_be_bytes(id));
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
        if self.raw_len > self.write_at {
            self.file.set_len(self.write_at)?;
        }
        if self.directory.fsync == Fsync::File {
            self.file.sync_all()?;
        }
        let Some(part) = &self.part else { return Err(io::ErrorKind::NotFound.into()) };
        let published = publish(&self.directory.path, &part.path, name)?;
        self.part = None;
        if self.directory.fsync == Fsync::File {
            self.directory.handle.sync_all()?;
        }
        Ok(published)
    }

    pub(super) fn keep_part(mut self) -> Option<String> {
        // An empty part is of no use to anybody.
        if self.write_at == 0 {
            return None;
        }
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
    for attempt in 0..NAME_ATTEMPTS {
        let candidate = if attempt == 0 { name.clone() } else { name.numbered(attempt) };
        match rename_exclusive(part, &directory.join(&candidate)) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(candidate),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{NAME_ATTEMPTS} files are named like {name} already"),
    ))
}

fn rename_exclusive(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without RENAME_NOREPLACE: a link is exclusive too.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            rustix::fs::unlink(from)
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
        Arc::new(Directory::open(path, Fsync::File).unwrap())
    }

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
