//! An index of the partial files that are kept for a later resume: bounded in number and bytes, for
//! each address too.
//!
//! It is in memory, so an interruption costs the same however many partial files there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::key::SourceKey;

/// Limits for all kept partial files together. One address may use one [`SHARE`]th of each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartialLimits {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// The index of one served directory.
#[derive(Debug, Default)]
pub(crate) struct Partials(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    /// Records of completed uploads, the oldest first. They are empty, and must not evict files
    /// with content.
    completed: VecDeque<String>,
    kept: HashMap<String, Kept>,
    /// Oldest first.
    order: BTreeMap<u64, String>,
    /// By sender address; without files from before the server started, whose sender is unknown.
    owners: HashMap<IpAddr, Owned>,
    bytes: u64,
    next: u64,
}

#[derive(Debug)]
struct Kept {
    owner: Option<IpAddr>,
    bytes: u64,
    /// Sequence number; the oldest file has the lowest.
    number: u64,
}

#[derive(Debug, Default)]
struct Owned {
    numbers: BTreeSet<u64>,
    bytes: u64,
}

impl Partials {
    /// Adds a partial file, and returns the names of those that it evicts: the oldest ones, never
    /// itself.
    pub(crate) fn keep(
        &self,
        name: &str,
        owner: Option<IpAddr>,
        bytes: u64,
        limits: PartialLimits,
    ) -> Vec<String> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.remove(name);
        let number = index.next;
        index.next += 1;
        index.bytes += bytes;
        index.order.insert(number, name.to_owned());
        index.kept.insert(name.to_owned(), Kept { owner, bytes, number });
        let mut evicted = Vec::new();
        if let Some(owner) = owner {
            let owned = index.owners.entry(owner).or_default();
            owned.numbers.insert(number);
            owned.bytes += bytes;
            let share =
                PartialLimits { files: limits.files / SHARE, bytes: limits.bytes / SHARE as u64 };
            while let Some(oldest) = index.oldest_beyond(owner, share, number) {
                index.remove(&oldest);
                evicted.push(oldest);
            }
        }
        while index.kept.len() > limits.files || index.bytes > limits.bytes {
            let Some((oldest, name)) = index.order.first_key_value() else { break };
            if *oldest == number {
                break;
            }
            let name = name.clone();
            index.remove(&name);
            evicted.push(name);
        }
        evicted
    }

    /// Adds the record of a completed upload, and returns the one that it evicts.
    pub(crate) fn complete(&self, name: &str) -> Option<String> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.remove(name);
        index.completed.push_back(name.to_owned());
        let is_full = index.completed.len() > COMPLETED;
        if is_full { index.completed.pop_front() } else { None }
    }

    /// Returns the name of the oldest partial file.
    pub(crate) fn oldest(&self) -> Option<String> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.order.values().next().cloned()
    }

    /// Returns the names of all partial files in the index.
    pub(crate) fn names(&self) -> Vec<String> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.kept.keys().cloned().collect()
    }

    /// Removes a partial file that is being written again, or was removed; returns its owner.
    pub(crate) fn remove(&self, name: &str) -> Option<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

impl Index {
    fn oldest_beyond(&self, owner: IpAddr, share: PartialLimits, newest: u64) -> Option<String> {
        let owned = self.owners.get(&owner)?;
        let is_beyond = owned.numbers.len() > share.files || owned.bytes > share.bytes;
        let oldest = owned.numbers.first().filter(|oldest| is_beyond && **oldest != newest)?;
        self.order.get(oldest).cloned()
    }

    fn remove(&mut self, name: &str) -> Option<IpAddr> {
        self.completed.retain(|known| known != name);
        let kept = self.kept.remove(name)?;
        self.bytes -= kept.bytes;
        self.order.remove(&kept.number);
        if let Some(owner) = kept.owner
            && let Some(owned) = self.owners.get_mut(&owner)
        {
            owned.bytes -= kept.bytes;
            owned.numbers.remove(&kept.number);
            if owned.numbers.is_empty() {
                self.owners.remove(&owner);
            }
        }
        kept.owner
    }
}

