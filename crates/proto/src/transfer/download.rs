//! Downloads and listings: requests, and the answers to them.
//!
//! ```text
//!   receiver  get photos/a.jpg from byte K                            list photos
//!   server    file: name, size, mtime …   N - K bytes   end: digest   entries …   end: how many
//! ```
//!
//! Names in requests are as they were received; names in answers are [`FilePath`]s, so that no
//! server can lead its client elsewhere. A listing says how many entries it left out, and which
//! ones to a client that asks for that.

use super::codec::kind::{Bytes, Entries, Kind, Mode, Raw, Requested, Scalar, Text, words};
use super::codec::{Filled, Flag, Name, Optional, OrZero, Required, Time, record};
use super::digest::{Algorithm, Digest};
use super::file_name::escaped;
use super::file_path::FilePath;
use super::file_time::FileTime;
use super::offer::Token;
use super::percent;
use super::words::word_enum;

/// The request for a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Get {
    /// The path as it was received, percent escapes decoded.
    pub name: String,
    /// Its bytes, percent-encoded, where `name` is not exactly that.
    pub name_raw: Option<String>,
    /// The first requested byte.
    pub offset: u64,
    /// The algorithm of the digest that the sender computes of the whole file.
    pub digest: Option<Algorithm>,
    /// Admits the receiver.
    pub token: Option<Token>,
}

record!(Get {
    name: Required<Requested>,
    name_raw: Optional<Raw>,
    offset: OrZero<Bytes>,
    digest: Optional<Algorithm>,
    token: Optional<Token>,
});

/// The request for a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// A directory, or one file, as it was received, percent escapes decoded; `None` for the whole
    /// served directory.
    pub path: Option<String>,
    /// Its bytes, percent-encoded, where `path` is not exactly that.
    pub path_raw: Option<String>,
    /// Whether the content of directories is listed too.
    pub recursive: bool,
    /// Whether entries that are left out are named, and not only counted.
    pub left_out: bool,
    /// Admits the client.
    pub token: Option<Token>,
}

record!(List {
    path: Filled<Text>,
    path_raw: Filled<Raw>,
    recursive: Flag,
    left_out: Flag,
    token: Optional<Token>,
});

/// The head of a file that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// Its path in the served directory.
    pub name: FilePath,
    /// Size of the whole file, in bytes.
    pub size: u64,
    /// The first byte that follows; at most `size`.
    pub offset: u64,
    /// When it was last modified.
    pub mtime: FileTime,
    /// Permission bits.
    pub mode: u32,
}

record!(FileHead {
    name: Name,
    size: Required<Bytes>,
    offset: Required<Bytes>,
    mtime: Time,
    mode: Required<Mode>,
});

/// The end of the content of a file that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileEnd {
    /// Size of the whole file, in bytes.
    pub bytes: u64,
    /// Digest of the whole file, whatever the offset.
    pub digest: Option<Digest>,
}

record!(FileEnd { bytes: Required<Bytes>, digest: Optional<Digest> });

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the served directory.
    pub name: FilePath,
    /// Its type.
    pub kind: EntryKind,
    /// Size of a file, in bytes; `None` for a directory.
    pub size: Option<u64>,
    /// When it was last modified.
    pub mtime: FileTime,
    /// Permission bits.
    pub mode: u32,
}

record!(Entry {
    name: Name,
    kind: Required<EntryKind>,
    size: Optional<Bytes>,
    mtime: Time,
    mode: Required<Mode>,
});

/// The kind of an entry in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file, or a link to one that is in the served directory too.
    File,
    /// A directory.
    Directory,
}

word_enum!(EntryKind, "kind": File = "file", Directory = "directory");
words!(EntryKind = "file or directory");

/// An entry that a listing left out, as it cannot be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the served directory, percent-encoded: it may not be a [`FilePath`].
    pub name_raw: String,
    /// Why.
    pub reason: LeftOutReason,
}

record!(LeftOut { name_raw: Required<Raw>, reason: Required<LeftOutReason> });

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

word_enum!(LeftOutReason, "reason": Name = "name", Depth = "depth", Unreadable = "unreadable",
    Special = "special", Link = "link", Other = "other");

impl Kind for LeftOutReason {
    type Value = Self;

    const EXPECTED: &'static str = "a word";

    fn scalar(value: &Self) -> Scalar<'_> {
        Scalar::Text(value.as_str().into())
    }

    /// Reads the reasons of later versions too.
    fn from_word(word: &str) -> Option<Self> {
        Some(word.parse().unwrap_or(Self::Other))
    }
}

impl LeftOutReason {
    /// Returns the reason in words.
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

/// The end of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListEnd {
    /// How many entries it had.
    pub entries: u64,
    /// How many it left out, beside symbolic links; servers of earlier versions do not say so.
    pub left_out: Option<u64>,
    /// How many symbolic links it left out.
    pub links: Option<u64>,
}

record!(ListEnd {
    entries: Required<Entries>,
    left_out: Optional<Entries>,
    links: Optional<Entries>,
});

impl ListEnd {
    /// Counts an entry that is left out.
    pub fn count(&mut self, reason: LeftOutReason) {
        let count =
            if reason == LeftOutReason::Link { &mut self.links } else { &mut self.left_out };
        *count = Some(count.unwrap_or(0) + 1);
    }

    /// Returns the note about omitted entries; `None` if there are none.
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
    fn a_listing_reports_omitted_entries() {
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
    fn a_server_cannot_name_files_outside_of_the_request() {
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
    fn the_error_of_a_message_names_its_key() {
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
        fn requests_survive_being_written_and_read(get in any_get(), list in any_list()) {
            for message in [FileMessage::Get(get), FileMessage::List(list)] {
                prop_assert_eq!(FileMessage::from_json(&message.to_json()), Ok(message));
            }
        }

        #[test]
        fn replies_survive_being_written_and_read(
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
