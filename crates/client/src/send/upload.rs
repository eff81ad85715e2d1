//! One file as the content of a request, and the comparison of its receipt.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyport_proto::limits::MAX_DISCARDED;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::fields::of_offer;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Receipt;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{timeout, timeout_at};

use super::{Options, Sent, check};
use crate::content::{Content, Identity, Source};
use crate::error::{Error, ErrorKind, Transferred, no_runtime};
use crate::http::answer::{Answer, UploadResult};
use crate::http::connection::Connection;
use crate::http::content::{Moved, Outgoing, Reader, Want, streamed};
use crate::http::request::{Destination, request};
use crate::http::resumable::{Protocol, Resource};
use crate::measure::{Measuring, diagnosed};
use crate::spent::Spent;
use crate::target::Target;

/// A file and its destination.
pub(super) struct Upload {
    pub(super) connection: Arc<Connection>,
    pub(super) target: Arc<Target>,
    pub(super) options: Arc<Options>,
    pub(super) source: Source,
    pub(super) hashed: Option<Hashed>,
    pub(super) path: Destination,
    pub(super) moved: Arc<Moved>,
    /// The protocol to create an upload resource with; `None` sends the file as one request.
    pub(super) protocol: Option<Protocol>,
    /// The upload resource of an earlier attempt.
    pub(super) resource: Arc<Mutex<Option<Resource>>>,
}

/// The SHA-256 of a file, which its request names.
#[derive(Debug, Clone)]
pub(super) struct Hashed {
    identity: Option<Identity>,
    pub(super) sha256: Option<Digest>,
    /// The time that this took.
    spent: Spent,
}

impl Hashed {
    /// Reads all of a regular file. Other sources cannot be read twice.
    pub(super) fn of(source: &Source) -> Result<Self, Error> {
        let mut content = source.open(Algorithm::Sha256)?;
        let Some(identity) = content.identity().cloned() else {
            return Ok(Self { identity: None, sha256: None, spent: Spent::default() });
        };
        let mut buffer = vec![0; crate::stream::BUFFER];
        while content.read(&mut buffer)? > 0 {}
        let sha256 = content.digest()?;
        Ok(Self { identity: Some(identity), sha256, spent: content.spent() })
    }
}

/// The result of reading and sending a file.
pub(super) struct Read {
    pub(super) bytes: u64,
    pub(super) digest: Option<Digest>,
    pub(super) spent: Spent,
    pub(super) grown: bool,
}

/// The state of a request's content.
enum Feeding {
    /// All in memory.
    Whole(Read),
    Reading(JoinHandle<(Content, Result<bool, Error>)>, Want),
    /// Waiting for permission, or without it.
    Held(Box<Reader>, Want),
}

