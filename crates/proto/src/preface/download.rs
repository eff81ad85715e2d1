//! The lines of downloads: requests of a receiver, and replies.

use super::error::PrefaceError;
use super::fields::{
    Fields, LineWriter, bad_value, parse_decimal, parse_raw, parse_token, parsed, split_word,
};
use crate::transfer::digest::Algorithm;
use crate::transfer::download::{
    ENTRIES, Entry, FileHead, Get, KIND, LeftOut, LeftOutReason, List, ListEnd, PATH, REASON,
};
use crate::transfer::file_path::FilePath;
use crate::transfer::offer::Token;
use crate::transfer::percent;
use crate::transfer::values;

/// Returns the line that requests a file, line feed included.
pub fn get_line(get: &Get) -> String {
    // The path of a line is bytes.
    let encoded = get.name_raw.clone().unwrap_or_else(|| percent::encode_name(&get.name));
    let mut line = LineWriter::new(&format!("GET {encoded}"));
    line.key("offset", Some(get.offset).filter(|offset| *offset > 0));
    line.key("digest", get.digest);
    line.key("token", get.token.as_ref().map(Token::expose));
    line.finish()
}

/// Returns the line that requests a listing, line feed included.
pub fn list_line(list: &List) -> String {
    let mut line = LineWriter::new("LIST");
    let encoded = list.path.as_deref().map(percent::encode_name);
    match list.path_raw.as_deref().or(encoded.as_deref()) {
        // The words themselves would be the options.
        Some(RECURSIVE) => line.word("%72ecursive"),
        Some(LEFT_OUT) => line.word("%6Ceft_out"),
        Some(path) => line.word(path),
        None => {}
    }
    if list.recursive {
        line.word(RECURSIVE);
    }
    if list.left_out {
        line.word(LEFT_OUT);
    }
    line.key("token", list.token.as_ref().map(Token::expose));
    line.finish()
}

pub(super) fn parse_get(arguments: &str) -> Result<Get, PrefaceError> {
    let (name, rest) = split_word(arguments);
    let is_key = ["offset=", "digest=", "token="].iter().any(|key| name.starts_with(key));
    if name.is_empty() || is_key {
        return Err(PrefaceError::NoNameToGet);
    }
    let (name, name_raw) = decode(GET, "name", name)?;
    let (mut offset, mut digest, mut token) = (None, None, None);
    for (key, value) in words(rest) {
        match key {
            "offset" => set(&mut offset, GET, "offset", value, values::BYTES, parse_decimal)?,
            "digest" => {
                set(&mut digest, GET, "digest", value, values::ALGORITHM, parsed::<Algorithm>)?;
            }
            "token" => set_token(&mut token, GET, value)?,
            _ => return Err(unknown(GET, key, value, "offset, digest, token")),
        }
    }
    Ok(Get { name, name_raw, offset: offset.unwrap_or(0), digest, token })
}

pub(super) fn parse_list(arguments: &str) -> Result<List, PrefaceError> {
    let mut list = List::default();
    let (first, after) = split_word(arguments);
    let is_option = ["", RECURSIVE, LEFT_OUT].contains(&first) || first.starts_with("token=");
    let rest = if is_option { arguments } else { after };
    if !is_option {
        let (path, raw) = decode(LIST, "path", first)?;
        // A person writes `photos/` for a directory, and `/` for all files.
        let path = path.strip_suffix('/').unwrap_or(&path);
        list.path = Some(path.to_owned()).filter(|path| !path.is_empty());
        list.path_raw = raw.map(|raw| raw.strip_suffix('/').unwrap_or(&raw).to_owned());
    }
    for (key, value) in words(rest) {
        match (key, value) {
            (RECURSIVE, None) if list.recursive => {
                return Err(PrefaceError::DuplicateKey { line: LIST, key: RECURSIVE });
            }
            (RECURSIVE, None) => list.recursive = true,
            (LEFT_OUT, None) if list.left_out => {
                return Err(PrefaceError::DuplicateKey { line: LIST, key: LEFT_OUT });
            }
            (LEFT_OUT, None) => list.left_out = true,
            ("token", value) => set_token(&mut list.token, LIST, value)?,
            _ => return Err(unknown(LIST, key, value, "recursive, left_out, token")),
        }
    }
    Ok(list)
}

pub(super) fn write_file(head: &FileHead) -> String {
    let mut line = LineWriter::new("FILE");
    line.path("name", "name_raw", &head.name);
    line.key("size", Some(head.size));
    line.key("offset", Some(head.offset));
    line.mtime(Some(head.mtime));
    line.key("mode", Some(format!("{:o}", head.mode)));
    line.finish()
}

