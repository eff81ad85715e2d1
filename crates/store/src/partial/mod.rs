//! A partial file: the hidden file that content is written to until it is complete.
//!
//! ```text
//!   Sink::finish ──► PartialFile::finish  size, time, fsync of the content
//!                      └► Directory::publish  parents, fsync of the directory
//!                           └► Directory::rename  a number, or overwrite, if the name exists
//!                                └► Hidden::rename ──► disk::rename_no_replace  one system call
//! ```

mod upload;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::{Checkpoint, Hasher};
use anyport_proto::transfer::offer::{Offer, OnExists};
use rustix::fs::{AtFlags, renameat, unlinkat};
use serde_json::json;

use crate::digest_cache;
use crate::directory::Directory;
use crate::disk::{self, Lock};
use crate::hashing;
use crate::hidden::{Hidden, set_mode, set_time};
use crate::key::{SourceKey, TransferKey};
use crate::names;
use crate::quota::{Claim, StoreError};
use crate::state::{Saved, StateFile};

/// A partial file, locked for one writer.
///
/// Dropped, it is removed, unless it was published or kept.
#[derive(Debug)]
pub struct PartialFile {
    directory: Arc<Directory>,
    hidden: Hidden,
    /// Present where it can be resumed.
    state: Option<StateFile>,
    /// The content of the state file when it was opened.
    saved: Box<Saved>,
    /// Whether requests continue it by an id. It is kept until it is cancelled, even if empty.
    has_id: bool,
    /// The claim of the quota; ends after the file is removed, so that none is counted twice.
    claim: Option<Claim>,
    read_at: u64,
    /// Length before a rewrite, after which the file must be truncated.
    raw_len: u64,
    /// Whether it is removed when it is interrupted.
    not_kept: bool,
    /// Whether no attempt has begun to continue it: dropped, it stays as it was found.
    is_untouched: bool,
    /// Whether the quota counts it as stored while no connection writes to it.
    is_counted: bool,
    /// The address of its sender, once that is known.
    owner: Option<IpAddr>,
}

impl Directory {
    /// Creates a partial file that no attempt resumes.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn create_partial(self: &Arc<Self>, mode: Option<u32>) -> io::Result<PartialFile> {
        let hidden = Hidden::create(self.shared_handle(), mode)?;
        Ok(PartialFile::new(self.clone(), hidden, None))
    }

    /// Opens the partial file of `key`: with `resume` with the content of an earlier attempt,
    /// otherwise empty.
    ///
    /// Returns `None` while another connection writes to it. One that another user can have
    /// prepared is not used: no attempt resumes the file that is created instead.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open_partial(
        self: &Arc<Self>,
        key: &TransferKey,
        resume: bool,
        mode: Option<u32>,
    ) -> io::Result<Option<PartialFile>> {
        let name = key.partial_name();
        let (hidden, lock) = match Hidden::open(self.shared_handle(), name.clone(), mode) {
            Ok(opened) => opened,
            Err(error) if self.has_partial(key) => {
                tracing::warn!(part = name, %error, "partial file not used");
                return self.create_partial(mode).map(Some);
            }
            Err(error) => return Err(error),
        };
        match lock {
            Lock::Acquired => {}
            Lock::Held => return Ok(None),
            // Two connections could write to it, so neither does.
            Lock::Unsupported => {
                let _ = unlinkat(self.handle(), name.as_str(), AtFlags::empty());
                return self.create_partial(mode).map(Some);
            }
        }
        let owner = self.release_partial(&name);
        let mut state = StateFile::new(key);
        let saved = if resume { state.read(self.handle()) } else { None };
        let mut partial = PartialFile::new(self.clone(), hidden, None);
        match saved {
            Some(saved) if saved.offer.is_some() || partial.length() > 0 => {
                (partial.has_id, partial.saved) = (saved.offer.is_some(), Box::new(saved));
            }
            None if resume && partial.length() > 0 => {}
            // A state file without content belongs to another attempt.
            _ => {
                partial.hidden.truncate(0)?;
                state.remove(self.handle());
            }
        }
        partial.state = Some(state);
        partial.is_counted |= partial.has_id;
        partial.owner = owner;
        partial.is_untouched = true;
        if let Some(verified) = partial.saved.verified.take() {
            partial.hidden.truncate(verified.min(partial.length()))?;
            partial.save_lengths()?;
        }
        Ok(Some(partial))
    }
}

