//! The contents of responses.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use super::Connection;
use super::flow::{FLOW, Outflow, Piece, SHORT};
use super::watch::Open;
use crate::service::rooms::Listener;

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
