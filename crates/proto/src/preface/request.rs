//! The lines of an upload: the offer before the content, and the end after it.

use super::error::PrefaceError;
use super::fields::{
    LineWriter, as_text, bad_value, parse_decimal, parse_raw, parse_signed, parse_token, parsed,
    split_word,
};
use crate::transfer::digest::Digest;
use crate::transfer::file_time::{self, FileTime};
use crate::transfer::offer::{End, Offer, Token};
use crate::transfer::percent;
use crate::transfer::values;

/// Returns the line that offers a file, line feed included.
///
/// A file without a name is offered as `-`, and the receiver generates one; a file that is really
/// called `-` is written `%2D`.
pub fn put_line(offer: &Offer) -> String {
    let name = match offer.name.as_deref() {
        None | Some("") => UNNAMED.to_owned(),
        Some(UNNAMED) => "%2D".to_owned(),
        Some(name) => percent::encode_name(name),
    };
    let mut line = LineWriter::new(&format!("PUT {name}"));
    if let Some(raw) = &offer.name_raw {
        line.raw("name_raw", raw);
    }
    line.key("size", offer.size);
    line.key("digest", offer.digest);
    line.mtime(offer.mtime);
    line.key("mode", offer.mode.map(|mode| format!("{mode:o}")));
    line.key("id", offer.id.as_ref());
    if offer.resume {
        line.word("resume");
    }
    line.key("exists", offer.exists);
    line.key("token", offer.token.as_ref().map(Token::expose));
    line.finish()
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
        Err(_) => Err(bad_value("END line", "digest", digest, values::DIGEST)),
    }
}

/// Returns the line after the content, line feed included.
pub fn end_line(digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("END {digest}\n"),
        None => "END\n".to_owned(),
    }
}

pub(super) fn parse_put(arguments: &str) -> Result<Offer, PrefaceError> {
    let (name, mut rest) = split_word(arguments);
    // If the name is missing, the file should not be called `size=5`.
    let is_key = name.split_once('=').is_some_and(|(key, _)| VALUED_KEYS.contains(&key));
    if name.is_empty() || is_key {
        return Err(PrefaceError::MissingName);
    }
    let name = match name {
        UNNAMED => None,
        name => Some(percent::decode(name).map_err(|_| bad_value(PUT, "name", name, NAME))?),
    };
    let (mut offer, mut nanoseconds) = (Offer { name, ..Offer::default() }, None);
    loop {
        let (word, after) = split_word(rest);
        if word.is_empty() {
            if let Some(mtime) = &mut offer.mtime {
                mtime.nanoseconds = nanoseconds;
            }
            return Ok(offer);
        }
        read_key(&mut offer, &mut nanoseconds, word)?;
        rest = after;
    }
}

fn read_key(
    offer: &mut Offer,
    nanoseconds: &mut Option<u32>,
    word: &str,
) -> Result<(), PrefaceError> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    };
    match key {
        "name_raw" => set(&mut offer.name_raw, "name_raw", value, values::RAW, parse_raw),
        "size" => set(&mut offer.size, "size", value, values::BYTES, parse_decimal),
        "digest" => set(&mut offer.digest, "digest", value, values::ALGORITHM, parsed),
        "mtime" => set(&mut offer.mtime, "mtime", value, values::MTIME, |text| {
            parse_signed(text).map(FileTime::seconds)
        }),
        "mtime_ns" => {
            set(nanoseconds, "mtime_ns", value, values::MTIME_NS, file_time::parse_nanoseconds)
        }
        "mode" => set(&mut offer.mode, "mode", value, values::MODE, values::parse_mode),
        "id" => set(&mut offer.id, "id", value, values::ID, |id| {
            values::is_id(id).then(|| id.to_owned())
        }),
        "exists" => set(&mut offer.exists, "exists", value, values::EXISTS, parsed),
        "token" => {
            set(&mut offer.token, "token", value, values::TOKEN, parse_token).map_err(|error| {
                match error {
                    PrefaceError::BadValue { .. } => PrefaceError::BadToken,
                    other => other,
                }
            })
        }
        "resume" => match value {
            Some(value) => Err(bad_value(PUT, "resume", value, "the word alone")),
            None if offer.resume => Err(PrefaceError::DuplicateKey { line: PUT, key: "resume" }),
            None => {
                offer.resume = true;
                Ok(())
            }
        },
        _ if value.is_some() => Err(PrefaceError::UnknownKey { key: key.to_owned() }),
        _ => Err(PrefaceError::StrayWord { word: word.to_owned() }),
    }
}

/// Parses the value of one key into its field of the offer.
fn set<T>(
    place: &mut Option<T>,
    key: &'static str,
    value: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), PrefaceError> {
    if place.is_some() {
        return Err(PrefaceError::DuplicateKey { line: PUT, key });
    }
    let Some(value) = value else {
        return Err(PrefaceError::MissingValue { line: PUT, key, expected });
    };
    *place = Some(read(value).ok_or_else(|| bad_value(PUT, key, value, expected))?);
    Ok(())
}

/// Name of a file without one, as for standard input on a command line.
const UNNAMED: &str = "-";
const VALUED_KEYS: [&str; 9] =
    ["size", "digest", "mtime", "mtime_ns", "mode", "id", "exists", "token", "name_raw"];

/// Name of a request in messages.
const PUT: &str = "preface";
const NAME: &str = "percent-encoded UTF-8, a percent sign itself as %25";
