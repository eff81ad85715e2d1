//! The contents of responses.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use super::flow::{FLOW, Outflow, Piece, SHORT};
use super::watch::Open;

/// The content of a response. Its error resets the stream: no client accepts a part of it as all of
/// it.
pub(super) type Body = UnsyncBoxBody<Piece, io::Error>;

/// A short content that is in memory.
pub(super) fn whole(content: Bytes, open: Open) -> Body {
    if content.is_empty() {
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    if content.len() <= SHORT {
        let piece = Piece::only(content, FLOW.get(), open);
        return Full::new(piece).map_err(|never| match never {}).boxed_unsync();
    }
    flowing(stream::iter([Ok(content)]), open)
}

/// A content that is produced piece by piece.
pub(super) fn flowing(
    content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    open: Open,
) -> Body {
    StreamBody::new(Outflow::new(FLOW.get(), content, open)).boxed_unsync()
}
