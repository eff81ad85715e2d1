//! The rate limit of reported refusals: a client that floods the server does not flood its output
//! and its log.
//!
//! Every refusal is counted. Requests beyond the limit are not reported one by one, but their
//! number is, once a second. Refusals that repeat, such as a missing token, are reported at most
//! once a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_proto::peer::Peer;

use super::observer::Why;
use crate::address::counted_as;

/// The refusals that were reported recently, and the number of those that were not.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Until when the reports of an address last (GCRA); an entry without any is removed.
    reported: Mutex<HashMap<(IpAddr, Rate), Instant>>,
    suppressed: AtomicU64,
}

/// How many refusals of one address are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rate {
    /// Of those that the same client repeats in the same words.
    OneASecond,
    /// Of requests, each of which says something else.
    TenASecond,
}

impl Rate {
    const fn of(why: Why) -> Self {
        match why {
            Why::NoToken | Why::WrongToken | Why::Guessing | Why::TooMany | Why::TooFast => {
                Self::OneASecond
            }
            Why::Request | Why::Origin | Why::Host => Self::TenASecond,
        }
    }

    /// The time that one report lasts, and how many may be reported in a burst.
    const fn measure(self) -> (Duration, u32) {
        match self {
            Self::OneASecond => (Duration::from_secs(1), 1),
            Self::TenASecond => (Duration::from_millis(100), 100),
        }
    }
}

impl Refusals {
    /// Returns whether a refusal of `peer` is reported now.
    pub(crate) fn report(&self, why: Why, peer: Peer, now: Instant) -> bool {
        let rate = Rate::of(why);
        let (each, burst) = rate.measure();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= MOST_REPORTED {
            reported.retain(|_, until| *until > now);
        }
        let has_room = reported.len() < MOST_REPORTED;
        let key = (counted_as(peer), rate);
        let until = reported.get(&key).map_or(now, |until| (*until).max(now));
        let is_within = until.duration_since(now) <= each * (burst - 1);
        let is_reported = is_within && (has_room || reported.contains_key(&key));
        if is_reported {
            reported.insert(key, until + each);
        } else if rate == Rate::TenASecond {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        is_reported
    }

    /// Returns how many were suppressed since the last call.
    pub(crate) fn take_suppressed(&self) -> u64 {
        self.suppressed.swap(0, Ordering::Relaxed)
    }
}

/// How often the number of suppressed refusals is reported.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Addresses whose refusals are reported at a time.
const MOST_REPORTED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Peer {
        Peer::Forwarded { ip: Some(IpAddr::V4(number.into())), port: None }
    }

    #[test]
    fn what_is_remembered_of_refusals_is_bounded() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let many =
            (0..1000).filter(|number| refusals.report(Why::TooMany, address(*number), now)).count();
        assert_eq!(many, MOST_REPORTED);
        let later = now + Duration::from_secs(1);
        assert!(refusals.report(Why::TooMany, address(5000), later));
        assert_eq!(refusals.reported.lock().unwrap().len(), 1);
    }

    #[test]
    fn refusals_beyond_the_rate_are_counted_and_not_reported() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let report =
            |why, after| refusals.report(why, address(1), now + Duration::from_millis(after));
        let reported = (0..5000).filter(|_| report(Why::Request, 0)).count();
        assert_eq!(reported, 100);
        assert_eq!(refusals.take_suppressed(), 4900);
        // Half a second later there is room for five.
        assert_eq!((0..100).filter(|_| report(Why::Request, 500)).count(), 5);
        // Those of another kind have a rate of their own.
        assert!(report(Why::WrongToken, 0) && !report(Why::WrongToken, 999));
        assert!(report(Why::WrongToken, 1000));
        assert_eq!(refusals.take_suppressed(), 95);
        assert_eq!(refusals.take_suppressed(), 0);
    }
}
