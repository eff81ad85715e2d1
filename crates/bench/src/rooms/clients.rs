//! The clients of one room: a publisher, members that read, and members that never read.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use anyport_client::Target;
use anyport_console::{Exit, Failure};
use anyport_proto::ws::{Event, Kind};
use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv, sockopt};

use crate::flags::Rooms;
use crate::websocket::{self, WebSocket};

pub(super) struct Clients {
    pub(super) members: Vec<WebSocket>,
    pub(super) publisher: Publisher,
    /// They never read, so they are not polled.
    slow: Vec<WebSocket>,
    poll: OwnedFd,
    /// Never written to where bytes are only counted: a page of it that is not touched costs
    /// nothing.
    scratch: Vec<u8>,
    timeout: Duration,
    /// Bytes that each message has on its way to a member, once that is known.
    pub(super) frame: u64,
    probes: u64,
}

pub(super) struct Publisher {
    socket: WebSocket,
    /// The message that it sends.
    payload: Vec<u8>,
    out: Vec<u8>,
    watches_out: bool,
}

/// A client with input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Publisher,
    Member(usize),
}

impl Clients {
    /// Joins with all clients, and waits until the room is idle.
    pub(super) fn enter(target: &Target, flags: &Rooms) -> Result<Self, Failure> {
        let payload = usize::try_from(flags.payload).context("payload too large for memory")?;
        let open = |who: &str, number: u32, of: u32| {
            websocket::open(target, flags.timeout).map_err(|error| {
                let error = error.context(format!("{who} {number} of {of}"));
                Failure::new(Exit::Unreachable, error)
                    .with_hint("the server may have a limit; that of anyport is --max-conns")
            })
        };
        let mut slow = Vec::new();
        for number in 1..=flags.slow {
            let socket = open("slow member", number, flags.slow)?;
            // A large receive buffer in the kernel would relieve the server's queue.
            let small = sockopt::set_socket_recv_buffer_size(&socket.stream, 4096);
            small.context("cannot make a buffer small")?;
            slow.push(socket);
        }
        let publisher = open("publisher", 1, 1)?;
        let mut clients = Self {
            members: Vec::new(),
            publisher: Publisher {
                socket: publisher,
                payload: (b'a'..=b'z').cycle().take(payload).collect(),
                out: Vec::new(),
                watches_out: false,
            },
            slow,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot poll")?,
            scratch: vec![0; 1024 * 1024],
            timeout: flags.timeout,
            frame: 0,
            probes: 0,
        };
        clients.watch(&clients.publisher.socket, Ready::Publisher)?;
        for number in 1..=flags.members {
            let member = open("member", number, flags.members)?;
            clients.watch(&member, Ready::Member(clients.members.len()))?;
            clients.members.push(member);
        }
        for member in &mut clients.members {
            let mut early = std::mem::take(&mut member.early);
            read(member, &mut early, &mut Received::default())?;
        }
        clients.settle()?;
        Ok(clients)
    }

    fn watch(&self, socket: &WebSocket, ready: Ready) -> Result<()> {
        socket.stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(ready.into());
        Ok(epoll::add(&self.poll, &socket.stream, data, epoll::EventFlags::IN)?)
    }

    /// Reads until no more events arrive: joins are sent to earlier members.
    fn settle(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut received = begin;
        while received.elapsed() < QUIET {
            if begin.elapsed() > self.timeout {
                bail!(
                    "the room still sends messages {:?} after all members have joined (--timeout)",
                    self.timeout
                );
            }
            for ready in self.ready(QUIET)? {
                received = Instant::now();
                self.receive(ready, &mut Received::default())?;
            }
        }
        Ok(())
    }

    /// Sends one message and compares it at every member. Learns its size in transit.
    pub(super) fn probe(&mut self) -> Result<(), Failure> {
        self.probes += 1;
        let payload = self.publisher.payload.clone();
        let number = self.probes.to_string();
        let kept = self.publisher.payload.len().min(number.len());
        self.publisher.payload[..kept].copy_from_slice(&number.as_bytes()[..kept]);
        let asked = self.publisher.payload.clone();
        self.publisher.say(1)?;
        self.flush()?;
        self.publisher.payload = payload;
        let received = || Received { asked: asked.clone(), ..Received::default() };
        let mut all: Vec<Received> =
            std::iter::repeat_with(received).take(self.members.len()).collect();
        let mut last = Instant::now();
        while let Some(lacking) = all.iter().position(|received| received.frame == 0) {
            let ready = self.ready(self.timeout)?;
            if ready.is_empty() && last.elapsed() > self.timeout {
                let error = anyhow!("a message did not reach member {}", lacking + 1);
                return Err(Failure::new(Exit::Mismatch, error).with_hint(
                    "check that it is a room, such as ws://HOST:PORT/rooms/NAME of anyport",
                ));
            }
            for ready in ready {
                last = Instant::now();
                match ready {
                    Ready::Publisher => self.receive(ready, &mut Received::default())?,
                    Ready::Member(index) => self.receive(ready, &mut all[index])?,
                }
            }
        }
        self.settle()?;
        let frame = if self.frame == 0 { all[0].frame } else { self.frame };
        match all.iter().position(|received| received.frame != frame) {
            None => self.frame = frame,
            Some(other) => {
                let error = anyhow!(
                    "member {} receives {} bytes per message, another member {frame}",
                    other + 1,
                    all[other].frame
                );
                return Err(Failure::new(Exit::Mismatch, error)
                    .with_hint("messages are counted by their bytes, so all must be of one size"));
            }
        }
        Ok(())
    }

