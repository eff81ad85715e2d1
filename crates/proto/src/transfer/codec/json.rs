//! JSON: records as objects, and messages, which are objects with one key.
//!
//! Records are read key by key, so that an error names the key; a derived reader would not. Unknown
//! keys are ignored, so that a later version can add some; an unknown message is an error.

use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use super::kind::{Boolean, Kind, TOKEN};
use super::{Reader, Record, Writer};
use crate::transfer::words::quoted;

/// Error of a text message of `anyport.file.1` or `anyport.chat.1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The text is not JSON.
    #[error("message is not JSON: {reason}")]
    NotJson {
        /// What is wrong, and where.
        reason: String,
    },
    /// The message is not an object with one key.
    #[error("message must be a JSON object with one key; expected one of {}", .known.join(", "))]
    NotOneKind {
        /// Known keys.
        known: &'static [&'static str],
    },
    /// The key of the message is unknown.
    #[error("unknown message {}; expected one of {}", quoted(.kind), .known.join(", "))]
    UnknownKind {
        /// The key.
        kind: String,
        /// Known keys.
        known: &'static [&'static str],
    },
    /// The message holds something other than an object.
    #[error("{kind:?} must hold a JSON object, not {found}")]
    NotAnObject {
        /// The key of the message.
        kind: &'static str,
        /// Its value, in words.
        found: String,
    },
    /// A required key is missing.
    #[error("{key:?} is missing in {kind:?}; expected {expected}")]
    MissingKey {
        /// The key of the message.
        kind: &'static str,
        /// The key inside.
        key: &'static str,
        /// The expected value.
        expected: &'static str,
    },
    /// A key has an invalid value.
    #[error("bad value {found} for {key:?} in {kind:?}; expected {expected}")]
    BadValue {
        /// The key of the message.
        kind: &'static str,
        /// The key inside.
        key: &'static str,
        /// Its value, in words.
        found: String,
        /// The expected value.
        expected: &'static str,
    },
    /// The token is not a text; the value may still be a secret and is not shown.
    #[error("bad value for \"token\" in {kind:?}; expected {TOKEN}")]
    BadToken {
        /// The key of the message.
        kind: &'static str,
    },
    /// A listing is not an array.
    #[error("{kind:?} must hold a JSON array")]
    NotAList {
        /// The key of the message.
        kind: &'static str,
    },
    /// The receipt is invalid.
    #[error("bad receipt: {reason}")]
    BadReceipt {
        /// What is wrong.
        reason: String,
    },
}

/// Splits a message, an object with one key, into its key and the value.
pub(crate) fn parse_kind(
    text: &str,
    known: &'static [&'static str],
) -> Result<(String, Value), MessageError> {
    let value = serde_json::from_str(text)
        .map_err(|error| MessageError::NotJson { reason: error.to_string() })?;
    let Value::Object(object) = value else { return Err(MessageError::NotOneKind { known }) };
    let mut entries = object.into_iter();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        _ => Err(MessageError::NotOneKind { known }),
    }
}

/// The object of a message, and the key of the message.
pub(crate) struct Object {
    kind: &'static str,
    entries: Map<String, Value>,
}

impl Object {
    pub(crate) fn new(kind: &'static str, value: Value) -> Result<Self, MessageError> {
        match value {
            Value::Object(entries) => Ok(Self { kind, entries }),
            other => Err(MessageError::NotAnObject { kind, found: in_words(&other) }),
        }
    }

    /// Returns the value of `key`; null counts as absent.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, MessageError> {
        let Some(value) = self.entries.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => {
                let found = in_words(value);
                Err(MessageError::BadValue { kind: self.kind, key, found, expected })
            }
        }
    }

    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, MessageError> {
        self.optional(key, expected, read)?.ok_or(MessageError::MissingKey {
            kind: self.kind,
            key,
            expected,
        })
    }
}

pub(crate) fn as_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
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

impl Reader for Object {
    type Error = MessageError;

    fn optional_value<K: Kind>(&self, key: &'static str) -> Result<Option<K::Value>, MessageError> {
        self.optional(key, K::EXPECTED, K::from_json).map_err(|error| match error {
            MessageError::BadValue { kind, .. } if K::IS_SECRET => MessageError::BadToken { kind },
            other => other,
        })
    }

    fn required_value<K: Kind>(&self, key: &'static str) -> Result<K::Value, MessageError> {
        let missing = MessageError::MissingKey { kind: self.kind, key, expected: K::EXPECTED };
        self.optional_value::<K>(key)?.ok_or(missing)
    }

    fn flag(&self, key: &'static str) -> Result<bool, MessageError> {
        Ok(self.optional_value::<Boolean>(key)?.unwrap_or(false))
    }
}

/// Serializes a record as an object.
pub(crate) fn serialize<R: Record, S: Serializer>(
    record: &R,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut keys = ObjectWriter { map: serializer.serialize_map(None)?, result: Ok(()) };
    record.write(&mut keys);
    keys.result?;
    keys.map.end()
}

struct ObjectWriter<M: SerializeMap> {
    map: M,
    /// The first error.
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> ObjectWriter<M> {
    fn entry(&mut self, key: &str, value: &impl serde::Serialize) {
        if self.result.is_ok() {
            self.result = self.map.serialize_entry(key, value);
        }
    }
}

impl<M: SerializeMap> Writer for ObjectWriter<M> {
    fn value<K: Kind>(&mut self, key: &'static str, value: &K::Value) {
        self.entry(key, &K::scalar(value));
    }

    fn flag(&mut self, key: &'static str) {
        self.entry(key, &true);
    }

    fn null(&mut self, key: &'static str) {
        self.entry(key, &());
    }

    fn group<R: Record>(&mut self, key: &'static str, record: &R) {
        self.entry(key, record);
    }
}
