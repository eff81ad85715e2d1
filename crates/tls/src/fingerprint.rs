//! Certificate fingerprints.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// The SHA-256 fingerprint of a certificate, as in `openssl x509 -fingerprint -sha256`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// Writes `sha256:` and 64 digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        HEXLOWER.encode_write(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a SHA-256 fingerprint; expected 64 hexadecimal digits, with or without colons \
    and sha256: in front"
)]
pub struct FingerprintError(String);

/// Parses the format of [`fmt::Display`], and that of openssl.
impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => text,
        };
        let digits = digits.replace(':', "");
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| FingerprintError(text.to_owned()))
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_parsed_as_printed_here_and_by_openssl() {
        let fingerprint = Fingerprint::of(&CertificateDer::from(vec![1, 2, 3]));
        let printed = fingerprint.to_string();
        assert_eq!(printed.parse(), Ok(fingerprint));
        let digits = &printed[PREFIX.len()..];
        assert_eq!(digits.parse(), Ok(fingerprint));
        let pairs: Vec<_> = (0..64).step_by(2).map(|at| &digits[at..at + 2]).collect();
        let openssl = pairs.join(":").to_ascii_uppercase();
        assert_eq!(openssl.parse(), Ok(fingerprint));
        assert_eq!(format!("SHA256:{openssl}").parse(), Ok(fingerprint));
    }

    #[test]
    fn a_fingerprint_has_64_hexadecimal_digits() {
        let digits = "a".repeat(64);
        let wrong = [
            "".to_owned(),
            digits[1..].to_owned(),
            format!("{digits}a"),
            format!("g{}", &digits[1..]),
        ];
        for text in wrong {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
