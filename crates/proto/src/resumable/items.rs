//! Values of single fields: numbers, and booleans of structured fields (RFC 9651).

use http::header::HeaderName;

use super::ResumableError;
use crate::http1::RequestHead;

/// Parses a number of bytes: digits only, with the parameters of a structured field ignored.
pub(super) fn number(head: &RequestHead, name: HeaderName) -> Result<Option<u64>, ResumableError> {
    let expected = "a number of bytes";
    value(head, name.clone(), expected)?
        .map(|text| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // Offsets of files are signed.
            let number = text.parse().ok().filter(|number| *number <= i64::MAX.cast_unsigned());
            number.filter(|_| is_number).ok_or(ResumableError::Field { field: name, expected })
        })
        .transpose()
}

/// Parses a boolean of a structured field. A value of another kind is refused, although the draft
/// ignores such a field: without it the content would be taken for the whole file.
pub(super) fn boolean(
    head: &RequestHead,
    name: HeaderName,
) -> Result<Option<bool>, ResumableError> {
    let expected = "?0 or ?1";
    match value(head, name.clone(), expected)? {
        None => Ok(None),
        Some("?1") => Ok(Some(true)),
        Some("?0") => Ok(Some(false)),
        Some(_) => Err(ResumableError::Field { field: name, expected }),
    }
}

/// Returns the value of a field that is present at most once, without parameters.
fn value<'a>(
    head: &'a RequestHead,
    name: HeaderName,
    expected: &'static str,
) -> Result<Option<&'a str>, ResumableError> {
    let mut values = head.fields.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => {
            let text = value.to_str().unwrap_or_default();
            Ok(Some(text.split(';').next().unwrap_or_default().trim_matches([' ', '\t'])))
        }
        (Some(_), _) => Err(ResumableError::Field { field: name, expected }),
    }
}
