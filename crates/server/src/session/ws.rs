//! WebSocket with the built-in implementation: after an opening handshake, or as bare frames.
//!
//! This file drives the state machine of `anyport_proto::ws`; the meaning of messages is in
//! [`super::messages`], which the library implementation uses too.

use std::io;
use std::time::Instant;

use anyport_net::copy::{self, Interest, Placement, Read, Session};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::ws::candidate::SYN_PING;
use anyport_proto::ws::{
    CloseCode, DeflateParameters, Event, Fragment, Kind, Receiver, Role, Sender, Violation,
};

use super::messages::{MessageService, Outlet, Piece};
use super::sending::Output;
use super::{AT_ONCE, Context, Next, Produced, ServerSession, Successor, idle_reason};
use crate::service::files::Upload;
use crate::service::rooms::{Rooms, Subscription};
use crate::session::route::Route;

pub(crate) struct Ws {
    context: Context,
    receiver: Receiver,
    sender: Sender,
    protocol: Protocol,
    service: MessageService,
    /// Remaining payload of an outgoing frame whose header was written.
    frame_left: u64,
    /// The first piece of a message that arrived while a response is sent, and the input after it,
    /// still masked: at most that of one read.
    put_off: Option<(Kind, Vec<u8>, bool)>,
    waiting: Vec<u8>,
    /// When the waiting input is handled, or the rest of a message inflated; `None` if no limit
    /// delays them.
    wake: Option<Instant>,
    /// Whether messages may be compressed.
    inflates: bool,
    /// Whether a ping was sent, and no input arrived since.
    pinged: bool,
}

impl Ws {
    /// Returns a session after an opening handshake.
    pub(super) fn handshaken(
        context: Context,
        route: Route,
        announced: bool,
        deflate: Option<&DeflateParameters>,
    ) -> Self {
        let mut ws = Self::new(context, Protocol::Ws, route, announced);
        if let Some(agreed) = deflate {
            ws.receiver = ws.receiver.with_deflate(agreed);
            ws.sender = ws.sender.with_deflate(agreed);
            ws.inflates = true;
        }
        ws
    }

    /// Returns a session of bare frames that were confirmed before anything was stored.
    pub(super) fn bare(context: Context, announced: bool) -> Self {
        Self::new(context, Protocol::Frames, Route::Files { path: None }, announced)
    }

    /// Decodes frames that were stored raw before they were confirmed, in place.
    pub(super) fn decode_stored(
        &mut self,
        stored: Upload,
        since: Instant,
        replies: &mut Vec<u8>,
    ) -> Next {
        if let MessageService::Files(files) = &mut self.service {
            files.resume(stored);
        }
        let mut buffer = vec![0; REWRITE_BUFFER];
        let mut next = Next::Continue;
        while matches!(next, Next::Continue)
            && let MessageService::Files(files) = &mut self.service
        {
            match files.read_back(&mut buffer) {
                Ok(0) => break,
                Ok(count) => next = self.bytes(&mut buffer[..count], since, replies),
                Err(refusal) => {
                    let mut outlet = Frames { sender: &mut self.sender, replies };
                    files.refuse(refusal, &mut outlet);
                    next = Next::Finish;
                }
            }
        }
        next
    }

    fn new(context: Context, protocol: Protocol, mut route: Route, announced: bool) -> Self {
        if let Route::Room(join) = &mut route {
            join.json |= announced;
        }
        let limits = &context.config.limits;
        let longest = match route {
            Route::Echo => limits.echo_message,
            Route::Room(_) if announced => limits.said_json() as u64,
            // The first slash of two is not part of the message, nor is a line end.
            Route::Room(_) => limits.room_message as u64 + 2,
            // A message may be all of a file, or an offer of one.
            Route::Files { .. } => context.config.max_size.max(limits.offer as u64),
        };
        let receiver =
            Receiver::new(Role::Server, limits).with_message_limit(limits.message.min(longest));
        let source = context.source(protocol, Engine::Own);
        let service = MessageService::new(&context, source, route, announced);
        let (sender, waiting) = (Sender::server(), Vec::new());
        let put_off = None;
        let pinged = false;
        Self {
            context,
            receiver,
            sender,
            protocol,
            service,
            frame_left: 0,
            put_off,
            waiting,
            wake: None,
            inflates: false,
            pinged,
        }
    }

