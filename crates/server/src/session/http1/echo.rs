//! `POST /echo`: the content comes back as it goes in, framed in the same way; what is held is what one read brought.

use super::write::{Exchange, Frame};
use crate::session::http::Head;

pub(super) struct Echoing {
    /// It goes out with the first content: before it, a refusal can still be told.
    head: Option<Head>,
    frame: Frame,
}

impl Echoing {
    /// Nothing has come yet.
    pub(super) const fn new(head: Head) -> Self {
        Self { head: Some(head), frame: Frame::Plain }
    }

    /// Whether its answer has begun, so that no other can be given.
    pub(super) const fn has_begun(&self) -> bool {
        self.head.is_none()
    }

    pub(super) fn write(&mut self, content: &[u8], exchange: &mut Exchange, replies: &mut Vec<u8>) {
        if !content.is_empty() {
            self.begin(exchange, replies);
            self.frame.write(content, replies);
        }
    }

    pub(super) fn finish(mut self, exchange: &mut Exchange, replies: &mut Vec<u8>) {
        self.begin(exchange, replies);
        self.frame.end(replies);
    }

    fn begin(&mut self, exchange: &mut Exchange, replies: &mut Vec<u8>) {
        if let Some(head) = self.head.take() {
            self.frame = exchange.head(head, replies);
        }
    }
}
