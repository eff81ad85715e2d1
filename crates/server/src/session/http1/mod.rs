//! HTTP/1.1 on the common port: requests one after the other, each served by a resource, and the
//! upgrade to WebSocket.
//!
//! ```text
//!   Head ──request──► Serving ──content to the resource, response from it──► Head
//!     │     └───────► answered immediately ────────────────────────────────► Head
//!     ├─room───► another session, for its events
//!     └─upgrade──► another session                  or Ended, if the connection does not persist
//! ```
//!
//! While a response is sent nothing is read. Input after its request waits: at most the rest of one
//! read. The module `http` selects the resource of a request, as for every version.

mod serving;
mod upgrade;
mod write;

use std::io;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Session};
use anyport_proto::http1::{Framing, HeadReader, Pushed, RequestHead};
use anyport_proto::limits::MAX_DISCARDED;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use http::StatusCode;

use self::serving::Serving;
use self::write::Exchange;
use super::due::Due;
use super::events::Events;
use super::http::{
    Answer, Client, Event as RequestEvent, Expectation, Opened, client, events, open, to_https,
};
use super::refusing::{not_accepted, not_accepted_line};
use super::{AnySession, Context, Next, Produced, ServerSession, Successor, idle_reason};
use crate::events::Timed;

pub(crate) struct Http1 {
    /// That of the current request: a trusted proxy states its client.
    context: Context,
    /// The client of the connection.
    client: Client,
    reader: HeadReader,
    /// Time limit of a head that has begun, counted from its first byte.
    due: Due,
    state: State,
    /// Input behind a request that is being answered.
    waiting: Vec<u8>,
}

enum State {
    /// Between requests, or inside a head.
    Head,
    /// A resource serves a request.
    Serving(Box<Serving>),
    /// The last response was written; the lingering close discards further input.
    Ended,
}

impl Http1 {
    pub(super) fn new(context: Context) -> Self {
        let (due, client) = (Due::new(context.config.timeouts.handshake), Client::of(&context));
        let (reader, state, waiting) = (HeadReader::new(), State::Head, Vec::new());
        Self { context, client, reader, due, state, waiting }
    }

    /// Stops if no request is running, and returns whether. A client that has begun a head gets a
    /// response.
    fn stop(&mut self, replies: &mut Vec<u8>) -> bool {
        match &mut self.state {
            State::Head if !self.waiting.is_empty() => false,
            State::Head => {
                if !self.reader.is_empty() {
                    let line = "the server is stopping\n";
                    let answer = Answer::text(StatusCode::SERVICE_UNAVAILABLE, line);
                    Exchange::unread().answer(answer, replies);
                }
                true
            }
            State::Serving(serving) => {
                serving.handle(RequestEvent::Shutdown, &self.context, Instant::now(), replies)
            }
            State::Ended => true,
        }
    }

    fn broken(&mut self, reason: &str) {
        if let State::Serving(mut serving) = std::mem::replace(&mut self.state, State::Ended) {
            serving.lost(reason, &self.context);
        }
    }

    /// Returns whether a response is sent, or input waits behind one.
    fn is_sending(&self) -> bool {
        match &self.state {
            State::Serving(serving) => serving.interest().produce,
            State::Head | State::Ended => !self.waiting.is_empty(),
        }
    }

