//! The lines of raw TCP, which a person can type (DESIGN section 6).
//!
//! ```text
//!   sender    ANYPORT/1 PUT photo.jpg size=1048576 LF   content   END blake3:… LF
//!   receiver  ANYPORT/1 GO offset=0 LF (to resume)            ANYPORT/1 RECEIPT … LF
//!             or, at any time, ANYPORT/1 ERROR code message LF
//! ```
//!
//! Strict where a sender's mistake would damage a file (an unknown key of a request is refused),
//! lenient where a person types (runs of blanks, CR LF, names with bare UTF-8). A reply may have
//! keys that are not known yet.

mod error;
mod fields;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use super::line::{LineReader, LineTooLong, Pushed};
pub use error::PrefaceError;
pub use reply::Reply;
pub use request::{end_line, parse_end, put_line};

use super::offer::Offer;
use super::words::spelled;
use fields::{after_version, split_word};
use request::parse_put;

/// How every line but `END` begins, and how detection knows it.
pub const PREFACE: &[u8] = b"ANYPORT/1 ";

/// What a sender asks for by a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To take a file; the offer has a name.
    Put(Offer),
    /// Something else; its arguments are not read.
    Other(Verb),
}

/// The requests beside `PUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Send a file.
    Get,
    /// Say which files are there.
    List,
    /// Send back what comes.
    Echo,
    /// Say what time it is.
    Time,
    /// Say a welcome.
    Greet,
    /// Enter a room.
    Join,
}

spelled!(Verb, "verb":
    Get = "GET", List = "LIST", Echo = "ECHO", Time = "TIME", Greet = "GREET", Join = "JOIN");

/// Reads a request: a whole line, the preface included, without its line feed.
pub fn parse_request(line: &[u8]) -> Result<Request, PrefaceError> {
    let (verb, arguments) = split_word(after_version(line)?);
    if verb == "PUT" {
        return parse_put(arguments).map(Request::Put);
    }
    match verb.parse() {
        Ok(verb) => Ok(Request::Other(verb)),
        Err(_) => Err(PrefaceError::UnknownVerb { verb: verb.to_owned(), known: KNOWN_VERBS }),
    }
}

const KNOWN_VERBS: &str = "PUT, GET, LIST, ECHO, TIME, GREET, JOIN";
