//! What a sender announces, and the messages of the WebSocket subprotocol `anyport.file.1`.
//!
//! ```text
//!   sender    {"offer":{"name":"photo.jpg","size":5}}   binary messages   {"end":{"bytes":5,…}}
//!   receiver  {"go":{"offset":0}} or {"error":{…}}                        {"receipt":{…}}
//! ```
//!
//! Unknown keys inside a message are ignored, so that a later version can add some; an unknown kind
//! of message is an error. Objects are read key by key: the answer to a mistake then names the key,
//! which a derived reader would not.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::digest::{Algorithm, Digest};
use super::download::{self, Entry, FileEnd, FileHead, Get, LeftOut, List, ListEnd};
use super::file_time::{self, FileTime};
use super::percent;
use super::receipt::Receipt;
use super::refusal::Refusal;
use super::words::{quoted, spelled};
use crate::visible::escape_json;

/// The name under which these messages are agreed on in the opening handshake.
pub const FILE_SUBPROTOCOL: &str = "anyport.file.1";

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

/// A text message of the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileMessage {
    /// Before the content.
    Offer(Offer),
    /// After the content.
    End(End),
    /// Asks for a file.
    Get(Get),
    /// Asks which files are there.
    List(List),
}

impl FileMessage {
    /// The message as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings")
    }

    /// Reads a message of the sender.
    pub fn from_json(text: &str) -> Result<Self, OfferError> {
        let known = &["offer", "end", "get", "list"];
        let (kind, value) = parse_kind(text, known)?;
        match kind.as_str() {
            "offer" => Ok(Self::Offer(read_offer(&Object::new("offer", value)?)?)),
            "end" => Ok(Self::End(read_end(&Object::new("end", value)?)?)),
            "get" => Ok(Self::Get(download::read_get(&Object::new("get", value)?)?)),
            "list" => Ok(Self::List(download::read_list(&Object::new("list", value)?)?)),
            _ => Err(OfferError::UnknownKind { kind, known }),
        }
    }
}

/// A text message of the receiver.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum FileReply {
    /// The file is here, whole.
    Receipt(Receipt),
    /// The sender may send, beginning at this byte of the content.
    Go {
        /// Bytes that the receiver has already.
        offset: u64,
    },
    /// The file is not taken, or not given.
    Error(Refusal),
    /// A file that was asked for; its content follows.
    File(FileHead),
    /// All of its content was sent.
    #[serde(rename = "end")]
    FileEnd(FileEnd),
    /// A piece of a listing.
    Entries(Vec<Entry>),
    /// What a listing left out.
    #[serde(rename = "left_out")]
    LeftOut(Vec<LeftOut>),
    /// All of a listing was sent.
    #[serde(rename = "end")]
    ListEnd(ListEnd),
}

impl FileReply {
    /// The message as JSON.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self);
        // The name that was asked for is a peer's word, and the reply may be on somebody's terminal.
        escape_json(&json.expect("keys are strings and seconds are finite once rounded"))
            .into_owned()
    }

    /// Reads a message of the receiver.
    pub fn from_json(text: &str) -> Result<Self, OfferError> {
        let known = &["receipt", "go", "error", "file", "entries", "left_out", "end"];
        let (kind, value) = parse_kind(text, known)?;
        match kind.as_str() {
            "receipt" => serde_json::from_value(value)
                .map(Self::Receipt)
                .map_err(|error| OfferError::BadReceipt { reason: error.to_string() }),
            "go" => {
                let object = Object::new("go", value)?;
                let offset = object.required("offset", BYTES, Value::as_u64)?;
                Ok(Self::Go { offset })
            }
            "error" => Ok(Self::Error(read_refusal(&Object::new("error", value)?)?)),
            "file" => Ok(Self::File(download::read_file(&Object::new("file", value)?)?)),
            "entries" => download::read_entries(value).map(Self::Entries),
            "left_out" => download::read_left_out(value).map(Self::LeftOut),
            "end" => {
                let object = Object::new("end", value)?;
                match download::read_list_end(&object)? {
                    Some(end) => Ok(Self::ListEnd(end)),
                    None => download::read_file_end(&object).map(Self::FileEnd),
                }
            }
            _ => Err(OfferError::UnknownKind { kind, known }),
        }
    }
}

