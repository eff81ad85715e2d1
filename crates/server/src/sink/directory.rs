//! The served directory: where files land, where their parts wait, and how long.

use std::fs::{File, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyport_disk::At;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::OnExists;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::file::{self, FileSink, Lock};
use super::part::{self, PartKey};
use super::partials::{PartialLimits, Partials};
use super::target::check_name;
use super::{beneath, digest_memory};
use crate::config::{Config, Fsync};

/// How many names made from one are tried in order: `photo.jpg`, `photo-1.jpg`, … Then numbers are drawn by lot, as a
/// peer that repeats one name must not make each file dearer than the last.
const NAMES_IN_ORDER: u32 = 1000;

/// How many are drawn before giving up.
const NAMES_BY_LOT: u32 = 100;

/// The directory behind a handle, and the index of its partial files. Everything in it is reached from the handle.
#[derive(Debug)]
pub(crate) struct Place {
    handle: File,
    device: u64,
    /// Bytes in which its file system gives out space.
    block: u64,
    /// Bytes of its file system.
    capacity: u64,
    partials: Partials,
}

impl Place {
    pub(super) fn new(handle: File) -> io::Result<Self> {
        let device = rustix::fs::fstat(&handle)?.st_dev;
        let (block, capacity) = match rustix::fs::fstatvfs(&handle) {
            Ok(stat) => (stat.f_frsize.max(1), stat.f_blocks.saturating_mul(stat.f_frsize)),
            Err(_) => (USUAL_BLOCK, u64::MAX),
        };
        Ok(Self { handle, device, block, capacity, partials: Partials::default() })
    }

    /// Whether it is the directory that `found` describes.
    pub(super) fn is(&self, found: &Metadata) -> bool {
        let ours = self.handle.metadata();
        ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
}

/// How files are stored in the served directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Otherwise nothing is changed there, partial files included.
    pub(super) stores_files: bool,
    fsync: Fsync,
    /// How long a partial file is kept after its last byte.
    keep_partial: Duration,
    max_partial: usize,
    max_partial_bytes: Option<u64>,
    /// Whether permissions that a sender asks for are set beyond the umask.
    exact_modes: bool,
}

impl Settings {
    pub(super) const fn of(config: &Config) -> Self {
        Self {
            stores_files: config.stores_files(),
            fsync: config.fsync,
            keep_partial: config.keep_partial,
            max_partial: config.max_partial,
            max_partial_bytes: config.max_partial_bytes,
            exact_modes: config.perms,
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.fsync == Fsync::File
    }
}

/// The directory that files are stored in, as one transfer sees it.
#[derive(Debug)]
pub(crate) struct Directory {
    place: Arc<Place>,
    settings: Settings,
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
    pub(super) const fn new(place: Arc<Place>, settings: Settings) -> Self {
        Self { place, settings }
    }

    /// Whether a receipt says that the file is on the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.settings.is_durable()
    }

    /// The directory itself.
    pub(crate) fn handle(&self) -> &File {
        &self.place.handle
    }

    /// Whether `other` is the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place, &other.place)
    }

    /// Bytes in which its file system gives out space.
    pub(crate) fn block(&self) -> u64 {
        self.place.block
    }

    pub(super) fn device(&self) -> u64 {
        self.place.device
    }

    /// The permissions of a file whose sender asks for `mode`.
    pub(super) fn limited_mode(&self, mode: u32) -> u32 {
        anyport_disk::limited_mode(mode, self.settings.exact_modes)
    }

    /// Stores an empty file as every file is stored, and returns what the file system lacks for it.
    ///
    /// # Errors
    /// What the kernel said: nothing can be stored.
    pub(crate) fn probe(&self) -> io::Result<Vec<anyport_disk::Lack>> {
        let names = [part::random_name()?, part::random_name()?];
        anyport_disk::probe(self.handle(), [&names[0], &names[1]])
    }

    /// Bytes that an upload could still take here.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.handle())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What has the name now. A link is looked at itself: nobody writes through one.
    pub(crate) fn present(&self, path: &FilePath) -> io::Result<Option<Present>> {
        let present = |stat: Stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            Present {
                is_file: kind.is_file(),
                is_directory: kind.is_dir(),
                size: stat.st_size.cast_unsigned(),
                mtime: digest_memory::mtime(&stat),
            }
        };
        Ok(beneath::stat(self.handle(), path)?.map(present))
    }

    /// A part that nobody can go on with, for a file at the top.
    pub(crate) fn create_part(self: &Arc<Self>, mode: Option<u32>) -> io::Result<FileSink> {
        FileSink::create(self.clone(), mode)
    }

    /// The part of `key`: with what an earlier attempt left, or from the start. `None` while somebody else writes to it.
    pub(crate) fn open_part(
        self: &Arc<Self>,
        key: &PartKey,
        resume: bool,
        mode: Option<u32>,
    ) -> io::Result<Option<FileSink>> {
        FileSink::open(self.clone(), key, resume, mode)
    }

    /// Whether there is a part of `key`.
    pub(crate) fn has_part(&self, key: &PartKey) -> bool {
        statat(self.handle(), key.part_name(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Makes the directory `path`; that it is there already is fine.
    pub(crate) fn make(&self, path: &FilePath) -> io::Result<()> {
        let parent = self.parent(path)?;
        let above = parent.as_ref().unwrap_or(&self.place.handle);
        let name = path.file_name();
        match rustix::fs::mkdirat(above, name.as_bytes(), Mode::from_raw_mode(0o777)) {
            Ok(()) if self.is_durable() => anyport_disk::sync(above).map(drop),
            Ok(()) => Ok(()),
            Err(Errno::EXIST)
                if self.present(path)?.is_some_and(|present| present.is_directory) =>
            {
                check_name(above, name.as_bytes())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes partial files that no connection holds and that were last written `keep_partial` ago.
    pub(crate) fn sweep_parts(&self) {
        if !self.settings.stores_files {
            return;
        }
        for (name, _, _) in self.parts(|age| age > self.settings.keep_partial) {
            self.remove_part(&name, Why::Old);
        }
        // Those that others removed take no space any more.
        for name in self.place.partials.names() {
            let found = statat(self.handle(), &name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_err_and(|error| error == Errno::NOENT) {
                self.place.partials.remove(&name);
            }
        }
    }

    /// Does the same for those in the index, which costs little where none is old.
    pub(crate) fn sweep_index(&self) {
        while let Some(name) = self.place.partials.oldest() {
            match statat(self.handle(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if age(stat.st_mtime) > self.settings.keep_partial => {
                    self.remove_part(&name, Why::Old);
                }
                Err(Errno::NOENT) => self.place.partials.remove(&name),
                _ => return,
            }
            // It is held after all.
            if self.place.partials.oldest() == Some(name) {
                return;
            }
        }
    }

    /// Indexes the partial files that an earlier run left, the oldest first.
    pub(super) fn index_partials(&self) {
        self.sweep_parts();
        let mut parts = self.parts(|_| true);
        parts.retain(|(name, _, _)| !part::is_state(name));
        parts.sort_by_key(|(_, age, _)| std::cmp::Reverse(*age));
        for (name, _, bytes) in parts {
            self.add_partial(&name, None, bytes);
        }
    }

    /// Indexes a partial file that is kept, and removes those that exceed the limits with it.
    pub(super) fn add_partial(&self, name: &str, owner: Option<IpAddr>, bytes: u64) {
        let Settings { max_partial, max_partial_bytes, .. } = self.settings;
        let bytes_limit = max_partial_bytes.unwrap_or(self.place.capacity / 2);
        let limits = PartialLimits { files: max_partial, bytes: bytes_limit };
        for evicted in self.place.partials.keep(name, owner, bytes, limits) {
            self.remove_part(&evicted, Why::Surplus);
        }
    }

    /// Takes a partial file out of the index that a connection writes to from now on.
    pub(super) fn release_partial(&self, name: &str) {
        self.place.partials.remove(name);
    }

    /// Names of partial files and states, with the time since the last byte and the size, as far as they can be looked at.
    fn parts(&self, is_wanted: impl Fn(Duration) -> bool) -> Vec<(String, Duration, u64)> {
        let Ok(entries) = Dir::read_from(self.handle()) else { return Vec::new() };
        let look = |entry: DirEntry| {
            let name = entry.file_name().to_str().ok().filter(|name| part::is_ours(name))?;
            let stat = statat(self.handle(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((name.to_owned(), age(stat.st_mtime), stat.st_size.cast_unsigned()))
        };
        entries.flatten().filter_map(look).filter(|(_, age, _)| is_wanted(*age)).collect()
    }

    /// Removes a partial file or state that no connection holds.
    fn remove_part(&self, name: &str, why: Why) {
        let Some(_held) = self.abandoned(name, why) else { return };
        self.place.partials.remove(name);
        match rustix::fs::unlinkat(self.handle(), name, AtFlags::empty()) {
            Ok(()) => tracing::info!(part = %name, ?why, "removed a partial file"),
            Err(error) => tracing::warn!(part = %name, %error, "cannot remove a partial file"),
        }
        if let Some(state) = part::state_of(name) {
            let _ = rustix::fs::unlinkat(self.handle(), state, AtFlags::empty());
        }
    }

    /// Whether `name` is that of `file`, still.
    pub(super) fn is_named(&self, name: &str, file: &File) -> io::Result<bool> {
        let ours = rustix::fs::fstat(file)?;
        let named = statat(self.handle(), name, AtFlags::SYMLINK_NOFOLLOW);
        Ok(named.is_ok_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)))
    }

    /// Locks a partial file, or a state without one, that no connection holds.
    fn abandoned(&self, name: &str, why: Why) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(self.handle(), name, flags, Mode::empty()).ok()?);
        // The state of a partial file goes with it, or after it.
        let is_alone = part::part_of(name)
            .is_none_or(|part| statat(self.handle(), part, AtFlags::SYMLINK_NOFOLLOW).is_err());
        let is_free = match file::lock(&file) {
            Lock::Ours => true,
            Lock::Held => false,
            // It may have the time of the file that it is about to become, but no such change.
            Lock::Unsupported => {
                why == Why::Surplus
                    || age(file.metadata().ok()?.ctime()) > self.settings.keep_partial
            }
        };
        let is_ours = is_alone && is_free && self.is_named(name, &file).unwrap_or(false);
        is_ours.then_some(file)
    }

    /// The directory of `path`, made where it is missing; none at the top. Links are not followed, so nothing leads out.
    fn parent(&self, path: &FilePath) -> io::Result<Option<File>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let mut directory: Option<File> = None;
        for name in parent.components() {
            let above = directory.as_ref().unwrap_or(&self.place.handle);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(above, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) if self.is_durable() => {
                            anyport_disk::sync(above)?;
                        }
                        Ok(()) => {}
                        // Another upload may have created it, perhaps under another spelling.
                        Err(Errno::EXIST) => check_name(above, name)?,
                        Err(error) => return Err(error.into()),
                    }
                    openat(above, name, flags, Mode::empty())?
                }
                opened => {
                    check_name(above, name)?;
                    opened?
                }
            };
            directory = Some(opened.into());
        }
        Ok(directory)
    }

    /// Gives `part` the name `path`, or what `on_exists` says if that is taken, and makes it durable; returns the name, and
    /// whether it is durable.
    pub(super) fn publish(
        &self,
        part: &str,
        file: &File,
        path: &FilePath,
        on_exists: OnExists,
    ) -> io::Result<(FilePath, bool)> {
        let parent = self.parent(path)?;
        let into = parent.as_ref().unwrap_or(&self.place.handle);
        if !self.is_named(part, file)? {
            return Err(io::Error::other("the partial file of this upload was removed"));
        }
        let published = self.rename(part, file, into, path, on_exists)?;
        if !self.is_durable() {
            return Ok((published, false));
        }
        let error = match anyport_disk::sync(into) {
            Ok(durable) => return Ok((published, durable)),
            Err(error) => error,
        };
        // An error tells the sender that nothing was stored, so nothing may be visible: or it is no error.
        let name = published.file_name();
        if on_exists != OnExists::Overwrite
            && rustix::fs::renameat(into, name.as_bytes(), self.handle(), part).is_ok()
        {
            return Err(error);
        }
        tracing::error!(%error, path = %published, "stored, but its directory cannot be synced");
        Ok((published, false))
    }

    fn rename(
        &self,
        part: &str,
        file: &File,
        into: &File,
        path: &FilePath,
        on_exists: OnExists,
    ) -> io::Result<FilePath> {
        let part = At { directory: self.handle().as_fd(), name: Path::new(part) };
        if on_exists == OnExists::Overwrite {
            let name = path.file_name();
            let to = At { directory: into.as_fd(), name: name.as_ref() };
            // Of two files that the file system does not distinguish, the second finds the first one here.
            if anyport_disk::rename_no_replace(file, part, to) == Err(Errno::EXIST) {
                check_name(into, name.as_bytes())?;
                rustix::fs::renameat(part.directory, part.name, into, name.as_bytes())?;
            }
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
            // Also when many do so at once: the kernel decides which file has a name.
            let name = candidate.file_name();
            let to = At { directory: into.as_fd(), name: name.as_ref() };
            match anyport_disk::rename_no_replace(file, part, to) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(candidate),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("more than {NAMES_IN_ORDER} files are named like {path}"),
        ))
    }
}

/// Why a partial file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Kept for long enough.
    Old,
    /// One of too many.
    Surplus,
}

/// How long ago `seconds` since the epoch were; a time in the future has no age.
fn age(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Bytes of a block where the file system does not say how many.
const USUAL_BLOCK: u64 = 4096;
