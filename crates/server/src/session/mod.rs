//! One protocol spoken on a connection. Sessions are steps of the bulk loop (`anyport_net::copy`): bytes in, replies
//! out, no await anywhere; so the same session runs among the tasks of the runtime and on a thread of its own.
//!
//! ```text
//!   Raw ──proof of frames──► Ws          Http1 ──upgrade──► Ws
//!   Preface ──JOIN──► Lines              Http1 ──GET /rooms/NAME──► Events
//!   Preface ──PIPE, TAKE──► Pipe
//!                                        Refusing (what is not taken here)
//!   http2: no step, but a task for each stream, with the routes of Http1 (`http`)
//!   Single: echo, greet or time, where a listener serves nothing else
//! ```

mod due;
mod events;
pub(crate) mod greet;
mod http;
mod http1;
pub(crate) mod http2;
pub(crate) mod library;
mod lines;
mod messages;
mod pipe;
mod preface;
mod raw;
pub(crate) mod raw_echo;
mod refusing;
mod sending;
pub(crate) mod single;
#[cfg(test)]
mod tests;
pub(crate) mod time_http;
mod ws;

pub(crate) use due::AT_ONCE;
pub(crate) use http1::Upgrade;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_net::copy::{Flow, Input, Interest, Outgoing, Step};
use anyport_proto::access::Token;
use anyport_proto::detect::Verdict;
use anyport_proto::transfer::download::List;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use crate::access::{Access, Denied};
use crate::budget::{Budget, Share};
use crate::config::{Config, ListenerConfig, TlsMode};
use crate::counters::Counters;
use crate::link::Link;
use crate::record::Record;
use crate::service::files::{Files, Source};
use crate::service::listing::Listing;
use crate::service::pipe::Pipes;
use crate::service::rooms::{Desk, Rooms, Seat};

/// What every session of a server shares, and whom it talks to.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    /// What is set for the listener that accepted it.
    pub(crate) listener: Arc<ListenerConfig>,
    pub(crate) files: Arc<Files>,
    /// What unfinished messages and candidates may hold, all connections together.
    pub(crate) buffered: Arc<Budget>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) access: Arc<Access>,
    /// What is said of the connection at its end.
    pub(crate) record: Arc<Record>,
    pub(crate) rooms: Arc<Rooms>,
    /// Where streams listen that share a connection.
    pub(crate) desk: Arc<Desk>,
    pub(crate) pipes: Arc<Pipes>,
    /// For files of HTTP/2 streams beside the first of their connection.
    pub(crate) stream_files: Arc<Budget>,
    pub(crate) peer: SocketAddr,
    pub(crate) link: Link,
    /// Nobody on the way can read it.
    pub(crate) is_encrypted: bool,
}

impl Context {
    /// TLS, where this listener speaks it.
    pub(crate) fn tls(&self) -> Option<&anyport_tls::server::Server> {
        self.config.tls.as_ref().filter(|_| self.listener.tls != TlsMode::Off)
    }

    /// Whether the client must come again with TLS.
    pub(crate) fn must_encrypt(&self) -> bool {
        self.listener.tls == TlsMode::Required && !self.is_encrypted
    }

    fn source(&self, protocol: Protocol, engine: Engine) -> Source {
        Source {
            protocol,
            engine,
            peer: self.peer,
            link: self.link.clone(),
            record: self.record.clone(),
        }
    }

    /// Lets a peer in that showed `token`, or says why not; that has been told then.
    pub(crate) fn admit(
        &self,
        protocol: &'static str,
        token: Option<&Token>,
    ) -> Result<(), Denied> {
        match self.access.admit(self.config.tokens.as_ref(), self.peer.ip(), token) {
            Ok(user) => {
                if let Some(user) = user {
                    self.record.is_of(user);
                }
                Ok(())
            }
            Err(denied) => {
                self.files.refused_for(denied.why(), protocol, self.peer, denied.reason());
                Err(denied)
            }
        }
    }

    fn list(&self, source: Source, list: &List) -> Result<Listing, Refusal> {
        self.files.list(source, list, self.config.limits.listed_names, self.buffer_share())
    }

    /// A share of the memory for unfinished input, which counts for the peer's address.
    fn buffer_share(&self) -> Share {
        self.buffered.share(self.peer.ip())
    }
}

