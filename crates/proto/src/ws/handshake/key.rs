//! The key of an opening handshake, and the response to it (RFC 6455 §1.3, §4.2.2).
//!
//! The key shows that the server supports WebSocket and that the response is not from a cache; it
//! is no secret.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

/// A `Sec-WebSocket-Key`: base64 of 16 bytes, kept as sent, because the response depends on that
/// text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Returns the key of a client.
    ///
    /// The bytes must be fresh and unpredictable for each connection (RFC 6455 §4.1).
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// Parses a field value; `None` unless it is base64 of exactly 16 bytes.
    pub fn from_field(value: &[u8]) -> Option<Self> {
        let bytes = FORGIVING.decode(value).ok()?;
        let text = std::str::from_utf8(value).ok()?;
        (bytes.len() == 16).then(|| Self(text.to_owned()))
    }

    /// Returns the field value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the `Sec-WebSocket-Accept` for this key.
    pub fn accept(&self) -> String {
        STANDARD.encode(Sha1::new().chain_update(&self.0).chain_update(GUID).finalize())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some clients generate 22 characters instead of 16 bytes, so the last one has surplus bits. Other
/// servers accept such a key, and it does no harm.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs_4_accept_is_that_of_the_rfc() {
        let key = Key::from_bytes(*b"the sample nonce");
        assert_eq!(key.as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Key::from_field(b"dGhlIHNhbXBsZSBub25jZQ=="), Some(key));
    }

    #[test]
    fn hs_2_key_is_base64_of_exactly_16_bytes() {
        let refused: [&[u8]; 10] = [
            b"",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25j",
            b"dGhlIHNhbXBsZSBub25jZSE=",
            b"dGhlIHNhbXBsZSBub25jZSEh",
            b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            b" dGhlIHNhbXBsZSBub25jZQ==",
            b"dGhlIHNhbXBsZSBub25jZ-_=",
            b"\xff\xfe",
        ];
        for value in refused {
            assert_eq!(Key::from_field(value), None, "{:?}", value.escape_ascii().to_string());
        }
    }

    #[test]
    fn hs_2_key_with_bits_beyond_16_bytes_is_answered_as_sent() {
        let key = Key::from_field(b"dGhlIHNhbXBsZSBub25jZR==").unwrap();
        assert_eq!(key.as_str(), "dGhlIHNhbXBsZSBub25jZR==");
        assert_ne!(key.accept(), Key::from_bytes(*b"the sample nonce").accept());
    }
}
