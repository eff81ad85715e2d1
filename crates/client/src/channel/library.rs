//! WebSocket on tokio-tungstenite, for comparison.

use std::io;
use std::net::TcpStream;
use std::task::Poll;
use std::time::Duration;

use anyport_proto::peer::Peer;
use anyport_proto::transfer::messages::{FILE_SUBPROTOCOL, FileMessage, FileReply};
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::ws::handshake::ResponseError;
use anyport_trace::SYN_FIELD;
use futures_util::{SinkExt, StreamExt};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, WebSocketConfig, frame::coding::CloseCode,
};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Transport;
use crate::connect::ConnectOptions;
use crate::content::Content;
use crate::error::{Error, ErrorKind, NO_CODE, Transferred, cut, no_runtime};
use crate::stream::{AsyncStream, Stream};
use crate::target::Target;

pub(crate) struct LibraryChannel {
    runtime: Runtime,
    socket: WebSocketStream<AsyncStream>,
    /// A second handle of the socket, to check for input.
    watched: TcpStream,
    peer: Peer,
    announced: bool,
    /// Payload bytes of one frame.
    frame_size: usize,
    /// Maximum time for a reply.
    timeout: Duration,
}

impl LibraryChannel {
    pub(crate) fn handshake(
        stream: Stream,
        peer: Peer,
        target: &Target,
        options: &ConnectOptions,
        frame_size: usize,
    ) -> Result<Self, Error> {
        let (wait_limit, timeout) = (options.connect_timeout, options.timeout);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_runtime)?;
        let library = |error| gave_up(peer, 0, error);
        let mut request = target.to_string().into_client_request().map_err(library)?;
        let protocol = HeaderValue::from_static(FILE_SUBPROTOCOL);
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        if let Some(token) = &target.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            request.headers_mut().insert("authorization", value);
        }
        if stream.traced().is_some() {
            request.headers_mut().insert(SYN_FIELD, HeaderValue::from_static("?1"));
        }
        let watched = stream.socket().try_clone().map_err(no_runtime)?;
        let (socket, announced) = runtime.block_on(async {
            let stream = stream.into_async().map_err(no_runtime)?;
            let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
            let connecting =
                tokio_tungstenite::client_async_with_config(request, stream, Some(config));
            let late = |_| library(tungstenite::Error::Io(io::ErrorKind::TimedOut.into()));
            let connected = tokio::time::timeout(wait_limit, connecting).await.map_err(late)?;
            let (socket, response) = connected.map_err(library)?;
            Ok::<_, Error>((socket, response.headers().contains_key("sec-websocket-protocol")))
        })?;
        Ok(Self { runtime, socket, watched, peer, announced, frame_size, timeout })
    }
}

