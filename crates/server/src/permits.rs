//! Permits for connections, whose number can change while some are in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(crate) struct Permits {
    semaphore: Arc<Semaphore>,
    /// The number of permits, once all owed ones have been returned.
    total: Mutex<usize>,
    /// Permits in use that are removed when they are returned.
    owed: AtomicUsize,
}

/// A permit; dropping it returns it.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    held: Option<OwnedSemaphorePermit>,
}

impl Permits {
    pub(crate) fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        let semaphore = Arc::new(Semaphore::new(total));
        Self { semaphore, total: Mutex::new(total), owed: AtomicUsize::new(0) }
    }

    pub(crate) fn are_all_out(&self) -> bool {
        self.semaphore.available_permits() == 0
    }

    /// Waits for a permit, in order of arrival.
    ///
    /// Cancel safe: yes, except for the position in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed, so this does not fail.
        let held = self.semaphore.clone().acquire_owned().await.ok();
        Permit { permits: self.clone(), held }
    }

    /// Changes the number of permits. Permits in use remain; while there are more than `total`,
    /// none is granted until enough were returned.
    pub(crate) fn resize(&self, total: usize) {
        let total = total.min(Semaphore::MAX_PERMITS);
        let mut before = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        if total > *before {
            let more = total - *before;
            let take = |owed: usize| Some(owed.saturating_sub(more));
            let owed = self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
            let owed = owed.unwrap_or_else(|owed| owed);
            self.semaphore.add_permits(more.saturating_sub(owed));
        } else {
            let fewer = *before - total;
            // Recorded first, so that a permit that is returned meanwhile is not granted again.
            self.owed.fetch_add(fewer, Ordering::AcqRel);
            let forgotten = self.semaphore.forget_permits(fewer);
            (0..forgotten).for_each(|_| {
                // Another permit was returned meanwhile and removed instead.
                if !self.is_owed() {
                    self.semaphore.add_permits(1);
                }
            });
        }
        *before = total;
    }

    /// Returns whether a returned permit is to be removed.
    fn is_owed(&self) -> bool {
        let take = |owed: usize| owed.checked_sub(1);
        self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && self.permits.is_owed()
        {
            held.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(permits: &Arc<Permits>, count: usize) -> Vec<Permit> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(permits.acquire().await);
        }
        taken
    }

    #[tokio::test]
    async fn the_number_of_permits_holds_whatever_was_in_use_when_it_changed() {
        for out in 0..=4 {
            for (fewer, more) in [(0, 4), (1, 3), (2, 8), (4, 4)] {
                let permits = Arc::new(Permits::new(4));
                let mut taken = take(&permits, out).await;
                permits.resize(fewer);
                while taken.len() > fewer {
                    assert!(permits.are_all_out(), "{} of {fewer} are out", taken.len());
                    taken.pop();
                }
                assert_eq!(permits.semaphore.available_permits(), fewer - taken.len());
                permits.resize(more);
                assert_eq!(permits.semaphore.available_permits(), more - taken.len());
                drop(taken);
                assert_eq!(permits.semaphore.available_permits(), more);
                assert_eq!(permits.owed.load(Ordering::Relaxed), 0);
            }
        }
    }

    #[tokio::test]
    async fn what_is_owed_is_made_up_for_by_more() {
        let permits = Arc::new(Permits::new(4));
        let taken = take(&permits, 4).await;
        permits.resize(1);
        permits.resize(5);
        assert_eq!(permits.semaphore.available_permits(), 1);
        drop(taken);
        assert_eq!(permits.semaphore.available_permits(), 5);
    }
}
