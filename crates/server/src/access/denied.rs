//! Why a client is denied access, and the refusal in each protocol.

use std::time::Duration;

use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;

use crate::events::Why;

/// Why a client is denied access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The client sent no valid token.
    Missing,
    /// The token is unknown.
    Wrong,
    /// There is no share with this id.
    NoLink,
    /// The share was revoked or has expired, or its maker may no longer share.
    EndedLink,
    /// Its address sent too many wrong tokens; it is refused for this long.
    Guessing(Duration),
}

/// How a client can send a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Http,
    WebSocket,
    Line,
    /// Only over another protocol.
    None,
}

impl Denied {
    /// Returns the reason for the log, and for protocols without a refusal of their own.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Missing => "a token is required".to_owned(),
            Self::Wrong => "invalid token".to_owned(),
            Self::NoLink => "no such link: it is incomplete, or was removed".to_owned(),
            Self::EndedLink => "this link has expired or was revoked".to_owned(),
            Self::Guessing(wait) => {
                let seconds = wait.as_secs().max(1);
                format!("too many invalid tokens from this address; try again in {seconds} s")
            }
        }
    }

    pub(crate) fn refusal(self, means: Means) -> Refusal {
        let code = match self {
            Self::Missing | Self::Wrong => RefusalCode::Unauthorized,
            Self::NoLink | Self::EndedLink => RefusalCode::NotFound,
            Self::Guessing(_) => RefusalCode::Busy,
        };
        let hint = match (self, means) {
            (Self::Guessing(_), _) => None,
            (Self::NoLink | Self::EndedLink, _) => {
                Some("ask the person who sent you the link for another one")
            }
            (_, Means::Http) => {
                Some("use curl -u :TOKEN, or the field Authorization: Bearer TOKEN")
            }
            (_, Means::WebSocket) => Some(
                "send the field Authorization: Bearer TOKEN, or the subprotocols \
                anyport.1, anyport.token.TOKEN",
            ),
            (_, Means::Line) => Some("append token=TOKEN to the line"),
            (_, Means::None) => Some("send ANYPORT/1 PUT NAME token=TOKEN and a line end first"),
        };
        let refusal = Refusal::new(code, self.reason());
        match hint {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Missing | Self::Wrong => StatusCode::UNAUTHORIZED,
            Self::NoLink => StatusCode::NOT_FOUND,
            Self::EndedLink => StatusCode::GONE,
            Self::Guessing(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(crate) const fn why(self) -> Why {
        match self {
            Self::Missing => Why::NoToken,
            Self::Wrong => Why::WrongToken,
            Self::NoLink | Self::EndedLink => Why::Request,
            Self::Guessing(_) => Why::Guessing,
        }
    }
}
