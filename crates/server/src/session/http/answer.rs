//! Responses: heads with the fields that all of them have (RFC 9110 §6.6, §15), and short content.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use anyport_proto::http1::{BasePath, RequestHead, date, media};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::receipt::Protocol;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::visible::{escape_json, make_lines_visible};
use anyport_trace::SYN_FIELD;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Method, StatusCode, Version};

use super::cors;
use super::page::{self, Frame};
use crate::config::Config;

/// The properties of a request that its response depends on.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The version of HTTP.
    pub(crate) protocol: Protocol,
    /// The method was HEAD: the response is only a head.
    pub(crate) without_content: bool,
    pub(crate) form: Form,
    pub(crate) page: Frame,
    /// Precedes each path in the fields of a response.
    pub(crate) base_path: BasePath,
    /// Fields of the request chose the form, so errors differ with them too.
    pub(crate) negotiated: bool,
    /// The server stops: nothing long begins.
    pub(crate) stopping: bool,
    /// The page of another origin that may read the response (`--allow-origin`).
    pub(crate) from_other_origin: Option<String>,
    /// Pages of some origins may read responses, so these differ with the origin.
    pub(crate) allows_origins: bool,
    /// The SYN of the client, if it asks for it and is admitted.
    pub(crate) syn: Option<Arc<OnceLock<String>>>,
    /// The path of the share that the request is for.
    pub(crate) share: Option<SharePath>,
}

/// The path of a share, without the slash at its end. It has the id, so it is not shown.
#[derive(Clone)]
pub(crate) struct SharePath(String);

impl SharePath {
    /// Returns the one that the path of a request begins with.
    fn of(path: &str) -> Option<Self> {
        let id = path.strip_prefix(page::SHARES)?.split('/').next().unwrap_or_default();
        Some(Self(format!("{}{id}", page::SHARES)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the fields of a response as the holder of a link may see them: none that leads to a
    /// path outside, and none that lets a cache, a search engine or another site keep the link.
    fn hide(&self, fields: &mut Vec<(HeaderName, String)>) {
        fields.retain(|(name, value)| match *name {
            header::LOCATION | header::CONTENT_LOCATION => value.contains(&self.0),
            header::CACHE_CONTROL | header::REFERRER_POLICY => false,
            _ => true,
        });
        fields.push((header::CACHE_CONTROL, "no-store".to_owned()));
        // Without a referrer browsers send forms with the origin `null`.
        fields.push((header::REFERRER_POLICY, "same-origin".to_owned()));
        fields.push((HeaderName::from_static("x-robots-tag"), "noindex".to_owned()));
    }
}

impl fmt::Debug for SharePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharePath(…)")
    }
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
    pub(crate) fn of(head: &RequestHead, config: &Config, stopping: bool) -> Self {
        let form = match media::preferred(head, &[HTML, JSON, TEXT]) {
            Some(HTML) => Form::Html,
            Some(JSON) => Form::Json,
            // It names no type, and follows the links of pages only.
            None if is_wget(head) => Form::Html,
            _ => Form::Text,
        };
        let protocol = match head.version {
            Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http,
        };
        Self {
            without_content: head.method == Method::HEAD,
            form,
            page: Frame::of(head, &config.base_path),
            base_path: config.base_path.clone(),
            negotiated: true,
            stopping,
            from_other_origin: cors::allowed_origin(head, &config.allowed_origins),
            allows_origins: !config.allowed_origins.is_empty(),
            syn: asks_for_syn(head).then(Arc::default),
            share: SharePath::of(head.path()),
            ..Self::unread(protocol)
        }
    }

    /// Returns a field of a response as clients of a proxy need it: the paths of this server, which
    /// begin with a slash, behind that of the proxy.
    pub(crate) fn public(&self, (name, value): (HeaderName, String)) -> (HeaderName, String) {
        let is_path = value.starts_with('/')
            && (name == header::LOCATION || name == header::CONTENT_LOCATION);
        let value = if is_path { self.base_path.public(&value) } else { value };
        (name, value)
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
            page: Frame::DEFAULT,
            base_path: BasePath::NONE,
            negotiated: false,
            stopping: false,
            from_other_origin: None,
            allows_origins: false,
            syn: None,
            share: None,
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
    pub(crate) content: Bytes,
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
        let (vary, others): (Vec<_>, Vec<_>) =
            self.fields.into_iter().partition(|(name, _)| *name == header::VARY);
        fields.extend(others.into_iter().map(|field| asked.public(field)));
        if let Some(share) = &asked.share {
            share.hide(&mut fields);
        }
        if let Length::Known(length) = self.length {
            fields.push((header::CONTENT_LENGTH, length.to_string()));
        }
        if let Some(page) = &asked.from_other_origin {
            fields.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, page.clone()));
            let exposed = cors::exposed(&fields);
            let exposed = exposed.map(|names| (header::ACCESS_CONTROL_EXPOSE_HEADERS, names));
            fields.extend(exposed);
        }
        let origin = asked.allows_origins.then_some("Origin");
        let vary: Vec<_> = vary.iter().map(|(_, names)| names.as_str()).chain(origin).collect();
        if !vary.is_empty() {
            fields.push((header::VARY, vary.join(", ")));
        }
        if let Some(syn) = asked.syn.as_ref().and_then(|syn| syn.get()) {
            // No cache may give it to another client.
            fields.retain(|(name, _)| *name != header::CACHE_CONTROL);
            fields.push((header::CACHE_CONTROL, "no-store".to_owned()));
            fields.push((HeaderName::from_static(SYN_FIELD), syn.clone()));
        }
        // The type of a file is its sender's word: browsers must not guess another.
        fields.push((header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()));
        // Pages of other origins must not embed it, unless they may read it.
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        let is_allowed = asked.from_other_origin.is_some();
        let sites = if is_allowed { "cross-origin" } else { "same-origin" };
        fields.push((policy, sites.to_owned()));
        fields
    }
}

