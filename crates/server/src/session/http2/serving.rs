//! One request that a handler serves on a stream: its driver.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::blocking;
use anyport_net::copy::{Gate, Interest, Placement, Wait};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::StatusCode;
use hyper::body::Incoming;

use super::Connection;
use super::content::{Received, next};
use super::flow::{FLOW, Flow, SMALL_PIECE};
use super::watch::Open;
use crate::session::http::{Answer, Event, Handler, Head, Next, Produced};

/// A request and the handler that serves it. Dropped before the end, its client has left.
pub(super) struct Serving {
    connection: Arc<Connection>,
    /// `None` at the end.
    handler: Option<Box<dyn Handler>>,
    incoming: Option<Incoming>,
    flow: Arc<Flow>,
    /// The head of the response is known.
    begun: bool,
    /// The handler was notified that the server stops.
    notified: bool,
}

/// The result of a turn of the handler.
enum Turn {
    Head(Head),
    /// Content of the response; may be empty.
    Content(Vec<u8>),
    Respond(Answer),
    End,
}

impl Serving {
    pub(super) fn new(
        connection: Arc<Connection>,
        handler: Box<dyn Handler>,
        incoming: Incoming,
    ) -> Self {
        let (handler, incoming, flow) = (Some(handler), Some(incoming), FLOW.get());
        Self { connection, handler, incoming, flow, begun: false, notified: false }
    }

    /// Drives the handler until the response is known: its head, with content to follow, or all
    /// of it.
    pub(super) async fn response(mut self, open: &mut Open) -> Result<(Head, Self), Answer> {
        loop {
            match self.turn(Some(open)).await {
                Ok(Turn::Head(head)) => return Ok((head, self)),
                Ok(Turn::Content(content)) if content.is_empty() => {}
                Ok(Turn::Respond(answer)) => {
                    self.handler = None;
                    self.incoming.take().into_iter().for_each(|rest| self.connection.discard(rest));
                    return Err(answer);
                }
                // A handler sends its head first.
                Ok(Turn::Content(_) | Turn::End) | Err(_) => {
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    return Err(Answer::text(status, "internal error: no response\n"));
                }
            }
        }
    }

