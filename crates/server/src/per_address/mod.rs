//! Limits on the number and the rate of connections of one peer address, so that one machine
//! cannot use all connections of a server.
//!
//! An IPv6 peer is counted by its /64, because a client with one address there can use all of
//! them. Only addresses with open connections or with running requests of a trusted proxy have an
//! entry, so the limits on connections, and on requests of one connection, bound the table.

mod rate;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyport_proto::counted::counted;
use anyport_proto::peer::Peer;
use anyport_proto::setting::{MAX_CONNS_PER_IP, MAX_RATE_PER_IP};

use crate::address::counted_as;
use crate::config::Config;
use crate::events::{Events, Why};
use crate::live::Live;
use rate::Rates;

/// The connection counts of a server.
#[derive(Debug)]
pub(crate) struct PerAddress {
    limits: Live<Limits>,
    state: Mutex<Counts>,
}

/// The limits, and whether they apply to loopback addresses.
#[derive(Debug)]
struct Limits {
    open: usize,
    open_of_loopback: bool,
    rate: Option<u32>,
    rate_of_loopback: bool,
}

impl Limits {
    const fn of(config: &Config) -> Self {
        Self {
            open: config.max_per_address,
            open_of_loopback: config.counts_loopback,
            rate: config.max_rate_per_address,
            rate_of_loopback: config.rate_counts_loopback,
        }
    }
}

#[derive(Debug)]
struct Counts {
    open: HashMap<IpAddr, usize>,
    rates: Rates,
}

/// An admitted connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// `None` where the connection is not counted.
    counted: Option<(Arc<PerAddress>, IpAddr)>,
}

/// The limit that a connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Maximum number of open connections.
    Open(usize),
    /// Maximum number of connections a second.
    Rate(u32),
}

impl PerAddress {
    pub(crate) fn new(config: &Config) -> Self {
        let (open, rates) = (HashMap::new(), Rates::new(config.max_rate_per_address));
        let state = Mutex::new(Counts { open, rates });
        Self { limits: Live::new(Limits::of(config)), state }
    }

    /// Changes the limits for later connections.
    pub(crate) fn set_limits(&self, config: &Config) {
        let limits = Limits::of(config);
        if limits.rate != self.limits.now().rate {
            self.lock().rates = Rates::new(limits.rate);
        }
        self.limits.replace(limits);
    }

    /// Admits a connection from `peer` if its address is within its limits.
    pub(crate) fn admit(self: &Arc<Self>, peer: Peer) -> Result<Admitted, Excess> {
        self.admit_at_rate(peer, true)
    }

    /// Admits a request that a proxy forwards for `peer`: it counts like a connection while it
    /// runs, but is no new connection.
    pub(crate) fn admit_request(self: &Arc<Self>, peer: Peer) -> Result<Admitted, Excess> {
        self.admit_at_rate(peer, false)
    }

    fn admit_at_rate(self: &Arc<Self>, peer: Peer, is_new: bool) -> Result<Admitted, Excess> {
        let address = counted_as(peer);
        let limits = self.limits.now();
        let counts = |also_loopback: bool| also_loopback || !peer.is_this_machine();
        let (counts_open, counts_rate) =
            (counts(limits.open_of_loopback), is_new && counts(limits.rate_of_loopback));
        if !counts_open && !counts_rate {
            return Ok(Admitted::uncounted());
        }
        let (mut state, now) = (self.lock(), Instant::now());
        let open = state.open.get(&address).copied().unwrap_or(0);
        let what = if counts_open && open >= limits.open {
            Some(Excess::Open(limits.open))
        } else if counts_rate && !state.rates.takes(address, now) {
            limits.rate.map(Excess::Rate)
        } else {
            None
        };
        if let Some(what) = what {
            return Err(what);
        }
        if !counts_open {
            return Ok(Admitted::uncounted());
        }
        *state.open.entry(address).or_default() += 1;
        Ok(Admitted { counted: Some((self.clone(), address)) })
    }

    /// Admits a connection as [`Self::admit`] does. A refused one is reported, at a limited rate.
    pub(crate) fn admit_or_report(
        self: &Arc<Self>,
        peer: Peer,
        events: &Events,
    ) -> Option<Admitted> {
        self.admit(peer)
            .map_err(|excess| events.refused(excess.why(), "tcp", peer, excess.reason()))
            .ok()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Excess {
    pub(crate) const fn why(self) -> Why {
        match self {
            Self::Open(_) => Why::TooMany,
            Self::Rate(_) => Why::TooFast,
        }
    }

    /// Returns the reason for the client and the operator.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Open(limit) => {
                let connections = counted(limit as u64, "connection");
                format!("its address already has {connections} ({MAX_CONNS_PER_IP})")
            }
            Self::Rate(limit) => {
                format!(
                    "its address opens more than {} per second ({MAX_RATE_PER_IP})",
                    counted(limit.into(), "connection")
                )
            }
        }
    }
}

