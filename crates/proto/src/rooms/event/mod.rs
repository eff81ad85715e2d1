//! Events of a room that are sent to a member: as plain text for people, as JSON for programs.

use std::fmt::Write;

use serde_json::Value;

use super::id::EventId;
use super::json::{push_list, push_plain, push_string};
use super::message::{EXPECTED as KEY, Message};
use super::name::{Nickname, RoomName};
use crate::transfer::codec::Record;
use crate::transfer::codec::json::{MessageError, Object, as_parsed, as_text, parse_kind};
use crate::transfer::codec::kind::{Kind, Text};
use crate::transfer::refusal::Refusal;
use crate::visible::push_visible;

/// An event that is sent to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The member joined; always the first event.
    Joined(Joined),
    /// A message of a member.
    Message(Message),
    /// A member joined.
    Join {
        /// ID of the event.
        id: EventId,
        /// Nickname of the member.
        nick: Nickname,
        /// Time of the server's clock, RFC 3339.
        time: String,
    },
    /// A member left.
    Leave {
        /// ID of the event.
        id: EventId,
        /// Nickname of the member.
        nick: Nickname,
        /// Time of the server's clock, RFC 3339.
        time: String,
    },
    /// Events that the member missed.
    Lost {
        /// Their number, if known.
        count: Option<u64>,
    },
    /// The members of the room, on request.
    Members(Members),
    /// A message of the member was refused.
    Error(Refusal),
}

/// The first event of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The room.
    pub room: RoomName,
    /// Its nickname, which may differ from the requested one.
    pub nick: Nickname,
    /// The other members.
    pub others: Members,
    /// The last event before it joined; `None` if there was none.
    pub last: Option<EventId>,
}

/// The members of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Nicknames.
    pub members: Vec<Nickname>,
    /// Number of listeners, which have no nickname.
    pub listeners: u64,
}

impl Event {
    /// Returns the event as JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.push_json(&mut json);
        json
    }

    /// Returns the event as plain text, one line without its end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.push_text(&mut text);
        text
    }

    /// Appends the event as JSON.
    pub fn push_json(&self, into: &mut String) {
        match self {
            Self::Joined(joined) => joined.push_json(into),
            Self::Message(message) => message.view().push_json(into),
            Self::Join { id, nick, time } => push_presence(into, "join", *id, nick, time),
            Self::Leave { id, nick, time } => push_presence(into, "leave", *id, nick, time),
            Self::Lost { count: Some(count) } => {
                write!(into, "{{\"lost\":{{\"count\":{count}}}}}").expect("a String takes all");
            }
            Self::Lost { count: None } => into.push_str("{\"lost\":{}}"),
            Self::Members(members) => {
                into.push_str("{\"members\":{");
                members.push_json(into);
                into.push_str("}}");
            }
            Self::Error(refusal) => {
                into.push_str("{\"error\":{");
                push_plain(into, "code", refusal.code);
                into.push_str(",\"message\":");
                push_string(into, &refusal.message);
                if let Some(hint) = &refusal.hint {
                    into.push_str(",\"hint\":");
                    push_string(into, hint);
                }
                into.push_str("}}");
            }
        }
    }

    /// Appends the event as plain text, one line without its end.
    pub fn push_text(&self, into: &mut String) {
        match self {
            Self::Joined(Joined { room, nick, others, .. }) => {
                push(into, format_args!("* you are {nick} in {room}; here: "));
                others.push_text(into);
            }
            Self::Message(message) => message.view().push_text(into),
            Self::Join { nick, .. } => push(into, format_args!("* {nick} joined")),
            Self::Leave { nick, .. } => push(into, format_args!("* {nick} left")),
            Self::Lost { count: Some(1) } => into.push_str("* 1 event lost"),
            Self::Lost { count: Some(count) } => {
                push(into, format_args!("* {count} events lost"));
            }
            Self::Lost { count: None } => into.push_str("* events lost"),
            Self::Members(members) => {
                into.push_str("* here: ");
                members.push_text(into);
            }
            Self::Error(refusal) => {
                into.push_str("! ");
                push_visible(into, &refusal.message);
                if let Some(hint) = &refusal.hint {
                    into.push_str(" (hint: ");
                    push_visible(into, hint);
                    into.push(')');
                }
            }
        }
    }

    /// Parses an event.
    ///
    /// Unknown keys are ignored.
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let (kind, value) = parse_kind(text, &KINDS)?;
        // The static text of the kind, for messages.
        let Some(known) = KINDS.into_iter().find(|known| *known == kind) else {
            return Err(MessageError::UnknownKind { kind, known: &KINDS });
        };
        let object = Object::new(known, value)?;
        match known {
            "joined" => Ok(Self::Joined(Joined {
                room: object.required("room", "the name of a room", as_parsed)?,
                nick: object.required("as", NICKNAME, as_parsed)?,
                others: read_members(&object)?,
                last: object.optional("last", ID, as_parsed)?,
            })),
            "message" => Ok(Self::Message(Message {
                id: object.required("id", ID, as_parsed)?,
                from: object.required("from", NICKNAME, as_parsed)?,
                text: object.required("text", Text::EXPECTED, as_text)?,
                time: object.required("time", TIME, as_text)?,
                key: object.optional("key", KEY, as_parsed)?,
            })),
            "lost" => Ok(Self::Lost { count: object.optional("count", COUNT, Value::as_u64)? }),
            "members" => read_members(&object).map(Self::Members),
            "error" => Refusal::read(&object).map(Self::Error),
            _ => {
                let id = object.required("id", ID, as_parsed)?;
                let nick = object.required("nick", NICKNAME, as_parsed)?;
                let time = object.required("time", TIME, as_text)?;
                let joins = known == "join";
                Ok(if joins {
                    Self::Join { id, nick, time }
                } else {
                    Self::Leave { id, nick, time }
                })
            }
        }
    }

    /// Returns the ID of an event of the room; `None` for an event of one member.
    pub fn id(&self) -> Option<EventId> {
        match self {
            Self::Message(Message { id, .. }) | Self::Join { id, .. } | Self::Leave { id, .. } => {
                Some(*id)
            }
            Self::Joined(_) | Self::Lost { .. } | Self::Members(_) | Self::Error(_) => None,
        }
    }
}

