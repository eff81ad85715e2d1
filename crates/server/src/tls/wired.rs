//! A session on its connection, under TLS or not.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Next, Piece, Placement, Produced, Read, Session};
use anyport_tls::{ServerMachine, TRUNCATED, TlsError};

use crate::link::Link;
use crate::session::{AT_ONCE, Upgrade};
use crate::supervised::Supervised;

/// What the loops drive.
pub(crate) struct Wired {
    pub(crate) session: Supervised,
    pub(crate) tls: Option<Box<Sealed>>,
}

/// TLS around a session.
pub(crate) struct Sealed {
    machine: ServerMachine,
    link: Link,
    /// What came, opened. Empty between two steps.
    plain: Vec<u8>,
    /// What the session says, before it is sealed. Empty between two steps.
    said: Vec<u8>,
    /// Bytes of a file that are sealed, and that the session is told of when it is asked for more.
    unsent: u64,
    /// The peer has said close_notify, and the session is not done yet.
    ending: bool,
    /// Bytes have come that hold nothing for the session. When it has waited long enough for some that do.
    silent_at: Option<Instant>,
}

impl Wired {
    pub(crate) const fn new(session: Supervised, tls: Option<Box<Sealed>>) -> Self {
        Self { session, tls }
    }

    /// The session with what comes first: plain text, also under TLS.
    pub(crate) fn begin(
        &mut self,
        prefix: &mut [u8],
        at: Instant,
        ended: bool,
        replies: &mut Vec<u8>,
    ) -> Next<Upgrade> {
        let is_encrypted = self.tls.is_some();
        // close_notify may have come in the same read.
        let ended = ended || self.tls.as_ref().is_some_and(|tls| tls.machine.is_ended());
        let first = |session: &mut Supervised, said: &mut Vec<u8>| {
            match session.handle(Event::Bytes(prefix), at, said) {
                // A conversation is told of it where it goes on.
                Next::Continue if is_encrypted && is_interactive(session) => Next::Continue,
                Next::Continue if ended => session.handle(Event::EndOfStream, at, said),
                next => next,
            }
        };
        let next = self.say(replies, first);
        if let Some(tls) = &mut self.tls {
            tls.ending = ended;
        }
        next
    }

    /// A conversation that has arrived where it goes on, and whose peer has said all before: it ends.
    pub(crate) fn end_if_ended(&mut self, replies: &mut Vec<u8>) -> Next<Upgrade> {
        // Input that a limit holds back is handled first, and the end of the stream behind it.
        let is_waiting = self.session.session.interest().wake.is_some();
        if is_waiting || !self.tls.as_ref().is_some_and(|tls| tls.ending) {
            return Next::Continue;
        }
        self.say(replies, |session, said| {
            session.handle(Event::EndOfStream, Instant::now(), said);
            Next::Finish
        })
    }

    /// Has the session say something outside a step.
    pub(crate) fn say(
        &mut self,
        replies: &mut Vec<u8>,
        say: impl FnOnce(&mut Supervised, &mut Vec<u8>) -> Next<Upgrade>,
    ) -> Next<Upgrade> {
        let Some(tls) = &mut self.tls else { return say(&mut self.session, replies) };
        let next = say(&mut self.session, &mut tls.said);
        tls.seal_said(&mut self.session, next, replies)
    }

    pub(crate) fn broken(&mut self, error: &io::Error) {
        self.session.broken(error);
    }
}

impl Sealed {
    pub(crate) const fn new(machine: ServerMachine, link: Link) -> Self {
        Self {
            machine,
            link,
            plain: Vec::new(),
            said: Vec::new(),
            unsent: 0,
            ending: false,
            silent_at: None,
        }
    }

    pub(crate) fn into_machine(self: Box<Self>) -> ServerMachine {
        self.machine
    }

    /// Changes what the session waits for to what the connection waits for.
    fn adapt(&self, interest: &mut Interest) {
        // Each read begins the wait of a driver anew, and may bring no plain text: a part of a
        // record, a record without content, a new key (RFC 8446 §4.6.3). To a session that is
        // silence.
        if let Some(at) = self.silent_at {
            let left = at.saturating_duration_since(Instant::now()).max(AT_ONCE);
            interest.idle = interest.idle.min(left);
        }
        // The kernel cannot decrypt.
        if let Read::Splice(_) = interest.read {
            interest.read = Read::Bytes;
        }
        match &mut interest.wait {
            // A close_notify is unread input that the session would not get.
            Some(wait) if wait.gone_below > 0 => {
                wait.gone_below = wait.gone_below.saturating_add(CLOSE_NOTIFY);
            }
            Some(_) => {}
            None => interest.produce |= self.ending && interest.wake.is_none(),
        }
    }

    fn handle(
        &mut self,
        session: &mut Supervised,
        event: Event<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Next<Upgrade> {
        self.settle(session);
        // Until it is told, and then what it does about it begins a time of its own.
        if matches!(event, Event::Idle) {
            self.silent_at = None;
        }
        let next = match event {
            Event::Bytes(wire) => self.bytes(session, wire, now, out),
            Event::Timer => {
                let next = session.handle(event, now, &mut self.said);
                self.end(session, next, now)
            }
            // The rest may have been cut off (RFC 8446 §6.1).
            Event::EndOfStream if !self.machine.is_ended() => {
                session.broken(&io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED));
                Next::Finish
            }
            event => session.handle(event, now, &mut self.said),
        };
        self.seal_said(session, next, out)
    }

