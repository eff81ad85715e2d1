//! Digests in fields (RFC 9530): `Repr-Digest: sha-256=:…:`, and `Content-Digest`, which says the
//! same of content that is neither encoded nor a part.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::digest::{Algorithm, Digest};
use crate::http1::RequestHead;
use crate::http1::field_names::{CONTENT_DIGEST, REPR_DIGEST};

/// Why a digest in a field cannot be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestFieldError {
    /// Not base64 of 32 bytes between colons.
    #[error("{field}: sha-256 is not 32 bytes in base64 between colons (RFC 9530 §2)")]
    Malformed {
        /// The field's name.
        field: &'static str,
    },
    /// Two that differ.
    #[error("the request has two different sha-256 digests (RFC 9530 §2)")]
    Contradiction,
}

/// The SHA-256 that a request says its content has. Other algorithms are passed over (RFC 9530 §2).
///
/// # Errors
/// It is malformed, or there are two.
pub fn sha256_of(head: &RequestHead) -> Result<Option<Digest>, DigestFieldError> {
    let mut found = None;
    for (field, name) in [("repr-digest", REPR_DIGEST), ("content-digest", CONTENT_DIGEST)] {
        for value in head.field_tokens(name) {
            let Some((name, value)) = value.split_once('=') else { continue };
            if !name.eq_ignore_ascii_case("sha-256") {
                continue;
            }
            let digest = decode(value).ok_or(DigestFieldError::Malformed { field })?;
            if found.replace(digest).is_some_and(|other| other != digest) {
                return Err(DigestFieldError::Contradiction);
            }
        }
    }
    Ok(found)
}

/// The value of such a field; none for an algorithm that the registry of RFC 9530 does not have.
pub fn value(digest: &Digest) -> Option<String> {
    (digest.algorithm() == Algorithm::Sha256)
        .then(|| format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes())))
}

/// A byte sequence (RFC 9651 §3.3.5); parameters behind it mean nothing here.
fn decode(value: &str) -> Option<Digest> {
    let (base64, behind) = value.strip_prefix(':')?.split_once(':')?;
    if !behind.is_empty() && !behind.starts_with(';') {
        return None;
    }
    Some(Digest::sha256(STANDARD.decode(base64).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadReader, Pushed};
    use crate::limits::Limits;

    /// Of `{"hello": "world"}` and a line feed (RFC 9530 §2, appendix D).
    const HELLO: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    fn of(fields: &str) -> Result<Option<Digest>, DigestFieldError> {
        let wire = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => sha256_of(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ht_10_a_digest_is_read_as_it_is_written() {
        for fields in [
            format!("Repr-Digest: {HELLO}\r\n"),
            format!("Content-Digest: {HELLO}\r\n"),
            format!("Repr-Digest: sha-512=:AAAA:, {HELLO};a=b\r\nContent-Digest: {HELLO}\r\n"),
        ] {
            let digest = of(&fields).unwrap().unwrap();
            assert_eq!(value(&digest).as_deref(), Some(HELLO), "{fields}");
        }
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("Repr-Digest: sha-512=:AAAA:, unixsum=:AA==:\r\n"), Ok(None));
        assert_eq!(value(&Digest::blake3([0; 32])), None);
    }

    #[test]
    fn ht_10_a_digest_that_cannot_be_checked_is_refused() {
        for wrong in ["sha-256=:AAAA:", "sha-256=RK/0", "sha-256=:!:", "sha-256=::", "SHA-256=:RK"]
        {
            let error = of(&format!("Repr-Digest: {wrong}\r\n"));
            assert_eq!(error, Err(DigestFieldError::Malformed { field: "repr-digest" }), "{wrong}");
        }
        let zeros = value(&Digest::sha256([0; 32])).unwrap();
        let two = format!("Repr-Digest: {HELLO}\r\nContent-Digest: {zeros}\r\n");
        assert_eq!(of(&two), Err(DigestFieldError::Contradiction));
    }
}