impl Joined {
    fn push_json(&self, into: &mut String) {
        into.push_str("{\"joined\":{");
        push_plain(into, "room", &self.room);
        into.push(',');
        push_plain(into, "as", &self.nick);
        into.push(',');
        self.others.push_json(into);
        if let Some(last) = self.last {
            into.push(',');
            push_plain(into, "last", last);
        }
        into.push_str("}}");
    }
}

impl Members {
    /// Appends the two keys, without braces.
    fn push_json(&self, into: &mut String) {
        into.push_str("\"members\":");
        push_list(into, &self.members);
        push(into, format_args!(",\"listeners\":{}", self.listeners));
    }

    fn push_text(&self, into: &mut String) {
        for (at, member) in self.members.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            push(into, format_args!("{comma}{member}"));
        }
        let and = if self.members.is_empty() { "" } else { " and " };
        match self.listeners {
            0 if self.members.is_empty() => into.push_str("no other members"),
            0 => {}
            1 => push(into, format_args!("{and}1 listener")),
            more => push(into, format_args!("{and}{more} listeners")),
        }
    }
}

fn push_presence(into: &mut String, kind: &str, id: EventId, nick: &Nickname, time: &str) {
    push(into, format_args!("{{\"{kind}\":{{"));
    push_plain(into, "id", id);
    into.push(',');
    push_plain(into, "nick", nick);
    into.push_str(",\"time\":");
    push_string(into, time);
    into.push_str("}}");
}

fn push(into: &mut String, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("a String takes all");
}

fn read_members(object: &Object) -> Result<Members, MessageError> {
    let nicknames = |value: &Value| value.as_array()?.iter().map(as_parsed).collect();
    Ok(Members {
        members: object.required("members", "a list of nicknames", nicknames)?,
        listeners: object.required("listeners", COUNT, Value::as_u64)?,
    })
}

const KINDS: [&str; 7] = ["joined", "message", "join", "leave", "lost", "members", "error"];

// The valid values, in the words of an error message.
const ID: &str = "an id such as k3f9c2-41";
const NICKNAME: &str = "a nickname";
const TIME: &str = "a time";
const COUNT: &str = "a whole number";

#[cfg(test)]
mod tests;
