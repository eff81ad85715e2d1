//! The protocols of connections: sessions of `anyport_net::copy`, synchronous and without a socket,
//! so that the same session runs on the runtime, on a bulk thread and on a reactor.
//!
//! ```text
//!   Raw ──proof of frames──► Ws          Http1 ──upgrade──► Ws
//!   Preface ──JOIN──► Lines              Http1 ──GET /rooms/NAME──► Events
//!   Preface ──PIPE, TAKE──► Pipe
//!                                        Refusing (what is not served)
//!   Http1 ──upgrade at /.anyport/live──► live: no session, but a task that owns the stream
//!   http2: no session, but a task for each stream, with the routes of Http1 (`http`)
//!   Echo, Greet, Time (where a listener serves nothing else; Echo also behind a preface line)
//! ```

mod about;
#[cfg(test)]
mod deadlines;
mod due;
mod events;
pub(crate) mod greet;
mod http;
mod http1;
pub(crate) mod http2;
#[cfg(feature = "library-engine")]
pub(crate) mod library;
mod lines;
pub(crate) mod live;
mod messages;
mod pipe;
mod preface;
mod raw;
pub(crate) mod raw_echo;
mod refusing;
mod route;
mod sending;
#[cfg(test)]
mod tests;
pub(crate) mod time_http;
mod ws;

pub(crate) use due::AT_ONCE;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{self, Event, Interest, Session};
use anyport_proto::access::Token;
use anyport_proto::counted::counted;
use anyport_proto::detect::DetectedProtocol;
use anyport_proto::peer::Peer;
use anyport_proto::setting::IDLE_TIMEOUT;
use anyport_proto::transfer::download::List;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_trace::ReportedSyn;

use crate::access::{Access, Denied, Grant, Participant};
use crate::budget::{Budget, Share};
use crate::config::{Config, ListenerConfig, TlsMode};
use crate::events::{Events, Record, Why};
use crate::health::Health;
use crate::link::Link;
use crate::per_address::{Admitted, PerAddress};
use crate::service::files::{Files, Source};
use crate::service::listing::Listing;
use crate::service::pipe::Pipes;
use crate::service::rooms::{Listeners, Rooms, Subscription};
use crate::share::Shares;
use crate::shutdown::Stage;

/// The shared state of a server, and the peer of one session.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    /// Settings of the listener that accepted the connection.
    pub(crate) listener: Arc<ListenerConfig>,
    pub(crate) files: Arc<Files>,
    /// Budget of memory for unfinished messages and candidates of all connections.
    pub(crate) buffered: Arc<Budget>,
    pub(crate) events: Arc<Events>,
    pub(crate) access: Arc<Access>,
    /// What the client may do; nothing before it is admitted, if that needs a token.
    pub(crate) grant: Grant,
    /// Record for the access log.
    pub(crate) record: Arc<Record>,
    pub(crate) rooms: Arc<Rooms>,
    /// Room listeners that share a connection.
    pub(crate) room_listeners: Arc<Listeners>,
    pub(crate) pipes: Arc<Pipes>,
    pub(crate) shares: Arc<Shares>,
    /// Budget of files for HTTP/2 streams beside the first of their connection.
    pub(crate) stream_files: Arc<Budget>,
    /// Budget of live connections.
    pub(crate) live: Arc<Budget>,
    pub(crate) health: Arc<Health>,
    pub(crate) per_address: Arc<PerAddress>,
    /// The client: of the connection, or of one request that a trusted proxy forwards.
    pub(crate) peer: Peer,
    /// Counts a forwarded request for the address of its client, while it runs.
    pub(crate) admitted: Option<Arc<Admitted>>,
    pub(crate) link: Link,
    /// Stage of stopping.
    pub(crate) stage: Stage,
    /// Whether the client uses TLS, with this server or with a trusted proxy.
    pub(crate) is_encrypted: bool,
}

impl Context {
    /// Returns the TLS settings, if this listener has TLS.
    pub(crate) fn tls(&self) -> Option<&anyport_tls::server::Server> {
        self.config.tls.as_ref().filter(|_| self.listener.tls != TlsMode::Off)
    }

    /// Returns whether the client must use TLS.
    pub(crate) fn must_encrypt(&self) -> bool {
        self.listener.tls == TlsMode::Required && !self.is_encrypted
    }

    fn source(&self, protocol: Protocol, engine: Engine) -> Source {
        Source {
            protocol,
            engine,
            peer: self.peer,
            grant: self.grant.clone(),
            link: self.link.clone(),
            record: self.record.clone(),
        }
    }

