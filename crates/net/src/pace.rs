//! Keeping to a rate.

use std::time::{Duration, Instant};

/// So many bytes per second and no more. Time in which nothing was moved is not made up for.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
    /// When the next byte is due.
    due: Instant,
}

impl Pace {
    /// At most `rate` bytes per second, at least 1.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), due: Instant::now() }
    }

    /// So many bytes were moved.
    pub fn moved(&mut self, count: u64) {
        let takes = Duration::try_from_secs_f64(count as f64 / self.rate as f64);
        self.due = self.due.max(Instant::now()) + takes.unwrap_or(LONGEST).min(LONGEST);
    }

    /// How long to wait before the next.
    pub fn pause(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// The instant at which the next byte is due; none if it is due already.
    pub fn wake(&self) -> Option<Instant> {
        (self.due > Instant::now()).then_some(self.due)
    }

    /// Bytes that should be moved at once, so that they go evenly: those of 50 ms, and not too few
    /// to be worth it.
    pub fn most(&self) -> usize {
        usize::try_from(self.rate / 20).unwrap_or(usize::MAX).max(FEWEST)
    }
}

/// One step is waited for no longer.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Fewer bytes cost more to move than the rate says.
const FEWEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_idleness_is_not_made_up_for() {
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
