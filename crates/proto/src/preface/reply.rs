//! The lines of receivers.

use super::VERSION;
use super::error::PrefaceError;
use super::fields::{Fields, LineWriter, after_version, on_one_line, split_word};
use super::join::{parse_joined, write_joined};
use super::pipe::{parse_content, parse_piped, write_content, write_piped};
use crate::pipe::Piped;
use crate::rooms::{EventId, Nickname, RoomName};
use crate::transfer::codec::kind::Bytes;
use crate::transfer::codec::{Reader, Record};
use crate::transfer::download::{Entry, FileHead, LeftOut, ListEnd};
use crate::transfer::receipt::Receipt;
use crate::transfer::refusal::{Refusal, RefusalCode};

/// A line of a receiver.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Reply {
    /// The sender may send, from this byte of the content on.
    Go {
        /// Bytes that the receiver has from an earlier attempt.
        offset: u64,
    },
    /// The file is stored completely.
    Receipt(Receipt),
    /// The request is refused.
    Error(Refusal),
    /// The head of a requested file; its content follows.
    File(FileHead),
    /// An entry of a listing.
    Entry(Entry),
    /// The member is in the room; the lines of the room follow.
    Joined {
        /// The room.
        room: RoomName,
        /// Its nickname there, which may differ from the requested one.
        nick: Nickname,
        /// Number of members, with itself.
        members: u64,
        /// The last event before it joined; `None` if there was none.
        last: Option<EventId>,
    },
    /// An entry that a listing left out.
    LeftOut(LeftOut),
    /// The end of a listing.
    ListEnd(ListEnd),
    /// All content went through a pipe.
    Piped(Piped),
    /// The content of a pipe follows.
    Content {
        /// Its size in bytes, if its sender announced one.
        size: Option<u64>,
    },
    /// The server's local time, in words.
    Time(String),
    /// A welcome.
    Greeting(String),
    /// The lines that a client may send.
    Help(String),
    /// The SYN of the connection, in the form of the HTTP field.
    Syn(String),
}

impl Reply {
    /// Returns the line, line feed included.
    pub fn to_line(&self) -> String {
        match self {
            Self::Go { offset } => format!("{VERSION} GO offset={offset}\n"),
            Self::Receipt(receipt) => LineWriter::record("RECEIPT", receipt, &["outcome"]),
            Self::File(head) => LineWriter::record("FILE", head, &[]),
            Self::Entry(entry) => LineWriter::record("ENTRY", entry, &[]),
            Self::Joined { room, nick, members, last } => write_joined(room, nick, *members, *last),
            Self::LeftOut(left_out) => LineWriter::record("LEFT-OUT", left_out, &[]),
            Self::ListEnd(end) => LineWriter::record("END", end, &[]),
            Self::Piped(piped) => write_piped(piped),
            Self::Content { size } => write_content(*size),
            Self::Time(line) => format!("{VERSION} TIME {}\n", on_one_line(line)),
            Self::Greeting(line) => format!("{VERSION} GREETING {}\n", on_one_line(line)),
            Self::Help(line) => format!("{VERSION} HELP {}\n", on_one_line(line)),
            Self::Syn(word) => format!("{VERSION} SYN {}\n", on_one_line(word)),
            Self::Error(Refusal { code, message, hint }) => {
                let message = on_one_line(message);
                let hint = hint.as_deref().map(on_one_line);
                let hint = hint.map_or_else(String::new, |hint| format!("{HINT_OPEN}{hint})"));
                format!("{VERSION} ERROR {code} {message}{hint}\n")
            }
        }
    }

    /// Parses a complete line without its line feed.
    ///
    /// The line does not mark where a message ends: one that itself ends in `(hint: …)` reads as
    /// message and hint.
    pub fn parse(line: &[u8]) -> Result<Self, PrefaceError> {
        let (kind, rest) = split_word(after_version(line)?);
        match kind {
            "GO" => {
                let fields = Fields::of_reply("GO line", rest);
                Ok(Self::Go { offset: fields.required_value::<Bytes>("offset")? })
            }
            "RECEIPT" => read("RECEIPT line", rest).map(Self::Receipt),
            "TIME" => Ok(Self::Time(rest.to_owned())),
            "GREETING" => Ok(Self::Greeting(rest.to_owned())),
            "HELP" => Ok(Self::Help(rest.to_owned())),
            "SYN" => Ok(Self::Syn(rest.to_owned())),
            "ERROR" => parse_refusal(rest).map(Self::Error),
            "FILE" => read("FILE line", rest).map(Self::File),
            "ENTRY" => read("ENTRY line", rest).map(Self::Entry),
            "JOINED" => {
                let (room, nick, members, last) =
                    parse_joined(&Fields::of_reply("JOINED line", rest))?;
                Ok(Self::Joined { room, nick, members, last })
            }
            "PIPED" => parse_piped(&Fields::of_reply("PIPED line", rest)).map(Self::Piped),
            "CONTENT" => {
                let size = parse_content(&Fields::of_reply("CONTENT line", rest))?;
                Ok(Self::Content { size })
            }
            "LEFT-OUT" => read("LEFT-OUT line", rest).map(Self::LeftOut),
            "END" => read("END line", rest).map(Self::ListEnd),
            _ => Err(PrefaceError::UnknownReply { word: kind.to_owned() }),
        }
    }
}

fn read<R: Record>(line: &'static str, rest: &str) -> Result<R, PrefaceError> {
    R::read(&Fields::of_reply(line, rest))
}

fn parse_refusal(rest: &str) -> Result<Refusal, PrefaceError> {
    let (word, text) = split_word(rest);
    let Ok(code) = word.parse::<RefusalCode>() else {
        let (code, message) = (word.to_owned(), text.to_owned());
        return Err(PrefaceError::UnknownRefusal { code, message });
    };
    // From the end: a message may quote a peer, a hint consists of the server's own words.
    let parts = text.strip_suffix(')').and_then(|text| text.rsplit_once(HINT_OPEN));
    Ok(match parts {
        Some((message, hint)) => Refusal::new(code, message).with_hint(hint),
        None => Refusal::new(code, text),
    })
}

const HINT_OPEN: &str = " (hint: ";
