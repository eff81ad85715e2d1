//! The content of a request. The client gets more window as its frames are read, so a slow disk
//! buffers the window of one stream at most.

use std::time::Duration;

use anyport_proto::one_line;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::watch::Watch;

/// Received content of a request.
pub(super) enum Received {
    /// Not empty.
    Piece(Bytes),
    End,
    /// Another request took its place.
    Evicted,
    /// Nothing, for the idle timeout.
    Silence,
    /// The stream was reset, its length was not the announced one, or the connection broke.
    Broken(String),
}

/// Returns the next piece.
///
/// Cancel safe: yes.
pub(super) async fn next(incoming: &mut Incoming, idle: Duration, watch: &Watch) -> Received {
    let until = tokio::time::Instant::now() + idle;
    loop {
        match tokio::time::timeout_at(until, incoming.frame()).await {
            Err(_) => return Received::Silence,
            // A reset without an error is no end of the content (RFC 9113 §8.1).
            Ok(None) if incoming.is_end_stream() => return Received::End,
            Ok(None) => return Received::Broken("the stream was reset".to_owned()),
            Ok(Some(Err(error))) => return Received::Broken(one_line::reason(&error)),
            // Trailers are ignored, and an empty frame is no progress.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) if !piece.is_empty() => {
                    watch.moved();
                    return Received::Piece(piece);
                }
                _ => {}
            },
        }
    }
}
