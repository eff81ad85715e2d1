//! Requests to join a room: its name, the nickname, and the first event to receive.
//!
//! Raw TCP has a preface line ([`crate::preface`]), other protocols the path and query of a URL:
//! `/rooms/lobby?as=alice&self&since=k3f9c2-41&history=10&json`.

use super::id::EventId;
use super::name::{NameError, Nickname, RoomName};
use super::{BadEventId, ROOMS_PATH};
use crate::transfer::percent;
use crate::transfer::quoted;

/// A request to join a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The room.
    pub room: RoomName,
    /// The requested nickname; the reader of an event stream without one is a listener.
    pub nick: Option<Nickname>,
    /// Whether it receives JSON instead of plain text.
    pub json: bool,
    /// Whether it receives its own messages too.
    pub own: bool,
    /// The last event that it has.
    pub since: Option<EventId>,
    /// Maximum number of earlier events to receive; `None` for all that are stored.
    pub history: Option<u32>,
}

/// Why a URL does not name a room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The path is not that of a room.
    #[error("{} is not the path of a room; expected one such as {ROOMS_PATH}lobby", quoted(.path))]
    NotARoom {
        /// The path as received.
        path: String,
    },
    /// There is no name after `/rooms/`.
    #[error("{ROOMS_PATH} has no room name; expected a path such as {ROOMS_PATH}lobby")]
    NoRoom,
    /// A percent sign lacks its two hexadecimal digits, or the text is not UTF-8.
    #[error("{} is not percent-encoded UTF-8", quoted(.text))]
    NotEncoded {
        /// The part of the URL as received.
        text: String,
    },
    /// The name of the room, or the nickname, is invalid.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// The ID in `since` is invalid.
    #[error(transparent)]
    BadId(#[from] BadEventId),
    /// The number in `history` is invalid.
    #[error("bad value {} for history; expected a number of events", quoted(.value))]
    BadHistory {
        /// The value as received.
        value: String,
    },
    /// A key is unknown. It might matter to the sender, so it is not ignored.
    #[error("unknown key {} in the query; expected one of {KNOWN}", quoted(.key))]
    UnknownKey {
        /// The key as received.
        key: String,
    },
    /// A key lacks its value.
    #[error("key {key} in the query needs a value: {key}=…")]
    MissingValue {
        /// The key.
        key: &'static str,
    },
    /// A key has a value, but does not take one.
    #[error("key {key} in the query takes no value, but has {}", quoted(.value))]
    StrayValue {
        /// The key.
        key: &'static str,
        /// The value as received.
        value: String,
    },
    /// A key is repeated.
    #[error("key {key} is given twice in the query")]
    DuplicateKey {
        /// The key.
        key: &'static str,
    },
}

impl Join {
    /// Returns a request for `room` with default options.
    pub fn new(room: RoomName) -> Self {
        Self { room, nick: None, json: false, own: false, since: None, history: None }
    }

    /// Parses a path, and a query without its question mark.
    pub fn from_target(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let room = path.strip_prefix(ROOMS_PATH);
        let room = room.ok_or_else(|| TargetError::NotARoom { path: path.to_owned() })?;
        if room.is_empty() {
            return Err(TargetError::NoRoom);
        }
        let mut join = Self::new(decoded(room)?.parse()?);
        // Browsers leave empty pairs for empty form fields.
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (decoded(key)?, decoded(value)?),
                None => (decoded(pair)?, String::new()),
            };
            join.read(&key, &value)?;
        }
        Ok(join)
    }

    /// Returns path and query of the URL that joins the room.
    pub fn to_target(&self) -> String {
        let Self { room, nick, json, own, since, history } = self;
        let encoded = |nick: &Nickname| format!("as={}", percent::encode_name(nick.as_str()));
        let keys = [
            nick.as_ref().map(encoded),
            json.then(|| "json".to_owned()),
            own.then(|| "self".to_owned()),
            since.map(|id| format!("since={id}")),
            history.map(|most| format!("history={most}")),
        ];
        let query = keys.into_iter().flatten().collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{ROOMS_PATH}{}{mark}{query}", percent::encode_name(room.as_str()))
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), TargetError> {
        match key {
            "as" => set(&mut self.nick, "as", value, |nick| Ok(nick.parse()?)),
            "since" => set(&mut self.since, "since", value, |id| Ok(id.parse()?)),
            "history" => set(&mut self.history, "history", value, parse_history),
            "self" => set_flag(&mut self.own, "self", value),
            "json" => set_flag(&mut self.json, "json", value),
            _ => Err(TargetError::UnknownKey { key: key.to_owned() }),
        }
    }
}

