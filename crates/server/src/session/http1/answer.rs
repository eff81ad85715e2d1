//! Answers: heads with what each of them needs (RFC 9110 §6.6, §15; RFC 9112 §4, §6, §9), and short content behind them.

use std::time::SystemTime;

use anyport_proto::http1::{RequestHead, date, media};
use anyport_proto::transfer::offer::FileReply;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderName};
use http::{Method, StatusCode, Version};

use crate::metrics;

/// What of a request matters until its answer is out.
#[derive(Debug)]
pub(super) struct Exchange {
    version: Version,
    /// The method was HEAD: the answer has a head alone.
    without_content: bool,
    /// Whether another request may follow.
    pub(super) persistent: bool,
    pub(super) form: Form,
    /// The server stops: what would go on for long does not begin.
    pub(super) stopping: bool,
    /// The page of another host that asks, and may (`--allow-origin`): a browser shows it the answer.
    pub(super) foreign_page: Option<String>,
}

/// In which form the client would rather have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// What curl and nc show.
    Text,
    Json,
    /// What browsers ask for.
    Html,
}

impl Exchange {
    /// What a request asks of its answer. Where the server is `stopping` it is the last one of its connection.
    pub(super) fn of(head: &RequestHead, stopping: bool) -> Self {
        // RFC 9112 §9.3: HTTP/1.1 goes on unless told not to, HTTP/1.0 only if asked to.
        let goes_on = match head.version {
            Version::HTTP_10 => head.has_token(header::CONNECTION, "keep-alive"),
            _ => true,
        };
        let form = match media::preferred(head, &[HTML, JSON, TEXT]) {
            Some(HTML) => Form::Html,
            Some(JSON) => Form::Json,
            _ => Form::Text,
        };
        Self {
            version: head.version,
            without_content: head.method == Method::HEAD,
            persistent: goes_on && !stopping && !head.has_token(header::CONNECTION, "close"),
            form,
            stopping,
            foreign_page: None,
        }
    }

    /// For what is no request that could be read.
    pub(super) const fn unread() -> Self {
        Self {
            version: Version::HTTP_11,
            without_content: false,
            persistent: false,
            form: Form::Text,
            stopping: false,
            foreign_page: None,
        }
    }

    /// How content of unknown length is to be framed. What can only end with the connection ends it.
    pub(super) fn unknown_length(&mut self) -> Length {
        if self.version == Version::HTTP_10 {
            self.persistent = false;
            return Length::UntilClose;
        }
        Length::Chunked
    }

    /// Whether the answer has a head alone.
    pub(super) const fn without_content(&self) -> bool {
        self.without_content
    }
}

/// How the content of an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
    UntilClose,
    /// The status has no content (RFC 9110 §15.3.5, §15.4.5).
    None,
}

/// An answer that is whole.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    fields: Vec<(HeaderName, String)>,
    length: Length,
    content: String,
}

impl Answer {
    /// Plain text; each line ends.
    pub(super) fn text(status: StatusCode, content: impl Into<String>) -> Self {
        Self::content(status, TEXT_UTF8, content.into())
    }

    pub(super) fn json(status: StatusCode, mut content: String) -> Self {
        content.push('\n');
        Self::content(status, JSON, content)
    }

    pub(super) fn metrics(page: String) -> Self {
        Self::content(StatusCode::OK, metrics::MEDIA_TYPE, page)
    }

    fn content(status: StatusCode, media: &str, content: String) -> Self {
        let length = Length::Known(content.len() as u64);
        Self { status, fields: vec![(header::CONTENT_TYPE, media.to_owned())], length, content }
    }

    /// A head alone, with the length that its content has or would have.
    pub(super) const fn head(status: StatusCode, length: Length) -> Self {
        Self { status, fields: Vec::new(), length, content: String::new() }
    }

