//! Commands of a member: a line of raw TCP and of a terminal, or JSON.

use serde_json::Value;

use super::json::{push_plain, push_string};
use super::message::{EXPECTED as KEY, MessageKey};
use crate::transfer::codec::json::{MessageError, Object, as_parsed, as_text, parse_kind};
use crate::transfer::codec::kind::{Kind, Text};
use crate::transfer::quoted;
use crate::transfer::refusal::{Refusal, RefusalCode};

/// A command of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send a message to the others.
    Say {
        /// The text as received; it is made visible when it is sent.
        text: String,
        /// The key that its sender gives it.
        key: Option<MessageKey>,
    },
    /// List the members.
    Who,
}

/// The meaning of a line in which slash commands are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An empty line.
    Nothing,
    /// A command for the room.
    Command(Command),
    /// A request for [`HELP`].
    Help,
}

/// Why a command is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The message is empty.
    #[error("the message is empty")]
    Empty,
    /// The message is too long.
    #[error("the message is longer than {most} bytes")]
    TooLong {
        /// Maximum size in bytes.
        most: usize,
    },
    /// The slash command is unknown.
    #[error("unknown command {}; expected /who or /help", quoted(.command))]
    UnknownCommand {
        /// The line as received.
        command: String,
    },
    /// The line is not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// The JSON is invalid.
    #[error(transparent)]
    Json(#[from] MessageError),
}

/// The lines that a member can type, one notice each.
pub const HELP: [&str; 3] = [
    "* a line is sent to all members",
    "* /who  lists the members",
    "* //…   sends a line that starts with one slash",
];

impl Command {
    /// Parses a line without its line feed: a message of at most `most` bytes, or a command.
    pub fn from_line(line: &[u8], most: usize) -> Result<Line, CommandError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // The first of two slashes is not part of the message.
        if line.len() > most.saturating_add(1) {
            return Err(CommandError::TooLong { most });
        }
        let line = std::str::from_utf8(line).map_err(|_| CommandError::NotUtf8)?;
        let text = match line.strip_prefix('/') {
            None => line,
            Some(text) if text.starts_with('/') => text,
            Some(command) => {
                return match command.trim_end() {
                    "who" => Ok(Line::Command(Self::Who)),
                    "help" => Ok(Line::Help),
                    _ => Err(CommandError::UnknownCommand { command: line.to_owned() }),
                };
            }
        };
        if text.is_empty() {
            return Ok(Line::Nothing);
        }
        Self::say(text.to_owned(), None, most).map(Line::Command)
    }

    /// Returns a complete message, as in WebSocket and `POST`, where slash commands are text.
    pub fn say(text: String, key: Option<MessageKey>, most: usize) -> Result<Self, CommandError> {
        match text.len() {
            0 => Err(CommandError::Empty),
            length if length > most => Err(CommandError::TooLong { most }),
            _ => Ok(Self::Say { text, key }),
        }
    }

    /// Parses JSON, whose text may have `most` bytes.
    pub fn from_json(json: &str, most: usize) -> Result<Self, CommandError> {
        let (kind, value) = parse_kind(json, &KINDS)?;
        Self::of(&kind, value, most)
    }

    /// Reads the value of a message of a kind, whose text may have `most` bytes.
    pub(crate) fn of(kind: &str, value: Value, most: usize) -> Result<Self, CommandError> {
        match kind {
            "say" => {
                let object = Object::new("say", value)?;
                let key = object.optional("key", KEY, as_parsed)?;
                Self::say(object.required("text", Text::EXPECTED, as_text)?, key, most)
            }
            "who" => {
                Object::new("who", value)?;
                Ok(Self::Who)
            }
            _ => Err(MessageError::UnknownKind { kind: kind.to_owned(), known: &KINDS }.into()),
        }
    }

    /// Returns the command as JSON.
    pub fn to_json(&self) -> String {
        let Self::Say { text, key } = self else { return "{\"who\":{}}".to_owned() };
        let mut json = "{\"say\":{\"text\":".to_owned();
        push_string(&mut json, text);
        if let Some(key) = key {
            json.push(',');
            push_plain(&mut json, "key", key);
        }
        json.push_str("}}");
        json
    }
}

impl CommandError {
    /// Returns the refusal for its sender.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::TooLong { .. } => RefusalCode::TooLarge,
            _ => RefusalCode::BadRequest,
        };
        let refusal = Refusal::new(code, self.to_string());
        match self {
            Self::UnknownCommand { .. } => {
                refusal.with_hint("write // to send a line that starts with /")
            }
            Self::Json(_) => refusal.with_hint("{\"say\":{\"text\":\"hello\"}} says hello"),
            _ => refusal,
        }
    }
}

