//! Sends files over one connection, and compares each receipt with the sent content. A lost
//! connection is replaced by another one, which resumes at the server's offset.

mod burst;
mod channel;
mod http;
mod offered;
pub(crate) mod pipe;
mod resume;
mod upload;

use channel::check;

use std::time::Duration;

use anyport_proto::limits::MAX_DISCARDED;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::offer::{Offer, OnExists};
use anyport_proto::transfer::receipt::{Outcome, Receipt};
use anyport_proto::transfer::refusal::RefusalCode;
use anyport_proto::transfer::tcp_seen::TcpSeen;
use anyport_trace::{Diagnosis, Limit};

use self::channel::Channel;
use self::offered::{Changed, Item, items};
use crate::attempts::Attempts;
use crate::connect::ConnectOptions;
use crate::content::{Content, Source};
use crate::error::{Error, ErrorKind, ErrorOrigin};
use crate::measure::diagnosed;
use crate::target::{Scheme, Target};
use crate::trace::failed;

/// The client's WebSocket implementation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// The built-in implementation.
    #[default]
    Own,
    /// tokio-tungstenite; `ws://` only. Needs the feature `library-engine`.
    #[cfg(feature = "library-engine")]
    Library,
}

/// The options of an upload.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Nothing but the bytes on `tcp://`: no preface, no name, the end is a half-close.
    pub plain: bool,
    /// The WebSocket implementation.
    pub engine: Engine,
    /// Payload bytes of one frame.
    pub frame_size: usize,
    /// Whether to offer permessage-deflate; `ws://` and the built-in implementation only.
    pub deflate: bool,
    /// The digest that both sides compute.
    pub digest: Algorithm,
    /// Whether to resume an earlier attempt.
    pub resume: bool,
    /// Whether the server is reported when a file was last changed, and gives its copy the same
    /// time.
    ///
    /// It tells by that whether it has the file already.
    pub times: bool,
    /// Whether a file that the server has with the same size and time is compared by digest.
    pub checksum: bool,
    /// Whether the copy gets the permissions of the file.
    pub permissions: bool,
    /// Requested action if another file has the name; `None` leaves it to the server.
    pub on_exists: Option<OnExists>,
    /// Bytes per second that are not to be passed.
    pub limit_rate: Option<u64>,
    /// Maximum number of attempts in a row without progress.
    pub retries: u32,
    /// Maximum total time without progress.
    pub retry_max_time: Duration,
    /// Options of the connection.
    pub connect: ConnectOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain: false,
            engine: Engine::Own,
            frame_size: DEFAULT_FRAME_SIZE,
            deflate: false,
            digest: Algorithm::default(),
            resume: true,
            times: true,
            checksum: false,
            permissions: false,
            on_exists: None,
            limit_rate: None,
            retries: 10,
            retry_max_time: Duration::from_secs(600),
            connect: ConnectOptions::default(),
        }
    }
}

/// Frames of this size cost nothing to frame, and a ping waits for at most one of them.
const DEFAULT_FRAME_SIZE: usize = 256 * 1024;

/// A file that was sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sent {
    /// The server.
    pub peer: Peer,
    /// Bytes sent.
    pub bytes: u64,
    /// Their digest.
    pub digest: Option<Digest>,
    /// The receipt of the server, already compared.
    ///
    /// `None` from a peer that gives no receipts.
    pub receipt: Option<Receipt>,
    /// The congestion control that our socket used.
    pub congestion: String,
    /// TCP statistics of the client when the receipt arrived.
    pub tcp: TcpSeen,
    /// The file has more bytes by now than were sent; those are verified.
    pub grown: bool,
    /// The name that was offered, where the server stored the file under another one.
    pub changed_from: Option<String>,
    /// The main limit of a slow transfer.
    pub diagnosis: Option<Diagnosis>,
}

impl Sent {
    /// Returns the main limit in the words of the key `bottleneck`, of which two are older than
    /// those of a diagnosis.
    pub fn bottleneck(&self) -> Option<&'static str> {
        Some(match self.diagnosis.as_ref()?.main {
            Limit::RateLimit => "limit-rate",
            Limit::Storing => "receiver-storage",
            other => other.as_str(),
        })
    }
}

