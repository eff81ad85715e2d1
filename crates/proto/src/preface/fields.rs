//! The words of a line, read and written: the line codec of the transfer model.

use std::borrow::Cow;
use std::str::FromStr;

use super::error::PrefaceError;
use super::{BLANKS, VERSION};
use crate::transfer::codec::kind::Kind;
use crate::transfer::codec::{Reader, Record, Writer};
use crate::transfer::offer::Token;
use crate::transfer::percent;

/// The keys of a line, in their order; a word without an equals sign has no value.
pub(super) struct Fields<'a> {
    line: &'static str,
    words: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

impl<'a> Fields<'a> {
    /// Splits a reply, whose unknown keys are ignored.
    pub(super) fn of_reply(line: &'static str, text: &'a str) -> Self {
        let mut words: Vec<_> = split(text).collect();
        words.retain(|(_, value)| value.is_some());
        Self { line, words }
    }

    /// Splits a request. Each word must be one of `flags`, or one of `keys` with a value; `unknown`
    /// is the error of any other.
    pub(super) fn of_request(
        line: &'static str,
        text: &'a str,
        (keys, flags): (&[&'static str], &[&'static str]),
        unknown: impl Fn(&str, Option<&str>) -> PrefaceError,
    ) -> Result<Self, PrefaceError> {
        let words: Vec<_> = split(text).collect();
        for (at, (key, value)) in words.iter().enumerate() {
            let flags = flags.iter().filter(|_| value.is_none());
            let Some(key) = keys.iter().chain(flags).find(|known| *known == key) else {
                return Err(unknown(key, value.as_deref()));
            };
            if words[..at].iter().any(|(before, _)| before == key) {
                return Err(PrefaceError::DuplicateKey { line, key });
            }
        }
        Ok(Self { line, words })
    }

    /// Sets a key that the grammar writes without its name.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        self.words.push((key, Some(value.into())));
    }

    pub(super) fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, PrefaceError> {
        let missing = PrefaceError::MissingKey { line: self.line, key, expected };
        self.optional(key, expected, read)?.ok_or(missing)
    }

    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, PrefaceError> {
        let line = self.line;
        let mut values = self.words.iter().filter(|(found, _)| *found == key);
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(PrefaceError::DuplicateKey { line, key });
        }
        let Some(value) = value else {
            return Err(PrefaceError::MissingValue { line, key, expected });
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(bad_value(line, key, value, expected)),
        }
    }
}

impl Reader for Fields<'_> {
    type Error = PrefaceError;

    fn optional_value<K: Kind>(&self, key: &'static str) -> Result<Option<K::Value>, PrefaceError> {
        self.optional(key, K::EXPECTED_IN_LINE, K::from_word).map_err(|error| match error {
            PrefaceError::BadValue { .. } if K::IS_SECRET => PrefaceError::BadToken,
            other => other,
        })
    }

    fn required_value<K: Kind>(&self, key: &'static str) -> Result<K::Value, PrefaceError> {
        let (line, expected) = (self.line, K::EXPECTED_IN_LINE);
        let missing = PrefaceError::MissingKey { line, key, expected };
        self.optional_value::<K>(key)?.ok_or(missing)
    }

    fn flag(&self, key: &'static str) -> Result<bool, PrefaceError> {
        Ok(self.words.iter().any(|(found, _)| *found == key))
    }
}

/// Writes the words of a line.
pub(super) struct LineWriter {
    line: String,
    /// Keys that this line has in another form, or not at all.
    without: &'static [&'static str],
}

impl LineWriter {
    pub(super) fn new(first: &str) -> Self {
        Self { line: format!("{VERSION} {first}"), without: &[] }
    }

    /// Returns the line of `record`, without some of its keys; line feed included.
    pub(super) fn record(
        first: &str,
        record: &impl Record,
        without: &'static [&'static str],
    ) -> String {
        let mut line = Self { without, ..Self::new(first) };
        record.write(&mut line);
        line.finish()
    }

    pub(super) fn word(&mut self, word: &str) {
        self.line.push(' ');
        self.line.push_str(word);
    }

    pub(super) fn key(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.raw(key, &percent::encode_value(&value.to_string()));
        }
    }

    /// Appends what is percent-encoded already.
    fn raw(&mut self, key: &str, encoded: &str) {
        for text in [" ", key, "=", encoded] {
            self.line.push_str(text);
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.line.push('\n');
        self.line
    }
}

impl Writer for LineWriter {
    fn value<K: Kind>(&mut self, key: &'static str, value: &K::Value) {
        if !self.without.contains(&key) {
            self.raw(key, &K::scalar(value).word());
        }
    }

    fn flag(&mut self, key: &'static str) {
        self.word(key);
    }

    fn null(&mut self, _: &'static str) {}

    fn group<R: Record>(&mut self, _: &'static str, record: &R) {
        record.write(self);
    }
}

/// Splits a line into words, and each word at its equals sign.
fn split(text: &str) -> impl Iterator<Item = (&str, Option<Cow<'_, str>>)> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((key, value)) => (key, Some(value.into())),
        None => (word, None),
    })
}

pub(super) fn after_version(line: &[u8]) -> Result<&str, PrefaceError> {
    let (first, rest) = split_word(as_text(line)?);
    if first == VERSION {
        Ok(rest)
    } else if first.starts_with("ANYPORT/") {
        Err(PrefaceError::WrongVersion { found: first.to_owned() })
    } else {
        Err(PrefaceError::NotAPreface)
    }
}

pub(super) fn as_text(line: &[u8]) -> Result<&str, PrefaceError> {
    std::str::from_utf8(line).map_err(|_| PrefaceError::NotUtf8)
}

/// Returns the first word, and the text after the blank that follows; empty at the end of the line.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(BLANKS);
    text.split_once(BLANKS).unwrap_or((text, ""))
}

/// Returns the words of a line without `token=…`, and the token.
pub(super) fn take_token(arguments: &str) -> Result<(String, Option<Token>), PrefaceError> {
    let (mut words, mut token) = (Vec::new(), None);
    for word in arguments.split(BLANKS) {
        let Some(value) = word.strip_prefix("token=") else {
            words.push(word);
            continue;
        };
        if token.is_some() {
            return Err(PrefaceError::DuplicateKey { line: "preface", key: "token" });
        }
        token = Some(Token::from_word(value).ok_or(PrefaceError::BadToken)?);
    }
    Ok((words.join(" "), token))
}

/// Returns a request line with a token at its end, line feed included.
pub fn with_token(mut line: String, token: Option<&Token>) -> String {
    if let Some(token) = token {
        line.truncate(line.trim_end_matches('\n').len());
        for text in [" token=", &percent::encode_value(token.expose()), "\n"] {
            line.push_str(text);
        }
    }
    line
}

/// Returns a message on one line without control characters, because a client prints it.
pub(super) fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

pub(super) fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

pub(super) fn bad_value(
    line: &'static str,
    key: &'static str,
    value: &str,
    expected: &'static str,
) -> PrefaceError {
    PrefaceError::BadValue { line, key, value: value.to_owned(), expected }
}