    /// Returns the content of the response, piece by piece.
    pub(super) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut serving| async move {
            loop {
                serving.handler.as_ref()?;
                return match serving.turn(None).await {
                    Ok(Turn::Content(content)) if content.is_empty() => continue,
                    Ok(Turn::Content(content)) => Some((Ok(content.into()), serving)),
                    Ok(Turn::Head(_) | Turn::Respond(_) | Turn::End) => {
                        drop(serving.handler.take());
                        None
                    }
                    Err(error) => {
                        serving.lost(&error.to_string());
                        Some((Err(error), serving))
                    }
                };
            }
        })
    }

    /// Runs the handler for one turn; `open`: the stream of a request without a response yet.
    async fn turn(&mut self, open: Option<&mut Open>) -> io::Result<Turn> {
        let Some(handler) = &mut self.handler else { return Ok(Turn::End) };
        if let Some(head) = handler.head() {
            self.begun = true;
            return Ok(Turn::Head(head));
        }
        let Interest { produce, idle, wait, may_block, place, .. } = handler.interest();
        let mut out = Vec::new();
        let next = if let Some(wait) = wait {
            match waited(&self.connection, wait, &mut self.notified).await {
                // The end of the wait may try to open a file again.
                Some(event) => {
                    run(may_block, || handler.handle(event, Instant::now(), &mut out)).await
                }
                None => Next::Continue,
            }
        } else if produce {
            let size = match place {
                // It has messages, and no use for a buffer.
                Placement::Reactor => 0,
                _ if may_block => self.flow.next_piece(),
                // A piece that costs no access to a disk is small, so that a slow client is seen
                // to accept something.
                _ => SMALL_PIECE,
            };
            let mut buffer = vec![0; size];
            let produced = run(may_block, || handler.produce(&mut buffer, &mut out)).await?;
            match produced {
                Produced::Next(next) => next,
                Produced::Bytes(count) => {
                    buffer.truncate(count);
                    out = buffer;
                    Next::Continue
                }
                Produced::File(piece) => {
                    let count = run(may_block, || piece.read(&mut buffer)).await?;
                    if count == 0 {
                        return Err(io::Error::other("the file was truncated while it was sent"));
                    }
                    buffer.truncate(count);
                    let next = handler.handle(Event::Sent(count as u64), Instant::now(), &mut out);
                    out = buffer;
                    next
                }
                Produced::Flush => {
                    self.flow.drained().await;
                    Next::Continue
                }
            }
        } else {
            let Some(incoming) = &mut self.incoming else { return Ok(Turn::End) };
            let evicted = handler.evicted();
            let received = tokio::select! {
                biased;
                () = opened(evicted) => Received::Evicted,
                received = next(incoming, idle, &self.connection.watch) => received,
            };
            let event = match &received {
                Received::Evicted => Event::Incomplete(EVICTED),
                Received::Piece(piece) => Event::Content { piece, more: false },
                Received::End => Event::End,
                Received::Silence => Event::Idle,
                Received::Broken(error) => {
                    if let Some(open) = open {
                        open.given_up();
                    }
                    Event::Incomplete(self.connection.why(error))
                }
            };
            let at = Instant::now();
            let next = run(may_block, || handler.handle(event, at, &mut out)).await;
            match (next, received) {
                (Next::Respond(answer), Received::Evicted) => {
                    Next::Respond(answer.with_status(StatusCode::CONFLICT))
                }
                (next, _) => next,
            }
        };
        match next {
            Next::Continue => Ok(Turn::Content(out)),
            Next::Respond(answer) => Ok(Turn::Respond(answer)),
            Next::Abort(reason) => Err(io::Error::other(reason)),
            Next::End if out.is_empty() => Ok(Turn::End),
            Next::End => {
                self.handler = None;
                Ok(Turn::Content(out))
            }
        }
    }

    /// Notifies the handler that nothing more of its response is sent.
    fn lost(&mut self, reason: &str) {
        if let Some(mut handler) = self.handler.take() {
            handler.handle(Event::Lost(reason), Instant::now(), &mut Vec::new());
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.begun {
            return self.lost("the client stopped reading, or the connection was lost");
        }
        let Some(mut handler) = self.handler.take() else { return };
        let reason = self.connection.why("the client reset the stream, or the connection was lost");
        let reason = reason.to_owned();
        // A task of its own may wait for its turn at the disk.
        self.connection.stop.tasks.spawn(blocking::run(move || {
            handler.handle(Event::Lost(&reason), Instant::now(), &mut Vec::new());
        }));
    }
}

/// Runs `call`, which may wait for a disk.
async fn run<T>(may_block: bool, call: impl FnOnce() -> T) -> T {
    if may_block { blocking::run(call).await } else { call() }
}

/// Waits for a gate; forever without one.
///
/// Cancel safe: yes.
async fn opened(gate: Option<Arc<Gate>>) {
    match gate {
        Some(gate) => gate.opened().await,
        None => std::future::pending().await,
    }
}

/// Waits for another session. Returns `None` once its gate is open.
///
/// Cancel safe: yes.
async fn waited(
    connection: &Connection,
    wait: Wait,
    notified: &mut bool,
) -> Option<Event<'static>> {
    let Wait { gate, until, .. } = wait;
    // The other session ends this.
    let _patient = connection.watch.patient();
    let left = until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
    tokio::select! {
        biased;
        () = gate.opened() => None,
        () = connection.stop.draining.cancelled(), if !*notified => {
            *notified = true;
            Some(Event::Shutdown)
        }
        () = tokio::time::sleep(left) => Some(Event::Idle),
    }
}

/// Why a request ends whose upload another one continues.
const EVICTED: &str = "another request continues this upload";

/// For a wait without an end of its own.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
