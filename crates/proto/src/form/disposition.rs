//! `Content-Disposition` of messages (RFC 6266 §4.3, RFC 8187) and of the parts of forms (RFC 7578
//! §4.2).

use http::header;

use crate::http1::RequestHead;
use crate::transfer::percent;

/// The parameters of a field that name a file.
#[derive(Debug, Default)]
pub(super) struct Disposition {
    /// Name of the field of a form.
    pub(super) name: Option<Vec<u8>>,
    /// `filename*`, or `filename` without one.
    pub(super) file_name: Option<Vec<u8>>,
}

/// How a quoted string escapes characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// A backslash escapes any character (RFC 9110 §5.6.4).
    Http,
    /// Browsers write `%22` for a quotation mark and leave a backslash as it is; older versions of
    /// curl escape both with a backslash.
    Form,
}

/// Returns the file name of a request: `filename*` before `filename`. A malformed field is ignored
/// (RFC 6266 §4.1), and then the server chooses a name.
pub(crate) fn file_name(head: &RequestHead) -> Option<String> {
    let value = head.fields.get(header::CONTENT_DISPOSITION)?.as_bytes();
    let name = parse(value, Quoting::Http)?.file_name?;
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// Parses the value of a field; returns `None` if it is malformed.
pub(super) fn parse(value: &[u8], quoting: Quoting) -> Option<Disposition> {
    let mut found = Disposition::default();
    let mut extended = None;
    each_parameter(value, quoting, |name, value| match name {
        b"name" => found.name = Some(value),
        b"filename" => found.file_name = Some(value),
        b"filename*" => extended = decoded(&value),
        _ => {}
    })?;
    found.file_name = extended.or(found.file_name);
    Some(found)
}

/// Returns the boundary in the value of `Content-Type`.
pub(super) fn boundary(value: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    each_parameter(value, Quoting::Http, |name, value| {
        if name == b"boundary" {
            found = Some(value);
        }
    })?;
    found
}

/// Calls `each` with the name, in lower case, and the value of each parameter.
fn each_parameter(
    value: &[u8],
    quoting: Quoting,
    mut each: impl FnMut(&[u8], Vec<u8>),
) -> Option<()> {
    let mut rest = match value.iter().position(|byte| *byte == b';') {
        Some(at) => &value[at + 1..],
        None => &[],
    };
    while !rest.trim_ascii().is_empty() {
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (value, behind) = parameter(rest[equals + 1..].trim_ascii_start(), quoting)?;
        each(&rest[..equals].trim_ascii().to_ascii_lowercase(), value);
        let behind = behind.trim_ascii_start();
        rest = if behind.is_empty() { behind } else { behind.strip_prefix(b";")? };
    }
    Some(())
}

/// Splits a token or a quoted string from the text behind it.
fn parameter(text: &[u8], quoting: Quoting) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
        return Some((text[..end].trim_ascii_end().to_vec(), &text[end..]));
    };
    let (mut value, mut rest) = (Vec::new(), quoted);
    loop {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        match (first, quoting) {
            (b'"', _) => return Some((value, rest)),
            (b'\\', Quoting::Http) => {
                let (escaped, behind) = rest.split_first()?;
                value.push(*escaped);
                rest = behind;
            }
            (b'\\', Quoting::Form) if matches!(rest.first(), Some(b'"' | b'\\')) => {
                value.push(rest[0]);
                rest = &rest[1..];
            }
            (b'%', Quoting::Form) if rest.starts_with(b"22") => {
                value.push(b'"');
                rest = &rest[2..];
            }
            (byte, _) => value.push(*byte),
        }
    }
}

/// Decodes `UTF-8'LANGUAGE'PERCENT-ENCODED`.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = std::str::from_utf8(value).ok()?.splitn(3, '\'');
    let is_utf8 = parts.next()?.eq_ignore_ascii_case("utf-8");
    let encoded = parts.nth(1)?;
    percent::decode(encoded).ok().filter(|_| is_utf8).map(String::into_bytes)
}
