//! Content codings that a client accepts (RFC 9110 §12.5.3).

use http::header;

use super::head::RequestHead;
use super::preference::weighted;

/// Returns whether `Accept-Encoding` accepts `coding`, by its name or else by `*`.
///
/// Without the field a client accepts every coding, but most that omit it decode none.
pub fn accepts(head: &RequestHead, coding: &str) -> bool {
    let mut any = false;
    for (name, weight) in weighted(head, header::ACCEPT_ENCODING) {
        match name {
            "*" => any = weight > 0,
            name if name.eq_ignore_ascii_case(coding) => return weight > 0,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::super::{HeadReader, Pushed};
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn a_coding_is_accepted_by_name_or_by_a_wildcard() {
        for (fields, expected) in [
            ("", false),
            ("Accept-Encoding: \r\n", false),
            ("Accept-Encoding: gzip, deflate, br\r\n", true),
            ("Accept-Encoding: deflate;q=0.5, GZIP;q=0.1\r\n", true),
            ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true),
            ("Accept-Encoding: gzip;q=0\r\n", false),
            ("Accept-Encoding: *, gzip;q=0\r\n", false),
            ("Accept-Encoding: *;q=0\r\n", false),
            ("Accept-Encoding: *\r\n", true),
            ("Accept-Encoding: identity\r\n", false),
        ] {
            let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let Ok(Pushed::Done { head, .. }) =
                HeadReader::new().push(wire.as_bytes(), &Limits::default())
            else {
                panic!("{fields}")
            };
            assert_eq!(accepts(&head, "gzip"), expected, "{fields}");
        }
    }
}