/// The partial files, kept or being written, by the file that they are of: an attempt over another
/// protocol has another [`TransferKey`].
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<BySource>);

#[derive(Debug, Default)]
struct BySource {
    /// Names of partial files, the newest last, with the time of the source in seconds.
    names: HashMap<SourceKey, Vec<(String, Option<i64>)>>,
    sources: HashMap<String, SourceKey>,
}

impl Sources {
    pub(crate) fn insert(&self, source: SourceKey, name: &str, mtime: Option<i64>) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.remove(name);
        index.names.entry(source.clone()).or_default().push((name.to_owned(), mtime));
        index.sources.insert(name.to_owned(), source);
    }

    /// Returns the names of partial files of `source`, the newest first; without those of another
    /// modification time.
    pub(crate) fn find(&self, source: &SourceKey, mtime: Option<i64>) -> Vec<String> {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = index.names.get(source).map(Vec::as_slice).unwrap_or_default();
        let is_same = |known: &Option<i64>| known.zip(mtime).is_none_or(|(a, b)| a == b);
        let found = found.iter().rev().filter(|(_, known)| is_same(known));
        found.map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sources.contains_key(name)
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl BySource {
    fn remove(&mut self, name: &str) {
        let Some(source) = self.sources.remove(name) else { return };
        if let Some(names) = self.names.get_mut(&source) {
            names.retain(|(known, _)| known != name);
            if names.is_empty() {
                self.names.remove(&source);
            }
        }
    }
}

/// Maximum number of records of completed uploads.
const COMPLETED: usize = 1000;

/// Divisor of the limits for one address, so that it cannot evict the files of all others.
const SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PartialLimits = PartialLimits { files: 8, bytes: 800 };

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    #[test]
    fn an_address_evicts_its_own_oldest_partial_files() {
        let partials = Partials::default();
        let keep = |name: &str, owner, bytes| partials.keep(name, address(owner), bytes, LIMITS);
        assert_eq!(keep("other", 2, 10), [""; 0]);
        assert_eq!(keep("a", 1, 10), [""; 0]);
        assert_eq!(keep("b", 1, 10), [""; 0]);
        assert_eq!(keep("c", 1, 10), ["a"]);
        // A file that is being written again is not in the index until it is kept again.
        partials.remove("b");
        assert_eq!(keep("d", 1, 10), [""; 0]);
        assert_eq!(keep("b", 1, 190), ["c"]);
        assert_eq!(keep("large", 1, 100), ["d", "b"], "more bytes than an address may have");
        // However large it is, the last one is kept: its sender is most likely to come back.
        assert_eq!(keep("larger", 1, 790), ["large"]);
        assert_eq!(keep("more", 2, 1), ["other"], "more bytes than all may have");
    }

    #[test]
    fn records_of_completed_uploads_evict_only_each_other() {
        let partials = Partials::default();
        assert_eq!(partials.keep("content", address(1), 10, LIMITS), [""; 0]);
        for number in 0..COMPLETED {
            assert_eq!(partials.complete(&number.to_string()), None);
        }
        partials.remove("0");
        assert_eq!(partials.complete("more"), None);
        assert_eq!(partials.complete("most").as_deref(), Some("1"));
        assert_eq!(partials.names(), ["content"]);
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let partials = Partials::default();
        for owner in 0..8 {
            assert_eq!(partials.keep(&owner.to_string(), address(owner), 1, LIMITS), [""; 0]);
        }
        assert_eq!(partials.keep("from before the start", None, 1, LIMITS), ["0"]);
        assert_eq!(partials.keep("8", address(8), 1, LIMITS), ["1"]);
        let index = partials.0.lock().unwrap();
        assert_eq!((index.kept.len(), index.order.len(), index.bytes), (8, 8, 8));
        assert_eq!(index.owners.len(), 7);
    }
}
