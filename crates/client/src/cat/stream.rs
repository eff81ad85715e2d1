//! A pipe over a stream: raw TCP, or WebSocket messages.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyport_proto::limits::Limits;
use anyport_proto::ws::candidate::GREETING;
use anyport_proto::ws::{CloseCode, Event, Kind, Receiver, Role, Sender};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::CatOptions;
use super::ends::{Cut, Output, Pieces, read};
use crate::channel::handshake::upgrade;
use crate::connect::{self, connect};
use crate::error::{Error, ErrorKind, Transferred};
use crate::keys::RandomKeys;
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
    let mut connection = opened.map_err(|error| error.moved(|_| Transferred::Talk))?;
    let cut = match connection.coding {
        Coding::Messages { .. } if !options.binary => Cut::Lines,
        _ => Cut::Reads(PIECE),
    };
    let output = Output::start(output);
    let ended = connection.carry(options, read(input, cut), &output).await;
    if matches!(connection.coding, Coding::Messages { .. }) {
        // The answer to a Close, or why we go. How the server takes it changes nothing.
        let _ = timeout(GOODBYE, connection.writer.flush()).await;
    }
    // What came before an error is written all the same.
    let written = output.finish();
    let reason = ended.and_then(|end| end.verdict(connection.peer))?;
    written.map(|()| reason)
}

struct Connection {
    reader: ReadHalf<AsyncStream>,
    /// With what the server does not take yet.
    writer: Outbox,
    peer: SocketAddr,
    coding: Coding,
    /// What came behind a handshake's response.
    early: Vec<u8>,
}

enum Coding {
    Bytes,
    Messages {
        receiver: Box<Receiver>,
        sender: Sender,
        kind: Kind,
        /// The message that comes has a line end at its end, as far as it is here.
        ends_line: bool,
    },
}

/// How it ended in order.
enum End {
    /// The stream did, or we have waited long enough.
    Done,
    /// The server closed the WebSocket.
    Closed { code: Option<CloseCode>, reason: String },
}

impl End {
    /// Returns the reason of the server, if it gave one.
    fn verdict(self, peer: SocketAddr) -> Result<Option<String>, Error> {
        match self {
            // A server that stops is as done as one that has nothing more to say.
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
        let connect::Connection { mut stream, peer, .. } = connect(target, &options.connect)?;
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
                Coding::Messages { receiver, sender, kind, ends_line: false }
            }
        };
        let stream =
            stream.into_async().map_err(|source| Error::lost(peer, Transferred::Talk, source))?;
        let Duplex { reader, writer } = Duplex::new(stream, out);
        Ok(Self { reader, writer, peer, coding, early })
    }

    async fn carry(
        &mut self,
        options: &CatOptions,
        mut input: Pieces,
        output: &Output,
    ) -> Result<End, Error> {
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Talk, source);
        let early = std::mem::take(&mut self.early);
        if let Some(end) = self.hear(early, output).await? {
            return Ok(end);
        }
        let mut buffer = vec![0; PIECE];
        // The input has; the server is to be told so, once all before is on its way; and the server
        // has.
        let (mut ended, mut tells, mut heard_all) = (false, false, false);
        let mut until = Instant::now();
        loop {
            let idle = self.writer.is_empty();
            if idle && std::mem::take(&mut tells) && matches!(self.coding, Coding::Bytes) {
                // A server that is gone already is noticed by reading.
                let _ = self.writer.finish().await;
            }
            if heard_all && ended && idle {
                return Ok(End::Done);
            }
            let takes = output.pieces.capacity() > 0;
            let quits = ended && idle && options.quit_after.is_some();
            tokio::select! {
                read = self.reader.read(&mut buffer), if takes && !heard_all => {
                    let end = match read {
                        Ok(0) if self.has_more_to_say(ended, options) => {
                            heard_all = true;
                            None
                        }
                        Ok(0) => Some(End::Done),
                        Ok(count) => self.hear(buffer[..count].to_vec(), output).await?,
                        Err(error) => return Err(broken(error)),
                    };
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
                pushed = self.writer.push(), if !idle => {
                    if pushed.is_err() {
                        // It takes nothing more, and may still have something to say.
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

    /// Whether there is something to do after the server's FIN.
    fn has_more_to_say(&self, ended: bool, options: &CatOptions) -> bool {
        let may_hear = matches!(self.coding, Coding::Bytes);
        may_hear && (!self.writer.is_empty() || (!ended && options.outlasts))
    }

    fn say(&mut self, piece: &[u8]) {
        match &mut self.coding {
            Coding::Bytes => self.writer.out.extend_from_slice(piece),
            Coding::Messages { sender, kind, .. } => {
                // Behind a Close nothing is said.
                let _ = sender.message(*kind, piece, &mut self.writer.out);
            }
        }
    }

    fn say_close(&mut self) {
        if let Coding::Messages { sender, .. } = &mut self.coding {
            sender.close(Some(CloseCode::NORMAL), "", &mut self.writer.out);
        }
    }

    /// Takes what came. `None` unless that was the end.
    async fn hear(&mut self, mut bytes: Vec<u8>, output: &Output) -> Result<Option<End>, Error> {
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
                            // Why we go (RFC 6455 §7.1.7).
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
            // That nobody takes it is noticed where the pieces are.
            let _ = output.pieces.send(written).await;
        }
        end.transpose()
    }
}

/// What a frame adds to what is written, and to what is answered; the end, if it is that.
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

/// How long a server may take to take our last frame.
const GOODBYE: Duration = Duration::from_secs(2);
