//! What a receiver asks for, and what it is answered: files and listings that leave the served directory.
//!
//! ```text
//!   receiver  get photos/a.jpg from byte K                            list photos
//!   server    file: name, size, mtime …   N - K bytes   end: digest   entries …   end: how many
//! ```
//!
//! The words are the same on every protocol: [`super::preface`] has the lines, [`super::offer`] the JSON messages. Names
//! in requests are as they came; names in answers are [`FilePath`]s, so that no server can lead its client elsewhere.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::digest::{Algorithm, Digest};
use super::file_path::FilePath;
use super::file_time::FileTime;
use super::offer::{
    ALGORITHM, BYTES, DIGEST, MODE, MTIME, Object, OfferError, TEXT, Token, as_parsed, as_text,
    parse_mode, read_mtime, serialize_token,
};
use super::words::spelled;

/// Asks for a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Get {
    /// The path as it came, percent escapes decoded.
    pub name: String,
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
    /// A directory, or one file; as it came, percent escapes decoded. None is the whole served directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether what is in directories is listed too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recursive: bool,
    /// What allows the receiver to look.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_token")]
    pub token: Option<Token>,
}

/// What is said of a file before its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileHead {
    /// Where it is stored.
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

pub(super) fn read_get(object: &Object) -> Result<Get, OfferError> {
    Ok(Get {
        name: object.required("name", PATH, as_text)?,
        offset: object.optional("offset", BYTES, Value::as_u64)?.unwrap_or(0),
        digest: object.optional("digest", ALGORITHM, as_parsed)?,
        token: object.token()?,
    })
}

pub(super) fn read_list(object: &Object) -> Result<List, OfferError> {
    Ok(List {
        path: object.optional("path", TEXT, as_text)?.filter(|path| !path.is_empty()),
        recursive: object.optional("recursive", "true or false", Value::as_bool)?.unwrap_or(false),
        token: object.token()?,
    })
}

pub(super) fn read_file(object: &Object) -> Result<FileHead, OfferError> {
    Ok(FileHead {
        name: object.required("name", PATH, as_path)?,
        size: object.required("size", BYTES, Value::as_u64)?,
        offset: object.required("offset", BYTES, Value::as_u64)?,
        mtime: required_mtime(object)?,
        mode: object.required("mode", MODE, as_mode)?,
    })
}

pub(super) fn read_file_end(object: &Object) -> Result<FileEnd, OfferError> {
    Ok(FileEnd {
        bytes: object.required("bytes", BYTES, Value::as_u64)?,
        digest: object.optional("digest", DIGEST, as_parsed)?,
    })
}

pub(super) fn read_entries(value: Value) -> Result<Vec<Entry>, OfferError> {
    let Value::Array(entries) = value else { return Err(OfferError::NotAList) };
    entries.into_iter().map(|entry| read_entry(&Object::new("entries", entry)?)).collect()
}

fn read_entry(object: &Object) -> Result<Entry, OfferError> {
    Ok(Entry {
        name: object.required("name", PATH, as_path)?,
        kind: object.required("kind", KIND, as_parsed)?,
        size: object.optional("size", BYTES, Value::as_u64)?,
        mtime: required_mtime(object)?,
        mode: object.required("mode", MODE, as_mode)?,
    })
}

fn required_mtime(object: &Object) -> Result<FileTime, OfferError> {
    let seconds = object.required("mtime", MTIME, Value::as_i64)?;
    Ok(read_mtime(object)?.unwrap_or_else(|| FileTime::seconds(seconds)))
}

fn as_path(value: &Value) -> Option<FilePath> {
    FilePath::parse(value.as_str()?).ok()
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
pub(super) const PATH: &str = "a path below the served directory, such as photos/a.jpg";
pub(super) const KIND: &str = "file or directory";

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::file_path::tests::any_path;
    use crate::transfer::offer::tests::any_time;
    use crate::transfer::offer::{FileMessage, FileReply};

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

    fn any_token() -> impl Strategy<Value = Option<Token>> {
        prop::option::of(not_empty().prop_map(Token::new))
    }

    pub(in crate::transfer) fn any_get() -> impl Strategy<Value = Get> {
        (not_empty(), any::<u64>(), any_algorithm(), any_token())
            .prop_map(|(name, offset, digest, token)| Get { name, offset, digest, token })
    }

    pub(in crate::transfer) fn any_list() -> impl Strategy<Value = List> {
        (prop::option::of(not_empty()), any::<bool>(), any_token())
            .prop_map(|(path, recursive, token)| List { path, recursive, token })
    }

    pub(in crate::transfer) fn any_head() -> impl Strategy<Value = FileHead> {
        (any_path(), any::<u64>(), any::<u64>(), any_time(), 0..=0o7777_u32).prop_map(
            |(name, size, offset, mtime, mode)| FileHead { name, size, offset, mtime, mode },
        )
    }

    pub(in crate::transfer) fn any_entry() -> impl Strategy<Value = Entry> {
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
            (FileReply::ListEnd { entries: 1 }, r#"{"end":{"entries":1}}"#),
        ] {
            assert_eq!(reply.to_json(), json);
            assert_eq!(FileReply::from_json(json), Ok(reply));
        }
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
            for json in [file, entry] {
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
                r#"bad value for "token" in "list"; expected a text that is not empty"#,
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
            let count = FileReply::ListEnd { entries: bytes };
            let end = FileReply::FileEnd(FileEnd { bytes, digest: Some(Digest::blake3([7; 32])) });
            for reply in [FileReply::File(head), FileReply::Entries(entries), end, count] {
                prop_assert_eq!(FileReply::from_json(&reply.to_json()), Ok(reply));
            }
        }
    }
}