impl PartialFile {
    fn new(directory: Arc<Directory>, hidden: Hidden, state: Option<StateFile>) -> Self {
        let (saved, has_id) = (Box::default(), false);
        let (is_counted, is_untouched) = (hidden.length > 0, false);
        Self {
            directory,
            hidden,
            state,
            saved,
            has_id,
            claim: None,
            read_at: 0,
            raw_len: 0,
            not_kept: false,
            is_untouched,
            is_counted,
            owner: None,
        }
    }

    /// Returns the same, removed when it is interrupted.
    #[must_use]
    pub const fn not_kept(mut self) -> Self {
        self.not_kept = true;
        self
    }

    /// Returns the same, which the quota has not counted yet.
    #[must_use]
    pub(crate) const fn uncounted(mut self) -> Self {
        self.is_counted = false;
        self
    }

    /// Returns whether requests continue it by an id.
    pub const fn has_id(&self) -> bool {
        self.has_id
    }

    /// Returns the bytes that are stored, at first those of an earlier attempt.
    pub const fn length(&self) -> u64 {
        self.hidden.length
    }

    /// Claims the space of the quota for content of `size` bytes, as far as that is known, and for
    /// `directories` that are created for it.
    ///
    /// # Errors
    /// It does not fit, or the error of the file system.
    pub fn claim(
        &mut self,
        size: Option<u64>,
        directories: u64,
        owner: IpAddr,
    ) -> Result<(), StoreError> {
        self.owner = Some(owner);
        let Some(quota) = self.directory.quota() else { return Ok(()) };
        let inode = self.hidden.file.metadata()?.ino();
        let kept = self.is_counted.then_some(self.hidden.length);
        self.claim = Some(quota.claim(inode, kept, size, directories, owner)?);
        Ok(())
    }

    /// Returns whether another attempt can resume it.
    pub(crate) const fn can_be_resumed(&self) -> bool {
        self.state.is_some()
    }

    /// Describes the file in the state file, for attempts over other protocols and for an operator
    /// who finds the hidden file; `source` is `None` without a size.
    pub fn describe(&mut self, path: &FilePath, offer: &Offer, source: Option<&SourceKey>) {
        self.is_untouched = false;
        let Some(state) = &mut self.state else { return };
        state.describe(Some(path), offer, source, self.has_id);
        if let (Some(source), Some(name)) = (source, &self.hidden.name) {
            let mtime = offer.mtime.map(|mtime| mtime.seconds);
            // Who knows its id may continue an upload, but it stays that of its creator.
            let sources = self.directory.sources();
            if !self.has_id || !sources.has(name) {
                sources.insert(source.clone(), name, mtime);
            }
        }
        // A small file is not worth another one beside it before it is interrupted.
        if offer.size.is_some_and(|size| size >= WORTH_A_STATE) {
            state.append(self.directory.handle(), &[]);
        }
    }

    /// Returns a hasher of the content, which continues from the checkpoints of an earlier attempt.
    ///
    /// # Errors
    /// As [`hashing::hash`].
    pub fn hasher(&self, algorithm: Algorithm, is_gone: impl Fn() -> bool) -> io::Result<Hasher> {
        let checkpoints = &self.saved.checkpoints;
        let mut hasher = Hasher::resume(algorithm, checkpoints, self.hidden.length);
        hashing::hash(&self.hidden.file, &mut hasher, self.hidden.length, is_gone)?;
        Ok(hasher)
    }

    /// Saves checkpoints of the digest for a later resume.
    pub(crate) fn save(&mut self, checkpoints: &[Checkpoint]) {
        // Those of content that may be removed would be wrong for what replaces it.
        if self.saved.verified.is_some() {
            return self.saved.checkpoints.extend_from_slice(checkpoints);
        }
        if let Some(state) = &mut self.state {
            state.append(self.directory.handle(), checkpoints);
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(claim) = &self.claim {
            claim.grow_to(self.hidden.length + bytes.len() as u64)?;
        }
        Ok(self.hidden.write(bytes)?)
    }

    /// Returns the file and the position for spliced content, and the bytes that may be spliced.
    pub(crate) fn splice_target(&self) -> (&Arc<File>, u64, u64) {
        let Hidden { file, length, .. } = &self.hidden;
        let limit = self.claim.as_ref().map_or(u64::MAX, Claim::bytes);
        (file, *length, limit.saturating_sub(*length))
    }

    /// Records that `count` bytes were spliced.
    pub(crate) fn spliced(&mut self, count: u64) {
        self.hidden.length += count;
        if let Some(claim) = &self.claim {
            // They were claimed before.
            let _ = claim.grow_to(self.hidden.length);
        }
    }

    pub(crate) const fn begin_rewrite(&mut self) {
        self.raw_len = self.hidden.length;
        self.read_at = 0;
        self.hidden.length = 0;
    }

    pub(crate) fn read_back(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.raw_len - self.read_at).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let (wanted, _) = buffer.split_at_mut(count);
        self.hidden.file.read_exact_at(wanted, self.read_at)?;
        self.read_at += count as u64;
        Ok(count)
    }

