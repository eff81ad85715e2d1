//! `POST /echo`: the content comes back as it goes in, framed in the same way; what is held is what one read brought.

use http::StatusCode;
use http::header;

use anyport_proto::http1::{BodyReader, media};

use super::answer::{Exchange, Length, write_head};

pub(super) struct Echoing {
    length: Length,
    begun: bool,
}

impl Echoing {
    /// Nothing has come yet of `body`.
    pub(super) fn new(body: &BodyReader) -> Self {
        let length = body.left().map_or(Length::Chunked, Length::Known);
        Self { length, begun: false }
    }

    /// Whether its answer has begun, so that no other can be given.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn write(&mut self, content: &[u8], exchange: &Exchange, replies: &mut Vec<u8>) {
        if content.is_empty() {
            return;
        }
        self.begin(exchange, replies);
        if self.length == Length::Chunked {
            write_chunk(content, replies);
        } else {
            replies.extend_from_slice(content);
        }
    }

    pub(super) fn finish(mut self, exchange: &Exchange, replies: &mut Vec<u8>) {
        self.begin(exchange, replies);
        if self.length == Length::Chunked {
            replies.extend_from_slice(LAST_CHUNK);
        }
    }

    /// The head goes out with the first content: before it, a refusal can still be told.
    fn begin(&mut self, exchange: &Exchange, replies: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let fields = [(header::CONTENT_TYPE, media::UNKNOWN.to_owned())];
            write_head(StatusCode::OK, &fields, self.length, exchange, replies);
        }
    }
}

/// One chunk (RFC 9112 §7.1); `content` is not empty.
pub(super) fn write_chunk(content: &[u8], replies: &mut Vec<u8>) {
    replies.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    replies.extend_from_slice(content);
    replies.extend_from_slice(b"\r\n");
}

/// The end of a content in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
