//! Durations in buckets, as Prometheus sums them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of durations in seconds.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Those up to each of [`BOUNDS`] and above the one before it; the last one is for all that
    /// took longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// All of them together, in microseconds: 584,000 years until it begins anew.
    micros: AtomicU64,
}

/// The values of a histogram: each bound with the number of durations up to it, their number, and
/// their sum in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Durations {
    pub(crate) up_to: [(f64, u64); BOUNDS.len()],
    pub(crate) count: u64,
    pub(crate) seconds: f64,
}

impl Histogram {
    pub(crate) fn add(&self, seconds: f64) {
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    pub(crate) fn durations(&self) -> Durations {
        let mut count = 0;
        let mut up_to = BOUNDS.map(|bound| (bound, 0));
        for ((_, below), counter) in up_to.iter_mut().zip(&self.counts) {
            count += counter.load(Ordering::Relaxed);
            *below = count;
        }
        count += self.counts[BOUNDS.len()].load(Ordering::Relaxed);
        Durations { up_to, count, seconds: self.micros.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

/// Bounds from a request on loopback to a file that takes a night.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0, 3600.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_below_it_too() {
        let histogram = Histogram::default();
        for seconds in [0.0, 0.001, 0.002, 9.0, 100_000.0] {
            histogram.add(seconds);
        }
        let Durations { up_to, count, seconds } = histogram.durations();
        assert_eq!(up_to.map(|(_, count)| count), [2, 3, 3, 3, 3, 3, 4, 4, 4, 4]);
        assert_eq!(count, 5);
        assert!((seconds - 100_009.003).abs() < 1e-6, "{seconds}");
    }
}
