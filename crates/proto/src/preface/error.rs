//! Why a line is invalid: the word, and what was expected there.

use super::{BLANKS, KNOWN_KEYS, VERSION};
use crate::rooms::NameError;
use crate::transfer::codec::kind::TOKEN;
use crate::transfer::quoted;

/// Why a line is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// The line is not UTF-8.
    #[error("the line is not UTF-8; write other bytes of a name as percent escapes")]
    NotUtf8,
    /// The line does not begin with the preface. It may be content of a sender that counts wrong,
    /// so no word of it is quoted.
    #[error("expected a line that begins with {VERSION}")]
    NotAPreface,
    /// The version is not supported.
    #[error("unsupported version {}; expected {VERSION}", quoted(.found))]
    WrongVersion {
        /// The first word of the line.
        found: String,
    },
    /// The verb is missing or unknown.
    #[error("unknown verb {} in the preface; expected one of {known}", quoted(.verb))]
    UnknownVerb {
        /// The word as received.
        verb: String,
        /// The known verbs.
        known: &'static str,
    },
    /// `PUT` lacks the name of the file.
    #[error("PUT needs a name; expected {VERSION} PUT photo.jpg size=1024")]
    MissingName,
    /// The key is unknown. It might matter to the sender, so it is not ignored.
    #[error("unknown key {} in the preface; expected one of {KNOWN_KEYS}", quoted(.key))]
    UnknownKey {
        /// The key as received.
        key: String,
    },
    /// A word is not a key; most often it is the second half of a name.
    #[error(
        "unexpected word {} in the preface; write a space in a name as %20, or one of \
        the keys {KNOWN_KEYS}",
        quoted(.word)
    )]
    StrayWord {
        /// The word as received.
        word: String,
    },
    /// `GET` lacks the file.
    #[error("GET needs a name; expected {VERSION} GET photos/a.jpg")]
    NoNameToGet,
    /// A word of a `GET` or `LIST` line is unknown.
    #[error("unknown word {} in the {line}; expected one of {known}", quoted(.word))]
    UnknownWord {
        /// The name of the line.
        line: &'static str,
        /// The word as received.
        word: String,
        /// The known words.
        known: &'static str,
    },
    /// `JOIN` lacks the room.
    #[error("JOIN needs a room; expected {VERSION} JOIN lobby as alice")]
    NoRoomToJoin,
    /// `as` at the end of the line lacks the nickname.
    #[error("a nickname is missing after as; expected {VERSION} JOIN lobby as alice")]
    NoNickname,
    /// The name of the room, or the nickname, is invalid.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// `PIPE` or `TAKE` lacks the key.
    #[error(
        "the {line} needs a key; expected {VERSION} {} KEY",
        line.split(' ').next().unwrap_or_default()
    )]
    NoPipe {
        /// The name of the line.
        line: &'static str,
    },
    /// There is a word after `ECHO`.
    #[error("unexpected word {} in the ECHO line; the data to echo \
        starts on the next line", quoted(.word))]
    StrayAfterEcho {
        /// The word as received.
        word: String,
    },
    /// There is a word after the digest.
    #[error("unexpected word {} in the END line; expected END, \
        or END and one digest", quoted(.word))]
    StrayAfterEnd {
        /// The word as received.
        word: String,
    },
    /// A key is repeated.
    #[error("key {key} is given twice in the {line}")]
    DuplicateKey {
        /// The name of the line.
        line: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key lacks its value.
    #[error("key {key} in the {line} needs a value: {key}= and {expected}")]
    MissingValue {
        /// The name of the line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// The values that are valid.
        expected: &'static str,
    },
    /// A required key is missing.
    #[error("key {key} is missing in the {line}; expected {expected}")]
    MissingKey {
        /// The name of the line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// The values that are valid.
        expected: &'static str,
    },
    /// A key has an invalid value.
    #[error("bad value {} for {key} in the {line}; expected {expected}", quoted(.value))]
    BadValue {
        /// The name of the line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// The value as received.
        value: String,
        /// The values that are valid.
        expected: &'static str,
    },
    /// The token cannot be parsed. Whatever is there may be a secret all the same.
    #[error("bad value for token in the preface; expected {TOKEN}")]
    BadToken,
    /// The line after the content is not `END`.
    #[error("expected END after the content, not {}", quoted(.found))]
    NotAnEnd {
        /// The first word of the line.
        found: String,
    },
    /// The reply is unknown.
    #[error("unknown reply {}; expected one of GO, RECEIPT, ERROR, FILE, ENTRY, LEFT-OUT, END, \
        JOINED, PIPED, CONTENT", quoted(.word))]
    UnknownReply {
        /// The word as received.
        word: String,
    },
    /// The refusal has an unknown code.
    #[error("refused with the unknown code {}: {}", quoted(.code), quoted(.message))]
    UnknownRefusal {
        /// The code as received.
        code: String,
        /// The message of the receiver.
        message: String,
    },
}

impl PrefaceError {
    /// Returns the error for a client that has not sent a required token: any word of `line` may be
    /// a misplaced token, so its position is named and not the word.
    pub fn without_words(&self, line: &[u8]) -> String {
        let Some(fault) = self.word() else { return self.to_string() };
        let is_fault = |word: &str| {
            word == fault
                || word.split_once('=').is_some_and(|(key, value)| key == fault || value == fault)
        };
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(BLANKS).filter(|word| !word.is_empty());
        match words.position(is_fault) {
            Some(place) => format!("word {} of the line is invalid", place + 1),
            None => "a word of the line is invalid".to_owned(),
        }
    }

    /// Returns the word at fault, as received or decoded; `None` if the message contains no word of
    /// the line.
    fn word(&self) -> Option<&str> {
        match self {
            Self::NotAPreface => None,
            Self::WrongVersion { found: word }
            | Self::NotAnEnd { found: word }
            | Self::UnknownVerb { verb: word, .. }
            | Self::UnknownKey { key: word }
            | Self::StrayWord { word }
            | Self::UnknownWord { word, .. }
            | Self::StrayAfterEcho { word }
            | Self::StrayAfterEnd { word }
            | Self::BadValue { value: word, .. }
            | Self::UnknownReply { word }
            | Self::UnknownRefusal { message: word, .. } => Some(word),
            Self::BadName(error) => error.name(),
            Self::NotUtf8
            | Self::MissingName
            | Self::NoNameToGet
            | Self::NoRoomToJoin
            | Self::NoNickname
            | Self::NoPipe { .. }
            | Self::DuplicateKey { .. }
            | Self::MissingValue { .. }
            | Self::MissingKey { .. }
            | Self::BadToken => None,
        }
    }
}
