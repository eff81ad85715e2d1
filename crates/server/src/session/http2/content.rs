//! The content of a request on its way in. Room for more is given to the client as its frames are taken, so what waits for a
//! slow disk is one stream's window.

use std::time::{Duration, Instant};

use anyport_net::blocking;
use anyport_proto::transfer::refusal::Refusal;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::watch::{Open, Watch};
use super::{Connection, chain};
use crate::session::http::{Answer, Asked, Form, Taker};
use crate::session::idle_reason;

/// What came next of a content.
pub(super) enum Came {
    /// Never an empty one.
    Piece(Bytes),
    End,
    /// Nothing, for too long.
    Silence,
    /// The stream was reset, its length was not the announced one, or the connection broke.
    Broken(String),
}

/// The next piece.
///
/// Cancel safe: yes.
pub(super) async fn next(incoming: &mut Incoming, idle: Duration, watch: &Watch) -> Came {
    let until = tokio::time::Instant::now() + idle;
    loop {
        match tokio::time::timeout_at(until, incoming.frame()).await {
            Err(_) => return Came::Silence,
            // A reset without an error is no end of the content (RFC 9113 §8.1).
            Ok(None) if incoming.is_end_stream() => return Came::End,
            Ok(None) => return Came::Broken("the stream was reset".to_owned()),
            Ok(Some(Err(error))) => return Came::Broken(chain(&error)),
            // Trailers say nothing here, and an empty frame is no sign of life.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) if !piece.is_empty() => {
                    watch.moved();
                    return Came::Piece(piece);
                }
                _ => {}
            },
        }
    }
}

/// Takes all of it; gives the answer.
pub(super) async fn take(
    connection: &Connection,
    open: &mut Open,
    taker: Taker,
    mut incoming: Incoming,
    asked: &Asked,
) -> Answer {
    let idle = connection.context.config.timeouts.idle;
    let mut taking = Taking { connection, taker: Some(taker) };
    loop {
        return match next(&mut incoming, idle, &connection.watch).await {
            Came::Piece(piece) => match taking.write(&piece).await {
                Ok(()) => continue,
                Err(refusal) => {
                    connection.pass_over(incoming);
                    taking.end(|taker| taker.abandon(refusal, asked)).await
                }
            },
            Came::End => taking.end(|taker| taker.finish(asked)).await,
            Came::Silence => {
                let (status, reason) = (StatusCode::REQUEST_TIMEOUT, idle_reason(idle));
                taking.end(|taker| taker.give_up(status, &reason, asked.form)).await
            }
            Came::Broken(reason) => {
                open.given_up();
                let reason = connection.why(&reason);
                let status = StatusCode::BAD_REQUEST;
                taking.end(|taker| taker.give_up(status, reason, asked.form)).await
            }
        };
    }
}

/// Content that is taken. Dropped, its stream was reset.
struct Taking<'a> {
    connection: &'a Connection,
    /// Taken when it ends.
    taker: Option<Taker>,
}

impl Taking<'_> {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let Some(taker) = &mut self.taker else { return Ok(()) };
        let at = Instant::now();
        if taker.may_block() {
            blocking::run(|| taker.write(piece, at)).await
        } else {
            taker.write(piece, at)
        }
    }

    async fn end(mut self, answer: impl FnOnce(Taker) -> Answer) -> Answer {
        // It ends once, and until then it is there.
        let ended =
            || Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the content has already ended\n");
        blocking::run(|| self.taker.take().map_or_else(ended, answer)).await
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if let Some(taker) = self.taker.take() {
            let reason =
                self.connection.why("the client reset the stream, or the connection was lost");
            let reason = reason.to_owned();
            // A task of its own may wait for its turn at the disk.
            self.connection.stop.tasks.spawn(blocking::run(move || {
                taker.give_up(StatusCode::BAD_REQUEST, &reason, Form::Text);
            }));
        }
    }
}