impl Upload {
    /// Sends the file and waits for its receipt.
    ///
    /// Cancel safe: no; dropping it interrupts the upload.
    pub(super) async fn run(self) -> Result<Sent, Error> {
        let (source, options) = (self.source.clone(), self.options.clone());
        let identity = self.hashed.as_ref().and_then(|hashed| hashed.identity.clone());
        let (content, whole) = blocking(move || open(&source, &options, identity)).await?;
        if let (Some(protocol), Some(size), None) = (self.protocol, content.size(), &whole) {
            return self.resume(protocol, content, size).await;
        }
        let mut request = self.request(Method::PUT, &self.path.path)?;
        self.describe(&mut request, &content, content.size());
        let settled = self.exchange(request, content, whole).await?;
        self.finish(settled)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request<Outgoing>, Error> {
        let (version, token) = (self.connection.version(), self.connection.token(&self.target));
        request(&self.target, version, token, method, path)
    }

    /// Adds the fields that describe the file. `length` is that of the request's content.
    pub(super) fn describe(
        &self,
        request: &mut Request<Outgoing>,
        content: &Content,
        length: Option<u64>,
    ) {
        let fields = request.headers_mut();
        fields.insert(header::ACCEPT, JSON);
        // An anyport server recognizes a file by time and size.
        let mtime = content.offer().mtime.filter(|_| self.options.times);
        let sha256 = self.hashed.as_ref().and_then(|hashed| hashed.sha256);
        for (name, value) in of_offer(length, mtime, sha256.as_ref()) {
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(name, value);
            }
        }
        // It then accepts the same file twice, but no other of its name. A file that it cannot
        // recognize must be new.
        let is_known_again = mtime.is_some() && content.size().is_some();
        if self.options.on_exists == Some(OnExists::Error) && !is_known_again {
            fields.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
    }

    /// Sends a request with the rest of the content, and reads the response.
    pub(super) async fn exchange(
        &self,
        mut request: Request<Outgoing>,
        content: Content,
        whole: Option<(Bytes, Read)>,
    ) -> Result<Settled, Error> {
        let (connection, moved) = (&*self.connection, &self.moved);
        // HTTP/1.1 lets a server refuse before a long content is sent.
        let is_long = content.left().is_none_or(|left| left >= WORTH_ASKING);
        let permission = (is_long && connection.version() == Version::HTTP_11)
            .then(|| ask_permission(&mut request));
        let so_far = content.so_far();
        let mut feeding = match whole {
            Some((bytes, read)) => {
                *request.body_mut() = Outgoing::Whole(Some(bytes), moved.clone());
                Feeding::Whole(read)
            }
            None => {
                let (body, reader, want) = streamed(content, moved.clone());
                *request.body_mut() = body;
                Feeding::Held(Box::new(reader), want)
            }
        };
        let hashed = self.hashed.as_ref().map(|hashed| hashed.spent);
        let counted = moved.clone();
        let measuring = Measuring::begin(&connection.socket).after(hashed).sends(
            &self.options.connect,
            &connection.socket,
            move || (counted.bytes(), so_far.get().1),
        );
        let began = Instant::now();
        moved.begin();
        let mut asked = pin!(connection.ask(request));
        let early = match permission {
            Some(permission) => tokio::select! {
                biased;
                answered = &mut asked => Some(answered),
                () = permission.notified() => None,
                // Old servers do not answer the expectation (RFC 9110 §10.1.1).
                () = tokio::time::sleep(PERMISSION) => None,
            },
            None => None,
        };
        let answered = if let Some(answered) = early {
            answered
        } else {
            feeding = feeding.begin();
            self.in_time(asked).await?
        };
        let (answer, read, sent) =
            settle(connection, answered, feeding, moved, self.wait_limit()).await?;
        Ok(Settled { answer, read, sent, measuring, began })
    }

    /// Sends a request without content, and reads the response.
    pub(super) async fn ask(&self, request: Request<Outgoing>) -> Result<Answer, Error> {
        let connection = &*self.connection;
        self.moved.begin();
        let asked = pin!(connection.ask(request));
        let answered = self.in_time(asked).await?;
        let response = answered.map_err(|error| connection.failed(self.moved.bytes(), &error))?;
        let answer = Answer::read(response, self.wait_limit()).await;
        if !answer.is_whole {
            connection.spend();
        }
        // Another request follows.
        let ready = timeout(self.options.connect.connect_timeout, connection.is_ready()).await;
        if ready.unwrap_or(false) { Ok(answer) } else { Err(connection.closed()) }
    }

    fn wait_limit(&self) -> Duration {
        self.options.connect.timeout.min(LONGEST_WAIT)
    }

    /// Waits for a response while content is being accepted, and for the time limit after that.
    async fn in_time<T>(&self, mut asked: Pin<&mut impl Future<Output = T>>) -> Result<T, Error> {
        let (moved, wait_limit) = (&self.moved, self.wait_limit());
        loop {
            let until = moved.last() + wait_limit;
            match timeout_at(until.into(), &mut asked).await {
                Ok(answered) => return Ok(answered),
                Err(_) if moved.last() + wait_limit > Instant::now() => {}
                Err(_) => {
                    let sent = Transferred::SentOverHttp(moved.bytes());
                    let late = io::ErrorKind::WouldBlock.into();
                    return Err(Error::lost(self.connection.peer, sent, late));
                }
            }
        }
    }

    /// Returns the outcome of a file whose content was sent.
    pub(super) fn finish(&self, settled: Settled) -> Result<Sent, Error> {
        let (peer, path) = (self.connection.peer, &self.path);
        let sent = settled.upload_result(&self.connection, &self.options)?;
        match sent.receipt {
            // The user who wrote the URL does not know that path.
            None if path.is_moved => Err(Error::at(peer, ErrorKind::Renamed(path.path.clone()))),
            _ => Ok(sent),
        }
    }
}

/// Asks the server to accept the content first; the result is notified when it does.
fn ask_permission(request: &mut Request<Outgoing>) -> Arc<Notify> {
    request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    let permitted = Arc::new(Notify::new());
    let permit = permitted.clone();
    hyper::ext::on_informational(request, move |interim| {
        if interim.status() == StatusCode::CONTINUE {
            permit.notify_one();
        }
    });
    permitted
}

/// An open file, and all of a small one.
type Opened = (Content, Option<(Bytes, Read)>);

/// Opens a file. `hashed` is the identity that it must have.
fn open(source: &Source, options: &Options, hashed: Option<Identity>) -> Result<Opened, Error> {
    let mut content = source.open(options.digest)?;
    if hashed.is_some() && content.identity() != hashed.as_ref() {
        return Err(ErrorKind::Changed(source.path().to_owned()).into());
    }
    if let Some(rate) = options.limit_rate {
        content.keep_to(rate);
    }
    let small =
        content.size().filter(|size| *size <= MAX_DISCARDED && options.limit_rate.is_none());
    let Some(size) = small else { return Ok((content, None)) };
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    content.read_exact(&mut bytes)?;
    let read = read(&mut content)?;
    Ok((content, Some((bytes.into(), read))))
}

pub(super) fn read(content: &mut Content) -> Result<Read, Error> {
    let digest = content.digest()?;
    let grown = content.has_grown();
    Ok(Read { bytes: content.bytes(), digest, spent: content.spent(), grown })
}

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    no_runtime(io::Error::other("internal error: reading the file panicked"))
}

