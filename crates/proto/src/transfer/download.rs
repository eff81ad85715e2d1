//! What a receiver asks for, and what it is answered: files and listings that leave the served
//! directory.
//!
//! ```text
//!   receiver  get photos/a.jpg from byte K                            list photos
//!   server    file: name, size, mtime …   N - K bytes   end: digest   entries …   end: how many
//! ```
//!
//! The words are the same on every protocol: [`crate::preface`] has the lines, [`super::messages`]
//! the JSON messages. Names in requests are as they came; names in answers are [`FilePath`]s, so
//! that no server can lead its client elsewhere. A listing says what it left out: how many entries,
//! and which ones to a client that asks for that.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::digest::{Algorithm, Digest};
use super::file_name::escaped;
use super::file_path::{FilePath, serialize_name};
use super::file_time::FileTime;
use super::json::{MessageError, Object, as_parsed, as_raw, as_text};
use super::offer::{Token, read_mtime, read_token, serialize_token};
use super::percent;
use super::values::{ALGORITHM, BYTES, DIGEST, MODE, MTIME, RAW, TEXT, parse_mode};
use super::words::spelled;

/// Asks for a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Get {
    /// The path as it came, percent escapes decoded.
    pub name: String,
    /// Its bytes, percent-encoded, where `name` is not exactly that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_raw: Option<String>,
    /// The first byte that is wanted.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// What the sender is to hash the whole file with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Algorithm>,
    /// What allows the receiver to receive.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_token")]
    pub token: Option<Token>,
}

/// Asks which files are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct List {
    /// A directory, or one file; as it came, percent escapes decoded. None is the whole served
    /// directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its bytes, percent-encoded, where `path` is not exactly that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_raw: Option<String>,
    /// Whether what is in directories is listed too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recursive: bool,
    /// Whether entries that are left out are named, and not only counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// What allows the receiver to look.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_token")]
    pub token: Option<Token>,
}

/// What is said of a file before its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileHead {
    /// Where it is stored.
    #[serde(flatten, serialize_with = "serialize_name")]
    pub name: FilePath,
    /// Bytes of the whole file.
    pub size: u64,
    /// The first byte that follows; at most `size`.
    pub offset: u64,
    /// When it was last modified.
    #[serde(flatten)]
    pub mtime: FileTime,
    /// Permission bits; written in octal.
    #[serde(serialize_with = "serialize_octal")]
    pub mode: u32,
}

/// What is said after the content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FileEnd {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Of the whole file, whatever byte was asked for first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where it is, from the served directory on.
    #[serde(flatten, serialize_with = "serialize_name")]
    pub name: FilePath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file; none for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was last modified.
    #[serde(flatten)]
    pub mtime: FileTime,
    /// Permission bits; written in octal.
    #[serde(serialize_with = "serialize_octal")]
    pub mode: u32,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file, or a link to one that is in the served directory too.
    File,
    /// A directory.
    Directory,
}

spelled!(EntryKind, "kind": File = "file", Directory = "directory");

/// An entry that a listing left out, as it cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its path from the served directory on, percent-encoded: it may be no [`FilePath`].
    pub name_raw: String,
    /// Why.
    pub reason: LeftOutReason,
}

impl LeftOut {
    /// Describes the entry at `path`.
    pub fn new(path: &[u8], reason: LeftOutReason) -> Self {
        let components = path.split(|byte| *byte == b'/').map(percent::encode_bytes);
        Self { name_raw: components.collect::<Vec<_>>().join("/"), reason }
    }

    /// Its path as a person may read it, escaped.
    pub fn shown(&self) -> String {
        percent::decode_bytes(&self.name_raw)
            .map_or_else(|_| escaped(self.name_raw.as_bytes()), |path| escaped(&path))
    }
}

