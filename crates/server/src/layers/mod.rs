//! A connection as the drivers see it: one session and the layers between it and the socket.
//!
//! ```text
//!   socket ◄──► TLS ◄──► counts of bytes, rate limit, trace ◄──► shutdown ◄──► session
//! ```
//!
//! The layers are fields in a fixed order, so each of them handles every event, and a session that
//! takes over from another one keeps all of them. Bytes are counted and paced as plaintext.

mod tls;
mod trace;

pub(crate) use trace::begin as begin_trace;

use std::io;
use std::num::NonZeroU64;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Next, Placement, Produced, Read, Session};
use anyport_net::pace::Pace;
use anyport_tls::ServerMachine;

use crate::events::Tally;
use crate::guard::Guard;
use crate::session::{AnySession, Context, Detached};
use crate::shutdown::{STOPPED, Stage};
use crate::traces::Traced;
use tls::Tls;

/// One connection.
pub(crate) struct Connection {
    tls: Option<Box<Tls>>,
    bytes: Tally,
    /// The rate limit of the connection, for both directions together.
    pace: Option<Box<Pace>>,
    stage: Stage,
    /// The session has been notified that the server stops.
    is_notified: bool,
    session: AnySession,
    guard: Guard,
}

impl Connection {
    pub(crate) fn new(
        session: AnySession,
        machine: Option<ServerMachine>,
        context: &Context,
        guard: Guard,
    ) -> Self {
        let link = || context.link.clone();
        Self {
            tls: machine.map(|machine| Box::new(Tls::new(machine, link()))),
            bytes: Tally::new(context.record.clone()),
            pace: context.config.limit_rate.map(Pace::new).map(Box::new),
            stage: context.stage.clone(),
            is_notified: false,
            session,
            guard,
        }
    }

    /// Returns whether its messages may be compressed.
    pub(crate) fn inflates(&self) -> bool {
        self.session.inflates()
    }

    /// Returns what remains when a library takes over the stream.
    pub(crate) fn into_parts(self) -> (Option<ServerMachine>, Guard) {
        (self.tls.map(|tls| tls.into_machine()), self.guard)
    }

    /// Allocates a driver's buffer: small at a low rate, so that the rate is even.
    pub(crate) fn buffer(&self, wanted: usize) -> Vec<u8> {
        vec![0; wanted.min(self.most_at_once())]
    }

    fn most_at_once(&self) -> usize {
        self.pace.as_ref().map_or(usize::MAX, |pace| pace.most())
    }

    /// Handles the input that was read before there was a session: plaintext, also under TLS.
    pub(crate) fn handle_first_input(
        &mut self,
        prefix: &mut [u8],
        at: Instant,
        ended: bool,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        let is_encrypted = self.tls.is_some();
        // close_notify may have arrived in the same read.
        let ended = ended || self.tls.as_ref().is_some_and(|tls| tls.is_ended());
        let next = self.say(out, |connection, out| {
            match connection.plain(Event::Bytes(prefix), at, out) {
                // An interactive connection handles the end on its reactor thread.
                Next::Continue if is_encrypted && connection.is_interactive() => Next::Continue,
                Next::Continue if ended => connection.plain(Event::EndOfStream, at, out),
                next => next,
            }
        });
        if let Some(tls) = &mut self.tls {
            tls.ending = ended;
        }
        next
    }

    /// Begins on a reactor thread: calls `enter` unless the server stops, and then handles the end
    /// of the stream if it has arrived.
    pub(crate) fn arrive(
        &mut self,
        out: &mut Vec<u8>,
        enter: impl FnOnce(&mut AnySession, &mut Vec<u8>) -> Next<Detached>,
    ) -> Next<Detached> {
        let next = self.say(out, |connection, out| {
            // All others may have been notified before it arrived here.
            if connection.stage.is_draining() {
                return connection.plain(Event::Shutdown, Instant::now(), out);
            }
            connection.counted(out, |connection, out| enter(&mut connection.session, out))
        });
        // Delayed input is handled first, then the end of the stream.
        let has_ended = self.tls.as_ref().is_some_and(|tls| tls.ending);
        if !matches!(next, Next::Continue) || self.is_delayed() || !has_ended {
            return next;
        }
        self.say(out, |connection, out| {
            connection.plain(Event::EndOfStream, Instant::now(), out);
            Next::Finish
        })
    }

