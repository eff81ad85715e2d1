//! The contract between a resource and the version of HTTP that carries its request.

use std::io;
use std::time::Instant;

use anyport_net::copy::{Interest, Piece};

use super::answer::{Answer, Head};

/// What serves one request: its content in, the response out, neither of them framed.
///
/// A resource has the shape of a session (`anyport_net::copy::Session`), and its driver repeats the
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
/// HTTP/1.1 runs these turns inside its session, HTTP/2 in the task of a stream. `place` and
/// `gone_below` are for drivers that own a socket. The turns end with anything but
/// [`Next::Continue`]; a resource that is dropped before was sent [`Event::Lost`].
pub(crate) trait Resource: Send {
    /// Returns what the driver must wait for.
    fn interest(&self) -> Interest;

    /// Returns the head of a response with content, once.
    fn head(&mut self) -> Option<Head> {
        None
    }

    /// Handles one event that happened at `at`, and appends content of the response to `out`.
    fn handle(&mut self, event: Event<'_>, at: Instant, out: &mut Vec<u8>) -> Next;

    /// Produces the next piece of the response, while [`Interest::produce`] is set. `buffer` may be
    /// filled; what is appended to `out` goes before the piece.
    ///
    /// # Errors
    /// The content cannot be sent completely, so the connection or the stream must break.
    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        let _ = (buffer, out);
        Ok(Produced::Next(Next::Continue))
    }

    /// Returns whether the resource itself reports that content is malformed.
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

/// What follows a call.
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
    /// No content but what was appended to `out`.
    Next(Next),
    /// This many bytes of the buffer.
    Bytes(usize),
    /// Bytes of a file. Only of a response whose length is in its head.
    File(Piece),
    /// All content was produced: the next call follows when it is written.
    Flush,
}
