//! One HTTP connection and its requests.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyport_proto::access::Token;
use anyport_proto::one_line;
use anyport_proto::peer::Peer;
use anyport_tls::ALPN_H2;
use anyport_trace::SYN_FIELD;
use futures_util::task::AtomicWaker;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::content::Outgoing;
use super::io::{Broken, Io};
use super::request::request;
use crate::connect::{self, ConnectOptions, Socket, connect};
use crate::error::{Error, ErrorKind, Transferred, no_runtime};
use crate::stream::ended;
use crate::target::Target;

/// An open connection.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) socket: Socket,
    requests: Requests,
    /// Maximum number of concurrent requests.
    at_once: watch::Receiver<usize>,
    broken: Broken,
    /// A request was answered before it was complete, so no other can follow.
    spent: AtomicBool,
    /// Whether the server requires a token as an anyport server does.
    wants_token: bool,
    driver: Driver,
    /// Whether requests ask for the SYN of the connection.
    is_traced: bool,
}

enum Requests {
    One(Mutex<http1::SendRequest<Outgoing>>),
    Two(http2::SendRequest<Outgoing>),
}

impl Connection {
    /// Connects and negotiates the version. Blocks, so tasks must not call it.
    pub(crate) fn open(
        runtime: &Runtime,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Self, Error> {
        let connect::Connection { stream, peer, socket } = connect(target, options)?;
        let _inside = runtime.enter();
        let stream = stream.into_async().map_err(no_runtime)?;
        let is_traced = stream.is_traced();
        let is_two = stream.machine().and_then(|tls| tls.alpn()) == Some(ALPN_H2);
        let broken = Broken::default();
        let read = Arc::new(AtomicWaker::new());
        let io = TokioIo::new(Io::new(stream, broken.clone(), read.clone(), !is_two));
        let shaken = runtime.block_on(async {
            if is_two { Self::two(io, read).await } else { Self::one(io).await }
        });
        let (requests, at_once, driver) = shaken.map_err(|error| why(peer, 0, &broken, &error))?;
        let (spent, driver) = (AtomicBool::new(false), Driver(driver));
        let wants_token = false;
        let mut open =
            Self { peer, socket, requests, at_once, broken, spent, wants_token, driver, is_traced };
        if target.token.is_some() {
            let asked = timeout(options.connect_timeout, open.asks_for_a_token(target));
            open.wants_token = runtime.block_on(asked).unwrap_or(Ok(false))?;
        }
        Ok(open)
    }

    /// Checks, without a token, whether the server requires one: an anyport server reports it in a
    /// response that needs none (RFC 9110 §11.6.1). A token for one server must not be sent to
    /// another.
    async fn asks_for_a_token(&self, target: &Target) -> Result<bool, Error> {
        let written = target.path.split('?').next().unwrap_or_default();
        let directory = written.rfind('/').map_or("", |at| &written[..at]);
        // Behind a proxy the server may be below a part of the path.
        for directory in ["", directory].iter().take(1 + usize::from(!directory.is_empty())) {
            let path = format!("{directory}/healthz");
            let asking = request(target, self.version(), None, Method::HEAD, &path)?;
            let answered = match self.ask(asking).await {
                Ok(answered) => answered,
                // A server may close the connection behind its first response.
                Err(_) if !directory.is_empty() => break,
                Err(error) => return Err(self.failed(0, &error)),
            };
            // Hyper refuses the next request until the connection is ready for it.
            let is_closed = !self.is_ready().await;
            let challenges = answered.headers().get_all(header::WWW_AUTHENTICATE);
            let is_ours = |challenge: &HeaderValue| {
                challenge.to_str().is_ok_and(|challenge| challenge.contains(REALM))
            };
            if challenges.iter().any(is_ours) {
                return Ok(true);
            }
            if is_closed {
                break;
            }
        }
        Ok(false)
    }

    /// Returns the token to send with each request.
    pub(crate) fn token<'t>(&self, target: &'t Target) -> Option<&'t Token> {
        target.token.as_ref().filter(|_| self.wants_token)
    }

    async fn one(io: TokioIo<Io>) -> hyper::Result<Shaken> {
        let mut builder = http1::Builder::new();
        let (requests, connection) = builder.max_headers(MOST_FIELDS).handshake(io).await?;
        // The request under way reports the error.
        let driver = tokio::spawn(async { drop(connection.await) });
        // Without its sender the limit stays 1.
        Ok((Requests::One(Mutex::new(requests)), watch::channel(1).1, driver))
    }

    async fn two(io: TokioIo<Io>, read: Arc<AtomicWaker>) -> hyper::Result<Shaken> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            // One request until the server's settings arrive, then as many as they permit.
            .initial_max_send_streams(1)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(LONGEST_HEAD)
            .max_send_buf_size(SEND_BUFFER);
        let (requests, mut connection) = builder.handshake(io).await?;
        let (tell, at_once) = watch::channel(1);
        let driver = tokio::spawn(async move {
            let driven = std::future::poll_fn(|context| {
                // hyper reads in a task of its own, which reports no settings.
                read.register(context.waker());
                let driven = Pin::new(&mut connection).poll(context);
                let now = connection.current_max_send_streams().clamp(1, MOST_AT_ONCE);
                tell.send_if_modified(|at_once| std::mem::replace(at_once, now) != now);
                driven
            });
            drop(driven.await);
        });
        Ok((Requests::Two(requests), at_once, driver))
    }

    /// Returns the version of its requests.
    pub(crate) const fn version(&self) -> Version {
        match self.requests {
            Requests::One(_) => Version::HTTP_11,
            Requests::Two(_) => Version::HTTP_2,
        }
    }

    /// Returns the maximum number of concurrent requests, which may change.
    pub(crate) fn at_once(&self) -> watch::Receiver<usize> {
        self.at_once.clone()
    }

    /// Returns whether another request may follow, after the previous one. A server of HTTP/1.0, or
    /// one that stops, accepts none.
    pub(crate) async fn is_ready(&self) -> bool {
        if self.spent.load(Ordering::Relaxed) {
            return false;
        }
        match &self.requests {
            Requests::One(requests) => {
                std::future::poll_fn(|context| lock(requests).poll_ready(context)).await.is_ok()
            }
            Requests::Two(requests) => requests.clone().ready().await.is_ok(),
        }
    }

    /// Records that a request or its response was abandoned. Over HTTP/2 that ends its stream only.
    pub(crate) fn spend(&self) {
        if self.version() != Version::HTTP_2 {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a request; returns the head of its response.
    pub(crate) async fn ask(
        &self,
        mut request: Request<Outgoing>,
    ) -> hyper::Result<Response<Incoming>> {
        if self.is_traced {
            request.headers_mut().insert(SYN_FIELD, HeaderValue::from_static("?1"));
        }
        match &self.requests {
            Requests::One(requests) => {
                let answer = lock(requests).send_request(request);
                answer.await
            }
            Requests::Two(requests) => requests.clone().send_request(request).await,
        }
    }

    /// Returns why a request failed after `sent` bytes of its content.
    pub(crate) fn failed(&self, sent: u64, error: &hyper::Error) -> Error {
        why(self.peer, sent, &self.broken, error)
    }

    /// Returns the error of a connection that accepts no request.
    pub(crate) fn closed(&self) -> Error {
        Error::at(self.peer, ErrorKind::Lost(Transferred::SentOverHttp(0))).because(ended())
    }

    /// Closes the connection. All responses are here, so the outcome does not matter.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn close(self) {
        let Self { requests, mut driver, .. } = self;
        drop(requests);
        let _ = timeout(GOODBYE, &mut driver.0).await;
    }
}

