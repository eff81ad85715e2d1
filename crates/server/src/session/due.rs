//! The deadline of an incomplete request or message, counted from its first byte, so that a slow
//! client cannot extend it.

use std::time::{Duration, Instant};

/// A deadline that runs only while something is incomplete.
#[derive(Debug, Clone)]
pub(super) struct Due {
    within: Duration,
    at: Option<Instant>,
}

impl Due {
    /// Returns a deadline that is not running.
    pub(super) const fn new(within: Duration) -> Self {
        Self { within, at: None }
    }

    /// Starts the deadline at `now`, unless it is running.
    pub(super) fn begin(&mut self, now: Instant) {
        // A deadline beyond the range of the clock is none.
        self.at = self.at.or_else(|| now.checked_add(self.within));
    }

    /// Stops the deadline: the request or message is complete, or refused.
    pub(super) const fn end(&mut self) {
        self.at = None;
    }

    /// Returns whether the deadline has passed at `now`.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.at.is_some_and(|due| now >= due)
    }

    /// The same for an idle event at `now`, whose timer may fire a moment early.
    pub(super) fn is_late_when_idle(&self, now: Instant) -> bool {
        self.is_late(now + AT_ONCE)
    }

    /// Returns the idle timeout: `idle`, or the time to the deadline if that is shorter.
    pub(super) fn idle_timeout(&self, idle: Duration) -> Duration {
        let left = |due: Instant| due.saturating_duration_since(Instant::now()).max(AT_ONCE);
        self.at.map_or(idle, |due| idle.min(left(due)))
    }

    /// Returns a reason such as "a message was not complete within 60s".
    pub(super) fn reason(&self, what: &str) -> String {
        format!("{what} was not complete within {:?}", self.within)
    }
}

/// Minimum timeout of a socket option.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_is_due_from_its_first_byte() {
        let (second, idle) = (Duration::from_secs(1), Duration::from_secs(60));
        let start = Instant::now();
        let mut due = Due::new(10 * second);
        assert!(!due.is_late(start + 1000 * second));
        assert_eq!(due.idle_timeout(idle), idle);
        due.begin(start);
        due.begin(start + 9 * second);
        assert!(!due.is_late(start + 9 * second));
        assert!(due.is_late(start + 10 * second));
        assert!(due.idle_timeout(idle) <= 10 * second);
        assert_eq!(due.idle_timeout(second), second);
        due.end();
        due.begin(start + 20 * second);
        assert!(!due.is_late(start + 29 * second));
    }

    #[test]
    fn one_that_is_late_is_not_waited_for() {
        let mut due = Due::new(Duration::ZERO);
        due.begin(Instant::now());
        assert_eq!(due.idle_timeout(Duration::from_secs(60)), AT_ONCE);
        let mut never = Due::new(Duration::MAX);
        never.begin(Instant::now());
        assert!(!never.is_late_when_idle(Instant::now()));
    }
}