/// Why a text message is none of `anyport.file.1`, or of `anyport.chat.1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The text is no JSON.
    #[error("message is not JSON: {reason}")]
    NotJson {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// The message does not say what it is by its one key.
    #[error("message must be a JSON object with one key; expected one of {}", .known.join(", "))]
    NotOneKind {
        /// The keys that would have been understood.
        known: &'static [&'static str],
    },
    /// The key of the message is none that is known.
    #[error("unknown message {}; expected one of {}", quoted(.kind), .known.join(", "))]
    UnknownKind {
        /// The key as it came.
        kind: String,
        /// The keys that would have been understood.
        known: &'static [&'static str],
    },
    /// The message holds something other than an object.
    #[error("{kind:?} must hold a JSON object, not {found}")]
    NotAnObject {
        /// The key of the message.
        kind: &'static str,
        /// What it holds, in words.
        found: String,
    },
    /// A key that must be there is not.
    #[error("{key:?} is missing in {kind:?}; expected {expected}")]
    MissingKey {
        /// The key of the message.
        kind: &'static str,
        /// The key inside.
        key: &'static str,
        /// What it would have to hold.
        expected: &'static str,
    },
    /// A key holds what it cannot hold.
    #[error("bad value {found} for {key:?} in {kind:?}; expected {expected}")]
    BadValue {
        /// The key of the message.
        kind: &'static str,
        /// The key inside.
        key: &'static str,
        /// What it holds, in words.
        found: String,
        /// What it would have to hold.
        expected: &'static str,
    },
    /// The token is no text; what came instead may be a secret all the same.
    #[error("bad value for \"token\" in {kind:?}; expected {TOKEN}")]
    BadToken {
        /// The key of the message.
        kind: &'static str,
    },
    /// A listing is no list.
    #[error("{kind:?} must hold a JSON array")]
    NotAList {
        /// The key of the message.
        kind: &'static str,
    },
    /// The receipt cannot be read.
    #[error("bad receipt: {reason}")]
    BadReceipt {
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether `id` can name a transfer: it becomes a part of messages, never of a path.
pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Permission bits from octal digits; neither a sign nor bits of the file's kind.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok())??;
    (mode <= MAX_MODE).then_some(mode)
}

// What the values must be, in the words of an error message.
pub(super) const RAW: &str = "percent-encoded bytes";
pub(super) const BYTES: &str = "a number of bytes";
pub(super) const ALGORITHM: &str = "blake3, sha256 or none";
pub(super) const DIGEST: &str = "blake3: or sha256: and 64 hexadecimal digits";
pub(super) const MTIME: &str = "whole seconds since 1970";
pub(super) const MTIME_NS: &str = "0 to 999999999 nanoseconds, beside mtime";
pub(super) const MODE: &str = "permission bits in octal, such as 644";
pub(super) const ID: &str = "1 to 64 of A-Z a-z 0-9 _ -";
pub(super) const EXISTS: &str = "error, overwrite or rename";
pub(super) const TOKEN: &str = "a non-empty text";
pub(crate) const TEXT: &str = "a text";

const MAX_ID_LEN: usize = 64;

/// All permission bits, with set-user-id, set-group-id and sticky.
const MAX_MODE: u32 = 0o7777;

/// A message is an object with one key, which says what it is, and the value of that key.
pub(crate) fn parse_kind(
    text: &str,
    known: &'static [&'static str],
) -> Result<(String, Value), OfferError> {
    let value = serde_json::from_str(text)
        .map_err(|error| OfferError::NotJson { reason: error.to_string() })?;
    let Value::Object(object) = value else { return Err(OfferError::NotOneKind { known }) };
    let mut entries = object.into_iter();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        _ => Err(OfferError::NotOneKind { known }),
    }
}

fn read_offer(object: &Object) -> Result<Offer, OfferError> {
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
        token: object.token()?,
    })
}

/// Reads `mtime` and `mtime_ns`. Nanoseconds without seconds are ignored, as an unknown key is.
pub(super) fn read_mtime(object: &Object) -> Result<Option<FileTime>, OfferError> {
    let parsed = |value: &Value| file_time::nanoseconds(value.as_u64()?);
    let nanoseconds = object.optional("mtime_ns", MTIME_NS, parsed)?;
    let seconds = object.optional("mtime", MTIME, Value::as_i64)?;
    Ok(seconds.map(|seconds| FileTime { seconds, nanoseconds }))
}

fn read_end(object: &Object) -> Result<End, OfferError> {
    Ok(End {
        bytes: object.optional("bytes", BYTES, Value::as_u64)?,
        digest: object.optional("digest", DIGEST, as_parsed)?,
    })
}