    /// Returns whether it is in a room, whose members may send while they read slowly.
    const fn is_in_a_room(&self) -> bool {
        matches!(self.service, MessageService::Room(_))
    }

    const fn is_interactive(&self) -> bool {
        self.service.is_interactive()
    }

    fn broken(&mut self, reason: &str) {
        self.service.broken(reason);
    }

    /// Sends a Close if nothing is in progress.
    fn stop(&mut self, replies: &mut Vec<u8>) -> bool {
        let idle = self.service.is_idle()
            && self.receiver.at_message_border()
            && (self.waiting.is_empty() || self.is_in_a_room());
        if idle {
            self.sender.close(Some(CloseCode::GOING_AWAY), "the server is stopping", replies);
        }
        idle
    }

    /// Returns whether there is a reply to produce, or input that waits for the end of one.
    fn wants_to_produce(&self) -> bool {
        if self.service.wait().is_some() {
            return false;
        }
        let waits_behind_it = !self.waiting.is_empty() && self.wake.is_none();
        self.service.is_answering() || self.put_off.is_some() || waits_behind_it
    }

    fn sent(&mut self, count: u64) {
        self.frame_left = self.frame_left.saturating_sub(count);
        if let MessageService::Files(files) = &mut self.service
            && let Some(sending) = files.sending()
        {
            sending.sent(count);
        }
    }

    /// Begins a frame of content. It is never compressed: most content is already, and sendfile
    /// could not send it.
    fn begin_frame(&mut self, length: u64, replies: &mut Vec<u8>) {
        if length > 0
            && let Ok((header, _)) = self.sender.begin(Kind::Binary, Fragment::Whole, length)
        {
            replies.extend_from_slice(&header);
            self.frame_left = length;
        }
    }

    /// Handles `bytes` up to a limit: the rate of a room, the work of one turn, or a response that
    /// must be sent first. The rest waits: at most that of one read, because nothing is read until
    /// then.
    fn bytes(&mut self, mut bytes: &mut [u8], at: Instant, replies: &mut Vec<u8>) -> Next {
        self.wake = None;
        let mut inflated = 0;
        // The driver reads only after it has written the replies of the last call.
        self.service.replied();
        while !self.sender.close_sent() {
            let answering = self.service.is_answering();
            if inflated >= INFLATED_AT_ONCE {
                self.wake = Some(at);
            } else if !bytes.is_empty() {
                self.wake = self.service.wake(at);
            }
            if self.wake.is_some() || (answering && self.put_off.is_some()) {
                self.waiting.extend_from_slice(bytes);
                break;
            }
            let used = match self.receiver.feed(bytes) {
                Ok((_, None)) => break,
                Ok((used, Some(event))) => {
                    // An upload runs on a thread that may block.
                    if let Event::Data { data, .. } = &event
                        && self.inflates
                        && self.service.is_interactive()
                    {
                        let work = data.len() + WORK_OF_A_PIECE;
                        inflated += work;
                        self.service.inflated(work, at);
                    }
                    let mut outlet = Frames { sender: &mut self.sender, replies };
                    match event {
                        // The next question waits for the answer to this one.
                        Event::Data { kind, data, end, .. } if answering => {
                            self.put_off = Some((kind, data.to_vec(), end));
                        }
                        Event::Data { kind, data, end, .. } => {
                            self.service.data(Piece { kind, data, end, at }, &mut outlet);
                        }
                        Event::Ping(payload) => {
                            if payload == SYN_PING && self.protocol == Protocol::Frames {
                                let syn = self.context.reported_syn().to_pong();
                                self.sender.pong(&syn, replies);
                            }
                            self.sender.pong(payload, replies);
                        }
                        Event::Close { code, reason } => {
                            if answering {
                                self.service.broken("the receiver closed before the end");
                            }
                            self.service.closed(code, reason, &mut outlet);
                        }
                        Event::Pong(_) => {}
                    }
                    used
                }
                Err(violation) => {
                    self.violated(violation, replies);
                    break;
                }
            };
            bytes = &mut std::mem::take(&mut bytes)[used..];
        }
        self.service.taken(self.receiver.at_message_border(), at);
        if self.sender.close_sent() { Next::Finish } else { Next::Continue }
    }

