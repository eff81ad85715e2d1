//! Refusals: a code for programs, a message for people.

use http::StatusCode;

use super::codec::kind::{Text, words};
use super::codec::{Optional, Required, record};
use super::words::word_enum;
use crate::visible::make_visible;
use crate::ws::CloseCode;

/// The answer to a request that is refused, or no longer served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason for programs.
    pub code: RefusalCode,
    /// The reason for people, with the object.
    pub message: String,
    /// Hint for the sender: what it can do about the refusal.
    pub hint: Option<String>,
}

record!(Refusal { code: Required<RefusalCode>, message: Required<Text>, hint: Optional<Text> });

impl Refusal {
    /// Returns a refusal without a hint.
    ///
    /// Control characters of `message` are made visible.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        let message = make_visible(&message.into()).into_owned();
        Self { code, message, hint: None }
    }

    /// Adds advice for the sender.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The codes of refusals; on the wire in lower case with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// The offer, the preface or the end cannot be understood.
    BadRequest,
    /// Understood, but not served here.
    NotSupported,
    /// The name cannot be made safe.
    BadName,
    /// No file of that name is there.
    NotFound,
    /// Another file of that name is there.
    Exists,
    /// Larger than this server takes.
    TooLarge,
    /// The storage has no room for it.
    NoSpace,
    /// The storage failed.
    Storage,
    /// What arrived has another digest than the sender said.
    DigestMismatch,
    /// What arrived has another size than the sender said.
    SizeMismatch,
    /// The content ended before the file did.
    Interrupted,
    /// The token is missing or wrong.
    Unauthorized,
    /// Too many transfers at the moment.
    Busy,
}

word_enum!(RefusalCode, "refusal code":
    BadRequest = "bad-request",
    NotSupported = "not-supported",
    BadName = "bad-name",
    NotFound = "not-found",
    Exists = "exists",
    TooLarge = "too-large",
    NoSpace = "no-space",
    Storage = "storage",
    DigestMismatch = "digest-mismatch",
    SizeMismatch = "size-mismatch",
    Interrupted = "interrupted",
    Unauthorized = "unauthorized",
    Busy = "busy",
);
words!(RefusalCode = "a refusal code of this version");

/// The meaning of a refusal, on every protocol and at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Close code over WebSocket and bare frames (RFC 6455 §7.4.1).
    pub close: CloseCode,
    /// Status over HTTP (RFC 9110 §15).
    pub status: StatusCode,
    /// Whether the sender tries again by itself.
    pub retry: Retry,
    /// Kind of failure, from which the sender derives its exit code.
    pub failure: Failure,
    /// Whether the refusal concerns one file, so that other files of the same command follow.
    pub one_file: bool,
    /// The part of the content that the receiver keeps.
    pub keeps: Keeps,
}

/// Whether the same request is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The result would be the same.
    Never,
    /// One more attempt, from the first byte.
    Once,
    /// Until the retries or the retry time are used up.
    Repeatedly,
}

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The receiver does not accept the request.
    Refused,
    /// The received content differs from the sent content.
    Mismatch,
    /// The connection was lost.
    Interrupted,
}

/// The part of unpublished content that a receiver keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing of this attempt; a partial file of an earlier attempt stays.
    Nothing,
    /// A partial file that the next attempt continues.
    Partial,
    /// A partial file under another name, for the operator; no attempt continues it.
    Apart,
}