    /// Lets `add` append plaintext to `out`, outside of an event.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, add: impl FnOnce(&mut Vec<u8>)) {
        self.say(out, |connection, out| {
            connection.counted(out, |_, out| {
                add(out);
                Next::Continue
            })
        });
    }

    /// Counts the bytes that `append` adds.
    fn counted(
        &mut self,
        out: &mut Vec<u8>,
        append: impl FnOnce(&mut Self, &mut Vec<u8>) -> Next<Detached>,
    ) -> Next<Detached> {
        let before = out.len();
        let next = append(self, out);
        self.bytes.sent((out.len() - before) as u64);
        if let Some(traced) = self.traced() {
            traced.sent(&out[before..]);
            self.ends(&next);
        }
        next
    }

    /// Returns the trace of the connection, if there is one; it belongs to the record, as all that
    /// serve the connection report to it.
    fn traced(&self) -> Option<&Traced> {
        self.bytes.record.traced()
    }

    /// Records in the trace that the session has ended.
    fn ends(&self, next: &Next<Detached>) {
        if let (Some(traced), Next::Finish) = (self.traced(), next) {
            traced.finished();
        }
    }

    /// Runs `work` of the layers and the session; a trace measures the time between two of them.
    fn measured<T>(&mut self, is_after_wait: bool, work: impl FnOnce(&mut Self) -> T) -> T {
        let Some(traced) = self.traced() else { return work(self) };
        traced.begins(is_after_wait);
        let done = work(self);
        let interest = self.plain_interest();
        let reads = matches!(interest.read, Read::Bytes) && interest.wait.is_none();
        if let Some(traced) = self.traced().filter(|_| reads && !interest.produce) {
            traced.rests(interest.wake);
        }
        done
    }

    /// Encrypts the bytes that `append` adds.
    fn say(
        &mut self,
        out: &mut Vec<u8>,
        append: impl FnOnce(&mut Self, &mut Vec<u8>) -> Next<Detached>,
    ) -> Next<Detached> {
        let Some(mut tls) = self.tls.take() else { return append(self, out) };
        let next = tls.seal_from(self, out, append);
        self.tls = Some(tls);
        next
    }

    /// Ends the session of a lost connection. May block, because buffered content goes into a
    /// partial file.
    pub(crate) fn broken(&mut self, error: &io::Error) {
        let reason = if self.stage.is_aborted() {
            STOPPED.to_owned()
        } else {
            format!("connection lost: {error}")
        };
        if let Some(traced) = self.traced() {
            traced.failed(error);
        }
        self.bytes.record.broken(&reason);
        self.lose(&reason);
    }

    fn lose(&mut self, reason: &str) {
        // Output is discarded.
        self.session.handle(Event::Lost(reason), Instant::now(), &mut Vec::new());
    }

    pub(crate) fn is_interactive(&self) -> bool {
        self.session.interest().place == Placement::Reactor
    }

    /// Returns whether a limit of the session delays input that was read.
    fn is_delayed(&self) -> bool {
        self.session.interest().wake.is_some()
    }

    fn moved(&mut self, count: u64) {
        if let Some(pace) = &mut self.pace {
            pace.moved(count);
        }
    }

    fn notify(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<Detached> {
        self.is_notified = true;
        self.session.handle(Event::Shutdown, now, out)
    }

    /// Returns the interest of the session and the layers inside TLS.
    fn plain_interest(&self) -> Interest {
        let mut interest = self.session.interest();
        if let Some(pace) = &self.pace {
            // `None` is less than any instant, so the later of both wins.
            interest.wake = pace.wake().max(interest.wake);
            if let Read::Splice(splice) = &mut interest.read {
                let most = NonZeroU64::new(pace.most() as u64).unwrap_or(NonZeroU64::MIN);
                splice.limit = splice.limit.min(most);
            }
        }
        // An abort waits for nothing, and neither does a stop of which the session has not been
        // notified: one on a thread of its own finds out in its next call, also where an answer
        // ends.
        if self.stage.is_aborted() || (self.stage.is_draining() && !self.is_notified) {
            interest.produce = true;
            interest.wait = None;
        }
        if self.stage.is_aborted() {
            interest.wake = None;
        }
        interest
    }

    /// Handles an event inside TLS.
    fn plain(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<Detached> {
        // An abort shuts the socket, which must not look like the sender's FIN.
        if self.stage.is_aborted() {
            self.bytes.record.refused(STOPPED);
            self.lose(STOPPED);
            return Next::Finish;
        }
        if let Some(traced) = self.traced() {
            match &event {
                Event::Bytes(bytes) => traced.received(now, bytes),
                Event::Spliced(count) => traced.received_by_kernel(*count),
                Event::Sent(count) => traced.sent_by_kernel(*count),
                Event::EndOfStream => traced.end_of_stream(),
                _ => {}
            }
        }
        let idles = matches!(event, Event::Idle);
        match &event {
            Event::Bytes(bytes) => {
                self.bytes.received(bytes.len() as u64);
                self.moved(bytes.len() as u64);
            }
            Event::Spliced(count) => {
                self.bytes.received(*count);
                self.moved(*count);
            }
            Event::Sent(count) => {
                self.bytes.sent(*count);
                self.moved(*count);
                // The rest of the content follows, so nothing else may.
                return self.session.handle(event, now, out);
            }
            Event::EndOfStream | Event::Idle | Event::Shutdown | Event::Timer | Event::Lost(_) => {}
        }
        let stops = self.stage.is_draining();
        // A bulk thread does not notice the shutdown: input that it reads afterwards must not begin
        // a transfer.
        let is_news = stops && !self.is_notified && !matches!(event, Event::Lost(_));
        self.counted(out, |connection, out| {
            if is_news && let next @ (Next::Finish | Next::Become(_)) = connection.notify(now, out)
            {
                return next;
            }
            match connection.session.handle(event, now, out) {
                Next::Finish if idles => {
                    connection.traced().into_iter().for_each(Traced::idled);
                    Next::Finish
                }
                // Between two files is a good place to stop.
                Next::Continue if stops => connection.notify(now, out),
                next => next,
            }
        })
    }

    /// Produces the next piece inside TLS.
    fn plain_piece(
        &mut self,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Produced<Detached>> {
        if self.stage.is_aborted() {
            return Err(io::Error::other(STOPPED));
        }
        let stops = self.stage.is_draining();
        let before = out.len();
        let mut produced = if stops && !self.session.interest().produce {
            Produced::Next(Next::Continue)
        } else {
            self.session.produce(buffer, out)?
        };
        // A reply to the shutdown would precede the content, so the session is notified only if
        // there is no content.
        if stops && matches!(produced, Produced::Next(Next::Continue) | Produced::Bytes(0)) {
            produced = Produced::Next(self.notify(Instant::now(), out));
        }
        self.bytes.sent((out.len() - before) as u64);
        if let Some(traced) = self.traced() {
            traced.sent(&out[before..]);
            match &produced {
                Produced::Bytes(count) => traced.sent(&buffer[..*count]),
                Produced::Next(next) => self.ends(next),
                Produced::File(_) => {}
            }
        }
        match &mut produced {
            Produced::Bytes(count) => {
                self.bytes.sent(*count as u64);
                self.moved(*count as u64);
            }
            Produced::File(piece) => piece.count = piece.count.min(self.most_at_once() as u64),
            Produced::Next(_) => {}
        }
        Ok(produced)
    }
}

impl Session for Connection {
    type Successor = Detached;

    fn interest(&self) -> Interest {
        let mut interest = self.plain_interest();
        if let Some(tls) = &self.tls {
            tls.adapt(&mut interest);
        }
        interest
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<Detached> {
        let is_after_wait = !matches!(event, Event::Spliced(_) | Event::Sent(_));
        self.measured(is_after_wait, |connection| {
            let Some(mut tls) = connection.tls.take() else {
                return connection.plain(event, now, out);
            };
            let next = tls.handle(connection, event, now, out);
            connection.tls = Some(tls);
            next
        })
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced<Detached>> {
        self.measured(false, |connection| {
            let Some(mut tls) = connection.tls.take() else {
                return connection.plain_piece(buffer, out);
            };
            let produced = tls.produce(connection, buffer, out);
            connection.tls = Some(tls);
            produced
        })
    }

    fn relay(&mut self, bytes: &[u8], is_last: bool) -> Option<io::Result<Vec<u8>>> {
        self.bytes.sent(bytes.len() as u64);
        if let Some(traced) = self.traced() {
            traced.sent(bytes);
        }
        self.tls.as_mut().map(|tls| tls.seal_all(bytes, is_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle connection of a reactor needs one of these; session and TLS state are boxed.
    #[test]
    fn a_connection_takes_few_bytes_beside_its_session() {
        assert!(size_of::<AnySession>() <= 16, "{}", size_of::<AnySession>());
        assert!(size_of::<Connection>() <= 160, "{}", size_of::<Connection>());
    }
}