    fn violated(&mut self, violation: Violation, replies: &mut Vec<u8>) {
        let section = violation.section();
        let reason = format!("{violation} ({section})");
        let (peer, protocol) = (self.context.peer, self.protocol);
        tracing::debug!(%peer, %protocol, reason, "WebSocket protocol violation");
        self.sender.close(Some(violation.close_code()), &reason, replies);
        if !self.service.broken(&reason) {
            self.context.refused(self.protocol.as_str(), reason);
        }
    }
}

impl ServerSession for Ws {
    fn inflates(&self) -> bool {
        self.inflates
    }

    fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        replies: &mut Vec<u8>,
    ) -> (Option<Subscription>, Next) {
        let MessageService::Room(room) = &mut self.service else { return (None, Next::Continue) };
        let subscription = room.enter(rooms, shard, replies);
        let mut outlet = Frames { sender: &mut self.sender, replies };
        match &subscription {
            Ok(_) => room.catch_up(&mut outlet),
            Err(refusal) => outlet.refuse(refusal),
        }
        let closed = self.sender.close_sent();
        (subscription.ok(), if closed { Next::Finish } else { Next::Continue })
    }
}

impl Session for Ws {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let idle = self.context.config.timeouts.idle;
        // An interactive connection gets a ping after half of the idle time.
        let idle = self.service.idle_timeout(if self.is_interactive() { idle / 2 } else { idle });
        let (may_block, place) = match &self.service {
            // Between two files a thread would not notice that the server drains, and it is not
            // for waiting.
            MessageService::Files(files)
                if files.is_waiting() || (files.is_idle() && self.waiting.is_empty()) =>
            {
                (files.may_block(), Placement::Runtime)
            }
            MessageService::Files(files) => (files.may_block(), Placement::Thread),
            // Compressing the answer to a long message takes tens of milliseconds, which would
            // delay all others of a reactor.
            MessageService::Echo(_) if self.inflates => (true, Placement::Runtime),
            // A member of a room must be on a reactor thread, and its messages are short.
            MessageService::Echo(_) | MessageService::Room(_) => (false, Placement::Reactor),
        };
        // Between two frames of a response, until a message arrives: pings are answered, a Close
        // ends it.
        let reads_while_sending = self.service.is_sending()
            && self.frame_left == 0
            && self.put_off.is_none()
            && self.waiting.is_empty();
        let reads = self.is_in_a_room() || reads_while_sending;
        let read = if reads { Read::WhileProducing } else { Read::Bytes };
        // Before deciding what to produce: the gate may open in between.
        let wait = self.service.wait();
        let (produce, wake) = (wait.is_none() && self.wants_to_produce(), self.wake);
        Interest { read, produce, wake, wait, may_block, place, ..Interest::input(idle) }
    }

    fn handle(&mut self, event: copy::Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        let mut outlet = Frames { sender: &mut self.sender, replies: out };
        let late = match &event {
            copy::Event::Bytes(_) => self.service.refuse_late(now, &mut outlet),
            copy::Event::Idle => self.service.refuse_late(now + AT_ONCE, &mut outlet),
            _ => false,
        };
        match event {
            _ if late => return Next::Finish,
            copy::Event::Bytes(bytes) => {
                self.pinged = false;
                if self.wake.is_some() {
                    let mut waiting = std::mem::take(&mut self.waiting);
                    waiting.extend_from_slice(bytes);
                    return self.bytes(&mut waiting, now, out);
                }
                return self.bytes(bytes, now, out);
            }
            copy::Event::Timer => {
                let mut waiting = std::mem::take(&mut self.waiting);
                return self.bytes(&mut waiting, now, out);
            }
            // What was asked before is answered first; then the end is met again.
            copy::Event::EndOfStream if self.wants_to_produce() || self.wake.is_some() => {}
            copy::Event::EndOfStream => {
                let between_messages = self.receiver.at_message_border();
                let mut outlet = Frames { sender: &mut self.sender, replies: out };
                self.service.end_of_stream(between_messages, &mut outlet);
                return Next::Finish;
            }
            copy::Event::Idle if self.is_interactive() && !self.pinged => {
                self.sender.ping(b"", out);
                self.pinged = true;
            }
            copy::Event::Idle => {
                let reason = idle_reason(self.context.config.timeouts.idle);
                let mut outlet = Frames { sender: &mut self.sender, replies: out };
                self.service.idle(&reason, &mut outlet);
                // An offer that waited too long does not end the connection.
                return if self.sender.close_sent() { Next::Finish } else { Next::Continue };
            }
            copy::Event::Sent(count) => self.sent(count),
            copy::Event::Shutdown if self.stop(out) => return Next::Finish,
            copy::Event::Lost(reason) => self.broken(reason),
            copy::Event::Shutdown | copy::Event::Spliced(_) => {}
        }
        Next::Continue
    }

    /// Returns the next piece of an answer. Once it is complete, handles the input that waited.
    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        if let Some(files) = self.service.waiting() {
            files.retry(&mut Frames { sender: &mut self.sender, replies: out });
            let closed = self.sender.close_sent();
            return Ok(Produced::Next(if closed { Next::Finish } else { Next::Continue }));
        }
        let MessageService::Files(files) = &mut self.service else {
            return Ok(Produced::Next(Next::Continue));
        };
        let Some(sending) = files.sending().take() else {
            if let Some((kind, data, end)) = self.put_off.take() {
                let mut outlet = Frames { sender: &mut self.sender, replies: out };
                files.data(Piece { kind, data: &data, end, at: Instant::now() }, &mut outlet);
                let closed = self.sender.close_sent();
                return Ok(Produced::Next(if closed { Next::Finish } else { Next::Continue }));
            }
            let mut waiting = std::mem::take(&mut self.waiting);
            // It was read earlier, but the peer cannot be late while nothing is read.
            let input = copy::Event::Bytes(&mut waiting);
            return Ok(Produced::Next(self.handle(input, Instant::now(), out)));
        };
        let room = buffer.len().min(CONTENT_FRAME);
        let Some((say, rest)) = sending.next(&mut buffer[..room])? else {
            return Ok(Produced::Next(Next::Continue));
        };
        *files.sending() = rest;
        let reply = match say {
            Output::Content(count) => {
                self.begin_frame(count as u64, out);
                self.frame_left = 0;
                return Ok(Produced::Bytes(count));
            }
            Output::Kernel(mut piece) => {
                if self.frame_left == 0 {
                    self.begin_frame(piece.count.min(CONTENT_FRAME as u64), out);
                }
                piece.count = self.frame_left;
                return Ok(Produced::File(piece));
            }
            Output::FileEnd(end) => FileReply::FileEnd(end),
            Output::Listed(entries, left_out) => {
                if !left_out.is_empty() {
                    let reply = FileReply::LeftOut(left_out);
                    let _ = self.sender.message(Kind::Text, reply.to_json().as_bytes(), out);
                }
                FileReply::Entries(entries)
            }
            Output::ListEnd(end) => FileReply::ListEnd(end),
            Output::Refusal(refusal) => FileReply::Error(refusal),
        };
        // After a Close this fails, and nothing was requested.
        let _ = self.sender.message(Kind::Text, reply.to_json().as_bytes(), out);
        Ok(Produced::Next(Next::Continue))
    }
}

