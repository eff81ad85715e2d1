//! Event IDs: `k3f9c2-41` is the 41st event of its room, in the epoch `k3f9c2`.
//!
//! A client sends an ID to receive the events after it. The epoch shows whether the server's
//! current count is meant: after a restart it counts from 1 again, and an old ID must not match a
//! new event.

use std::fmt;
use std::str::FromStr;

use super::name::ALPHABET;
use crate::transfer::quoted;

/// The ID of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The epoch of the room.
    pub epoch: Epoch,
    /// Number of the event in the room, from 1.
    pub number: u64,
}

/// The epoch of a room, new at each start: six letters and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; LEN]);

/// Why a text is not an event ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an event id; expected one such as k3f9c2-41", quoted(.text))]
pub struct BadEventId {
    /// The text as received.
    pub text: String,
}

impl EventId {
    /// An ID that no event has, in an epoch that no room has: a client that sends it receives all
    /// stored events, and a notice that earlier ones were lost.
    pub const UNKNOWN: Self = Self { epoch: Epoch(*b"------"), number: 0 };
}

impl Epoch {
    /// Returns an epoch of these random bytes.
    pub fn new(random: [u8; LEN]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// Returns the epoch as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an epoch has ASCII letters and digits only")
    }

    fn parse(text: &str) -> Option<Self> {
        let letters: [u8; LEN] = text.as_bytes().try_into().ok()?;
        let known = letters.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        known.then_some(Self(letters))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, BadEventId> {
        let parse = || {
            let (epoch, number) = text.split_once('-')?;
            // Clients compare IDs as text, so each has only one form.
            let plain = number.bytes().all(|byte| byte.is_ascii_digit())
                && (number == "0" || !number.starts_with('0'));
            let number = plain.then(|| number.parse().ok())??;
            Some(Self { epoch: Epoch::parse(epoch)?, number })
        };
        parse().ok_or_else(|| BadEventId { text: text.to_owned() })
    }
}

const LEN: usize = 6;

#[cfg(test)]
pub(in crate::rooms) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::rooms) fn any_id() -> impl Strategy<Value = EventId> {
        any::<([u8; LEN], u64)>()
            .prop_map(|(random, number)| EventId { epoch: Epoch::new(random), number })
    }

    #[test]
    fn an_id_is_an_epoch_and_a_number() {
        let id: EventId = "k3f9c2-41".parse().unwrap();
        assert_eq!((id.epoch.as_str(), id.number), ("k3f9c2", 41));
        assert_eq!(id.to_string(), "k3f9c2-41");
    }

    #[test]
    fn an_id_has_one_form() {
        for text in [
            "",
            "41",
            "k3f9c2",
            "k3f9c2-",
            "k3f9c-41",
            "k3f9c22-41",
            "K3F9C2-41",
            "k3f9c2-041",
            "k3f9c2-+1",
            "k3f9c2--1",
            "k3f9c2-18446744073709551616",
            "k3f9é-41",
            " k3f9c2-41",
        ] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
        assert_eq!(
            "x".parse::<EventId>().unwrap_err().to_string(),
            r#""x" is not an event id; expected one such as k3f9c2-41"#
        );
    }

    proptest! {
        #[test]
        fn ids_are_read_as_they_are_written(id in any_id()) {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