    /// Publishes the content; returns its path, and whether it is durable. After an error the
    /// partial file remains.
    pub(crate) fn finish(
        &mut self,
        path: &FilePath,
        offer: &Offer,
        on_exists: OnExists,
        digest: Option<&Digest>,
    ) -> io::Result<(FilePath, bool)> {
        self.cut_raw_tail()?;
        // Before the sync, which carries all of it to the disk.
        self.set_mode(offer);
        set_time(&self.hidden.file, offer.mtime);
        if let Some(digest) = digest {
            digest_cache::remember(&self.hidden.file, digest);
        }
        let published = self.sync().and_then(|synced| {
            // After a crash between the publishing and the next line it is the only trace.
            let is_recorded = self.saved.publishing == Some(self.hidden.length);
            if let Some(state) = self.state.as_mut().filter(|_| self.has_id && !is_recorded) {
                let line = json!({ "publishing": self.hidden.length });
                state.record(self.directory.handle(), &line)?;
            }
            let (path, named) = self.directory.publish(&self.hidden, path, on_exists)?;
            Ok((path, synced && named))
        });
        match &published {
            Ok(_) => {
                if let Some(name) = self.hidden.name.take() {
                    self.directory.forget(&name);
                }
                // That of an upload with an id remains: the response may be lost.
                if !self.has_id {
                    self.remove_state();
                }
                self.settle(false, on_exists == OnExists::Overwrite);
            }
            // With the time of the sender's file it would be removed as too old.
            Err(_) => drop(self.hidden.file.set_modified(std::time::SystemTime::now())),
        }
        published
    }

    fn sync(&mut self) -> io::Result<bool> {
        if !self.directory.fsyncs() {
            return Ok(false);
        }
        let synced = disk::sync(&self.hidden.file);
        if synced.is_err() {
            // The kernel may have dropped pages that never reached the disk: it must not be
            // resumed.
            self.remove_state();
        }
        synced
    }

    /// Sets the requested permissions before the file is visible. A file system without permissions
    /// is no reason to lose the file.
    fn set_mode(&self, offer: &Offer) {
        let Some(mode) = offer.mode.map(|mode| self.directory.limited_mode(mode)) else { return };
        if let Err(error) = set_mode(&self.hidden.file, mode) {
            tracing::warn!(%error, "cannot set the requested permissions");
        }
    }

    /// Ends the claim of content that remains.
    fn settle(&mut self, is_partial: bool, replaced: bool) {
        if let Some(claim) = self.claim.take() {
            claim.settle(self.hidden.length, is_partial, replaced);
        }
    }

    fn remove_state(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.remove(self.directory.handle());
        }
    }

    /// Removes the bytes after the decoded content.
    fn cut_raw_tail(&self) -> io::Result<()> {
        if self.raw_len > self.hidden.length {
            self.hidden.file.set_len(self.hidden.length)
        } else {
            Ok(())
        }
    }

    pub(crate) fn keep(mut self, owner: IpAddr) -> Option<String> {
        self.owner = Some(owner);
        self.keep_hidden()
    }

    /// Keeps it as it was found.
    pub fn put_back(mut self) {
        self.keep_hidden();
    }

    fn keep_hidden(&mut self) -> Option<String> {
        if let Some(verified) = self.saved.verified {
            self.hidden.truncate(verified).ok()?;
        }
        // An empty partial file is of no use without an id.
        let is_empty = self.hidden.length == 0 && !self.has_id;
        if self.not_kept || is_empty || self.cut_raw_tail().is_err() {
            return None;
        }
        // The state file describes it to an operator.
        self.save(&[]);
        let name = self.hidden.name.take()?;
        // Before the lock ends: the sender may be back and claim it.
        self.settle(true, false);
        self.directory.add_partial(&name, self.owner, self.hidden.length);
        Some(name)
    }

    /// Keeps it under a name that no attempt resumes.
    pub(crate) fn keep_apart(mut self, owner: IpAddr) -> Option<String> {
        let apart = names::random().ok()?;
        let name = self.hidden.name.as_mut()?;
        let handle = self.directory.handle();
        renameat(handle, name.as_str(), handle, apart.as_str()).ok()?;
        self.directory.forget(name);
        *name = apart;
        self.has_id = false;
        self.remove_state();
        self.keep(owner)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // A refused request does not end the upload that it continues.
        let stays = self.has_id || self.is_untouched;
        if stays && self.hidden.name.is_some() && self.keep_hidden().is_some() {
            return;
        }
        let Some(name) = &self.hidden.name else { return };
        self.directory.forget(name);
        if let Err(error) = unlinkat(self.directory.handle(), name.as_str(), AtFlags::empty()) {
            tracing::warn!(part = name, %error, "cannot remove a partial file");
        }
        self.remove_state();
    }
}

