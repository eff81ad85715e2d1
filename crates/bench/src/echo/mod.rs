//! `anyport bench echo`: messages per second of an echo service, and latency.
//!
//! One thread and epoll serve all connections: the messages that one read permits are sent with one
//! write. Every reply is compared with its message; a difference ends the benchmark without a
//! figure. `--yardstick` measures a bare loop as well.

mod framing;
mod report;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use anyport_console::{Exit, Failure, lines_to_stdout};
use anyport_proto::counted::counted;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use serde_json::Value;

use self::framing::{Framing, Piece};
use self::report::Run;
use super::child::{Deadline, Process, Start};
use super::cpu;
use super::flags::Echo;
use super::websocket;

pub(super) fn run(flags: &Echo) -> Result<Exit, Failure> {
    let target = websocket::target(&flags.url)?;
    websocket::raise_file_limit(flags.connections)?;
    let baseline = flags.baseline.then(|| Baseline::start(flags.timeout)).transpose()?;
    let mut runs: Vec<Run> = flags.in_flight.iter().copied().map(Run::new).collect();
    // Round by round, so that what disturbs the machine for a while disturbs all of them.
    for _ in 0..flags.rounds.unwrap_or(if flags.baseline { 3 } else { 1 }) {
        for run in &mut runs {
            let open = || {
                let socket = websocket::open(&target, flags.timeout)?;
                if !socket.early.is_empty() {
                    bail!("the server sent data first: not an echo service");
                }
                let receiver = Box::new(socket.receiver);
                Ok((socket.stream, Framing::WebSocket { receiver, sender: socket.sender }))
            };
            let found = measured(flags, run.in_flight, open);
            run.server.push(found.map_err(|failure| match target.path.as_str() {
                "/" => failure.with_hint("the echo service of anyport serve has the path /echo"),
                _ => failure,
            })?);
            if let Some(baseline) = &baseline {
                let open = || baseline.open(flags);
                run.baseline.push(measured(flags, run.in_flight, open)?);
            }
        }
    }
    for run in &runs {
        let report = if flags.json { run.json(flags)? } else { run.report(flags)? };
        lines_to_stdout(&report).context("cannot write to stdout")?;
    }
    Ok(Exit::Done)
}

/// Connects as often as asked, and measures once.
fn measured(
    flags: &Echo,
    in_flight: u32,
    open: impl Fn() -> Result<(TcpStream, Framing)>,
) -> Result<Found, Failure> {
    let mut bench = Bench::new(flags, in_flight)?;
    for number in 1..=flags.connections {
        let open = open().with_context(|| format!("connection {number} of {}", flags.connections));
        let (stream, framing) = open.map_err(|error| Failure::new(Exit::Unreachable, error))?;
        bench.add(stream, framing)?;
    }
    bench.measure()
}

/// The bare loop, as a process of its own.
struct Baseline {
    /// Ends with us.
    _process: Process,
    address: SocketAddr,
}

impl Baseline {
    fn start(timeout: Duration) -> Result<Self> {
        let start = Start::ourselves()?.args(["bench-peer", "echo"]).stdout(Stdio::piped());
        let mut process = start.start()?;
        let line = process.line(Deadline::within(timeout))?;
        let event: Value = serde_json::from_str(&line).context("the baseline")?;
        let address = event["addr"].as_str().context("the baseline printed no address")?;
        Ok(Self { address: address.parse()?, _process: process })
    }

    fn open(&self, flags: &Echo) -> Result<(TcpStream, Framing)> {
        let stream = TcpStream::connect_timeout(&self.address, flags.timeout)?;
        stream.set_nodelay(true)?;
        let size = usize::try_from(flags.payload).context("payload too large for memory")?;
        Ok((stream, Framing::Plain { size, received: 0 }))
    }
}

struct Bench<'a> {
    flags: &'a Echo,
    in_flight: u32,
    poll: OwnedFd,
    connections: Vec<Connection>,
    /// The message, without its number at the front.
    pattern: Vec<u8>,
    scratch: Vec<u8>,
    latencies: Histogram<u64>,
    /// Answers are counted from here on.
    from: Instant,
    until: Instant,
    answered: u64,
}

struct Connection {
    stream: TcpStream,
    framing: Framing,
    /// When each message in flight was sent.
    sent: VecDeque<Instant>,
    next: u64,
    awaited: u64,
    /// Received bytes of the current reply.
    received: usize,
    out: Vec<u8>,
    watches_out: bool,
}

/// The result of one round.
struct Found {
    answered: u64,
    seconds: f64,
    latencies: Histogram<u64>,
    /// Of one core, by this process.
    busy: f64,
}

impl<'a> Bench<'a> {
    fn new(flags: &'a Echo, in_flight: u32) -> Result<Self> {
        let payload = usize::try_from(flags.payload).context("payload too large for memory")?;
        let now = Instant::now();
        Ok(Self {
            flags,
            in_flight,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot poll")?,
            connections: Vec::new(),
            pattern: (0..payload).map(|i| (i % 251).to_le_bytes()[0]).collect(),
            scratch: vec![0; 256 * 1024],
            latencies: Histogram::new_with_bounds(1, LONGEST, 3).context("a histogram")?,
            from: now,
            until: now,
            answered: 0,
        })
    }

