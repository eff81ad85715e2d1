//! tus 1.0, with the extensions creation, creation-with-upload, creation-defer-length, expiration,
//! termination and checksum.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{self, HeaderName};
use sha1::Digest as _;

use super::items;
use super::{Append, Creation, ResumableError, UPLOAD_LENGTH, UPLOAD_OFFSET, check_media};
use crate::http1::{Framing, RequestHead};

/// The field that names the version of a request or response.
pub const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");

/// The only version.
pub const VERSION: &str = "1.0.0";

/// The field of the supported versions.
pub const VERSIONS: HeaderName = HeaderName::from_static("tus-version");

/// The supported extensions.
pub const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum";

/// The supported checksum algorithms.
pub const ALGORITHMS: &str = "sha1,sha256";

/// The time at which an upload may be removed.
pub const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// The size of the file follows later.
pub const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");

/// Status of content that differs from its checksum.
pub const CHECKSUM_MISMATCH: u16 = 460;

/// The media type of content.
pub const CONTENT: &str = "application/offset+octet-stream";

/// The name and other properties of the file.
pub const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Maximum number of pairs in `Upload-Metadata`.
///
/// Clients send about five; the head bounds their size.
pub const MAX_METADATA: usize = 64;

/// Returns the fields of an answer to OPTIONS.
pub fn announced(max_size: u64) -> Vec<(HeaderName, String)> {
    let field = HeaderName::from_static;
    let mut fields = vec![
        (RESUMABLE, VERSION.to_owned()),
        (VERSIONS, VERSION.to_owned()),
        (field("tus-extension"), EXTENSIONS.to_owned()),
        (field("tus-checksum-algorithm"), ALGORITHMS.to_owned()),
    ];
    if max_size < u64::MAX {
        fields.push((field("tus-max-size"), max_size.to_string()));
    }
    fields
}

/// Checks the version, if the request names one.
pub(super) fn check_version(head: &RequestHead) -> Result<(), ResumableError> {
    let mut versions = head.fields.get_all(RESUMABLE).iter();
    match versions.find(|version| version.as_bytes() != VERSION.as_bytes()) {
        Some(version) => {
            let version = String::from_utf8_lossy(version.as_bytes()).into_owned();
            Err(ResumableError::TusVersion(version))
        }
        None => Ok(()),
    }
}

/// Returns the method that a POST stands for, where a client cannot send it.
pub(super) fn overridden(head: &RequestHead) -> Result<Option<Method>, ResumableError> {
    let Some(method) = head.fields.get(OVERRIDE).filter(|_| head.method == Method::POST) else {
        return Ok(None);
    };
    let expected = "PATCH, HEAD or DELETE";
    let known = [Method::PATCH, Method::HEAD, Method::DELETE];
    let method = known.into_iter().find(|known| method.as_bytes() == known.as_str().as_bytes());
    method.map(Some).ok_or(ResumableError::Field { field: OVERRIDE, expected })
}

pub(super) fn creation(head: &RequestHead, framing: Framing) -> Result<Creation, ResumableError> {
    check_version(head)?;
    if !framing.is_empty() {
        check_media(head, CONTENT)?;
    }
    if head.fields.contains_key(CONCAT) {
        let (field, extension) = ("Upload-Concat", "concatenation");
        return Err(ResumableError::Extension { field, extension });
    }
    let length = items::number(head, UPLOAD_LENGTH)?;
    let is_deferred = match head.fields.get(DEFER_LENGTH) {
        None => false,
        Some(value) if value == "1" => true,
        Some(_) => return Err(ResumableError::Field { field: DEFER_LENGTH, expected: "1" }),
    };
    match (length, is_deferred) {
        (Some(_), true) => return Err(ResumableError::TwoLengths),
        (None, false) => {
            return Err(ResumableError::Missing("Upload-Length or Upload-Defer-Length: 1"));
        }
        _ => {}
    }
    let checksum = checksum(head)?;
    let (name, metadata) = metadata(head)?.unzip();
    Ok(Creation { name: name.flatten(), metadata, length, completes: false, checksum })
}

