//! WebSocket with tokio-tungstenite: the same services with another implementation, for comparison.
//!
//! The library assembles each message first, so messages have a limit here
//! (`Limits::library_message`), and it answers a Close by itself, so its clients get no close
//! reason. It does not report whether a stream without a Close ended inside a frame, so such an end
//! is always an interruption here; and because it drops a message that a Close interrupts, the end
//! of a file by Close is never confirmed here.
//!
//! Nor does it report that a message has begun: the time of `Timeouts::message` counts from the
//! first byte after the last frame that it delivered, so a ping between two fragments restarts it.
//!
//! It owns its stream, so this session has a loop of its own instead of a driver.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyport_net::blocking;
use anyport_net::copy::Wait;
use anyport_net::prefixed::Prefixed;
use anyport_proto::http1::plain_response;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::ws::close::MAX_REASON;
use anyport_proto::ws::{CloseCode, Kind};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::due::AT_ONCE;
use super::messages::{MessageService, Outlet, Piece};
use super::{Context, idle_reason};
use crate::events::Tally;
use crate::session::route::Route;
use crate::tls::SharedWire;

/// A validated upgrade request, which the library answers.
pub(crate) struct Upgrade {
    /// That of the request: it has its own client.
    pub(super) context: Context,
    /// The request head, unchanged.
    pub(crate) head: Vec<u8>,
    /// Input that followed it in the same read.
    pub(crate) rest: Vec<u8>,
    pub(crate) route: Route,
    pub(crate) subprotocol: Option<String>,
    /// Whether it is one of the subprotocols of anyport.
    pub(crate) announced: bool,
}

/// Serves one connection, from the request head on, until it is closed. An interruption has been
/// reported.
///
/// Cancel safe: no; a running transfer is interrupted.
pub(crate) async fn serve(stream: SharedWire, upgrade: Upgrade) {
    let Upgrade { context, head, rest, route, subprotocol, announced } = upgrade;
    let limits = &context.config.limits;
    let longest = match route {
        Route::Files { .. } => limits.library_message,
        Route::Echo | Route::Room(_) => usize::try_from(limits.echo_message).unwrap_or(usize::MAX),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(context.config.bulk_buffer)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest));
    // Two pieces, because the library refuses a head that frames follow in the same read.
    let tally = Tally::new(context.record.clone());
    let mut stream = Stamped::new(Prefixed::new([head, rest], stream), tally);
    #[expect(
        clippy::result_large_err,
        reason = "tungstenite's callback returns its own response type"
    )]
    let answer = move |_: &Request, response: Response| choose(subprotocol.as_deref(), response);
    let accepting =
        tokio_tungstenite::accept_hdr_async_with_config(&mut stream, answer, Some(config));
    let refusal = match timeout(context.config.timeouts.handshake, accepting).await {
        Ok(Ok(mut socket)) => {
            let source = context.source(Protocol::Ws, Engine::Library);
            let service = MessageService::new(&context, source, route, announced);
            receive(&mut socket, service, &context).await;
            None
        }
        // The built-in parser accepted the head, so the two parsers disagree.
        Ok(Err(error)) => Some(error.to_string()),
        Err(late) => Some(late.to_string()),
    };
    if let Some(reason) = refusal {
        let line = format!("the WebSocket library rejected the handshake: {reason}\n");
        let response = plain_response(StatusCode::BAD_REQUEST, &[], &line, true);
        let _ = timeout(context.config.timeouts.handshake, stream.write_all(&response)).await;
        context.refused("ws", reason);
    }
    anyport_net::linger::close(&mut stream).await;
}

#[expect(clippy::result_large_err, reason = "tungstenite's callback returns its own response type")]
fn choose(subprotocol: Option<&str>, mut response: Response) -> Result<Response, ErrorResponse> {
    if let Some(chosen) = subprotocol.and_then(|name| HeaderValue::from_str(name).ok()) {
        response.headers_mut().insert("sec-websocket-protocol", chosen);
    }
    Ok(response)
}

async fn receive(
    socket: &mut WebSocketStream<&mut Stamped<Prefixed<SharedWire>>>,
    mut service: MessageService,
    context: &Context,
) {
    let idle = context.config.timeouts.idle;
    let assembled = match service {
        MessageService::Echo(_) | MessageService::Room(_) => Some(context.config.timeouts.message),
        MessageService::Files(_) => None,
    };
    // The handshake is not a message.
    socket.get_mut().first = None;
    let mut outbox = Outbox::default();
    let mut peer_closed = false;
    // A peer that waited for this reply was not idle.
    let mut since = Instant::now();
    loop {
        let wait = socket.get_ref().timeout_for_message(assembled, idle, since);
        let Ok(next) = timeout(wait, socket.next()).await else {
            let stamped = socket.get_ref();
            let late = assembled.filter(|limit| stamped.is_unfinished_for(*limit));
            let reason = match late {
                Some(limit) => format!("a message was not complete within {limit:?}"),
                // A long message over a slow network is not idle time.
                None if stamped.last.max(since).elapsed() < idle => continue,
                None => idle_reason(idle),
            };
            if late.is_some() {
                context.refused("ws", &reason);
            }
            blocking::run(|| service.idle(&reason, &mut outbox)).await;
            let _ = timeout(idle, outbox.send(socket)).await;
            return;
        };
        let at = socket.get_mut().first_read_since_last_asked();
        match next {
            Some(Ok(message)) => {
                let take = || take(&mut service, message, at, &mut peer_closed, &mut outbox);
                blocking::run(take).await;
                while let Some(upload) = service.waiting() {
                    if let Some(Wait { gate, until: Some(until), .. }) = upload.wait() {
                        let _ = tokio::time::timeout_at(until.into(), gate.opened()).await;
                    }
                    blocking::run(|| upload.retry(&mut outbox)).await;
                }
            }
            Some(Err(error)) => {
                if peer_closed {
                    return;
                }
                let reported = blocking::run(|| service.broken(&error.to_string())).await;
                if let Some(code) = violation(&error) {
                    if !reported {
                        context.refused("ws", error.to_string());
                    }
                    outbox.close(Some(code), &error.to_string());
                    let _ = timeout(idle, outbox.send(socket)).await;
                }
                return;
            }
            None => return,
        }
        // The library answers the peer's Close in the next read; after that nothing may be sent.
        if peer_closed {
            outbox = Outbox::default();
            continue;
        }
        let closing = outbox.close.is_some();
        let sent = timeout(idle, outbox.send(socket)).await;
        if closing || !matches!(sent, Ok(Ok(()))) {
            return;
        }
        service.replied();
        since = Instant::now();
    }
}

