//! Fields of HTTP, the third form of an offer and of the head of a file.
//!
//! HTTP has its own names: the path is the name, `Content-Length` the size, `Repr-Digest` (RFC
//! 9530) the digest. `X-Anyport-Mtime` and `X-Anyport-Mtime-Ns` carry the exact time.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName};

use crate::http1::field_names::{CONTENT_DIGEST, MTIME, MTIME_NS, REPR_DIGEST, WANT_REPR_DIGEST};
use crate::http1::range::ContentRange;
use crate::http1::{RequestHead, date};
use crate::transfer::digest::{Algorithm, DIGEST_LEN, Digest};
use crate::transfer::file_time::{self, FileTime, GRANULARITY};

/// Fields with their values.
pub type Fields = Vec<(HeaderName, String)>;

/// Why a field of an offer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// The digest is not base64 of 32 bytes between colons.
    #[error("{field}: {key} is not 32 bytes in base64 between colons (RFC 9530 §2)")]
    Malformed {
        /// The field's name.
        field: HeaderName,
        /// The algorithm's key.
        key: &'static str,
    },
    /// Two digests differ.
    #[error("the request has two different {key} digests (RFC 9530 §2)")]
    Contradiction {
        /// The algorithm's key.
        key: &'static str,
    },
    /// The nanoseconds are not those of a second.
    #[error("{MTIME_NS} is not a number from 0 to 999999999")]
    Nanoseconds,
    /// The time is not one.
    #[error("{field} is not a valid modification time")]
    Time {
        /// The field's name.
        field: HeaderName,
    },
}

/// Returns the fields of an offer.
pub fn of_offer(size: Option<u64>, mtime: Option<FileTime>, digest: Option<&Digest>) -> Fields {
    let size = size.map(|size| (header::CONTENT_LENGTH, size.to_string()));
    let seconds = mtime.map(|mtime| (MTIME, mtime.seconds.to_string()));
    let nanoseconds = mtime.and_then(|mtime| mtime.nanoseconds).map(nanoseconds_field);
    let digest = digest.and_then(digest_value).map(|digest| (REPR_DIGEST, digest));
    [size, seconds, nanoseconds, digest].into_iter().flatten().collect()
}

/// Returns the time of an offer: seconds, as `stat -c %Y` prints them, or a `Last-Modified` date.
///
/// # Errors
/// It is not a time.
pub fn offered_time(fields: &HeaderMap) -> Result<Option<FileTime>, FieldError> {
    type Read = fn(&str) -> Option<i64>;
    let nanoseconds = match fields.get(&MTIME_NS) {
        None => None,
        Some(_) => Some(exact_nanoseconds(fields).ok_or(FieldError::Nanoseconds)?),
    };
    let times: [(HeaderName, Read); 2] =
        [(MTIME, |text| text.parse().ok()), (header::LAST_MODIFIED, date::parse)];
    for (field, read) in times {
        let Some(value) = fields.get(&field) else { continue };
        return match value.to_str().ok().and_then(read) {
            Some(seconds) => Ok(Some(FileTime { seconds, nanoseconds })),
            None => Err(FieldError::Time { field }),
        };
    }
    Ok(None)
}

/// Returns the digest of an offer: SHA-256, or BLAKE3 without one. `is_whole`: the content of the
/// message is that of the file.
///
/// Other algorithms are ignored (RFC 9530 §2).
///
/// # Errors
/// It is malformed, or there are two.
pub fn offered_digest(head: &RequestHead, is_whole: bool) -> Result<Option<Digest>, FieldError> {
    let of_file = digest_in(head, REPR_DIGEST, SHA_256)?;
    let of_content = if is_whole { content_digest(head)? } else { None };
    match (of_file, of_content) {
        (Some(one), Some(other)) if one != other => Err(FieldError::Contradiction { key: SHA_256 }),
        (None, None) => digest_in(head, REPR_DIGEST, BLAKE3),
        (one, other) => Ok(one.or(other)),
    }
}

/// Returns the SHA-256 of the content of a message.
///
/// # Errors
/// It is malformed, or there are two.
pub fn content_digest(head: &RequestHead) -> Result<Option<Digest>, FieldError> {
    digest_in(head, CONTENT_DIGEST, SHA_256)
}

