//! What a peer has begun must be whole in time: counted from its first byte, so that trickling does
//! not help.

use std::time::{Duration, Instant};

/// A time limit for something that is not always under way.
#[derive(Debug, Clone)]
pub(super) struct Due {
    within: Duration,
    at: Option<Instant>,
}

impl Due {
    /// Nothing has begun.
    pub(super) const fn new(within: Duration) -> Self {
        Self { within, at: None }
    }

    /// It is under way, since `now` unless it already was.
    pub(super) fn begin(&mut self, now: Instant) {
        // A limit beyond what the clock can tell is none.
        self.at = self.at.or_else(|| now.checked_add(self.within));
    }

    /// It is whole, or given up.
    pub(super) const fn end(&mut self) {
        self.at = None;
    }

    /// Whether it is late at `now`.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.at.is_some_and(|due| now >= due)
    }

    /// The same for an idle event at `now`, as its timer may ring a moment early.
    pub(super) fn is_late_when_idle(&self, now: Instant) -> bool {
        self.is_late(now + AT_ONCE)
    }

    /// How long to wait for more bytes.
    pub(super) fn patience(&self, idle: Duration) -> Duration {
        let left = |due: Instant| due.saturating_duration_since(Instant::now()).max(AT_ONCE);
        self.at.map_or(idle, |due| idle.min(left(due)))
    }

    /// "a message was not complete within 60s"
    pub(super) fn reason(&self, what: &str) -> String {
        format!("{what} was not complete within {:?}", self.within)
    }
}

/// The shortest wait that a socket option can express.
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
        assert_eq!(due.patience(idle), idle);
        due.begin(start);
        due.begin(start + 9 * second);
        assert!(!due.is_late(start + 9 * second));
        assert!(due.is_late(start + 10 * second));
        assert!(due.patience(idle) <= 10 * second);
        assert_eq!(due.patience(second), second);
        due.end();
        due.begin(start + 20 * second);
        assert!(!due.is_late(start + 29 * second));
    }

    #[test]
    fn one_that_is_late_is_not_waited_for() {
        let mut due = Due::new(Duration::ZERO);
        due.begin(Instant::now());
        assert_eq!(due.patience(Duration::from_secs(60)), AT_ONCE);
        let mut never = Due::new(Duration::MAX);
        never.begin(Instant::now());
        assert!(!never.is_late_when_idle(Instant::now()));
    }
}