impl Transport for LibraryChannel {
    fn put(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, Error> {
        let Self { runtime, socket, watched, peer, announced, frame_size, timeout } = self;
        let (frame_size, timeout) = (*frame_size, *timeout);
        let (peer, announced) = (*peer, *announced);
        runtime.block_on(async {
            let offer = announced.then_some(offer);
            let written = write(socket, watched, offer, content, frame_size, progress).await;
            if !announced {
                return match written {
                    Ok(Written::All) => Ok(None),
                    Ok(
                        Written::UntilAnswered(answer)
                        | Written::UntilClosed { reason: answer, .. },
                    ) => Err(Error::at(peer, ErrorKind::Early { sent: content.bytes(), answer })),
                    Err(Stopped::Local(error)) => Err(error),
                    Err(Stopped::Library(error)) => Err(gave_up(peer, content.bytes(), error)),
                };
            }
            if let Err(Stopped::Local(error)) = written {
                return Err(error);
            }
            let answered = match &written {
                Ok(Written::UntilAnswered(text)) => Ok(text.clone()),
                Ok(Written::UntilClosed { code, reason }) => {
                    let (code, reason) = (*code, reason.clone());
                    Err(NoReply::Reported(Error::at(peer, ErrorKind::Closed(code, reason))))
                }
                _ => with_limit(timeout, answer(socket, peer)).await,
            };
            match (answered, written) {
                (Ok(text), _) => match FileReply::from_json(&text) {
                    Ok(FileReply::Receipt(receipt)) => Ok(Some(receipt)),
                    Ok(FileReply::Error(refusal)) => {
                        Err(Error::at(peer, ErrorKind::Refused(refusal)))
                    }
                    Ok(_) | Err(_) => {
                        Err(Error::at(peer, ErrorKind::NoReceipt(cut(text.as_bytes()))))
                    }
                },
                (Err(NoReply::Reported(error)), _) => Err(error),
                (Err(NoReply::Library(_)), Err(Stopped::Library(error)))
                | (Err(NoReply::Library(error)), _) => Err(gave_up(peer, content.bytes(), error)),
            }
        })
    }

    fn accepts_more(&self) -> bool {
        self.announced
    }

    /// It exists for comparison, and sends each file whole.
    fn can_resume(&self) -> bool {
        false
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        let (peer, announced) = (self.peer, self.announced);
        let socket = &mut self.socket;
        self.runtime.block_on(async {
            let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let closing = async {
                socket.close(Some(close)).await.map_err(|error| gave_up(peer, 0, error))?;
                loop {
                    match socket.next().await {
                        None | Some(Err(_)) => return Ok(()),
                        Some(Ok(Message::Close(Some(frame))))
                            if frame.code != CloseCode::Normal =>
                        {
                            let (code, reason) = (frame.code.into(), frame.reason.to_string());
                            return Err(Error::at(peer, ErrorKind::Closed(code, reason)));
                        }
                        Some(Ok(_)) => {}
                    }
                }
            };
            let closed = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
            // All receipts were checked, so the outcome does not matter.
            if announced { Ok(()) } else { closed.unwrap_or(Ok(())) }
        })
    }
}

enum Stopped {
    Local(Error),
    Library(tungstenite::Error),
}

impl From<tungstenite::Error> for Stopped {
    fn from(error: tungstenite::Error) -> Self {
        Self::Library(error)
    }
}

enum NoReply {
    Reported(Error),
    Library(tungstenite::Error),
}

async fn write(
    socket: &mut WebSocketStream<AsyncStream>,
    watched: &TcpStream,
    offer: Option<&Offer>,
    content: &mut Content,
    frame_size: usize,
    progress: &dyn Fn(u64),
) -> Result<Written, Stopped> {
    if let Some(offer) = offer {
        socket.send(Message::text(FileMessage::Offer(offer.clone()).to_json())).await?;
    }
    loop {
        let message = read_message(content, frame_size).map_err(Stopped::Local)?;
        if message.is_empty() {
            break;
        }
        socket.send(Message::binary(message)).await?;
        progress(content.bytes());
        if is_readable(watched)
            && let Some(written) = read_reply(socket, offer.is_some()).await?
        {
            return Ok(written);
        }
    }
    if offer.is_some() {
        let digest = content.digest().map_err(Stopped::Local)?;
        let end = End { bytes: Some(content.bytes()), digest };
        socket.send(Message::text(FileMessage::End(end).to_json())).await?;
    }
    Ok(Written::All)
}

/// Reads a reply in the middle of a transfer; the library answers pings while it reads. Text is a
/// refusal if the server knows offers, and ignored otherwise.
async fn read_reply(
    socket: &mut WebSocketStream<AsyncStream>,
    announced: bool,
) -> Result<Option<Written>, tungstenite::Error> {
    // One poll, as a ping is no message to wait for.
    let polled = std::future::poll_fn(|context| Poll::Ready(socket.poll_next_unpin(context))).await;
    match polled {
        Poll::Ready(Some(Ok(Message::Text(text)))) if announced => {
            Ok(Some(Written::UntilAnswered(text.to_string())))
        }
        Poll::Ready(Some(Ok(Message::Close(frame)))) => {
            let (code, reason) = closed(frame);
            Ok(Some(Written::UntilClosed { code, reason }))
        }
        Poll::Ready(Some(Err(error))) => Err(error),
        Poll::Ready(None) => Err(tungstenite::Error::ConnectionClosed),
        Poll::Ready(Some(Ok(_))) | Poll::Pending => Ok(None),
    }
}

/// Returns whether there is input, or the end of it.
fn is_readable(socket: &TcpStream) -> bool {
    let peeked = recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK);
    !matches!(peeked, Err(Errno::AGAIN | Errno::INTR))
}

/// The result of a write.
enum Written {
    All,
    /// The server replied before everything was sent.
    UntilAnswered(String),
    /// The server closed the WebSocket before everything was sent.
    UntilClosed {
        code: u16,
        reason: String,
    },
}

/// Returns the code and reason of a Close.
fn closed(frame: Option<CloseFrame>) -> (u16, String) {
    frame.map_or((NO_CODE, String::new()), |frame| (frame.code.into(), frame.reason.to_string()))
}

/// Waits for at most `timeout`.
async fn with_limit<T>(
    wait_limit: Duration,
    wait: impl Future<Output = Result<T, NoReply>>,
) -> Result<T, NoReply> {
    let late = |_| NoReply::Library(tungstenite::Error::Io(io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(wait_limit, wait).await.map_err(late)?
}

/// Reads the payload of one message, which the library then owns.
fn read_message(content: &mut Content, frame_size: usize) -> Result<Vec<u8>, Error> {
    let left = content.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
    let mut message = vec![0; frame_size.min(left)];
    let mut filled = 0;
    while filled < message.len() {
        match content.read(&mut message[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    message.truncate(filled);
    Ok(message)
}

async fn answer(socket: &mut WebSocketStream<AsyncStream>, peer: Peer) -> Result<String, NoReply> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = closed(frame);
                return Err(NoReply::Reported(Error::at(peer, ErrorKind::Closed(code, reason))));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(NoReply::Library(error)),
            None => return Err(NoReply::Library(tungstenite::Error::ConnectionClosed)),
        }
    }
}

fn gave_up(peer: Peer, sent: u64, error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(source) => Error::lost(peer, Transferred::Sent(sent), source),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, error);
            Error::at(peer, ErrorKind::Lost(Transferred::Sent(sent))).because(source)
        }
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body).into_owned();
            let answer = ResponseError::Status { status: response.status() };
            Error::at(peer, ErrorKind::Handshake(answer, body))
        }
        other => Error::at(peer, ErrorKind::Library).because(other),
    }
}

/// Maximum time for the server's Close (RFC 6455 §7.1.1).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