pub(super) fn parse_file(fields: &Fields<'_>) -> Result<FileHead, PrefaceError> {
    Ok(FileHead {
        name: parse_name(fields)?,
        size: fields.required("size", values::BYTES, parse_decimal)?,
        offset: fields.required("offset", values::BYTES, parse_decimal)?,
        mtime: fields.mtime()?,
        mode: fields.required("mode", values::MODE, values::parse_mode)?,
    })
}

pub(super) fn write_entry(entry: &Entry) -> String {
    let mut line = LineWriter::new("ENTRY");
    line.path("name", "name_raw", &entry.name);
    line.key("kind", Some(entry.kind));
    line.key("size", entry.size);
    line.mtime(Some(entry.mtime));
    line.key("mode", Some(format!("{:o}", entry.mode)));
    line.finish()
}

pub(super) fn parse_entry(fields: &Fields<'_>) -> Result<Entry, PrefaceError> {
    Ok(Entry {
        name: parse_name(fields)?,
        kind: fields.required("kind", KIND, parsed)?,
        size: fields.optional("size", values::BYTES, parse_decimal)?,
        mtime: fields.mtime()?,
        mode: fields.required("mode", values::MODE, values::parse_mode)?,
    })
}

pub(super) fn write_left_out(left_out: &LeftOut) -> String {
    let mut line = LineWriter::new("LEFT-OUT");
    line.raw("name_raw", &left_out.name_raw);
    line.key("reason", Some(left_out.reason));
    line.finish()
}

pub(super) fn parse_left_out(fields: &Fields<'_>) -> Result<LeftOut, PrefaceError> {
    let reason: String = fields.required("reason", REASON, parsed)?;
    Ok(LeftOut {
        name_raw: fields.required("name_raw", values::RAW, parse_raw)?,
        reason: reason.parse().unwrap_or(LeftOutReason::Other),
    })
}

pub(super) fn write_list_end(end: &ListEnd) -> String {
    let mut line = LineWriter::new("END");
    line.key("entries", Some(end.entries));
    line.key("left_out", end.left_out);
    line.key("links", end.links);
    line.finish()
}

pub(super) fn parse_list_end(fields: &Fields<'_>) -> Result<ListEnd, PrefaceError> {
    Ok(ListEnd {
        entries: fields.required("entries", ENTRIES, parse_decimal)?,
        left_out: fields.optional("left_out", ENTRIES, parse_decimal)?,
        links: fields.optional("links", ENTRIES, parse_decimal)?,
    })
}

/// Decodes the path of a request: its text and, if that does not represent it exactly, its bytes.
fn decode(
    line: &'static str,
    key: &'static str,
    encoded: &str,
) -> Result<(String, Option<String>), PrefaceError> {
    let bad = || bad_value(line, key, encoded, ENCODED);
    let bytes = percent::decode_bytes(encoded).map_err(|_| bad())?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, None)),
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Ok((text, Some(encoded.to_owned())))
        }
    }
}

fn parse_name(fields: &Fields<'_>) -> Result<FilePath, PrefaceError> {
    match fields.optional("name_raw", PATH, parse_path)? {
        Some(path) => Ok(path),
        None => fields.required("name", PATH, parse_path),
    }
}

fn parse_path(text: &str) -> Option<FilePath> {
    FilePath::parse_percent_encoded(text).ok()
}

/// Returns the words of a line, split at the equals sign if there is one.
fn words(mut rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    std::iter::from_fn(move || {
        let (word, after) = split_word(rest);
        rest = after;
        let cut = |word| match str::split_once(word, '=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        (!word.is_empty()).then(|| cut(word))
    })
}

/// Parses the value of one key into its field.
fn set<T>(
    place: &mut Option<T>,
    line: &'static str,
    key: &'static str,
    value: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), PrefaceError> {
    if place.is_some() {
        return Err(PrefaceError::DuplicateKey { line, key });
    }
    let Some(value) = value else {
        return Err(PrefaceError::MissingValue { line, key, expected });
    };
    *place = Some(read(value).ok_or_else(|| bad_value(line, key, value, expected))?);
    Ok(())
}

fn set_token(
    place: &mut Option<Token>,
    line: &'static str,
    value: Option<&str>,
) -> Result<(), PrefaceError> {
    set(place, line, "token", value, values::TOKEN, parse_token).map_err(|error| match error {
        PrefaceError::BadValue { .. } => PrefaceError::BadToken,
        other => other,
    })
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

const RECURSIVE: &str = "recursive";
const LEFT_OUT: &str = "left_out";

/// Names of the lines in messages.
const GET: &str = "GET line";
const LIST: &str = "LIST line";
const ENCODED: &str = "a percent-encoded path, a percent sign itself as %25";
