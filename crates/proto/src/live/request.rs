//! What a client of a live connection wants.

use serde_json::{Map, Value, json};

use crate::rooms::{Command, CommandError, EventId, Join, MessageKey, Nickname, RoomName};
use crate::transfer::codec::Reader;
use crate::transfer::codec::json::{MessageError, Object, as_parsed, parse_kind};
use crate::transfer::codec::kind::{Raw, Text};
use crate::transfer::download::List;
use crate::transfer::refusal::Refusal;

/// A request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// List a directory, and watch it from then on.
    List {
        /// The directory.
        list: List,
        /// The client's number of the request, which the answers repeat.
        id: Option<u64>,
    },
    /// Join a room, and leave the one before.
    Join {
        /// The room, the nickname, and the first event.
        join: Join,
        /// Whether it only listens, without a nickname.
        listens: bool,
    },
    /// Leave the room.
    Leave,
    /// Say something in the room, or list its members.
    Room(Command),
    /// Describe the connection.
    Connection,
}

/// A request that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// The key of the message, if it is known.
    pub of: Option<&'static str>,
    /// The client's number of a request to list.
    pub id: Option<u64>,
    /// The key of what was said.
    pub key: Option<MessageKey>,
    /// The reason.
    pub error: CommandError,
}

impl Request {
    /// Parses a message, whose text for the room may have `most` bytes.
    ///
    /// # Errors
    /// It is not JSON, its key is unknown, or one of its values is invalid.
    pub fn from_json(json: &str, most: usize) -> Result<Self, Box<RequestError>> {
        let unknown = |error: MessageError| Box::new(RequestError::new(error.into()));
        let (kind, value) = parse_kind(json, &KINDS).map_err(unknown)?;
        let Some(of) = KINDS.into_iter().find(|known| *known == kind) else {
            return Err(unknown(MessageError::UnknownKind { kind, known: &KINDS }));
        };
        let id = value.get("id").and_then(Value::as_u64);
        let key = value.get("key").and_then(as_parsed);
        let request = match of {
            "say" | "who" => Command::of(of, value, most).map(Self::Room),
            _ => Self::read(of, value).map_err(CommandError::from),
        };
        request.map_err(|error| Box::new(RequestError { of: Some(of), id, key, error }))
    }

    fn read(of: &'static str, value: Value) -> Result<Self, MessageError> {
        let object = Object::new(of, value)?;
        Ok(match of {
            "list" => {
                let path = object.optional_value::<Text>("path")?.filter(|path| !path.is_empty());
                let path_raw = object.optional_value::<Raw>("path_raw")?;
                let path = path.or_else(|| path_raw.clone());
                let id = object.optional("id", NUMBER, Value::as_u64)?;
                Self::List { list: List { path, path_raw, ..List::default() }, id }
            }
            "join" => {
                let room: RoomName = object.required("room", "the name of a room", as_parsed)?;
                let listens = object.flag("listen")?;
                let nick: Option<Nickname> = object.optional("as", "a nickname", as_parsed)?;
                let since: Option<EventId> =
                    object.optional("since", "the id of an event", as_parsed)?;
                let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
                let history = object.optional("history", NUMBER, number)?;
                let nick = nick.filter(|_| !listens);
                let join = Join { room, nick, json: true, own: true, since, history };
                Self::Join { join, listens }
            }
            "leave" => Self::Leave,
            _ => Self::Connection,
        })
    }

    /// Returns the key of the message.
    pub const fn of(&self) -> &'static str {
        match self {
            Self::List { .. } => "list",
            Self::Join { .. } => "join",
            Self::Leave => "leave",
            Self::Room(Command::Say { .. }) => "say",
            Self::Room(Command::Who) => "who",
            Self::Connection => "connection",
        }
    }

    /// Returns the request as JSON.
    pub fn to_json(&self) -> String {
        let mut values = Map::new();
        let mut set = |key: &str, value: Option<Value>| {
            values.extend(value.map(|value| (key.to_owned(), value)));
        };
        match self {
            Self::Room(command) => return command.to_json(),
            Self::List { list, id } => {
                set("path", Some(json!(list.path.as_deref().unwrap_or_default())));
                set("path_raw", list.path_raw.as_ref().map(|raw| json!(raw)));
                set("id", id.map(|id| json!(id)));
            }
            Self::Join { join: Join { room, nick, since, history, .. }, listens } => {
                set("room", Some(json!(room.as_str())));
                set("as", nick.as_ref().map(|nick| json!(nick.as_str())));
                set("listen", listens.then(|| json!(true)));
                set("since", since.map(|since| json!(since.to_string())));
                set("history", history.map(|most| json!(most)));
            }
            Self::Leave | Self::Connection => {}
        }
        json!({ self.of(): values }).to_string()
    }
}

