//! One request of HTTP/1.1 that a handler serves: its content and its response, framed.

use std::io;
use std::time::{Duration, Instant};

use anyport_net::copy::{self, Interest, Placement, Read};
use anyport_proto::http1::{BodyReader, Framing};

use super::CONTINUE;
use super::write::{Exchange, Frame};
use crate::session::http::{Event, Handler, Next, Produced};
use crate::session::{self, Context};

pub(super) struct Serving {
    exchange: Exchange,
    body: BodyReader,
    handler: Box<dyn Handler>,
    /// Framing of the response's content, once its head is written.
    frame: Option<Frame>,
    /// The end of a chunk is not written yet.
    in_chunk: bool,
    /// The client waits for permission to send its content.
    expects: bool,
}

impl Serving {
    pub(super) fn new(
        exchange: Exchange,
        framing: Framing,
        handler: Box<dyn Handler>,
        expects: bool,
    ) -> Self {
        let body = BodyReader::new(framing);
        Self { exchange, body, handler, frame: None, in_chunk: false, expects }
    }

    /// Discards the content of a request that has been answered.
    pub(super) fn discard(exchange: Exchange, framing: Framing, idle: Duration) -> Self {
        Self::new(exchange, framing, Box::new(Discard { idle }), false)
    }

    /// Begins to serve. Returns whether the response is complete, as the following methods do.
    pub(super) fn begin(&mut self, context: &Context, at: Instant, replies: &mut Vec<u8>) -> bool {
        if self.body.is_done() {
            return self.end(context, at, replies);
        }
        let interest = self.handler.interest();
        if interest.wait.is_none() && !interest.produce {
            self.permit(replies);
        }
        self.write(&[], context, replies);
        false
    }

    /// Returns the exchange, once the response is complete.
    pub(super) fn finish(self) -> Exchange {
        self.exchange
    }

    pub(super) fn interest(&self) -> Interest {
        let mut interest = self.handler.interest();
        // Chunk lines are between the bytes, so they must be read.
        if self.body.left().is_none() && matches!(interest.read, Read::Splice(_)) {
            interest.read = Read::Bytes;
        }
        if let Some(wait) = &mut interest.wait {
            wait.gone_below = wait.gone_below.max(self.body.left().unwrap_or(0));
        }
        // The end of content may begin the next request. An upload states itself whether it blocks.
        interest.may_block |= interest.place == Placement::Runtime && !self.body.is_done();
        interest.produce |= self.expects && interest.wait.is_none();
        // An abort shuts the socket of a thread, and that looks like the end where nothing else
        // marks it.
        if self.frame == Some(Frame::UntilClose) {
            interest.place = Placement::Runtime;
        }
        interest
    }

    /// Returns whether all content of the request was read.
    pub(super) const fn is_received(&self) -> bool {
        self.body.is_done()
    }

