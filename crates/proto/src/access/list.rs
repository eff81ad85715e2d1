//! The text of a token file: a line is `TOKEN` or `NAME TOKEN`; `#` begins a comment.
//!
//! A name is shorter than any token, so that swapping the two is an error, and no token is ever
//! logged as a name.

use std::collections::HashMap;

use crate::limits::MAX_TOKENS;
use crate::transfer::offer::{Token, TokenError};

/// A token and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of the owner, else `line-N`; shown in logs.
    pub name: String,
    /// The secret.
    pub token: Token,
}

/// Why a text is not a list of tokens.
///
/// It shows no part of a line, because any word may be the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The list has no token.
    #[error("no token found")]
    Empty,
    /// The list has more than [`MAX_TOKENS`] tokens.
    #[error("more than {MAX_TOKENS} tokens")]
    TooMany,
    /// A token is invalid.
    #[error("line {line}: {source}")]
    Token {
        /// Line number, from 1.
        line: usize,
        /// The reason.
        source: TokenError,
    },
    /// The first word is not a valid name.
    #[error(
        "line {line}: the name before the token is not 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -"
    )]
    Name {
        /// Line number, from 1.
        line: usize,
    },
    /// The line has three or more words.
    #[error("line {line}: expected TOKEN or NAME TOKEN, with a comment on a line of its own")]
    Words {
        /// Line number, from 1.
        line: usize,
    },
    /// The token is in the list already.
    #[error("line {line}: duplicate of the token in line {first}")]
    Again {
        /// Line number, from 1.
        line: usize,
        /// Line number of its first appearance.
        first: usize,
    },
}

/// Parses a list with at least one token.
///
/// # Errors
/// The first invalid line. None is skipped: a missing token would be noticed much later.
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

/// Returns whether a word is a valid name.
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
    fn an_error_of_a_token_file_names_the_line_and_never_shows_it() {
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
    fn the_number_of_tokens_is_bounded() {
        let lines = |count: usize| (0..count).map(|n| format!("{n:016}\n")).collect::<String>();
        assert_eq!(parse_list(&lines(MAX_TOKENS)).unwrap().len(), MAX_TOKENS);
        assert_eq!(parse_list(&lines(MAX_TOKENS + 1)), Err(ListError::TooMany));
    }
}
