//! The message rate limit of a room or a member.

use std::time::{Duration, Instant};

/// A number of messages per second, in bursts of as many. Exceeding it delays a member; nothing of
/// its input is refused.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Time that one message costs; zero without a limit.
    interval: Duration,
    due: Option<Instant>,
}

impl Rate {
    /// `None` is as often as it likes.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        let interval =
            per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        Self { interval, due: None }
    }

    /// It spoke.
    pub(crate) fn spend(&mut self, now: Instant) {
        if self.interval.is_zero() {
            return;
        }
        // Unused time older than a second is lost.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.due = Some(self.due.map_or(earliest, |due| due.max(earliest)) + self.interval);
    }

    /// Returns the instant before which it may not speak again; none if it may speak at `now`.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        self.due.filter(|due| *due > now)
    }
}

/// Length of a burst, in time.
const BURST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_is_free_and_then_each_takes_its_time() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut rate = Rate::new(Some(10));
        (0..10).for_each(|_| rate.spend(start));
        assert_eq!(rate.wake(start), None);
        rate.spend(start);
        assert_eq!(rate.wake(start), Some(start + Duration::from_millis(100)));
        (0..10).for_each(|_| rate.spend(start));
        assert_eq!(rate.wake(start), Some(start + Duration::from_millis(1100)));
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.wake(later), None);
        (0..11).for_each(|_| rate.spend(later));
        assert_eq!(rate.wake(later), Some(later + Duration::from_millis(100)));
    }

    #[test]
    fn without_a_rate_no_member_waits() {
        let (now, mut rate) = (Instant::now(), Rate::new(None));
        (0..1_000_000).for_each(|_| rate.spend(now));
        assert_eq!(rate.wake(now), None);
    }
}
