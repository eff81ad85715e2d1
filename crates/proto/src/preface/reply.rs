//! A reply line of a receiver or server.

use super::VERSION;
use super::download::{
    parse_entry, parse_file, parse_left_out, parse_list_end, write_entry, write_file,
    write_left_out, write_list_end,
};
use super::error::PrefaceError;
use super::fields::{
    Fields, LineWriter, after_version, on_one_line, parse_decimal, parse_raw, parse_seconds,
    parsed, split_word,
};
use super::join::{parse_joined, write_joined};
use super::pipe::{parse_content, parse_piped, write_content, write_piped};
use crate::pipe::Piped;
use crate::rooms::{EventId, Nickname, RoomName};
use crate::transfer::download::{Entry, FileHead, LeftOut, ListEnd};
use crate::transfer::percent;
use crate::transfer::receipt::{Receipt, round_to_micros, whole_rate};
use crate::transfer::refusal::{Refusal, RefusalCode};
use crate::transfer::tcp_seen::TcpSeen;
use crate::transfer::values;

/// A reply line of a receiver or server.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Reply {
    /// The sender may send, from this offset of the content on.
    Go {
        /// Number of bytes that the receiver has.
        offset: u64,
    },
    /// The file is stored.
    Receipt(Receipt),
    /// The request is refused.
    Error(Refusal),
    /// The requested file; its content follows.
    File(FileHead),
    /// An entry of a listing.
    Entry(Entry),
    /// The client joined the room; the lines of the room follow.
    Joined {
        /// The room.
        room: RoomName,
        /// Its nickname, which may differ from the requested one.
        nick: Nickname,
        /// Number of members, itself included.
        members: u64,
        /// The last event before it joined; `None` if there was none.
        last: Option<EventId>,
    },
    /// Entries that a listing omitted.
    LeftOut(LeftOut),
    /// The listing is complete.
    ListEnd(ListEnd),
    /// The pipe is complete.
    Piped(Piped),
    /// The content of a pipe follows.
    Content {
        /// Size in bytes, if its sender announced one.
        size: Option<u64>,
    },
    /// The server's time, in words.
    Time(String),
    /// A welcome.
    Greeting(String),
    /// The lines that a client may send.
    Help(String),
}

impl Reply {
    /// Returns the reply as a line, line feed included.
    pub fn to_line(&self) -> String {
        match self {
            Self::Go { offset } => format!("{VERSION} GO offset={offset}\n"),
            Self::Receipt(receipt) => write_receipt(receipt),
            Self::File(head) => write_file(head),
            Self::Entry(entry) => write_entry(entry),
            Self::Joined { room, nick, members, last } => write_joined(room, nick, *members, *last),
            Self::LeftOut(left_out) => write_left_out(left_out),
            Self::ListEnd(end) => write_list_end(end),
            Self::Piped(piped) => write_piped(piped),
            Self::Content { size } => write_content(*size),
            Self::Time(line) => format!("{VERSION} TIME {}\n", on_one_line(line)),
            Self::Greeting(line) => format!("{VERSION} GREETING {}\n", on_one_line(line)),
            Self::Help(line) => format!("{VERSION} HELP {}\n", on_one_line(line)),
            Self::Error(Refusal { code, message, hint }) => {
                let message = on_one_line(message);
                let hint = hint.as_deref().map(on_one_line);
                let hint = hint.map_or_else(String::new, |hint| format!("{HINT_OPEN}{hint})"));
                format!("{VERSION} ERROR {code} {message}{hint}\n")
            }
        }
    }