/// Parses digits only; `u32::from_str` would also accept a plus sign.
fn parse_history(text: &str) -> Result<u32, TargetError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let most = digits.then(|| text.parse().ok()).flatten();
    most.ok_or_else(|| TargetError::BadHistory { value: text.to_owned() })
}

fn set<T>(
    place: &mut Option<T>,
    key: &'static str,
    value: &str,
    read: impl Fn(&str) -> Result<T, TargetError>,
) -> Result<(), TargetError> {
    if place.is_some() {
        return Err(TargetError::DuplicateKey { key });
    }
    if value.is_empty() {
        return Err(TargetError::MissingValue { key });
    }
    *place = Some(read(value)?);
    Ok(())
}

/// Sets a flag: `self`, or `self=` as browsers write it.
fn set_flag(place: &mut bool, key: &'static str, value: &str) -> Result<(), TargetError> {
    if *place {
        return Err(TargetError::DuplicateKey { key });
    }
    if !value.is_empty() {
        return Err(TargetError::StrayValue { key, value: value.to_owned() });
    }
    *place = true;
    Ok(())
}

fn decoded(text: &str) -> Result<String, TargetError> {
    percent::decode(text).map_err(|_| TargetError::NotEncoded { text: text.to_owned() })
}

const KNOWN: &str = "as, self, since, history, json";

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rooms::id::tests::any_id;
    use crate::rooms::name::tests::{any_nickname, any_room};

    pub(crate) fn any_join() -> impl Strategy<Value = Join> {
        (
            any_room(),
            prop::option::of(any_nickname()),
            any::<bool>(),
            any::<bool>(),
            prop::option::of(any_id()),
            any::<Option<u32>>(),
        )
            .prop_map(|(room, nick, json, own, since, history)| Join {
                room,
                nick,
                json,
                own,
                since,
                history,
            })
    }

    fn refused(path: &str, query: &str) -> String {
        Join::from_target(path, Some(query)).unwrap_err().to_string()
    }

    #[test]
    fn a_room_url_has_a_name_and_options() {
        let query = "as=%D0%B6&self&since=k3f9c2-41&history=10&json=&";
        let join = Join {
            room: "größe".parse().unwrap(),
            nick: Some("ж".parse().unwrap()),
            json: true,
            own: true,
            since: Some("k3f9c2-41".parse().unwrap()),
            history: Some(10),
        };
        assert_eq!(Join::from_target("/rooms/gr%C3%B6%C3%9Fe", Some(query)), Ok(join));
        let plain = Join::new("lobby".parse().unwrap());
        assert_eq!(Join::from_target("/rooms/lobby", None), Ok(plain.clone()));
        assert_eq!(plain.to_target(), "/rooms/lobby");
    }

    #[test]
    fn the_error_of_a_room_url_names_its_fault() {
        for (path, query, message) in [
            (
                "/room/a",
                "",
                r#""/room/a" is not the path of a room; expected one such as /rooms/lobby"#,
            ),
            ("/rooms/", "", "/rooms/ has no room name; expected a path such as /rooms/lobby"),
            ("/rooms/a%zz", "", r#""a%zz" is not percent-encoded UTF-8"#),
            (
                "/rooms/a%2Fb",
                "",
                r#"'/' is not allowed in the room "a/b"; allowed are letters, digits and - _ ."#,
            ),
            ("/rooms/a", "as=%ff", r#""%ff" is not percent-encoded UTF-8"#),
            (
                "/rooms/a",
                "nick=b",
                r#"unknown key "nick" in the query; expected one of as, self, since, history, json"#,
            ),
            ("/rooms/a", "as", "key as in the query needs a value: as=…"),
            ("/rooms/a", "since=41", r#""41" is not an event id; expected one such as k3f9c2-41"#),
            (
                "/rooms/a",
                "history=-1",
                r#"bad value "-1" for history; expected a number of events"#,
            ),
            ("/rooms/a", "self=1", r#"key self in the query takes no value, but has "1""#),
            ("/rooms/a", "self&self", "key self is given twice in the query"),
            ("/rooms/a", "as=b&as=c", "key as is given twice in the query"),
        ] {
            assert_eq!(refused(path, query), message, "{path}?{query}");
        }
    }

    proptest! {
        #[test]
        fn a_url_is_read_as_it_is_written(join in any_join()) {
            let target = join.to_target();
            prop_assert!(target.is_ascii());
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target.as_str(), None),
            };
            prop_assert_eq!(Join::from_target(path, query), Ok(join));
        }
    }
}
