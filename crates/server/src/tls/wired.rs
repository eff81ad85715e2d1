//! A session on its connection, under TLS or not.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyport_net::copy::{Flow, Input, Interest, Outgoing, Piece, Placement, Read, Step};
use anyport_tls::{ServerMachine, TRUNCATED, TlsError};

use crate::link::Link;
use crate::session::AT_ONCE;
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
    ) -> Flow {
        let is_encrypted = self.tls.is_some();
        // close_notify may have come in the same read.
        let ended = ended || self.tls.as_ref().is_some_and(|tls| tls.machine.is_ended());
        let first = |session: &mut Supervised, said: &mut Vec<u8>| {
            match session.step(Input::Bytes(prefix, at), said) {
                // A conversation is told of it where it goes on.
                Flow::Continue if is_encrypted && is_interactive(session) => Flow::Continue,
                Flow::Continue if ended => session.step(Input::EndOfStream, said),
                flow => flow,
            }
        };
        let flow = self.say(replies, first);
        if let Some(tls) = &mut self.tls {
            tls.ending = ended;
        }
        flow
    }

    /// A conversation that has arrived where it goes on, and whose peer has said all before: it ends.
    pub(crate) fn end_if_ended(&mut self, replies: &mut Vec<u8>) -> Flow {
        // Input that a limit holds back is handled first, and the end of the stream behind it.
        let is_waiting = self.session.session.interest().wake.is_some();
        if is_waiting || !self.tls.as_ref().is_some_and(|tls| tls.ending) {
            return Flow::Continue;
        }
        self.say(replies, |session, said| {
            session.step(Input::EndOfStream, said);
            Flow::Finish
        })
    }

    /// Has the session say something outside a step.
    pub(crate) fn say(
        &mut self,
        replies: &mut Vec<u8>,
        say: impl FnOnce(&mut Supervised, &mut Vec<u8>) -> Flow,
    ) -> Flow {
        let Some(tls) = &mut self.tls else { return say(&mut self.session, replies) };
        let flow = say(&mut self.session, &mut tls.said);
        tls.seal_said(&mut self.session, flow, replies)
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

    fn step(&mut self, session: &mut Supervised, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        self.settle(session);
        // Until it is told, and then what it does about it begins a time of its own.
        if matches!(input, Input::Silence) {
            self.silent_at = None;
        }
        let flow = match input {
            Input::Bytes(wire, at) => self.bytes(session, wire, at, replies),
            Input::Timer(_) => {
                let flow = session.step(input, &mut self.said);
                self.end(session, flow)
            }
            // Somebody may have cut off the rest (RFC 8446 §6.1).
            Input::EndOfStream if !self.machine.is_ended() => {
                session.broken(&io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED));
                Flow::Finish
            }
            input => session.step(input, &mut self.said),
        };
        self.seal_said(session, flow, replies)
    }

    fn bytes(
        &mut self,
        session: &mut Supervised,
        wire: &mut [u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Flow {
        let opened = self.machine.open(wire, &mut self.plain, replies);
        let mut flow = Flow::Continue;
        if !self.plain.is_empty() {
            self.silent_at = None;
        } else if self.silent_at.is_none() {
            self.silent_at = at.checked_add(session.interest().idle);
        }
        if !self.plain.is_empty() {
            flow = session.step(Input::Bytes(&mut self.plain, at), &mut self.said);
            self.plain.clear();
            if self.plain.capacity() > KEPT && session.interest().place != Placement::Thread {
                self.plain = Vec::new();
            }
        }
        if let Err(error) = opened {
            session.broken(&error.into());
            return Flow::Finish;
        }
        self.end(session, flow)
    }

    /// Delivers the end of the stream after close_notify; not before input that a limit holds back, for which a timer event
    /// comes. The session's own wake-up counts here: that of a rate limit may have passed when the driver asks for it.
    fn end(&mut self, session: &mut Supervised, flow: Flow) -> Flow {
        if flow == Flow::Finish || !self.machine.is_ended() {
            return flow;
        }
        // One in a reactor has all that it says in a queue.
        self.ending = !is_interactive(session);
        if session.session.interest().wake.is_some() {
            return Flow::Continue;
        }
        let flow = session.step(Input::EndOfStream, &mut self.said);
        if is_interactive(session) { Flow::Finish } else { flow }
    }

    /// Seals what the session said; where that was its last word, says so in TLS too.
    fn seal_said(&mut self, session: &mut Supervised, flow: Flow, replies: &mut Vec<u8>) -> Flow {
        let sealed = self.machine.seal(&self.said, replies);
        self.said.clear();
        if self.said.capacity() > KEPT {
            self.said = Vec::new();
        }
        if let Err(error) = sealed {
            session.broken(&error.into());
            return Flow::Finish;
        }
        // What was given up shall not look like all there was; and another engine may go on from here.
        let gives_up = session.stop.is_aborted() || self.link.resets();
        if flow == Flow::Finish && !gives_up && !session.session.is_handed_over() {
            self.machine.close(replies);
        }
        flow
    }

    fn outgoing(
        &mut self,
        session: &mut Supervised,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> io::Result<Outgoing> {
        self.settle(session);
        if self.ending && !session.interest().produce && session.session.interest().wake.is_none() {
            // It had something to send before it could end: now it is told of the end again.
            let flow = session.step(Input::EndOfStream, &mut self.said);
            return Ok(match self.seal_said(session, flow, replies) {
                Flow::Finish => Outgoing::Finish,
                Flow::Continue => Outgoing::Bytes(0),
            });
        }
        let outgoing = session.outgoing(buffer, &mut self.said)?;
        let finishes = matches!(outgoing, Outgoing::Finish);
        let flow = if finishes { Flow::Finish } else { Flow::Continue };
        if self.seal_said(session, flow, replies) == Flow::Finish {
            return Ok(Outgoing::Finish);
        }
        let sealed = match outgoing {
            Outgoing::Nothing | Outgoing::Finish => return Ok(outgoing),
            Outgoing::Bytes(count) => &buffer[..count],
            Outgoing::File(piece) => {
                let count = read(&piece, buffer)?;
                self.unsent = count as u64;
                &buffer[..count]
            }
        };
        // Who waits for the peer to take something does not wait for it to say something.
        self.silent_at = None;
        self.machine.seal(sealed, replies)?;
        Ok(Outgoing::Bytes(0))
    }

    /// What was sealed before has been written by now.
    fn settle(&mut self, session: &mut Supervised) {
        match std::mem::take(&mut self.unsent) {
            0 => {}
            count => session.sent(count),
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

impl Step for Wired {
    fn interest(&self) -> Interest {
        let mut interest = self.session.interest();
        if let Some(tls) = &self.tls {
            tls.adapt(&mut interest);
        }
        interest
    }

    fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        match &mut self.tls {
            None => self.session.step(input, replies),
            Some(tls) => tls.step(&mut self.session, input, replies),
        }
    }

    fn outgoing(&mut self, buffer: &mut [u8], replies: &mut Vec<u8>) -> io::Result<Outgoing> {
        match &mut self.tls {
            None => self.session.outgoing(buffer, replies),
            Some(tls) => tls.outgoing(&mut self.session, buffer, replies),
        }
    }

    fn sent(&mut self, count: u64) {
        self.session.sent(count);
    }

    fn delivered(&mut self, count: u64) {
        self.session.delivered(count);
    }

    fn seal(&mut self, bytes: &[u8], is_last: bool) -> Option<io::Result<Vec<u8>>> {
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
