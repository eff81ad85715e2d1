//! The offer of a file, and the end of its content.

use std::fmt;

use super::codec::kind::{Bytes, Id, Kind, Mode, Raw, Scalar, TOKEN, Text, words};
use super::codec::{Flag, Optional, OptionalTime, record};
use super::digest::{Algorithm, Digest};
use super::file_time::FileTime;
use super::percent;
use super::words::word_enum;

/// The description of a file before its content.
///
/// The receiver trusts none of it; the name is not yet a safe one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// The requested name.
    pub name: Option<String>,
    /// Its bytes, percent-encoded, where `name` is not exactly that.
    pub name_raw: Option<String>,
    /// Size of the whole content, in bytes.
    pub size: Option<u64>,
    /// The algorithm of the digest that the receiver computes.
    pub digest: Option<Algorithm>,
    /// When the file was last modified.
    pub mtime: Option<FileTime>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Identifies the transfer after an interruption: 1 to 64 of `[A-Za-z0-9_-]`.
    pub id: Option<String>,
    /// Whether the sender waits for the offset from which it may resume.
    pub resume: bool,
    /// Requested action if another file has the name; the receiver decides whether it complies.
    pub exists: Option<OnExists>,
    /// Admits the sender.
    pub token: Option<Token>,
}

record!(Offer {
    name: Optional<Text>,
    name_raw: Optional<Raw>,
    size: Optional<Bytes>,
    digest: Optional<Algorithm>,
    mtime: OptionalTime,
    mode: Optional<Mode>,
    id: Optional<Id>,
    resume: Flag,
    exists: Optional<OnExists>,
    token: Optional<Token>,
});

/// The action if another file has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExists {
    /// The file is refused.
    Error,
    /// The file replaces the other one.
    Overwrite,
    /// The file gets the next free name made from its own.
    Rename,
}

word_enum!(OnExists, "policy": Error = "error", Overwrite = "overwrite", Rename = "rename");
words!(OnExists = "error, overwrite or rename");

/// A secret of the sender, which neither `Debug` nor an error shows.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Minimum length in bytes, which resists guessing even if a person chose the token.
    pub const SHORTEST: usize = 16;

    /// Maximum length in bytes, enough for a key of 1024 bits in Base64.
    pub const LONGEST: usize = 256;

    /// Parses a token that a server can require, which lines and fields carry unchanged.
    ///
    /// # Errors
    /// It is too short or too long, or has blanks or bytes that are not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::NotVisible);
        }
        if !(Self::SHORTEST..=Self::LONGEST).contains(&text.len()) {
            return Err(TokenError::Length(text.len()));
        }
        Ok(Self::new(text))
    }

    /// Wraps `secret`, so that it is not printed by accident.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Kind for Token {
    type Value = Self;

    const EXPECTED: &'static str = TOKEN;
    const IS_SECRET: bool = true;

    fn scalar(value: &Self) -> Scalar<'_> {
        Scalar::Text(value.expose().into())
    }

    fn from_word(word: &str) -> Option<Self> {
        percent::decode(word).ok().filter(|token| !token.is_empty()).map(Self::new)
    }

    fn from_json(value: &serde_json::Value) -> Option<Self> {
        value.as_str().filter(|token| !token.is_empty()).map(Self::new)
    }
}

/// The reason why a text is not a token.
///
/// The text may still be a secret, and is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It has blanks, control characters, or characters beyond ASCII.
    #[error("a token is visible ASCII")]
    NotVisible,
    /// Too short to resist guessing, or too long.
    #[error("a token has 16 to 256 bytes, not {0}")]
    Length(usize),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl PartialEq for Token {
    /// Compares in constant time, so that a peer cannot guess a token byte by byte.
    fn eq(&self, other: &Self) -> bool {
        // The comparison of `blake3::Hash` is constant-time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(other.0.as_bytes())
    }
}

impl Eq for Token {}

/// The end of the content of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    /// Size of the whole content, in bytes.
    pub bytes: Option<u64>,
    /// Digest of the whole content, with that of earlier attempts.
    pub digest: Option<Digest>,
}

record!(End { bytes: Optional<Bytes>, digest: Optional<Digest> });

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::codec::kind::MAX_MODE;

    /// Offers that can be written in every form: with a name, and every value as it must be.
    pub(crate) fn any_time() -> impl Strategy<Value = FileTime> {
        (any::<i64>(), prop::option::of(0..1_000_000_000_u32))
            .prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds })
    }

    pub(crate) fn any_offer() -> impl Strategy<Value = Offer> {
        let not_empty = || any::<String>().prop_filter("empty", |text| !text.is_empty());
        let algorithms = vec![Algorithm::Blake3, Algorithm::Sha256, Algorithm::None];
        let policies = vec![OnExists::Error, OnExists::Overwrite, OnExists::Rename];
        (
            (not_empty(), prop::option::of("[a-z]{0,3}(%[0-9A-F]{2}){1,3}")),
            any::<Option<u64>>(),
            prop::option::of(prop::sample::select(algorithms)),
            prop::option::of(any_time()),
            prop::option::of(0..=MAX_MODE),
            prop::option::of("[A-Za-z0-9_-]{1,64}"),
            any::<bool>(),
            prop::option::of(prop::sample::select(policies)),
            prop::option::of(not_empty().prop_map(Token::new)),
        )
            .prop_map(
                |((name, name_raw), size, digest, mtime, mode, id, resume, exists, token)| {
                    let name = Some(name);
                    Offer { name, name_raw, size, digest, mtime, mode, id, resume, exists, token }
                },
            )
    }

    #[test]
    fn an_id_has_1_to_64_plain_characters() {
        let is_id = |id: &str| Id::from_word(id).is_some();
        assert!(is_id("a") && is_id(&"_".repeat(64)));
        for id in ["", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_has_permission_bits_only() {
        assert_eq!(Mode::from_word("0644"), Some(0o644));
        assert_eq!(Mode::from_word("7777"), Some(0o7777));
        for text in ["", "+644", "0o644", "8", "100644", "77777777777777"] {
            assert_eq!(Mode::from_word(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_are_equal_when_their_secrets_are() {
        assert_eq!(Token::new("a"), Token::new("a"));
        assert_ne!(Token::new("a"), Token::new("b"));
    }
}