    /// Admits a peer that sent `token`, and returns what it may do, or why it is not admitted,
    /// after reporting it.
    pub(crate) fn admit(
        &self,
        protocol: &'static str,
        token: Option<&Token>,
    ) -> Result<Grant, Denied> {
        match self.access.admit(self.peer, token) {
            Ok(grant) => {
                if let Some(user) = grant.user().cloned() {
                    self.record.is_of(user);
                }
                Ok(grant)
            }
            Err(denied) => {
                self.refused_as(denied.why(), protocol, denied.reason());
                Err(denied)
            }
        }
    }

    /// Admits a peer that used the link of a share, or reports why it is not admitted.
    pub(crate) fn admit_by_link(&self, protocol: &'static str, id: &str) -> Result<Grant, Denied> {
        let admitted = self.access.admit_by_link(id, &self.shares);
        match &admitted {
            Ok(grant) => {
                if let Some(link) = grant.link() {
                    // A name may be that of a file, which no log has.
                    let hash: String = link.identity().chars().take(8).collect();
                    self.record.is_of(format!("share:{hash}").into());
                }
            }
            Err(denied) => {
                self.refused_as(denied.why(), protocol, denied.reason());
            }
        }
        admitted
    }

    /// Returns the client as one that may use rooms and pipes.
    ///
    /// # Errors
    /// It lacks the right.
    pub(crate) fn participant(&self) -> Result<Participant, Refusal> {
        self.grant.participant(self.peer)
    }

    /// Returns the SYN of the peer, which asks for it and was admitted.
    pub(crate) fn reported_syn(&self) -> ReportedSyn {
        match self.peer.is_forwarded() {
            true => ReportedSyn::Proxied,
            false => self.link.saved_syn().map_or(ReportedSyn::None, ReportedSyn::of),
        }
    }

    /// Reports that the peer's request was refused.
    pub(crate) fn refused(&self, protocol: &'static str, reason: impl AsRef<str>) {
        self.refused_as(Why::Request, protocol, reason);
    }

    /// Reports that the peer was refused because of `why`.
    pub(crate) fn refused_as(&self, why: Why, protocol: &'static str, reason: impl AsRef<str>) {
        self.record.refused(reason.as_ref());
        self.events.refused(why, protocol, self.peer, reason);
    }

    fn list(&self, source: Source, list: &List) -> Result<Listing, Refusal> {
        self.files.list(source, list, self.config.limits.listed_names, self.buffer_share())
    }

    /// Returns a share of the memory for unfinished input, which counts for the peer's address.
    fn buffer_share(&self) -> Share {
        self.buffered.share(self.peer)
    }
}

/// A session of this server, and what only some of them have.
pub(crate) trait ServerSession: Session<Successor = Successor> + Send {
    /// Returns whether messages may be compressed.
    fn inflates(&self) -> bool {
        false
    }

    /// Enters its room, if it has one: the connection is on its reactor thread.
    fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        out: &mut Vec<u8>,
    ) -> (Option<Subscription>, Next) {
        let _ = (rooms, shard, out);
        (None, Next::Continue)
    }
}

/// The session of a connection.
pub(crate) struct AnySession(Box<dyn ServerSession>);

/// The successor of a session whose connection continues.
pub(crate) enum Successor {
    /// Another session, which handles `rest` first: input that was read already.
    Session { session: AnySession, rest: Vec<u8> },
    /// Not a session.
    Detached(Detached),
}

/// The owner of a stream that is not a session.
pub(crate) enum Detached {
    /// The WebSocket library, after a validated request.
    #[cfg(feature = "library-engine")]
    Library(Box<library::Upgrade>),
    /// A live connection, after its opening handshake.
    Live(Box<live::Opening>),
    /// HTTP/2, whose streams are tasks.
    Http2,
}

impl Successor {
    /// Returns the successor for a detected protocol. The first input of a session is the prefix
    /// that was read for detection.
    pub(crate) fn of(protocol: DetectedProtocol, context: Context) -> Self {
        AnySession::new(protocol, context).map_or(Self::Detached(Detached::Http2), Self::first)
    }

    /// Returns the first session of a connection.
    pub(crate) const fn first(session: AnySession) -> Self {
        Self::Session { session, rest: Vec::new() }
    }

    const fn session(session: AnySession, rest: Vec<u8>) -> Next {
        Next::Become(Self::Session { session, rest })
    }
}

/// The result of a call of a session.
pub(crate) type Next = copy::Next<Successor>;
/// The output of a session.
pub(crate) type Produced = copy::Produced<Successor>;

