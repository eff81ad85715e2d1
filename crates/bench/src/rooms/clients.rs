//! A room full of clients: one says, the others hear, and some never read.

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
    /// They never read, so nobody looks whether there is something to read.
    slow: Vec<WebSocket>,
    poll: OwnedFd,
    /// Never written to where bytes are only counted: a page of it that is not touched costs
    /// nothing.
    scratch: Vec<u8>,
    patience: Duration,
    /// Bytes that each message has on its way to a member, once that is known.
    pub(super) frame: u64,
    probes: u64,
}

pub(super) struct Publisher {
    socket: WebSocket,
    /// What it says.
    payload: Vec<u8>,
    out: Vec<u8>,
    watches_out: bool,
}

/// Who has something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Publisher,
    Member(usize),
}

impl Clients {
    /// Lets everybody in, and waits until the room is silent.
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
            // What the kernel would take for it is not what a server must hold.
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
            patience: flags.timeout,
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
            read(member, &mut early, &mut Heard::default())?;
        }
        clients.settle()?;
        Ok(clients)
    }

    fn watch(&self, socket: &WebSocket, ready: Ready) -> Result<()> {
        socket.stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(ready.into());
        Ok(epoll::add(&self.poll, &socket.stream, data, epoll::EventFlags::IN)?)
    }

    /// Reads until nobody hears anything any more: joins are told to those who came before.
    fn settle(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut heard = begin;
        while heard.elapsed() < QUIET {
            if begin.elapsed() > self.patience {
                bail!(
                    "the room still sends messages {:?} after all members have joined (--timeout)",
                    self.patience
                );
            }
            for ready in self.ready(QUIET)? {
                heard = Instant::now();
                self.hear(ready, &mut Heard::default())?;
            }
        }
        Ok(())
    }

    /// One message is followed to every member, and compared there. Learns how long it is on its
    /// way.
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
        let heard = || Heard { asked: asked.clone(), ..Heard::default() };
        let mut all: Vec<Heard> = std::iter::repeat_with(heard).take(self.members.len()).collect();
        let mut last = Instant::now();
        while let Some(lacking) = all.iter().position(|heard| heard.frame == 0) {
            let ready = self.ready(self.patience)?;
            if ready.is_empty() && last.elapsed() > self.patience {
                let error = anyhow!("a message did not reach member {}", lacking + 1);
                return Err(Failure::new(Exit::Mismatch, error).with_hint(
                    "check that it is a room, such as ws://HOST:PORT/rooms/NAME of anyport",
                ));
            }
            for ready in ready {
                last = Instant::now();
                match ready {
                    Ready::Publisher => self.hear(ready, &mut Heard::default())?,
                    Ready::Member(index) => self.hear(ready, &mut all[index])?,
                }
            }
        }
        self.settle()?;
        let frame = if self.frame == 0 { all[0].frame } else { self.frame };
        match all.iter().position(|heard| heard.frame != frame) {
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

    /// Tells the server that all are alive, so that it pings nobody while bytes are counted.
    pub(super) fn show_life(&mut self) {
        let members = self.members.iter_mut().chain(&mut self.slow);
        for socket in members.chain([&mut self.publisher.socket]) {
            let mut pong = Vec::new();
            socket.sender.pong(b"", &mut pong);
            // A slow member may have been closed, and one that hears is missed soon enough.
            let _ = socket.stream.write(&pong);
        }
    }

    /// Who has something to read; nobody, if that takes longer than `patience`.
    pub(super) fn ready(&self, patience: Duration) -> Result<Vec<Ready>> {
        let mut ready = Vec::with_capacity(1024);
        let patience = Timespec::try_from(patience).context("timeout too long")?;
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut ready), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow!(error).context("cannot poll")),
        }
        Ok(ready.iter().map(|event| Ready::from(event.data.u64())).collect())
    }

    /// How many bytes came; they are not looked at.
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

    fn hear(&mut self, ready: Ready, heard: &mut Heard) -> Result<()> {
        let socket = match ready {
            Ready::Publisher => &mut self.publisher.socket,
            Ready::Member(index) => &mut self.members[index],
        };
        match std::io::Read::read(&mut socket.stream, &mut self.scratch) {
            Ok(0) => bail!("the server closed the connection of {ready}"),
            Ok(count) => read(socket, &mut self.scratch[..count], heard),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(())
            }
            Err(error) => Err(anyhow!(error).context(format!("connection of {ready} lost"))),
        }
    }

    /// Writes what the publisher has to say as far as the server takes it.
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
    /// Writes so many messages down, to go out with the next flush.
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

/// What one member hears while a message is followed.
#[derive(Default)]
struct Heard {
    /// What it shall hear; a server may put words before it.
    asked: Vec<u8>,
    message: Vec<u8>,
    /// Bytes since the last message ended.
    wire: u64,
    /// Of the message that was asked for; 0 until it is here.
    frame: u64,
}

fn read(socket: &mut WebSocket, bytes: &mut [u8], heard: &mut Heard) -> Result<()> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (used, event) = socket.receiver.feed(rest).context("the server")?;
        heard.wire += used as u64;
        match event {
            Some(Event::Data { data, end, .. }) => {
                if !heard.asked.is_empty() {
                    heard.message.extend_from_slice(data);
                }
                if end {
                    let found = !heard.asked.is_empty() && heard.message.ends_with(&heard.asked);
                    heard.frame = if found { heard.wire } else { heard.frame };
                    heard.wire = 0;
                    heard.message.clear();
                }
            }
            Some(Event::Ping(payload)) => {
                socket.sender.pong(payload, &mut out);
                heard.wire = 0;
            }
            Some(Event::Pong(_)) => heard.wire = 0,
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

/// A room in which nothing was heard for so long is silent.
const QUIET: Duration = Duration::from_millis(200);
