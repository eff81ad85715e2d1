//! `/pipe/KEY` over HTTP/2: who waits is a task that waits, and the client's window is closed meanwhile.

use std::io;
use std::time::Duration;

use anyport_net::copy::Wait;
use anyport_proto::http1::Framing;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use hyper::body::Incoming;

use super::Connection;
use super::body::{Body, flowing};
use super::content::{Came, next};
use super::watch::Open;
use crate::service::pipe::{Given, Giver, Taker};
use crate::session::http::{Answer, Asked, piped, refuse};
use crate::session::{idle_reason, stopping};

/// Gives all that comes, once all takers are there; gives the answer when they have it.
pub(super) async fn give(
    connection: &Connection,
    open: &mut Open,
    mut giver: Giver,
    mut incoming: Incoming,
    framing: Framing,
    asked: &Asked,
) -> Answer {
    let context = &connection.context;
    let refused = |status, refusal| refuse(context, asked, status, refusal);
    if framing.is_empty() {
        giver.end();
    }
    let mut is_all = framing.is_empty();
    loop {
        match waited(connection, || giver.waits_for(), giver.has_begun()).await {
            Waited::Free => {}
            Waited::Late if giver.has_begun() => {
                giver.leaves_behind();
            }
            Waited::Late => return refused(StatusCode::GATEWAY_TIMEOUT, giver.in_vain()),
            Waited::Stopping => return refused(StatusCode::SERVICE_UNAVAILABLE, stopping()),
        }
        match giver.outcome() {
            Some(Ok(how)) => return piped(&how, asked.form),
            Some(Err(refusal)) => return refused(StatusCode::BAD_GATEWAY, refusal),
            None if is_all => continue,
            None => {}
        }
        let idle = context.config.timeouts.idle;
        let (status, reason) =
            match next(&mut incoming, giver.patience(idle), &connection.watch).await {
                Came::Piece(piece) => {
                    giver.write(&piece);
                    giver.pass_on();
                    continue;
                }
                Came::End => {
                    giver.end();
                    is_all = true;
                    continue;
                }
                // Now and then it is looked whether anybody still takes it.
                Came::Silence if giver.leaves_behind() => continue,
                Came::Silence if !giver.is_silent_for(idle) => continue,
                Came::Silence => (StatusCode::REQUEST_TIMEOUT, idle_reason(idle)),
                Came::Broken(reason) => {
                    open.given_up();
                    (StatusCode::BAD_REQUEST, connection.why(&reason).to_owned())
                }
            };
        giver.broken(&reason);
        return refused(status, Refusal::new(RefusalCode::Interrupted, reason));
    }
}

/// Waits for a giver, and for the other takers.
pub(super) async fn begin(
    connection: &Connection,
    taker: Taker,
    asked: &Asked,
) -> Result<Taker, Answer> {
    let refused = |status, refusal| Err(refuse(&connection.context, asked, status, refusal));
    loop {
        if taker.facts().is_some() {
            return Ok(taker);
        }
        match waited(connection, || taker.waits_for(), false).await {
            Waited::Free => {}
            // It may have begun in the moment in which the wait was over.
            Waited::Late if taker.facts().is_some() => {}
            Waited::Late => return refused(StatusCode::GATEWAY_TIMEOUT, taker.in_vain()),
            Waited::Stopping => return refused(StatusCode::SERVICE_UNAVAILABLE, stopping()),
        }
    }
}

/// What comes out of a pipe.
pub(super) fn taken(connection: std::sync::Arc<Connection>, taker: Taker, open: Open) -> Body {
    let pieces = stream::unfold(Some(taker), move |taker| {
        let connection = connection.clone();
        async move {
            let taker = taker?;
            loop {
                let mut buffer = vec![0; PIECE];
                match taker.next(&mut buffer) {
                    Given::Bytes(count) => {
                        buffer.truncate(count);
                        return Some((Ok(Bytes::from(buffer)), Some(taker)));
                    }
                    Given::Nothing => {
                        waited(&connection, || taker.waits_for(), true).await;
                    }
                    Given::End => {
                        taker.finish();
                        return None;
                    }
                    Given::Broken(reason) => return Some((Err(io::Error::other(reason)), None)),
                }
            }
        }
    });
    flowing(pieces, open)
}

/// How a wait ended.
enum Waited {
    Free,
    /// It took too long.
    Late,
    Stopping,
}

/// Waits until nothing holds a side of a pipe. Once it `has_begun` it is not stopped.
async fn waited(
    connection: &Connection,
    waits_for: impl Fn() -> Option<Wait>,
    has_begun: bool,
) -> Waited {
    let Some(Wait { gate, until, .. }) = waits_for() else { return Waited::Free };
    // The other side sees to it that this ends.
    let _patient = connection.watch.patient();
    let left =
        until.map_or(FOREVER, |until| until.saturating_duration_since(std::time::Instant::now()));
    tokio::select! {
        biased;
        () = gate.opened() => Waited::Free,
        () = connection.stop.draining.cancelled(), if !has_begun => Waited::Stopping,
        () = tokio::time::sleep(left) => Waited::Late,
    }
}

/// Bytes of one piece: what one frame may have by default (RFC 9113 §6.5.2), and little enough that a slow client is seen to
/// take something.
const PIECE: usize = 16 * 1024;

/// For a wait that has no end of its own.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