/// Why an entry is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// Its name has characters that are not allowed, or begins like anyport's own partial files.
    Name,
    /// Its path has too many components or bytes.
    Depth,
    /// The server may not read it.
    Unreadable,
    /// A pipe, a socket, a device.
    Special,
    /// A symbolic link that is not followed: to a directory, to nothing, or out of the served
    /// directory.
    Link,
    /// Another reason, of a later version.
    Other,
}

spelled!(LeftOutReason, "reason": Name = "name", Depth = "depth", Unreadable = "unreadable",
    Special = "special", Link = "link", Other = "other");

impl LeftOutReason {
    /// The reason in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "unsupported name",
            Self::Depth => "path too deep or too long",
            Self::Unreadable => "not readable by the server",
            Self::Special => "neither a file nor a directory",
            Self::Link => "symbolic link, not followed",
            Self::Other => "not supported",
        }
    }
}

/// What is said after all entries of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ListEnd {
    /// How many entries it had.
    pub entries: u64,
    /// How many it left out, beside symbolic links; servers of earlier versions do not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// How many symbolic links it left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<u64>,
}

impl ListEnd {
    /// Counts an entry that is left out.
    pub fn count(&mut self, reason: LeftOutReason) {
        let count =
            if reason == LeftOutReason::Link { &mut self.links } else { &mut self.left_out };
        *count = Some(count.unwrap_or(0) + 1);
    }

    /// What it says about the entries that are left out; none where there are none.
    pub fn words(&self) -> Option<String> {
        let entries = |count| if count == 1 { "entry" } else { "entries" };
        let links = |count| if count == 1 { "symbolic link" } else { "symbolic links" };
        let left_out = self.left_out.filter(|count| *count > 0);
        let left_out = left_out.map(|count| format!("{count} {} left out", entries(count)));
        let linked = self.links.filter(|count| *count > 0);
        let linked = linked.map(|count| format!("{count} {} not followed", links(count)));
        let words: Vec<String> = left_out.into_iter().chain(linked).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

pub(super) fn read_get(object: &Object) -> Result<Get, MessageError> {
    Ok(Get {
        name: object.required("name", PATH, as_text)?,
        name_raw: object.optional("name_raw", RAW, as_raw)?,
        offset: object.optional("offset", BYTES, Value::as_u64)?.unwrap_or(0),
        digest: object.optional("digest", ALGORITHM, as_parsed)?,
        token: read_token(object)?,
    })
}

pub(super) fn read_list(object: &Object) -> Result<List, MessageError> {
    Ok(List {
        path: object.optional("path", TEXT, as_text)?.filter(|path| !path.is_empty()),
        path_raw: object.optional("path_raw", RAW, as_raw)?.filter(|path| !path.is_empty()),
        recursive: object.optional("recursive", BOOLEAN, Value::as_bool)?.unwrap_or(false),
        left_out: object.optional("left_out", BOOLEAN, Value::as_bool)?.unwrap_or(false),
        token: read_token(object)?,
    })
}

pub(super) fn read_file(object: &Object) -> Result<FileHead, MessageError> {
    Ok(FileHead {
        name: read_path(object)?,
        size: object.required("size", BYTES, Value::as_u64)?,
        offset: object.required("offset", BYTES, Value::as_u64)?,
        mtime: required_mtime(object)?,
        mode: object.required("mode", MODE, as_mode)?,
    })
}

pub(super) fn read_file_end(object: &Object) -> Result<FileEnd, MessageError> {
    Ok(FileEnd {
        bytes: object.required("bytes", BYTES, Value::as_u64)?,
        digest: object.optional("digest", DIGEST, as_parsed)?,
    })
}

pub(super) fn read_entries(value: Value) -> Result<Vec<Entry>, MessageError> {
    let Value::Array(entries) = value else {
        return Err(MessageError::NotAList { kind: "entries" });
    };
    entries.into_iter().map(|entry| read_entry(&Object::new("entries", entry)?)).collect()
}

pub(super) fn read_entry(object: &Object) -> Result<Entry, MessageError> {
    Ok(Entry {
        name: read_path(object)?,
        kind: object.required("kind", KIND, as_parsed)?,
        size: object.optional("size", BYTES, Value::as_u64)?,
        mtime: required_mtime(object)?,
        mode: object.required("mode", MODE, as_mode)?,
    })
}

fn required_mtime(object: &Object) -> Result<FileTime, MessageError> {
    let seconds = object.required("mtime", MTIME, Value::as_i64)?;
    Ok(read_mtime(object)?.unwrap_or_else(|| FileTime::seconds(seconds)))
}

pub(super) fn read_left_out(value: Value) -> Result<Vec<LeftOut>, MessageError> {
    let Value::Array(entries) = value else {
        return Err(MessageError::NotAList { kind: "left_out" });
    };
    entries.into_iter().map(|entry| read_one_left_out(&Object::new("left_out", entry)?)).collect()
}

pub(super) fn read_one_left_out(object: &Object) -> Result<LeftOut, MessageError> {
    let reason = object.required("reason", REASON, as_text)?;
    Ok(LeftOut {
        name_raw: object.required("name_raw", RAW, as_raw)?,
        reason: reason.parse().unwrap_or(LeftOutReason::Other),
    })
}

/// None where the object ends something else than a listing.
pub(super) fn read_list_end(object: &Object) -> Result<Option<ListEnd>, MessageError> {
    let count = |key| object.optional(key, ENTRIES, Value::as_u64);
    let end =
        |entries| Ok(ListEnd { entries, left_out: count("left_out")?, links: count("links")? });
    count("entries")?.map(end).transpose()
}

fn read_path(object: &Object) -> Result<FilePath, MessageError> {
    match object.optional("name_raw", PATH, as_raw_path)? {
        Some(path) => Ok(path),
        None => object.required("name", PATH, as_path),
    }
}

fn as_path(value: &Value) -> Option<FilePath> {
    FilePath::parse(value.as_str()?).ok()
}

fn as_raw_path(value: &Value) -> Option<FilePath> {
    FilePath::parse_percent_encoded(value.as_str()?).ok()
}

fn as_mode(value: &Value) -> Option<u32> {
    parse_mode(value.as_str()?)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn serialize_octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:o}"))
}

// What the values must be, in the words of an error message.
pub(crate) const PATH: &str = "a path below the served directory, such as photos/a.jpg";
pub(crate) const KIND: &str = "file or directory";
pub(crate) const ENTRIES: &str = "a number of entries";
pub(crate) const REASON: &str = "a word";
const BOOLEAN: &str = "true or false";

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::file_path::tests::any_path;
    use crate::transfer::listing::{Listed, read_listing};
    use crate::transfer::messages::{FileMessage, FileReply};
    use crate::transfer::offer::tests::any_time;