    /// Handles content, and records in `used` how many of `bytes` belonged to it.
    pub(super) fn content(
        &mut self,
        bytes: &[u8],
        used: &mut usize,
        context: &Context,
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> bool {
        // A client that sends does not wait for permission.
        self.expects &= bytes.is_empty();
        while !self.body.is_done() && *used < bytes.len() {
            let piece = match self.body.read(&bytes[*used..], &context.config.limits) {
                Ok(piece) => piece,
                Err(error) => {
                    let reason = error.to_string();
                    if !self.handler.reports() {
                        context.refused("http", &reason);
                    }
                    let next = self.handler.handle(Event::Incomplete(&reason), at, &mut Vec::new());
                    let next = match next {
                        Next::Respond(answer) => Next::Respond(answer.with_status(error.status())),
                        _ => Next::Abort(reason),
                    };
                    return self.follow(next, &[], context, replies);
                }
            };
            *used += piece.used;
            let more = !self.body.is_done() && *used < bytes.len();
            let event = Event::Content { piece: piece.content, more };
            if self.handle(event, context, at, replies) {
                return true;
            }
        }
        self.body.is_done() && self.end(context, at, replies)
    }

    /// Handles content that was spliced.
    pub(super) fn spliced(
        &mut self,
        count: u64,
        context: &Context,
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> bool {
        self.body.pass(count);
        self.handle(Event::Spliced(count), context, at, replies)
            || (self.body.is_done() && self.end(context, at, replies))
    }

    fn end(&mut self, context: &Context, at: Instant, replies: &mut Vec<u8>) -> bool {
        self.exchange.persistent &= !context.stage.is_draining();
        self.handle(Event::End, context, at, replies)
    }

    /// Handles the end of the stream. A client that only half-closed still reads the response.
    pub(super) fn end_of_stream(&mut self, context: &Context, replies: &mut Vec<u8>) -> bool {
        let wait = self.handler.interest().wait;
        let waited = wait.is_some_and(|wait| wait.gone_below == u64::MAX);
        let reason = match self.body.left() {
            _ if waited => "the client closed while it waited".to_owned(),
            Some(0) => "the client closed while it waited".to_owned(),
            Some(left) => format!("the stream ended {left} bytes before the announced length"),
            None => "the stream ended before the last chunk".to_owned(),
        };
        self.handle(Event::Incomplete(&reason), context, Instant::now(), replies)
    }

    /// Handles an event that is no content.
    pub(super) fn handle(
        &mut self,
        event: Event<'_>,
        context: &Context,
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> bool {
        let mut content = Vec::new();
        let next = self.handler.handle(event, at, &mut content);
        self.follow(next, &content, context, replies)
    }

    /// Records that the connection is lost.
    pub(super) fn lost(&mut self, reason: &str, context: &Context) {
        self.handler.handle(Event::Lost(reason), Instant::now(), &mut Vec::new());
        self.reset(context);
    }

    /// Produces the next piece of the response.
    pub(super) fn produce(
        &mut self,
        buffer: &mut [u8],
        context: &Context,
        replies: &mut Vec<u8>,
    ) -> io::Result<(session::Produced, bool)> {
        let continues = session::Produced::Next(copy::Next::Continue);
        let interest = self.handler.interest();
        // A handler that produces may still refuse the content.
        if interest.wait.is_none() && !interest.produce {
            self.permit(replies);
        }
        if !interest.produce {
            return Ok((continues, false));
        }
        self.write(&[], context, replies);
        let mut content = Vec::new();
        let produced = self.handler.produce(buffer, &mut content).inspect_err(|error| {
            if error.kind() == io::ErrorKind::ConnectionReset {
                context.link.reset_at_end();
            }
            self.reset(context);
        })?;
        if std::mem::take(&mut self.in_chunk) {
            replies.extend_from_slice(b"\r\n");
        }
        Ok(match produced {
            Produced::Next(next) => {
                let is_finished = self.follow(next, &content, context, replies);
                if !is_finished && !self.expects {
                    self.permit(replies);
                }
                // The end of a response is a reply, as requests in the input may follow it.
                let is_content = !content.is_empty() && !is_finished;
                let bytes = session::Produced::Bytes(0);
                (if is_content { bytes } else { continues }, is_finished)
            }
            // Output is written before the next call.
            Produced::Flush => (continues, false),
            Produced::File(piece) => (session::Produced::File(piece), false),
            Produced::Bytes(count) => {
                if self.frame == Some(Frame::Chunks) && count > 0 {
                    replies.extend_from_slice(format!("{count:x}\r\n").as_bytes());
                    self.in_chunk = true;
                }
                (session::Produced::Bytes(count), false)
            }
        })
    }

    /// Lets the client send its content, and announces where it can resume.
    fn permit(&mut self, replies: &mut Vec<u8>) {
        if let Some(fields) = self.handler.interim() {
            self.exchange.interim(&fields, replies);
        }
        if std::mem::take(&mut self.expects) {
            replies.extend_from_slice(CONTINUE);
        }
    }

    /// Does what follows a call of the handler.
    fn follow(
        &mut self,
        next: Next,
        content: &[u8],
        context: &Context,
        replies: &mut Vec<u8>,
    ) -> bool {
        self.write(content, context, replies);
        match next {
            Next::Continue => return false,
            Next::Respond(answer) => {
                // The rest of the content would look like the next request.
                self.exchange.persistent &= self.body.is_done();
                self.exchange.answer(answer, replies);
            }
            Next::End => {
                self.frame.into_iter().for_each(|frame| frame.end(replies));
                if self.frame == Some(Frame::UntilClose) {
                    context.link.ends_in_order();
                }
            }
            Next::Abort(_) => {
                self.exchange.persistent = false;
                self.reset(context);
            }
        }
        true
    }

    /// Writes the head of the response, if it is known now, and content behind it.
    fn write(&mut self, content: &[u8], context: &Context, replies: &mut Vec<u8>) {
        if self.frame.is_none()
            && let Some(head) = self.handler.head()
        {
            let frame = self.exchange.head(head, replies);
            if frame == Frame::UntilClose {
                // FIN would look like the end, also if this process dies.
                context.link.resets_until_the_end();
            }
            self.frame = Some(frame);
        }
        if let Some(frame) = self.frame {
            frame.write(content, replies);
        }
    }

    /// Lets the connection end with a reset where FIN would look like the end of the content.
    fn reset(&self, context: &Context) {
        if self.frame == Some(Frame::UntilClose) {
            context.link.reset_at_end();
        }
    }
}

/// Discards content.
struct Discard {
    idle: Duration,
}

impl Handler for Discard {
    fn interest(&self) -> Interest {
        Interest::input(self.idle)
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::End => Next::End,
            Event::Idle => Next::Abort(session::idle_reason(self.idle)),
            Event::Incomplete(reason) => Next::Abort(reason.to_owned()),
            _ => Next::Continue,
        }
    }
}