/// The session of a connection, whichever it is.
pub(crate) enum Session {
    Raw(Box<raw::Raw>),
    Preface(Box<preface::Preface>),
    Http1(Box<http1::Http1>),
    Ws(Box<ws::Ws>),
    Lines(Box<lines::Lines>),
    Events(Box<events::Events>),
    Refusing(refusing::Refusing),
    Single(Box<single::Single>),
    Pipe(Box<pipe::Pipe>),
}

/// What a session wants after a step.
enum Next {
    Flow(Flow),
    /// Another protocol from here on; it has taken what was left of the input.
    Become(Session, Flow),
}

impl Session {
    /// The session for a verdict. Its first input is the prefix that the verdict was found from. None for HTTP/2, whose streams
    /// are tasks: [`http2::serve`].
    pub(crate) fn new(verdict: Verdict, context: Context) -> Option<Self> {
        let allowed = context.listener.allowed;
        let must_encrypt = context.must_encrypt();
        let needs_token = context.config.tokens.is_some();
        Some(match verdict {
            Verdict::Proxy => Self::Refusing(refusing::Refusing::proxy(context)),
            // A request is answered with where to go.
            Verdict::Raw | Verdict::Preface if must_encrypt => {
                Self::Refusing(refusing::Refusing::without_tls(context))
            }
            Verdict::FrameCandidate if must_encrypt => {
                Self::Refusing(refusing::Refusing::frames_without_tls(context))
            }
            Verdict::Raw if needs_token && allowed.raw => {
                Self::Refusing(refusing::Refusing::without_token(context))
            }
            Verdict::FrameCandidate if needs_token => {
                Self::Refusing(refusing::Refusing::frames_without_token(context))
            }
            // Where raw is not taken, what is no other protocol is a broken request, or nothing we know.
            Verdict::Raw if !allowed.raw && (allowed.http || allowed.ws) => {
                Self::Http1(Box::new(http1::Http1::new(context)))
            }
            Verdict::Raw if !allowed.raw => Self::Refusing(refusing::Refusing::raw(context)),
            Verdict::Raw => Self::Raw(Box::new(raw::Raw::plain(context))),
            Verdict::FrameCandidate => Self::Raw(Box::new(raw::Raw::candidate(context))),
            Verdict::Preface => Self::Preface(Box::new(preface::Preface::new(context))),
            Verdict::Http1 => Self::Http1(Box::new(http1::Http1::new(context))),
            Verdict::Tls => Self::Refusing(refusing::Refusing::tls(context)),
            Verdict::Http2 => return None,
        })
    }

    /// The request head of an upgrade that another engine is to answer, once it is whole; and what followed it.
    pub(crate) fn take_upgrade(&mut self) -> Option<Upgrade> {
        match self {
            Self::Http1(session) => session.take_upgrade(),
            _ => None,
        }
    }

    /// Whether another engine goes on with the connection.
    pub(crate) fn is_handed_over(&self) -> bool {
        matches!(self, Self::Http1(session) if session.has_upgrade())
    }

    /// The server stops: whether nothing runs here that should be waited for. The peer is told so in `replies`.
    fn stop(&mut self, replies: &mut Vec<u8>) -> bool {
        match self {
            Self::Raw(session) => session.is_idle(),
            Self::Preface(session) => session.stop(replies),
            Self::Http1(session) => session.stop(replies),
            Self::Ws(session) => session.stop(replies),
            Self::Lines(session) => session.stop(replies),
            Self::Pipe(session) => session.stop(replies),
            Self::Events(session) => {
                session.stop(replies);
                true
            }
            Self::Refusing(_) => true,
            Self::Single(session) => {
                session.stop(replies);
                true
            }
        }
    }

    /// The server stops, and what comes now is answered accordingly; [`Self::stop`] is to follow.
    pub(crate) const fn hears_of_stop(&mut self) {
        if let Self::Http1(session) = self {
            session.hears_of_stop();
        }
    }

