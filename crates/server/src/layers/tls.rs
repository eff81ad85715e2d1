//! TLS as a layer of a connection: decrypts input and encrypts output.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Next, Piece, Placement, Produced, Read};
use anyport_tls::{ServerMachine, TRUNCATED, TlsError};

use super::Connection;
use crate::link::Link;
use crate::session::{AT_ONCE, Detached};

/// The TLS state of a connection.
pub(super) struct Tls {
    machine: ServerMachine,
    link: Link,
    /// Decrypted input. Empty between two events.
    plain: Vec<u8>,
    /// Output before encryption. Empty between two events.
    said: Vec<u8>,
    /// Encrypted bytes of a file for which the session has not received [`Event::Sent`] yet.
    unsent: u64,
    /// Whether close_notify arrived and the session has not finished yet.
    pub(super) ending: bool,
    /// When the session's idle timeout expires, although ciphertext without plaintext arrived
    /// meanwhile.
    silent_at: Option<Instant>,
}

impl Tls {
    pub(super) const fn new(machine: ServerMachine, link: Link) -> Self {
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

    pub(super) fn into_machine(self: Box<Self>) -> ServerMachine {
        self.machine
    }

    /// Returns whether close_notify arrived.
    pub(super) const fn is_ended(&self) -> bool {
        self.machine.is_ended()
    }

    /// Changes the session's interest to that of the connection.
    pub(super) fn adapt(&self, interest: &mut Interest) {
        // Each read restarts the timeout of a driver, but may bring no plaintext: a part of a
        // record, an empty record, a new key (RFC 8446 §4.6.3). For the session that is idle time.
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

    pub(super) fn handle(
        &mut self,
        connection: &mut Connection,
        event: Event<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        self.settle(connection);
        // The event ends this wait; the next one begins after the session's call.
        if matches!(event, Event::Idle) {
            self.silent_at = None;
        }
        let next = match event {
            Event::Bytes(wire) => self.bytes(connection, wire, now, out),
            Event::Timer => {
                let next = connection.plain(event, now, &mut self.said);
                self.end(connection, next, now)
            }
            // Data may be missing (RFC 8446 §6.1).
            Event::EndOfStream if !self.machine.is_ended() => {
                connection.broken(&io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED));
                Next::Finish
            }
            event => connection.plain(event, now, &mut self.said),
        };
        self.seal_said(connection, next, out)
    }

    fn bytes(
        &mut self,
        connection: &mut Connection,
        wire: &mut [u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        let opened = self.machine.open(wire, &mut self.plain, out);
        let mut next = Next::Continue;
        if !self.plain.is_empty() {
            self.silent_at = None;
        } else if self.silent_at.is_none() {
            self.silent_at = now.checked_add(connection.plain_interest().idle);
        }
        if !self.plain.is_empty() {
            next = connection.plain(Event::Bytes(&mut self.plain), now, &mut self.said);
            self.plain.clear();
            if self.plain.capacity() > KEPT
                && connection.plain_interest().place != Placement::Thread
            {
                self.plain = Vec::new();
            }
        }
        if let Err(error) = opened {
            connection.broken(&error.into());
            return Next::Finish;
        }
        self.end(connection, next, now)
    }

    /// Delivers the end of the stream after close_notify; not before delayed input, for which a
    /// timer event follows. The session's own wake-up time counts here: that of a rate limit may
    /// have passed when the driver asks for it.
    fn end(
        &mut self,
        connection: &mut Connection,
        next: Next<Detached>,
        now: Instant,
    ) -> Next<Detached> {
        if !matches!(next, Next::Continue) || !self.machine.is_ended() {
            return next;
        }
        // On a reactor all output is in a queue.
        self.ending = !connection.is_interactive();
        if connection.is_delayed() {
            return Next::Continue;
        }
        let next = connection.plain(Event::EndOfStream, now, &mut self.said);
        if connection.is_interactive() { Next::Finish } else { next }
    }

    pub(super) fn produce(
        &mut self,
        connection: &mut Connection,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Produced<Detached>> {
        self.settle(connection);
        if self.ending && !connection.plain_interest().produce && !connection.is_delayed() {
            // It had output to send before it could end: the end is repeated now.
            let next = connection.plain(Event::EndOfStream, Instant::now(), &mut self.said);
            return Ok(Produced::Next(self.seal_said(connection, next, out)));
        }
        let content = match connection.plain_piece(buffer, &mut self.said)? {
            Produced::Next(next) => {
                return Ok(Produced::Next(self.seal_said(connection, next, out)));
            }
            Produced::Bytes(count) => &buffer[..count],
            Produced::File(piece) => {
                let count = read(&piece, buffer)?;
                self.unsent = count as u64;
                &buffer[..count]
            }
        };
        let next = self.seal_said(connection, Next::Continue, out);
        if matches!(next, Next::Continue) {
            // A session that waits for the peer to accept output does not wait for input.
            self.silent_at = None;
            self.machine.seal(content, out)?;
            return Ok(Produced::Bytes(0));
        }
        Ok(Produced::Next(next))
    }

    /// Encrypts what `append` adds.
    pub(super) fn seal_from(
        &mut self,
        connection: &mut Connection,
        out: &mut Vec<u8>,
        append: impl FnOnce(&mut Connection, &mut Vec<u8>) -> Next<Detached>,
    ) -> Next<Detached> {
        let next = append(connection, &mut self.said);
        self.seal_said(connection, next, out)
    }

    /// Encrypts bytes of another session; with `is_last` close_notify follows them.
    pub(super) fn seal_all(&mut self, bytes: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let sealed = self.machine.seal(bytes, &mut out);
        if is_last {
            self.machine.close(&mut out);
        }
        sealed.map(|()| out).map_err(|error: TlsError| error.into())
    }

    /// Encrypts the session's output; after its end, sends close_notify too.
    fn seal_said(
        &mut self,
        connection: &mut Connection,
        next: Next<Detached>,
        out: &mut Vec<u8>,
    ) -> Next<Detached> {
        let sealed = self.machine.seal(&self.said, out);
        self.said.clear();
        if self.said.capacity() > KEPT {
            self.said = Vec::new();
        }
        if let Err(error) = sealed {
            connection.broken(&error.into());
            return Next::Finish;
        }
        // An interrupted transfer must not look complete.
        let gives_up = connection.stage.is_aborted() || self.link.resets();
        if matches!(next, Next::Finish) && !gives_up {
            self.machine.close(out);
        }
        next
    }

    /// Delivers [`Event::Sent`] for bytes that were encrypted before, which have been written by
    /// now.
    fn settle(&mut self, connection: &mut Connection) {
        match std::mem::take(&mut self.unsent) {
            0 => {}
            count => {
                connection.plain(Event::Sent(count), Instant::now(), &mut self.said);
            }
        }
    }
}

/// Reads as much of a piece of a file as fits into the buffer; a file that became shorter is an
/// error.
fn read(piece: &Piece, buffer: &mut [u8]) -> io::Result<usize> {
    let count = usize::try_from(piece.count).unwrap_or(usize::MAX).min(buffer.len());
    piece.file.read_exact_at(&mut buffer[..count], piece.at)?;
    Ok(count)
}

/// A larger buffer is released between two events, so that an idle connection needs little memory.
const KEPT: usize = 1024;

/// Maximum size of a record with close_notify: header, explicit nonce of TLS 1.2, alert, tag.
const CLOSE_NOTIFY: u64 = 5 + 8 + 2 + 16;
