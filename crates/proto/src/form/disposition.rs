//! The file name in `Content-Disposition` (RFC 6266 §4.3, RFC 8187).

use http::header;

use crate::http1::RequestHead;
use crate::transfer::percent;

/// Returns the file name of a request: `filename*` before `filename`. A malformed field is ignored
/// (RFC 6266 §4.1), and then the server chooses a name.
pub(super) fn file_name(head: &RequestHead) -> Option<String> {
    let value = head.fields.get(header::CONTENT_DISPOSITION)?.as_bytes();
    let text = std::str::from_utf8(value).ok()?;
    let (mut plain, mut extended) = (None, None);
    let mut rest = text.split_once(';')?.1;
    while !rest.trim_start().is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = parameter(behind.trim_start())?;
        match name.trim().to_ascii_lowercase().as_str() {
            "filename" => plain = Some(value),
            "filename*" => extended = decoded(&value),
            _ => {}
        }
        let behind = behind.trim_start();
        rest = if behind.is_empty() { "" } else { behind.strip_prefix(';')? };
    }
    extended.or(plain).filter(|name| !name.is_empty())
}

/// Splits a token or a quoted string from the text behind it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, behind) = text.split_at(text.find(';').unwrap_or(text.len()));
        return Some((token.trim_end().to_owned(), behind));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

/// Decodes `UTF-8'LANGUAGE'PERCENT-ENCODED`.
fn decoded(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let is_utf8 = parts.next()?.eq_ignore_ascii_case("utf-8");
    let encoded = parts.nth(1)?;
    percent::decode(encoded).ok().filter(|_| is_utf8)
}
