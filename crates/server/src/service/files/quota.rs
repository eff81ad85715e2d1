//! What all files and parts in the served directory may take together.
//!
//! Counted are whole blocks, directories too, and the number of entries. What rests there is counted once, at the start, and then kept up to date by what we publish and keep. What is on its way
//! in is claimed before it comes, so two uploads never share the last byte. A claim that is not used yields to another
//! address that has not its fair share. Where others remove files, or we replace or
//! sweep some, the count is too high: so it is made anew before anybody is refused.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use anyport_store::{Directory, PartialFile, Store, Usage, in_blocks, usage_below};

pub(super) struct Quota {
    served: Arc<Store>,
    state: Mutex<State>,
}

struct State {
    /// What all may take together.
    limit: Usage,
    /// The directory that was counted.
    directory: Arc<Directory>,
    /// Of files, parts and directories that nobody writes to.
    resting: Usage,
    /// What uploads have claimed.
    claimed: Usage,
    /// The uploads that run, by the inodes of their partial files, which are not among what rests.
    live: HashMap<u64, Live>,
    /// More may be free than is known.
    stale: bool,
    counted: Instant,
    /// How long that took.
    cost: Duration,
}

/// An upload that runs.
struct Live {
    /// Of its sender.
    address: IpAddr,
    /// Bytes that its file may take.
    claimed: u64,
    /// Bytes of them that have come.
    used: u64,
}

/// An upload's right to so much; given back when dropped.
pub(super) struct Claim {
    quota: Arc<Quota>,
    /// `None` when it is settled.
    inode: Option<u64>,
    /// Of the directories that are made for it.
    directories: Usage,
}

/// Why something does not fit.
pub(super) enum Full {
    /// The limit of bytes, and how many are left.
    Bytes(u64, u64),
    /// The limit of entries.
    Entries(u64),
}

impl Quota {
    pub(super) fn open(limit: Usage, served: Arc<Store>) -> Self {
        let began = Instant::now();
        let (live, directory) = (HashMap::new(), served.now());
        let resting = usage_below(&directory, &|_| false, limit.entries);
        if let Some(excess) = resting.excess(limit) {
            tracing::warn!("uploads are refused until files are removed: {excess}");
        }
        let counted = Instant::now();
        let cost = counted - began;
        let claimed = Usage::default();
        let state = State { limit, directory, resting, claimed, live, stale: false, counted, cost };
        Self { served, state: Mutex::new(state) }
    }

    /// From now on; what was claimed stays so.
    pub(super) fn set_limit(&self, limit: Usage) {
        self.lock().limit = limit;
    }

    /// Returns the bytes that are not used. Some may be claimed, of which an address can have its share.
    pub(super) fn free(&self) -> u64 {
        let mut state = self.lock();
        if state.stale || state.left().bytes == 0 {
            self.recount(&mut state);
        }
        state.live.values().fold(state.left().bytes, |free, live| free + live.unused())
    }

    /// Claims what `sink` is to hold in the end: `size`, or what it has so far where that is not known, and
    /// `directories` that are made for it.
    ///
    /// # Errors
    /// Why it does not fit, or what the file system said.
    pub(super) fn claim(
        self: &Arc<Self>,
        sink: &PartialFile,
        size: Option<u64>,
        directories: u64,
        address: IpAddr,
    ) -> io::Result<Result<Claim, Full>> {
        let (inode, length) = (sink.inode()?, sink.length());
        let mut state = self.lock();
        let block = state.directory.block();
        let bytes = in_blocks(size.unwrap_or_default().max(length), block);
        let (file, directories) = (Usage { bytes, entries: 1 }, new(directories, block));
        // A part that an earlier attempt left was counted.
        let rested = match length {
            0 => Usage::default(),
            length => Usage { bytes: in_blocks(length, block), entries: 1 },
        };
        state.live.insert(inode, Live { address, claimed: 0, used: rested.bytes });
        state.resting = state.resting.minus(rested);
        if let Err(full) = self.take(&mut state, file.plus(directories), Some(address)) {
            state.live.remove(&inode);
            state.resting = state.resting.plus(rested);
            return Ok(Err(full));
        }
        if let Some(live) = state.live.get_mut(&inode) {
            live.claimed = bytes;
        }
        drop(state);
        Ok(Ok(Claim { quota: self.clone(), inode: Some(inode), directories }))
    }