const KINDS: [&str; 2] = ["say", "who"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rooms::make_visible;

    fn say(text: &str) -> Command {
        Command::Say { text: text.to_owned(), key: None }
    }

    fn line(line: &str) -> Result<Line, CommandError> {
        Command::from_line(line.as_bytes(), 8)
    }

    #[test]
    fn a_line_is_a_message_unless_it_begins_with_a_slash() {
        for (typed, meant) in [
            ("hello", Line::Command(say("hello"))),
            ("hello\r", Line::Command(say("hello"))),
            (" ", Line::Command(say(" "))),
            ("", Line::Nothing),
            ("\r", Line::Nothing),
            ("/who", Line::Command(Command::Who)),
            ("/who ", Line::Command(Command::Who)),
            ("/help", Line::Help),
            ("//who", Line::Command(say("/who"))),
            ("//", Line::Command(say("/"))),
            ("12345678", Line::Command(say("12345678"))),
            ("//2345678", Line::Command(say("/2345678"))),
        ] {
            assert_eq!(line(typed), Ok(meant), "{typed:?}");
        }
    }

    #[test]
    fn the_error_of_a_command_names_its_fault() {
        for (typed, code, message) in [
            ("123456789", RefusalCode::TooLarge, "the message is longer than 8 bytes"),
            ("//23456789", RefusalCode::TooLarge, "the message is longer than 8 bytes"),
            (
                "/whom",
                RefusalCode::BadRequest,
                r#"unknown command "/whom"; expected /who or /help"#,
            ),
            ("/", RefusalCode::BadRequest, r#"unknown command "/"; expected /who or /help"#),
        ] {
            let refusal = line(typed).unwrap_err().refusal();
            assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
        }
        assert_eq!(Command::from_line(b"\xff", 8), Err(CommandError::NotUtf8));
    }

    #[test]
    fn commands_are_read_from_json() {
        let key = Some("7".parse().unwrap());
        let json = r#"{"say":{"text":"hello","key":"7"}}"#;
        let command = Command::Say { text: "hello".to_owned(), key };
        assert_eq!(Command::from_json(json, 5), Ok(command.clone()));
        assert_eq!(command.to_json(), json);
        assert_eq!(Command::from_json(r#"{"who":{}}"#, 5), Ok(Command::Who));
        assert_eq!(Command::Who.to_json(), r#"{"who":{}}"#);
    }

    #[test]
    fn the_error_of_json_names_its_fault() {
        for (json, message) in [
            (r#"{"say":{"text":"123456"}}"#, "the message is longer than 5 bytes"),
            (r#"{"say":{"text":""}}"#, "the message is empty"),
            (r#"{"say":{}}"#, r#""text" is missing in "say"; expected a text"#),
            (
                r#"{"say":{"text":"a","key":"a b"}}"#,
                r#"bad value "a b" for "key" in "say"; expected 1 to 64 of A-Z a-z 0-9 _ -"#,
            ),
            (r#"{"tell":{}}"#, r#"unknown message "tell"; expected one of say, who"#),
            (r#"{"who":1}"#, r#""who" must hold a JSON object, not 1"#),
            ("hello", "message is not JSON: expected value at line 1 column 1"),
        ] {
            assert_eq!(Command::from_json(json, 5).unwrap_err().to_string(), message, "{json}");
        }
    }

    #[test]
    fn a_key_has_64_characters_at_most() {
        let command = |length| {
            let key = "k".repeat(length);
            Command::from_json(&format!(r#"{{"say":{{"text":"a","key":"{key}"}}}}"#), 5)
        };
        assert!(command(64).is_ok());
        assert!(matches!(
            command(65),
            Err(CommandError::Json(MessageError::BadValue { key: "key", .. }))
        ));
    }

    /// The longest message fits into the JSON that a server accepts.
    #[test]
    fn the_longest_message_fits_into_its_json_however_it_is_escaped() {
        let limits = crate::limits::Limits { room_message: 100, ..Default::default() };
        let key = "k".repeat(crate::limits::MAX_MESSAGE_KEY);
        let text = "\\u0001".repeat(100);
        let json = format!(r#"{{ "say" : {{ "text" : "{text}" , "key" : "{key}" }} }}"#);
        assert!(json.len() <= limits.said_json());
        assert!(Command::from_json(&json, 100).is_ok());
    }

    proptest! {
        #[test]
        fn a_command_is_read_as_it_was_made_visible(
            text in any::<String>().prop_filter("empty", |text| !text.is_empty()),
            key in prop::option::of("[A-Za-z0-9_-]{1,64}"),
        ) {
            let key: Option<MessageKey> = key.map(|key| key.parse().unwrap());
            let json = Command::Say { text: text.clone(), key: key.clone() }.to_json();
            let command = Command::Say { text: make_visible(&text).into_owned(), key };
            prop_assert_eq!(Command::from_json(&json, usize::MAX), Ok(command));
        }
    }
}