impl Admitted {
    /// Returns what a connection has that no limit counts.
    pub(crate) const fn uncounted() -> Self {
        Self { counted: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a counter with these limits.
    fn counting(open: usize, loopback: bool, rate: Option<u32>) -> Arc<PerAddress> {
        Arc::new(PerAddress::new(&config(open, loopback, rate)))
    }

    fn config(open: usize, loopback: bool, rate: Option<u32>) -> Config {
        let mut config = Config::new(".");
        (config.max_per_address, config.counts_loopback) = (open, loopback);
        (config.max_rate_per_address, config.rate_counts_loopback) = (rate, loopback);
        config
    }

    fn ip(text: &str) -> Peer {
        std::net::SocketAddr::new(text.parse().unwrap(), 1).into()
    }

    #[test]
    fn an_address_has_its_limit_and_takes_nothing_from_another() {
        let counts = counting(2, true, None);
        let first = counts.admit(ip("192.0.2.1")).unwrap();
        let _second = counts.admit(ip("::ffff:192.0.2.1")).unwrap();
        let refused = counts.admit(ip("192.0.2.1")).unwrap_err();
        assert_eq!(refused, Excess::Open(2));
        let _other = counts.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        let _again = counts.admit(ip("192.0.2.1")).unwrap();
        counts.set_limits(&config(3, true, None));
        let _third = counts.admit(ip("192.0.2.1")).unwrap();
        counts.set_limits(&config(1, true, None));
        assert_eq!(counts.admit(ip("192.0.2.2")).unwrap_err(), Excess::Open(1));
    }

    #[test]
    fn an_ipv6_peer_is_its_64() {
        let counts = counting(1, true, None);
        let _held = counts.admit(ip("2001:db8:0:1::1")).unwrap();
        counts.admit(ip("2001:db8:0:1:ffff::2")).unwrap_err();
        counts.admit(ip("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn loopback_is_counted_where_that_is_wanted_and_nothing_is_kept_of_the_gone() {
        let counts = counting(1, false, None);
        let _held: Vec<_> = ["127.0.0.1", "127.0.0.1", "::1", "::1"]
            .map(|peer| counts.admit(ip(peer)).unwrap())
            .into();
        assert!(counts.lock().open.is_empty());
        let counts = counting(1, true, None);
        let held = counts.admit(ip("127.0.0.1")).unwrap();
        counts.admit(ip("127.0.0.1")).unwrap_err();
        drop(held);
        assert!(counts.lock().open.is_empty());
    }

    #[test]
    fn a_forwarded_loopback_address_is_limited_like_any_other() {
        let counts = counting(1, false, Some(1));
        let ip = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let forwarded = Peer::Forwarded { ip, port: None };
        let _held = counts.admit(forwarded).unwrap();
        assert_eq!(counts.admit(forwarded).unwrap_err(), Excess::Open(1));
        assert_eq!(counts.admit_request(forwarded).unwrap_err(), Excess::Open(1));
    }

    /// A request on an open connection of the proxy is no new connection.
    #[test]
    fn forwarded_requests_are_counted_while_they_run_and_have_no_rate() {
        let counts = counting(2, false, Some(1));
        let client = ip("192.0.2.1");
        let held = [counts.admit_request(client).unwrap(), counts.admit_request(client).unwrap()];
        counts.admit_request(client).unwrap_err();
        drop(held);
        assert!((0..1000).all(|_| counts.admit_request(client).is_ok()));
    }

    #[test]
    fn who_connects_too_fast_is_refused_without_taking_a_place() {
        let counts = counting(1000, true, Some(5));
        let refused = (0..50).filter_map(|_| counts.admit(ip("192.0.2.1")).err()).count();
        // Time passes meanwhile, and each fifth of a second admits another one.
        assert!(refused > 20, "{refused}");
        assert!(counts.lock().open.is_empty());
        let too_fast = (0..50).find_map(|_| counts.admit(ip("192.0.2.1")).err()).unwrap();
        assert_eq!(too_fast, Excess::Rate(5));
        counts.admit(ip("192.0.2.2")).unwrap();
        let loopback = counting(1000, false, Some(1));
        assert!((0..50).all(|_| loopback.admit(ip("127.0.0.1")).is_ok()));
    }
}