/// A response without content.
impl From<Head> for Answer {
    fn from(head: Head) -> Self {
        Self { head, content: Bytes::new(), ends: false }
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

    pub(super) fn content(status: StatusCode, media: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let length = Length::Known(content.len() as u64);
        let fields = vec![(header::CONTENT_TYPE, media.to_owned())];
        Self { head: Head { status, fields, length }, content, ends: false }
    }

    /// A head, with the length that its content has or would have.
    pub(crate) const fn head(status: StatusCode, length: Length) -> Self {
        Self {
            head: Head { status, fields: Vec::new(), length },
            content: Bytes::new(),
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

    /// Returns an error as a page if the client prefers that; the last step before it is written.
    pub(crate) fn for_client(self, asked: &Asked) -> Self {
        let status = self.head.status;
        let is_error = status.is_client_error() || status.is_server_error();
        let is_text = self.has_media(TEXT_UTF8);
        if !asked.negotiated || !is_error || !(is_text || self.has_media(JSON)) {
            return self;
        }
        if asked.form != Form::Html || !is_text {
            return self.with(header::VARY, VARY);
        }
        let content = page::of_error(&asked.page, status, &String::from_utf8_lossy(&self.content));
        let mut answer = Self::page(status, &asked.page, content);
        let fields = self.head.fields.into_iter();
        answer.head.fields.extend(fields.filter(|(name, _)| *name != header::CONTENT_TYPE));
        Self { ends: self.ends, ..answer }
    }

    /// A page for browsers.
    pub(super) fn page(status: StatusCode, frame: &Frame, content: String) -> Self {
        let length = Length::Known(content.len() as u64);
        let head = Head { status, fields: frame.fields().into(), length };
        Self { head, content: content.into(), ends: false }
    }

    fn has_media(&self, media: &str) -> bool {
        self.head.fields.iter().any(|(name, value)| *name == header::CONTENT_TYPE && value == media)
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

/// Returns whether the client asks for its SYN (docs/http.md).
pub(crate) fn asks_for_syn(head: &RequestHead) -> bool {
    head.fields.get(SYN_FIELD).is_some_and(|value| value == "?1")
}

/// Returns whether the client is wget, which has no way to prefer a type.
fn is_wget(head: &RequestHead) -> bool {
    let agent = head.fields.get(header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Wget"))
}

/// Seconds since the epoch.
pub(crate) fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The fields of a request that choose the form of a response.
pub(super) const VARY: &str = "Accept, User-Agent";

pub(super) const HTML: &str = "text/html";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";
pub(super) const TEXT_UTF8: &str = "text/plain; charset=utf-8";

/// Seconds after which a busy client may try again.
const RETRY_AFTER: &str = "5";

/// Number of fields that most responses have.
const USUAL: usize = 6;
