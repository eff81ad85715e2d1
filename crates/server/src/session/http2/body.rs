//! The contents of answers: each gives its next piece when the client has room for it, and notices when it is dropped before
//! its end.

use std::io;
use std::time::Duration;

use anyport_proto::transfer::refusal::Refusal;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::task::block_in_place;

use super::Connection;
use super::content::{Came, next};
use super::watch::Open;
use crate::service::rooms::Listener;
use crate::session::http::Page;
use crate::session::sending::{Say, Sending};

/// The content of an answer. Its error resets the stream: no client takes what came for all of it.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is all here.
pub(super) fn whole(content: String) -> Body {
    Full::from(content).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A file or a listing.
pub(super) fn sending(sending: Sending, page: Option<Page>, open: Open) -> Body {
    let opening = page.as_ref().map(Page::open).filter(|text| !text.is_empty());
    let opening = opening.map(|text| Ok(Bytes::from(text)));
    let outbound = Outbound { sending: Some(sending), page, open };
    streamed(stream::iter(opening.into_iter().chain(outbound)))
}

/// A file or a listing on its way out.
struct Outbound {
    /// None where all of it is out.
    sending: Option<Sending>,
    /// How a listing is written.
    page: Option<Page>,
    open: Open,
}

impl Outbound {
    /// The next piece; an empty one where there was something else to do, none at the end.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        let Some(sending) = self.sending.take() else { return Ok(None) };
        let mut buffer = vec![0; PIECE];
        let Some((say, rest)) = sending.next(&mut buffer)? else { return Ok(None) };
        self.sending = rest;
        Ok(Some(match (say, &mut self.page) {
            (Say::Content(count), _) => {
                buffer.truncate(count);
                buffer.into()
            }
            (Say::Unseen(piece), _) => {
                let count = piece.read(&mut buffer)?;
                if count == 0 {
                    return Err(io::Error::other("the file became shorter while it was sent"));
                }
                if let Some(sending) = &mut self.sending {
                    sending.sent(count as u64);
                }
                buffer.truncate(count);
                buffer.into()
            }
            (Say::Entries(entries), Some(page)) => page.entries(&entries).into(),
            (Say::ListEnd(_), Some(page)) => Bytes::from_static(page.close().as_bytes()),
            // Its head said that all is well, so only a break can say that it is not.
            (Say::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Say::FileEnd(_) | Say::Entries(_) | Say::ListEnd(_), _) => Bytes::new(),
        }))
    }
}

impl Iterator for Outbound {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.open.moved();
        loop {
            match block_in_place(|| self.step()).transpose()? {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Some(Ok(piece)),
                Err(error) => {
                    if let Some(sending) = self.sending.take() {
                        sending.broken(&error.to_string());
                    }
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.broken("the client took no more, or the connection broke");
        }
    }
}

/// What came, as it came.
pub(super) fn echo(incoming: Incoming, idle: Duration, open: Open) -> Body {
    streamed(stream::unfold(Some((incoming, open)), move |state| async move {
        let (mut incoming, open) = state?;
        match next(&mut incoming, idle, &open).await {
            Came::Piece(piece) => Some((Ok(piece), Some((incoming, open)))),
            Came::End => None,
            Came::Silence => {
                let silence = format!("nothing came for {idle:?}");
                Some((Err(io::Error::new(io::ErrorKind::TimedOut, silence)), None))
            }
            Came::Broken(reason) => Some((Err(io::Error::other(reason)), None)),
        }
    }))
}

/// What happens in a room, until the client or the server has enough.
pub(super) fn events(listener: Listener, connection: &Connection, open: Open) -> Body {
    let draining = connection.stop.draining.clone();
    // Often enough that whoever stands between us and the client does not take it for dead.
    let patience = connection.context.config.timeouts.idle / 2;
    let state = (listener, draining, open);
    streamed(stream::unfold(state, move |(listener, draining, open)| async move {
        let piece = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            piece = listener.next() => piece?,
            // A comment (WHATWG HTML §9.2.5): that it is taken shows that somebody is there.
            () = tokio::time::sleep(patience) => Bytes::from_static(b":\n\n"),
        };
        open.moved();
        Some((Ok(piece), (listener, draining, open)))
    }))
}

/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;
