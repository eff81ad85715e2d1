//! Responses of HTTP/1.1, encoded (RFC 9112 §4, §6, §7.1, §9).

use anyport_proto::http1::{RequestHead, date};
use anyport_proto::resumable::ietf::{Fields, SUPPORTED};
use anyport_proto::transfer::receipt::Protocol;
use http::{Version, header};

use crate::config::Config;
use crate::events::Timed;
use crate::session::http::{Answer, Asked, Head, Length, now};

/// The properties of the request that the response depends on, until it is written.
#[derive(Debug)]
pub(super) struct Exchange {
    version: Version,
    /// Whether another request may follow.
    pub(super) persistent: bool,
    pub(super) asked: Asked,
    /// Dropped when the response is written; `None` if nothing is counted.
    timed: Option<Timed>,
}

/// The framing of a response's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// By its length, or there is none.
    Plain,
    Chunks,
    /// By the end of the connection.
    UntilClose,
}

impl Exchange {
    /// The exchange of a request. If the server is `stopping`, it is the last of its connection.
    pub(super) fn of(head: &RequestHead, config: &Config, stopping: bool) -> Self {
        // RFC 9112 §9.3: HTTP/1.1 persists by default, HTTP/1.0 on request.
        let continues = match head.version {
            Version::HTTP_10 => head.has_token(header::CONNECTION, "keep-alive"),
            _ => true,
        };
        Self {
            version: head.version,
            persistent: continues && !stopping && !head.has_token(header::CONNECTION, "close"),
            asked: Asked::of(head, config, stopping),
            timed: None,
        }
    }

    /// The exchange of a request that could not be read.
    pub(super) const fn unread() -> Self {
        let asked = Asked::unread(Protocol::Http);
        Self { version: Version::HTTP_11, persistent: false, asked, timed: None }
    }

    /// Counts the exchange when its response is written.
    pub(super) fn timed(self, timed: Timed) -> Self {
        Self { timed: Some(timed), ..self }
    }

    /// Lets the response end with the connection.
    pub(super) fn until_close(mut self) -> Self {
        self.version = Version::HTTP_10;
        self.persistent = false;
        self
    }

    /// Writes a complete response.
    pub(super) fn answer(&mut self, answer: Answer, replies: &mut Vec<u8>) {
        let Answer { head, content, ends } = answer.for_client(&self.asked);
        self.persistent &= !ends;
        self.head(head, replies);
        if !self.asked.without_content {
            replies.extend_from_slice(&content);
        }
        self.timed = None;
    }

    /// Writes the interim response that a client can resume (status 104 of
    /// draft-ietf-httpbis-resumable-upload). HTTP/1.0 has no interim responses.
    pub(super) fn interim(&self, fields: &Fields, replies: &mut Vec<u8>) {
        if self.version == Version::HTTP_10 {
            return;
        }
        let mut text = format!("HTTP/1.1 104 {SUPPORTED}\r\n");
        for (name, value) in fields.iter().cloned().map(|field| self.asked.public(field)) {
            text.push_str(&format!("{}: {value}\r\n", Title(name.as_str())));
        }
        text.push_str("\r\n");
        replies.extend_from_slice(text.as_bytes());
    }

    /// Writes the head of a response, the empty line included. Content that only the end of the
    /// connection can end makes it the last.
    pub(super) fn head(&mut self, head: Head, replies: &mut Vec<u8>) -> Frame {
        let (status, length) = (head.status, head.length);
        if let Some(timed) = &mut self.timed {
            timed.answered(status);
        }
        let frame = match length {
            Length::Known(_) | Length::None => Frame::Plain,
            Length::Unknown if self.version == Version::HTTP_10 => Frame::UntilClose,
            Length::Unknown => Frame::Chunks,
        };
        self.persistent &= frame != Frame::UntilClose;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
        for (name, value) in head.fields(&self.asked) {
            text.push_str(&format!("{}: {value}\r\n", Title(name.as_str())));
        }
        if frame == Frame::Chunks {
            text.push_str("Transfer-Encoding: chunked\r\n");
        }
        match (self.persistent, self.version) {
            (false, _) => text.push_str("Connection: close\r\n"),
            (true, Version::HTTP_10) => text.push_str("Connection: keep-alive\r\n"),
            (true, _) => {}
        }
        text.push_str("\r\n");
        replies.extend_from_slice(text.as_bytes());
        frame
    }
}

impl Frame {
    /// Writes a piece of content.
    pub(super) fn write(self, content: &[u8], replies: &mut Vec<u8>) {
        match self {
            // No chunk is empty but the last.
            Self::Chunks if content.is_empty() => {}
            Self::Chunks => {
                replies.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
                replies.extend_from_slice(content);
                replies.extend_from_slice(b"\r\n");
            }
            Self::Plain | Self::UntilClose => replies.extend_from_slice(content),
        }
    }

    /// Writes the end of the content.
    pub(super) fn end(self, replies: &mut Vec<u8>) {
        if self == Self::Chunks {
            replies.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Writes a response that was made without a clock, with its date (RFC 9110 §6.6.1).
pub(super) fn dated(response: &[u8], replies: &mut Vec<u8>) {
    let line = response.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (line, rest) = response.split_at(line);
    replies.extend_from_slice(line);
    if let Some(date) = date::write(now()) {
        replies.extend_from_slice(format!("Date: {date}\r\n").as_bytes());
    }
    replies.extend_from_slice(rest);
}

/// A field name in title case.
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

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
    use http::StatusCode;

    use super::*;
    use crate::session::http::Form;

    fn written(answer: Answer, mut exchange: Exchange) -> String {
        let mut replies = Vec::new();
        exchange.answer(answer, &mut replies);
        String::from_utf8(replies).unwrap()
    }

    #[test]
    fn a_response_has_a_date_a_length_and_announces_the_end_of_the_connection() {
        let answer = || Answer::text(StatusCode::NOT_FOUND, "no\n").with(header::ETAG, "\"1\"");
        let text = written(answer(), Exchange::unread());
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\nDate: "), "{text}");
        let rest = " GMT\r\nContent-Type: text/plain; charset=utf-8\r\nETag: \
            \"1\"\r\nContent-Length: 3\r\n\
            X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n\
            Connection: close\r\n\r\nno\n";
        assert!(text.ends_with(rest), "{text}");
        let asked = Asked { without_content: true, ..Asked::unread(Protocol::Http) };
        let head = Exchange { asked, persistent: true, ..Exchange::unread() };
        let text = written(answer(), head);
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
    fn a_busy_response_has_retry_after() {
        let busy = Refusal::new(RefusalCode::Busy, "busy").with_hint("wait");
        let text = written(Answer::refusal(busy.clone(), Form::Text), Exchange::unread());
        assert!(
            text.contains("Retry-After: 5\r\n") && text.ends_with("busy\nhint: wait\n"),
            "{text}"
        );
        let json = written(Answer::refusal(busy, Form::Json), Exchange::unread());
        assert!(
            json.ends_with(
                "{\"error\":{\"code\":\"busy\",\"message\":\"busy\",\"hint\":\"wait\"}}\n"
            )
        );
    }

    #[test]
    fn chunks_are_never_empty_but_for_the_last() {
        let mut replies = Vec::new();
        for piece in ["", "abc", "", "0123456789abcdef"] {
            Frame::Chunks.write(piece.as_bytes(), &mut replies);
        }
        Frame::Chunks.end(&mut replies);
        let text = String::from_utf8(replies).unwrap();
        assert_eq!(text, "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    }
}