    fn add(&mut self, stream: TcpStream, framing: Framing) -> Result<()> {
        stream.set_nonblocking(true)?;
        let index = epoll::EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.poll, &stream, index, epoll::EventFlags::IN)?;
        self.connections.push(Connection {
            stream,
            framing,
            sent: VecDeque::new(),
            next: 0,
            awaited: 0,
            received: 0,
            out: Vec::new(),
            watches_out: false,
        });
        Ok(())
    }

    fn measure(mut self) -> Result<Found, Failure> {
        let begin = Instant::now();
        self.from = begin + self.flags.duration / 10;
        self.until = self.from + self.flags.duration;
        let cpu = cpu::of_this_thread();
        for index in 0..self.connections.len() {
            for _ in 0..self.in_flight {
                self.send_message(index, Instant::now())?;
            }
            self.flush(index)?;
        }
        // After the end no message is sent, and those in flight must still arrive.
        let mut received = Instant::now();
        while self.connections.iter().any(|connection| !connection.sent.is_empty()) {
            if self.turn()? {
                received = Instant::now();
            } else if received.elapsed() > self.flags.timeout {
                let missing: usize = self.connections.iter().map(|c| c.sent.len()).sum();
                return Err(anyhow!("{} not echoed", counted(missing as u64, "message")).into());
            }
        }
        let busy =
            cpu::of_this_thread().saturating_sub(cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        for connection in &mut self.connections {
            let mut close = Vec::new();
            connection.framing.close(&mut close);
            // All replies have arrived; the closing handshake does not matter.
            let _ = connection.stream.write(&close);
        }
        let seconds = self.flags.duration.as_secs_f64();
        Ok(Found { answered: self.answered, seconds, latencies: self.latencies, busy })
    }

    /// Handles ready connections; returns `false` if none was ready for a while.
    fn turn(&mut self) -> Result<bool, Failure> {
        let mut ready = Vec::with_capacity(256);
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow!(error).context("cannot poll").into()),
        }
        for event in &ready {
            let index = usize::try_from(event.data.u64()).unwrap_or(0);
            self.receive(index)?;
            self.flush(index)?;
        }
        Ok(!ready.is_empty())
    }

    /// Sends messages. `now` is the start of the turn, so that the client's own delay counts too.
    fn send_message(&mut self, index: usize, now: Instant) -> Result<()> {
        let connection = &mut self.connections[index];
        number(&mut self.pattern, connection.next);
        connection.framing.encode(&self.pattern, &mut connection.out)?;
        connection.next += 1;
        connection.sent.push_back(now);
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let count = match connection.stream.read(&mut self.scratch) {
            Ok(0) => return Err(anyhow!("the server closed connection {}", index + 1).into()),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(anyhow!(error).context("connection lost").into()),
        };
        let now = Instant::now();
        let mut finished = 0;
        let mut rest = &mut self.scratch[..count];
        while !rest.is_empty() {
            let (used, piece) = connection.framing.receive(rest, &mut connection.out)?;
            if let Some(Piece { data, end }) = piece {
                number(&mut self.pattern, connection.awaited);
                let expected =
                    self.pattern.get(connection.received..connection.received + data.len());
                connection.received += data.len();
                if expected != Some(data) || (end && connection.received != self.pattern.len()) {
                    let error = anyhow!(
                        "message {} of connection {} was changed by the echo",
                        connection.awaited,
                        index + 1
                    );
                    return Err(Failure::new(Exit::Mismatch, error).with_hint(
                        "check that it is an echo service, such as ws://HOST:PORT/echo of anyport",
                    ));
                }
                if end {
                    (connection.received, finished) = (0, finished + 1);
                    connection.awaited += 1;
                    let sent = connection.sent.pop_front().context("one reply too many")?;
                    if now >= self.from && now < self.until {
                        self.answered += 1;
                        let took = now.duration_since(sent).as_nanos();
                        self.latencies.saturating_record(u64::try_from(took).unwrap_or(LONGEST));
                    }
                }
            }
            rest = &mut std::mem::take(&mut rest)[used..];
        }
        if now < self.until {
            for _ in 0..finished {
                self.send_message(index, now)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        while !connection.out.is_empty() {
            match connection.stream.write(&connection.out) {
                Ok(count) if count == connection.out.len() => connection.out.clear(),
                Ok(count) => drop(connection.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("connection lost"),
            }
        }
        let watches_out = !connection.out.is_empty();
        if watches_out != connection.watches_out {
            let mut wanted = epoll::EventFlags::IN;
            wanted.set(epoll::EventFlags::OUT, watches_out);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poll, &connection.stream, data, wanted)?;
            connection.watches_out = watches_out;
        }
        Ok(())
    }
}

/// Numbers a message, so that all messages of a connection differ if there is room for the number.
fn number(pattern: &mut [u8], number: u64) {
    for (place, byte) in pattern.iter_mut().zip(number.to_be_bytes().iter().rev()) {
        *place = *byte;
    }
}

/// A minute in nanoseconds; longer latencies count as this.
const LONGEST: u64 = 60_000_000_000;
