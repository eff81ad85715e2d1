//! Helpers for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Reserve;

/// A limit that its clones share, and the bytes that this one took.
#[derive(Debug)]
pub(crate) struct Limited(Arc<AtomicUsize>, usize);

impl Limited {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(limit)), 0)
    }
}

impl Clone for Limited {
    fn clone(&self) -> Self {
        Self(self.0.clone(), 0)
    }
}

impl Reserve for Limited {
    fn grow(&mut self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed).checked_sub(bytes);
        left.is_some_and(|left| {
            self.0.store(left, Ordering::Relaxed);
            self.1 += bytes;
            true
        })
    }

    fn shrink_to(&mut self, bytes: usize) {
        self.0.fetch_add(self.1 - bytes, Ordering::Relaxed);
        self.1 = bytes;
    }

    fn limit(&self) -> u64 {
        3
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