impl AnySession {
    /// Returns the session for a protocol; `None` for HTTP/2. Its first input is the prefix that
    /// was read for detection.
    fn new(protocol: DetectedProtocol, context: Context) -> Option<Self> {
        let allowed = context.listener.allowed;
        let must_encrypt = context.must_encrypt();
        let needs_token = context.config.tokens.is_some();
        Some(match protocol {
            DetectedProtocol::Proxy => Self::of(refusing::Refusing::proxy(context)),
            // An HTTP request is redirected instead.
            DetectedProtocol::Raw | DetectedProtocol::Preface if must_encrypt => {
                Self::of(refusing::Refusing::without_tls(context))
            }
            DetectedProtocol::FrameCandidate if must_encrypt => {
                Self::of(refusing::Refusing::frames_without_tls(context))
            }
            DetectedProtocol::Raw if needs_token && allowed.raw => {
                Self::of(refusing::Refusing::without_token(context))
            }
            DetectedProtocol::FrameCandidate if needs_token => {
                Self::of(refusing::Refusing::frames_without_token(context))
            }
            // If raw is not accepted, any other input is a malformed request, or unknown.
            DetectedProtocol::Raw if !allowed.raw && (allowed.http || allowed.ws) => {
                Self::of(http1::Http1::new(context))
            }
            DetectedProtocol::Raw if !allowed.raw => Self::of(refusing::Refusing::raw(context)),
            DetectedProtocol::Raw => Self::of(raw::Raw::plain(context)),
            DetectedProtocol::FrameCandidate => Self::of(raw::Raw::candidate(context)),
            DetectedProtocol::Preface => Self::of(preface::Preface::new(context)),
            DetectedProtocol::Http1 => Self::of(http1::Http1::new(context)),
            DetectedProtocol::Tls => Self::of(refusing::Refusing::tls(context)),
            DetectedProtocol::Http2 => return None,
        })
    }

    /// Boxes a session.
    pub(crate) fn of(session: impl ServerSession + 'static) -> Self {
        Self(Box::new(session))
    }

    /// Returns whether messages may be compressed.
    pub(crate) fn inflates(&self) -> bool {
        self.0.inflates()
    }

    /// Begins on a reactor thread: a session for a room joins it.
    pub(crate) fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        out: &mut Vec<u8>,
    ) -> (Option<Subscription>, copy::Next<Detached>) {
        let (subscription, next) = self.0.enter(rooms, shard, out);
        (subscription, self.follow(next, false, Instant::now(), out))
    }

    /// Replaces this session by its successor, and passes it the rest of the input; with `ended`
    /// also the end of the stream.
    fn follow(
        &mut self,
        next: Next,
        ended: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> copy::Next<Detached> {
        let mut rest = match next {
            Next::Continue => return copy::Next::Continue,
            Next::Finish => return copy::Next::Finish,
            Next::Become(Successor::Detached(detached)) => return copy::Next::Become(detached),
            Next::Become(Successor::Session { session, rest }) => {
                *self = session;
                rest
            }
        };
        let mut next = copy::Next::Continue;
        if !rest.is_empty() {
            next = self.handle(Event::Bytes(&mut rest), now, out);
        }
        match next {
            copy::Next::Continue if ended => self.handle(Event::EndOfStream, now, out),
            next => next,
        }
    }
}

impl Session for AnySession {
    type Successor = Detached;

    fn interest(&self) -> Interest {
        self.0.interest()
    }

    fn handle(
        &mut self,
        event: Event<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> copy::Next<Detached> {
        // The timer of the connection's rate limit is not the session's.
        if matches!(event, Event::Timer) && self.interest().wake.is_none() {
            return copy::Next::Continue;
        }
        let ended = matches!(event, Event::EndOfStream);
        let next = self.0.handle(event, now, out);
        self.follow(next, ended, now, out)
    }

    fn produce(
        &mut self,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<copy::Produced<Detached>> {
        Ok(match self.0.produce(buffer, out)? {
            Produced::Bytes(count) => copy::Produced::Bytes(count),
            Produced::File(piece) => copy::Produced::File(piece),
            Produced::Next(next) => {
                copy::Produced::Next(self.follow(next, false, Instant::now(), out))
            }
        })
    }
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Busy, "the server is stopping")
}

/// Returns the reason for a stream that ended `left` bytes before the announced size.
fn early_end(left: u64) -> String {
    format!("the stream ended {} before the announced size", counted(left, "byte"))
}

/// Returns the idle timeout as a reason for peers and operators.
fn idle_reason(idle: Duration) -> String {
    format!("no data for {idle:?} ({IDLE_TIMEOUT})")
}
