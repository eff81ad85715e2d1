//! Digests of content: which algorithm, and the result in words. [`super::hasher`] makes them.
//!
//! A digest is written `blake3:<64 hexadecimal digits>`, so that it says by itself how to check it.
//! BLAKE3 is the default because it is the one that keeps up with loopback; SHA-256 is what other
//! people's tools print; `none` is for measuring a transport alone.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::UnknownWord;
use super::words::{quoted, word_enum};

/// The digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// BLAKE3 with 32 bytes of output.
    #[default]
    Blake3,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// Not hashed at all; the receipt then holds no digest.
    None,
}

word_enum!(Algorithm, "digest algorithm": Blake3 = "blake3", Sha256 = "sha256", None = "none");

/// The hash of a whole content, together with the algorithm it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    // Set by the constructors only, and so never `Algorithm::None`.
    algorithm: Algorithm,
    bytes: [u8; DIGEST_LEN],
}

impl Digest {
    /// Returns a digest made with BLAKE3.
    pub fn blake3(bytes: [u8; DIGEST_LEN]) -> Self {
        Self { algorithm: Algorithm::Blake3, bytes }
    }

    /// Returns a digest made with SHA-256.
    pub fn sha256(bytes: [u8; DIGEST_LEN]) -> Self {
        Self { algorithm: Algorithm::Sha256, bytes }
    }

    /// Returns its algorithm; never [`Algorithm::None`].
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the algorithm and the first eight hexadecimal digits, for people: `blake3:083ce702`.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(self.algorithm.as_str().len() + 1 + SHORT_DIGITS);
        text
    }

    /// Returns the hash itself.
    pub fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.bytes
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm)?;
        // `{:02x}` for each byte takes longer than hashing a small file.
        HEXLOWER.encode_write(&self.bytes, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads hexadecimal digits of either case: people paste what other tools print.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some((word, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm { text: text.to_owned() });
        };
        let algorithm = word.parse()?;
        if algorithm == Algorithm::None {
            return Err(DigestError::None);
        }
        let bytes = decode_hex(hex).ok_or_else(|| DigestError::BadHex { hex: hex.to_owned() })?;
        Ok(Self { algorithm, bytes })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Enough to tell the files of one person apart at a glance.
const SHORT_DIGITS: usize = 8;

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no colon that would end the algorithm.
    #[error("digest {} does not name its algorithm; expected blake3:… or sha256:…", quoted(.text))]
    NoAlgorithm {
        /// The text as it came.
        text: String,
    },
    /// The algorithm is none that is known.
    #[error(transparent)]
    UnknownAlgorithm(#[from] UnknownWord),
    /// The algorithm `none` makes no digest.
    #[error("the algorithm none makes no digest; expected blake3:… or sha256:…")]
    None,
    /// What follows the colon is not the hash of 32 bytes.
    #[error("{} in the digest is not 64 hexadecimal digits", quoted(.hex))]
    BadHex {
        /// What follows the colon.
        hex: String,
    },
}

/// Decodes hexadecimal digits of either case.
pub(super) fn decode_hex<T: for<'a> TryFrom<&'a [u8]>>(hex: &str) -> Option<T> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.as_slice().try_into().ok()
}

/// Both algorithms give 256 bits.
pub(crate) const DIGEST_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::hasher::Hasher;

    // The reference vectors of the empty input: BLAKE3's test_vectors.json, and NIST's for SHA-256.
    const BLAKE3_OF_NOTHING: &str =
        "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    const SHA256_OF_NOTHING: &str =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const SHA256_OF_ABC: &str =
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn digest_of(algorithm: Algorithm, content: &[u8]) -> Option<Digest> {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    #[test]
    fn known_contents_have_their_published_digests() {
        let digest = |algorithm, content| digest_of(algorithm, content).unwrap().to_string();
        assert_eq!(digest(Algorithm::Blake3, b""), BLAKE3_OF_NOTHING);
        assert_eq!(digest(Algorithm::Sha256, b""), SHA256_OF_NOTHING);
        assert_eq!(digest(Algorithm::Sha256, b"abc"), SHA256_OF_ABC);
        assert_eq!(digest_of(Algorithm::None, b"abc"), None);
    }

    #[test]
    fn blake3_is_the_default_algorithm() {
        assert_eq!(Algorithm::default(), Algorithm::Blake3);
    }

    #[test]
    fn an_unknown_algorithm_is_an_error_with_the_three_choices() {
        let message = "unknown digest algorithm \"md5\"; expected one of blake3, sha256, none";
        assert_eq!("md5".parse::<Algorithm>().unwrap_err().to_string(), message);
        let error = serde_json::from_str::<Algorithm>("\"md5\"").unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    }

    #[test]
    fn an_algorithm_is_the_same_word_everywhere() {
        for (algorithm, word) in [
            (Algorithm::Blake3, "blake3"),
            (Algorithm::Sha256, "sha256"),
            (Algorithm::None, "none"),
        ] {
            assert_eq!(algorithm.to_string(), word);
            assert_eq!(word.parse(), Ok(algorithm));
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("\"{word}\""));
            assert_eq!(
                serde_json::from_str::<Algorithm>(&format!("\"{word}\"")).unwrap(),
                algorithm
            );
        }
    }

    #[test]
    fn an_invalid_digest_is_refused_with_the_reason() {
        for (text, message) in [
            ("abc", r#"digest "abc" does not name its algorithm; expected blake3:… or sha256:…"#),
            ("md5:00", r#"unknown digest algorithm "md5"; expected one of blake3, sha256, none"#),
            ("none:00", "the algorithm none makes no digest; expected blake3:… or sha256:…"),
            ("blake3:0g", r#""0g" in the digest is not 64 hexadecimal digits"#),
            ("sha256:", r#""" in the digest is not 64 hexadecimal digits"#),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), message);
        }
        let short = BLAKE3_OF_NOTHING.strip_suffix('2').unwrap();
        assert!(matches!(short.parse::<Digest>(), Err(DigestError::BadHex { .. })));
        assert!(matches!(
            format!("{BLAKE3_OF_NOTHING}0").parse::<Digest>(),
            Err(DigestError::BadHex { .. })
        ));
    }

    #[test]
    fn digits_of_either_case_are_read_and_lower_case_is_written() {
        let (algorithm, hex) = BLAKE3_OF_NOTHING.split_once(':').unwrap();
        let digest: Digest = format!("{algorithm}:{}", hex.to_uppercase()).parse().unwrap();
        assert_eq!(digest.to_string(), BLAKE3_OF_NOTHING);
    }

    proptest! {
        #[test]
        fn a_digest_survives_being_written_and_read(bytes: [u8; 32], sha: bool) {
            let digest = if sha { Digest::sha256(bytes) } else { Digest::blake3(bytes) };
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(&json, &format!("\"{digest}\""));
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }

        #[test]
        fn no_text_panics_the_parser(text in ".*") {
            let _ = text.parse::<Digest>();
        }
    }
}
