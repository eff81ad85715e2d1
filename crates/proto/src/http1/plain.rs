//! Short responses of plain text.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

/// Returns a complete HTTP/1.1 response of plain text, after which the connection closes.
///
/// `with_body` is false in the response to HEAD: it has the length, but no text. Omits a pair of
/// `extra` that is not one field on the wire, so that an echoed line end cannot split the response.
pub fn plain_response(
    status: StatusCode,
    extra: &[(&str, &str)],
    body: &str,
    with_body: bool,
) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in extra {
        if is_field(name, value) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str(&format!(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: \
        {}\r\nConnection: close\r\n\r\n",
        body.len(),
    ));
    if with_body {
        text.push_str(body);
    }
    text.into_bytes()
}

/// Returns whether name and value make exactly one field on the wire.
pub(crate) fn is_field(name: &str, value: &str) -> bool {
    name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadError, Pushed, ResponseHead, ResponseHeadReader};
    use crate::limits::Limits;

    fn read(wire: &[u8]) -> Result<Pushed<ResponseHead>, HeadError> {
        ResponseHeadReader::new().push(wire, &Limits::default())
    }

    #[test]
    fn plain_response_is_complete_and_closes() {
        let wire = plain_response(StatusCode::NOT_FOUND, &[("X-Extra", "1")], "no ü\n", true);
        let expected = "HTTP/1.1 404 Not Found\r\nX-Extra: 1\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Length: 6\r\nConnection: close\r\n\r\n\
            no ü\n";
        assert_eq!(String::from_utf8(wire).unwrap(), expected);
    }

    #[test]
    fn plain_response_to_head_has_the_length_and_no_body() {
        let wire = plain_response(StatusCode::OK, &[], "body", false);
        let Pushed::Done { head, used } = read(&wire).unwrap() else { panic!("no head") };
        assert_eq!((head.content_length(), used), (Some(4), wire.len()));
    }

    #[test]
    fn plain_response_cannot_be_split_by_a_field() {
        let extra = [("A", "1\r\nSet-Cookie: x"), ("B\r\n", "2"), ("C", "3")];
        let wire = plain_response(StatusCode::OK, &extra, "", true);
        let Pushed::Done { head, .. } = read(&wire).unwrap() else { panic!("no head") };
        assert!(head.fields.contains_key("c"));
        assert_eq!(head.fields.len(), 4);
    }
}
