//! Errors of a head, and the response that refuses it.

use http::StatusCode;

use super::plain::plain_response;

/// Why a head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A line ends in LF without CR.
    #[error("line ends in a bare line feed (RFC 9112 §2.2)")]
    BareLineFeed,
    /// A CR that no LF follows.
    #[error("carriage return without line feed (RFC 9112 §2.2)")]
    StrayCarriageReturn,
    /// A control byte other than a tab.
    #[error("control byte 0x{0:02x} in the head (RFC 9110 §5.5)")]
    ControlByte(u8),
    /// An empty line where the start line should be.
    #[error("empty line before the start line (RFC 9112 §2.2)")]
    EmptyStartLine,
    /// A field line that begins with white space.
    #[error("field line begins with white space (RFC 9112 §5.2)")]
    FoldedField,
    /// The request line is not `method SP target SP version`.
    #[error("malformed request line (RFC 9112 §3)")]
    RequestLine,
    /// The status line is not `version SP status SP reason`.
    #[error("malformed status line (RFC 9112 §4)")]
    StatusLine,
    /// A version of HTTP that is not supported.
    #[error("version of HTTP is neither 1.0 nor 1.1 (RFC 9110 §15.6.6)")]
    Version,
    /// The request target has none of the four forms, or one that does not fit the method.
    #[error("malformed request target (RFC 9112 §3.2)")]
    Target,
    /// A field line without a name, or with white space before its colon.
    #[error("malformed field name (RFC 9112 §5.1)")]
    FieldName,
    /// A field value with a byte that is not allowed.
    #[error("malformed field value (RFC 9110 §5.5)")]
    FieldValue,
    /// An HTTP/1.1 request without Host.
    #[error("no Host field (RFC 9112 §3.2)")]
    MissingHost,
    /// More than one Host.
    #[error("more than one Host field (RFC 9112 §3.2)")]
    RepeatedHost,
    /// A Host that is not `host` or `host:port`.
    #[error("malformed Host field (RFC 9112 §3.2)")]
    Host,
    /// A Host that is not the `:authority` beside it.
    #[error("Host differs from :authority (RFC 9113 §8.3.1)")]
    OtherHost,
    /// A Content-Length that is not one number.
    #[error("malformed Content-Length (RFC 9112 §6.3)")]
    ContentLength,
    /// More than one Content-Length, also if they are equal.
    #[error("more than one Content-Length (RFC 9112 §6.3)")]
    RepeatedContentLength,
    /// Both Content-Length and Transfer-Encoding.
    #[error("both Content-Length and Transfer-Encoding (RFC 9112 §6.1)")]
    LengthBesideEncoding,
    /// Transfer-Encoding in HTTP/1.0, which does not know it.
    #[error("Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1)")]
    EncodingInHttp10,
    /// The request line is longer than [`request_line`](crate::limits::Limits::request_line).
    #[error("request line exceeds the limit of {limit} bytes (RFC 9110 §15.5.15)")]
    StartLineTooLong {
        /// The limit, line end included.
        limit: usize,
    },
    /// The head is longer than [`Limits::head`](crate::limits::Limits::head).
    #[error("head exceeds the limit of {limit} bytes (RFC 6585 §5)")]
    TooLong {
        /// The limit, empty line included.
        limit: usize,
    },
    /// The head has more fields than [`Limits::fields`](crate::limits::Limits::fields).
    #[error("more than {limit} fields (RFC 6585 §5)")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
}

impl HeadError {
    /// Returns the status of the refusal.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::StartLineTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::TooLong { .. } | Self::TooManyFields { .. } => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the complete refusal: one line that names the rule.
    pub fn response(&self) -> Vec<u8> {
        plain_response(self.status(), &[], &format!("{self}\n"), true)
    }
}
