//! Resumable uploads over HTTP without sockets: a request head becomes a [`Creation`]
//! or an [`Operation`] on an upload resource, in one of two dialects.
//!
//! ```text
//!              creates                        offset   append             cancel
//!   tus 1.0    POST, Upload-Length            HEAD     PATCH, 204         DELETE
//!   IETF       PUT or POST, Upload-Complete   HEAD     PATCH, 201 or 204  DELETE
//! ```
//!
//! [`ietf`] has the versions of draft-ietf-httpbis-resumable-upload in one table, [`tus`] the
//! extensions of tus. All sizes are bounded by the limits of a head ([`crate::limits::Limits`]).

pub mod ietf;
mod items;
pub mod tus;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};

use crate::http1::{Framing, RequestHead};

/// The fields that a request for a resumable upload may have, in any dialect.
pub static FIELDS_OF_REQUESTS: [HeaderName; 11] = [
    ietf::COMPLETE,
    ietf::INCOMPLETE,
    ietf::VERSION,
    tus::CHECKSUM,
    tus::CONCAT,
    tus::DEFER_LENGTH,
    tus::METADATA,
    tus::OVERRIDE,
    tus::RESUMABLE,
    UPLOAD_LENGTH,
    UPLOAD_OFFSET,
];

/// The number of bytes of the file that are stored.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// The size of the whole file.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// The protocol of a request for a resumable upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// tus 1.0 (<https://tus.io/protocols/resumable-upload>).
    Tus,
    /// A version of draft-ietf-httpbis-resumable-upload.
    Ietf(&'static ietf::Version),
}

/// An operation on an upload resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Requests its offset.
    Offset,
    /// Appends the content of the request.
    Append(Append),
    /// Removes it.
    Cancel,
}

/// The fields of a request that creates an upload resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The file name that the client states in a field, decoded, and not safe yet.
    pub name: Option<String>,
    /// The field of tus with that name, which the answer to HEAD repeats.
    pub metadata: Option<String>,
    /// Size of the whole file.
    pub length: Option<u64>,
    /// The end of the content is the end of the file; tus has no such field.
    pub completes: bool,
    /// Checksum of the content.
    pub checksum: Option<tus::Checksum>,
}

/// The fields of a request that appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Offset of the first byte of the content.
    pub offset: u64,
    /// Size of the whole file, if this request states it.
    pub length: Option<u64>,
    /// The end of the content is the end of the file; tus has no such field.
    pub completes: bool,
    /// Checksum of the content.
    pub checksum: Option<tus::Checksum>,
}

/// Parses a request to a resource that stores files.
///
/// Returns `None` for an ordinary request.
///
/// # Errors
/// A version, an extension or a field is not supported or not valid.
pub fn creation(
    head: &RequestHead,
    framing: Framing,
) -> Result<Option<(Dialect, Creation)>, ResumableError> {
    if !head.fields.contains_key(tus::RESUMABLE) {
        let created = ietf::creation(head, framing)?;
        return Ok(created.map(|(version, creation)| (Dialect::Ietf(version), creation)));
    }
    match head.method {
        Method::POST => Ok(Some((Dialect::Tus, tus::creation(head, framing)?))),
        _ => Ok(None),
    }
}

