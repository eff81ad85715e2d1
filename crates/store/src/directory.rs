//! The served directory: publishing, and the partial files that are kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};

use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::{Offer, OnExists};
use rustix::fs::{AtFlags, Dir, DirEntry, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use serde_json::json;

use crate::beneath::{self, Attributes, Found, Kind};
use crate::disk::{self, Lock};
use crate::hidden::{Hidden, is_named};
use crate::index::{PartialLimits, Sources};
use crate::key::{SourceKey, TransferKey};
use crate::names;
use crate::quota::{Quota, StoreError};
use crate::root::Root;
use crate::state::StateFile;
use crate::usage::Usage;

/// The settings for files in the served directory.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether files are stored; otherwise nothing there is changed, not even old partial files.
    pub stores_files: bool,
    /// Whether a file and its directory entry are fsynced before the file counts as stored.
    pub fsync: bool,
    /// How long a partial file is kept after its last byte.
    pub keep_partial: Duration,
    /// Maximum number of partial files that are kept.
    pub max_partial: usize,
    /// Maximum size of all partial files that are kept; `None` for half of the file system.
    pub max_partial_bytes: Option<u64>,
    /// Whether requested permissions are set beyond the umask.
    pub exact_modes: bool,
    /// Limit for all files and partial files together.
    pub quota: Option<Usage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stores_files: true,
            fsync: true,
            keep_partial: Duration::from_secs(24 * 60 * 60),
            max_partial: 1000,
            max_partial_bytes: None,
            exact_modes: false,
            quota: None,
        }
    }
}

/// An upload that requests continue by its id.
#[derive(Debug)]
pub struct SavedUpload {
    /// The offer that created it, with the size once that is known.
    pub offer: Offer,
    /// The path, if it was recorded, and the size of the file, once that is stored.
    pub stored: Option<(Option<FilePath>, u64)>,
}

/// The directory that files are stored in, as one transfer sees it.
#[derive(Debug)]
pub struct Directory {
    root: Arc<Root>,
    settings: Settings,
    quota: Option<Arc<Quota>>,
}

impl Directory {
    pub(crate) const fn new(
        root: Arc<Root>,
        settings: Settings,
        quota: Option<Arc<Quota>>,
    ) -> Self {
        Self { root, settings, quota }
    }

    pub(crate) const fn fsyncs(&self) -> bool {
        self.settings.fsync
    }

