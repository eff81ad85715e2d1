//! A limit for all files and partial files in the served directory together.
//!
//! It counts whole blocks, also of directories, and the number of entries. Stored entries are
//! counted at the start; then the count follows what is published and kept. Content is claimed
//! before it is written, so two uploads never share the last byte, and an unused claim yields to an
//! address that has less than its fair share. When files are removed or replaced the count is too
//! high, so it is repeated before an upload is refused.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, statat};

use crate::disk::At;
use crate::root::{Current, Root};
use crate::usage::{Excess, Usage, in_blocks, usage_below, usage_of};

#[derive(Debug)]
pub(crate) struct Quota {
    current: Arc<Current>,
    state: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    limit: Usage,
    /// The directory that was counted.
    root: Arc<Root>,
    /// Usage of stored files, kept partial files and directories.
    stored: Usage,
    /// Usage that uploads have claimed.
    claimed: Usage,
    /// Running uploads by the inodes of their partial files, which do not count as stored.
    live: HashMap<u64, Live>,
    /// Whether more may be free than is known.
    stale: bool,
    counted: Instant,
    /// The duration of that count.
    cost: Duration,
}

/// A running upload.
#[derive(Debug)]
struct Live {
    /// The address of its sender.
    address: IpAddr,
    /// Bytes that its file may take.
    claimed: u64,
    /// Bytes of them that were received.
    used: u64,
}

/// The claim of an upload, which ends when it is settled or dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    quota: Arc<Quota>,
    /// `None` when it is settled.
    inode: Option<u64>,
    /// Usage of the directories that are created for it.
    directories: Usage,
    /// Whether the size of the upload is known.
    is_sized: bool,
}

/// The part of the quota that an upload would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Space, in bytes.
    Bytes {
        /// The limit.
        limit: u64,
        /// Bytes of it that are free.
        free: u64,
    },
    /// The number of files and directories.
    Entries {
        /// The limit.
        limit: u64,
    },
}

/// The reason why content cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The quota is exhausted.
    #[error("the limit of the quota is reached")]
    Full(Full),
    /// The error of the storage backend.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Full> for StoreError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl Quota {
    pub(crate) fn open(limit: Usage, current: Arc<Current>) -> Self {
        let began = Instant::now();
        let (live, root) = (HashMap::new(), current.now());
        let stored = usage_below(&root, &|_| false, limit.entries);
        let counted = Instant::now();
        let cost = counted - began;
        let claimed = Usage::default();
        let state = Books { limit, root, stored, claimed, live, stale: false, counted, cost };
        Self { current, state: Mutex::new(state) }
    }

    /// Returns the limit that stored files exceed already.
    pub(crate) fn excess(&self) -> Option<Excess> {
        let state = self.lock();
        state.stored.excess(state.limit)
    }

    /// Sets the limit; earlier claims remain.
    pub(crate) fn set_limit(&self, limit: Usage) {
        self.lock().limit = limit;
    }

    /// Returns the bytes that are not used. Some may be claimed, of which an address can get its
    /// share.
    pub(crate) fn free(&self) -> u64 {
        let mut state = self.lock();
        if state.stale || state.left().bytes == 0 {
            self.recount(&mut state);
        }
        state.live.values().fold(state.left().bytes, |free, live| free + live.unused())
    }

    /// Claims the space of the partial file `inode`, of which `kept` bytes were counted, and which
    /// will have `size`, if that is known, and of `directories` that are created for it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        inode: u64,
        kept: Option<u64>,
        size: Option<u64>,
        directories: u64,
        address: IpAddr,
    ) -> Result<Claim, Full> {
        let mut state = self.lock();
        let block = state.root.block;
        let bytes = in_blocks(size.unwrap_or_default().max(kept.unwrap_or_default()), block);
        let (file, directories) = (Usage { bytes, entries: 1 }, new(directories, block));
        // A partial file that an earlier attempt left was counted.
        let kept = kept.map_or_else(Usage::default, |length| Usage {
            bytes: in_blocks(length, block),
            entries: 1,
        });
        state.live.insert(inode, Live { address, claimed: 0, used: kept.bytes });
        state.stored = state.stored.minus(kept);
        if let Err(full) = self.take(&mut state, file.plus(directories), Some(address)) {
            state.live.remove(&inode);
            state.stored = state.stored.plus(kept);
            return Err(full);
        }
        if let Some(live) = state.live.get_mut(&inode) {
            live.claimed = bytes;
        }
        drop(state);
        let (quota, inode) = (self.clone(), Some(inode));
        Ok(Claim { quota, inode, directories, is_sized: size.is_some() })
    }

    /// Counts `directories` that are about to be created.
    pub(crate) fn add_directories(&self, directories: u64) -> Result<(), Full> {
        let mut state = self.lock();
        let usage = new(directories, state.root.block);
        self.take(&mut state, usage, None)?;
        state.claimed = state.claimed.minus(usage);
        state.stored = state.stored.plus(usage);
        Ok(())
    }

    /// Counts a directory that `make` creates, while nothing else is counted.
    pub(crate) fn add_directory<E: From<Full>>(
        &self,
        make: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.add_directories(1)?;
        make().inspect_err(|_| {
            let mut state = self.lock();
            let usage = new(1, state.root.block);
            state.stored = state.stored.minus(usage);
        })
    }

    /// Calls `remove`, which removes or replaces the entry `at`. A count at the same time would
    /// find it or not, so there is none.
    pub(crate) fn remove<E>(
        &self,
        at: At<'_>,
        remove: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        let found = statat(at.directory, at.name, AtFlags::SYMLINK_NOFOLLOW);
        remove()?;
        if let Ok(stat) = found {
            state.stored = state.stored.minus(usage_of(&stat, state.root.block));
            // It may have had more space than is known.
            state.stale = true;
        }
        Ok(())
    }

    /// Claims `more`; for an upload from `address` if necessary from unused claims of others.
    fn take(&self, state: &mut Books, more: Usage, address: Option<IpAddr>) -> Result<(), Full> {
        let mut full = state.lacks(more);
        if full.is_some() || !Arc::ptr_eq(&self.current.now(), &state.root) {
            self.recount(state);
            full = state.lacks(more);
        }
        if let (Some(Full::Bytes { .. }), Some(address)) = (&full, address) {
            state.reclaim(more.bytes, address);
            full = state.lacks(more);
        }
        match full {
            Some(full) => Err(full),
            None => {
                state.claimed = state.claimed.plus(more);
                Ok(())
            }
        }
    }

    /// Counts the directory again, unless that was done recently: a client that is refused
    /// repeatedly must not keep the disk busy.
    fn recount(&self, state: &mut Books) {
        let (began, root) = (Instant::now(), self.current.now());
        if Arc::ptr_eq(&root, &state.root) && began - state.counted < state.cost * REST {
            return;
        }
        let is_live = |inode| state.live.contains_key(&inode);
        state.stored = usage_below(&root, &is_live, state.limit.entries);
        state.stale = false;
        state.root = root;
        state.counted = Instant::now();
        state.cost = state.counted - began;
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Claims more, up to `bytes` in all.
    pub(crate) fn grow_to(&self, bytes: u64) -> Result<(), Full> {
        let mut state = self.quota.lock();
        let bytes = in_blocks(bytes, state.root.block);
        let Some(inode) = self.inode else { return Ok(()) };
        let Some(Live { address, claimed, .. }) = state.live.get(&inode) else { return Ok(()) };
        let (address, more) = (*address, bytes.saturating_sub(*claimed));
        if more > 0 {
            let more = Usage { bytes: more, entries: 0 };
            self.quota.take(&mut state, more, Some(address))?;
        }
        if let Some(live) = state.live.get_mut(&inode) {
            (live.claimed, live.used) = (live.claimed + more, live.used.max(bytes));
        }
        Ok(())
    }

    /// Returns the bytes that its file may take without [`Self::grow_to`]; fewer than before, once
    /// another address has claimed its share.
    pub(crate) fn bytes(&self) -> u64 {
        // Without a size each piece must be claimed before it is received.
        if !self.is_sized {
            return 0;
        }
        let state = self.quota.lock();
        self.inode.and_then(|inode| state.live.get(&inode)).map_or(0, |live| live.claimed)
    }

    /// Ends the claim of an upload of which `bytes` remain, under a name with all directories above
    /// it or as a partial file; `replaced`: perhaps in place of another file.
    pub(crate) fn settle(mut self, bytes: u64, is_partial: bool, replaced: bool) {
        let mut state = self.quota.lock();
        state.end(self.inode, self.directories);
        let file = Usage { bytes: in_blocks(bytes, state.root.block), entries: 1 };
        let stays = if is_partial { file } else { file.plus(self.directories) };
        state.stored = state.stored.plus(stays);
        state.stale |= replaced;
        drop(state);
        (self.inode, self.directories) = (None, Usage::default());
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.quota.lock().end(self.inode, self.directories);
    }
}

