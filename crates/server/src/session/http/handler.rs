//! The contract between what handles a request and the version of HTTP that carries it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::copy::{Gate, Interest, Piece};

use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::resumable::ietf::Fields;
use anyport_proto::rooms::Join;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::transfer::refusal::Refusal;
use http::{Method, StatusCode};

use super::answer::{Answer, Asked, Head};
use crate::service::files::Source;
use crate::session::Context;

/// A request that was checked.
pub(crate) struct Request<'a> {
    /// That of the connection, with what this request's token permits.
    pub(super) context: &'a Context,
    pub(super) head: &'a RequestHead,
    pub(super) framing: Framing,
    /// The path behind that of the resource, percent-encoded as it was received.
    pub(super) rest: &'a str,
    pub(super) asked: &'a Asked,
}

/// The result of opening a request.
pub(crate) enum Opened {
    /// A complete response.
    Answer(Answer),
    /// A handler, for content or a response that is not in memory.
    Handler(Box<dyn Handler>),
    /// The events of a room, which HTTP/1.1 hands to a session of their own.
    Events(Box<(Context, Join)>),
}

impl Opened {
    pub(super) fn handler(handler: impl Handler + 'static) -> Self {
        Self::Handler(Box::new(handler))
    }
}

impl Request<'_> {
    /// Returns whether the method has content.
    pub(super) fn has_content(&self) -> bool {
        has_content(&self.head.method)
    }

    /// Returns the client for the files service.
    pub(super) fn source(&self) -> Source {
        self.context.source(self.asked.protocol, Engine::Own)
    }

    /// Refuses the request, and reports it.
    pub(super) fn refuse(&self, status: StatusCode, refusal: Refusal) -> Answer {
        refuse(self.context, self.asked, status, refusal)
    }
}

pub(super) fn has_content(method: &Method) -> bool {
    [Method::PUT, Method::POST, Method::PATCH].contains(method)
}

/// Refuses a request, and reports it.
pub(crate) fn refuse(
    context: &Context,
    asked: &Asked,
    status: StatusCode,
    refusal: Refusal,
) -> Answer {
    context.refused(asked.protocol.as_str(), &refusal.message);
    Answer::refusal(refusal, asked.form).with_status(status)
}

/// The handler of one request to a resource: content in, response out, neither of them framed.
///
/// A handler has the shape of a session (`anyport_net::copy::Session`), and its driver repeats the
/// same turn:
///
/// ```text
///   1  head      `head()`: once it is known, the response begins
///   2  interest  `interest()`: what to wait for
///   3  wait      until the gate opens, then a new turn; Idle once `until` has passed
///   4  produce   `produce()`, then Sent for a piece of a file
///   5  content   `handle()` with Content, Spliced or End; Idle after `idle` without content
/// ```
///
/// HTTP/1.1 runs these turns inside its session, HTTP/2 in the task of a stream:
///
/// | field of [`Interest`] | HTTP/1.1 | HTTP/2 |
/// |---|---|---|
/// | `idle`, `wait`, `produce`, `may_block` | yes | yes |
/// | `read` | spliced if it asks for that | bytes |
/// | `place` | thread of the connection | a reactor has no buffer for `produce` |
/// | `wake` | yes | no |
/// | `wait.gone_below` | yes | no: a stream has no FIN to look for |
///
/// The turns end with anything but
/// [`Next::Continue`]; a handler that is dropped before was sent [`Event::Lost`].
pub(crate) trait Handler: Send {
    /// Returns what the driver must wait for.
    fn interest(&self) -> Interest;

    /// Returns the head of a response with content, once.
    fn head(&mut self) -> Option<Head> {
        None
    }

    /// Handles one event that happened at `at`, and appends content of the response to `out`.
    fn handle(&mut self, event: Event<'_>, at: Instant, out: &mut Vec<u8>) -> Next;

    /// Produces the next piece of the response, while [`Interest::produce`] is set. `buffer` may be
    /// filled; bytes appended to `out` precede the piece.
    ///
    /// # Errors
    /// The content cannot be sent completely, so the connection or the stream must break: with a
    /// reset, if that is the kind of the error.
    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        let _ = (buffer, out);
        Ok(Produced::Next(Next::Continue))
    }

    /// Returns the fields of an interim response 104, once it is known. Only HTTP/1.1 sends it.
    fn interim(&mut self) -> Option<Fields> {
        None
    }

    /// Returns the gate that opens when another request takes the place of this one. HTTP/1.1 need
    /// not wait for it, as then its connection ends.
    fn evicted(&self) -> Option<Arc<Gate>> {
        None
    }

    /// Returns whether the handler itself reports that content is malformed.
    fn reports(&self) -> bool {
        false
    }
}

/// An event of a request.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Content of the request; `more` of it was read with it.
    Content { piece: &'a [u8], more: bool },
    /// Number of content bytes that were spliced into the file of [`Interest::read`].
    Spliced(u64),
    /// The content is complete; also if there is none.
    End,
    /// Number of bytes of the last [`Produced::File`] that were sent.
    Sent(u64),
    /// No content for [`Interest::idle`], or the end of a wait.
    Idle,
    /// The server stops.
    Shutdown,
    /// The content ended early or is malformed, or the client closed its side while it waited, for
    /// this reason. It may still read a response.
    Incomplete(&'a str),
    /// The client is gone, for this reason. It is the last event.
    Lost(&'a str),
}

/// The driver's next action after a call.
#[derive(Debug)]
pub(crate) enum Next {
    /// A new turn.
    Continue,
    /// This is the whole response; none was begun.
    Respond(Answer),
    /// The content of the response is complete.
    End,
    /// The response was begun and cannot be completed, for this reason.
    Abort(String),
}

/// The next piece of a response.
#[derive(Debug)]
pub(crate) enum Produced {
    /// No content except the bytes appended to `out`.
    Next(Next),
    /// This many bytes of the buffer.
    Bytes(usize),
    /// Bytes of a file. Only of a response whose length is in its head.
    File(Piece),
    /// All content was produced: the next call follows when it is written.
    Flush,
}