    fn any_algorithm() -> impl Strategy<Value = Option<Algorithm>> {
        prop::option::of(prop::sample::select(vec![
            Algorithm::Blake3,
            Algorithm::Sha256,
            Algorithm::None,
        ]))
    }

    fn not_empty() -> impl Strategy<Value = String> {
        any::<String>().prop_filter("empty", |text| !text.is_empty())
    }

    /// A text, or bytes that are none beside the text nearest to them.
    fn any_name() -> impl Strategy<Value = (String, Option<String>)> {
        let of_raw = |raw: String| {
            let bytes = percent::decode_bytes(&raw).unwrap();
            (String::from_utf8_lossy(&bytes).into_owned(), Some(raw))
        };
        prop_oneof![
            not_empty().prop_map(|name| (name, None)),
            "[a-z]{0,3}%FF(%[89A-F][0-9A-F]){0,3}".prop_map(of_raw),
        ]
    }

    fn any_token() -> impl Strategy<Value = Option<Token>> {
        prop::option::of(not_empty().prop_map(Token::new))
    }

    pub(crate) fn any_get() -> impl Strategy<Value = Get> {
        (any_name(), any::<u64>(), any_algorithm(), any_token()).prop_map(
            |((name, name_raw), offset, digest, token)| Get {
                name,
                name_raw,
                offset,
                digest,
                token,
            },
        )
    }

