//! New connections of one address in a second (a leaky bucket, kept as the time at which it will be
//! empty).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The connection rates by address.
#[derive(Debug)]
pub(super) struct Rates {
    /// What one connection adds; zero without a limit.
    each: Duration,
    /// The level above which a connection is refused.
    room: Duration,
    empty_at: HashMap<IpAddr, Instant>,
}

impl Rates {
    /// Permits `per_second` connections, and bursts of twice as many; `None`: no limit.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        let each = per_second.map_or(Duration::ZERO, |count| Duration::from_secs(1) / count.max(1));
        let room = each * per_second.unwrap_or(0).saturating_mul(BURST_SECONDS);
        Self { each, room, empty_at: HashMap::new() }
    }

    /// Counts a connection, and returns whether it is within the limit. If the table is full, a
    /// new address is not counted: its open connections are bounded anyway.
    pub(crate) fn takes(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.each.is_zero() {
            return true;
        }
        if !self.empty_at.contains_key(&address) && self.empty_at.len() >= MOST_ADDRESSES {
            self.empty_at.retain(|_, empty_at| *empty_at > now);
            if self.empty_at.len() >= MOST_ADDRESSES {
                return true;
            }
        }
        let empty_at = self.empty_at.entry(address).or_insert(now);
        let full = (*empty_at).max(now) + self.each;
        if full.duration_since(now) > self.room {
            return false;
        }
        *empty_at = full;
        true
    }
}

/// A browser or a script opens many connections in a burst, then none for a while.
const BURST_SECONDS: u32 = 2;

/// Maximum number of addresses in the table, which has those that connected in the last two
/// seconds.
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_burst_is_taken_then_one_for_each_share_of_a_second() {
        let (mut rates, now) = (Rates::new(Some(10)), Instant::now());
        assert_eq!((0..30).filter(|_| rates.takes(ip(1), now)).count(), 20);
        assert!(rates.takes(ip(2), now), "another one's");
        let later = now + Duration::from_millis(100);
        assert!(rates.takes(ip(1), later));
        assert!(!rates.takes(ip(1), later));
        assert_eq!(
            (0..30).filter(|_| rates.takes(ip(1), now + Duration::from_secs(10))).count(),
            20
        );
    }

    #[test]
    fn nothing_is_counted_where_no_rate_is_wanted() {
        let (mut rates, now) = (Rates::new(None), Instant::now());
        assert!((0..1000).all(|_| rates.takes(ip(1), now)));
        assert!(rates.empty_at.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut rates, now) = (Rates::new(Some(1)), Instant::now());
        for number in 0..MOST_ADDRESSES as u32 + 10 {
            assert!(rates.takes(ip(number), now));
        }
        assert_eq!(rates.empty_at.len(), MOST_ADDRESSES);
        rates.takes(ip(1 << 20), now + Duration::from_secs(3));
        assert_eq!(rates.empty_at.len(), 1);
    }
}