fn take(
    service: &mut MessageService,
    message: Message,
    at: Instant,
    peer_closed: &mut bool,
    outbox: &mut Outbox,
) {
    let (kind, data) = match message {
        Message::Text(text) => (Kind::Text, Bytes::from(text)),
        Message::Binary(data) => (Kind::Binary, data),
        Message::Close(frame) => {
            *peer_closed = true;
            let (code, reason) = match &frame {
                Some(frame) => {
                    (CloseCode::from_wire(frame.code.into()).ok(), frame.reason.as_str())
                }
                None => (None, ""),
            };
            service.closed(code, reason, outbox);
            return;
        }
        // The library has answered pings.
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return,
    };
    service.data(Piece { kind, data: &data, end: true, at }, outbox);
}

/// Returns the close code for a violation of the peer; `None` for a lost connection.
const fn violation(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(_) => Some(CloseCode::TOO_BIG),
        Error::Utf8(_) => Some(CloseCode::INVALID_DATA),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        Error::Protocol(_) => Some(CloseCode::PROTOCOL_ERROR),
        _ => None,
    }
}

/// Output of a service.
#[derive(Default)]
struct Outbox {
    messages: Vec<Message>,
    close: Option<CloseFrame>,
}

impl Outlet for Outbox {
    fn message(&mut self, kind: Kind, payload: &[u8]) {
        self.messages.push(match (kind, std::str::from_utf8(payload)) {
            (Kind::Text, Ok(text)) => Message::text(text),
            _ => Message::binary(payload.to_vec()),
        });
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        let code = code.unwrap_or(CloseCode::NORMAL).value();
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        self.close = Some(CloseFrame {
            code: coding::CloseCode::from(code),
            reason: Utf8Bytes::from(reason),
        });
    }
}

impl Outbox {
    async fn send(
        &mut self,
        socket: &mut WebSocketStream<&mut Stamped<Prefixed<SharedWire>>>,
    ) -> Result<(), Error> {
        for message in self.messages.drain(..) {
            socket.send(message).await?;
        }
        match self.close.take() {
            Some(frame) => socket.close(Some(frame)).await,
            None => Ok(()),
        }
    }
}

/// Records how many bytes arrived and when, because the library delivers only complete messages.
struct Stamped<S> {
    inner: S,
    /// The first read since it was last queried.
    first: Option<Instant>,
    last: Instant,
    tally: Tally,
}

impl<S> Stamped<S> {
    fn new(inner: S, tally: Tally) -> Self {
        Self { inner, first: None, last: Instant::now(), tally }
    }

    /// Returns how long to wait for a message. A message may begin during the wait, so it lasts at
    /// most `assembled`: a late one is detected before twice that time.
    fn timeout_for_message(
        &self,
        assembled: Option<Duration>,
        idle: Duration,
        since: Instant,
    ) -> Duration {
        let Some(limit) = assembled else {
            return idle.saturating_sub(self.last.max(since).elapsed()).max(AT_ONCE);
        };
        let left = self.first.map_or(limit, |first| limit.saturating_sub(first.elapsed()));
        left.clamp(AT_ONCE, idle.max(AT_ONCE))
    }

    /// Returns whether bytes began to arrive that long ago and no message has ended since.
    fn is_unfinished_for(&self, limit: Duration) -> bool {
        self.first.is_some_and(|first| first.elapsed() >= limit)
    }

    /// Returns when the bytes of the last delivered message began to arrive.
    const fn first_read_since_last_asked(&mut self) -> Instant {
        match self.first.take() {
            Some(first) => first,
            // It arrived in the same read as the message before it.
            None => self.last,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stamped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.tally.received(count as u64);
            self.last = Instant::now();
            let last = self.last;
            self.first.get_or_insert(last);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stamped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.tally.sent(count as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::events::Record;

    #[test]
    fn the_silence_of_an_upload_is_counted_from_its_last_byte() {
        let record = Record::begin(SocketAddr::from(([127, 0, 0, 1], 1)).into(), Arc::default());
        let mut stamped = Stamped::new(tokio::io::empty(), Tally::new(record));
        let (idle, second, now) = (Duration::from_secs(60), Duration::from_secs(1), Instant::now());
        let Some(before) = now.checked_sub(50 * second) else { return };
        stamped.last = now;
        assert!(stamped.timeout_for_message(None, idle, before) > 59 * second);
        stamped.last = before;
        assert!(stamped.timeout_for_message(None, idle, before) <= 10 * second);
        // It had to wait for the reply to its last message.
        assert!(stamped.timeout_for_message(None, idle, now) > 59 * second);
    }
}
