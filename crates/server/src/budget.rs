//! Memory that peers can make the server hold, bounded for all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes and no more.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicU64,
    taken: AtomicU64,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), taken: AtomicU64::new(0) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on. Nobody is robbed of what is held already.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// An empty share of it.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), held: 0 }
    }
}

/// What one holder has of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: u64,
}

impl Share {
    /// Takes `bytes` more; false, and nothing taken, where the budget has no more to give.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let (limit, taken) = (self.budget.limit(), &self.budget.taken);
        let take = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        let grown = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        self.held += if grown { bytes } else { 0 };
        grown
    }

    /// Gives all of it back.
    pub(crate) fn clear(&mut self) {
        self.shrink_to(0);
    }

    /// Gives back what it has beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.held.saturating_sub(bytes as u64);
        self.held -= surplus;
        self.budget.taken.fetch_sub(surplus, Ordering::Relaxed);
    }

    /// The limit of the budget that it is a share of.
    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_exact_and_given_back() {
        let budget = Arc::new(Budget::new(10));
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow(6));
        assert!(two.grow(4));
        assert!(!two.grow(1));
        one.clear();
        assert!(two.grow(6));
        budget.set_limit(5);
        assert!(!one.grow(1));
        drop(two);
        assert!(one.grow(5) && !one.grow(1));
        drop(one);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }
}