pub(crate) fn read_refusal(object: &Object) -> Result<Refusal, OfferError> {
    Ok(Refusal {
        code: object.required("code", "a refusal code of this version", as_parsed)?,
        message: object.required("message", TEXT, as_text)?,
        hint: object.optional("hint", TEXT, as_text)?,
    })
}

/// What a message holds, and the key under which it does.
pub(crate) struct Object {
    kind: &'static str,
    entries: Map<String, Value>,
}

impl Object {
    pub(crate) fn new(kind: &'static str, value: Value) -> Result<Self, OfferError> {
        match value {
            Value::Object(entries) => Ok(Self { kind, entries }),
            other => Err(OfferError::NotAnObject { kind, found: in_words(&other) }),
        }
    }

    /// The value of `key`; null is as good as absent.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, OfferError> {
        let Some(value) = self.entries.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => {
                let found = in_words(value);
                Err(OfferError::BadValue { kind: self.kind, key, found, expected })
            }
        }
    }

    pub(super) fn token(&self) -> Result<Option<Token>, OfferError> {
        let token =
            |value: &Value| value.as_str().filter(|token| !token.is_empty()).map(Token::new);
        self.optional("token", TOKEN, token).map_err(|_| OfferError::BadToken { kind: self.kind })
    }

    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, OfferError> {
        self.optional(key, expected, read)?.ok_or(OfferError::MissingKey {
            kind: self.kind,
            key,
            expected,
        })
    }
}

pub(crate) fn as_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Percent-encoded bytes, as they came.
pub(super) fn as_raw(value: &Value) -> Option<String> {
    value.as_str().filter(|text| percent::decode_bytes(text).is_ok()).map(str::to_owned)
}

