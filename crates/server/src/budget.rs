//! A shared total (memory, rooms, keys of pipes), with a fair share for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyport_proto::peer::Peer;
use anyport_store::Reserve;

use crate::address::counted_as;

/// A total with a limit. One address, or IPv6 /64, may hold at most [`LARGEST_SHARE`] times the
/// amount that is then still free: three quarters if it is alone, three sevenths each of two, and
/// so on. So another address always gets something, and nothing is reserved for addresses that need
/// nothing.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicU64,
    /// Amount for each holder even if its address has used up its share: clients behind one proxy
    /// or NAT have one address.
    allowance: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: u64,
    /// Only addresses that hold something have an entry, so the number of holders bounds the table.
    by_address: HashMap<IpAddr, u64>,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), allowance: 0, held: Mutex::default() }
    }

    /// Returns a budget in which each holder may have `allowance` while any is free.
    pub(crate) fn with_allowance(self, allowance: u64) -> Self {
        Self { allowance, ..self }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. Amounts that are held remain.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns whether nothing is free.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.lock().total >= self.limit()
    }

    /// Returns an empty share for a peer.
    pub(crate) fn share(self: &Arc<Self>, peer: Peer) -> Share {
        Share { budget: self.clone(), address: counted_as(peer), held: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The amount that one holder has of a budget; dropping it returns the amount.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    address: IpAddr,
    held: u64,
}

impl Share {
    /// Acquires `count` more. Returns `false`, and acquires nothing, if the budget or the fair
    /// share of the address is exhausted.
    pub(crate) fn grow(&mut self, count: usize) -> bool {
        self.grow_within(count, self.budget.limit())
    }

    /// Acquires `count` more for an optional purpose, for which only half of the budget may be
    /// used.
    pub(crate) fn grow_if_plenty(&mut self, count: usize) -> bool {
        self.grow_within(count, self.budget.limit() / 2)
    }

    fn grow_within(&mut self, count: usize, limit: u64) -> bool {
        let count = count as u64;
        if count == 0 {
            return true;
        }
        let mut held = self.budget.lock();
        let Some(free) = limit.checked_sub(held.total.saturating_add(count)) else { return false };
        let own = held.by_address.entry(self.address).or_default();
        // Counts one more than will be free, so that a small total can be used up.
        let share = LARGEST_SHARE.saturating_mul(free.saturating_add(1));
        let is_allowed = self.held.saturating_add(count) <= self.budget.allowance;
        let fits = own.saturating_add(count) <= share || is_allowed;
        if fits {
            *own += count;
            held.total += count;
            self.held += count;
        } else if *own == 0 {
            held.by_address.remove(&self.address);
        }
        fits
    }

    /// Returns the whole amount.
    pub(crate) fn clear(&mut self) {
        self.shrink_to(0);
    }

    /// Returns the amount beyond `count`.
    pub(crate) fn shrink_to(&mut self, count: usize) {
        let surplus = self.held.saturating_sub(count as u64);
        if surplus == 0 {
            return;
        }
        self.held -= surplus;
        let mut held = self.budget.lock();
        held.total -= surplus;
        if let Some(own) = held.by_address.get_mut(&self.address) {
            *own -= surplus;
            if *own == 0 {
                held.by_address.remove(&self.address);
            }
        }
    }

    /// Returns the limit of the budget.
    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }
}

impl Reserve for Share {
    fn grow(&mut self, bytes: usize) -> bool {
        Self::grow(self, bytes)
    }

    fn shrink_to(&mut self, bytes: usize) {
        Self::shrink_to(self, bytes);
    }

    fn limit(&self) -> u64 {
        Self::limit(self)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Maximum that one address may hold, in multiples of what is free. A larger number gives a single
/// address more, and others less; with 3, twenty greedy addresses leave a sixtieth.
const LARGEST_SHARE: u64 = 3;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an address of a documentation network.
    pub(crate) fn peer(number: u8) -> Peer {
        std::net::SocketAddr::from(([192, 0, 2, number], 1)).into()
    }

    fn fill(share: &mut Share) -> u64 {
        std::iter::repeat_with(|| share.grow(1)).take_while(|grown| *grown).count() as u64
    }

    #[test]
    fn one_address_alone_has_most_and_leaves_some_for_each_other() {
        let budget = Arc::new(Budget::new(1024));
        let mut one = budget.share(peer(1));
        assert_eq!(fill(&mut one), 768);
        // Another connection of it gets nothing more.
        assert!(!budget.share(peer(1)).grow(1));
        let mut two = budget.share(peer(2));
        assert_eq!(fill(&mut two), 192);
        let mut others: Vec<_> = (3..6).map(|number| budget.share(peer(number))).collect();
        assert!(others.iter_mut().all(|other| fill(other) > 0));
        assert!(!budget.is_exhausted());
        drop((one, others));
        assert_eq!(fill(&mut two), 576);
        drop(two);
        assert!(budget.lock().by_address.is_empty() && budget.lock().total == 0);
    }

    #[test]
    fn what_can_be_done_without_gets_half() {
        let budget = Arc::new(Budget::new(1024));
        let mut one = budget.share(peer(1));
        assert!(one.grow_if_plenty(300) && !one.grow_if_plenty(300));
        assert!(one.grow(300) && !one.grow_if_plenty(1));
    }

    #[test]
    fn each_holder_has_its_allowance_whatever_its_address_holds() {
        let budget = Arc::new(Budget::new(1000).with_allowance(50));
        let mut hoarder = budget.share(peer(1));
        assert!(hoarder.grow(750) && !hoarder.grow(1));
        let mut small = budget.share(peer(1));
        assert!(small.grow(50) && !small.grow(1));
        // Of what is free: 200 more.
        let mut others: Vec<_> = (0..5).map(|_| budget.share(peer(1))).collect();
        assert_eq!(others.iter_mut().map(|other| other.grow(50)).filter(|grown| *grown).count(), 4);
    }

    #[test]
    fn an_ipv6_peer_is_its_64() {
        let budget = Arc::new(Budget::new(1000));
        let mut one = budget.share("2001:db8:0:1::1".parse().unwrap());
        assert!(one.grow(700));
        assert!(!budget.share("2001:db8:0:1:ffff::2".parse().unwrap()).grow(100));
        assert!(budget.share("2001:db8:0:2::1".parse().unwrap()).grow(100));
    }

    #[test]
    fn a_small_total_can_be_used_up() {
        for limit in 1..=3 {
            let budget = Arc::new(Budget::new(limit));
            let mut share = budget.share(peer(1));
            assert_eq!(fill(&mut share), limit);
            assert!(budget.is_exhausted() && !budget.share(peer(2)).grow(1));
        }
    }

    #[test]
    fn a_lower_limit_takes_nothing_back_and_no_count_overflows() {
        let budget = Arc::new(Budget::new(u64::MAX));
        let mut share = budget.share(peer(1));
        assert!(share.grow(100) && !share.grow(usize::MAX));
        budget.set_limit(10);
        assert!(!share.grow(1) && share.grow(0));
        share.shrink_to(3);
        assert!(share.grow(1));
    }
}
