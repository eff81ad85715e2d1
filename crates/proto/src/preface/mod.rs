//! The lines of raw TCP, which a person can type (docs/PROTOCOLS.md).
//!
//! ```text
//!   sender    ANYPORT/1 PUT photo.jpg size=1048576 LF   content   END blake3:… LF
//!   receiver  ANYPORT/1 GO offset=0 LF (to resume)            ANYPORT/1 RECEIPT … LF
//!             or, at any time, ANYPORT/1 ERROR code message LF
//!
//!   receiver  ANYPORT/1 GET photo.jpg offset=K LF                   ANYPORT/1 LIST photos LF
//!   server    ANYPORT/1 FILE … LF   content   END blake3:… LF       ANYPORT/1 ENTRY … LF
//!                                                                   ANYPORT/1 END entries=N LF
//!
//!   member    ANYPORT/1 JOIN lobby as alice LF                  ANYPORT/1 ECHO LF
//!   server    ANYPORT/1 JOINED … LF   lines of the room         all that comes, back
//!   sender    ANYPORT/1 PIPE key LF   content                   ANYPORT/1 TAKE key LF
//!   server    ANYPORT/1 PIPED … LF                            content, FIN
//!
//!   anybody   ANYPORT/1 TIME LF                ANYPORT/1 GREET LF
//!   server    ANYPORT/1 TIME Local time … LF   ANYPORT/1 GREETING Welcome to anyport! LF
//! ```
//!
//! Any request may end with token=…, if the server requires one; once on a connection is enough.
//!
//! Strict where a sender's mistake would damage a file (an unknown key of a request is refused),
//! lenient where a person types (several blanks, CR LF, names with bare UTF-8). A reply may have
//! unknown keys.

mod download;
mod error;
mod fields;
mod join;
mod line;
mod pipe;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use download::{get_line, list_line};
pub use error::PrefaceError;
pub use fields::with_token;
pub use join::join_line;
pub use line::{LineReader, LineTooLong, Pushed};
pub use pipe::{give_line, take_line};
pub use reply::Reply;
pub use request::{end_line, help_line, parse_end, put_line, syn_line};

use crate::pipe::{Give, Take};
use crate::rooms::Join;
use crate::transfer::download::{Get, List};
use crate::transfer::offer::{Offer, Token};
use crate::transfer::word_enum;
use download::{parse_get, parse_list};
use fields::{after_version, split_word, take_token};
use join::parse_join;
use pipe::{parse_give, parse_take};
use request::parse_put;

/// [`PREFACE`] without its space.
const VERSION: &str = "ANYPORT/1";
const BLANKS: [char; 2] = [' ', '\t'];

/// Start of every line but `END`, by which detection recognizes it.
pub const PREFACE: &[u8] = b"ANYPORT/1 ";

/// A request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Store a file; the offer has a name.
    Put(Offer),
    /// Send a file.
    Get(Get),
    /// List files.
    List(List),
    /// Echo the input.
    Echo,
    /// Join a room.
    Join(Join),
    /// Send the following content into a pipe.
    Give(Give),
    /// Receive from a pipe.
    Take(Take),
    /// Another request, whose arguments are not parsed.
    Other(Verb),
}

/// The verb of a request without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Send the time.
    Time,
    /// Send a welcome.
    Greet,
    /// Send the list of request lines.
    Help,
    /// Send the SYN of this connection.
    Syn,
}

word_enum!(Verb, "verb":
    Time = "TIME", Greet = "GREET", Help = "HELP", Syn = "SYN");

/// Parses a request: a complete line, with its preface and without its line feed.
pub fn parse_request(line: &[u8]) -> Result<Request, PrefaceError> {
    parse_line(line).map(|(request, _)| request)
}

/// Parses a request, and the token in its line.
pub fn parse_line(line: &[u8]) -> Result<(Request, Option<Token>), PrefaceError> {
    let (verb, arguments) = split_word(after_version(line)?);
    // Elsewhere these words are messages, which may contain a token.
    match verb {
        "PUT" | "GET" | "LIST" => {
            let request = parse_verb(verb, arguments)?;
            let token = match &request {
                Request::Put(Offer { token, .. })
                | Request::Get(Get { token, .. })
                | Request::List(List { token, .. }) => token.clone(),
                _ => None,
            };
            Ok((request, token))
        }
        _ => {
            let (arguments, token) = take_token(arguments)?;
            Ok((parse_verb(verb, &arguments)?, token))
        }
    }
}

fn parse_verb(verb: &str, arguments: &str) -> Result<Request, PrefaceError> {
    match verb {
        "PUT" => parse_put(arguments).map(Request::Put),
        "GET" => parse_get(arguments).map(Request::Get),
        "LIST" => parse_list(arguments).map(Request::List),
        "JOIN" => parse_join(arguments).map(Request::Join),
        "PIPE" => parse_give(arguments).map(Request::Give),
        "TAKE" => parse_take(arguments).map(Request::Take),
        "ECHO" => match split_word(arguments).0 {
            "" => Ok(Request::Echo),
            word => Err(PrefaceError::StrayAfterEcho { word: word.to_owned() }),
        },
        other => match other.parse() {
            Ok(verb) => parse_other(verb, arguments),
            Err(_) => Err(PrefaceError::UnknownVerb { verb: verb.to_owned(), known: KNOWN_VERBS }),
        },
    }
}

/// Parses `TIME`, `GREET`, `HELP` or `SYN`, which have no arguments.
fn parse_other(verb: Verb, arguments: &str) -> Result<Request, PrefaceError> {
    let line = match verb {
        Verb::Time => "TIME line",
        Verb::Greet => "GREET line",
        Verb::Help => "HELP line",
        Verb::Syn => "SYN line",
    };
    match split_word(arguments) {
        ("", _) => Ok(Request::Other(verb)),
        (word, _) => Err(PrefaceError::UnknownWord { line, word: word.to_owned(), known: "none" }),
    }
}

const KNOWN_VERBS: &str = "PUT, GET, LIST, ECHO, JOIN, PIPE, TAKE, TIME, GREET, HELP, SYN";

/// Keys of a PUT line.
const KNOWN_KEYS: &str = "size, digest, mtime, mtime_ns, mode, id, resume, exists, token, name_raw";