impl RequestError {
    /// Returns the error of a message whose key is not known.
    pub const fn new(error: CommandError) -> Self {
        Self { of: None, id: None, key: None, error }
    }

    /// Returns the refusal for the client.
    pub fn refusal(&self) -> Refusal {
        match &self.error {
            CommandError::Json(error) => {
                let refusal = self.error.refusal();
                let known = !matches!(error, MessageError::UnknownKind { .. });
                Refusal {
                    hint: refusal.hint.filter(|_| known && self.of == Some("say")),
                    ..refusal
                }
            }
            other => other.refusal(),
        }
    }
}

const KINDS: [&str; 6] = ["list", "join", "leave", "say", "who", "connection"];

const NUMBER: &str = "a number";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rooms::join::tests::any_join;

    fn read(json: &str) -> Result<Request, Box<RequestError>> {
        Request::from_json(json, 5)
    }

    #[test]
    fn requests_are_read_from_json() {
        let list = |path: Option<&str>, id| {
            let list = List { path: path.map(str::to_owned), ..List::default() };
            Request::List { list, id }
        };
        assert_eq!(read(r#"{"list":{"path":"a/b","id":1}}"#), Ok(list(Some("a/b"), Some(1))));
        for top in [r#"{"list":{"path":""}}"#, r#"{"list":{}}"#, r#"{"list":{"path":null}}"#] {
            assert_eq!(read(top), Ok(list(None, None)), "{top}");
        }
        let Ok(Request::List { list, .. }) = read(r#"{"list":{"path_raw":"a/%FF"}}"#) else {
            panic!()
        };
        assert_eq!(
            (list.path.as_deref(), list.path_raw.as_deref()),
            (Some("a/%FF"), Some("a/%FF"))
        );
        let json = r#"{"join":{"room":"lobby","as":"alice","since":"k3f9c2-4","history":3}}"#;
        let Ok(Request::Join { join, listens: false }) = read(json) else { panic!() };
        assert_eq!(join.to_target(), "/rooms/lobby?as=alice&json&self&since=k3f9c2-4&history=3");
        let json = r#"{"join":{"room":"lobby","as":"alice","listen":true}}"#;
        let Ok(Request::Join { join, listens: true }) = read(json) else { panic!() };
        assert_eq!(join.nick, None, "a listener has no nickname");
        assert_eq!(read(r#"{"leave":{}}"#), Ok(Request::Leave));
        assert_eq!(read(r#"{"who":{}}"#), Ok(Request::Room(Command::Who)));
        assert_eq!(read(r#"{"connection":{}}"#), Ok(Request::Connection));
    }

    #[test]
    fn the_error_of_a_request_names_it_and_its_fault() {
        for (json, of, id, message) in [
            (
                r#"{"list":{"path":1,"id":7}}"#,
                Some("list"),
                Some(7),
                r#"bad value 1 for "path" in "list"; expected a text"#,
            ),
            (
                r#"{"join":{"as":"a"}}"#,
                Some("join"),
                None,
                r#""room" is missing in "join"; expected the name of a room"#,
            ),
            (
                r#"{"join":{"room":"a","history":-1}}"#,
                Some("join"),
                None,
                r#"bad value -1 for "history" in "join"; expected a number"#,
            ),
            (
                r#"{"say":{"text":"123456"}}"#,
                Some("say"),
                None,
                "the message is longer than 5 bytes",
            ),
            (r#"{"leave":1}"#, Some("leave"), None, r#""leave" must hold a JSON object, not 1"#),
            (
                r#"{"stop":{}}"#,
                None,
                None,
                r#"unknown message "stop"; expected one of list, join, leave, say, who, connection"#,
            ),
        ] {
            let error = read(json).unwrap_err();
            assert_eq!((error.of, error.id), (of, id), "{json}");
            assert_eq!(error.refusal().message, message, "{json}");
        }
        let error = read(r#"{"say":{"text":"","key":"7"}}"#).unwrap_err();
        assert_eq!(error.key, Some("7".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(
            path in prop::option::of("[^\\\\\"]{1,20}"),
            id: Option<u64>,
            join in any_join(),
            listens: bool,
        ) {
            let nick = join.nick.clone().filter(|_| !listens);
            let join = Join { json: true, own: true, nick, ..join };
            let list = List { path, ..List::default() };
            for request in [Request::List { list, id }, Request::Join { join, listens }] {
                prop_assert_eq!(Request::from_json(&request.to_json(), 5), Ok(request));
            }
        }
    }
}