    /// The connection broke; what was running is interrupted.
    pub(crate) fn broken(&mut self, reason: &str) {
        match self {
            Self::Raw(session) => session.broken(reason),
            Self::Preface(session) => session.broken(reason),
            Self::Http1(session) => session.broken(reason),
            Self::Ws(session) => session.broken(reason),
            Self::Single(session) => session.broken(),
            Self::Pipe(session) => session.broken(reason),
            Self::Lines(_) | Self::Events(_) | Self::Refusing(_) => {}
        }
    }

    /// A conversation is where it stays: one for a room takes its seat.
    pub(crate) fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        replies: &mut Vec<u8>,
    ) -> (Option<Seat>, Flow) {
        match self {
            Self::Ws(session) => session.enter(rooms, shard, replies),
            Self::Lines(session) => session.enter(rooms, shard, replies),
            Self::Events(session) => session.enter(rooms, shard, replies),
            Self::Raw(_)
            | Self::Preface(_)
            | Self::Http1(_)
            | Self::Refusing(_)
            | Self::Single(_)
            | Self::Pipe(_) => (None, Flow::Continue),
        }
    }
}

impl Step for Session {
    fn interest(&self) -> Interest {
        match self {
            Self::Raw(session) => session.interest(),
            Self::Preface(session) => session.interest(),
            Self::Http1(session) => session.interest(),
            Self::Ws(session) => session.interest(),
            Self::Lines(session) => session.interest(),
            Self::Events(session) => session.interest(),
            Self::Refusing(session) => session.interest(),
            Self::Single(session) => session.interest(),
            Self::Pipe(session) => session.interest(),
        }
    }

    fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        if matches!(input, Input::Stopping) {
            return if self.stop(replies) { Flow::Finish } else { Flow::Continue };
        }
        // A rate limit alone, which is not the session's.
        if matches!(input, Input::Timer(_)) && self.interest().wake.is_none() {
            return Flow::Continue;
        }
        let next = match self {
            Self::Raw(session) => session.step(input, replies),
            Self::Preface(session) => {
                let flow = session.step(input, replies);
                match session.take_successor(replies) {
                    Some(successor) => Next::Become(successor, flow),
                    None => Next::Flow(flow),
                }
            }
            Self::Http1(session) => session.step(input, replies),
            Self::Ws(session) => Next::Flow(session.step(input, replies)),
            Self::Lines(session) => Next::Flow(session.step(input, replies)),
            Self::Events(session) => Next::Flow(session.step(&input, replies)),
            Self::Refusing(session) => Next::Flow(session.step(replies)),
            Self::Single(session) => Next::Flow(session.step(input, replies)),
            Self::Pipe(session) => Next::Flow(session.step(&input, replies)),
        };
        match next {
            Next::Flow(flow) => flow,
            Next::Become(session, flow) => {
                *self = session;
                flow
            }
        }
    }

    fn outgoing(&mut self, buffer: &mut [u8], replies: &mut Vec<u8>) -> io::Result<Outgoing> {
        match self {
            Self::Preface(session) => {
                let outgoing = session.outgoing(buffer, replies)?;
                // What waited behind an answer may lead elsewhere.
                if let Some(successor) = session.take_successor(replies) {
                    *self = successor;
                }
                Ok(outgoing)
            }
            Self::Http1(session) => {
                let (outgoing, next) = session.outgoing(buffer, replies)?;
                if let Some(next) = next {
                    *self = next;
                }
                Ok(outgoing)
            }
            Self::Ws(session) => session.outgoing(buffer, replies),
            Self::Pipe(session) => session.outgoing(buffer, replies),
            Self::Raw(_)
            | Self::Lines(_)
            | Self::Events(_)
            | Self::Refusing(_)
            | Self::Single(_) => Ok(Outgoing::Nothing),
        }
    }

    fn sent(&mut self, count: u64) {
        match self {
            Self::Preface(session) => session.sent(count),
            Self::Http1(session) => session.sent(count),
            Self::Ws(session) => session.sent(count),
            Self::Raw(_)
            | Self::Lines(_)
            | Self::Events(_)
            | Self::Refusing(_)
            | Self::Single(_)
            | Self::Pipe(_) => {}
        }
    }
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Busy, "the server is stopping")
}

/// The idle timeout, as peers and operators read it.
fn idle_reason(idle: Duration) -> String {
    format!("no data for {idle:?} (--idle-timeout)")
}