    pub(crate) fn any_list() -> impl Strategy<Value = List> {
        (prop::option::of(any_name()), any::<bool>(), any::<bool>(), any_token()).prop_map(
            |(path, recursive, left_out, token)| {
                let (path, path_raw) = path.map_or((None, None), |(path, raw)| (Some(path), raw));
                List { path, path_raw, recursive, left_out, token }
            },
        )
    }

    pub(crate) fn any_head() -> impl Strategy<Value = FileHead> {
        (any_path(), any::<u64>(), any::<u64>(), any_time(), 0..=0o7777_u32).prop_map(
            |(name, size, offset, mtime, mode)| FileHead { name, size, offset, mtime, mode },
        )
    }

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        (any_path(), any::<bool>(), any::<u64>(), any_time(), 0..=0o7777_u32).prop_map(
            |(name, file, size, mtime, mode)| Entry {
                name,
                kind: if file { EntryKind::File } else { EntryKind::Directory },
                size: file.then_some(size),
                mtime,
                mode,
            },
        )
    }

    #[test]
    fn messages_are_written_as_documented() {
        let get = Get { name: "a b".to_owned(), offset: 5, ..Get::default() };
        let list = List { recursive: true, ..List::default() };
        for (message, json) in [
            (FileMessage::Get(get), r#"{"get":{"name":"a b","offset":5}}"#),
            (FileMessage::List(list), r#"{"list":{"recursive":true}}"#),
        ] {
            assert_eq!(message.to_json(), json);
            assert_eq!(FileMessage::from_json(json), Ok(message));
        }
        let name = FilePath::parse("d/x").unwrap();
        let head = FileHead {
            name: name.clone(),
            size: 9,
            offset: 5,
            mtime: FileTime::exact(-1, 5),
            mode: 0o644,
        };
        let kind = EntryKind::Directory;
        let entry = Entry { name, kind, size: None, mtime: 3.into(), mode: 0o755 };
        for (reply, json) in [
            (
                FileReply::File(head),
                r#"{"file":{"name":"d/x","size":9,"offset":5,"mtime":-1,"mtime_ns":5,"mode":"644"}}"#,
            ),
            (FileReply::FileEnd(FileEnd { bytes: 9, digest: None }), r#"{"end":{"bytes":9}}"#),
            (
                FileReply::Entries(vec![entry]),
                r#"{"entries":[{"name":"d/x","kind":"directory","mtime":3,"mode":"755"}]}"#,
            ),
            (
                FileReply::ListEnd(ListEnd { entries: 1, ..ListEnd::default() }),
                r#"{"end":{"entries":1}}"#,
            ),
            (
                FileReply::ListEnd(ListEnd { entries: 1, left_out: Some(2), links: Some(0) }),
                r#"{"end":{"entries":1,"left_out":2,"links":0}}"#,
            ),
            (
                FileReply::LeftOut(vec![LeftOut::new(b"d/a\n", LeftOutReason::Name)]),
                r#"{"left_out":[{"name_raw":"d/a%0A","reason":"name"}]}"#,
            ),
        ] {
            assert_eq!(reply.to_json(), json);
            assert_eq!(FileReply::from_json(json), Ok(reply));
        }
    }

    #[test]
    fn a_name_that_is_no_text_has_its_bytes_beside_it() {
        let name = FilePath::exact(b"d/caf\xe9 ").unwrap();
        let kind = EntryKind::File;
        let entry = Entry { name, kind, size: Some(1), mtime: 3.into(), mode: 0o644 };
        let json = r#"{"entries":[{"name":"d/caf\u{fffd}","name_raw":"d/caf%E9%20","kind":"file","size":1,"mtime":3,"mode":"644"}]}"#;
        let json = json.replace("\\u{fffd}", "\u{fffd}");
        let reply = FileReply::Entries(vec![entry.clone()]);
        assert_eq!(reply.to_json(), json);
        assert_eq!(FileReply::from_json(&json), Ok(reply));
        let read = read_listing(json.as_bytes(), &mut |one| one == Listed::Entry(entry.clone()));
        assert_eq!(read, Ok(None));
    }

    #[test]
    fn a_listing_says_what_it_left_out() {
        let mut end = ListEnd::default();
        assert_eq!(end.words(), None);
        for reason in [LeftOutReason::Name, LeftOutReason::Special, LeftOutReason::Link] {
            end.count(reason);
        }
        assert_eq!(end.words().unwrap(), "2 entries left out, 1 symbolic link not followed");
        assert_eq!(LeftOut::new(b"d/a\n\xff", LeftOutReason::Name).shown(), r"d/a\x0a\xff");
        let later = r#"{"left_out":[{"name_raw":"x","reason":"colour"}]}"#;
        let left_out = LeftOut::new(b"x", LeftOutReason::Other);
        assert_eq!(FileReply::from_json(later), Ok(FileReply::LeftOut(vec![left_out])));
    }

    #[test]
    fn a_server_cannot_name_what_is_elsewhere() {
        for name in ["../x", "/etc/passwd", "a/../../b", ".anyport-1.part", "", "a\\u0000b"] {
            let file = format!(
                r#"{{"file":{{"name":"{name}","size":1,"offset":0,"mtime":0,"mode":"644"}}}}"#
            );
            let entry = format!(
                r#"{{"entries":[{{"name":"{name}","kind":"file","size":1,"mtime":0,"mode":"644"}}]}}"#
            );
            let raw = entry.replace("\"name\":", "\"name\":\"x\",\"name_raw\":");
            let raw = raw.replace("\\u0000", "%00");
            for json in [file, entry, raw].into_iter().filter(|json| !json.contains("raw\":\"\"")) {
                let error = FileReply::from_json(&json).unwrap_err().to_string();
                assert!(error.contains("expected a path below the served directory"), "{error}");
            }
        }
    }

    #[test]
    fn a_bad_message_is_told_with_its_key() {
        for (text, message) in [
            (
                r#"{"get":{}}"#,
                r#""name" is missing in "get"; expected a path below the served directory, such as photos/a.jpg"#,
            ),
            (
                r#"{"get":{"name":"a","offset":-1}}"#,
                r#"bad value -1 for "offset" in "get"; expected a number of bytes"#,
            ),
            (
                r#"{"list":{"recursive":1}}"#,
                r#"bad value 1 for "recursive" in "list"; expected true or false"#,
            ),
            (
                r#"{"list":{"token":5}}"#,
                r#"bad value for "token" in "list"; expected a non-empty text"#,
            ),
        ] {
            assert_eq!(FileMessage::from_json(text).unwrap_err().to_string(), message);
        }
        let error = FileReply::from_json(r#"{"entries":{}}"#).unwrap_err().to_string();
        assert_eq!(error, r#""entries" must hold a JSON array"#);
    }

    proptest! {
        #[test]
        fn what_is_asked_survives_being_written_and_read(get in any_get(), list in any_list()) {
            for message in [FileMessage::Get(get), FileMessage::List(list)] {
                prop_assert_eq!(FileMessage::from_json(&message.to_json()), Ok(message));
            }
        }

        #[test]
        fn what_is_answered_survives_being_written_and_read(
            head in any_head(),
            entries in prop::collection::vec(any_entry(), 0..4),
            bytes: u64,
        ) {
            let count =
                FileReply::ListEnd(ListEnd { entries: bytes, left_out: Some(bytes), links: None });
            let end = FileReply::FileEnd(FileEnd { bytes, digest: Some(Digest::blake3([7; 32])) });
            for reply in [FileReply::File(head), FileReply::Entries(entries), end, count] {
                prop_assert_eq!(FileReply::from_json(&reply.to_json()), Ok(reply));
            }
        }
    }
}
