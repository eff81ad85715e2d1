//! What a member says: a line of raw TCP and of a terminal, or JSON.

use super::json::{push_plain, push_string};
use super::message::{EXPECTED as KEY, MessageKey};
use crate::transfer::json::{MessageError, Object, as_parsed, as_text, parse_kind};
use crate::transfer::quoted;
use crate::transfer::refusal::{Refusal, RefusalCode};
use crate::transfer::values::TEXT;

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message for the others.
    Say {
        /// As it came; it is made visible where it is told.
        text: String,
        /// What its sender will know it by.
        key: Option<MessageKey>,
    },
    /// It asks who is there.
    Who,
}

/// What a line means, where slash commands are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Nothing is said by an empty line.
    Nothing,
    /// Something for the room.
    Said(Said),
    /// It asks what there is to type: [`HELP`].
    Help,
}

/// Why nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaidError {
    /// A message without text.
    #[error("the message is empty")]
    Empty,
    /// The text has more bytes than a message may have.
    #[error("the message is longer than {most} bytes")]
    TooLong {
        /// How many it may have.
        most: usize,
    },
    /// A slash and none of the words that are known behind it.
    #[error("unknown command {}; expected /who or /help", quoted(.command))]
    UnknownCommand {
        /// The line as it came.
        command: String,
    },
    /// A line that is no text.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// The JSON cannot be read.
    #[error(transparent)]
    Json(#[from] MessageError),
}

/// What there is to type, one notice a line.
pub const HELP: [&str; 3] = [
    "* a line is sent to all members",
    "* /who  lists the members",
    "* //…   sends a line that starts with one slash",
];

impl Said {
    /// Reads a line without its line feed: a message of at most `most` bytes, or a command.
    pub fn from_line(line: &[u8], most: usize) -> Result<Line, SaidError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // One slash of two is not said.
        if line.len() > most.saturating_add(1) {
            return Err(SaidError::TooLong { most });
        }
        let line = std::str::from_utf8(line).map_err(|_| SaidError::NotUtf8)?;
        let text = match line.strip_prefix('/') {
            None => line,
            Some(text) if text.starts_with('/') => text,
            Some(command) => {
                return match command.trim_end() {
                    "who" => Ok(Line::Said(Self::Who)),
                    "help" => Ok(Line::Help),
                    _ => Err(SaidError::UnknownCommand { command: line.to_owned() }),
                };
            }
        };
        if text.is_empty() {
            return Ok(Line::Nothing);
        }
        Self::say(text.to_owned(), None, most).map(Line::Said)
    }

    /// A whole message without commands in it, as WebSocket and `POST` carry it.
    pub fn say(text: String, key: Option<MessageKey>, most: usize) -> Result<Self, SaidError> {
        match text.len() {
            0 => Err(SaidError::Empty),
            length if length > most => Err(SaidError::TooLong { most }),
            _ => Ok(Self::Say { text, key }),
        }
    }

    /// Reads JSON; its text may have `most` bytes.
    pub fn from_json(json: &str, most: usize) -> Result<Self, SaidError> {
        let (kind, value) = parse_kind(json, &KINDS)?;
        match kind.as_str() {
            "say" => {
                let object = Object::new("say", value)?;
                let key = object.optional("key", KEY, as_parsed)?;
                Self::say(object.required("text", TEXT, as_text)?, key, most)
            }
            "who" => {
                Object::new("who", value)?;
                Ok(Self::Who)
            }
            _ => Err(MessageError::UnknownKind { kind, known: &KINDS }.into()),
        }
    }

    /// What was said, as JSON.
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

impl SaidError {
    /// What its sender is told.
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

    fn say(text: &str) -> Said {
        Said::Say { text: text.to_owned(), key: None }
    }

    fn line(line: &str) -> Result<Line, SaidError> {
        Said::from_line(line.as_bytes(), 8)
    }

    #[test]
    fn a_line_is_said_unless_it_begins_with_a_slash() {
        for (typed, meant) in [
            ("hello", Line::Said(say("hello"))),
            ("hello\r", Line::Said(say("hello"))),
            (" ", Line::Said(say(" "))),
            ("", Line::Nothing),
            ("\r", Line::Nothing),
            ("/who", Line::Said(Said::Who)),
            ("/who ", Line::Said(Said::Who)),
            ("/help", Line::Help),
            ("//who", Line::Said(say("/who"))),
            ("//", Line::Said(say("/"))),
            ("12345678", Line::Said(say("12345678"))),
            ("//2345678", Line::Said(say("/2345678"))),
        ] {
            assert_eq!(line(typed), Ok(meant), "{typed:?}");
        }
    }

    #[test]
    fn a_bad_line_is_told_what_is_wrong_with_it() {
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
        assert_eq!(Said::from_line(b"\xff", 8), Err(SaidError::NotUtf8));
    }

    #[test]
    fn json_says_and_asks() {
        let key = Some("7".parse().unwrap());
        let json = r#"{"say":{"text":"hello","key":"7"}}"#;
        let said = Said::Say { text: "hello".to_owned(), key };
        assert_eq!(Said::from_json(json, 5), Ok(said.clone()));
        assert_eq!(said.to_json(), json);
        assert_eq!(Said::from_json(r#"{"who":{}}"#, 5), Ok(Said::Who));
        assert_eq!(Said::Who.to_json(), r#"{"who":{}}"#);
    }

    #[test]
    fn bad_json_is_told_what_is_wrong_with_it() {
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
            assert_eq!(Said::from_json(json, 5).unwrap_err().to_string(), message, "{json}");
        }
    }

    #[test]
    fn a_key_has_64_characters_at_most() {
        let said = |length| {
            let key = "k".repeat(length);
            Said::from_json(&format!(r#"{{"say":{{"text":"a","key":"{key}"}}}}"#), 5)
        };
        assert!(said(64).is_ok());
        assert!(matches!(
            said(65),
            Err(SaidError::Json(MessageError::BadValue { key: "key", .. }))
        ));
    }

    /// What a client may write for a message of the longest text fits into what a server takes.
    #[test]
    fn the_longest_message_fits_into_its_json_however_it_is_escaped() {
        let limits = crate::limits::Limits { room_message: 100, ..Default::default() };
        let key = "k".repeat(crate::limits::MAX_MESSAGE_KEY);
        let text = "\\u0001".repeat(100);
        let json = format!(r#"{{ "say" : {{ "text" : "{text}" , "key" : "{key}" }} }}"#);
        assert!(json.len() <= limits.said_json());
        assert!(Said::from_json(&json, 100).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_said_is_read_as_it_was_made_visible(
            text in any::<String>().prop_filter("empty", |text| !text.is_empty()),
            key in prop::option::of("[A-Za-z0-9_-]{1,64}"),
        ) {
            let key: Option<MessageKey> = key.map(|key| key.parse().unwrap());
            let json = Said::Say { text: text.clone(), key: key.clone() }.to_json();
            let said = Said::Say { text: make_visible(&text).into_owned(), key };
            prop_assert_eq!(Said::from_json(&json, usize::MAX), Ok(said));
        }
    }
}