    pub(crate) const fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }

    pub(crate) fn handle(&self) -> &File {
        &self.root.handle
    }

    pub(crate) fn shared_handle(&self) -> &Arc<File> {
        &self.root.handle
    }

    /// Excludes other changes of this process to entries that exist.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.root.change()
    }

    pub(crate) fn device(&self) -> u64 {
        self.root.device
    }

    /// The permissions of a file whose sender asks for `mode`.
    pub(crate) fn limited_mode(&self, mode: u32) -> u32 {
        disk::limited_mode(mode, self.settings.exact_modes)
    }

    /// Stores an empty file like any other file, and returns the features that the file system
    /// lacks.
    ///
    /// # Errors
    /// The kernel's error: nothing can be stored.
    pub fn probe(&self) -> io::Result<Vec<disk::Lack>> {
        let names = [names::random()?, names::random()?];
        disk::probe(self.handle(), [&names[0], &names[1]])
    }

    /// Returns the free bytes of the file system.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.handle())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns the entry `path`, if there is one; a link itself, as nothing is written through one.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn present(&self, path: &FilePath) -> io::Result<Option<Kind>> {
        beneath::present(self.handle(), path)
    }

    /// Opens the file at `path` for reading; links inside are followed.
    ///
    /// # Errors
    /// The kernel's error; `EXDEV` for a path that leaves the directory.
    pub fn open(&self, path: &FilePath) -> io::Result<Found> {
        beneath::open(self.handle(), path)
    }

    /// Returns what is at `path` without opening it for reading; a link to a regular file counts as
    /// that file.
    ///
    /// # Errors
    /// The kernel's error; `NOENT` where nothing is.
    pub fn look_at(&self, path: &FilePath) -> Result<Kind, Errno> {
        beneath::look_at(self.handle(), path)
    }

    /// Returns what changes with each entry that appears in a directory, leaves it, or gets another
    /// name; `None` for the top.
    ///
    /// Changes of one tick of the kernel's clock may not differ.
    ///
    /// # Errors
    /// The kernel's error; `NOTDIR` for a file.
    pub fn version(&self, path: Option<&FilePath>) -> io::Result<Attributes> {
        let Some(path) = path else { return beneath::attributes_of(self.handle()) };
        match self.look_at(path)? {
            Kind::Directory(attributes) => Ok(attributes),
            Kind::File(_) | Kind::Link | Kind::Special => Err(Errno::NOTDIR.into()),
        }
    }

    /// Returns whether there is a partial file of `key`.
    pub fn has_partial(&self, key: &TransferKey) -> bool {
        statat(self.handle(), key.partial_name(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn has_content(&self, key: &TransferKey) -> bool {
        let found = statat(self.handle(), key.partial_name(), AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| found.st_size > 0)
    }

    /// Creates the directory `path` and the `missing` ones above it, if it does not exist.
    ///
    /// # Errors
    /// It does not fit the quota, another entry has the name, or the kernel's error.
    pub fn create_directory(&self, path: &FilePath, missing: u64) -> Result<(), StoreError> {
        if let Some(quota) = &self.quota
            && self.present(path)?.is_none()
        {
            quota.add_directories(missing + 1)?;
        }
        Ok(self.make(path)?)
    }

    fn make(&self, path: &FilePath) -> io::Result<()> {
        let parent = self.parent(path)?;
        let above = parent.as_ref().unwrap_or_else(|| self.handle());
        let name = path.file_name();
        match rustix::fs::mkdirat(above, name.as_bytes(), Mode::from_raw_mode(0o777)) {
            Ok(()) if self.fsyncs() => disk::sync(above).map(drop),
            Ok(()) => Ok(()),
            Err(Errno::EXIST)
                if self.present(path)?.is_some_and(|kind| matches!(kind, Kind::Directory(_))) =>
            {
                self.check_name(parent.as_ref(), name.as_bytes())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes partial files that no connection writes to and that are older than `keep_partial`.
    pub fn sweep(&self) {
        if !self.settings.stores_files {
            return;
        }
        for (name, _, _) in self.hidden(|age| age > self.settings.keep_partial) {
            self.remove_partial(&name, Why::Old);
        }
        // Other programs may have removed some.
        for name in self.root.partials.names() {
            let found = statat(self.handle(), &name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_err_and(|error| error == Errno::NOENT) {
                self.forget(&name);
            }
        }
    }

    /// Does the same for those in the index, which costs little where none is old.
    pub fn sweep_index(&self) {
        while let Some(name) = self.root.partials.oldest() {
            match statat(self.handle(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if age(stat.st_mtime) > self.settings.keep_partial => {
                    self.remove_partial(&name, Why::Old);
                }
                Err(Errno::NOENT) => self.forget(&name),
                _ => return,
            }
            // A connection writes to it.
            if self.root.partials.oldest() == Some(name) {
                return;
            }
        }
    }

    /// Indexes the partial files that an earlier run left, the oldest first.
    pub(crate) fn index_partials(&self) {
        self.sweep();
        let mut partials = self.hidden(|_| true);
        partials.retain(|(name, _, _)| !names::is_state(name));
        partials.sort_by_key(|(_, age, _)| std::cmp::Reverse(*age));
        for (name, _, bytes) in partials {
            let key = TransferKey::of_name(&name);
            let saved = key.and_then(|key| StateFile::new(&key).read(self.handle()));
            if let Some(saved) = saved {
                if saved.stored.is_some() {
                    self.add_completed(&name);
                    continue;
                }
                if let Some(source) = saved.source {
                    self.sources().insert(source, &name, saved.mtime);
                }
            }
            self.add_partial(&name, None, bytes);
        }
    }

    /// Returns the partial files of `source` that attempts over any protocol left, or write to,
    /// the newest first.
    pub fn partials_of(&self, source: &SourceKey, mtime: Option<FileTime>) -> Vec<TransferKey> {
        let mtime = mtime.map(|mtime| mtime.seconds);
        let names = self.sources().find(source, mtime);
        let keys = names.iter().filter_map(|name| TransferKey::of_name(name));
        // Other programs may have removed some. Uploads that were only created would hide content.
        keys.filter(|key| self.has_content(key)).collect()
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.root.sources
    }

    /// Removes a partial file from the indexes.
    pub(crate) fn forget(&self, name: &str) {
        self.root.partials.remove(name);
        self.root.sources.remove(name);
    }

    /// Removes the upload of `key`, if no connection writes to it.
    pub fn remove_upload(&self, key: &TransferKey) {
        self.remove_partial(&key.partial_name(), Why::Refused);
    }

    /// Returns whether the upload of `key` is unfinished.
    ///
    /// One without content is removed first, unless a request uses it now.
    pub fn keeps_upload(&self, key: &TransferKey) -> bool {
        if !self.has_content(key) {
            self.remove_upload(key);
        }
        self.upload(key).is_some_and(|saved| saved.stored.is_none())
    }

    /// Returns the upload of `key`, if there is one.
    pub fn upload(&self, key: &TransferKey) -> Option<SavedUpload> {
        let saved = StateFile::new(key).read(self.handle())?;
        let offer = saved.offer?;
        let published = saved.publishing.filter(|_| !self.has_partial(key));
        let stored = saved.stored.map(|(path, bytes)| (Some(path), bytes));
        Some(SavedUpload { offer, stored: stored.or_else(|| published.map(|bytes| (None, bytes))) })
    }

    /// Records for a while that the upload of `key` was stored as `path`: the response to its last
    /// request may be lost.
    pub fn complete_upload(&self, key: &TransferKey, path: &FilePath, bytes: u64) {
        let path = path.percent_encoded();
        let line = json!({ "stored": { "path": path, "bytes": bytes } });
        let recorded = StateFile::new(key).restart(self.handle(), Some(&line)).and_then(|()| {
            let name = key.partial_name();
            let (mut hidden, lock) = Hidden::open(self.shared_handle(), name, Some(0o600))?;
            // Another request may still write to it.
            if lock == Lock::Held {
                return Ok(());
            }
            hidden.truncate(0)?;
            // It is removed like others, but sooner.
            let elapsed = self.settings.keep_partial.saturating_sub(COMPLETED_KEPT);
            let modified = SystemTime::now().checked_sub(elapsed);
            modified.map_or(Ok(()), |modified| hidden.file.set_modified(modified))
        });
        if let Err(error) = recorded {
            tracing::warn!(%error, "cannot record that an upload is complete");
        }
        self.add_completed(&key.partial_name());
    }

    fn add_completed(&self, name: &str) {
        if let Some(evicted) = self.root.partials.complete(name) {
            self.remove_partial(&evicted, Why::Surplus);
        }
    }

    /// Adds a partial file to the index, and removes those that exceed the limits with it.
    pub(crate) fn add_partial(&self, name: &str, owner: Option<IpAddr>, bytes: u64) {
        let Settings { max_partial, max_partial_bytes, .. } = self.settings;
        let bytes_limit = max_partial_bytes.unwrap_or(self.root.capacity / 2);
        let limits = PartialLimits { files: max_partial, bytes: bytes_limit };
        for evicted in self.root.partials.keep(name, owner, bytes, limits) {
            self.remove_partial(&evicted, Why::Surplus);
        }
    }

    /// Removes a partial file from the index that a connection now writes to, and returns the
    /// address that it was kept for.
    pub(crate) fn release_partial(&self, name: &str) -> Option<IpAddr> {
        self.root.partials.remove(name)
    }

    /// Returns the names of partial files and state files, with their age and size.
    fn hidden(&self, is_wanted: impl Fn(Duration) -> bool) -> Vec<(String, Duration, u64)> {
        let Ok(entries) = Dir::read_from(self.handle()) else { return Vec::new() };
        let describe = |entry: DirEntry| {
            let name = entry.file_name().to_str().ok().filter(|name| names::is_hidden(name))?;
            let stat = statat(self.handle(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((name.to_owned(), age(stat.st_mtime), stat.st_size.cast_unsigned()))
        };
        entries.flatten().filter_map(describe).filter(|(_, age, _)| is_wanted(*age)).collect()
    }

    /// Removes a partial file or state file that no connection uses.
    fn remove_partial(&self, name: &str, why: Why) {
        let Some(_locked) = self.lock_abandoned(name, why) else { return };
        self.forget(name);
        match rustix::fs::unlinkat(self.handle(), name, AtFlags::empty()) {
            Ok(()) => tracing::info!(part = %name, ?why, "removed a partial file"),
            Err(error) => tracing::warn!(part = %name, %error, "cannot remove a partial file"),
        }
        if let Some(state) = names::state_of(name) {
            let _ = rustix::fs::unlinkat(self.handle(), state, AtFlags::empty());
        }
    }

    /// Locks a partial file, or a state file without one, that no connection uses.
    fn lock_abandoned(&self, name: &str, why: Why) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(self.handle(), name, flags, Mode::empty()).ok()?);
        // A state file is removed together with its partial file, or after it.
        let is_alone = names::partial_of(name).is_none_or(|partial| {
            statat(self.handle(), partial, AtFlags::SYMLINK_NOFOLLOW).is_err()
        });
        let is_free = match disk::lock(&file) {
            Lock::Acquired => true,
            Lock::Held => false,
            // Its modification time may already be that of the sender's file; its change time is
            // not.
            Lock::Unsupported => {
                why == Why::Surplus
                    || age(file.metadata().ok()?.ctime()) > self.settings.keep_partial
            }
        };
        let is_abandoned =
            is_alone && is_free && is_named(self.handle(), name, &file).unwrap_or(false);
        is_abandoned.then_some(file)
    }

    /// Opens the directory of `path`, and creates it if it is missing; `None` at the top. Links are
    /// not followed, so it is never outside.
    fn parent(&self, path: &FilePath) -> io::Result<Option<File>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let mut directory: Option<File> = None;
        for name in parent.components() {
            let above = directory.as_ref().unwrap_or_else(|| self.handle());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(above, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) if self.fsyncs() => {
                            disk::sync(above)?;
                        }
                        Ok(()) => {}
                        // Another upload may have created it, perhaps under another spelling.
                        Err(Errno::EXIST) => self.check_name(directory.as_ref(), name)?,
                        Err(error) => return Err(error.into()),
                    }
                    openat(above, name, flags, Mode::empty())?
                }
                opened => {
                    self.check_name(directory.as_ref(), name)?;
                    opened?
                }
            };
            directory = Some(opened.into());
        }
        Ok(directory)
    }

    /// Checks that the entry `name` of `above` has exactly this name, if there is one; `None` for
    /// the served directory itself.
    ///
    /// # Errors
    /// `AlreadyExists` with the name that it has, or the kernel's error.
    pub(crate) fn check_name(&self, above: Option<&File>, name: &[u8]) -> io::Result<()> {
        match self.stored_as(above, name)? {
            None => Ok(()),
            Some(other) => {
                let message = names::not_distinguished(&escaped(name), &other);
                Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
            }
        }
    }

    /// Returns the escaped name of the entry of `above` that is found as `name`, if that is another
    /// name; `None` for the served directory itself.
    pub(crate) fn stored_as(
        &self,
        above: Option<&File>,
        name: &[u8],
    ) -> io::Result<Option<String>> {
        let name = Path::new(OsStr::from_bytes(name));
        let other = match above {
            Some(above) => disk::stored_as(disk::At { directory: above.as_fd(), name })?,
            None => self.root.names.stored_as(self.handle(), name)?,
        };
        Ok(other.map(|other| escaped(other.as_bytes())))
    }

    /// Renames `hidden` to `path`, or as `on_exists` decides if that is taken; returns the path,
    /// and whether it is durable.
    pub(crate) fn publish(
        &self,
        hidden: &Hidden,
        path: &FilePath,
        on_exists: OnExists,
    ) -> io::Result<(FilePath, bool)> {
        let parent = self.parent(path)?;
        let into = parent.as_ref().unwrap_or_else(|| self.handle());
        if !hidden.is_named()? {
            return Err(io::Error::other("the partial file of this upload was removed"));
        }
        let changing = (on_exists == OnExists::Overwrite).then(|| self.change());
        let published = self.rename(hidden, parent.as_ref(), path, on_exists)?;
        drop(changing);
        if !self.fsyncs() {
            return Ok((published, false));
        }
        let error = match disk::sync(into) {
            Ok(durable) => return Ok((published, durable)),
            Err(error) => error,
        };
        // After an error nothing may be visible; where that is impossible, it is not an error.
        let name = published.file_name();
        if on_exists != OnExists::Overwrite
            && let Some(partial) = &hidden.name
            && rustix::fs::renameat(into, name.as_bytes(), self.handle(), partial.as_str()).is_ok()
        {
            return Err(error);
        }
        tracing::error!(%error, path = %published, "stored, but its directory cannot be synced");
        Ok((published, false))
    }

    fn rename(
        &self,
        hidden: &Hidden,
        parent: Option<&File>,
        path: &FilePath,
        on_exists: OnExists,
    ) -> io::Result<FilePath> {
        let into = parent.unwrap_or_else(|| self.handle());
        let named = |number: Option<u32>| match number {
            Some(number) => path.numbered(number).map_err(io::Error::other),
            None => Ok(path.clone()),
        };
        match hidden.rename(into.as_fd(), on_exists, named) {
            Err(error)
                if on_exists == OnExists::Overwrite
                    && error.kind() == io::ErrorKind::AlreadyExists =>
            {
                // The file system may not distinguish this name from that of another file.
                self.check_name(parent, path.file_name().as_bytes())?;
                hidden.replace(into.as_fd(), path.as_ref())?;
                Ok(path.clone())
            }
            renamed => renamed,
        }
    }
}

/// Why a partial file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Older than `keep_partial`.
    Old,
    /// Beyond the limits.
    Surplus,
    /// Of an upload that was refused when it was created.
    Refused,
}

/// Time for which a completed upload is remembered: clients that lost a response are back within
/// minutes.
const COMPLETED_KEPT: Duration = Duration::from_secs(60 * 60);

/// The time since `seconds` after the epoch; zero for the future.
fn age(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_that_fails_is_an_error_whatever_the_policy() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(scratch.path()).unwrap());
        let directory = Directory::new(root, Settings::default(), None);
        std::fs::create_dir(scratch.path().join("removed")).unwrap();
        let removed = File::open(scratch.path().join("removed")).unwrap();
        std::fs::remove_dir(scratch.path().join("removed")).unwrap();
        let hidden = Hidden::create(directory.shared_handle(), None).unwrap();
        for on_exists in [OnExists::Error, OnExists::Rename, OnExists::Overwrite] {
            let path = FilePath::parse("x").unwrap();
            directory.rename(&hidden, Some(&removed), &path, on_exists).unwrap_err();
            assert!(hidden.is_named().unwrap());
        }
    }
}