    /// Parses a reply: a complete line without its line feed.
    ///
    /// The line does not mark where a message ends: one that itself ends in `(hint: …)` reads as
    /// message and hint.
    pub fn parse(line: &[u8]) -> Result<Self, PrefaceError> {
        let (kind, rest) = split_word(after_version(line)?);
        match kind {
            "GO" => {
                let fields = Fields::new("GO line", rest);
                Ok(Self::Go { offset: fields.required("offset", values::BYTES, parse_decimal)? })
            }
            "RECEIPT" => parse_receipt(&Fields::new("RECEIPT line", rest)).map(Self::Receipt),
            "TIME" => Ok(Self::Time(rest.to_owned())),
            "GREETING" => Ok(Self::Greeting(rest.to_owned())),
            "HELP" => Ok(Self::Help(rest.to_owned())),
            "ERROR" => parse_refusal(rest).map(Self::Error),
            "FILE" => parse_file(&Fields::new("FILE line", rest)).map(Self::File),
            "ENTRY" => parse_entry(&Fields::new("ENTRY line", rest)).map(Self::Entry),
            "JOINED" => {
                let (room, nick, members, last) = parse_joined(&Fields::new("JOINED line", rest))?;
                Ok(Self::Joined { room, nick, members, last })
            }
            "PIPED" => parse_piped(&Fields::new("PIPED line", rest)).map(Self::Piped),
            "CONTENT" => {
                let size = parse_content(&Fields::new("CONTENT line", rest))?;
                Ok(Self::Content { size })
            }
            "LEFT-OUT" => parse_left_out(&Fields::new("LEFT-OUT line", rest)).map(Self::LeftOut),
            "END" => parse_list_end(&Fields::new("END line", rest)).map(Self::ListEnd),
            _ => Err(PrefaceError::UnknownReply { word: kind.to_owned() }),
        }
    }
}

fn write_receipt(receipt: &Receipt) -> String {
    let mut line = LineWriter::new("RECEIPT");
    line.key("protocol", Some(receipt.protocol));
    line.key("engine", Some(receipt.engine));
    line.key("peer", Some(receipt.peer));
    line.key("bytes", Some(receipt.bytes));
    line.key("resumed", (receipt.resumed > 0).then_some(receipt.resumed));
    line.key("seconds", Some(round_to_micros(receipt.seconds)));
    line.key("durable_seconds", receipt.durable_seconds.map(round_to_micros));
    line.key("hashing_seconds", receipt.hashing_seconds.map(round_to_micros));
    line.key("storing_seconds", receipt.storing_seconds.map(round_to_micros));
    line.key("rate", whole_rate(receipt));
    line.key("digest", receipt.digest);
    line.key("end", Some(receipt.end));
    line.key("confirmed", Some(receipt.confirmed));
    line.key("name", receipt.name.as_ref());
    line.key("path", receipt.path.as_ref());
    if let Some(raw) = &receipt.path_raw {
        line.raw("path_raw", raw);
    }
    line.key("congestion", receipt.congestion.as_ref());
    for (key, value) in receipt.tcp.keys() {
        line.key(key, value);
    }
    line.finish()
}

fn parse_receipt(fields: &Fields<'_>) -> Result<Receipt, PrefaceError> {
    Ok(Receipt {
        protocol: fields.required("protocol", "raw, ws, frames or http", parsed)?,
        engine: fields.required("engine", "own or library", parsed)?,
        peer: fields.required("peer", "an address and a port", parsed)?,
        bytes: fields.required("bytes", values::BYTES, parse_decimal)?,
        resumed: fields.optional("resumed", values::BYTES, parse_decimal)?.unwrap_or(0),
        seconds: fields.required("seconds", SECONDS, parse_seconds)?,
        durable_seconds: fields.optional("durable_seconds", SECONDS, parse_seconds)?,
        hashing_seconds: fields.optional("hashing_seconds", SECONDS, parse_seconds)?,
        storing_seconds: fields.optional("storing_seconds", SECONDS, parse_seconds)?,
        digest: fields.optional("digest", values::DIGEST, parsed)?,
        end: fields.required("end", "size, close, fin or already-here", parsed)?,
        confirmed: fields.required("confirmed", "true or false", parsed)?,
        name: fields
            .optional("name", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        path: fields
            .optional("path", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        path_raw: fields.optional("path_raw", values::RAW, parse_raw)?,
        congestion: fields
            .optional("congestion", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        tcp: TcpSeen {
            rtt_us: fields.optional("rtt_us", NUMBER, parse_decimal)?,
            rcv_rtt_us: fields.optional("rcv_rtt_us", NUMBER, parse_decimal)?,
            retransmits: fields.optional("retransmits", NUMBER, parse_decimal)?,
            cwnd: fields.optional("cwnd", NUMBER, parse_decimal)?,
            delivery_rate: fields.optional("delivery_rate", NUMBER, parse_decimal)?,
        },
    })
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
const SECONDS: &str = "a number of seconds";
const NUMBER: &str = "a whole number";