/// The outlet of the built-in implementation: appends frames to the replies.
struct Frames<'a> {
    sender: &'a mut Sender,
    replies: &'a mut Vec<u8>,
}

impl Outlet for Frames<'_> {
    fn message(&mut self, kind: Kind, payload: &[u8]) {
        // After a Close this fails, and the message is dropped.
        let _ = self.sender.message(kind, payload, self.replies);
    }

    fn owned_message(&mut self, kind: Kind, payload: Vec<u8>) {
        let _ = self.sender.owned_message(kind, payload, self.replies);
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        self.sender.close(code, reason, self.replies);
    }
}

/// Work that an interactive connection with compression does before other connections of its thread
/// get their turn, in inflated bytes: about a tenth of a millisecond. A read of 64 KiB can inflate
/// to 64 MiB.
const INFLATED_AT_ONCE: usize = 128 * 1024;

/// Cost of a piece of a message beside its bytes: zlib restarts with up to 32 KiB of context, also
/// for an empty message.
const WORK_OF_A_PIECE: usize = 8 * 1024;

/// Buffer size for decoding a stored candidate in place, a piece at a time.
const REWRITE_BUFFER: usize = 64 * 1024;

/// Payload of a frame of a file: a size that clients which assemble messages accept by default, and
/// much more than a header costs.
const CONTENT_FRAME: usize = 256 * 1024;
