//! Counts of wrong tokens by address, so that guessing a token takes too long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong tokens of each address within a minute.
#[derive(Debug, Default)]
pub(super) struct Failures {
    of: HashMap<IpAddr, Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    count: u32,
}

impl Failures {
    /// Returns how long an address is still refused; `None` if it may try.
    pub(super) fn held_off(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let window = self.of.get(&peer).filter(|window| window.count >= MOST)?;
        let left = WINDOW.saturating_sub(now.duration_since(window.since));
        (!left.is_zero()).then_some(left)
    }

    /// Counts a wrong token. The last permitted one starts the time for which the address is
    /// refused.
    pub(super) fn add(&mut self, peer: IpAddr, now: Instant) {
        if !self.of.contains_key(&peer) && self.of.len() >= MOST_ADDRESSES {
            self.make_place(now);
        }
        let window = self.of.entry(peer).or_insert(Window { since: now, count: 0 });
        if now.duration_since(window.since) >= WINDOW {
            *window = Window { since: now, count: 0 };
        }
        window.count += 1;
        if window.count == MOST {
            window.since = now;
        }
    }

    /// Removes expired entries, else the oldest one: an attacker with that many addresses
    /// cannot be slowed down by counting them.
    fn make_place(&mut self, now: Instant) {
        self.of.retain(|_, window| now.duration_since(window.since) < WINDOW);
        if self.of.len() < MOST_ADDRESSES {
            return;
        }
        let oldest = self.of.iter().min_by_key(|(_, window)| window.since);
        if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
            self.of.remove(&oldest);
        }
    }
}

/// Maximum number of wrong tokens of one address within [`WINDOW`], after which it is refused
/// for as long. A person who pastes the wrong text needs a few; at this rate 16 random bytes cannot
/// be guessed.
pub(super) const MOST: u32 = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// Maximum number of addresses in the table.
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_minute_after_the_last_wrong_one_it_may_try_again() {
        let (mut failures, began) = (Failures::default(), Instant::now());
        for number in 0..MOST {
            assert_eq!(failures.held_off(ip(1), began), None);
            failures.add(ip(1), began + Duration::from_secs(u64::from(number)));
        }
        let last = began + Duration::from_secs(u64::from(MOST) - 1);
        assert_eq!(failures.held_off(ip(1), last), Some(WINDOW));
        assert_eq!(failures.held_off(ip(1), last + WINDOW), None);
        failures.add(ip(1), last + WINDOW);
        assert_eq!(failures.held_off(ip(1), last + WINDOW), None);
    }

    #[test]
    fn a_few_wrong_tokens_in_a_minute_are_permitted() {
        let (mut failures, began) = (Failures::default(), Instant::now());
        for number in 0..10 * MOST {
            let at = began + Duration::from_secs(u64::from(number) * 10);
            failures.add(ip(1), at);
            assert_eq!(failures.held_off(ip(1), at), None);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for number in 0..MOST_ADDRESSES as u32 + 10 {
            failures.add(ip(number), now + Duration::from_micros(u64::from(number)));
        }
        assert_eq!(failures.of.len(), MOST_ADDRESSES);
        assert!(!failures.of.contains_key(&ip(0)) && failures.of.contains_key(&ip(10)));
        failures.add(ip(1 << 20), now + 2 * WINDOW);
        assert_eq!(failures.of.len(), 1);
    }
}
