//! draft-ietf-httpbis-resumable-upload: all interop versions in one table.
//!
//! | interop version | drafts | changes |
//! |---|---|---|
//! | 3 | -01 | `Upload-Incomplete`, inverted; any media type |
//! | 6 | -04, -05 | `Upload-Complete`, `application/partial-upload`, `Upload-Length`, [`LIMIT`] |
//! | 8 | -09 to -11 | 204 for an append that does not complete; `max-age` instead of `expires` |
//!
//! The RFC will have no version field. Its row is off until it is published.

use http::StatusCode;
use http::header::{self, HeaderName};

use super::{Append, Creation, ResumableError, UPLOAD_LENGTH, UPLOAD_OFFSET};
use super::{check_media, items};
use crate::form::disposition;
use crate::http1::{Framing, RequestHead};

/// The field that names the interop version.
pub const VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");

/// Whether the end of the content is the end of the file.
pub const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// The same inverted, in version 3.
pub(super) const INCOMPLETE: HeaderName = HeaderName::from_static("upload-incomplete");

/// The limits of an upload.
pub const LIMIT: HeaderName = HeaderName::from_static("upload-limit");

/// The media type of appended content.
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// The media type of a problem (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Reason phrase of the interim response 104.
pub const SUPPORTED: &str = "Upload Resumption Supported";

/// Fields with their values.
pub type Fields = Vec<(HeaderName, String)>;

/// A version of the draft.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The value of [`VERSION`]; `None` for the RFC.
    pub number: Option<u8>,
    /// Status of an append that does not complete the upload.
    pub appended: StatusCode,
    /// Whether the final response of a creation with all content has the upload resource as its
    /// location, and not the stored file.
    pub keeps_location: bool,
    /// Whether an append of nothing to a complete upload gets its final response again.
    pub repeats: bool,
    /// Whether refusals are problems (RFC 9457).
    pub has_problems: bool,
    /// Whether it is served.
    is_on: bool,
    /// Whether the field of completeness is [`INCOMPLETE`].
    is_inverted: bool,
    /// Whether appended content must be [`PARTIAL_UPLOAD`].
    has_media: bool,
    /// Whether it has [`UPLOAD_LENGTH`] and [`LIMIT`], and the key of the remaining lifetime.
    lifetime: Option<&'static str>,
    /// Whether HEAD and DELETE must not have fields of the state.
    is_stateless: bool,
}

/// A row of the table unless it overrides the field.
const LATEST: Version = Version {
    number: None,
    is_on: false,
    is_inverted: false,
    has_media: true,
    lifetime: Some("max-age"),
    is_stateless: false,
    appended: StatusCode::NO_CONTENT,
    keeps_location: false,
    repeats: true,
    has_problems: true,
};

static VERSIONS: [Version; 4] = [
    Version {
        number: Some(3),
        is_on: true,
        is_inverted: true,
        has_media: false,
        lifetime: None,
        is_stateless: true,
        appended: StatusCode::CREATED,
        keeps_location: true,
        repeats: true,
        has_problems: false,
    },
    Version {
        number: Some(6),
        is_on: true,
        lifetime: Some("expires"),
        is_stateless: true,
        appended: StatusCode::CREATED,
        keeps_location: true,
        repeats: false,
        ..LATEST
    },
    Version { number: Some(8), is_on: true, ..LATEST },
    LATEST,
];

/// Returns the supported versions, for a message.
pub fn supported() -> String {
    let numbers = VERSIONS.iter().filter(|version| version.is_on).filter_map(|row| row.number);
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns the version that a request names; `None` if it names none.
///
/// # Errors
/// It is not supported.
pub fn version_of(head: &RequestHead) -> Result<Option<&'static Version>, ResumableError> {
    let Some(field) = head.fields.get(VERSION) else {
        // Without the field it is a request of the RFC.
        return Ok(VERSIONS.iter().find(|version| version.number.is_none() && version.is_on));
    };
    let text = String::from_utf8_lossy(field.as_bytes());
    let is_once = head.fields.get_all(VERSION).iter().count() == 1;
    let number = text.split(';').next().and_then(|text| text.trim_end().parse().ok());
    let found = VERSIONS.iter().find(|version| version.is_on && version.number == number);
    match found.filter(|_| is_once && number.is_some()) {
        Some(version) => Ok(Some(version)),
        None => Err(ResumableError::DraftVersion(text.into_owned())),
    }
}

/// Parses a request that may create an upload resource; `None`: an ordinary upload.
///
/// A client that sends the whole file sends `Upload-Complete: ?1` also where it does not know
/// whether the server supports its version: such a request is an ordinary upload.
pub(super) fn creation(
    head: &RequestHead,
    framing: Framing,
) -> Result<Option<(&'static Version, Creation)>, ResumableError> {
    let is_partial = items::boolean(head, COMPLETE)? == Some(false)
        || items::boolean(head, INCOMPLETE)? == Some(true);
    let version = match version_of(head) {
        Ok(Some(version)) if head.fields.contains_key(version.field()) => version,
        Err(error) if is_partial => return Err(error),
        Ok(None) if is_partial => return Err(ResumableError::NoVersion),
        Ok(Some(version)) if is_partial => return Err(ResumableError::Missing(version.title())),
        Ok(_) | Err(_) => return Ok(None),
    };
    if head.fields.contains_key(UPLOAD_OFFSET) {
        return Err(ResumableError::NotAllowed { field: UPLOAD_OFFSET, method: "a new upload" });
    }
    let completes = version.completes(head)?.unwrap_or(true);
    let length = version.length(head, framing, 0, completes)?;
    let name = disposition::file_name(head);
    Ok(Some((version, Creation { name, metadata: None, length, completes, checksum: None })))
}

