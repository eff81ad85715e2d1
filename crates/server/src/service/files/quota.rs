//! What all files and parts in the served directory may take together.
//!
//! What rests there is counted once, at the start, and then kept up to date by what we publish and keep. What is on its way
//! in is claimed before it comes, so two uploads never share the last byte. Where others remove files, or we replace or
//! sweep some, the count is too high: so it is made anew before anybody is refused.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sink::{Directory, FileSink, bytes_below};

pub(super) struct Quota {
    limit: AtomicU64,
    directory: Arc<Directory>,
    state: Mutex<State>,
}

struct State {
    /// Bytes of files and parts that nobody writes to.
    resting: u64,
    /// Bytes that uploads have claimed.
    claimed: u64,
    /// The inodes of their parts, which are not among what rests.
    live: HashSet<u64>,
    /// More may be free than is known.
    stale: bool,
    counted: Instant,
    /// How long that took.
    cost: Duration,
}

/// An upload's right to so many bytes; given back when dropped.
pub(super) struct Claim {
    quota: Arc<Quota>,
    /// `None` when it is settled.
    inode: Option<u64>,
    bytes: u64,
}

impl Quota {
    pub(super) fn open(limit: u64, directory: Arc<Directory>) -> io::Result<Self> {
        let began = Instant::now();
        let live = HashSet::new();
        let resting = bytes_below(directory.handle(), &live)?;
        let counted = Instant::now();
        let cost = counted - began;
        let state = State { resting, claimed: 0, live, stale: false, counted, cost };
        let limit = AtomicU64::new(limit);
        Ok(Self { limit, directory, state: Mutex::new(state) })
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on; what was claimed stays so.
    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that nobody has claimed.
    pub(super) fn free(&self) -> u64 {
        let mut state = self.lock();
        if state.stale || self.left(&state) == 0 {
            self.recount(&mut state);
        }
        self.left(&state)
    }

    /// Claims what `sink` is to hold in the end: `size`, or what it has so far where that is not known.
    ///
    /// # Errors
    /// How many bytes it may have instead, or what the file system said.
    pub(super) fn claim(
        self: &Arc<Self>,
        sink: &FileSink,
        size: Option<u64>,
    ) -> io::Result<Result<Claim, u64>> {
        let (inode, length) = (sink.inode()?, sink.length());
        let bytes = size.unwrap_or_default().max(length);
        let mut state = self.lock();
        state.live.insert(inode);
        state.resting = state.resting.saturating_sub(length);
        if self.take(&mut state, bytes) {
            drop(state);
            return Ok(Ok(Claim { quota: self.clone(), inode: Some(inode), bytes }));
        }
        let left = self.left(&state);
        state.live.remove(&inode);
        state.resting = state.resting.saturating_add(length);
        Ok(Err(left))
    }

    fn take(&self, state: &mut State, more: u64) -> bool {
        if more > self.left(state) {
            self.recount(state);
        }
        let fits = more <= self.left(state);
        state.claimed += if fits { more } else { 0 };
        fits
    }

    fn left(&self, state: &State) -> u64 {
        self.limit().saturating_sub(state.resting).saturating_sub(state.claimed)
    }

    /// Looks at the directory again, unless that has just been done: whoever is refused again and again must not keep the
    /// disk busy.
    fn recount(&self, state: &mut State) {
        let began = Instant::now();
        if began - state.counted < state.cost * REST {
            return;
        }
        match bytes_below(self.directory.handle(), &state.live) {
            Ok(resting) => {
                state.resting = resting;
                state.stale = false;
            }
            Err(error) => tracing::warn!(%error, "cannot count what the files take (--quota)"),
        }
        state.counted = Instant::now();
        state.cost = state.counted - began;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Claims more, up to `bytes` in all; false, and nothing claimed, where that is more than there is.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let grown = more == 0 || self.quota.take(&mut self.quota.lock(), more);
        if grown {
            self.bytes = self.bytes.max(bytes);
        }
        grown
    }

    /// The upload has ended, and `bytes` of it stay. `replaced`: perhaps in the place of another file.
    pub(super) fn settle(mut self, bytes: u64, replaced: bool) {
        let mut state = self.quota.lock();
        state.end(self.inode, self.bytes);
        state.resting = state.resting.saturating_add(bytes);
        state.stale |= replaced;
        drop(state);
        (self.inode, self.bytes) = (None, 0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.quota.lock().end(self.inode, self.bytes);
    }
}

impl State {
    /// A claim of so many bytes is over.
    fn end(&mut self, inode: Option<u64>, bytes: u64) {
        self.claimed = self.claimed.saturating_sub(bytes);
        if let Some(inode) = inode {
            self.live.remove(&inode);
        }
    }
}

/// How many times as long as it took a count must be old before it is made anew.
const REST: u32 = 10;