/// Minimum size of a file, in bytes, whose state file is written when its upload begins. A smaller
/// one gets it when it is interrupted, and is not found by other protocols if the server is killed.
const WORTH_A_STATE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{Full, Settings, Store, Usage};

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn directory(path: &Path) -> Arc<Directory> {
        let settings = Settings { keep_partial: DAY, ..Settings::default() };
        Store::open(path, settings).unwrap().now()
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    const OWNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn name(text: &str) -> FilePath {
        FilePath::sanitize(text).unwrap()
    }

    fn finish(mut sink: PartialFile, path: &str) -> FilePath {
        sink.finish(&name(path), &Offer::default(), OnExists::Rename, None).unwrap().0
    }

    #[test]
    fn a_file_is_hidden_until_it_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_partial(None).unwrap();
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
        let mut sink = directory.create_partial(None).unwrap();
        sink.write(b"lost").unwrap();
        drop(sink);
        assert!(names(scratch.path()).is_empty());
        let mut sink = directory.create_partial(None).unwrap();
        sink.write(b"kept").unwrap();
        let part = sink.keep(OWNER).unwrap();
        assert_eq!(names(scratch.path()), [part]);
        assert_eq!(directory.create_partial(None).unwrap().keep(OWNER), None);
    }

    #[test]
    fn a_kept_partial_file_has_decoded_content_and_no_raw_tail() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_partial(None).unwrap();
        sink.write(b"h-e-l-l-o-").unwrap();
        sink.begin_rewrite();
        sink.write(b"hel").unwrap();
        let part = sink.keep(OWNER).unwrap();
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
    fn a_partial_file_that_another_user_can_have_prepared_is_not_used() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = directory(scratch.path());
        let offer = Offer { size: Some(9), id: Some("id".to_owned()), ..Offer::default() };
        let key = TransferKey::of(&offer, &name("x"), Algorithm::Blake3).unwrap();
        let open = || directory.open_partial(&key, true, None).unwrap().unwrap();
        let mut sink = open();
        sink.write(b"half").unwrap();
        let part = scratch.path().join(sink.keep(OWNER).unwrap());
        // A second name, as another user can give it to a file in a shared directory.
        let elsewhere = scratch.path().join("elsewhere");
        std::fs::hard_link(&part, &elsewhere).unwrap();
        assert_eq!(open().keep(OWNER).as_deref(), part.file_name().and_then(|name| name.to_str()));
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mut fresh = open();
        assert!(fresh.length() == 0 && !fresh.can_be_resumed());
        fresh.write(b"content").unwrap();
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"half");
        std::fs::remove_file(&elsewhere).unwrap();
        assert_eq!(open().length(), 4);
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
                        let mut sink = directory.create_partial(None).unwrap();
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
    fn a_claim_of_the_quota_ends_with_its_partial_file() {
        let scratch = tempfile::tempdir().unwrap();
        let (limit, half) = (1 << 20, Some(1 << 19));
        let quota = Some(Usage { bytes: limit, entries: 2 });
        let store = Store::open(scratch.path(), Settings { quota, ..Settings::default() }).unwrap();
        let begin = || {
            let mut sink = store.now().create_partial(None).unwrap();
            sink.claim(half, 0, OWNER).map(|()| sink)
        };
        let (one, two) = (begin().unwrap(), begin().unwrap());
        assert!(matches!(begin(), Err(StoreError::Full(Full::Entries { limit: 2 }))));
        drop(one);
        let mut three = begin().unwrap();
        drop(two);
        assert_eq!(store.free_quota(), limit);
        three.write(b"stored").unwrap();
        finish(three, "x");
        let free = store.free_quota();
        assert!(free < limit && begin().is_ok());
        let mut kept = begin().unwrap();
        kept.write(b"kept").unwrap();
        kept.keep(OWNER).unwrap();
        assert!(store.free_quota() < free);
    }

    #[test]
    fn a_rewritten_file_is_cut_to_what_was_rewritten() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = directory(scratch.path()).create_partial(None).unwrap();
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