    fn bytes(&mut self, bytes: &mut [u8], at: Instant, replies: &mut Vec<u8>) -> Next {
        let mut rest = bytes;
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Head => {
                    self.state = State::Head;
                    if rest.is_empty() {
                        return Next::Continue;
                    }
                    if replies.len() > ANSWERS_AT_ONCE {
                        self.waiting.extend_from_slice(rest);
                        return Next::Continue;
                    }
                    let Some((head, used)) = self.head(rest, at, replies) else { continue };
                    rest = std::mem::take(&mut rest).split_at_mut(used).1;
                    let Some(mut head) = head else { continue };
                    self.context.record.request();
                    let timed = Timed::begin(&self.context.events.counters, Protocol::Http);
                    match client(&self.context, &mut head) {
                        Ok(None) => {}
                        Ok(Some(client)) => client.apply(&mut self.context),
                        Err(answer) => {
                            let mut exchange = Exchange::of(&head, &self.context.config, true);
                            exchange = exchange.timed(timed);
                            exchange.answer(answer, replies);
                            self.state = State::Ended;
                            continue;
                        }
                    }
                    if let Some(answer) = to_https(&self.context, &head) {
                        let mut exchange = Exchange::of(&head, &self.context.config, true);
                        exchange = exchange.timed(timed);
                        exchange.answer(answer, replies);
                        self.state = State::Ended;
                        continue;
                    }
                    if head.is_websocket_upgrade() {
                        self.state = State::Ended;
                        return self.upgrade(&head, rest, replies);
                    }
                    if let Some(events) = self.request(&head, timed, !rest.is_empty(), at, replies)
                    {
                        // Input behind it is ignored: the stream ends with the connection.
                        let events = AnySession::of(events);
                        return Successor::session(events, Vec::new());
                    }
                }
                State::Serving(serving) if serving.is_received() => {
                    self.state = State::Serving(serving);
                    self.waiting.extend_from_slice(rest);
                    return Next::Continue;
                }
                State::Serving(mut serving) => {
                    let mut used = 0;
                    let finished = serving.content(rest, &mut used, &self.context, at, replies);
                    self.served(serving, finished);
                    rest = std::mem::take(&mut rest).split_at_mut(used).1;
                    if rest.is_empty() && !finished {
                        return Next::Continue;
                    }
                }
                State::Ended => return Next::Finish,
            }
        }
    }

    /// Returns the next head, if it is complete, and how many of `bytes` belonged to it; `None` if
    /// it was refused.
    fn head(
        &mut self,
        bytes: &[u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Option<(Option<RequestHead>, usize)> {
        if self.due.is_late(at) {
            self.late(replies);
            return None;
        }
        match self.reader.push(bytes, &self.context.config.limits) {
            Ok(Pushed::NeedMore) => {
                self.due.begin(at);
                Some((None, bytes.len()))
            }
            Ok(Pushed::Done { mut head, used }) => {
                self.due.end();
                self.context.config.base_path.strip(&mut head);
                Some((Some(head), used))
            }
            Err(error) => {
                let allowed = self.context.listener.allowed;
                let status = error.status();
                // Without HTTP and raw TCP every input is detected as an opening handshake.
                if allowed.http || status != StatusCode::BAD_REQUEST {
                    self.refuse(status, &error.to_string(), replies);
                } else if bytes.starts_with(b"ANYPORT/") {
                    self.refused(not_accepted(allowed));
                    replies.extend_from_slice(not_accepted_line(allowed).as_bytes());
                    self.state = State::Ended;
                } else {
                    self.refuse(status, &not_accepted(allowed), replies);
                }
                None
            }
        }
    }

    /// Serves a request. `followed`: input behind its head was read with it. Returns the session
    /// for the events of a room.
    fn request(
        &mut self,
        head: &RequestHead,
        timed: Timed,
        followed: bool,
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Option<Events> {
        let stopping = self.context.stage.is_draining();
        let mut exchange = Exchange::of(head, &self.context.config, stopping).timed(timed);
        let framing = match Framing::of(head) {
            Ok(framing) => framing,
            Err(error) => {
                self.refuse(error.status(), &error.to_string(), replies);
                return None;
            }
        };
        let has_content = !framing.is_empty();
        let waits = has_content && Expectation::of(head) != Expectation::None;
        match open(&self.context, head, framing, &exchange.asked) {
            Opened::Answer(answer) => {
                // A client that waits for permission may send its content or not, so the meaning of
                // the next byte is unknown.
                let short = matches!(framing, Framing::None | Framing::Length(..=MAX_DISCARDED));
                exchange.persistent &= short && !waits;
                exchange.answer(answer, replies);
                if exchange.persistent && has_content {
                    let idle = self.context.config.timeouts.idle;
                    let serving = Serving::discard(exchange, framing, idle);
                    self.state = State::Serving(Box::new(serving));
                } else {
                    self.answered(&exchange);
                }
            }
            Opened::Handler(handler) => {
                let mut serving = Serving::new(exchange, framing, handler, waits && !followed);
                let finished = serving.begin(&self.context, at, replies);
                self.served(Box::new(serving), finished);
            }
            Opened::Events(request) => {
                // It ends with the connection.
                let mut head = Vec::new();
                exchange.until_close().head(events(), &mut head);
                self.state = State::Ended;
                let (context, join) = *request;
                return Some(Events::new(context, join, head));
            }
        }
        None
    }

    /// Continues behind a call of a resource: with the next request if the response is complete.
    fn served(&mut self, serving: Box<Serving>, finished: bool) {
        match finished {
            true => self.answered(&serving.finish()),
            false => self.state = State::Serving(serving),
        }
    }

    /// Ends a request: the next one may be that of another client.
    fn answered(&mut self, exchange: &Exchange) {
        self.client.clone().apply(&mut self.context);
        self.state = if exchange.persistent { State::Head } else { State::Ended };
    }

    /// Handles content that was spliced into its file.
    fn spliced(&mut self, count: u64, at: Instant, replies: &mut Vec<u8>) -> Next {
        if let State::Serving(mut serving) = std::mem::replace(&mut self.state, State::Ended) {
            let finished = serving.spliced(count, &self.context, at, replies);
            self.served(serving, finished);
        }
        if matches!(self.state, State::Ended) { Next::Finish } else { Next::Continue }
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) -> Next {
        // Earlier requests are answered first; then the end is handled again.
        if self.is_sending() {
            return Next::Continue;
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Serving(mut serving) => {
                if !serving.end_of_stream(&self.context, replies) {
                    self.state = State::Serving(serving);
                    return Next::Continue;
                }
            }
            State::Head if !self.reader.is_empty() => {
                self.refused("the stream ended inside a request head".to_owned());
            }
            State::Head | State::Ended => {}
        }
        Next::Finish
    }

    fn silence(&mut self, now: Instant, replies: &mut Vec<u8>) -> Next {
        let idle = idle_reason(self.context.config.timeouts.idle);
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Head if self.due.is_late_when_idle(now) => self.late(replies),
            State::Head if !self.reader.is_empty() => {
                self.refuse(StatusCode::REQUEST_TIMEOUT, &idle, replies);
            }
            State::Serving(mut serving) => {
                if !serving.handle(RequestEvent::Idle, &self.context, now, replies) {
                    self.state = State::Serving(serving);
                    return Next::Continue;
                }
            }
            // Between two requests no client waits for a response (RFC 9112 §9.5).
            State::Head | State::Ended => {}
        }
        Next::Finish
    }

    fn late(&mut self, replies: &mut Vec<u8>) {
        let reason = self.due.reason("the request head");
        self.refuse(StatusCode::REQUEST_TIMEOUT, &reason, replies);
    }

    /// Refuses input that is no request, or one without a known end: the connection ends.
    fn refuse(&mut self, status: StatusCode, reason: &str, replies: &mut Vec<u8>) {
        self.refused(reason.to_owned());
        Exchange::unread().answer(Answer::text(status, format!("{reason}\n")), replies);
        self.state = State::Ended;
    }

    fn refused(&self, reason: String) {
        self.context.refused("http", reason);
    }
}

impl ServerSession for Http1 {}

impl Session for Http1 {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let idle = self.context.config.timeouts.idle;
        // The end of a head may create or open a file.
        let head = Interest { may_block: true, ..Interest::input(self.due.idle_timeout(idle)) };
        let waits = !self.waiting.is_empty();
        let mut interest = match &self.state {
            State::Head => Interest { produce: waits, ..head },
            State::Serving(serving) => serving.interest(),
            State::Ended => Interest { produce: waits, may_block: false, ..head },
        };
        // The library implementation takes over the runtime's own socket, so everything stays
        // there.
        if self.context.config.engine != Engine::Own {
            interest.place = Placement::Runtime;
        }
        interest
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(bytes) => return self.bytes(bytes, now, out),
            Event::Spliced(count) => return self.spliced(count, now, out),
            Event::EndOfStream => return self.end_of_stream(out),
            Event::Idle => return self.silence(now, out),
            Event::Shutdown if self.stop(out) => return Next::Finish,
            Event::Sent(count) => {
                if let State::Serving(serving) = &mut self.state {
                    serving.handle(RequestEvent::Sent(count), &self.context, now, out);
                }
            }
            Event::Lost(reason) => self.broken(reason),
            Event::Shutdown | Event::Timer => {}
        }
        Next::Continue
    }

    /// Returns the next piece of an answer. Once it is complete, handles the input that waited.
    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        let produced = match std::mem::replace(&mut self.state, State::Ended) {
            State::Serving(mut serving) if serving.interest().produce => {
                let (produced, finished) = serving.produce(buffer, &self.context, out)?;
                self.served(serving, finished);
                produced
            }
            state => {
                self.state = state;
                let mut waiting = std::mem::take(&mut self.waiting);
                // Read long ago, but the peer could not be late while nothing was read.
                return Ok(Produced::Next(self.bytes(&mut waiting, Instant::now(), out)));
            }
        };
        let ended = matches!(self.state, State::Ended);
        Ok(if ended { Produced::Next(Next::Finish) } else { produced })
    }
}

/// Permission to send content (RFC 9110 §10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes of responses beyond which pipelined requests wait until those are written.
const ANSWERS_AT_ONCE: usize = 16 * 1024;