/// Observes the progress of an upload.
pub trait Observer {
    /// A file is about to be sent; over HTTP/2 others may be under way.
    fn begins(&self, _source: &Source) {}
    /// This many bytes of the current file were sent or are in transit.
    fn position(&self, bytes: u64);
    /// A file is there, and its receipt has been checked.
    fn sent(&self, sent: Sent);
    /// One of several files is not sent; the others follow.
    fn failed(&self, source: &Source, error: &Error);
    /// The connection was lost; another attempt follows in `delay`.
    fn retrying(&self, error: &Error, delay: Duration);
}

/// Sends `sources` in order over one connection (plain: one each; HTTP/2: several at once).
///
/// A lost connection is replaced if the source can be read again. Of several files one that cannot
/// be read, or is refused by itself, does not stop the others.
///
/// Two sources that would be stored under one name are refused before anything is sent.
///
/// # Errors
/// What went wrong and cannot be mended by trying again; files before it have been reported to
/// `observer`. After all files, [`ErrorKind::Some`] if there were such that did not stop the
/// others.
pub fn send(
    sources: &[Source],
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(), Error> {
    if target.scheme == Scheme::Http {
        return http::send(sources, target, options, observer);
    }
    let scope = target.scope()?;
    let mut failed = Failed::default();
    let items = items(sources, &scope, options, observer, &mut failed)?;
    let mut connection = Connection {
        target,
        options,
        observer,
        channel: None,
        whole_seconds: false,
        anew: false,
        failed,
        raw_names: None,
        changed: Changed::default(),
    };
    let mut left = &items[..];
    let mut attempts =
        Attempts::new(options.retries, options.retry_max_time, options.connect.trace.as_ref());
    while let Some(item) = left.first() {
        let (done, stopped) = match connection.burst(left, &mut attempts) {
            Some(stopped) => stopped,
            None => match connection.one(item, &mut attempts) {
                Ok(()) => (1, Ok(())),
                Err(error) => (0, Err(error)),
            },
        };
        left = &left[done..];
        if done > 0 {
            attempts.reset();
            connection.anew = false;
        }
        if let Err(error) = stopped {
            let error = attempts.judge(error);
            // Of a long file content may be on its way, which the server does not wait for.
            connection.channel = None;
            if connection.drops_new_keys(&error) {
                continue;
            }
            connection.anew = error.is_refused(RefusalCode::DigestMismatch);
            let Err(error) = attempts.again(error, &mut retrying(observer)) else { continue };
            if sources.len() > 1
                && error.consequence().one_file
                && let Some((item, rest)) = left.split_first()
            {
                connection.anew = false;
                connection.fail(item.source, &error);
                left = rest;
                attempts.reset();
                continue;
            }
            return Err(error);
        }
    }
    connection.channel.map_or(Ok(()), Channel::close)?;
    connection.failed.outcome(sources.len())
}

/// Reports the attempts that follow a lost connection.
fn retrying(observer: &dyn Observer) -> impl FnMut(&Error, Duration) -> Result<(), Error> {
    |error, delay| {
        observer.retrying(error, delay);
        Ok(())
    }
}

struct Connection<'a> {
    target: &'a Target,
    options: &'a Options,
    observer: &'a dyn Observer,
    channel: Option<Channel>,
    /// The server does not know the key `mtime_ns`.
    whole_seconds: bool,
    /// Whether the whole file is sent, because the server's partial file is another one's.
    anew: bool,
    failed: Failed,
    /// Whether the server supports `name_raw`, once that is known.
    raw_names: Option<bool>,
    changed: Changed,
}

/// Files that were not sent, though the others were.
#[derive(Default)]
struct Failed {
    count: usize,
    origin: Option<ErrorOrigin>,
}

impl Failed {
    fn add(&mut self, origin: ErrorOrigin) {
        self.count += 1;
        self.origin.get_or_insert(origin);
    }

    fn outcome(self, of: usize) -> Result<(), Error> {
        match self.origin {
            Some(origin) => {
                Err(ErrorKind::Some { failed: self.count, of, what: "files were not sent", origin }
                    .into())
            }
            None => Ok(()),
        }
    }
}

