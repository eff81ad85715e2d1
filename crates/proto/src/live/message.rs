//! What the server sends over a live connection, beside the events of a room.

use serde::Serialize;

use crate::rooms::{EventId, Members, MessageKey, RoomName};
use crate::transfer::download::{Entry, ListEnd};
use crate::transfer::refusal::{Refusal, RefusalCode};

/// A message of the server.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// Entries of a listing.
    List {
        /// The directory, as the client named it.
        path: &'a str,
        /// The client's number of the request.
        id: Option<u64>,
        /// The next entries.
        entries: &'a [Entry],
        /// The counts, in the last message of the listing.
        end: Option<ListEnd>,
    },
    /// The watched directory changed.
    Changed {
        /// The directory, as the client named it.
        path: &'a str,
    },
    /// All uploads that are being received into the watched directory.
    Transfers {
        /// The directory, as the client named it.
        path: &'a str,
        /// The uploads, the oldest first.
        transfers: &'a [Progress],
    },
    /// The client listens to a room, without a nickname.
    Listening {
        /// The room.
        room: &'a RoomName,
        /// Its members.
        members: &'a Members,
        /// Its last event; `None` if there was none.
        last: Option<EventId>,
    },
    /// A description of the connection.
    Connection(&'a Connection),
    /// A request was refused.
    Error {
        /// Why.
        refusal: &'a Refusal,
        /// The key of the request, if it is known.
        of: Option<&'a str>,
        /// The client's number of a request to list.
        id: Option<u64>,
        /// The key of what was said.
        key: Option<&'a MessageKey>,
    },
}

/// An upload that is being received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Its name in the directory.
    pub name: String,
    /// Bytes received, with those of earlier attempts.
    pub bytes: u64,
    /// Size, if it is known.
    pub size: Option<u64>,
}

/// A connection, as the server's end of it sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Connection {
    /// The client's address.
    pub peer: String,
    /// The protocol of the opening handshake.
    pub protocol: &'static str,
    /// Whether the client uses TLS, with this server or with a trusted proxy.
    pub encrypted: bool,
    /// TLS version and cipher suite of this server.
    pub tls: Option<String>,
    /// Smoothed round-trip time, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bytes per second at which this end's segments were last delivered.
    pub rate: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Json<'a> {
    List {
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        entries: &'a [Entry],
        more: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        links: Option<u64>,
    },
    Changed {
        path: &'a str,
    },
    Transfers {
        path: &'a str,
        transfers: &'a [Progress],
    },
    Joined {
        room: &'a str,
        members: Vec<&'a str>,
        listeners: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<String>,
    },
    Connection(&'a Connection),
    Error {
        code: RefusalCode,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
}

impl Message<'_> {
    /// Returns the message as JSON.
    pub fn to_json(&self) -> String {
        let some = |count: Option<u64>| count.filter(|count| *count > 0);
        let json = match *self {
            Self::List { path, id, entries, end } => Json::List {
                path,
                id,
                entries,
                more: end.is_none(),
                left_out: some(end.and_then(|end| end.left_out)),
                links: some(end.and_then(|end| end.links)),
            },
            Self::Changed { path } => Json::Changed { path },
            Self::Transfers { path, transfers } => Json::Transfers { path, transfers },
            Self::Listening { room, members: Members { members, listeners }, last } => {
                let members = members.iter().map(|nick| nick.as_str()).collect();
                let last = last.map(|last| last.to_string());
                Json::Joined { room: room.as_str(), members, listeners: *listeners, last }
            }
            Self::Connection(connection) => Json::Connection(connection),
            Self::Error { refusal, of, id, key } => Json::Error {
                code: refusal.code,
                message: &refusal.message,
                hint: refusal.hint.as_deref(),
                of,
                id,
                key: key.map(ToString::to_string),
            },
        };
        serde_json::to_string(&json).expect("keys are strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::download::EntryKind;
    use crate::transfer::file_path::FilePath;

    #[test]
    fn the_entries_of_a_listing_are_those_of_http() {
        let entry = Entry {
            name: FilePath::parse("a/b").unwrap(),
            kind: EntryKind::File,
            size: Some(5),
            mtime: 7.into(),
            mode: 0o644,
        };
        let entries = [entry];
        let message = Message::List { path: "a", id: Some(1), entries: &entries, end: None };
        let json: serde_json::Value = serde_json::from_str(&message.to_json()).unwrap();
        assert_eq!(json["list"]["entries"][0], serde_json::to_value(&entries[0]).unwrap());
        assert_eq!(json["list"]["more"], true);
        let end = ListEnd { entries: 1, left_out: Some(0), links: Some(2) };
        let message = Message::List { path: "", id: None, entries: &[], end: Some(end) };
        assert_eq!(
            message.to_json(),
            r#"{"list":{"path":"","entries":[],"more":false,"links":2}}"#
        );
    }

    #[test]
    fn the_error_of_a_request_repeats_what_identifies_it() {
        let refusal = Refusal::new(RefusalCode::NotFound, "no such directory");
        let key = "7".parse().unwrap();
        let message =
            Message::Error { refusal: &refusal, of: Some("say"), id: None, key: Some(&key) };
        assert_eq!(
            message.to_json(),
            r#"{"error":{"code":"not-found","message":"no such directory","of":"say","key":"7"}}"#
        );
    }
}
