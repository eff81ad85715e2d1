//! The frames of a live connection: messages in, a bounded queue out.

use std::io;
use std::time::{Duration, Instant};

use anyport_net::pace::Pace;
use anyport_proto::ws::{CloseCode, Event, Kind, Receiver, Role, Sender};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::budget::Share;
use crate::events::Tally;
use crate::session::due::Due;
use crate::session::{Context, idle_reason};
use crate::tls::SharedWire;

/// The client's end of the connection.
pub(super) struct Socket {
    context: Context,
    reader: ReadHalf<SharedWire>,
    writer: WriteHalf<SharedWire>,
    receiver: Receiver,
    sender: Sender,
    /// Input, of which the bytes before `handled` were handled.
    input: Vec<u8>,
    handled: usize,
    /// An incomplete message, and the memory that it needs.
    message: Vec<u8>,
    share: Share,
    due: Due,
    /// Output after `sending`.
    queue: Vec<u8>,
    /// Output that is being written.
    sending: Bytes,
    /// Whether the stream may hold output that it accepted.
    is_unflushed: bool,
    tally: Tally,
    pace: Option<Pace>,
    /// When input last arrived, and output was last accepted.
    read_at: Instant,
    written_at: Instant,
    is_pinged: bool,
}

/// A part of the input.
pub(super) enum Input {
    Message(Vec<u8>),
    /// Nothing more is to be handled.
    End,
}

impl Socket {
    /// Returns the socket after an opening handshake; `input` was read with it.
    pub(super) fn new(wire: SharedWire, context: Context, input: Vec<u8>) -> Self {
        let (reader, writer) = split(wire);
        let limits = &context.config.limits;
        let longest = limits.said_json() as u64;
        let now = Instant::now();
        Self {
            reader,
            writer,
            receiver: Receiver::new(Role::Server, limits).with_message_limit(longest),
            sender: Sender::server(),
            input,
            handled: 0,
            message: Vec::new(),
            share: context.buffer_share(),
            due: Due::new(context.config.timeouts.message),
            queue: Vec::new(),
            sending: Bytes::new(),
            is_unflushed: false,
            tally: Tally::new(context.record.clone()),
            pace: context.config.limit_rate.map(Pace::new),
            read_at: now,
            written_at: now,
            is_pinged: false,
            context,
        }
    }

    /// Returns the stream.
    pub(super) fn into_wire(self) -> SharedWire {
        self.reader.unsplit(self.writer)
    }

    /// Returns whether all output was written.
    pub(super) const fn is_written(&self) -> bool {
        self.queue.is_empty() && self.sending.is_empty() && !self.is_unflushed
    }

    /// Returns whether there is input to handle. Its answers wait for output that is queued, so
    /// that a client that reads nothing queues little.
    pub(super) const fn has_input(&self) -> bool {
        self.handled < self.input.len() && self.queue.len() + self.sending.len() < ANSWERS_AT_ONCE
    }

    /// Appends a text message.
    pub(super) fn say(&mut self, text: &str) {
        // After a Close this fails, and the message is dropped.
        let _ = self.sender.message(Kind::Text, text.as_bytes(), &mut self.queue);
    }

    /// Appends frames.
    pub(super) fn append(&mut self, frames: &[u8]) {
        self.queue.extend_from_slice(frames);
    }

