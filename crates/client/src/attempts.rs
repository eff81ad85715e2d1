//! The retry loop of all commands: how often, and how soon, a lost connection is replaced.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyport_proto::transfer::refusal::Retry;
use anyport_trace::Recorder;

use crate::content::{Identity, Source};
use crate::error::{Consequence, Error, ErrorKind, ErrorOrigin, Transferred};
use crate::trace::failed;

/// The attempts to transfer one file, or to stay in one room.
pub(crate) struct Attempts {
    /// Attempts left.
    left: Cell<u32>,
    retries: u32,
    max_time: Duration,
    /// Time of the last progress.
    last: Cell<Instant>,
    /// Bytes transferred by the most successful attempt.
    furthest: Cell<u64>,
    /// Whether a server accepted a connection: before that nothing was lost.
    connected: Cell<bool>,
    /// Whether a connection completed its handshakes.
    established: Cell<bool>,
    /// Whether the attempt was made that follows an error worth a single one.
    once: Cell<bool>,
    /// The source at the first attempt.
    identity: Option<Identity>,
    /// Whether the source can be read again.
    pub(crate) repeatable: bool,
    /// The error that interrupted the transfer.
    interrupted: Option<Error>,
    trace: Option<Recorder>,
}

impl Attempts {
    pub(crate) fn new(retries: u32, max_time: Duration, trace: Option<&Recorder>) -> Self {
        Self {
            left: Cell::new(retries),
            retries,
            max_time,
            last: Cell::new(Instant::now()),
            furthest: Cell::new(0),
            connected: Cell::new(false),
            established: Cell::new(false),
            once: Cell::new(false),
            identity: None,
            repeatable: false,
            interrupted: None,
            trace: trace.cloned(),
        }
    }

    /// Grants the next file all attempts.
    pub(crate) fn reset(&mut self) {
        self.left.set(self.retries);
        self.last.set(Instant::now());
        self.furthest.set(0);
        self.identity = None;
        self.once.set(false);
        self.interrupted = None;
    }

    /// Checks that the source is the same as at the first attempt.
    pub(crate) fn check(&mut self, source: &Source, now: Option<&Identity>) -> Result<(), Error> {
        match &self.identity {
            None => {
                self.identity = now.cloned();
                self.repeatable = now.is_some();
            }
            Some(before) if Some(before) == now => {}
            Some(_) => return Err(ErrorKind::Changed(source.path().to_owned()).into()),
        }
        Ok(())
    }

    /// Records that an attempt has transferred `bytes`; more than before renews the attempts.
    pub(crate) fn progressed(&self, bytes: u64) {
        if bytes > self.furthest.get() {
            self.furthest.set(bytes);
            self.left.set(self.retries);
            self.last.set(Instant::now());
        }
    }

    /// Records that a connection completed its handshakes.
    pub(crate) fn connected(&self) {
        self.connected.set(true);
        self.established.set(true);
    }

    /// Reports `error` and waits for the next attempt.
    ///
    /// # Errors
    /// The error to return if no attempt follows, or the error of `report`.
    pub(crate) fn again(&mut self, error: Error, report: &mut Report<'_>) -> Result<(), Error> {
        let error = self.judge(error);
        let consequence = error.consequence();
        self.again_after(error, consequence, report)
    }

    /// Does the same after an error that has other consequences here.
    pub(crate) fn again_after(
        &mut self,
        error: Error,
        consequence: Consequence,
        report: &mut Report<'_>,
    ) -> Result<(), Error> {
        let Some(delay) = self.delay(consequence) else {
            // The same command resumes the transfer when the server is back, so the interruption is
            // reported, and not that the server is unreachable.
            let is_gone = consequence.origin == ErrorOrigin::Unreachable;
            return Err(self.interrupted.take().filter(|_| is_gone).unwrap_or(error));
        };
        failed(self.trace.as_ref(), &error);
        report(&error, delay)?;
        std::thread::sleep(delay);
        if consequence.origin == ErrorOrigin::Interrupted {
            self.interrupted = Some(error);
        }
        Ok(())
    }

    /// Returns `error` as it is after the connections so far. A server that has spoken TLS does so
    /// again: if it closes a later connection within the handshake, that connection was lost.
    pub(crate) fn judge(&self, error: Error) -> Error {
        match (error.kind(), error.peer()) {
            (ErrorKind::NoTls, Some(peer)) if self.established.get() => {
                Error::lost(peer, Transferred::Sent(0), crate::stream::ended())
            }
            _ => error,
        }
    }

    /// Returns the delay before the next attempt after an error with this consequence; `None` if
    /// there is no further attempt.
    fn delay(&self, after: Consequence) -> Option<Duration> {
        // Every other error needs a connection, if only for the answer to a handshake.
        let connected = self.connected.get() || after.origin != ErrorOrigin::Unreachable;
        self.connected.set(connected);
        let may_pass = match after.retry {
            Retry::Never => false,
            Retry::Once => !self.once.replace(true),
            Retry::Repeatedly => true,
        };
        // A source that cannot be read twice cannot be sent twice.
        let worth = self.repeatable && connected && may_pass;
        let left = self.left.get();
        if !worth || left == 0 || self.last.get().elapsed() > self.max_time {
            return None;
        }
        self.left.set(left - 1);
        let doublings = (self.retries - left).min(16);
        Some((FIRST_DELAY * 2_u32.pow(doublings)).min(LONGEST_DELAY))
    }
}

/// Receives each error that another attempt follows, and the delay before it.
pub(crate) type Report<'a> = dyn FnMut(&Error, Duration) -> Result<(), Error> + 'a;

/// Delay before the first further attempt; it doubles from attempt to attempt.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Longest delay between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
