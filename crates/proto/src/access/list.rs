//! The text of a token file: `TOKEN` or `NAME TOKEN` a line, `#` before a comment.
//!
//! A name is shorter than any token, so that whoever swaps the two is told, and no token is ever
//! shown as a name.

use std::collections::HashMap;

use crate::limits::MAX_TOKENS;
use crate::transfer::offer::{Token, TokenError};

/// A token, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As the file says, else `line-N`; logs show it.
    pub name: String,
    /// The secret.
    pub token: Token,
}

/// Why a text is no list of tokens. Nothing of a line is shown, as any word of it may be the
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Comments alone.
    #[error("no token found")]
    Empty,
    /// More than anybody has users.
    #[error("more than {MAX_TOKENS} tokens")]
    TooMany,
    /// A token that would not do.
    #[error("line {line}: {source}")]
    Token {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: TokenError,
    },
    /// A first word that cannot be a name.
    #[error(
        "line {line}: the name before the token is not 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -"
    )]
    Name {
        /// Counted from 1.
        line: usize,
    },
    /// Three words or more.
    #[error("line {line}: expected TOKEN or NAME TOKEN, with a comment on a line of its own")]
    Words {
        /// Counted from 1.
        line: usize,
    },
    /// One token for two users.
    #[error("line {line}: duplicate of the token in line {first}")]
    Again {
        /// Counted from 1.
        line: usize,
        /// Where it was before.
        first: usize,
    },
}

/// Reads all lines; at least one token is there.
///
/// # Errors
/// The first line that is wrong. None is passed over: a token that is not taken would be found
/// missing far from here.
pub fn parse_list(text: &str) -> Result<Vec<Named>, ListError> {
    let mut found = Vec::new();
    let mut lines_of = HashMap::new();
    for (line, text) in text.lines().enumerate().map(|(at, text)| (at + 1, text.trim())) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let mut words = text.split_whitespace();
        let (name, token) = match (words.next(), words.next(), words.next()) {
            (Some(token), None, _) => (format!("line-{line}"), token),
            (Some(name), Some(token), None) if is_user_name(name) => (name.to_owned(), token),
            (Some(_), Some(_), None) => return Err(ListError::Name { line }),
            _ => return Err(ListError::Words { line }),
        };
        let token = Token::parse(token).map_err(|source| ListError::Token { line, source })?;
        if let Some(first) = lines_of.insert(token.expose().to_owned(), line) {
            return Err(ListError::Again { line, first });
        }
        if found.len() == MAX_TOKENS {
            return Err(ListError::TooMany);
        }
        found.push(Named { name, token });
    }
    if found.is_empty() { Err(ListError::Empty) } else { Ok(found) }
}

/// Whether a word may stand before a token.
pub fn is_user_name(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_NAME).contains(&word.len()) && word.bytes().all(fits)
}

/// One less than the shortest token.
const LONGEST_NAME: usize = Token::SHORTEST - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210";

    #[test]
    fn a_line_is_a_token_or_a_name_and_a_token() {
        let text = format!("# ours\n\n  {ONE}\r\nalice\t{OTHER}\n  # alice OLD\n");
        let named = |name: &str, token: &str| Named { name: name.into(), token: Token::new(token) };
        assert_eq!(parse_list(&text), Ok(vec![named("line-3", ONE), named("alice", OTHER)]));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_never_shown() {
        let long = "x".repeat(257);
        for (text, message) in [
            ("# nothing", "no token found"),
            ("short", "line 1: a token has 16 to 256 bytes, not 5"),
            (long.as_str(), "line 1: a token has 16 to 256 bytes, not 257"),
            ("\u{e4}bcdefghijklmnopqr", "line 1: a token is visible ASCII"),
            (
                "0123456789abcdef alice",
                "line 1: the name before the token is not 1 to 15 of A-Z a-z 0-9 . _ -",
            ),
            (
                "alice 0123456789abcdef # hers",
                "line 1: expected TOKEN or NAME TOKEN, with a comment on a line of its own",
            ),
            ("0123456789abcdef\n\na 0123456789abcdef", "line 3: duplicate of the token in line 1"),
        ] {
            let error = parse_list(text).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!format!("{error:?}").contains("0123456789"), "{error:?}");
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let lines = |count: usize| (0..count).map(|n| format!("{n:016}\n")).collect::<String>();
        assert_eq!(parse_list(&lines(MAX_TOKENS)).unwrap().len(), MAX_TOKENS);
        assert_eq!(parse_list(&lines(MAX_TOKENS + 1)), Err(ListError::TooMany));
    }
}