impl RefusalCode {
    /// All codes, in the order in which they are documented.
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::NotSupported,
        Self::BadName,
        Self::NotFound,
        Self::Exists,
        Self::TooLarge,
        Self::NoSpace,
        Self::Storage,
        Self::DigestMismatch,
        Self::SizeMismatch,
        Self::Interrupted,
        Self::Unauthorized,
        Self::Busy,
    ];

    /// Returns what the code means.
    ///
    /// Everything that depends on a code is derived from this table.
    pub const fn meaning(self) -> Meaning {
        let refused = Meaning {
            close: CloseCode::POLICY,
            status: StatusCode::BAD_REQUEST,
            retry: Retry::Never,
            failure: Failure::Refused,
            one_file: false,
            keeps: Keeps::Nothing,
        };
        match self {
            Self::BadRequest => refused,
            Self::NotSupported => Meaning { status: StatusCode::FORBIDDEN, ..refused },
            Self::BadName => Meaning { one_file: true, ..refused },
            Self::NotFound => Meaning { status: StatusCode::NOT_FOUND, one_file: true, ..refused },
            Self::Exists => Meaning { status: StatusCode::CONFLICT, one_file: true, ..refused },
            Self::TooLarge => Meaning {
                close: CloseCode::TOO_BIG,
                status: StatusCode::PAYLOAD_TOO_LARGE,
                one_file: true,
                ..refused
            },
            Self::NoSpace => Meaning {
                close: CloseCode::INTERNAL,
                status: StatusCode::INSUFFICIENT_STORAGE,
                one_file: true,
                keeps: Keeps::Partial,
                ..refused
            },
            Self::Storage => Meaning {
                close: CloseCode::INTERNAL,
                status: StatusCode::INTERNAL_SERVER_ERROR,
                one_file: true,
                keeps: Keeps::Partial,
                ..refused
            },
            Self::DigestMismatch => Meaning {
                close: CloseCode::INVALID_DATA,
                status: StatusCode::UNPROCESSABLE_ENTITY,
                retry: Retry::Once,
                failure: Failure::Mismatch,
                one_file: true,
                keeps: Keeps::Apart,
            },
            Self::SizeMismatch => {
                Meaning { close: CloseCode::INVALID_DATA, failure: Failure::Mismatch, ..refused }
            }
            Self::Interrupted => Meaning {
                status: StatusCode::REQUEST_TIMEOUT,
                retry: Retry::Repeatedly,
                failure: Failure::Interrupted,
                keeps: Keeps::Partial,
                ..refused
            },
            Self::Unauthorized => Meaning { status: StatusCode::UNAUTHORIZED, ..refused },
            Self::Busy => Meaning {
                close: CloseCode::TRY_AGAIN_LATER,
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry: Retry::Repeatedly,
                ..refused
            },
        }
    }

    /// Returns the code that fits the status of a server that names none (RFC 9110 §15).
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Self::Unauthorized
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::LOCKED => {
                Self::Exists
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::URI_TOO_LONG => Self::BadName,
            StatusCode::INSUFFICIENT_STORAGE => Self::NoSpace,
            StatusCode::REQUEST_TIMEOUT => Self::Interrupted,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Busy,
            StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Self::NotSupported,
            status if status.is_server_error() => Self::Storage,
            _ => Self::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::messages::FileReply;

    /// A client that reads the status alone must act as one that reads the code.
    #[test]
    fn a_status_means_to_a_client_what_its_code_means() {
        for code in RefusalCode::ALL {
            let Meaning { status, retry, .. } = code.meaning();
            let read = RefusalCode::of_status(status).meaning();
            // 422 has other uses than a digest, so nothing is concluded from it.
            if code != RefusalCode::DigestMismatch {
                assert_eq!(read.retry, retry, "{code}");
            }
        }
    }

    #[test]
    fn a_refusal_shows_its_message_and_keeps_the_hint_apart() {
        let refusal = Refusal::new(RefusalCode::Exists, "a.txt exists").with_hint("try rename");
        assert_eq!(refusal.to_string(), "a.txt exists");
        assert_eq!(refusal.hint.as_deref(), Some("try rename"));
    }

    #[test]
    fn codes_are_kebab_case_and_read_back() {
        assert_eq!(RefusalCode::DigestMismatch.as_str(), "digest-mismatch");
        for word in RefusalCode::WORDS {
            assert_eq!(word.parse::<RefusalCode>().unwrap().as_str(), *word);
        }
        let error = "full".parse::<RefusalCode>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown refusal code \"full\"; expected one of bad-request, "),
            "{error}"
        );
    }

    #[test]
    fn a_refusal_without_a_hint_has_no_such_key() {
        let refusal = Refusal::new(RefusalCode::Busy, "try \"later\"");
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(json, r#"{"code":"busy","message":"try \"later\""}"#);
        let reply = format!("{{\"error\":{json}}}");
        assert_eq!(FileReply::from_json(&reply), Ok(FileReply::Error(refusal)));
    }
}
