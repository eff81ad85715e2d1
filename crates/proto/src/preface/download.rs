//! The lines of downloads: the requests for a file and for a listing.

use std::borrow::Cow;

use super::error::PrefaceError;
use super::fields::{Fields, LineWriter, bad_value, split_word};
use crate::transfer::codec::Record;
use crate::transfer::download::{Get, List};
use crate::transfer::percent;

/// Returns the line that requests a file, line feed included.
pub fn get_line(get: &Get) -> String {
    // The path of a line is bytes.
    let encoded = get.name_raw.clone().unwrap_or_else(|| percent::encode_name(&get.name));
    LineWriter::record(&format!("GET {encoded}"), get, &["name", "name_raw"])
}

/// Returns the line that requests a listing, line feed included.
pub fn list_line(list: &List) -> String {
    let encoded = list.path.as_deref().map(percent::encode_name);
    let first = match list.path_raw.as_deref().or(encoded.as_deref()) {
        // The words themselves would be the options.
        Some(RECURSIVE) => "LIST %72ecursive".to_owned(),
        Some(LEFT_OUT) => "LIST %6Ceft_out".to_owned(),
        Some(path) => format!("LIST {path}"),
        None => "LIST".to_owned(),
    };
    LineWriter::record(&first, list, &["path", "path_raw"])
}

pub(super) fn parse_get(arguments: &str) -> Result<Get, PrefaceError> {
    let (name, rest) = split_word(arguments);
    let is_key = name.split_once('=').is_some_and(|(key, _)| GET_KEYS.contains(&key));
    if name.is_empty() || is_key {
        return Err(PrefaceError::NoNameToGet);
    }
    let (text, raw) = decode(GET, "name", name)?;
    let unknown =
        |key: &str, value: Option<&str>| unknown(GET, key, value, "offset, digest, token");
    let mut fields = Fields::of_request(GET, rest, (&GET_KEYS, &[]), unknown)?;
    fields.set("name", text);
    if let Some(raw) = raw {
        fields.set("name_raw", raw);
    }
    Get::read(&fields)
}

pub(super) fn parse_list(arguments: &str) -> Result<List, PrefaceError> {
    let (first, after) = split_word(arguments);
    let is_option = ["", RECURSIVE, LEFT_OUT].contains(&first) || first.starts_with("token=");
    let rest = if is_option { arguments } else { after };
    let known = (&["token"][..], &[RECURSIVE, LEFT_OUT][..]);
    let unknown =
        |key: &str, value: Option<&str>| unknown(LIST, key, value, "recursive, left_out, token");
    let mut fields = Fields::of_request(LIST, rest, known, unknown)?;
    if !is_option {
        // A person writes `photos/` for a directory, and `/` for all files.
        let without_slash = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
        let (text, raw) = decode(LIST, "path", first)?;
        fields.set("path", without_slash(&text));
        if let Some(raw) = raw {
            fields.set("path_raw", without_slash(raw));
        }
    }
    List::read(&fields)
}

/// Returns the path of a request, percent-encoded: its text and, where that is not exactly the
/// path, the bytes as they were received.
fn decode<'a>(
    line: &'static str,
    key: &'static str,
    encoded: &'a str,
) -> Result<(String, Option<&'a str>), PrefaceError> {
    let bytes =
        percent::decode_bytes(encoded).map_err(|_| bad_value(line, key, encoded, ENCODED))?;
    let text = String::from_utf8_lossy(&bytes);
    let raw = matches!(text, Cow::Owned(_)).then_some(encoded);
    Ok((percent::encode_value(&text), raw))
}

fn unknown(
    line: &'static str,
    key: &str,
    value: Option<&str>,
    known: &'static str,
) -> PrefaceError {
    let word = match value {
        Some(_) => key.to_owned(),
        None => format!("{key} (a space in a name is written %20)"),
    };
    PrefaceError::UnknownWord { line, word, known }
}

const GET_KEYS: [&str; 3] = ["offset", "digest", "token"];

const RECURSIVE: &str = "recursive";
const LEFT_OUT: &str = "left_out";

/// The names of the lines in errors.
const GET: &str = "GET line";
const LIST: &str = "LIST line";
const ENCODED: &str = "a percent-encoded path, a percent sign itself as %25";