    fn bytes(
        &mut self,
        session: &mut Supervised,
        wire: &mut [u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Next<Upgrade> {
        let opened = self.machine.open(wire, &mut self.plain, replies);
        let mut next = Next::Continue;
        if !self.plain.is_empty() {
            self.silent_at = None;
        } else if self.silent_at.is_none() {
            self.silent_at = at.checked_add(session.interest().idle);
        }
        if !self.plain.is_empty() {
            next = session.handle(Event::Bytes(&mut self.plain), at, &mut self.said);
            self.plain.clear();
            if self.plain.capacity() > KEPT && session.interest().place != Placement::Thread {
                self.plain = Vec::new();
            }
        }
        if let Err(error) = opened {
            session.broken(&error.into());
            return Next::Finish;
        }
        self.end(session, next, at)
    }

    /// Delivers the end of the stream after close_notify; not before input that a limit holds back, for which a timer event
    /// comes. The session's own wake-up counts here: that of a rate limit may have passed when the driver asks for it.
    fn end(
        &mut self,
        session: &mut Supervised,
        next: Next<Upgrade>,
        now: Instant,
    ) -> Next<Upgrade> {
        if !matches!(next, Next::Continue) || !self.machine.is_ended() {
            return next;
        }
        // One in a reactor has all that it says in a queue.
        self.ending = !is_interactive(session);
        if session.session.interest().wake.is_some() {
            return Next::Continue;
        }
        let next = session.handle(Event::EndOfStream, now, &mut self.said);
        if is_interactive(session) { Next::Finish } else { next }
    }

    /// Seals what the session said; where that was its last word, says so in TLS too.
    fn seal_said(
        &mut self,
        session: &mut Supervised,
        next: Next<Upgrade>,
        replies: &mut Vec<u8>,
    ) -> Next<Upgrade> {
        let sealed = self.machine.seal(&self.said, replies);
        self.said.clear();
        if self.said.capacity() > KEPT {
            self.said = Vec::new();
        }
        if let Err(error) = sealed {
            session.broken(&error.into());
            return Next::Finish;
        }
        // An interrupted transfer must not look complete.
        let gives_up = session.stop.is_aborted() || self.link.resets();
        if matches!(next, Next::Finish) && !gives_up {
            self.machine.close(replies);
        }
        next
    }

    fn produce(
        &mut self,
        session: &mut Supervised,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Produced<Upgrade>> {
        self.settle(session);
        if self.ending && !session.interest().produce && session.session.interest().wake.is_none() {
            // It had something to send before it could end: now it meets the end again.
            let next = session.handle(Event::EndOfStream, Instant::now(), &mut self.said);
            return Ok(Produced::Next(self.seal_said(session, next, out)));
        }
        let content = match session.produce(buffer, &mut self.said)? {
            Produced::Next(next) => return Ok(Produced::Next(self.seal_said(session, next, out))),
            Produced::Bytes(count) => &buffer[..count],
            Produced::File(piece) => {
                let count = read(&piece, buffer)?;
                self.unsent = count as u64;
                &buffer[..count]
            }
        };
        let next = self.seal_said(session, Next::Continue, out);
        if matches!(next, Next::Continue) {
            // A session that waits for the peer to accept output does not wait for input.
            self.silent_at = None;
            self.machine.seal(content, out)?;
        }
        Ok(Produced::Next(next))
    }

    /// What was sealed before has been written by now.
    fn settle(&mut self, session: &mut Supervised) {
        match std::mem::take(&mut self.unsent) {
            0 => {}
            count => drop(session.handle(Event::Sent(count), Instant::now(), &mut self.said)),
        }
    }
}

fn is_interactive(session: &Supervised) -> bool {
    session.interest().place == Placement::Reactor
}

/// As much of a piece of a file as the buffer takes; less than that is no file that anybody was promised.
fn read(piece: &Piece, buffer: &mut [u8]) -> io::Result<usize> {
    let count = usize::try_from(piece.count).unwrap_or(usize::MAX).min(buffer.len());
    piece.file.read_exact_at(&mut buffer[..count], piece.at)?;
    Ok(count)
}

impl Session for Wired {
    type Successor = Upgrade;

    fn interest(&self) -> Interest {
        let mut interest = self.session.interest();
        if let Some(tls) = &self.tls {
            tls.adapt(&mut interest);
        }
        interest
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<Upgrade> {
        match &mut self.tls {
            None => self.session.handle(event, now, out),
            Some(tls) => tls.handle(&mut self.session, event, now, out),
        }
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced<Upgrade>> {
        match &mut self.tls {
            None => self.session.produce(buffer, out),
            Some(tls) => tls.produce(&mut self.session, buffer, out),
        }
    }

    fn relay(&mut self, bytes: &[u8], is_last: bool) -> Option<io::Result<Vec<u8>>> {
        self.session.relay(bytes, is_last);
        let tls = self.tls.as_mut()?;
        let mut out = Vec::new();
        let sealed = tls.machine.seal(bytes, &mut out);
        if is_last {
            tls.machine.close(&mut out);
        }
        Some(sealed.map(|()| out).map_err(|error: TlsError| error.into()))
    }
}

/// More than this is given back between two steps, so that an idle connection holds little.
const KEPT: usize = 1024;

/// Bytes of a record with close_notify, at most: header, explicit nonce of TLS 1.2, alert, tag.
const CLOSE_NOTIFY: u64 = 5 + 8 + 2 + 16;