/// The task that reads and writes.
struct Driver(JoinHandle<()>);

/// A dropped connection closes before its requests notice.
impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Shaken = (Requests, watch::Receiver<usize>, JoinHandle<()>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the error of the socket rather than hyper's.
fn why(peer: Peer, sent: u64, broken: &Broken, error: &hyper::Error) -> Error {
    if let Some(source) = broken.error() {
        return Error::lost(peer, Transferred::SentOverHttp(sent), source);
    }
    let is_violation = error.is_parse()
        || error
            .source()
            .and_then(|source| source.downcast_ref::<h2::Error>())
            .is_some_and(h2::Error::is_library);
    let reason = one_line::reason(error);
    if is_violation {
        return Error::at(peer, ErrorKind::NoHttp(reason));
    }
    // Cancelled: the connection ended before the request was sent.
    let source = if error.is_incomplete_message() || error.is_canceled() {
        ended()
    } else {
        io::Error::other(reason)
    };
    Error::at(peer, ErrorKind::Lost(Transferred::SentOverHttp(sent))).because(source)
}

/// Maximum number of concurrent requests. More are not faster: a few fill a link, and sixteen small
/// files share a round trip.
pub(crate) const MOST_AT_ONCE: usize = 16;

/// The realm of an anyport server (docs/access.md).
const REALM: &str = "realm=\"anyport\"";

/// Maximum time for the server to read the end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Maximum number of fields of a response.
const MOST_FIELDS: usize = 100;

/// Maximum size of the fields of a response.
const LONGEST_HEAD: u32 = 64 * 1024;

/// Unread bytes of one stream, and of all streams.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Maximum size of a received frame.
const MAX_FRAME: u32 = 64 * 1024;

/// Bytes of a file that wait for the server, beside the pieces read ahead.
const SEND_BUFFER: usize = 256 * 1024;
