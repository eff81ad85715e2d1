//! How somebody enters a room: which one, as whom, and from which event on it wants to hear.
//!
//! Raw TCP says it by a preface line ([`crate::preface`]), all else by the path and the query of a
//! URL: `/rooms/lobby?as=alice&self&since=k3f9c2-41&history=10&json`.

use super::id::EventId;
use super::name::{NameError, Nickname, RoomName};
use super::{BadEventId, ROOMS_PATH};
use crate::transfer::percent;
use crate::transfer::quoted;

/// Asks to enter a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Which room.
    pub room: RoomName,
    /// What the member wants to be called; a reader of an event stream that has none is a listener.
    pub nick: Option<Nickname>,
    /// Whether it is told JSON instead of plain text.
    pub json: bool,
    /// Whether it is told its own messages too.
    pub own: bool,
    /// It knows all events up to this one.
    pub since: Option<EventId>,
    /// How many of the last events it wants at most; none is all that are kept.
    pub history: Option<u32>,
}

/// Why a URL enters no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The path is not that of a room.
    #[error("{} is not the path of a room; expected one such as {ROOMS_PATH}lobby", quoted(.path))]
    NotARoom {
        /// The path as it came.
        path: String,
    },
    /// Nothing follows `/rooms/`.
    #[error("{ROOMS_PATH} has no room name; expected a path such as {ROOMS_PATH}lobby")]
    NoRoom,
    /// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("{} is not percent-encoded UTF-8", quoted(.text))]
    NotEncoded {
        /// The part of the URL as it came.
        text: String,
    },
    /// The room or the nickname has a bad name.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// The id in `since`.
    #[error(transparent)]
    BadId(#[from] BadEventId),
    /// The number in `history`.
    #[error("bad value {} for history; expected a number of events", quoted(.value))]
    BadHistory {
        /// The value as it came.
        value: String,
    },
    /// A key that is not known might matter to the sender, so it is not passed over.
    #[error("unknown key {} in the query; expected one of {KNOWN}", quoted(.key))]
    UnknownKey {
        /// The key as it came.
        key: String,
    },
    /// A key that needs a value has none.
    #[error("key {key} in the query needs a value: {key}=…")]
    MissingValue {
        /// The key.
        key: &'static str,
    },
    /// A key that stands alone has a value.
    #[error("key {key} in the query takes no value, but has {}", quoted(.value))]
    StrayValue {
        /// The key.
        key: &'static str,
        /// The value as it came.
        value: String,
    },
    /// A key is given twice.
    #[error("key {key} is given twice in the query")]
    DuplicateKey {
        /// The key.
        key: &'static str,
    },
}

impl Join {
    /// Into `room`, with nothing asked for.
    pub fn new(room: RoomName) -> Self {
        Self { room, nick: None, json: false, own: false, since: None, history: None }
    }

    /// Reads a path, and a query without its question mark.
    pub fn from_target(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let room = path.strip_prefix(ROOMS_PATH);
        let room = room.ok_or_else(|| TargetError::NotARoom { path: path.to_owned() })?;
        if room.is_empty() {
            return Err(TargetError::NoRoom);
        }
        let mut join = Self::new(decoded(room)?.parse()?);
        // Browsers leave a lone ampersand where a form had nothing.
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (decoded(key)?, decoded(value)?),
                None => (decoded(pair)?, String::new()),
            };
            join.read(&key, &value)?;
        }
        Ok(join)
    }

    /// Path and query of the URL that enters the room.
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

/// Digits alone; `u32::from_str` would also take a plus sign.
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

/// What makes queries in browsers writes `self=`, which says no more than `self`.
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
    fn a_url_names_the_room_and_what_is_asked() {
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
    fn a_bad_url_is_told_what_is_wrong_with_it() {
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