fn digest_in(
    head: &RequestHead,
    field: HeaderName,
    key: &'static str,
) -> Result<Option<Digest>, FieldError> {
    let mut found = None;
    for value in head.field_tokens(field.clone()) {
        let Some((name, value)) = value.split_once('=') else { continue };
        if !name.eq_ignore_ascii_case(key) {
            continue;
        }
        let bytes = decode(value);
        let bytes = bytes.ok_or_else(|| FieldError::Malformed { field: field.clone(), key })?;
        if found.replace(bytes).is_some_and(|other| other != bytes) {
            return Err(FieldError::Contradiction { key });
        }
    }
    Ok(found.map(if key == SHA_256 { Digest::sha256 } else { Digest::blake3 }))
}

/// Returns the algorithms that a client accepts in `Repr-Digest`, the preferred one first; `None`
/// if it states none.
///
/// Members that are no weight from 0 to 10 are ignored.
pub fn wanted_digests(head: &RequestHead) -> Option<Vec<Algorithm>> {
    if !head.fields.contains_key(&WANT_REPR_DIGEST) {
        return None;
    }
    let mut wanted: Vec<(u8, Algorithm)> = Vec::new();
    for member in head.field_tokens(WANT_REPR_DIGEST) {
        let Some((key, value)) = member.split_once('=') else { continue };
        let algorithm = match key {
            SHA_256 => Algorithm::Sha256,
            BLAKE3 => Algorithm::Blake3,
            _ => continue,
        };
        let weight = value.split(';').next().unwrap_or_default().trim_end();
        let Some(weight) = weight.parse().ok().filter(|weight| *weight <= 10) else { continue };
        // Of a key that occurs twice the last member counts (RFC 9651 §4.2.2).
        wanted.retain(|(_, other)| *other != algorithm);
        wanted.push((weight, algorithm));
    }
    wanted.retain(|(weight, _)| *weight > 0);
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    Some(wanted.into_iter().map(|(_, algorithm)| algorithm).collect())
}

/// Returns the fields of the time of a stored file, as its owner announces it at `now`.
pub fn of_time(mtime: FileTime, now: SystemTime) -> Fields {
    let elapsed = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // RFC 9110 §8.8.2.1: never in the future.
    let is_past = mtime.seconds <= elapsed.try_into().unwrap_or(i64::MAX);
    let date = date::write(mtime.seconds).filter(|_| is_past);
    let date = date.map(|date| (header::LAST_MODIFIED, date));
    let nanoseconds = mtime.announced(now).nanoseconds.map(nanoseconds_field);
    date.into_iter().chain(nanoseconds).collect()
}

/// Returns the time of a file in a response.
///
/// An anyport server adds nanoseconds; the whole second of another server is exact if it was over
/// at the time of the response (RFC 9110 §8.8.2.2).
pub fn time_of(fields: &HeaderMap) -> Option<FileTime> {
    let seconds = |field| date::parse(fields.get(field)?.to_str().ok()?);
    let (modified, now) = (seconds(header::LAST_MODIFIED)?, seconds(header::DATE));
    let step = GRANULARITY.as_secs().cast_signed();
    let is_over = now.is_some_and(|now| now.saturating_sub(modified) >= step);
    let nanoseconds = exact_nanoseconds(fields).or_else(|| is_over.then_some(0));
    Some(FileTime { seconds: modified, nanoseconds })
}

/// Returns the value of `Content-Range` for the bytes from `first` to `last`, both inclusive (RFC
/// 9110 §14.4).
pub fn content_range(first: u64, last: u64, size: u64) -> String {
    format!("bytes {first}-{last}/{size}")
}

/// Returns the size of a file if `bytes FIRST-LAST/SIZE` is all of it from `offset` on (RFC 9110
/// §14.4).
pub fn size_of_rest(range: &str, offset: u64) -> Option<u64> {
    let range = ContentRange::parse(range)?;
    (range.first == offset && range.is_rest()).then_some(range.size)
}

/// Returns the value of a digest field; `None` for an algorithm that the registry of RFC 9530 does
/// not have.
pub fn digest_value(digest: &Digest) -> Option<String> {
    (digest.algorithm() == Algorithm::Sha256).then(|| anyport_digest_value(digest))
}

/// Returns the value of a digest field for an anyport server, which knows BLAKE3 too.
pub fn anyport_digest_value(digest: &Digest) -> String {
    let key = if digest.algorithm() == Algorithm::Sha256 { SHA_256 } else { BLAKE3 };
    format!("{key}=:{}:", STANDARD.encode(digest.as_bytes()))
}

