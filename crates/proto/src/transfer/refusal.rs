//! Why a receiver does not take a file: a code for programs, a message for people.

use serde::{Deserialize, Serialize};

use super::words::spelled;

/// A receiver's answer when it does not take a file, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What a program decides by.
    pub code: RefusalCode,
    /// What happened, on which object.
    pub message: String,
    /// What the sender can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with advice for the sender.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The kinds of refusal; on the wire in lower case with hyphens.
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

spelled!(RefusalCode, "refusal code":
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

#[cfg(test)]
mod tests {
    use super::*;

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
            error.starts_with("unknown refusal code \"full\"; known are bad-request, "),
            "{error}"
        );
    }

    #[test]
    fn a_refusal_without_a_hint_has_no_such_key() {
        let refusal = Refusal::new(RefusalCode::Busy, "try \"later\"");
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(json, r#"{"code":"busy","message":"try \"later\""}"#);
        assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
    }
}
