//! A pipe over a stream: raw TCP, or WebSocket messages.

use std::io::{Read, Write};
use std::time::Duration;

use anyport_proto::limits::Limits;
use anyport_proto::peer::Peer;
use anyport_proto::ws::candidate::{GREETING, SYN_PING};
use anyport_proto::ws::{CloseCode, Event, Kind, Receiver, Role, Sender};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::CatOptions;
use super::ends::{Cut, Output, Pieces, read};
use crate::channel::handshake::upgrade;
use crate::connect::{self, connect};
use crate::error::{Error, ErrorKind, Transferred};
use crate::keys::RandomKeys;
use crate::measure::Interactive;
use crate::stream::{AsyncStream, Duplex, Outbox};
use crate::target::{Scheme, Target};

/// Cancel safe: no; it is never cancelled.
pub(super) async fn pipe(
    target: &Target,
    options: &CatOptions,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> Result<Option<String>, Error> {
    // The hint of a lost handshake is about files.
    let opened = Connection::open(target, options);
    let mut connection = opened.map_err(|error| error.moved(|_| Transferred::Messages))?;
    let cut = match connection.coding {
        Coding::Messages { .. } if !options.binary => Cut::Lines,
        _ => Cut::Reads(PIECE),
    };
    let output = Output::start(output);
    let ended = connection.carry(options, read(input, cut), &output).await;
    if matches!(connection.coding, Coding::Messages { .. }) {
        // Completes the closing handshake; its outcome does not matter.
        let _ = timeout(GOODBYE, connection.writer.flush()).await;
    }
    // Data before an error is written too.
    let written = output.finish();
    let reason = ended.and_then(|end| end.verdict(connection.peer))?;
    written.map(|()| reason)
}

struct Connection {
    reader: ReadHalf<AsyncStream>,
    /// The output that the server has not accepted yet.
    writer: Outbox,
    peer: Peer,
    coding: Coding,
    /// Input that followed a handshake's response.
    early: Vec<u8>,
    /// Of a trace.
    _measured: Option<Interactive>,
}

enum Coding {
    Bytes,
    Messages {
        receiver: Box<Receiver>,
        sender: Sender,
        kind: Kind,
        /// Whether the current message ends with a line end so far.
        ends_line: bool,
    },
}

/// A clean end of the connection.
enum End {
    /// The stream did, or we have waited long enough.
    Done,
    /// The server closed the WebSocket.
    Closed { code: Option<CloseCode>, reason: String },
}

impl End {
    /// Returns the reason of the server, if it gave one.
    fn verdict(self, peer: Peer) -> Result<Option<String>, Error> {
        match self {
            // A stopping server ends cleanly too.
            Self::Closed { code: Some(code), reason }
                if !matches!(code, CloseCode::NORMAL | CloseCode::GOING_AWAY) =>
            {
                Err(Error::at(peer, ErrorKind::Closed(code.value(), reason)))
            }
            Self::Closed { reason, .. } => Ok(Some(reason).filter(|reason| !reason.is_empty())),
            Self::Done => Ok(None),
        }
    }
}

impl Connection {
    fn open(target: &Target, options: &CatOptions) -> Result<Self, Error> {
        let no_channel = || Error::from(ErrorKind::NoChannel);
        if target.scheme == Scheme::Http {
            return Err(no_channel());
        }
        let connect::Connection { mut stream, peer, socket } = connect(target, &options.connect)?;
        let (mut early, mut out) = (Vec::new(), Vec::new());
        let receiver = Box::new(Receiver::new(Role::Client, &Limits::default()));
        let mut sender = Sender::client(RandomKeys::new());
        let kind = if options.binary { Kind::Binary } else { Kind::Text };
        let coding = match target.scheme {
            Scheme::Tcp => Coding::Bytes,
            Scheme::Http => return Err(no_channel()),
            Scheme::Ws => {
                early = upgrade(&mut stream, peer, target, &[], false)?.early;
                Coding::Messages { receiver, sender, kind, ends_line: false }
            }
            Scheme::Frames => {
                sender.ping(GREETING, &mut out);
                if stream.traced().is_some() {
                    sender.ping(SYN_PING, &mut out);
                }
                Coding::Messages { receiver, sender, kind, ends_line: false }
            }
        };
        let stream = stream
            .into_async()
            .map_err(|source| Error::lost(peer, Transferred::Messages, source))?;
        let Duplex { reader, writer } = Duplex::new(stream, out);
        let measured = Interactive::begin(&options.connect, socket);
        Ok(Self { reader, writer, peer, coding, early, _measured: measured })
    }

    async fn carry(
        &mut self,
        options: &CatOptions,
        mut input: Pieces,
        output: &Output,
    ) -> Result<End, Error> {
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Messages, source);
        let early = std::mem::take(&mut self.early);
        if let Some(end) = self.handle(early, output).await? {
            return Ok(end);
        }
        let mut buffer = vec![0; PIECE];
        // State of the ends: the input's; whether the server must still be notified of it; the
        // server's.
        let (mut ended, mut tells, mut server_ended) = (false, false, false);
        let mut until = Instant::now();
        loop {
            let idle = self.writer.is_empty();
            if idle && std::mem::take(&mut tells) && matches!(self.coding, Coding::Bytes) {
                // A server that is gone already is noticed by reading.
                let _ = self.writer.finish().await;
            }
            if server_ended && ended && idle {
                return Ok(End::Done);
            }
            let takes = output.pieces.capacity() > 0;
            let quits = ended && idle && options.quit_after.is_some();
            tokio::select! {
                read = self.reader.read(&mut buffer), if takes && !server_ended => {
                    let end = match read {
                        Ok(0) if self.has_more_to_say(ended, options) => {
                            server_ended = true;
                            None
                        }
                        Ok(0) => Some(End::Done),
                        Ok(count) => self.handle(buffer[..count].to_vec(), output).await?,
                        Err(error) => return Err(broken(error)),
                    };
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
                pushed = self.writer.push(), if !idle => {
                    if pushed.is_err() {
                        // It no longer reads, but may have sent data before.
                        self.writer.give_up();
                        ended = true;
                    }
                }
                piece = input.recv(), if !ended && self.writer.out.len() < PIECE => match piece {
                    Some(piece) => self.say(&piece?),
                    None => {
                        (ended, tells) = (true, options.shutdown);
                        if tells {
                            self.say_close();
                        }
                        until = Instant::now() + options.quit_after.unwrap_or_default();
                    }
                },
                // Nothing is read while the output is full.
                room = output.pieces.reserve(), if !takes => drop(room),
                () = output.pieces.closed() => return Ok(End::Done),
                () = sleep_until(until), if quits => return Ok(End::Done),
            }
        }
    }

    /// Returns whether there is something to send after the server's FIN.
    fn has_more_to_say(&self, ended: bool, options: &CatOptions) -> bool {
        let may_read = matches!(self.coding, Coding::Bytes);
        may_read && (!self.writer.is_empty() || (!ended && options.outlasts))
    }

    fn say(&mut self, piece: &[u8]) {
        match &mut self.coding {
            Coding::Bytes => self.writer.out.extend_from_slice(piece),
            Coding::Messages { sender, kind, .. } => {
                // After a Close this fails.
                let _ = sender.message(*kind, piece, &mut self.writer.out);
            }
        }
    }

    fn say_close(&mut self) {
        if let Coding::Messages { sender, .. } = &mut self.coding {
            sender.close(Some(CloseCode::NORMAL), "", &mut self.writer.out);
        }
    }

    /// Handles received bytes. Returns `None` unless the connection has ended.
    async fn handle(&mut self, mut bytes: Vec<u8>, output: &Output) -> Result<Option<End>, Error> {
        let (mut written, mut end) = (Vec::new(), None);
        match &mut self.coding {
            Coding::Bytes => written = bytes,
            Coding::Messages { receiver, sender, ends_line, .. } => {
                let mut rest = &mut bytes[..];
                while !rest.is_empty() && end.is_none() {
                    let used = match receiver.feed(rest) {
                        Ok((used, event)) => {
                            if let Some(Event::Data { data: [.., last], .. }) = event {
                                *ends_line = *last == b'\n';
                            }
                            let taken = event.and_then(|event| {
                                taken(event, sender, ends_line, &mut written, &mut self.writer.out)
                            });
                            end = taken.map(Ok);
                            used
                        }
                        Err(violation) => {
                            // The close code names the violation (RFC 6455 §7.1.7).
                            let (code, reason) = (violation.close_code(), violation.to_string());
                            sender.close(Some(code), &reason, &mut self.writer.out);
                            end = Some(Err(Error::violation(self.peer, violation, true)));
                            0
                        }
                    };
                    rest = &mut std::mem::take(&mut rest)[used..];
                }
            }
        }
        if !written.is_empty() {
            // The loop notices a closed output.
            let _ = output.pieces.send(written).await;
        }
        end.transpose()
    }
}

/// Handles a frame: appends to the output and to the replies; returns the end, if the frame is one.
fn taken(
    event: Event<'_>,
    sender: &mut Sender,
    ends_line: &mut bool,
    written: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<End> {
    match event {
        Event::Data { kind, data, end, .. } => {
            written.extend_from_slice(data);
            let ends_line = end && std::mem::take(ends_line);
            if end && kind == Kind::Text && !ends_line {
                written.push(b'\n');
            }
        }
        Event::Ping(payload) => sender.pong(payload, out),
        Event::Pong(_) => {}
        Event::Close { code, reason } => {
            sender.close(code, "", out);
            return Some(End::Closed { code, reason: reason.to_owned() });
        }
    }
    None
}

/// Bytes of one read, of the input and of the socket.
const PIECE: usize = 64 * 1024;

/// How long a server may take to read the last frame.
const GOODBYE: Duration = Duration::from_secs(2);
