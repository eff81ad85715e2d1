//! The text of a token file: a line is `TOKEN` or `NAME TOKEN [RIGHTS] [/PATH]`; `#` begins a
//! comment.
//!
//! A name is shorter than any token, so that swapping the two is an error, and no token is ever
//! logged as a name.

use std::collections::HashMap;

use super::Rights;
use crate::limits::MAX_TOKENS;
use crate::transfer::file_path::FilePath;
use crate::transfer::offer::{Token, TokenError};

/// A token, its owner, and what it permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of the owner, else `line-N`; shown in logs.
    pub name: String,
    /// The secret.
    pub token: Token,
    /// Rights of the owner.
    pub rights: Rights,
    /// The file or directory that the rights on files are for; `None` for all.
    pub scope: Option<FilePath>,
}

impl Named {
    /// Returns a token with the rights of a line that names none.
    pub const fn new(name: String, token: Token) -> Self {
        Self { name, token, rights: Rights::DEFAULT, scope: None }
    }
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
    /// A word behind the token is neither a list of rights nor the beginning of a path.
    #[error(
        "line {line}: expected TOKEN or NAME TOKEN [RIGHTS] [/PATH], with RIGHTS of {ALL}, \
         and a comment on a line of its own",
        ALL = Rights::ALL
    )]
    Words {
        /// Line number, from 1.
        line: usize,
    },
    /// The path cannot be that of a stored file.
    #[error("line {line}: the path is not a valid path of a file or directory")]
    Path {
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
        let (name, rest) = word(text);
        let (token, rest) = word(rest);
        let named = match (name, token) {
            (token, "") => (format!("line-{line}"), token),
            (name, token) if is_user_name(name) => (name.to_owned(), token),
            _ => return Err(ListError::Name { line }),
        };
        let token = Token::parse(named.1).map_err(|source| ListError::Token { line, source })?;
        let (rights, scope) = permissions(rest, line)?;
        if let Some(first) = lines_of.insert(token.expose().to_owned(), line) {
            return Err(ListError::Again { line, first });
        }
        if found.len() == MAX_TOKENS {
            return Err(ListError::TooMany);
        }
        found.push(Named { rights, scope, ..Named::new(named.0, token) });
    }
    if found.is_empty() { Err(ListError::Empty) } else { Ok(found) }
}

/// Returns the first word of a text, and the rest without the space between them.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Parses `[RIGHTS] [/PATH]`. The path is the rest of the line, and may contain spaces.
fn permissions(text: &str, line: usize) -> Result<(Rights, Option<FilePath>), ListError> {
    let (rights, path) = match word(text) {
        (first, _) if first.is_empty() || first.starts_with('/') => (Rights::DEFAULT, text),
        (first, rest) => (first.parse().map_err(|_| ListError::Words { line })?, rest),
    };
    let Some(path) = path.strip_prefix('/') else {
        return if path.is_empty() { Ok((rights, None)) } else { Err(ListError::Words { line }) };
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok((rights, None));
    }
    let path = FilePath::exact(path.as_bytes()).map_err(|_| ListError::Path { line })?;
    Ok((rights, Some(path)))
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
        let named = |name: &str, token: &str| Named::new(name.into(), Token::new(token));
        assert_eq!(parse_list(&text), Ok(vec![named("line-3", ONE), named("alice", OTHER)]));
    }

    #[test]
    fn rights_and_a_path_follow_the_token() {
        let parse = |rest: &str| {
            let list = parse_list(&format!("alice {ONE} {rest}"));
            list.map(|mut list| (list[0].rights, list.remove(0).scope.map(|path| path.text())))
        };
        let (read, path) = (Rights::READ, |text: &str| Some(text.to_owned()));
        assert_eq!(parse(""), Ok((Rights::DEFAULT, None)));
        assert_eq!(parse("read"), Ok((read, None)));
        assert_eq!(parse("read,delete"), Ok((read.with(Rights::DELETE), None)));
        assert_eq!(parse("/photos"), Ok((Rights::DEFAULT, path("photos"))));
        assert_eq!(parse("read /a/b"), Ok((read, path("a/b"))));
        assert_eq!(parse("read\t /my photos/2026/ "), Ok((read, path("my photos/2026"))));
        assert_eq!(parse("/"), Ok((Rights::DEFAULT, None)));
        for wrong in ["reads", "read write", "read photos", "# hers", "read # hers"] {
            assert_eq!(parse(wrong), Err(ListError::Words { line: 1 }), "{wrong}");
        }
        for wrong in ["/../etc", "/a//b", "//a", "read /a/./b", "/a/../b"] {
            assert_eq!(parse(wrong), Err(ListError::Path { line: 1 }), "{wrong}");
        }
        let alone = parse_list(&format!("{ONE} read"));
        assert_eq!(alone, Err(ListError::Name { line: 1 }));
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
                "line 1: expected TOKEN or NAME TOKEN [RIGHTS] [/PATH], with RIGHTS of \
                 read,write,delete,talk,share,admin, and a comment on a line of its own",
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
