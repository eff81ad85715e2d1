//! Why a line is not understood: which word of it, and what was expected there.

use super::{BLANKS, KNOWN_KEYS, VERSION};
use crate::rooms::NameError;
use crate::transfer::quoted;
use crate::transfer::values;

/// Why a line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// The line is no text.
    #[error("the line is not UTF-8; write other bytes of a name as percent escapes")]
    NotUtf8,
    /// The line begins with something else.
    #[error("expected a line that begins with {VERSION}, not {}", quoted(.found))]
    NotAPreface {
        /// The first word of the line.
        found: String,
    },
    /// The line is of a version that is not spoken here.
    #[error("unsupported version {}; expected {VERSION}", quoted(.found))]
    WrongVersion {
        /// The first word of the line.
        found: String,
    },
    /// The verb is missing or none that is known.
    #[error("unknown verb {} in the preface; expected one of {known}", quoted(.verb))]
    UnknownVerb {
        /// The word as it came.
        verb: String,
        /// The verbs that would have been understood.
        known: &'static str,
    },
    /// `PUT` does not say which name the file shall have.
    #[error("PUT needs a name; expected {VERSION} PUT photo.jpg size=1024")]
    MissingName,
    /// A key that is not known might matter to the sender, so it is not passed over.
    #[error("unknown key {} in the preface; expected one of {KNOWN_KEYS}", quoted(.key))]
    UnknownKey {
        /// The key as it came.
        key: String,
    },
    /// A word that is no key, most often the second half of a name.
    #[error(
        "unexpected word {} in the preface; write a space in a name as %20, or one of \
        the keys {KNOWN_KEYS}",
        quoted(.word)
    )]
    StrayWord {
        /// The word as it came.
        word: String,
    },
    /// `GET` does not say which file.
    #[error("GET needs a name; expected {VERSION} GET photos/a.jpg")]
    NoNameToGet,
    /// A word of a `GET` or `LIST` line that is none of its own.
    #[error("unknown word {} in the {line}; expected one of {known}", quoted(.word))]
    UnknownWord {
        /// Which line.
        line: &'static str,
        /// The word as it came.
        word: String,
        /// The words that would have been understood.
        known: &'static str,
    },
    /// `JOIN` does not say which room.
    #[error("JOIN needs a room; expected {VERSION} JOIN lobby as alice")]
    NoRoomToJoin,
    /// `as` at the end of the line.
    #[error("a nickname is missing after as; expected {VERSION} JOIN lobby as alice")]
    NoNickname,
    /// The room or the nickname has a bad name.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// `PIPE` or `TAKE` does not say which pipe.
    #[error(
        "the {line} needs a key; expected {VERSION} {} KEY",
        line.split(' ').next().unwrap_or_default()
    )]
    NoPipe {
        /// Which line.
        line: &'static str,
    },
    /// Something follows `ECHO`.
    #[error("unexpected word {} in the ECHO line; the data to echo \
        starts on the next line", quoted(.word))]
    StrayAfterEcho {
        /// The word as it came.
        word: String,
    },
    /// Something follows the digest.
    #[error("unexpected word {} in the END line; expected END, \
        or END and one digest", quoted(.word))]
    StrayAfterEnd {
        /// The word as it came.
        word: String,
    },
    /// A key is given twice.
    #[error("key {key} is given twice in the {line}")]
    DuplicateKey {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key that needs a value has none.
    #[error("key {key} in the {line} needs a value: {key}= and {expected}")]
    MissingValue {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// What the value would have to be.
        expected: &'static str,
    },
    /// A key that must be there is not.
    #[error("key {key} is missing in the {line}; expected {expected}")]
    MissingKey {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// What its value would have to be.
        expected: &'static str,
    },
    /// A key has a value that it cannot have.
    #[error("bad value {} for {key} in the {line}; expected {expected}", quoted(.value))]
    BadValue {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// The value as it came.
        value: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// The token cannot be read; what came instead may be a secret all the same.
    #[error("bad value for token in the preface; expected {}", values::TOKEN)]
    BadToken,
    /// Something other than an end follows the content.
    #[error("expected END after the content, not {}", quoted(.found))]
    NotAnEnd {
        /// The first word of the line.
        found: String,
    },
    /// The receiver answers with a word that is not known.
    #[error("unknown reply {}; expected one of GO, RECEIPT, ERROR, FILE, ENTRY, LEFT-OUT, END, \
        JOINED, PIPED, CONTENT", quoted(.word))]
    UnknownReply {
        /// The word as it came.
        word: String,
    },
    /// The receiver refuses for a reason that this version does not know.
    #[error("refused with the unknown code {}: {}", quoted(.code), quoted(.message))]
    UnknownRefusal {
        /// The code as it came.
        code: String,
        /// What the receiver says of it.
        message: String,
    },
}

impl PrefaceError {
    /// What is told of it to whoever has shown no token where one is asked for: any word of `line`
    /// may be one in the wrong place, so its place is named and not the word.
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

    /// The word at fault, as it came or decoded; none where the message has none of the line's.
    fn word(&self) -> Option<&str> {
        match self {
            Self::NotAPreface { found: word }
            | Self::WrongVersion { found: word }
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
