//! Permits to be a connection: so many and no more, of a number that may change while they are out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(crate) struct Permits {
    semaphore: Arc<Semaphore>,
    /// How many there are, once all that are owed have come back.
    total: Mutex<usize>,
    /// Permits that are out and have been abolished: those that come back next.
    owed: AtomicUsize,
}

/// Given back when dropped.
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

    /// Waits for one, first come, first served.
    ///
    /// Cancel safe: yes, but for the place in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed, and an error would be nobody's to wait for.
        let held = self.semaphore.clone().acquire_owned().await.ok();
        Permit { permits: self.clone(), held }
    }

    /// From now on there are so many. Of those that are out nobody is robbed: where they are more,
    /// nobody gets one until enough have come back.
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
            // Announced first, so that one that comes back meanwhile is not handed out again.
            self.owed.fetch_add(fewer, Ordering::AcqRel);
            let forgotten = self.semaphore.forget_permits(fewer);
            (0..forgotten).for_each(|_| {
                // Another came back meanwhile, and was abolished in the place of this one.
                if !self.is_owed() {
                    self.semaphore.add_permits(1);
                }
            });
        }
        *before = total;
    }

    /// Whether a permit that comes back is abolished.
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
    async fn there_are_so_many_whatever_was_out_when_the_number_changed() {
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
