//! The lines of uploads: the offer before the content, and the end after it.

use super::VERSION;
use super::error::PrefaceError;
use super::fields::{Fields, LineWriter, as_text, bad_value, split_word};
use crate::transfer::codec::Record;
use crate::transfer::codec::kind::Kind;
use crate::transfer::digest::Digest;
use crate::transfer::offer::{End, Offer};
use crate::transfer::percent;

/// Returns the line that offers a file, line feed included.
///
/// A file without a name is offered as `-`, and the receiver chooses one; the name `-` itself is
/// written `%2D`.
pub fn put_line(offer: &Offer) -> String {
    let name = match offer.name.as_deref() {
        None | Some("") => UNNAMED.to_owned(),
        Some(UNNAMED) => "%2D".to_owned(),
        Some(name) => percent::encode_name(name),
    };
    LineWriter::record(&format!("PUT {name}"), offer, &["name"])
}

/// Parses the line after the content: `END`, or `END` and a digest.
pub fn parse_end(line: &[u8]) -> Result<End, PrefaceError> {
    let text = as_text(line)?;
    let (word, rest) = split_word(text);
    if word != "END" {
        // If its sender counted wrong, the rest may be a line with a token.
        return Err(PrefaceError::NotAnEnd { found: word.to_owned() });
    }
    let (digest, rest) = split_word(rest);
    let (stray, _) = split_word(rest);
    if !stray.is_empty() {
        return Err(PrefaceError::StrayAfterEnd { word: stray.to_owned() });
    }
    if digest.is_empty() {
        return Ok(End::default());
    }
    match digest.parse() {
        Ok(digest) => Ok(End { bytes: None, digest: Some(digest) }),
        Err(_) => Err(bad_value("END line", "digest", digest, Digest::EXPECTED)),
    }
}

/// Returns the line that asks for the list of request lines, line feed included.
pub fn help_line() -> String {
    format!("{VERSION} HELP\n")
}

/// Returns the line that asks for the SYN of the connection, line feed included.
pub fn syn_line() -> String {
    format!("{VERSION} SYN\n")
}

/// Returns the line after the content, line feed included.
pub fn end_line(digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("END {digest}\n"),
        None => "END\n".to_owned(),
    }
}

pub(super) fn parse_put(arguments: &str) -> Result<Offer, PrefaceError> {
    let (name, rest) = split_word(arguments);
    // A sender that forgets the name would otherwise store a file called `size=5`.
    let is_key = name.split_once('=').is_some_and(|(key, _)| VALUED_KEYS.contains(&key));
    if name.is_empty() || is_key {
        return Err(PrefaceError::MissingName);
    }
    let known = (&VALUED_KEYS[..], &["resume"][..]);
    let mut fields = Fields::of_request(PUT, rest, known, |key, value| match value {
        Some(value) if key == "resume" => bad_value(PUT, "resume", value, "the word alone"),
        Some(_) => PrefaceError::UnknownKey { key: key.to_owned() },
        None => PrefaceError::StrayWord { word: key.to_owned() },
    })?;
    if name != UNNAMED {
        percent::decode(name).map_err(|_| bad_value(PUT, "name", name, NAME))?;
        fields.set("name", name);
    }
    Offer::read(&fields)
}

/// The name of a file that has none, as for standard input on a command line.
const UNNAMED: &str = "-";
const VALUED_KEYS: [&str; 9] =
    ["size", "digest", "mtime", "mtime_ns", "mode", "id", "exists", "token", "name_raw"];

/// The name of the line in errors.
const PUT: &str = "preface";
const NAME: &str = "percent-encoded UTF-8, a percent sign itself as %25";