impl Connection<'_> {
    /// Sends one file and waits for its receipt.
    fn one(&mut self, item: &Item<'_>, attempts: &mut Attempts) -> Result<(), Error> {
        let mut sent = self.attempt(item, attempts);
        if self.raw_names.is_none() && item.name_raw().is_some() {
            match &sent {
                Ok(_) => self.raw_names = Some(true),
                // A server of an earlier version maps the name, and its receipt is compared with
                // that.
                Err(error) if error.is_refused(RefusalCode::BadRequest) => {
                    (self.raw_names, self.channel) = (Some(false), None);
                    sent = self.attempt(item, attempts);
                }
                Err(_) => {}
            }
        }
        self.observer.sent(sent?);
        match self.channel.take_if(|open| !open.transport().accepts_more()) {
            Some(open) => open.close(),
            None => Ok(()),
        }
    }

    /// Returns whether the file is offered again without keys that older servers refuse.
    fn drops_new_keys(&mut self, error: &Error) -> bool {
        let is_refused = matches!(error.kind(), ErrorKind::Refused(refusal)
            if refusal.code == RefusalCode::BadRequest && refusal.message.contains("mtime_ns"));
        is_refused && !std::mem::replace(&mut self.whole_seconds, true)
    }

    fn fail(&mut self, source: &Source, error: &Error) {
        failed(self.options.connect.trace.as_ref(), error);
        self.failed.add(error.origin());
        self.observer.failed(source, error);
    }

    fn attempt(&mut self, item: &Item<'_>, attempts: &mut Attempts) -> Result<Sent, Error> {
        self.observer.begins(item.source);
        let mut content = item.source.open(self.options.digest)?;
        attempts.check(item.source, content.identity())?;
        if let Some(rate) = self.options.limit_rate {
            content.keep_to(rate);
        }
        let mut offer = self.offer(item, &content);
        let (options, observer, anew) = (self.options, self.observer, self.anew);
        let open = self.open()?;
        attempts.connected();
        // A small one is sent again sooner than asked about.
        let is_long = content.size().is_some_and(|size| size > MAX_DISCARDED);
        offer.resume = options.resume && !anew && is_long && open.transport().can_resume();
        offer.id = content.id().filter(|_| offer.resume);
        let progress = |bytes| {
            attempts.progressed(bytes);
            observer.position(bytes);
        };
        let measuring = open.measure(&options.connect, content.so_far());
        let receipt = open.transport().put(&offer, &mut content, &progress)?;
        let (bytes, spent) = (content.bytes(), content.spent());
        let measured = measuring.sent(open.socket(), bytes, &spent, receipt.as_ref());
        let diagnosis = diagnosed(&options.connect, &measured);
        let (bytes, digest) = match &receipt {
            // Nothing was read.
            Some(receipt) if receipt.outcome() == Outcome::SameTime => {
                (content.size().unwrap_or_default(), None)
            }
            _ => (content.bytes(), content.digest()?),
        };
        let grown = content.has_grown();
        let mut sent = Sent { diagnosis, grown, ..open.sent(bytes, digest, receipt)? };
        self.changed.check(item, &mut sent)?;
        Ok(sent)
    }

    fn open(&mut self) -> Result<&mut Channel, Error> {
        match &mut self.channel {
            Some(open) => Ok(open),
            none => Ok(none.insert(Channel::open(self.target, self.options)?)),
        }
    }

    /// Returns the offer of a file, without the option to wait for the offset.
    fn offer(&self, item: &Item<'_>, content: &Content) -> Offer {
        let options = self.options;
        let mut offer = content.offer();
        offer.name = item.name();
        offer.name_raw = item.name_raw().filter(|_| self.raw_names != Some(false));
        offer.exists = options.on_exists;
        offer.mode = offer.mode.filter(|_| options.permissions);
        offer.mtime = offer.mtime.filter(|_| options.times);
        if let Some(mtime) = &mut offer.mtime
            && (options.checksum || self.whole_seconds)
        {
            mtime.nanoseconds = None;
        }
        offer
    }
}
