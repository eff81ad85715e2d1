//! The lines of rooms: joining one, and the confirmation.

use super::error::PrefaceError;
use super::fields::{Fields, LineWriter, bad_value, parsed, split_word};
use crate::rooms::{EventId, Join, NameError, Nickname, RoomName};
use crate::transfer::codec::kind::parse_decimal;
use crate::transfer::percent;

/// Returns the line that joins a room, line feed included.
pub fn join_line(join: &Join) -> String {
    let mut line = LineWriter::new("JOIN");
    line.word(&percent::encode_name(join.room.as_str()));
    if let Some(nick) = &join.nick {
        line.word("as");
        line.word(&percent::encode_name(nick.as_str()));
    }
    if join.json {
        line.word("json");
    }
    if join.own {
        line.word("self");
    }
    line.key("since", join.since);
    line.key("history", join.history);
    line.finish()
}

pub(super) fn parse_join(arguments: &str) -> Result<Join, PrefaceError> {
    let (room, mut rest) = split_word(arguments);
    if room.is_empty() {
        return Err(PrefaceError::NoRoomToJoin);
    }
    let mut join = Join::new(parse_name("room", room)?);
    loop {
        let (word, after) = split_word(rest);
        rest = after;
        match word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value))) {
            ("", None) => return Ok(join),
            ("as", None) => {
                let (nick, after) = split_word(rest);
                rest = after;
                once("as", join.nick.is_some())?;
                if nick.is_empty() {
                    return Err(PrefaceError::NoNickname);
                }
                join.nick = Some(parse_name("nickname", nick)?);
            }
            ("json", None) => {
                once("json", join.json)?;
                join.json = true;
            }
            ("self", None) => {
                once("self", join.own)?;
                join.own = true;
            }
            ("since", value) => {
                once("since", join.since.is_some())?;
                join.since = Some(required("since", value, ID, parsed::<EventId>)?);
            }
            ("history", value) => {
                once("history", join.history.is_some())?;
                join.history = Some(required("history", value, HISTORY, parse_history)?);
            }
            _ => {
                let (word, known) = (word.to_owned(), "as NICK, json, self, since=, history=");
                return Err(PrefaceError::UnknownWord { line: JOIN, word, known });
            }
        }
    }
}

/// Writes the confirmation for a member that joined.
pub(super) fn write_joined(
    room: &RoomName,
    nick: &Nickname,
    members: u64,
    last: Option<EventId>,
) -> String {
    let mut line = LineWriter::new("JOINED");
    line.key("room", Some(room));
    line.key("as", Some(nick));
    line.key("members", Some(members));
    line.key("last", last);
    line.finish()
}

/// Parses the room, the nickname, the number of other members, and the last event.
pub(super) fn parse_joined(
    fields: &Fields<'_>,
) -> Result<(RoomName, Nickname, u64, Option<EventId>), PrefaceError> {
    let decoded = |text: &str| percent::decode(text).ok();
    Ok((
        fields.required("room", "the name of a room", |text| parsed(&decoded(text)?))?,
        fields.required("as", "a nickname", |text| parsed(&decoded(text)?))?,
        fields.required("members", "a number of members", parse_decimal)?,
        fields.optional("last", ID, parsed)?,
    ))
}

fn parse_name<N: std::str::FromStr<Err = NameError>>(
    what: &'static str,
    word: &str,
) -> Result<N, PrefaceError> {
    let name =
        percent::decode(word).map_err(|_| bad_value(JOIN, what, word, "percent-encoded UTF-8"))?;
    Ok(name.parse()?)
}

fn once(key: &'static str, is_set: bool) -> Result<(), PrefaceError> {
    if is_set { Err(PrefaceError::DuplicateKey { line: JOIN, key }) } else { Ok(()) }
}

fn required<T>(
    key: &'static str,
    value: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, PrefaceError> {
    let Some(value) = value else {
        return Err(PrefaceError::MissingValue { line: JOIN, key, expected });
    };
    read(value).ok_or_else(|| bad_value(JOIN, key, value, expected))
}

fn parse_history(text: &str) -> Option<u32> {
    u32::try_from(parse_decimal(text)?).ok()
}

/// Name of the line in messages.
const JOIN: &str = "JOIN line";

const ID: &str = "an id such as k3f9c2-41";
const HISTORY: &str = "a number of events";
