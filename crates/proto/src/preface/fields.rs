//! The words of a line: parser and writer.

use std::str::FromStr;

use super::error::PrefaceError;
use super::{BLANKS, VERSION};
use crate::transfer::file_path::FilePath;
use crate::transfer::file_time::{self, FileTime};
use crate::transfer::offer::Token;
use crate::transfer::percent;
use crate::transfer::values;

/// The keys of a reply. Unused ones are ignored.
pub(super) struct Fields<'a> {
    line: &'static str,
    /// Keys and values, in their order.
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: &'static str, text: &'a str) -> Self {
        let pairs = text.split(BLANKS).filter_map(|word| word.split_once('=')).collect();
        Self { line, pairs }
    }

    pub(super) fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, PrefaceError> {
        self.optional(key, expected, read)?.ok_or(PrefaceError::MissingKey {
            line: self.line,
            key,
            expected,
        })
    }

    /// Returns `mtime` with `mtime_ns`, if present.
    pub(super) fn mtime(&self) -> Result<FileTime, PrefaceError> {
        let seconds = self.required("mtime", values::MTIME, parse_signed)?;
        let parse = file_time::parse_nanoseconds;
        let nanoseconds = self.optional("mtime_ns", values::MTIME_NS, parse)?;
        Ok(FileTime { seconds, nanoseconds })
    }

    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, PrefaceError> {
        let pairs = self.pairs.iter().filter(|(found, _)| *found == key);
        let mut values = pairs.map(|(_, value)| *value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(PrefaceError::DuplicateKey { line: self.line, key });
        }
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(bad_value(self.line, key, value, expected)),
        }
    }
}

/// Writes the words of a line.
pub(super) struct LineWriter(String);

impl LineWriter {
    pub(super) fn new(first: &str) -> Self {
        Self(format!("{VERSION} {first}"))
    }

    pub(super) fn word(&mut self, word: &str) {
        self.0.push(' ');
        self.0.push_str(word);
    }

    pub(super) fn key(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let value = value.to_string();
            for text in [" ", key, "=", &percent::encode_value(&value)] {
                self.0.push_str(text);
            }
        }
    }

    /// Appends `mtime` and, if it is exact, `mtime_ns`.
    pub(super) fn mtime(&mut self, mtime: Option<FileTime>) {
        self.key("mtime", mtime.map(|mtime| mtime.seconds));
        self.key("mtime_ns", mtime.and_then(|mtime| mtime.nanoseconds));
    }

    /// Appends a percent-encoded value.
    pub(super) fn raw(&mut self, key: &str, encoded: &str) {
        self.word(&format!("{key}={encoded}"));
    }

    /// Appends the text of a path and, if that does not represent it exactly, its bytes.
    pub(super) fn path(&mut self, key: &str, raw_key: &str, path: &FilePath) {
        self.key(key, Some(path.text()));
        if let Some(raw) = path.raw() {
            self.raw(raw_key, &raw);
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

pub(super) fn after_version(line: &[u8]) -> Result<&str, PrefaceError> {
    let (first, rest) = split_word(as_text(line)?);
    if first == VERSION {
        Ok(rest)
    } else if first.starts_with("ANYPORT/") {
        Err(PrefaceError::WrongVersion { found: first.to_owned() })
    } else {
        Err(PrefaceError::NotAPreface { found: first.to_owned() })
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
        token = Some(parse_token(value).ok_or(PrefaceError::BadToken)?);
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

/// Parses digits only; `u64::from_str` would also accept a plus sign.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns percent-encoded bytes as received.
pub(super) fn parse_raw(text: &str) -> Option<String> {
    percent::decode_bytes(text).is_ok().then(|| text.to_owned())
}

pub(super) fn parse_signed(text: &str) -> Option<i64> {
    (!text.starts_with('+')).then(|| text.parse().ok())?
}

pub(super) fn parse_seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && seconds.is_sign_positive())
}

pub(super) fn parse_token(text: &str) -> Option<Token> {
    percent::decode(text).ok().filter(|token| !token.is_empty()).map(Token::new)
}

pub(super) fn bad_value(
    line: &'static str,
    key: &'static str,
    value: &str,
    expected: &'static str,
) -> PrefaceError {
    PrefaceError::BadValue { line, key, value: value.to_owned(), expected }
}
