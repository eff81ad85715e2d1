//! The contract between a session and the drivers.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gate;

/// One protocol on one connection, without a socket: events in, bytes out.
///
/// # Calling order
/// Every driver repeats the same turn:
///
/// ```text
///   1  interest  `interest()`, exactly once: the value describes the whole turn
///   2  write     all bytes that earlier calls appended, with `idle` as the time limit
///   3  place     a connection that belongs elsewhere is handed over, unless it is producing
///   4  wait      until the gate opens, then a new turn; Idle once `until` has passed
///   5  wake      until that instant, then Timer; nothing is read before
///   6  produce   `produce()`, then Sent for a piece of a file, then a new turn
///   7  read      `handle()` with Bytes, Spliced or EndOfStream; Idle after `idle` without input
/// ```
///
/// So each turn makes at most one call that changes the session, and its state cannot differ from
/// the [`Interest`] that the driver acts on. Only the gate of another session may open in between;
/// the turn after it finds out.
///
/// While `produce` is set, a wait that ends without the gate being open is an error of the
/// connection, as nothing may replace announced content, and `wake` delays the piece without a
/// Timer event. After each piece a session that reads [`Read::WhileProducing`] gets at most one
/// input, without waiting for it.
///
/// # Where the drivers differ
/// - Input that was read before there was a session, as for detection, reaches it in one `handle`
///   before its first driver.
/// - [`pump_cooperative`](super::pump_cooperative) delivers [`Event::Shutdown`] while it waits; the
///   thread of [`pump_blocking`](super::pump_blocking) cannot be woken, so a session there finds
///   out in its next call.
/// - Only [`pump_blocking`](super::pump_blocking) splices; the other drivers treat [`Read::Splice`]
///   as [`Read::Bytes`].
/// - The [`reactor`](crate::reactor) keeps the interest of each connection until its next event, as
///   one thread waits for all of them. Output that a peer does not accept is queued instead of
///   waited for; while some is queued, only [`Read::WhileProducing`] is read. It has no steps 4 and
///   6: a session that belongs there neither waits nor produces, and becomes nothing else.
pub trait Session {
    /// The session that a connection continues as ([`Next::Become`]).
    type Successor;

    /// Returns what the driver must wait for.
    fn interest(&self) -> Interest;

    /// Handles one event that happened at `now`, and appends bytes for the peer to `out`. They are
    /// written before the next read, so a peer that does not read is not read from.
    fn handle(
        &mut self,
        event: Event<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Next<Self::Successor>;

    /// Produces the next piece of outgoing content, while [`Interest::produce`] is set. `buffer`
    /// belongs to the driver and may be filled; bytes appended to `out` precede the piece.
    ///
    /// # Errors
    /// Announced content cannot be sent. The driver resets the connection, so that the peer does
    /// not consider the content complete.
    fn produce(
        &mut self,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Produced<Self::Successor>> {
        let _ = (buffer, out);
        Ok(Produced::Next(Next::Continue))
    }

    /// Counts bytes that another session of the same reactor addressed to this peer, and encrypts
    /// them; `is_last`: nothing follows them. Returns `None` if they are sent as they are.
    fn relay(&mut self, bytes: &[u8], is_last: bool) -> Option<io::Result<Vec<u8>>> {
        let _ = (bytes, is_last);
        None
    }
}

/// The events that the driver of a session must wait for.
///
/// Owned, so that no borrow lives across a wait.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Input that the session reads once it has nothing to produce.
    pub read: Read,
    /// There is content to send before the next read: [`Session::produce`] is called.
    pub produce: bool,
    /// Longest time without input before [`Event::Idle`], and longest time in which a peer may
    /// accept no output.
    pub idle: Duration,
    /// Nothing is read or produced before this instant, for a rate limit; then [`Event::Timer`] is
    /// delivered, even if the instant has passed already.
    ///
    /// Absolute: a duration that is asked for twice has two values.
    pub wake: Option<Instant>,
    /// Another session must act first.
    ///
    /// A session determines it before `produce`, since the gate may open in between.
    pub wait: Option<Wait>,
    /// A call may wait for a disk or compute for long, so the runtime must be notified.
    pub may_block: bool,
    /// The driver that the connection belongs to.
    pub place: Placement,
}

impl Interest {
    /// Waits for input on the runtime, and for nothing else.
    pub const fn input(idle: Duration) -> Self {
        let (read, place) = (Read::Bytes, Placement::Runtime);
        Self { read, produce: false, idle, wake: None, wait: None, may_block: false, place }
    }
}

/// The way in which a session reads.
#[derive(Debug, Clone)]
pub enum Read {
    /// Bytes.
    Bytes,
    /// Bytes, also between two pieces of outgoing content.
    WhileProducing,
    /// Bytes that may go into a file without being read.
    Splice(Splice),
}

impl From<Option<Splice>> for Read {
    fn from(splice: Option<Splice>) -> Self {
        splice.map_or(Self::Bytes, Self::Splice)
    }
}

/// The position in a file to which input may be spliced.
#[derive(Debug, Clone)]
pub struct Splice {
    /// The file.
    pub file: Arc<File>,
    /// Offset of the first byte.
    pub at: u64,
    /// Maximum number of bytes.
    pub limit: NonZeroU64,
}

/// A wait for another session.
#[derive(Debug, Clone)]
pub struct Wait {
    /// Opened by the other session.
    pub gate: Arc<Gate>,
    /// When the wait ends anyway, with [`Event::Idle`].
    pub until: Option<Instant>,
    /// With fewer unread bytes than this, a FIN means that the peer has left:
    /// [`Event::EndOfStream`].
    pub gone_below: u64,
}

/// The kind of driver that a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// A task of the runtime.
    Runtime,
    /// A thread of its own, for a bulk transfer.
    Thread,
    /// A [`reactor`](crate::reactor), for an interactive connection that mostly waits.
    Reactor,
}

/// An event of a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes that were read; the session may change them in place.
    Bytes(&'a mut [u8]),
    /// Number of bytes that were spliced into the file of [`Read::Splice`].
    Spliced(u64),
    /// Number of bytes of the last [`Produced::File`] that were handed to the kernel.
    Sent(u64),
    /// The peer sent FIN.
    EndOfStream,
    /// No input for [`Interest::idle`], or the end of a [`Wait`].
    Idle,
    /// [`Interest::wake`] was reached.
    Timer,
    /// The server stops: running transfers may finish, nothing new begins.
    Shutdown,
    /// The connection is lost, for this reason. It is the last event, and nothing is sent after it.
    Lost(&'a str),
}

/// The driver's next action after a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<S> {
    /// A new turn.
    Continue,
    /// The driver writes the bytes appended so far, then closes the connection.
    Finish,
    /// The driver writes the bytes appended so far; then the connection continues as this session.
    Become(S),
}

/// The next piece of outgoing content.
#[derive(Debug)]
pub enum Produced<S> {
    /// No content, only the replies appended to `out`.
    Next(Next<S>),
    /// The bytes appended to `out` and this many of the buffer: an error unless the peer accepts
    /// them.
    Bytes(usize),
    /// Some of these bytes of a file, whose number [`Event::Sent`] reports.
    File(Piece),
}

/// Bytes of a file that need not be read on their way out.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The file.
    pub file: Arc<File>,
    /// Offset of the first byte.
    pub at: u64,
    /// Number of bytes, at least 1.
    pub count: u64,
}