pub(super) fn append(head: &RequestHead) -> Result<Append, ResumableError> {
    check_media(head, CONTENT)?;
    let offset = items::number(head, UPLOAD_OFFSET)?;
    let offset = offset.ok_or(ResumableError::Missing("Upload-Offset"))?;
    let length = items::number(head, UPLOAD_LENGTH)?;
    Ok(Append { offset, length, completes: false, checksum: checksum(head)? })
}

/// Returns the name of the file in `Upload-Metadata`, pairs of a key and a value in base64, and the
/// field itself.
fn metadata(head: &RequestHead) -> Result<Option<(Option<String>, String)>, ResumableError> {
    let expected = "pairs of a key and base64, separated by commas";
    let invalid = || ResumableError::Field { field: METADATA, expected };
    let mut values = head.fields.get_all(METADATA).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| invalid())?,
        _ => return Err(invalid()),
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in text.split(',') {
        let mut words = pair.split([' ', '\t']).filter(|word| !word.is_empty());
        let key = words.next().ok_or_else(invalid)?;
        let value = STANDARD.decode(words.next().unwrap_or_default()).map_err(|_| invalid())?;
        let is_repeated = pairs.iter().any(|(other, _)| *other == key);
        if words.next().is_some() || is_repeated || pairs.len() == MAX_METADATA {
            return Err(invalid());
        }
        pairs.push((key, value));
    }
    // The keys that tus-js-client, Uppy, tuspy and tusd agree on.
    let name = ["filename", "name"]
        .iter()
        .find_map(|key| pairs.iter().find(|(other, value)| other == key && !value.is_empty()));
    let name = name.map(|(_, name)| String::from_utf8(name.clone()).map_err(|_| invalid()));
    Ok(Some((name.transpose()?, text.to_owned())))
}

/// A checksum of the content of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    expected: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
}

impl Checksum {
    /// Returns a checksum by SHA-256.
    pub fn sha256(expected: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, expected: expected.to_vec() }
    }

    /// Returns the state of its computation before the first byte.
    pub fn begin(self) -> Checking {
        let hasher = match self.algorithm {
            Algorithm::Sha1 => ContentHasher::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => ContentHasher::Sha256(Box::new(sha2::Sha256::new())),
        };
        Checking { expected: self.expected, hasher }
    }
}

/// The computation of a checksum.
#[derive(Debug)]
pub struct Checking {
    expected: Vec<u8>,
    hasher: ContentHasher,
}

#[derive(Debug)]
enum ContentHasher {
    Sha1(sha1::Sha1),
    Sha256(Box<sha2::Sha256>),
}

impl Checking {
    /// Adds the next piece of the content.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.hasher {
            ContentHasher::Sha1(hasher) => hasher.update(piece),
            ContentHasher::Sha256(hasher) => hasher.update(piece),
        }
    }

    /// Returns whether the content has the checksum.
    pub fn matches(self) -> bool {
        let found = match self.hasher {
            ContentHasher::Sha1(hasher) => hasher.finalize().to_vec(),
            ContentHasher::Sha256(hasher) => hasher.finalize().to_vec(),
        };
        found == self.expected
    }
}

/// Parses `Upload-Checksum: ALGORITHM BASE64`.
fn checksum(head: &RequestHead) -> Result<Option<Checksum>, ResumableError> {
    if head.field_tokens(header::TRAILER).any(|name| name.eq_ignore_ascii_case("upload-checksum")) {
        let (field, extension) = ("Trailer: Upload-Checksum", "checksum-trailer");
        return Err(ResumableError::Extension { field, extension });
    }
    let expected = "an algorithm and its checksum in base64";
    let invalid = || ResumableError::Field { field: CHECKSUM, expected };
    let mut values = head.fields.get_all(CHECKSUM).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| invalid())?,
        _ => return Err(invalid()),
    };
    let (name, value) = text.split_once(' ').ok_or_else(invalid)?;
    let (algorithm, length) = match name {
        "sha1" => (Algorithm::Sha1, 20),
        "sha256" => (Algorithm::Sha256, 32),
        _ => return Err(ResumableError::Algorithm(name.to_owned())),
    };
    let expected = STANDARD.decode(value.trim()).map_err(|_| invalid())?;
    if expected.len() != length {
        return Err(invalid());
    }
    Ok(Some(Checksum { algorithm, expected }))
}
