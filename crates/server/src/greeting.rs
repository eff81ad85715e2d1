//! The welcome of a server: one line, validated once.

use std::fmt;
use std::str::FromStr;

/// One line of text, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting(String);

/// Why a text is not a valid greeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// The text is empty.
    #[error("the greeting is empty")]
    Empty,
    /// The text has a line end or another control character.
    #[error("the greeting has a line end or another control character")]
    Control,
    /// The text is too long; its size in bytes.
    #[error("the greeting has {0} bytes, more than {MAX_GREETING}")]
    TooLong(usize),
}

impl Default for Greeting {
    fn default() -> Self {
        Self("Welcome to anyport!".to_owned())
    }
}

impl FromStr for Greeting {
    type Err = GreetingError;

    fn from_str(text: &str) -> Result<Self, GreetingError> {
        if text.trim().is_empty() {
            return Err(GreetingError::Empty);
        }
        if text.contains(char::is_control) {
            return Err(GreetingError::Control);
        }
        if text.len() > MAX_GREETING {
            return Err(GreetingError::TooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Maximum size of a greeting. A client that requests it repeatedly with a line of 16 bytes must
/// not make the server buffer much more.
const MAX_GREETING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_one_line_that_says_something() {
        assert_eq!("Hello, ü!".parse::<Greeting>().unwrap().to_string(), "Hello, ü!");
        assert!("x".repeat(MAX_GREETING).parse::<Greeting>().is_ok());
        for (text, error) in [
            (" ".to_owned(), GreetingError::Empty),
            ("two\nlines".to_owned(), GreetingError::Control),
            ("\x1b[2J".to_owned(), GreetingError::Control),
            ("x".repeat(MAX_GREETING + 1), GreetingError::TooLong(MAX_GREETING + 1)),
        ] {
            assert_eq!(text.parse::<Greeting>(), Err(error));
        }
    }
}
