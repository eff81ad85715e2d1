//! Responses: heads with the fields that all of them have (RFC 9110 §6.6, §15), and short content.

use std::time::SystemTime;

use anyport_proto::http1::{RequestHead, date, media};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::receipt::Protocol;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::visible::{escape_json, make_lines_visible};
use http::header::{self, HeaderName};
use http::{Method, StatusCode, Version};

use crate::tokens::User;

/// The properties of a request that its response depends on.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The version of HTTP.
    pub(crate) protocol: Protocol,
    /// The method was HEAD: the response is only a head.
    pub(crate) without_content: bool,
    pub(crate) form: Form,
    /// The server stops: nothing long begins.
    pub(crate) stopping: bool,
    /// The page of another origin that may read the response (`--allow-origin`).
    pub(crate) from_other_origin: Option<String>,
    /// The owner of its token.
    pub(crate) user: Option<User>,
}

/// The form that the client prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text, for curl and nc.
    Text,
    Json,
    /// For browsers.
    Html,
}

impl Asked {
    pub(crate) fn of(head: &RequestHead, stopping: bool) -> Self {
        let form = match media::preferred(head, &[HTML, JSON, TEXT]) {
            Some(HTML) => Form::Html,
            Some(JSON) => Form::Json,
            _ => Form::Text,
        };
        let protocol = match head.version {
            Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http,
        };
        let without_content = head.method == Method::HEAD;
        Self { protocol, without_content, form, stopping, from_other_origin: None, user: None }
    }

    /// Returns whether other requests share the connection, so that a failed response breaks its
    /// own stream only.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    /// Returns them for a request that could not be parsed.
    pub(crate) const fn unread(protocol: Protocol) -> Self {
        Self {
            protocol,
            without_content: false,
            form: Form::Text,
            stopping: false,
            from_other_origin: None,
            user: None,
        }
    }
}

/// The length of a response's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(u64),
    /// Its framing marks the end.
    Unknown,
    /// The status has no content (RFC 9110 §15.3.5, §15.4.5).
    None,
}

/// The head of a response, without the fields of its framing.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(super) fields: Vec<(HeaderName, String)>,
    pub(crate) length: Length,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) content: String,
    /// The connection ends: what follows the request may not be a request.
    pub(crate) ends: bool,
}

impl Head {
    /// Returns all its fields, with those of every response.
    pub(crate) fn fields(self, asked: &Asked) -> Vec<(HeaderName, String)> {
        let mut fields = Vec::with_capacity(self.fields.len() + USUAL);
        if let Some(date) = date::write(seconds()) {
            fields.push((header::DATE, date));
        }
        fields.extend(self.fields);
        if let Length::Known(length) = self.length {
            fields.push((header::CONTENT_LENGTH, length.to_string()));
        }
        if let Some(page) = &asked.from_other_origin {
            fields.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, page.clone()));
            fields.push((header::VARY, "Origin".to_owned()));
        }
        // The type of a file is its sender's word: browsers must not guess another.
        fields.push((header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()));
        // Pages of other origins must not embed it.
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        fields.push((policy, "same-origin".to_owned()));
        fields
    }
}

/// A response without content.
impl From<Head> for Answer {
    fn from(head: Head) -> Self {
        Self { head, content: String::new(), ends: false }
    }
}

impl Answer {
    /// Plain text whose lines end. Control characters of a peer are made visible.
    pub(crate) fn text(status: StatusCode, content: impl Into<String>) -> Self {
        Self::content(status, TEXT_UTF8, make_lines_visible(&content.into()).into_owned())
    }

    pub(crate) fn json(status: StatusCode, content: String) -> Self {
        let mut content = escape_json(&content).into_owned();
        content.push('\n');
        Self::content(status, JSON, content)
    }

    /// Plain text that differs each time.
    pub(super) fn fresh(content: impl Into<String>) -> Self {
        Self::text(StatusCode::OK, content).with(header::CACHE_CONTROL, "no-store")
    }

    pub(super) fn content(status: StatusCode, media: &str, content: String) -> Self {
        let length = Length::Known(content.len() as u64);
        let fields = vec![(header::CONTENT_TYPE, media.to_owned())];
        Self { head: Head { status, fields, length }, content, ends: false }
    }

    /// A head, with the length that its content has or would have.
    pub(crate) const fn head(status: StatusCode, length: Length) -> Self {
        Self {
            head: Head { status, fields: Vec::new(), length },
            content: String::new(),
            ends: false,
        }
    }

    /// A refusal, in the form that the client prefers.
    pub(crate) fn refusal(refusal: Refusal, form: Form) -> Self {
        let status = refusal.code.meaning().status;
        let busy = refusal.code == RefusalCode::Busy;
        let answer = match form {
            Form::Json => Self::json(status, FileReply::Error(refusal).to_json()),
            Form::Text | Form::Html => {
                let hint = refusal.hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
                Self::text(status, format!("{}\n{hint}", refusal.message))
            }
        };
        if busy { answer.with(header::RETRY_AFTER, RETRY_AFTER) } else { answer }
    }

    /// Adds a field. A value from a peer must be sanitized.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.head.fields.push((name, value.into()));
        self
    }

    /// Returns the response with another status.
    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.head.status = status;
        self
    }

    /// Ends the connection behind it.
    #[must_use]
    pub(super) const fn and_end(mut self) -> Self {
        self.ends = true;
        self
    }
}

/// Seconds since the epoch.
pub(crate) fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) const HTML: &str = "text/html";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";
pub(super) const TEXT_UTF8: &str = "text/plain; charset=utf-8";

/// Seconds after which a busy client may try again.
const RETRY_AFTER: &str = "5";

/// Number of fields that most responses have.
const USUAL: usize = 6;
