//! Pipes: content passes from one client to others while it arrives, and is not stored
//! (docs/pipe.md).

use std::fmt;
use std::str::FromStr;

use crate::limits::{MAX_PIPE_KEY, MAX_PIPE_RECEIVERS};
use crate::rooms::{NameError, check_name};
use crate::transfer::units::format_bytes;
use crate::transfer::{percent, quoted};

/// Prefix of pipes in the paths of URLs.
pub const PIPE_PATH: &str = "/pipe/";

/// The key that sender and receivers of a pipe have agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PipeKey(String);

/// A request to send into a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Give {
    /// The key of the pipe.
    pub key: PipeKey,
    /// Size of the content in bytes, if known.
    pub size: Option<u64>,
    /// Number of receivers to wait for.
    pub receivers: usize,
}

/// A request to receive from a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// The key of the pipe.
    pub key: PipeKey,
    /// Whether to send a line before the content.
    pub head: bool,
}

/// The result of a pipe, as reported to its sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piped {
    /// Size of the content in bytes.
    pub bytes: u64,
    /// Time from the start, when all were connected, until the last receiver got the last byte.
    pub seconds: f64,
    /// Receivers that received all of it.
    pub receivers: usize,
    /// Receivers that disconnected before.
    pub gone: usize,
}

/// Why a URL does not name a pipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The key is invalid.
    #[error(transparent)]
    Key(#[from] NameError),
    /// The key is not percent-encoded UTF-8.
    #[error("the key {} of a pipe is not percent-encoded UTF-8", quoted(.0))]
    Encoding(String),
    /// The query has an unknown word.
    #[error("unknown key {} in the query of a pipe; expected n= and {RECEIVERS}", quoted(.0))]
    Query(String),
    /// The number of receivers is invalid.
    #[error("n={} is not {RECEIVERS}", quoted(.0))]
    Receivers(String),
}

impl Give {
    /// Parses a request for [`PIPE_PATH`] and a key, which is percent-encoded as received.
    ///
    /// # Errors
    /// The first part that is invalid.
    pub fn from_target(
        key: &str,
        query: Option<&str>,
        size: Option<u64>,
    ) -> Result<Self, TargetError> {
        let key = PipeKey::from_percent_encoded(key)?;
        let mut receivers = 1;
        for word in query.unwrap_or_default().split('&').filter(|word| !word.is_empty()) {
            let Some(count) = word.strip_prefix("n=") else {
                return Err(TargetError::Query(word.to_owned()));
            };
            receivers =
                parse_receivers(count).ok_or_else(|| TargetError::Receivers(count.to_owned()))?;
        }
        Ok(Self { key, size, receivers })
    }
}

impl PipeKey {
    /// Parses the key in a path.
    ///
    /// # Errors
    /// The key is invalid.
    pub fn from_percent_encoded(key: &str) -> Result<Self, TargetError> {
        let key = percent::decode(key).map_err(|_| TargetError::Encoding(key.to_owned()))?;
        Ok(key.parse()?)
    }

    /// Returns the key as encoded in a path.
    pub fn percent_encoded(&self) -> String {
        percent::encode_name(&self.0)
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PipeKey {
    type Err = NameError;

    fn from_str(key: &str) -> Result<Self, NameError> {
        check_name("key of a pipe", key, MAX_PIPE_KEY).map(Self)
    }
}

impl fmt::Display for PipeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Piped {
    /// Returns "5 bytes in 0.001 s to 1 receiver".
    pub fn human_line(&self) -> String {
        let Self { bytes, seconds, receivers, gone } = self;
        let plural = if *receivers == 1 { "" } else { "s" };
        let gone = match gone {
            0 => String::new(),
            gone => format!("; {gone} disconnected before the end"),
        };
        format!("{} in {seconds:.3} s to {receivers} receiver{plural}{gone}", format_bytes(*bytes))
    }
}

/// Parses a number of receivers; `None` if it is out of range.
pub fn parse_receivers(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|_| digits)?;
    (1..=MAX_PIPE_RECEIVERS).contains(&count).then_some(count)
}

/// The values that [`parse_receivers`] accepts, in words.
pub const RECEIVERS: &str = "a number of receivers from 1 to 64";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_as_long_as_its_limit_and_no_longer() {
        for key in ["a", "x-1_y.z", &"ж".repeat(MAX_PIPE_KEY)] {
            assert_eq!(key.parse::<PipeKey>().unwrap().as_str(), key);
        }
        let long = "x".repeat(MAX_PIPE_KEY + 1).parse::<PipeKey>().unwrap_err().to_string();
        assert!(long.ends_with("is longer than 128 characters"), "{long}");
        for key in ["", "-a", "a/b", "a b", "a\n", ".."] {
            assert!(key.parse::<PipeKey>().is_err(), "{key:?}");
        }
    }

    #[test]
    fn a_pipe_url_has_a_key_and_a_number_of_receivers() {
        let give = Give::from_target("gr%C3%B6%C3%9Fe", Some("n=3"), Some(5)).unwrap();
        assert_eq!((give.key.as_str(), give.receivers, give.size), ("größe", 3, Some(5)));
        assert_eq!(give.key.percent_encoded(), "gr%C3%B6%C3%9Fe");
        assert_eq!(Give::from_target("a", None, None).unwrap().receivers, 1);
        let refused = |key, query| Give::from_target(key, query, None).unwrap_err().to_string();
        assert_eq!(refused("", None), "the key of a pipe is empty");
        assert!(refused("%zz", None).ends_with("is not percent-encoded UTF-8"));
        assert!(refused("a/b", None).contains("'/' is not allowed"));
        assert!(refused("a", Some("x=1")).starts_with("unknown key \"x=1\" in the query"));
        assert_eq!(refused("a", Some("n=0")), "n=\"0\" is not a number of receivers from 1 to 64");
    }

    #[test]
    fn receivers_are_one_to_the_limit() {
        for (text, count) in [("1", Some(1)), ("64", Some(64)), ("065", None), ("65", None)] {
            assert_eq!(parse_receivers(text), count, "{text}");
        }
        for text in ["", "0", "+1", "-1", "one", "99999999999999999999999"] {
            assert_eq!(parse_receivers(text), None, "{text}");
        }
        assert!(RECEIVERS.ends_with(&MAX_PIPE_RECEIVERS.to_string()));
    }

    #[test]
    fn the_result_of_a_pipe_is_a_readable_line() {
        let mut piped = Piped { bytes: 5, seconds: 0.5, receivers: 1, gone: 0 };
        assert_eq!(piped.human_line(), "5 B in 0.500 s to 1 receiver");
        (piped.receivers, piped.gone) = (2, 1);
        assert!(piped.human_line().ends_with("to 2 receivers; 1 disconnected before the end"));
    }
}