impl Feeding {
    /// Starts to send the content.
    fn begin(self) -> Self {
        match self {
            Self::Held(reader, want) => Self::Reading(spawn_blocking(|| reader.read()), want),
            begun => begun,
        }
    }
}

/// A response, and the content sent before it.
pub(super) struct Settled {
    pub(super) answer: Answer,
    /// The whole file, if all of it was sent.
    pub(super) read: Option<Read>,
    pub(super) sent: u64,
    pub(super) measuring: Measuring,
    /// Before the request.
    pub(super) began: Instant,
}

/// Reads the response and stops reading the file. An error of the file is reported before the
/// server's response to it.
async fn settle(
    connection: &Connection,
    answered: hyper::Result<Response<Incoming>>,
    feeding: Feeding,
    moved: &Moved,
    wait_limit: Duration,
) -> Result<(Answer, Option<Read>, u64), Error> {
    let received = match answered {
        Ok(response) => Ok(Answer::read(response, wait_limit).await),
        Err(error) => Err(error),
    };
    let sent = moved.bytes();
    let read = match feeding {
        Feeding::Whole(read) => Some(read),
        Feeding::Held(..) => None,
        Feeding::Reading(reading, want) => {
            // The rest is not needed.
            drop(want);
            match timeout(STANDSTILL, reading).await {
                // The reader waits for its own input, which may never arrive.
                Err(_) => None,
                Ok(Err(_)) => return Err(panicked()),
                Ok(Ok((mut content, reached))) => {
                    let ended = reached? || content.left() == Some(0);
                    let is_whole = ended && content.bytes() == sent;
                    if is_whole { Some(blocking(move || read(&mut content)).await?) } else { None }
                }
            }
        }
    };
    let answer = received.map_err(|error| connection.failed(sent, &error))?;
    if read.is_none() || !answer.is_whole {
        connection.spend();
    }
    Ok((answer, read, sent))
}

impl Settled {
    pub(super) fn upload_result(
        self,
        connection: &Connection,
        options: &Options,
    ) -> Result<Sent, Error> {
        let Self { answer, read, sent, measuring, .. } = self;
        let peer = connection.peer;
        let receipt = match answer.upload_result() {
            UploadResult::Stored(receipt) => receipt.map(|receipt| *receipt),
            UploadResult::Refused(refusal) => {
                return Err(Error::at(peer, ErrorKind::Refused(refusal)));
            }
            UploadResult::Unclear(answer) => {
                return Err(Error::at(peer, ErrorKind::NoReceipt(answer)));
            }
            UploadResult::Cut => {
                let source = crate::stream::ended();
                return Err(Error::at(peer, ErrorKind::Lost(Transferred::SentOverHttp(sent)))
                    .because(source));
            }
            UploadResult::Redirected { location } => {
                let status = answer.status.to_string();
                return Err(Error::at(peer, ErrorKind::Elsewhere { status, location }));
            }
        };
        // The server claims to have content that was not sent.
        let Some(read) = read else {
            let answer = answer.status.to_string();
            return Err(Error::at(peer, ErrorKind::Early { sent, answer }));
        };
        let Read { bytes, digest, spent, grown } = read;
        if let Some(receipt) = &receipt {
            check(peer, bytes, digest, receipt)?;
        }
        let measured = measuring.sent(&connection.socket, bytes, &spent, receipt.as_ref());
        let diagnosis = diagnosed(&options.connect, &measured);
        Ok(Sent { grown, diagnosis, ..reported(connection, bytes, digest, receipt) })
    }
}

pub(super) fn reported(
    connection: &Connection,
    bytes: u64,
    digest: Option<Digest>,
    receipt: Option<Receipt>,
) -> Sent {
    let tcp = connection.socket.seen();
    let (peer, congestion) = (connection.peer, connection.socket.congestion.clone());
    let (changed_from, diagnosis, grown) = (None, None, false);
    Sent { peer, bytes, digest, receipt, congestion, tcp, grown, changed_from, diagnosis }
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Upper bound of every time limit.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Content that is worth a round trip before it. Shorter content is sent by the time of the answer.
pub(super) const WORTH_ASKING: u64 = 1024 * 1024;

/// Maximum time to wait for permission; then the content is sent without it.
const PERMISSION: Duration = Duration::from_secs(1);

/// Maximum time for a reader to stop after the response.
const STANDSTILL: Duration = Duration::from_secs(2);
