//! Messages of members.

use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

use super::id::EventId;
use super::json::{push_plain, push_string};
use super::name::Nickname;
use crate::limits::MAX_MESSAGE_KEY;
use crate::transfer::quoted;
use crate::visible::push_visible;

/// A message of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// ID of the event.
    pub id: EventId,
    /// Nickname of its sender.
    pub from: Nickname,
    /// The text.
    pub text: String,
    /// Time of the server's clock, RFC 3339.
    pub time: String,
    /// The key that its sender gave it.
    pub key: Option<MessageKey>,
}

/// A borrowed [`Message`], for encoding without allocation.
#[derive(Debug, Clone, Copy)]
pub struct MessageView<'a> {
    /// ID of the event.
    pub id: EventId,
    /// Nickname of its sender.
    pub from: &'a Nickname,
    /// The text.
    pub text: &'a str,
    /// Time, RFC 3339.
    pub time: &'a str,
    /// The key that its sender gave it.
    pub key: Option<&'a MessageKey>,
}

/// The key that a client gives its message, to recognize it among the events of the room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageKey(String);

/// Why a text is not a message key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a key; expected {EXPECTED}", quoted(.0))]
pub struct BadKey(String);

impl Message {
    /// Returns the message, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        let Self { id, from, text, time, key } = self;
        MessageView { id: *id, from, text, time, key: key.as_ref() }
    }
}

impl MessageView<'_> {
    /// Appends the message as JSON.
    ///
    /// Allocates only in `into`.
    pub fn push_json(&self, into: &mut String) {
        into.push_str("{\"message\":{");
        push_plain(into, "id", self.id);
        into.push(',');
        push_plain(into, "from", self.from);
        into.push_str(",\"text\":");
        push_string(into, self.text);
        into.push_str(",\"time\":");
        push_string(into, self.time);
        if let Some(key) = self.key {
            into.push(',');
            push_plain(into, "key", key);
        }
        into.push_str("}}");
    }

    /// Appends the message as plain text, one line without its end.
    pub fn push_text(&self, into: &mut String) {
        write!(into, "{}: ", self.from).expect("a String takes all");
        push_visible(into, self.text);
    }
}

impl MessageKey {
    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageKey {
    type Err = BadKey;

    fn from_str(key: &str) -> Result<Self, BadKey> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let good = (1..=MAX_MESSAGE_KEY).contains(&key.len()) && key.bytes().all(known);
        if good { Ok(Self(key.to_owned())) } else { Err(BadKey(key.to_owned())) }
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The form of a key, in the words of an error message.
pub(super) const EXPECTED: &str = "1 to 64 of A-Z a-z 0-9 _ -";