    /// Sends a pong from every client, so that the server sends no pings while bytes are counted.
    pub(super) fn send_pongs(&mut self) {
        let members = self.members.iter_mut().chain(&mut self.slow);
        for socket in members.chain([&mut self.publisher.socket]) {
            let mut pong = Vec::new();
            socket.sender.pong(b"", &mut pong);
            // A slow member may have been closed, and a missing reader is noticed later.
            let _ = socket.stream.write(&pong);
        }
    }

    /// Returns the clients with input; none if there is no input within `timeout`.
    pub(super) fn ready(&self, timeout: Duration) -> Result<Vec<Ready>> {
        let mut ready = Vec::with_capacity(1024);
        let timeout = Timespec::try_from(timeout).context("timeout too long")?;
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow!(error).context("cannot poll")),
        }
        Ok(ready.iter().map(|event| Ready::from(event.data.u64())).collect())
    }

    /// Returns how many bytes arrived; their content is ignored.
    pub(super) fn count(&mut self, ready: Ready) -> Result<usize> {
        let socket = match ready {
            Ready::Publisher => &self.publisher.socket,
            Ready::Member(index) => &self.members[index],
        };
        // Over TCP these bytes are dropped in the kernel and copied nowhere (tcp(7)).
        match recv(&socket.stream, &mut self.scratch[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => bail!("the server closed the connection of {ready}"),
            Ok((_, count)) => Ok(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(anyhow!(error).context(format!("connection of {ready} lost"))),
        }
    }

    fn receive(&mut self, ready: Ready, received: &mut Received) -> Result<()> {
        let socket = match ready {
            Ready::Publisher => &mut self.publisher.socket,
            Ready::Member(index) => &mut self.members[index],
        };
        match std::io::Read::read(&mut socket.stream, &mut self.scratch) {
            Ok(0) => bail!("the server closed the connection of {ready}"),
            Ok(count) => read(socket, &mut self.scratch[..count], received),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(error) => Err(anyhow!(error).context(format!("connection of {ready} lost"))),
        }
    }

    /// Writes the pending output of the publisher as far as the socket accepts it.
    pub(super) fn flush(&mut self) -> Result<()> {
        let publisher = &mut self.publisher;
        while !publisher.out.is_empty() {
            match publisher.socket.stream.write(&publisher.out) {
                Ok(count) => drop(publisher.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("connection of the publisher lost"),
            }
        }
        let watches_out = !publisher.out.is_empty();
        if watches_out != publisher.watches_out {
            let mut wanted = epoll::EventFlags::IN;
            wanted.set(epoll::EventFlags::OUT, watches_out);
            let data = epoll::EventData::new_u64(Ready::Publisher.into());
            epoll::modify(&self.poll, &publisher.socket.stream, data, wanted)?;
            publisher.watches_out = watches_out;
        }
        Ok(())
    }
}

impl Publisher {
    /// Queues `count` messages for the next flush.
    pub(super) fn say(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.socket.sender.message(Kind::Text, &self.payload, &mut self.out)?;
        }
        Ok(())
    }
}

/// As people count.
impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publisher => f.write_str("the publisher"),
            Self::Member(index) => write!(f, "member {}", index + 1),
        }
    }
}

impl From<Ready> for u64 {
    fn from(ready: Ready) -> Self {
        match ready {
            Ready::Publisher => Self::MAX,
            Ready::Member(index) => index as Self,
        }
    }
}

impl From<u64> for Ready {
    fn from(data: u64) -> Self {
        if data == u64::MAX {
            Self::Publisher
        } else {
            Self::Member(usize::try_from(data).unwrap_or(0))
        }
    }
}

/// The input of one member while a message is compared.
#[derive(Default)]
struct Received {
    /// The expected message; a server may send text before it.
    asked: Vec<u8>,
    message: Vec<u8>,
    /// Bytes since the last message ended.
    wire: u64,
    /// Of the message that was asked for; 0 until it is here.
    frame: u64,
}

fn read(socket: &mut WebSocket, bytes: &mut [u8], received: &mut Received) -> Result<()> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (used, event) = socket.receiver.feed(rest).context("the server")?;
        received.wire += used as u64;
        match event {
            Some(Event::Data { data, end, .. }) => {
                if !received.asked.is_empty() {
                    received.message.extend_from_slice(data);
                }
                if end {
                    let found =
                        !received.asked.is_empty() && received.message.ends_with(&received.asked);
                    received.frame = if found { received.wire } else { received.frame };
                    received.wire = 0;
                    received.message.clear();
                }
            }
            Some(Event::Ping(payload)) => {
                socket.sender.pong(payload, &mut out);
                received.wire = 0;
            }
            Some(Event::Pong(_)) => received.wire = 0,
            Some(Event::Close { code, reason }) => {
                let code = code.map_or(0, |code| code.value());
                bail!("the server closed with {code} {reason:?}");
            }
            None => {}
        }
        rest = &mut std::mem::take(&mut rest)[used..];
    }
    if !out.is_empty() {
        socket.stream.write_all(&out).context("cannot send a pong")?;
    }
    Ok(())
}

/// A room without events for this long is idle.
const QUIET: Duration = Duration::from_millis(200);