/// Parses a request to an upload resource.
///
/// HEAD and DELETE need no dialect, as the path is enough; then the response is one of tus.
///
/// # Errors
/// A version, an extension or a field is not supported or not valid, or PATCH names no dialect.
pub fn on_resource(
    head: &RequestHead,
    framing: Framing,
) -> Result<(Dialect, Operation), ResumableError> {
    let method = tus::overridden(head)?.unwrap_or_else(|| head.method.clone());
    let dialect = match ietf::version_of(head)? {
        Some(version) if !head.fields.contains_key(tus::RESUMABLE) => Dialect::Ietf(version),
        _ => {
            tus::check_version(head)?;
            Dialect::Tus
        }
    };
    let operation = match (method, dialect) {
        (Method::HEAD | Method::GET, Dialect::Ietf(version)) => {
            version.check_stateless(head, "HEAD")?;
            Operation::Offset
        }
        (Method::DELETE, Dialect::Ietf(version)) => {
            version.check_stateless(head, "DELETE")?;
            Operation::Cancel
        }
        (Method::HEAD | Method::GET, Dialect::Tus) => Operation::Offset,
        (Method::DELETE, Dialect::Tus) => Operation::Cancel,
        (Method::PATCH, Dialect::Ietf(version)) => {
            Operation::Append(version.append(head, framing)?)
        }
        (Method::PATCH, Dialect::Tus) if head.fields.contains_key(tus::RESUMABLE) => {
            Operation::Append(tus::append(head)?)
        }
        (Method::PATCH, Dialect::Tus) => return Err(ResumableError::NoDialect),
        (method, _) => return Err(ResumableError::Method(method)),
    };
    Ok((dialect, operation))
}

/// Returns whether a request names one of the dialects, so that it may lack a content length.
pub fn is_named(head: &RequestHead) -> bool {
    head.fields.contains_key(tus::RESUMABLE) || head.fields.contains_key(ietf::VERSION)
}

/// Checks the media type of appended content.
fn check_media(head: &RequestHead, expected: &'static str) -> Result<(), ResumableError> {
    let value = head.fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(ResumableError::Media { media: media.to_owned(), expected })
}

/// The reason why a request for a resumable upload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumableError {
    /// The version of tus is not supported.
    #[error("tus version {0:?} is not supported; supported: {supported}", supported = tus::VERSION)]
    TusVersion(String),
    /// The interop version of the draft is not supported.
    #[error(
        "upload draft interop version {0:?} is not supported; supported: {supported}",
        supported = ietf::supported()
    )]
    DraftVersion(String),
    /// PATCH without a dialect.
    #[error(
        "PATCH needs Tus-Resumable: {} or Upload-Draft-Interop-Version: {}",
        tus::VERSION,
        ietf::supported()
    )]
    NoDialect,
    /// The rest of a file without a version that could append it.
    #[error("an incomplete upload needs Upload-Draft-Interop-Version: {}", ietf::supported())]
    NoVersion,
    /// An extension of tus that is not supported.
    #[error("{field} (tus extension {extension}) is not supported; supported: {}", tus::EXTENSIONS)]
    Extension {
        /// The field of the request.
        field: &'static str,
        /// Its extension.
        extension: &'static str,
    },
    /// A field that the request must have.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field with an invalid value.
    #[error("{field} is not valid; expected {expected}")]
    Field {
        /// The field's name.
        field: HeaderName,
        /// The kind of value that it must have.
        expected: &'static str,
    },
    /// A field that the method must not have.
    #[error("{field} is not allowed with {method}")]
    NotAllowed {
        /// The field's name.
        field: HeaderName,
        /// The method.
        method: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("Upload-Length and Upload-Defer-Length exclude each other")]
    TwoLengths,
    /// Content length and `Upload-Length` differ.
    #[error("the content ends at byte {ends}, but Upload-Length is {length}")]
    InconsistentLength {
        /// Offset behind the last byte of the content.
        ends: u64,
        /// The announced size.
        length: u64,
    },
    /// A checksum algorithm that is not supported.
    #[error("checksum algorithm {0:?} is not supported; supported: {all}", all = tus::ALGORITHMS)]
    Algorithm(String),
    /// The content has another media type than the dialect requires.
    #[error("Content-Type {media:?} is not supported; expected {expected}")]
    Media {
        /// The media type of the request.
        media: String,
        /// The one that it must have.
        expected: &'static str,
    },
    /// A method that upload resources do not have.
    #[error("{0} is not a method of upload resources")]
    Method(Method),
}

impl ResumableError {
    /// Returns the status of the response.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TusVersion(_) => StatusCode::PRECONDITION_FAILED,
            Self::Media { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(test)]
mod tests;
