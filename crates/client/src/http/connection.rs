//! One connection, and the requests on it.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyport_proto::access::Token;
use anyport_tls::ALPN_H2;
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
    pub(crate) peer: SocketAddr,
    pub(crate) socket: Socket,
    requests: Requests,
    /// How many requests may be under way at once.
    at_once: watch::Receiver<usize>,
    broken: Broken,
    /// A request on it was answered before it was whole, so nothing can follow it.
    spent: AtomicBool,
    /// The server asks for a token as ours does.
    wants_token: bool,
    driver: Driver,
}

enum Requests {
    One(Mutex<http1::SendRequest<Outgoing>>),
    Two(http2::SendRequest<Outgoing>),
}

impl Connection {
    /// Connects, and finds out what is spoken. Waits, so it must not be called in a task.
    pub(crate) fn open(
        runtime: &Runtime,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Self, Error> {
        let connect::Connection { stream, peer, socket } = connect(target, options)?;
        let _inside = runtime.enter();
        let stream = stream.into_async().map_err(no_runtime)?;
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
        let mut open = Self { peer, socket, requests, at_once, broken, spent, wants_token, driver };
        if target.token.is_some() {
            let asked = timeout(options.connect_timeout, open.asks_for_a_token(target));
            open.wants_token = runtime.block_on(asked).unwrap_or(Ok(false))?;
        }
        Ok(open)
    }

    /// Asks, without a token, whether one is wanted: our server says so with what it gives everybody (RFC 9110 §11.6.1). A token
    /// that is meant for one server must not be shown to every other that somebody gets a file from.
    async fn asks_for_a_token(&self, target: &Target) -> Result<bool, Error> {
        let asking = request(target, self.version(), None, Method::HEAD, "/healthz")?;
        let answered = self.ask(asking).await.map_err(|error| self.failed(0, &error))?;
        let challenges = answered.headers().get_all(header::WWW_AUTHENTICATE);
        let is_ours = |challenge: &HeaderValue| {
            challenge.to_str().is_ok_and(|challenge| challenge.contains(REALM))
        };
        Ok(challenges.iter().any(is_ours))
    }

    /// What is to be shown of `target` with each request.
    pub(crate) fn token<'t>(&self, target: &'t Target) -> Option<&'t Token> {
        target.token.as_ref().filter(|_| self.wants_token)
    }

    async fn one(io: TokioIo<Io>) -> hyper::Result<Shaken> {
        let mut builder = http1::Builder::new();
        let (requests, connection) = builder.max_headers(MOST_FIELDS).handshake(io).await?;
        // What breaks it is told to the request that is under way.
        let driver = tokio::spawn(async { drop(connection.await) });
        // Gone with its sender, the limit stays what it is.
        Ok((Requests::One(Mutex::new(requests)), watch::channel(1).1, driver))
    }

    async fn two(io: TokioIo<Io>, read: Arc<AtomicWaker>) -> hyper::Result<Shaken> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            // Until its settings are here one request goes out; then as many as they say.
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

    /// What requests on it are written in.
    pub(crate) const fn version(&self) -> Version {
        match self.requests {
            Requests::One(_) => Version::HTTP_11,
            Requests::Two(_) => Version::HTTP_2,
        }
    }

    /// How many requests may be under way at once; it may change.
    pub(crate) fn at_once(&self) -> watch::Receiver<usize> {
        self.at_once.clone()
    }

    /// Whether another request may follow: waits until the one before is over. An HTTP/1.0 server, or one that stops, takes
    /// none.
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

    /// A request, or its answer, was given up in the middle. Over HTTP/2 that is the end of its stream alone.
    pub(crate) fn spend(&self) {
        if self.version() != Version::HTTP_2 {
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a request; gives the head of its answer.
    pub(crate) async fn ask(
        &self,
        request: Request<Outgoing>,
    ) -> hyper::Result<Response<Incoming>> {
        match &self.requests {
            Requests::One(requests) => {
                let answer = lock(requests).send_request(request);
                answer.await
            }
            Requests::Two(requests) => requests.clone().send_request(request).await,
        }
    }

    /// Why a request came to nothing, after `sent` bytes of its content.
    pub(crate) fn failed(&self, sent: u64, error: &hyper::Error) -> Error {
        why(self.peer, sent, &self.broken, error)
    }

    /// The end between two requests is the orderly one. All answers are here; how this goes changes nothing.
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

/// What is given up does not stay open until its requests have noticed.
impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Shaken = (Requests, watch::Receiver<usize>, JoinHandle<()>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the socket said comes before what hyper makes of it.
fn why(peer: SocketAddr, sent: u64, broken: &Broken, error: &hyper::Error) -> Error {
    if let Some(source) = broken.error() {
        return Error::lost(peer, Transferred::SentOverHttp(sent), source);
    }
    let is_violation = error.is_parse()
        || error
            .source()
            .and_then(|source| source.downcast_ref::<h2::Error>())
            .is_some_and(h2::Error::is_library);
    let reason = chain(error);
    if is_violation {
        return Error::at(peer, ErrorKind::NoHttp(reason));
    }
    // Cancelled: the connection had ended before the request was sent.
    let source = if error.is_incomplete_message() || error.is_canceled() {
        ended()
    } else {
        io::Error::other(reason)
    };
    Error::at(peer, ErrorKind::Lost(Transferred::SentOverHttp(sent))).because(source)
}

/// An error and what caused it: hyper says only its own level.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // h2 states its cause itself.
        if !text.ends_with(&reason) {
            text.push_str(&format!(": {reason}"));
        }
        cause = error.source();
    }
    text
}

/// Requests under way at once, where the server takes so many. More make nothing faster: a link is full with a few, and a
/// round trip is shared by sixteen small files.
pub(crate) const MOST_AT_ONCE: usize = 16;

/// Of what our server asks for (docs/access.md).
const REALM: &str = "realm=\"anyport\"";

/// What a server gets to take our goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Fields of an answer.
const MOST_FIELDS: usize = 100;

/// Bytes of the fields of an answer.
const LONGEST_HEAD: u32 = 64 * 1024;

/// Bytes that a server may have sent on one stream and that were not taken yet; and on all of them.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Bytes of a frame that we take.
const MAX_FRAME: u32 = 64 * 1024;

/// Bytes of a file that wait for the server to take them, beside the pieces that are read ahead.
const SEND_BUFFER: usize = 256 * 1024;
