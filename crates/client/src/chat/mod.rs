//! Chatting in a room: sends lines, delivers events, and reconnects without a gap and without a
//! duplicate.
//!
//! ```text
//!   lines ──► member ──► wire ──► server      one task selects: typed lines, events, time
//!   notification  ◄── member ◄── wire ◄──
//! ```

mod member;
mod wire;

use std::io;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::limits::Limits;
use anyport_proto::peer::Peer;
use anyport_proto::preface::{join_line, with_token};
use anyport_proto::rooms::{Command, Event, Join, Message, Nickname, SUBPROTOCOL};
use anyport_proto::setting::CONNECT_TIMEOUT;
use anyport_proto::transfer::refusal::{RefusalCode, Retry};
use anyport_proto::ws::{Receiver as FrameReceiver, Role, Sender as FrameSender};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

use self::member::{Member, Received};
use self::wire::Wire;
use crate::attempts::Attempts;
use crate::channel::handshake::upgrade;
use crate::connect::{self, ConnectOptions, Socket, connect};
use crate::error::{Consequence, Error, ErrorKind, ErrorOrigin, Transferred, no_runtime};
use crate::keys::{RandomKeys, handshake_key};
use crate::measure::Interactive;
use crate::stream::{Duplex, Stream, ended};
use crate::target::{Scheme, Target};

/// The options of a chat.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChatOptions {
    /// Our name, if the URL has none; the server may make another of it.
    pub nick: Option<Nickname>,
    /// Maximum number of earlier events to receive; `None` for all stored ones.
    pub history: Option<u32>,
    /// Maximum number of reconnects in a row without an event.
    pub retries: u32,
    /// Maximum total time spent retrying.
    pub retry_max_time: Duration,
    /// Options of the connection.
    pub connect: ConnectOptions,
    /// How long to wait at the end for confirmations, while none arrives.
    pub farewell: Duration,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            nick: None,
            history: None,
            retries: 10,
            retry_max_time: Duration::from_secs(600),
            // No congestion control makes a few words a minute faster.
            connect: ConnectOptions { congestion: Congestion::System, ..Default::default() },
            farewell: Duration::from_secs(60),
        }
    }
}

/// An event of a chat.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChatEvent<'a> {
    /// An event of the room, or of this member alone.
    Event(&'a Event),
    /// A message of the user is in the room.
    Own(&'a Message),
    /// The connection was lost; the next attempt follows after this time.
    Retrying(&'a Error, Duration),
    /// Reconnected; this number of unconfirmed messages is sent again.
    Back(usize),
}

/// The result of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Messages that the room refused.
    pub refused: usize,
    /// Messages that the room has not confirmed.
    pub unconfirmed: usize,
}

/// Returns the room of a target, and who wants to enter.
///
/// # Errors
/// The URL names no room.
pub fn room(target: &Target, options: &ChatOptions) -> Result<Join, Error> {
    if matches!(target.scheme, Scheme::Frames | Scheme::Http) {
        return Err(ErrorKind::NoRooms(target.scheme.as_str()).into());
    }
    let (path, query) = match target.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.path.as_str(), None),
    };
    let mut join = Join::from_target(path, query)?;
    join.nick = options.nick.clone().or(join.nick);
    join.history = options.history.or(join.history);
    // Only JSON has keys and confirmations, and only with own messages.
    (join.json, join.own) = (true, true);
    Ok(join)
}

/// Chats until `said` ends and all messages are confirmed. `tell` receives the events.
///
/// # Errors
/// The room cannot be joined, or not again; or `tell` failed.
pub fn chat(
    target: &Target,
    options: &ChatOptions,
    said: Receiver<Command>,
    tell: &mut dyn FnMut(ChatEvent<'_>) -> io::Result<()>,
) -> Result<Left, Error> {
    let join = room(target, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(no_runtime)?;
    let prefix = handshake_key()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let member = Member::new(join, prefix);
    let mut chat =
        Chat { target, options, member, said, ended: false, refused: 0, was_back: false, tell };
    runtime.block_on(chat.run())
}

struct Chat<'a> {
    target: &'a Target,
    options: &'a ChatOptions,
    member: Member,
    said: Receiver<Command>,
    /// Whether no further messages follow.
    ended: bool,
    refused: usize,
    /// Whether it has rejoined, which was not reported yet.
    was_back: bool,
    tell: &'a mut dyn FnMut(ChatEvent<'_>) -> io::Result<()>,
}