impl Version {
    /// Returns the fields of an upload's state.
    pub fn state(&self, offset: u64, is_complete: bool) -> Fields {
        vec![(UPLOAD_OFFSET, offset.to_string()), self.completeness(is_complete)]
    }

    /// Returns the field of completeness.
    pub fn completeness(&self, is_complete: bool) -> (HeaderName, String) {
        let flag = if is_complete == self.is_inverted { "?0" } else { "?1" };
        (self.field(), flag.to_owned())
    }

    /// Returns the field of the limits, if the version has it.
    pub fn limits(&self, max_size: u64, lifetime: Option<u64>) -> Option<(HeaderName, String)> {
        let key = self.lifetime?;
        Some((LIMIT, limits(max_size, lifetime.map(|seconds| (key, seconds)))))
    }

    /// Returns the field of the size, if the version has it.
    pub fn size(&self, size: Option<u64>) -> Option<(HeaderName, String)> {
        self.lifetime.and(size).map(|size| (UPLOAD_LENGTH, size.to_string()))
    }

    /// Returns the fields of the interim response 104 to a creation.
    pub fn interim(&self, location: &str, limits: Option<(HeaderName, String)>) -> Fields {
        let number = self.number.map(|number| (VERSION, number.to_string()));
        let location = (header::LOCATION, location.to_owned());
        number.into_iter().chain([location]).chain(limits).collect()
    }

    pub(super) fn append(
        &self,
        head: &RequestHead,
        framing: Framing,
    ) -> Result<Append, ResumableError> {
        if self.has_media {
            check_media(head, PARTIAL_UPLOAD)?;
        }
        let offset =
            items::number(head, UPLOAD_OFFSET)?.ok_or(ResumableError::Missing("Upload-Offset"))?;
        // Version 3 sends its field only for incomplete content.
        let completes = self.completes(head)?.unwrap_or(self.is_inverted);
        let length = self.length(head, framing, offset, completes)?;
        Ok(Append { offset, length, completes, checksum: None })
    }

    pub(super) fn check_stateless(
        &self,
        head: &RequestHead,
        method: &'static str,
    ) -> Result<(), ResumableError> {
        let fields = [UPLOAD_OFFSET, self.field()];
        match fields.into_iter().find(|field| head.fields.contains_key(field)) {
            Some(field) if self.is_stateless => Err(ResumableError::NotAllowed { field, method }),
            _ => Ok(()),
        }
    }

    const fn field(&self) -> HeaderName {
        if self.is_inverted { INCOMPLETE } else { COMPLETE }
    }

    /// Returns the name of that field, for a message.
    const fn title(&self) -> &'static str {
        if self.is_inverted { "Upload-Incomplete" } else { "Upload-Complete" }
    }

    fn completes(&self, head: &RequestHead) -> Result<Option<bool>, ResumableError> {
        let flag = items::boolean(head, self.field())?;
        Ok(flag.map(|flag| flag != self.is_inverted))
    }

    /// Returns the size of the file that a request states: in its field, or by the length of
    /// content that completes it.
    fn length(
        &self,
        head: &RequestHead,
        framing: Framing,
        offset: u64,
        completes: bool,
    ) -> Result<Option<u64>, ResumableError> {
        let stated = match self.lifetime {
            Some(_) => items::number(head, UPLOAD_LENGTH)?,
            None => None,
        };
        let content = match framing {
            Framing::Length(length) => Some(length),
            Framing::None => Some(0),
            Framing::Chunked => None,
        };
        let ends = content.filter(|_| completes).map(|length| offset.saturating_add(length));
        match (stated, ends) {
            (Some(length), Some(ends)) if length != ends => {
                Err(ResumableError::InconsistentLength { ends, length })
            }
            (stated, ends) => Ok(stated.or(ends)),
        }
    }
}

/// Returns the value of [`LIMIT`]; `lifetime`: the key and the value of the remaining seconds.
pub fn limits(max_size: u64, lifetime: Option<(&str, u64)>) -> String {
    // Integers of structured fields have at most 15 digits.
    let max_size = (max_size <= LARGEST_INTEGER).then_some(("max-size", max_size));
    let pairs: Vec<_> = max_size.into_iter().chain(lifetime).collect();
    if pairs.is_empty() {
        return "min-size=0".to_owned();
    }
    let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Returns the content of a problem about an offset (RFC 9457).
pub fn mismatching_offset(title: &str, expected: u64, provided: u64) -> String {
    let problem = serde_json::json!({
        "type": format!("{PROBLEM_TYPES}#mismatching-upload-offset"),
        "title": title,
        "expected-offset": expected,
        "provided-offset": provided,
    });
    problem.to_string()
}

/// Returns the content of a problem about a completed upload, or about its length.
pub fn problem(kind: Problem, title: &str) -> String {
    let kind = match kind {
        Problem::Completed => "completed-upload",
        Problem::InconsistentLength => "inconsistent-upload-length",
    };
    let problem = serde_json::json!({ "type": format!("{PROBLEM_TYPES}#{kind}"), "title": title });
    problem.to_string()
}

/// The problem types without members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Content for an upload that is complete.
    Completed,
    /// Two statements about the size of a file differ.
    InconsistentLength,
}

const PROBLEM_TYPES: &str = "https://iana.org/assignments/http-problem-types";

/// The largest integer of a structured field (RFC 9651 §3.3.1).
const LARGEST_INTEGER: u64 = 999_999_999_999_999;
