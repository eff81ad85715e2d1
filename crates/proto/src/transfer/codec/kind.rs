//! The kinds of values: how each is written and parsed, and how errors describe it.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::peer::Peer;
use crate::transfer::digest::{Algorithm, Digest};
use crate::transfer::file_path::FilePath;
use crate::transfer::file_time;
use crate::transfer::percent;

/// A kind of value, which all codecs share.
pub(crate) trait Kind {
    type Value;

    /// What a value must be, in the words of an error.
    const EXPECTED: &'static str;
    /// The same for a word of a line.
    const EXPECTED_IN_LINE: &'static str = Self::EXPECTED;
    /// Errors must not show an invalid value either.
    const IS_SECRET: bool = false;

    fn scalar(value: &Self::Value) -> Scalar<'_>;

    fn from_word(word: &str) -> Option<Self::Value>;

    fn from_json(value: &Value) -> Option<Self::Value> {
        Self::from_word(value.as_str()?)
    }
}

/// A value in the form that codecs distinguish.
pub(crate) enum Scalar<'a> {
    Number(u64),
    Signed(i64),
    Real(f64),
    Boolean(bool),
    Text(Cow<'a, str>),
    /// A text that is percent-encoded already.
    Encoded(Cow<'a, str>),
}

impl Scalar<'_> {
    /// Returns the value as it appears in a line.
    pub(crate) fn word(&self) -> Cow<'_, str> {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Signed(number) => number.to_string().into(),
            Self::Real(number) => number.to_string().into(),
            Self::Boolean(boolean) => boolean.to_string().into(),
            Self::Text(text) => percent::encode_value(text).into(),
            Self::Encoded(text) => text.as_ref().into(),
        }
    }
}

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Text(text) | Self::Encoded(text) => serializer.serialize_str(text),
        }
    }
}

/// Defines kinds: the type of their values, what errors say of them, how they are written, and how
/// a word, and a value of JSON that is not such a word, are parsed.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $type:ty = $expected:expr,
        |$value:ident| $scalar:expr, $word:expr $(, $json:expr)?;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $kind;

        impl Kind for $kind {
            type Value = $type;

            const EXPECTED: &'static str = $expected;

            fn scalar($value: &$type) -> Scalar<'_> {
                $scalar
            }

            fn from_word(word: &str) -> Option<$type> {
                $word(word)
            }

            $(fn from_json(value: &Value) -> Option<$type> {
                $json(value)
            })?
        }
    )+};
}

kinds! {
    /// Bytes of content.
    Bytes: u64 = "a number of bytes",
        |value| Scalar::Number(*value), parse_decimal, Value::as_u64;
    /// Entries of a listing.
    Entries: u64 = "a number of entries",
        |value| Scalar::Number(*value), parse_decimal, Value::as_u64;
    /// Another number.
    Count: u64 = "a whole number",
        |value| Scalar::Number(*value), parse_decimal, Value::as_u64;
    /// A duration in seconds, in whole microseconds.
    Seconds: f64 = "a number of seconds",
        |value| Scalar::Real(round_to_micros(*value)), parse_seconds, Value::as_f64;
    /// The seconds of a modification time.
    Seconds1970: i64 = "whole seconds since 1970",
        |value| Scalar::Signed(*value), parse_signed, Value::as_i64;
    /// The nanoseconds of that time.
    Nanoseconds: u32 = "0 to 999999999 nanoseconds, beside mtime",
        |value| Scalar::Number((*value).into()), file_time::parse_nanoseconds,
        |value: &Value| file_time::nanoseconds(value.as_u64()?);
    /// True or false.
    Boolean: bool = "true or false",
        |value| Scalar::Boolean(*value), parsed, Value::as_bool;
    /// The text of a path that a client requests.
    Requested: String = PATH,
        |value| Text::scalar(value), Text::from_word, Text::from_json;
    /// Percent-encoded bytes, still encoded.
    Raw: String = "percent-encoded bytes",
        |value| Scalar::Encoded(value.into()),
        |word: &str| percent::decode_bytes(word).is_ok().then(|| word.to_owned());
    /// The text of the path of a stored file.
    PathText: FilePath = PATH,
        |value| Scalar::Text(value.text().into()),
        RawPath::from_word, |value: &Value| FilePath::parse(value.as_str()?).ok();
    /// The bytes of that path, percent-encoded.
    RawPath: FilePath = PATH,
        |value| Scalar::Encoded(value.percent_encoded().into()),
        |word| FilePath::parse_percent_encoded(word).ok();
    /// Permission bits, in octal.
    Mode: u32 = "permission bits in octal, such as 644",
        |value| Scalar::Text(format!("{value:o}").into()), parse_mode;
    /// What identifies a transfer. It appears in messages, never in a path.
    Id: String = "1 to 64 of A-Z a-z 0-9 _ -",
        |value| Scalar::Text(value.into()), |id| is_id(id).then(|| id.to_owned());
}

/// A text, percent-encoded in a line.
pub(crate) struct Text;

impl Kind for Text {
    type Value = String;

    const EXPECTED: &'static str = "a text";
    const EXPECTED_IN_LINE: &'static str = "percent-encoded UTF-8";

    fn scalar(value: &String) -> Scalar<'_> {
        Scalar::Text(value.into())
    }

    fn from_word(word: &str) -> Option<String> {
        percent::decode(word).ok()
    }

    fn from_json(value: &Value) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

/// Implements [`Kind`] for types that have one text each, as `Display` and `FromStr` have it.
macro_rules! words {
    ($($kind:ty = $expected:literal),+ $(,)?) => {$(
        impl $crate::transfer::codec::kind::Kind for $kind {
            type Value = Self;

            const EXPECTED: &'static str = $expected;

            fn scalar(value: &Self) -> $crate::transfer::codec::kind::Scalar<'_> {
                $crate::transfer::codec::kind::Scalar::Text(value.to_string().into())
            }

            fn from_word(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        }
    )+};
}
pub(crate) use words;

words!(
    Algorithm = "blake3, sha256 or none",
    Digest = "blake3: or sha256: and 64 hexadecimal digits",
    Peer = "an address, with or without a port, or unix",
);

fn parsed<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

fn parse_seconds(word: &str) -> Option<f64> {
    parsed(word).filter(|seconds: &f64| seconds.is_finite() && seconds.is_sign_positive())
}

fn parse_signed(word: &str) -> Option<i64> {
    (!word.starts_with('+')).then(|| parsed(word))?
}

/// Parses permission bits, without a sign or bits of the file type.
fn parse_mode(word: &str) -> Option<u32> {
    let octal = !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal.then(|| u32::from_str_radix(word, 8).ok())??;
    (mode <= MAX_MODE).then_some(mode)
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Parses digits alone; `u64::from_str` would also accept a plus sign.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Rounds seconds to whole microseconds; 0 stands for what was not measured (JSON has no infinity).
pub(crate) fn round_to_micros(seconds: f64) -> f64 {
    if seconds.is_finite() && seconds > 0.0 { (seconds * MICROS).round() / MICROS } else { 0.0 }
}

/// What a token must be.
pub(crate) const TOKEN: &str = "a non-empty text";

const PATH: &str = "a path below the served directory, such as photos/a.jpg";

const MICROS: f64 = 1e6;

const MAX_ID_LEN: usize = 64;

/// All permission bits, with set-user-id, set-group-id and sticky.
pub(crate) const MAX_MODE: u32 = 0o7777;