    /// Counts `directories` that are about to be made.
    pub(super) fn add_directories(&self, directories: u64) -> Result<(), Full> {
        let mut state = self.lock();
        let usage = new(directories, state.directory.block());
        self.take(&mut state, usage, None)?;
        state.claimed = state.claimed.minus(usage);
        state.resting = state.resting.plus(usage);
        Ok(())
    }

    /// Claims `more`, for an upload from `address` if need be out of what others have claimed and not used.
    fn take(&self, state: &mut State, more: Usage, address: Option<IpAddr>) -> Result<(), Full> {
        let mut full = state.lacks(more);
        if full.is_some() || !self.served.now().is_same(&state.directory) {
            self.recount(state);
            full = state.lacks(more);
        }
        if let (Some(Full::Bytes(..)), Some(address)) = (&full, address) {
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

    /// Looks at the directory again, unless that has just been done: whoever is refused again and again must not keep the
    /// disk busy.
    fn recount(&self, state: &mut State) {
        let (began, directory) = (Instant::now(), self.served.now());
        if directory.is_same(&state.directory) && began - state.counted < state.cost * REST {
            return;
        }
        let is_live = |inode| state.live.contains_key(&inode);
        state.resting = usage_below(&directory, &is_live, state.limit.entries);
        state.stale = false;
        state.directory = directory;
        state.counted = Instant::now();
        state.cost = state.counted - began;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Claims more, up to `bytes` in all.
    pub(super) fn grow_to(&self, bytes: u64) -> Result<(), Full> {
        let mut state = self.quota.lock();
        let bytes = in_blocks(bytes, state.directory.block());
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

    /// Returns the bytes that its file may take; fewer than before, once another address has claimed its share.
    pub(super) fn bytes(&self) -> u64 {
        let state = self.quota.lock();
        self.inode.and_then(|inode| state.live.get(&inode)).map_or(0, |live| live.claimed)
    }

    /// The upload has ended, and `bytes` of it stay, under a name with all directories above it or as a part. `replaced`:
    /// perhaps in the place of another file.
    pub(super) fn settle(mut self, bytes: u64, is_part: bool, replaced: bool) {
        let mut state = self.quota.lock();
        state.end(self.inode, self.directories);
        let file = Usage { bytes: in_blocks(bytes, state.directory.block()), entries: 1 };
        let stays = if is_part { file } else { file.plus(self.directories) };
        state.resting = state.resting.plus(stays);
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

impl State {
    fn left(&self) -> Usage {
        self.limit.minus(self.resting).minus(self.claimed)
    }

    /// Why `more` does not fit.
    fn lacks(&self, more: Usage) -> Option<Full> {
        let left = self.left();
        if more.entries > left.entries {
            return Some(Full::Entries(self.limit.entries));
        }
        (more.bytes > left.bytes).then_some(Full::Bytes(self.limit.bytes, left.bytes))
    }

    /// The claim of an upload, and of `directories` made for it, is over.
    fn end(&mut self, inode: Option<u64>, directories: Usage) {
        self.claimed = self.claimed.minus(directories);
        if let Some(live) = inode.and_then(|inode| self.live.remove(&inode)) {
            self.claimed = self.claimed.minus(Usage { bytes: live.claimed, entries: 1 });
        }
    }

    /// Makes room for `more` bytes of an upload from `address`, if it then has no more than its fair share: an equal part for each
    /// address of what is not at rest. Others lose only what they claimed beyond that share and have not used.
    fn reclaim(&mut self, more: u64, address: IpAddr) {
        let mut claimed = HashMap::from([(address, 0_u64)]);
        for live in self.live.values() {
            *claimed.entry(live.address).or_default() += live.claimed;
        }
        let share = self.limit.minus(self.resting).bytes / claimed.len() as u64;
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

impl Full {
    /// The refusal of `what`.
    pub(super) fn refuse(&self, what: &str) -> Refusal {
        let message = match self {
            Self::Bytes(limit, left) => {
                format!("{what}: {left} of {limit} bytes are free (--quota)")
            }
            Self::Entries(limit) => {
                format!(
                    "{what}: the limit of {limit} files and directories is reached (--max-entries)"
                )
            }
        };
        Refusal::new(RefusalCode::NoSpace, message)
            .with_hint("remove some files on the server, then send it again")
    }
}

/// What empty directories take.
const fn new(directories: u64, block: u64) -> Usage {
    Usage { bytes: directories.saturating_mul(block), entries: directories }
}

/// How many times as long as it took a count must be old before it is made anew.
const REST: u32 = 10;
