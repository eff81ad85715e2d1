//! Connections of one peer address, bounded in number, so that one machine cannot take all the places of a server.
//!
//! An IPv6 peer is counted by its /64: whoever has one address there has all of them. What is kept is an entry for each
//! address that has a connection, so the limit on connections bounds it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The count of a server.
#[derive(Debug)]
pub(crate) struct PerAddress {
    limit: AtomicUsize,
    counts_loopback: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<IpAddr, usize>,
    /// Whose refusal was told, and when; those of the last second.
    told: HashMap<IpAddr, Instant>,
}

/// A connection that was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `None` where it is not counted.
    counted: Option<(Arc<PerAddress>, IpAddr)>,
}

/// A connection too many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) limit: usize,
    /// Whether nobody was told of this address within the last second.
    pub(crate) worth_telling: bool,
}

impl PerAddress {
    pub(crate) fn new(limit: usize, counts_loopback: bool) -> Self {
        let (limit, counts_loopback) = (AtomicUsize::new(limit), AtomicBool::new(counts_loopback));
        Self { limit, counts_loopback, state: Mutex::default() }
    }

    /// From now on; who is in stays.
    pub(crate) fn set_limit(&self, limit: usize, counts_loopback: bool) {
        self.limit.store(limit, Ordering::Relaxed);
        self.counts_loopback.store(counts_loopback, Ordering::Relaxed);
    }

    /// Lets a connection from `peer` in, if its address has not too many.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admitted, TooMany> {
        let address = counted_as(peer);
        if address.is_loopback() && !self.counts_loopback.load(Ordering::Relaxed) {
            return Ok(Admitted { counted: None });
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let mut state = self.lock();
        if state.open.get(&address).is_some_and(|open| *open >= limit) {
            let worth_telling = state.is_worth_telling(address, Instant::now());
            return Err(TooMany { limit, worth_telling });
        }
        *state.open.entry(address).or_default() += 1;
        Ok(Admitted { counted: Some((self.clone(), address)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_worth_telling(&mut self, address: IpAddr, now: Instant) -> bool {
        self.told.retain(|_, told| now.duration_since(*told) < TELL_EVERY);
        if self.told.contains_key(&address) || self.told.len() >= MOST_TOLD {
            return false;
        }
        self.told.insert(address, now);
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((counts, address)) = &self.counted else { return };
        let mut state = counts.lock();
        if let Some(open) = state.open.get_mut(address) {
            *open -= 1;
            if *open == 0 {
                state.open.remove(address);
            }
        }
    }
}

/// What a peer counts as: its IPv4 address, also where it came over a socket of both families, or its IPv6 /64.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// A refusal of one address is told so often at most, so that whoever floods us does not flood the log.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Addresses that are told of within that time.
const MOST_TOLD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_limit_and_takes_nothing_from_another() {
        let counts = Arc::new(PerAddress::new(2, true));
        let first = counts.admit(ip("192.0.2.1")).unwrap();
        let _second = counts.admit(ip("::ffff:192.0.2.1")).unwrap();
        let refused = counts.admit(ip("192.0.2.1")).unwrap_err();
        assert_eq!(refused, TooMany { limit: 2, worth_telling: true });
        assert!(!counts.admit(ip("192.0.2.1")).unwrap_err().worth_telling);
        let _other = counts.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        let _again = counts.admit(ip("192.0.2.1")).unwrap();
        counts.set_limit(3, true);
        let _third = counts.admit(ip("192.0.2.1")).unwrap();
        counts.set_limit(1, true);
        assert_eq!(counts.admit(ip("192.0.2.2")).unwrap_err().limit, 1);
    }

    #[test]
    fn an_ipv6_peer_is_its_64() {
        let counts = Arc::new(PerAddress::new(1, true));
        let _held = counts.admit(ip("2001:db8:0:1::1")).unwrap();
        counts.admit(ip("2001:db8:0:1:ffff::2")).unwrap_err();
        counts.admit(ip("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn loopback_is_counted_where_that_is_wanted_and_nothing_is_kept_of_the_gone() {
        let counts = Arc::new(PerAddress::new(1, false));
        let _held: Vec<_> = ["127.0.0.1", "127.0.0.1", "::1", "::1"]
            .map(|peer| counts.admit(ip(peer)).unwrap())
            .into();
        assert!(counts.lock().open.is_empty());
        let counts = Arc::new(PerAddress::new(1, true));
        let held = counts.admit(ip("127.0.0.1")).unwrap();
        counts.admit(ip("127.0.0.1")).unwrap_err();
        drop(held);
        assert!(counts.lock().open.is_empty());
    }

    #[test]
    fn what_is_remembered_of_refusals_is_bounded() {
        let mut state = State::default();
        let now = Instant::now();
        let told = (0..1000_u32).filter(|n| state.is_worth_telling(IpAddr::V4((*n).into()), now));
        assert_eq!(told.count(), MOST_TOLD);
        assert!(state.is_worth_telling(ip("192.0.2.1"), now + TELL_EVERY));
        assert_eq!(state.told.len(), 1);
    }
}
