//! The limit on replies to one address in a second.
//!
//! A forged datagram can still make two services on unusual ports reply to each other, and each
//! further datagram adds to the loop: this bounds its cost. The table never grows. Addresses that
//! hash to the same row share its count; the hash is keyed for each process, so an attacker cannot
//! choose whose row to fill.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The reply counts of one socket.
#[derive(Debug)]
pub(super) struct Rate {
    hasher: RandomState,
    since: Instant,
    rows: Box<[u32]>,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { hasher: RandomState::new(), since: now, rows: vec![0; ROWS].into() }
    }

    /// Returns whether another datagram of `peer` gets a reply within the current second.
    pub(super) fn admits(&mut self, peer: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            self.since = now;
            self.rows.fill(0);
        }
        let row = self.hasher.hash_one(peer.to_canonical()) as usize % ROWS;
        self.rows[row] = self.rows[row].saturating_add(1);
        self.rows[row] <= MOST
    }
}

/// Maximum number of replies to one address in a second; a person, a test or a monitor needs fewer.
const MOST: u32 = 1000;

const ROWS: usize = 1024;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_number_in_a_second_and_in_the_next() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let peer = "192.0.2.1".parse().unwrap();
        let admitted =
            |rate: &mut Rate, now| (0..2 * MOST).filter(|_| rate.admits(peer, now)).count();
        assert_eq!(admitted(&mut rate, start), MOST as usize);
        assert_eq!(admitted(&mut rate, start + SECOND / 2), 0);
        assert!(!rate.admits("::ffff:192.0.2.1".parse().unwrap(), start), "it is the same one");
        let others = (0..64_u32).filter(|n| rate.admits(IpAddr::V4((*n).into()), start)).count();
        assert!(others > 32, "{others} of 64: they share no row, or few do");
        assert_eq!(admitted(&mut rate, start + SECOND), MOST as usize);
    }
}
