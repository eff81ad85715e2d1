//! A file or a listing as the content of a response.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement};
use anyport_proto::transfer::fields::content_range;
use anyport_proto::transfer::refusal::Refusal;

use super::listing::Page;
use crate::session::http::answer::Head;
use crate::session::http::handler::{Event, Handler, Next, Produced};
use crate::session::sending::{Output, Sending};

pub(super) struct Outbound {
    head: Option<Head>,
    /// `None` once all of it was sent.
    sending: Option<Sending>,
    /// The form of a listing.
    page: Option<Page>,
    /// The ranges of a file, if there are several.
    parts: Option<Parts>,
    idle: Duration,
}

impl Outbound {
    pub(super) const fn new(
        head: Head,
        sending: Sending,
        page: Option<Page>,
        idle: Duration,
    ) -> Self {
        Self { head: Some(head), sending: Some(sending), page, parts: None, idle }
    }

    /// Returns the same with `parts`; the sending is that of the first one.
    pub(super) fn with_parts(self, parts: Parts) -> Self {
        Self { parts: Some(parts), ..self }
    }
}

impl Handler for Outbound {
    fn interest(&self) -> Interest {
        let place = Placement::Thread;
        Interest { produce: true, may_block: true, place, ..Interest::input(self.idle) }
    }

    fn head(&mut self) -> Option<Head> {
        self.head.take()
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::Sent(count) => {
                if let Some(sending) = &mut self.sending {
                    sending.sent(count);
                }
            }
            Event::Lost(reason) => {
                if let Some(sending) = self.sending.take() {
                    sending.broken(reason);
                }
            }
            _ => {}
        }
        Next::Continue
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        if let Some(head) = self.parts.as_mut().and_then(Parts::first) {
            out.extend_from_slice(head.as_bytes());
            return Ok(Produced::Next(Next::Continue));
        }
        let sent = self.sending.take().map(|sending| sending.next(buffer)).transpose()?.flatten();
        let Some((say, rest)) = sent else { return Ok(Produced::Next(Next::End)) };
        self.sending = rest;
        let next = match (say, &mut self.page) {
            (Output::Content(count), _) => return Ok(Produced::Bytes(count)),
            (Output::Kernel(piece), _) => return Ok(Produced::File(piece)),
            (Output::FileEnd(_), _) => match self.parts.as_mut().map(Parts::next) {
                None => return Ok(Produced::Flush),
                Some((text, range)) => {
                    out.extend_from_slice(text.as_bytes());
                    match range {
                        Some(range) => {
                            self.sending =
                                self.sending.take().map(|sending| sending.with_range(range));
                        }
                        // The next call waits until all is written.
                        None => self.parts = None,
                    }
                    Next::Continue
                }
            },
            // The head announced success, so only an interrupted connection can report the failure.
            (Output::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Output::Listed(entries, left_out), Some(page)) => {
                out.extend_from_slice(page.listed(&entries, left_out).as_bytes());
                Next::Continue
            }
            (Output::ListEnd(end), Some(page)) => {
                out.extend_from_slice(page.close(&end).as_bytes());
                Next::End
            }
            (Output::Listed(..) | Output::ListEnd(_), None) => Next::Continue,
        };
        Ok(Produced::Next(next))
    }
}

/// Several ranges of a file as one content (`multipart/byteranges`, RFC 9110 §14.6).
pub(super) struct Parts {
    boundary: String,
    /// The fields of each part, without its range.
    media: &'static str,
    size: u64,
    ranges: std::vec::IntoIter<Range<u64>>,
    /// The head of the first part, until it is written.
    first: Option<String>,
}

impl Parts {
    /// Returns the parts, the first range, and the length of the whole content.
    pub(super) fn new(
        media: &'static str,
        size: u64,
        ranges: Vec<Range<u64>>,
    ) -> Option<(Self, Range<u64>, u64)> {
        let boundary = format!("{:016x}", getrandom::u64().ok()?);
        let mut parts = Self { boundary, media, size, ranges: Vec::new().into_iter(), first: None };
        let length = |range: &Range<u64>| parts.head(range).len() as u64 + range.end - range.start;
        let length = ranges.iter().map(length).sum::<u64>() + parts.end().len() as u64;
        let mut ranges = ranges.into_iter();
        let range = ranges.next()?;
        parts.first = Some(parts.head(&range));
        parts.ranges = ranges;
        Some((parts, range, length))
    }

    /// Returns the media type of the content.
    pub(super) fn media(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    fn head(&self, range: &Range<u64>) -> String {
        let content_range = content_range(range.start, range.end - 1, self.size);
        let (boundary, media) = (&self.boundary, self.media);
        format!(
            "\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {content_range}\r\n\r\n"
        )
    }

    fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    fn first(&mut self) -> Option<String> {
        self.first.take()
    }

    /// Returns the text behind a part, and the range that follows.
    fn next(&mut self) -> (String, Option<Range<u64>>) {
        match self.ranges.next() {
            Some(range) => (self.head(&range), Some(range)),
            None => (self.end(), None),
        }
    }
}
