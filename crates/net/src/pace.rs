//! A rate limit.

use std::time::{Duration, Instant};

/// A rate limit in bytes per second.
///
/// Unused time is not accumulated.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
    /// When the next byte is due.
    due: Instant,
}

impl Pace {
    /// Returns a limit of `rate` bytes per second, at least 1.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), due: Instant::now() }
    }

    /// Records that `count` bytes were moved.
    pub fn moved(&mut self, count: u64) {
        let takes = Duration::try_from_secs_f64(count as f64 / self.rate as f64);
        self.due = self.due.max(Instant::now()) + takes.unwrap_or(LONGEST).min(LONGEST);
    }

    /// Returns how long to wait before the next bytes.
    pub fn pause(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Returns when the next byte is due; `None` if it is due already.
    pub fn wake(&self) -> Option<Instant> {
        (self.due > Instant::now()).then_some(self.due)
    }

    /// Returns how many bytes to move in one call for an even rate: those of 50 ms, and at least a
    /// useful number.
    pub fn most(&self) -> usize {
        usize::try_from(self.rate / 20).unwrap_or(usize::MAX).max(FEWEST)
    }
}

/// Maximum duration of one wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Minimum of one call; fewer bytes cost more than the rate justifies.
const FEWEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_the_rate_and_unused_time_is_lost() {
        let mut pace = Pace::new(1000);
        assert_eq!((pace.pause(), pace.wake()), (Duration::ZERO, None));
        pace.due -= Duration::from_secs(100);
        pace.moved(5000);
        let pause = pace.pause();
        assert!(pause > Duration::from_secs(4) && pause <= Duration::from_secs(5), "{pause:?}");
        pace.moved(1000);
        assert!(pace.pause() > Duration::from_secs(5));
        assert_eq!(pace.wake(), Some(pace.due));
    }

    #[test]
    fn pieces_are_short() {
        assert_eq!(Pace::new(10_000_000).most(), 500_000);
        assert_eq!(Pace::new(0).most(), FEWEST);
        let mut pace = Pace::new(1);
        pace.moved(u64::MAX);
        assert!(pace.pause() <= LONGEST);
    }
}
