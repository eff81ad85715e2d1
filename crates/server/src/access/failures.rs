//! Wrong tokens of one address, counted, so that guessing takes longer than anybody has.

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
    /// How long an address is held off yet; none where it may try.
    pub(super) fn held_off(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let window = self.of.get(&peer).filter(|window| window.count >= MOST)?;
        let left = WINDOW.saturating_sub(now.duration_since(window.since));
        (!left.is_zero()).then_some(left)
    }

    /// One more. The last of them begins the time for which the address is held off.
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

    /// Forgets those whose time is over, else the one that is longest ago: with so many addresses
    /// nobody is held off by counting one of them.
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

/// Wrong tokens of one address within [`WINDOW`]; then it is held off for as long. A person who
/// pastes the wrong thing needs a few; at this rate 16 bytes take longer than the sun has.
pub(super) const MOST: u32 = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered.
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
    fn a_few_in_a_minute_hold_nobody_off() {
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
