//! Percent-encoding, strictly: what does not decode to UTF-8 is refused, never guessed at.

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

/// Why a percent-encoded text could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// A percent sign without two hexadecimal digits behind it; holds the sign and what follows.
    Malformed(String),
    /// The bytes are no UTF-8.
    NotUtf8,
}

pub(crate) fn decode(text: &str) -> Result<String, DecodeError> {
    String::from_utf8(decode_bytes(text)?).map_err(|_| DecodeError::NotUtf8)
}

/// Decodes to bytes, which need not be UTF-8.
pub(crate) fn decode_bytes(text: &str) -> Result<Vec<u8>, DecodeError> {
    // The crate lets a stray percent sign pass as itself; then "100%25" and "100%" would name one
    // file.
    for (at, _) in text.match_indices('%') {
        let escape: String = text[at..].chars().take(3).collect();
        let digits = escape.chars().skip(1);
        if escape.len() != 3 || !digits.into_iter().all(|c| c.is_ascii_hexdigit()) {
            return Err(DecodeError::Malformed(escape));
        }
    }
    Ok(percent_decode_str(text).collect())
}

/// Encodes all but the unreserved characters (RFC 3986 §2.3): fit for a URL and for a preface.
pub(crate) fn encode_name(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// Encodes bytes the same way, so that they decode to what they are.
pub(crate) fn encode_bytes(name: &[u8]) -> String {
    percent_encoding::percent_encode(name, RESERVED).to_string()
}

/// Encodes what would mean something else in the path of a URL that a person types: `%`, `?`, `#`,
/// bytes that are no text, and spaces at both ends. The rest stays readable.
pub(crate) fn encode_typed(name: &[u8]) -> String {
    let begins = name.iter().take_while(|byte| **byte == b' ').count();
    let ends = name.len() - name.iter().rev().take_while(|byte| **byte == b' ').count();
    let mut typed = encode_bytes(&name[..begins]);
    for chunk in name[begins..ends.max(begins)].utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '%' | '?' | '#' | '\\' => typed.push_str(&encode_name(c.encode_utf8(&mut [0; 4]))),
                c => typed.push(c),
            }
        }
        typed.push_str(&encode_bytes(chunk.invalid()));
    }
    typed + &encode_bytes(&name[ends.max(begins)..])
}

/// Encodes what would break a line into words; the rest stays readable.
pub(crate) fn encode_value(value: &str) -> String {
    utf8_percent_encode(value, BREAKING).to_string()
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const BREAKING: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_without_two_digits_is_named() {
        for (text, escape) in
            [("a%zz", "%zz"), ("a%4", "%4"), ("a%", "%"), ("%+1x", "%+1"), ("%é1", "%é1")]
        {
            assert_eq!(decode(text), Err(DecodeError::Malformed(escape.to_owned())), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        assert_eq!(decode("%ff"), Err(DecodeError::NotUtf8));
        assert_eq!(decode("%C3%A4 ä"), Ok("ä ä".to_owned()));
    }

    #[test]
    fn both_encodings_decode_to_the_same_text() {
        let text = "a b%/\\\t\n=ü~\u{202e}";
        assert_eq!(encode_name(text), "a%20b%25%2F%5C%09%0A%3D%C3%BC~%E2%80%AE");
        assert_eq!(encode_value(text), "a%20b%25/\\%09%0A=%C3%BC~%E2%80%AE");
        assert_eq!(decode(&encode_name(text)).unwrap(), text);
        assert_eq!(decode(&encode_value(text)).unwrap(), text);
    }
}