fn nanoseconds_field(nanoseconds: u32) -> (HeaderName, String) {
    (MTIME_NS, nanoseconds.to_string())
}

fn exact_nanoseconds(fields: &HeaderMap) -> Option<u32> {
    file_time::parse_nanoseconds(fields.get(&MTIME_NS)?.to_str().ok()?)
}

/// A byte sequence (RFC 9651 §3.3.5); parameters behind it mean nothing here.
fn decode(value: &str) -> Option<[u8; DIGEST_LEN]> {
    let (base64, behind) = value.strip_prefix(':')?.split_once(':')?;
    if !behind.is_empty() && !behind.starts_with(';') {
        return None;
    }
    STANDARD.decode(base64).ok()?.try_into().ok()
}

/// The keys of digest fields. BLAKE3's is not registered; other servers ignore it.
const SHA_256: &str = "sha-256";
const BLAKE3: &str = "blake3";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::transfer::offer::tests::any_time;

    fn map(fields: Fields) -> HeaderMap {
        fields.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect()
    }

    proptest! {
        #[test]
        fn fields_of_an_offer_are_read_back(
            size: Option<u64>, mtime in prop::option::of(any_time()), digest: Option<[u8; 32]>,
        ) {
            let digest = digest.map(Digest::sha256);
            let fields = of_offer(size, mtime, digest.as_ref());
            prop_assert_eq!(offered_time(&map(fields.clone())), Ok(mtime));
            let line = |(name, value): &(_, _)| format!("{name}: {value}\r\n");
            let text: String = fields.iter().map(line).collect();
            prop_assert_eq!(of(&text), Ok(digest));
        }

        #[test]
        fn the_time_of_a_file_is_read_back(
            age in 2..1_000_000_u64, nanoseconds in 0..1_000_000_000_u32,
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000);
            let mtime = FileTime::exact(2_000_000 - age.cast_signed(), nanoseconds);
            prop_assume!(!mtime.is_recent(now));
            prop_assert_eq!(time_of(&map(of_time(mtime, now))), Some(mtime));
        }
    }
    use crate::http1::{HeadReader, Pushed};
    use crate::limits::Limits;

    /// Of `{"hello": "world"}` and a line feed (RFC 9530 §2, appendix D).
    const HELLO: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    fn of(fields: &str) -> Result<Option<Digest>, FieldError> {
        let wire = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => offered_digest(&head, true),
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
            assert_eq!(digest_value(&digest).as_deref(), Some(HELLO), "{fields}");
        }
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("Repr-Digest: sha-512=:AAAA:, unixsum=:AA==:\r\n"), Ok(None));
        let blake3 = Digest::blake3([7; 32]);
        assert_eq!(digest_value(&blake3), None);
        let value = anyport_digest_value(&blake3);
        assert_eq!(of(&format!("Repr-Digest: {value}\r\n")), Ok(Some(blake3)));
        // The registered one has precedence.
        let both = of(&format!("Repr-Digest: {value}, {HELLO}\r\n")).unwrap().unwrap();
        assert_eq!(anyport_digest_value(&both), HELLO);
    }

    #[test]
    fn ht_10_a_digest_that_cannot_be_checked_is_refused() {
        for wrong in ["sha-256=:AAAA:", "sha-256=RK/0", "sha-256=:!:", "sha-256=::", "SHA-256=:RK"]
        {
            let error = of(&format!("Repr-Digest: {wrong}\r\n"));
            assert_eq!(
                error,
                Err(FieldError::Malformed { field: REPR_DIGEST, key: SHA_256 }),
                "{wrong}"
            );
        }
        let zeros = digest_value(&Digest::sha256([0; 32])).unwrap();
        let two = format!("Repr-Digest: {HELLO}\r\nContent-Digest: {zeros}\r\n");
        assert_eq!(of(&two), Err(FieldError::Contradiction { key: SHA_256 }));
    }

    #[test]
    fn a_range_is_the_rest_that_was_asked_for_or_nothing() {
        assert_eq!(size_of_rest(&content_range(5, 9, 10), 5), Some(10));
        for wrong in [
            "bytes 4-9/10",
            "bytes 5-8/10",
            "bytes 5-9/*",
            "bytes 5-10/10",
            "bytes 9-5/6",
            "bytes 5-18446744073709551615/0",
            "items 5-9/10",
            "",
        ] {
            assert_eq!(size_of_rest(wrong, 5), None, "{wrong}");
        }
    }
}