/// A clean end of a connection.
enum End {
    /// All messages are confirmed, or never will be.
    Left,
    /// The server left out what may be had by entering again.
    Behind,
}

struct Connection {
    stream: Duplex,
    wire: Wire,
    peer: Peer,
    /// Until the room is joined.
    socket: Option<Socket>,
    /// Of a trace, from then on: a refusal is no idle chat.
    measured: Option<Interactive>,
}

impl Chat<'_> {
    async fn run(&mut self) -> Result<Left, Error> {
        let mut attempts = Attempts::new(
            self.options.retries,
            self.options.retry_max_time,
            self.options.connect.trace.as_ref(),
        );
        // Messages are kept until they are confirmed.
        attempts.repeatable = true;
        let mut received = 0;
        loop {
            let ended = match self.connect() {
                Ok(mut connection) => {
                    attempts.connected();
                    self.talk(&mut connection, &mut received).await
                }
                // Its hint is about files.
                Err(error) => Err(error.moved(|_| Transferred::Messages)),
            };
            self.member.away();
            attempts.progressed(received);
            let error = match ended {
                Ok(End::Left) => {
                    let unconfirmed = self.member.unconfirmed();
                    return Ok(Left { refused: self.refused, unconfirmed });
                }
                Ok(End::Behind) => continue,
                Err(error) => error,
            };
            let error = attempts.judge(error);
            let mut consequence = error.consequence();
            // A room server that failed may be back.
            if matches!(error.kind(), ErrorKind::Closed(1011, _)) {
                consequence = Consequence::of(RefusalCode::Busy);
            }
            // Before the room was entered a refusal is an answer, and not an interruption.
            if !self.member.has_been_in() && consequence.origin != ErrorOrigin::Interrupted {
                consequence.retry = Retry::Never;
            }
            let tell = &mut self.tell;
            attempts.again_after(error, consequence, &mut |error, delay| {
                tell(ChatEvent::Retrying(error, delay)).map_err(not_printed)
            })?;
        }
    }

    /// Connects and performs the handshake. Input waits meanwhile.
    fn connect(&self) -> Result<Connection, Error> {
        let target = self.target;
        let connect::Connection { mut stream, peer, socket } =
            connect(target, &self.options.connect)?;
        let join = self.member.join();
        let connection = |stream: Stream, wire, out| {
            let stream = Duplex::new(stream.into_async()?, out);
            Ok(Connection { stream, wire, peer, socket: Some(socket), measured: None })
        };
        let broken = |source| Error::lost(peer, Transferred::Messages, source);
        if target.scheme == Scheme::Tcp {
            let line = with_token(join_line(join), target.token.as_ref()).into_bytes();
            return connection(stream, Wire::lines(peer), line).map_err(broken);
        }
        let asked = Target { path: join.to_target(), ..target.clone() };
        let upgraded = upgrade(&mut stream, peer, &asked, &[SUBPROTOCOL], false)?;
        if upgraded.verified.subprotocol.is_none() {
            return Err(Error::at(peer, ErrorKind::NoRoom));
        }
        let receiver = FrameReceiver::new(Role::Client, &Limits::default());
        let wire = Wire::messages(peer, receiver, FrameSender::client(RandomKeys::new()));
        let mut connection = connection(stream, wire, Vec::new()).map_err(broken)?;
        connection.wire.early = upgraded.early;
        Ok(connection)
    }

    /// One connection's life. Cancel safe: no; it is never cancelled.
    async fn talk(
        &mut self,
        connection: &mut Connection,
        received: &mut u64,
    ) -> Result<End, Error> {
        let peer = connection.peer;
        let broken = |source| Error::lost(peer, Transferred::Messages, source);
        let mut buffer = vec![0; 64 * 1024];
        let mut early = std::mem::take(&mut connection.wire.early);
        if let Some(end) = self.handle(connection, &mut early, received)? {
            return Ok(end);
        }
        // Until it has joined, then until missed events have arrived, then until the last message
        // is confirmed.
        let mut deadline = Instant::now() + self.options.connect.connect_timeout;
        let mut here = false;
        loop {
            // Unconfirmed messages first: new ones follow them.
            if !here && self.member.is_here() {
                here = true;
                connection.measured = connection
                    .socket
                    .take()
                    .and_then(|socket| Interactive::begin(&self.options.connect, socket));
                deadline = Instant::now() + self.options.farewell;
                let again = self.member.unconfirmed();
                for said in self.member.again() {
                    connection.wire.encode(&said, &mut connection.stream.writer.out);
                }
                if std::mem::replace(&mut self.was_back, false) {
                    (self.tell)(ChatEvent::Back(again)).map_err(not_printed)?;
                }
            }
            if self.ended && self.member.unconfirmed() == 0 && self.member.is_here() {
                connection.wire.close(&mut connection.stream.writer.out);
                farewell(connection).await;
                return Ok(End::Left);
            }
            let Duplex { reader, writer } = &mut connection.stream;
            let writes = !writer.is_empty();
            let listens = !self.ended && self.member.is_here() && self.member.has_room();
            let waits = !here || self.ended;
            tokio::select! {
                read = reader.read(&mut buffer) => {
                    let count = match read.map_err(broken)? {
                        0 => return Err(broken(ended())),
                        count => count,
                    };
                    let before = (*received, self.member.unconfirmed());
                    if let Some(end) = self.handle(connection, &mut buffer[..count], received)? {
                        return Ok(end);
                    }
                    // Progress restarts the time limit.
                    if (*received, self.member.unconfirmed()) != before && here {
                        deadline = Instant::now() + self.options.farewell;
                    }
                }
                pushed = writer.push(), if writes => pushed.map_err(broken)?,
                said = self.said.recv(), if listens => {
                    match said {
                        Some(Command::Say { text, .. }) => {
                            let said = self.member.say(text);
                            connection.wire.encode(&said, &mut connection.stream.writer.out);
                        }
                        Some(Command::Who) => {
                        connection.wire.encode(&Command::Who, &mut connection.stream.writer.out)
                    }
                        None => {
                            self.ended = true;
                            deadline = Instant::now() + self.options.farewell;
                        }
                    }
                }
                () = sleep_until(deadline), if waits => {
                    if !here && self.member.is_in() {
                        self.member.stop_catching_up();
                    } else if here {
                        return Ok(End::Left);
                    } else {
                        let late = format!(
                            "the server did not confirm the join in time ({CONNECT_TIMEOUT})"
                        );
                        let late = io::Error::new(io::ErrorKind::TimedOut, late);
                        return Err(broken(late));
                    }
                }
            }
        }
    }

    fn handle(
        &mut self,
        connection: &mut Connection,
        bytes: &mut [u8],
        received: &mut u64,
    ) -> Result<Option<End>, Error> {
        let mut events = Vec::new();
        let read = connection.wire.handle(bytes, &mut connection.stream.writer.out, &mut events);
        for event in events {
            *received += 1;
            // The server ends the membership, as of a client that was stopped for a while.
            if let Event::Error(refusal) = &event
                && refusal.code == RefusalCode::Interrupted
            {
                return Err(Error::at(connection.peer, ErrorKind::Refused(refusal.clone())));
            }
            let output = match self.member.handle(event) {
                Received::News(event) => (self.tell)(ChatEvent::Event(&event)),
                Received::Own(message) => (self.tell)(ChatEvent::Own(&message)),
                Received::Refused(event) => {
                    self.refused += 1;
                    (self.tell)(ChatEvent::Event(&event))
                }
                Received::Back => {
                    self.was_back = true;
                    Ok(())
                }
                Received::Behind => return Ok(Some(End::Behind)),
            };
            output.map_err(not_printed)?;
        }
        read.map(|()| None)
    }
}

fn not_printed(cause: io::Error) -> Error {
    Error::output("print room events", cause)
}

/// Sends pending output, and waits briefly for the server to close: input to a closed socket causes
/// a reset, which may overtake the last output.
async fn farewell(connection: &mut Connection) {
    let Duplex { reader, writer } = &mut connection.stream;
    let final_output = async {
        writer.finish().await?;
        let mut rest = [0; 4096];
        while reader.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // All messages are confirmed, so the outcome does not matter.
    let _ = timeout(GOODBYE, final_output).await;
}

/// How long a server may take to close at the end.
const GOODBYE: Duration = Duration::from_secs(2);