pub(crate) fn as_parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) => "[…]".to_owned(),
        Value::Object(_) => "{…}".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::receipt::tests::any_receipt;
    use crate::transfer::refusal::RefusalCode;

    fn full() -> Offer {
        Offer {
            name: Some("a b.txt".to_owned()),
            name_raw: Some("a%20b.txt%20".to_owned()),
            size: Some(u64::MAX),
            digest: Some(Algorithm::None),
            mtime: Some(FileTime::exact(-1, 7)),
            mode: Some(0o644),
            id: Some("Az_-09".to_owned()),
            resume: true,
            exists: Some(OnExists::Rename),
            token: Some(Token::new("s3cret")),
        }
    }

    /// Offers that can be written in every form: with a name, and every value as it must be.
    pub(in crate::transfer) fn any_time() -> impl Strategy<Value = FileTime> {
        (any::<i64>(), prop::option::of(0..1_000_000_000_u32))
            .prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds })
    }

    pub(in crate::transfer) fn any_offer() -> impl Strategy<Value = Offer> {
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

    fn refused(text: &str) -> String {
        FileMessage::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn an_offer_is_written_with_the_keys_it_has() {
        assert_eq!(
            FileMessage::Offer(full()).to_json(),
            r#"{"offer":{"name":"a b.txt","name_raw":"a%20b.txt%20","size":18446744073709551615,"digest":"none","mtime":-1,"mtime_ns":7,"mode":"644","id":"Az_-09","resume":true,"exists":"rename","token":"s3cret"}}"#
        );
        assert_eq!(FileMessage::Offer(Offer::default()).to_json(), r#"{"offer":{}}"#);
    }

    #[test]
    fn an_end_is_written_with_the_keys_it_has() {
        let end = End { bytes: Some(3), digest: Some(Digest::blake3([0; 32])) };
        let json = FileMessage::End(end.clone()).to_json();
        assert_eq!(
            json,
            format!(r#"{{"end":{{"bytes":3,"digest":"blake3:{}"}}}}"#, "0".repeat(64))
        );
        assert_eq!(FileMessage::from_json(&json), Ok(FileMessage::End(end)));
        assert_eq!(FileMessage::from_json(r#"{"end":{}}"#), Ok(FileMessage::End(End::default())));
    }

    #[test]
    fn keys_of_a_later_version_and_nulls_are_ignored() {
        let text = r#"{"offer":{"colour":["red"],"size":null,"name":"x"}}"#;
        let offer = Offer { name: Some("x".to_owned()), ..Offer::default() };
        assert_eq!(FileMessage::from_json(text), Ok(FileMessage::Offer(offer)));
    }

    #[test]
    fn a_bad_value_is_told_with_its_key() {
        for (text, message) in [
            (
                r#"{"offer":{"size":"12"}}"#,
                r#"bad value "12" for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"size":-1}}"#,
                r#"bad value -1 for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"size":18446744073709551616}}"#,
                r#"bad value 1.8446744073709552e+19 for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"name":["x"]}}"#,
                r#"bad value […] for "name" in "offer"; expected a text"#,
            ),
            (
                r#"{"offer":{"digest":"md5"}}"#,
                r#"bad value "md5" for "digest" in "offer"; expected blake3, sha256 or none"#,
            ),
            (
                r#"{"offer":{"mtime":1.5}}"#,
                r#"bad value 1.5 for "mtime" in "offer"; expected whole seconds since 1970"#,
            ),
            (
                r#"{"offer":{"mode":"689"}}"#,
                r#"bad value "689" for "mode" in "offer"; expected permission bits in octal, such as 644"#,
            ),
            (
                r#"{"offer":{"id":"../x"}}"#,
                r#"bad value "../x" for "id" in "offer"; expected 1 to 64 of A-Z a-z 0-9 _ -"#,
            ),
            (
                r#"{"offer":{"resume":1}}"#,
                r#"bad value 1 for "resume" in "offer"; expected true or false"#,
            ),
            (
                r#"{"end":{"digest":"blake3:00"}}"#,
                r#"bad value "blake3:00" for "digest" in "end"; expected blake3: or sha256: and 64 hexadecimal digits"#,
            ),
        ] {
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn what_is_no_message_is_told_what_is() {
        for (text, message) in [
            (r#"{"offr":{}}"#, r#"unknown message "offr"; expected one of offer, end, get, list"#),
            (
                "[]",
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (
                "{}",
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (
                r#"{"offer":{},"end":{}}"#,
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (r#"{"offer":5}"#, r#""offer" must hold a JSON object, not 5"#),
            ("hello", "message is not JSON: expected value at line 1 column 1"),
        ] {
            assert_eq!(refused(text), message);
        }
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
    fn a_token_is_shown_to_nobody() {
        assert_eq!(format!("{:?}", Token::new("s3cret")), "Token(…)");
        assert!(!format!("{:?}", full()).contains("s3cret"));
        for text in [r#"{"offer":{"token":[12345]}}"#, r#"{"offer":{"token":""}}"#] {
            let message = r#"bad value for "token" in "offer"; expected a non-empty text"#;
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn tokens_are_equal_when_their_secrets_are() {
        assert_eq!(Token::new("a"), Token::new("a"));
        assert_ne!(Token::new("a"), Token::new("b"));
    }

    #[test]
    fn replies_are_written_as_documented() {
        let refusal = Refusal::new(RefusalCode::NoSpace, "no room").with_hint("free some");
        for (reply, json) in [
            (FileReply::Go { offset: 7 }, r#"{"go":{"offset":7}}"#),
            (
                FileReply::Error(refusal),
                r#"{"error":{"code":"no-space","message":"no room","hint":"free some"}}"#,
            ),
        ] {
            assert_eq!(reply.to_json(), json);
            assert_eq!(FileReply::from_json(json), Ok(reply));
        }
    }

    #[test]
    fn a_bad_reply_is_told_with_its_key() {
        for (text, message) in [
            (
                r#"{"went":{}}"#,
                r#"unknown message "went"; expected one of receipt, go, error, file, entries, left_out, end"#,
            ),
            (r#"{"go":{}}"#, r#""offset" is missing in "go"; expected a number of bytes"#),
            (
                r#"{"error":{"code":"x","message":"y"}}"#,
                r#"bad value "x" for "code" in "error"; expected a refusal code of this version"#,
            ),
            (r#"{"receipt":{}}"#, "bad receipt: missing field `protocol`"),
        ] {
            assert_eq!(FileReply::from_json(text).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn an_offer_survives_being_written_and_read(offer in any_offer()) {
            let message = FileMessage::Offer(offer);
            prop_assert_eq!(FileMessage::from_json(&message.to_json()), Ok(message));
        }

        #[test]
        fn a_receipt_survives_being_replied(receipt in any_receipt()) {
            let reply = FileReply::Receipt(receipt);
            prop_assert_eq!(FileReply::from_json(&reply.to_json()), Ok(reply));
        }

        #[test]
        fn no_text_panics_the_parsers(text in r#"(\{"(offer|end|go|error|receipt|get|list|file|entries)":)?.*"#) {
            let _ = FileMessage::from_json(&text);
            let _ = FileReply::from_json(&text);
        }
    }
}
