//! The served directory: where files land, where their parts wait, and how long.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::{Offer, OnExists};
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock, openat, statat,
};
use rustix::io::Errno;

use super::file::{self, FileSink};
use super::part::{self, PartKey};
use super::{beneath, digest_memory};
use crate::config::Fsync;

/// How many names made from one are tried in order: `photo.jpg`, `photo-1.jpg`, … Then numbers are drawn by lot, as a
/// peer that repeats one name must not make each file dearer than the last.
const NAMES_IN_ORDER: u32 = 1000;

/// How many are drawn before giving up.
const NAMES_BY_LOT: u32 = 100;

/// The directory that files land in. Everything in it is reached from its handle, so that it may be moved meanwhile.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: Arc<File>,
    device: u64,
    fsync: Fsync,
    /// How long a part is kept after its last byte.
    keep_parts: Duration,
}

/// A file that is there already, as far as it can be compared with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) is_file: bool,
    pub(crate) is_directory: bool,
    pub(crate) size: u64,
    pub(crate) mtime: FileTime,
}

impl Directory {
    pub(crate) fn open(path: &Path, fsync: Fsync, keep_parts: Duration) -> io::Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(path)?;
        let device = rustix::fs::fstat(&handle)?.st_dev;
        Ok(Self { handle: Arc::new(handle), device, fsync, keep_parts })
    }

    /// The same one, with other settings.
    pub(crate) fn with(&self, fsync: Fsync, keep_parts: Duration) -> Self {
        Self { handle: self.handle.clone(), device: self.device, fsync, keep_parts }
    }

    /// Whether a receipt says that the file is on the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.fsync == Fsync::File
    }

    /// The directory itself.
    pub(crate) fn handle(&self) -> &File {
        &self.handle
    }

    /// Bytes that an upload could still take here.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What has the name now. A link is looked at itself: nobody writes through one.
    pub(crate) fn present(&self, path: &FilePath) -> io::Result<Option<Present>> {
        let present = |stat: Stat| {
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            Present {
                is_file: kind.is_file(),
                is_directory: kind.is_dir(),
                size: stat.st_size.cast_unsigned(),
                mtime: digest_memory::mtime(&stat),
            }
        };
        Ok(beneath::stat(&self.handle, path)?.map(present))
    }

    /// A part that nobody can go on with, for a file at the top.
    pub(crate) fn create_part(self: &Arc<Self>) -> io::Result<FileSink> {
        FileSink::create(self.clone())
    }

    /// The part of `key`: with what an earlier attempt left, or from the start. `None` while somebody else writes to it.
    pub(crate) fn open_part(
        self: &Arc<Self>,
        key: &PartKey,
        resume: bool,
    ) -> io::Result<Option<FileSink>> {
        FileSink::open(self.clone(), key, resume)
    }

    /// Whether there is a part of `key`.
    pub(crate) fn has_part(&self, key: &PartKey) -> bool {
        statat(&self.handle, key.part_name(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether `path` lies in another file system than the parts, so that they could not be renamed to it.
    pub(crate) fn is_elsewhere(&self, path: &FilePath) -> bool {
        let mut parent = path.parent();
        while let Some(above) = parent {
            if let Ok(stat) = statat(&self.handle, above.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                return stat.st_dev != self.device;
            }
            // Not made yet.
            parent = above.parent();
        }
        false
    }

    /// Makes the directory `path`; that it is there already is fine.
    pub(crate) fn make(&self, path: &FilePath) -> io::Result<()> {
        let parent = self.parent(path)?;
        let above = parent.as_ref().unwrap_or(&self.handle);
        let name = path.file_name();
        match rustix::fs::mkdirat(above, name.as_str(), Mode::from_raw_mode(0o777)) {
            Ok(()) if self.is_durable() => above.sync_all(),
            Ok(()) => Ok(()),
            Err(Errno::EXIST)
                if self.present(path)?.is_some_and(|present| present.is_directory) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes parts that nobody has written to for `keep_parts`, and that nobody holds. What cannot be looked at is left
    /// alone.
    pub(crate) fn sweep_parts(&self) {
        let Ok(entries) = Dir::read_from(&self.handle) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if part::is_ours(name)
                && let Some(_held) = self.abandoned(name)
            {
                match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
                    Ok(()) => tracing::info!(part = %name, "removed an old part"),
                    Err(error) => tracing::warn!(part = %name, %error, "cannot remove an old part"),
                }
            }
        }
    }

    /// Whether `name` is that of `file`, still.
    pub(super) fn is_named(&self, name: &str, file: &File) -> io::Result<bool> {
        let ours = rustix::fs::fstat(file)?;
        let named = statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
        Ok(named.is_ok_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)))
    }

    /// A part that nobody has written to for long and nobody holds; ours alone, while what is given is held.
    fn abandoned(&self, name: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.handle, name, flags, Mode::empty()).ok()?);
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        // A time in the future has no age.
        let age =
            modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let is_old = age.is_some_and(|age| age > self.keep_parts);
        // The state of a part goes with it, or after it.
        let is_alone = part::part_of(name)
            .is_none_or(|part| statat(&self.handle, part, AtFlags::SYMLINK_NOFOLLOW).is_err());
        let is_ours = is_old
            && is_alone
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && self.is_named(name, &file).unwrap_or(false);
        is_ours.then_some(file)
    }

    /// The directory of `path`, made where it is missing; none at the top. Links are not followed, so nothing leads out.
    fn parent(&self, path: &FilePath) -> io::Result<Option<File>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let mut directory: Option<File> = None;
        for name in parent.components() {
            let above = directory.as_ref().unwrap_or(&self.handle);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(above, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) if self.is_durable() => above.sync_all()?,
                        // Somebody else may have been quicker.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    openat(above, name, flags, Mode::empty())?
                }
                opened => opened?,
            };
            directory = Some(opened.into());
        }
        Ok(directory)
    }

    /// Gives `part` the name `path`, or what `on_exists` says if that is taken, and makes it durable.
    pub(super) fn publish(
        &self,
        part: &str,
        file: &File,
        path: &FilePath,
        offer: &Offer,
        on_exists: OnExists,
        digest: Option<&Digest>,
    ) -> io::Result<FilePath> {
        let parent = self.parent(path)?;
        let into = parent.as_ref().unwrap_or(&self.handle);
        if !self.is_named(part, file)? {
            return Err(io::Error::other("somebody has removed the part of this file"));
        }
        let published = self.rename(part, into, path, on_exists)?;
        file::date(file, offer.mtime);
        if let Some(digest) = digest {
            digest_memory::remember(file, digest);
        }
        // The directory's sync carries the time along.
        if self.is_durable()
            && let Err(error) = into.sync_all()
        {
            if on_exists != OnExists::Overwrite {
                // The sender is about to hear that nothing was stored, so nothing must be seen.
                let name = published.file_name();
                let _ = rustix::fs::renameat(into, name.as_str(), &self.handle, part);
            }
            return Err(error);
        }
        Ok(published)
    }

    fn rename(
        &self,
        part: &str,
        into: &File,
        path: &FilePath,
        on_exists: OnExists,
    ) -> io::Result<FilePath> {
        if on_exists == OnExists::Overwrite {
            let name = path.file_name();
            rustix::fs::renameat(&self.handle, part, into, name.as_str())?;
            return Ok(path.clone());
        }
        for attempt in 0..NAMES_IN_ORDER + NAMES_BY_LOT {
            let candidate = match attempt {
                0 => Ok(path.clone()),
                _ if on_exists == OnExists::Error => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                in_order if in_order < NAMES_IN_ORDER => path.numbered(in_order),
                _ => path.numbered(getrandom::u32()?),
            };
            let candidate = candidate.map_err(io::Error::other)?;
            match self.rename_exclusive(part, into, candidate.file_name().as_str()) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(candidate),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("more than {NAMES_IN_ORDER} files are named like {path}"),
        ))
    }

    /// Never over another file, also when many do so at once: the kernel decides who has a name.
    fn rename_exclusive(&self, part: &str, into: &File, name: &str) -> Result<(), Errno> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.handle, part, into, name, flags) {
            // File systems without RENAME_NOREPLACE: a link is exclusive too.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.handle, part, into, name, AtFlags::empty())?;
                // The file is there under its name; a second, hidden one is swept later.
                let _ = rustix::fs::unlinkat(&self.handle, part, AtFlags::empty());
                Ok(())
            }
            done => done,
        }
    }
}