impl Books {
    fn left(&self) -> Usage {
        self.limit.minus(self.stored).minus(self.claimed)
    }

    /// Returns the limit that `more` would exceed.
    fn lacks(&self, more: Usage) -> Option<Full> {
        let left = self.left();
        if more.entries > left.entries {
            return Some(Full::Entries { limit: self.limit.entries });
        }
        let (limit, free) = (self.limit.bytes, left.bytes);
        (more.bytes > free).then_some(Full::Bytes { limit, free })
    }

    /// Ends the claim of an upload, and of `directories` created for it.
    fn end(&mut self, inode: Option<u64>, directories: Usage) {
        self.claimed = self.claimed.minus(directories);
        if let Some(live) = inode.and_then(|inode| self.live.remove(&inode)) {
            self.claimed = self.claimed.minus(Usage { bytes: live.claimed, entries: 1 });
        }
    }

    /// Frees `more` bytes for an upload from `address`, if it then has no more than its fair share:
    /// an equal part for each address of the space that stored files leave. Others lose only unused
    /// claims beyond that share.
    fn reclaim(&mut self, more: u64, address: IpAddr) {
        let mut claimed = HashMap::from([(address, 0_u64)]);
        for live in self.live.values() {
            *claimed.entry(live.address).or_default() += live.claimed;
        }
        let share = self.limit.minus(self.stored).bytes / claimed.len() as u64;
        let mut missing = more.saturating_sub(self.left().bytes);
        if claimed[&address].saturating_add(more) > share {
            return;
        }
        for live in self.live.values_mut() {
            let claimed = claimed.entry(live.address).or_default();
            let lost = claimed.saturating_sub(share).min(live.unused()).min(missing);
            (live.claimed, *claimed, missing) =
                (live.claimed - lost, *claimed - lost, missing - lost);
            self.claimed = self.claimed.minus(Usage { bytes: lost, entries: 0 });
        }
    }
}

impl Live {
    const fn unused(&self) -> u64 {
        self.claimed.saturating_sub(self.used)
    }
}

/// The usage of empty directories.
const fn new(directories: u64, block: u64) -> Usage {
    Usage { bytes: directories.saturating_mul(block), entries: directories }
}

/// A count is repeated only when it is older than this many times its duration.
const REST: u32 = 10;
