//! The contents of responses: each returns its next piece when there is room for it, and notices when it is dropped before its
//! end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyport_net::blocking;
use anyport_proto::transfer::refusal::Refusal;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;

use super::Connection;
use super::content::{Came, next};
use super::flow::{FLOW, Flow, Outflow, Piece, SHORT};
use super::watch::Open;
use crate::service::rooms::Listener;
use crate::session::http::Page;
use crate::session::idle_reason;
use crate::session::sending::{Say, Sending};

/// The content of a response. Its error resets the stream: no client accepts a part of it as all of it.
pub(super) type Body = UnsyncBoxBody<Piece, io::Error>;

/// A short content that is in memory.
pub(super) fn whole(content: String, open: Open) -> Body {
    if content.is_empty() {
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    if content.len() <= SHORT {
        let piece = Piece::only(content.into(), FLOW.get(), open);
        return Full::new(piece).map_err(|never| match never {}).boxed_unsync();
    }
    flowing(stream::iter([Ok(Bytes::from(content))]), open)
}

/// A content that is produced piece by piece.
pub(super) fn flowing(
    content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    open: Open,
) -> Body {
    StreamBody::new(Outflow::new(FLOW.get(), content, open)).boxed_unsync()
}

/// A file or a listing.
pub(super) fn sending(sending: Sending, page: Option<Page>, open: Open) -> Body {
    let opening = page.as_ref().map(Page::open).filter(|text| !text.is_empty());
    let opening = opening.map(|text| Ok(Bytes::from(text)));
    let outbound = Outbound { sending: Some(sending), page, flow: FLOW.get() };
    let pieces = stream::unfold(outbound, |mut outbound| async move {
        // What follows is told as sent.
        if matches!(outbound.sending, Some(Sending::Ended(_))) {
            outbound.flow.drained().await;
        }
        let piece = blocking::run(|| outbound.next()).await?;
        Some((piece, outbound))
    });
    flowing(stream::iter(opening).chain(pieces), open)
}

/// A file or a listing on its way out.
struct Outbound {
    /// None where all of it is out.
    sending: Option<Sending>,
    /// How a listing is written.
    page: Option<Page>,
    flow: Arc<Flow>,
}

impl Outbound {
    /// The next piece; an empty one where there was something else to do, none at the end.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        let Some(sending) = self.sending.take() else { return Ok(None) };
        let mut buffer = vec![0; self.flow.next_piece()];
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
                    return Err(io::Error::other("the file was truncated while it was sent"));
                }
                if let Some(sending) = &mut self.sending {
                    sending.sent(count as u64);
                }
                buffer.truncate(count);
                buffer.into()
            }
            (Say::Listed(entries, left_out), Some(page)) => page.listed(&entries, left_out).into(),
            (Say::ListEnd(end), Some(page)) => page.close(&end).into(),
            // Its head said that all is well, so only a break can say that it is not.
            (Say::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Say::FileEnd(_) | Say::Listed(..) | Say::ListEnd(_), _) => Bytes::new(),
        }))
    }

    /// The next piece, which may be empty; `None` at the end.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let piece = self.step().transpose()?;
        if let Err(error) = &piece
            && let Some(sending) = self.sending.take()
        {
            sending.broken(&error.to_string());
        }
        Some(piece)
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.broken("the client stopped reading, or the connection was lost");
        }
    }
}

/// The content of the request.
pub(super) fn echo(
    incoming: Incoming,
    idle: Duration,
    connection: Arc<Connection>,
    open: Open,
) -> Body {
    let pieces = stream::unfold(Some(incoming), move |incoming| {
        let connection = connection.clone();
        async move {
            let mut incoming = incoming?;
            match next(&mut incoming, idle, &connection.watch).await {
                Came::Piece(piece) => Some((Ok(piece), Some(incoming))),
                Came::End => None,
                Came::Silence => {
                    let silence = idle_reason(idle);
                    Some((Err(io::Error::new(io::ErrorKind::TimedOut, silence)), None))
                }
                Came::Broken(reason) => Some((Err(io::Error::other(reason)), None)),
            }
        }
    });
    flowing(pieces, open)
}

/// The events of a room, until the client or the server ends them.
pub(super) fn events(listener: Listener, connection: &Connection, open: Open) -> Body {
    let draining = connection.stop.draining.clone();
    // Often enough that whoever stands between us and the client does not take it for dead.
    let patience = connection.context.config.timeouts.idle / 2;
    let pieces = stream::unfold((listener, draining), move |(listener, draining)| async move {
        let piece = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            piece = listener.next() => piece?,
            // A comment (WHATWG HTML §9.2.5): that it is taken shows that somebody is there.
            () = tokio::time::sleep(patience) => Bytes::from_static(b":\n\n"),
        };
        Some((Ok(piece), (listener, draining)))
    });
    flowing(pieces, open)
}
