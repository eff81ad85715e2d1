//! Fields of a head (RFC 9110 §5): from the parser's slices to a map, and the rules on content
//! length that requests and responses share (RFC 9112 §6).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::HeadError;
use crate::limits::Limits;

pub(super) fn collect(
    parsed: &[httparse::Header<'_>],
    limits: &Limits,
) -> Result<HeaderMap, HeadError> {
    let mut fields = HeaderMap::new();
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| HeadError::FieldName)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| HeadError::FieldValue)?;
        fields
            .try_append(name, value)
            .map_err(|_| HeadError::TooManyFields { limit: limits.fields })?;
    }
    Ok(fields)
}

/// Refuses a head whose content two readers could frame differently (RFC 9112 §6.1, §6.3).
pub(super) fn check_content(fields: &HeaderMap, version: http::Version) -> Result<(), HeadError> {
    let encoded = fields.contains_key(header::TRANSFER_ENCODING);
    if encoded && version == http::Version::HTTP_10 {
        return Err(HeadError::EncodingInHttp10);
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(HeadError::RepeatedContentLength),
        (Some(_), None) if encoded => Err(HeadError::LengthBesideEncoding),
        (Some(length), None) => match content_length(length) {
            Some(_) => Ok(()),
            None => Err(HeadError::ContentLength),
        },
    }
}

/// Parses digits only: `u64::from_str` would also accept a plus sign.
pub(super) fn content_length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Returns the comma-separated elements of all fields of that name, in order (RFC 9110 §5.6.1).
/// Lazy, so linear.
pub(super) fn tokens(fields: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    fields
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

pub(super) fn has_token(fields: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(fields, name).any(|element| element.eq_ignore_ascii_case(token))
}

/// Returns the parser slots for a head: one for each line, so a generous limit allocates nothing.
pub(super) fn field_slots(raw: &[u8], limits: &Limits) -> usize {
    limits.fields.min(raw.iter().filter(|byte| **byte == b'\n').count())
}

pub(super) fn version(minor: u8) -> http::Version {
    if minor == 0 { http::Version::HTTP_10 } else { http::Version::HTTP_11 }
}

/// Returns the error that the parser reports for a field, `None` if it concerns the start line.
pub(super) fn field_error(error: httparse::Error, limits: &Limits) -> Option<HeadError> {
    match error {
        httparse::Error::HeaderName => Some(HeadError::FieldName),
        httparse::Error::HeaderValue => Some(HeadError::FieldValue),
        httparse::Error::TooManyHeaders => Some(HeadError::TooManyFields { limit: limits.fields }),
        _ => None,
    }
}