    /// Appends a Close.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        self.sender.close(Some(code), reason, &mut self.queue);
    }

    /// Returns the next message of the input; `None` if it is incomplete.
    pub(super) fn next(&mut self) -> Option<Input> {
        while self.handled < self.input.len() {
            let Self { receiver, sender, input, queue, message, .. } = self;
            let (used, event) = match receiver.feed(&mut input[self.handled..]) {
                Ok((used, event)) => (used, event),
                Err(violation) => {
                    let reason = format!("{violation} ({})", violation.section());
                    self.close(violation.close_code(), &reason);
                    self.context.refused("ws", reason);
                    return Some(Input::End);
                }
            };
            self.handled += used;
            match event {
                Some(Event::Data { kind: Kind::Binary, .. }) => {
                    self.close(
                        CloseCode::UNSUPPORTED,
                        "live connections accept text messages only",
                    );
                    return Some(Input::End);
                }
                Some(Event::Data { data, end, .. }) => {
                    if !self.share.grow(data.len()) {
                        self.close(CloseCode::TRY_AGAIN_LATER, OUT_OF_MEMORY);
                        return Some(Input::End);
                    }
                    message.extend_from_slice(data);
                    if end {
                        self.due.end();
                        self.share.clear();
                        return Some(Input::Message(std::mem::take(message)));
                    }
                }
                Some(Event::Ping(payload)) => {
                    sender.pong(payload, queue);
                    if queue.len() + self.sending.len() >= ANSWERS_AT_ONCE {
                        return None;
                    }
                }
                Some(Event::Pong(_)) => {}
                Some(Event::Close { code, .. }) => {
                    sender.close(code, "", queue);
                    return Some(Input::End);
                }
                None => {}
            }
        }
        if self.receiver.at_message_border() {
            self.due.end();
        } else {
            self.due.begin(self.read_at);
        }
        None
    }

    /// Sends a ping to a silent client. Returns false if the connection ends: the client is gone,
    /// reads nothing, or has begun a message for too long.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        let idle = self.idle();
        if self.due.is_late(now) {
            let reason = self.due.reason("a message");
            self.close(CloseCode::POLICY, &reason);
            self.context.refused("ws", reason);
            return false;
        }
        if now < self.alarm() {
            return true;
        }
        if self.is_pinged || !self.is_written() {
            self.close(CloseCode::POLICY, &idle_reason(idle));
            return false;
        }
        self.sender.ping(b"", &mut self.queue);
        self.is_pinged = true;
        true
    }

    /// Returns when [`Self::check`] or [`Self::moved`] has something to do.
    pub(super) fn wake(&self) -> Instant {
        let idle = self.idle();
        let due = self.alarm().min(Instant::now() + self.due.idle_timeout(idle));
        self.pace.as_ref().and_then(Pace::wake).map_or(due, |wake| wake.min(due))
    }

    fn idle(&self) -> Duration {
        self.context.config.timeouts.idle.min(LONGEST)
    }

    /// Returns when the client is silent for too long: a ping is sent after half of the time.
    fn alarm(&self) -> Instant {
        let idle = self.idle();
        match self.is_written() {
            true if !self.is_pinged => self.read_at + idle / 2,
            true => self.read_at + idle,
            // A client that reads slowly is not silent.
            false => self.read_at.max(self.written_at) + idle,
        }
    }

    /// Reads or writes something.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// The connection is lost; `UnexpectedEof` if the client ended it.
    pub(super) async fn moved(&mut self) -> io::Result<()> {
        if self.sending.is_empty() && !self.queue.is_empty() {
            self.sending = Bytes::from(std::mem::take(&mut self.queue));
        }
        let is_paused = self.pace.as_ref().is_some_and(|pace| pace.wake().is_some());
        let writes = !is_paused && !self.is_written();
        let reads = !is_paused && self.handled == self.input.len();
        let Self { reader, writer, sending, input, handled, .. } = self;
        if reads {
            input.clear();
            input.reserve(READ);
            *handled = 0;
        }
        let write = async {
            if sending.is_empty() {
                writer.flush().await.map(|()| 0)
            } else {
                writer.write_buf(sending).await
            }
        };
        let (count, is_input) = tokio::select! {
            biased;
            written = write, if writes => (written?, false),
            count = reader.read_buf(input), if reads => (count?, true),
            else => return std::future::pending().await,
        };
        if let Some(pace) = &mut self.pace {
            pace.moved(count as u64);
        }
        if is_input {
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tally.received(count as u64);
            (self.read_at, self.is_pinged) = (Instant::now(), false);
        } else {
            self.is_unflushed = count > 0;
            self.tally.sent(count as u64);
            self.written_at = Instant::now();
        }
        Ok(())
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.tally.sent((self.sending.len() + self.queue.len()) as u64);
        self.writer.write_all_buf(&mut self.sending).await?;
        self.writer.write_all(&std::mem::take(&mut self.queue)).await?;
        self.writer.flush().await
    }
}

/// Queued output beyond which no further request is handled.
const ANSWERS_AT_ONCE: usize = 16 * 1024;

/// Minimum size of a read.
const READ: usize = 4 * 1024;

/// Longest idle timeout, within the range of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const OUT_OF_MEMORY: &str = "memory limit for incomplete messages reached";
