//! The offer of a file, and the end of its content.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::digest::{Algorithm, Digest};
use super::file_time::{self, FileTime};
use super::json::{MessageError, Object, as_parsed, as_raw, as_text};
use super::values::{
    ALGORITHM, BYTES, DIGEST, EXISTS, ID, MODE, MTIME, MTIME_NS, RAW, TEXT, TOKEN, is_id,
    parse_mode,
};
use super::words::spelled;

/// What a sender says of a file before its content. Nothing of it is trusted; the name is not yet a
/// safe one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Offer {
    /// The name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its bytes, percent-encoded, where `name` is not exactly that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_raw: Option<String>,
    /// Bytes of the whole content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What the receiver is to hash with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Algorithm>,
    /// When the file was last modified.
    #[serde(flatten)]
    pub mtime: Option<FileTime>,
    /// Permission bits; written in octal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_mode")]
    pub mode: Option<u32>,
    /// What makes it the same file after a break: 1 to 64 of `[A-Za-z0-9_-]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether the sender waits to be told from where to go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// What is to happen if another file has the name; the receiver decides whether it does so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<OnExists>,
    /// What allows the sender to send.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_token")]
    pub token: Option<Token>,
}

/// What happens if another file has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExists {
    /// The file is refused.
    Error,
    /// The file takes the other one's place.
    Overwrite,
    /// The file gets the next free name made from its own.
    Rename,
}

spelled!(OnExists, "policy": Error = "error", Overwrite = "overwrite", Rename = "rename");

/// A secret of the sender: shown neither by `Debug` nor in any error.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The fewest bytes: what nobody guesses, even if it was thought up and not drawn.
    pub const SHORTEST: usize = 16;

    /// The most: a key of 1024 bits in Base64 and more.
    pub const LONGEST: usize = 256;

    /// A token that a server asks for: what stands in a line and a field as it is.
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

    /// Keeps `secret` from being printed by accident.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why a text is no token. The text may be a secret all the same, and is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Blanks, controls, or beyond ASCII.
    #[error("a token is visible ASCII")]
    NotVisible,
    /// Guessed too easily, or no token at all.
    #[error("a token has 16 to 256 bytes, not {0}")]
    Length(usize),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl PartialEq for Token {
    /// Takes the same time wherever two tokens differ, so that a peer cannot guess one byte by
    /// byte.
    fn eq(&self, other: &Self) -> bool {
        // The comparison of `blake3::Hash` is constant-time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(other.0.as_bytes())
    }
}

impl Eq for Token {}

/// What a sender says after the content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct End {
    /// Bytes of the whole content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of the whole content, a resumed beginning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

pub(super) fn read_offer(object: &Object) -> Result<Offer, MessageError> {
    let parsed_mode = |value: &Value| value.as_str().and_then(parse_mode);
    let id = |value: &Value| value.as_str().filter(|id| is_id(id)).map(str::to_owned);
    Ok(Offer {
        name: object.optional("name", TEXT, as_text)?,
        name_raw: object.optional("name_raw", RAW, as_raw)?,
        size: object.optional("size", BYTES, Value::as_u64)?,
        digest: object.optional("digest", ALGORITHM, as_parsed)?,
        mtime: read_mtime(object)?,
        mode: object.optional("mode", MODE, parsed_mode)?,
        id: object.optional("id", ID, id)?,
        resume: object.optional("resume", "true or false", Value::as_bool)?.unwrap_or(false),
        exists: object.optional("exists", EXISTS, as_parsed)?,
        token: read_token(object)?,
    })
}

/// Reads `mtime` and `mtime_ns`. Nanoseconds without seconds are ignored, as an unknown key is.
pub(super) fn read_mtime(object: &Object) -> Result<Option<FileTime>, MessageError> {
    let parsed = |value: &Value| file_time::nanoseconds(value.as_u64()?);
    let nanoseconds = object.optional("mtime_ns", MTIME_NS, parsed)?;
    let seconds = object.optional("mtime", MTIME, Value::as_i64)?;
    Ok(seconds.map(|seconds| FileTime { seconds, nanoseconds }))
}

pub(super) fn read_end(object: &Object) -> Result<End, MessageError> {
    Ok(End {
        bytes: object.optional("bytes", BYTES, Value::as_u64)?,
        digest: object.optional("digest", DIGEST, as_parsed)?,
    })
}

/// Reads `token`. An invalid value may still be a secret, so the error does not show it.
pub(super) fn read_token(object: &Object) -> Result<Option<Token>, MessageError> {
    let token = |value: &Value| value.as_str().filter(|token| !token.is_empty()).map(Token::new);
    let token = object.optional("token", TOKEN, token);
    token.map_err(|_| MessageError::BadToken { kind: object.kind })
}

fn serialize_mode<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(|mode| format!("{mode:o}")).serialize(serializer)
}

pub(super) fn serialize_token<S: Serializer>(
    token: &Option<Token>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    token.as_ref().map(Token::expose).serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::values::MAX_MODE;

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
        assert!(is_id("a") && is_id(&"_".repeat(64)));
        for id in ["", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_has_permission_bits_only() {
        assert_eq!(parse_mode("0644"), Some(0o644));
        assert_eq!(parse_mode("7777"), Some(0o7777));
        for text in ["", "+644", "0o644", "8", "100644", "77777777777777"] {
            assert_eq!(parse_mode(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_are_equal_when_their_secrets_are() {
        assert_eq!(Token::new("a"), Token::new("a"));
        assert_ne!(Token::new("a"), Token::new("b"));
    }
}
