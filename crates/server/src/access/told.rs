//! What was told of an address lately, so that whoever floods us does not flood the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Whose refusal was told, and when; those of the last second.
#[derive(Debug, Default)]
pub(crate) struct Told(HashMap<IpAddr, Instant>);

impl Told {
    /// Whether nothing was told of this address within [`TELL_EVERY`]; then it is told now.
    pub(crate) fn is_worth_telling(&mut self, address: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, told| now.duration_since(*told) < TELL_EVERY);
        if self.0.contains_key(&address) || self.0.len() >= MOST_TOLD {
            return false;
        }
        self.0.insert(address, now);
        true
    }
}

/// A refusal of one address is told so often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Addresses that are told of within that time.
const MOST_TOLD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_refusals_is_bounded() {
        let (mut told, now) = (Told::default(), Instant::now());
        let many = (0..1000_u32)
            .filter(|number| told.is_worth_telling(IpAddr::V4((*number).into()), now))
            .count();
        assert_eq!(many, MOST_TOLD);
        assert!(told.is_worth_telling(IpAddr::V4(1.into()), now + TELL_EVERY));
        assert_eq!(told.0.len(), 1);
    }
}