    /// What a service does not take, or not give.
    pub(super) fn refusal(refusal: Refusal, form: Form) -> Self {
        let status = status_of(refusal.code);
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

    /// With one more field. What comes from a peer must have been made safe before.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The same with another status.
    #[must_use]
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn write(&self, exchange: &Exchange, replies: &mut Vec<u8>) {
        write_head(self.status, &self.fields, self.length, exchange, replies);
        if !exchange.without_content {
            replies.extend_from_slice(self.content.as_bytes());
        }
    }
}

/// The head of an answer, the empty line included.
pub(super) fn write_head(
    status: StatusCode,
    fields: &[(HeaderName, String)],
    length: Length,
    exchange: &Exchange,
    replies: &mut Vec<u8>,
) {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
    let mut field = |name: &HeaderName, value: &str| {
        head.push_str(&format!("{}: {value}\r\n", Title(name.as_str())));
    };
    if let Some(date) = now() {
        field(&header::DATE, &date);
    }
    for (name, value) in fields {
        field(name, value);
    }
    match length {
        Length::Known(length) => field(&header::CONTENT_LENGTH, &length.to_string()),
        Length::Chunked => field(&header::TRANSFER_ENCODING, "chunked"),
        Length::UntilClose | Length::None => {}
    }
    if let Some(page) = &exchange.foreign_page {
        field(&header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        field(&header::VARY, "Origin");
    }
    // What a file says of itself is a stranger's word: no guessing at other types.
    field(&header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Nor is anything of ours a picture or a script of somebody else's page.
    field(&HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    match (exchange.persistent, exchange.version) {
        (false, _) => field(&header::CONNECTION, "close"),
        (true, Version::HTTP_10) => field(&header::CONNECTION, "keep-alive"),
        (true, _) => {}
    }
    head.push_str("\r\n");
    replies.extend_from_slice(head.as_bytes());
}

/// A response that was made where there is no clock, with its date (RFC 9110 §6.6.1).
pub(super) fn dated(response: &[u8], replies: &mut Vec<u8>) {
    let line = response.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (line, rest) = response.split_at(line);
    replies.extend_from_slice(line);
    if let Some(date) = now() {
        replies.extend_from_slice(format!("Date: {date}\r\n").as_bytes());
    }
    replies.extend_from_slice(rest);
}

/// The status for each kind of refusal.
pub(super) const fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::BadRequest | RefusalCode::BadName | RefusalCode::SizeMismatch => {
            StatusCode::BAD_REQUEST
        }
        RefusalCode::NotSupported | RefusalCode::Unauthorized => StatusCode::FORBIDDEN,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::Exists => StatusCode::CONFLICT,
        RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        RefusalCode::Storage => StatusCode::INTERNAL_SERVER_ERROR,
        RefusalCode::DigestMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalCode::Interrupted => StatusCode::REQUEST_TIMEOUT,
        RefusalCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `content-type` as people write it.
struct Title<'a>(&'a str);

impl std::fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == header::ETAG {
            return f.write_str("ETag");
        }
        self.0.split('-').enumerate().try_for_each(|(at, word)| {
            let (first, rest) = word.split_at(1.min(word.len()));
            let dash = if at == 0 { "" } else { "-" };
            write!(f, "{dash}{}{rest}", first.to_ascii_uppercase())
        })
    }
}

/// Seconds since the epoch.
pub(super) fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn now() -> Option<String> {
    date::write(seconds())
}

pub(super) const HTML: &str = "text/html";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";
pub(super) const TEXT_UTF8: &str = "text/plain; charset=utf-8";

/// Seconds after which what is busy now may not be.
const RETRY_AFTER: &str = "5";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer, exchange: &Exchange) -> String {
        let mut replies = Vec::new();
        answer.write(exchange, &mut replies);
        String::from_utf8(replies).unwrap()
    }

    #[test]
    fn an_answer_has_a_date_its_length_and_says_where_the_connection_ends() {
        let answer = Answer::text(StatusCode::NOT_FOUND, "no\n").with(header::ETAG, "\"1\"");
        let text = written(&answer, &Exchange::unread());
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\nDate: "), "{text}");
        let rest = " GMT\r\nContent-Type: text/plain; charset=utf-8\r\nETag: \"1\"\r\nContent-Length: 3\r\n\
            X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n\r\nno\n";
        assert!(text.ends_with(rest), "{text}");
        let head = Exchange { without_content: true, persistent: true, ..Exchange::unread() };
        let text = written(&answer, &head);
        assert!(text.contains("Content-Length: 3\r\n"), "{text}");
        assert!(text.ends_with("same-origin\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_response_of_another_hand_gets_its_date_behind_the_status_line() {
        let mut replies = Vec::new();
        dated(b"HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n", &mut replies);
        let text = String::from_utf8(replies).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\nDate: "), "{text}");
        assert!(text.ends_with(" GMT\r\nA: b\r\n\r\n"), "{text}");
    }

    #[test]
    fn who_is_to_come_again_is_told_when() {
        let busy = Refusal::new(RefusalCode::Busy, "busy").with_hint("wait");
        let text = written(&Answer::refusal(busy.clone(), Form::Text), &Exchange::unread());
        assert!(
            text.contains("Retry-After: 5\r\n") && text.ends_with("busy\nhint: wait\n"),
            "{text}"
        );
        let json = written(&Answer::refusal(busy, Form::Json), &Exchange::unread());
        assert!(
            json.ends_with(
                "{\"error\":{\"code\":\"busy\",\"message\":\"busy\",\"hint\":\"wait\"}}\n"
            )
        );
    }
}
