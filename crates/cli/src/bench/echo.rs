//! `anyport bench echo`: how many messages per second a server gives back, and how soon.
//!
//! One thread and epoll serve all connections: what one read allowed is sent with one write. Every answer is compared with
//! what was sent; one that differs ends the bench without a figure.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use anyport_proto::ws::{Event, Kind};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use serde_json::json;

use super::facts::VERSION;
use super::flags::Echo;
use super::websocket::{self, WebSocket};
use crate::Failure;
use crate::exit::Exit;
use crate::output::to_stdout;

pub(super) fn run(flags: &Echo) -> Result<Exit, Failure> {
    let target = websocket::target(&flags.url)?;
    websocket::make_room(flags.connections)?;
    let mut bench = Bench::new(flags)?;
    for number in 1..=flags.connections {
        let open = websocket::open(&target, flags.timeout);
        let open = open.with_context(|| format!("connection {number} of {}", flags.connections));
        bench.add(open.map_err(|error| Failure::new(Exit::Unreachable, error))?)?;
    }
    let result = bench.measure()?;
    to_stdout(&result.told(flags)).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

struct Bench<'a> {
    flags: &'a Echo,
    poll: OwnedFd,
    connections: Vec<Connection>,
    /// What is sent, but for the number of the message at its front.
    pattern: Vec<u8>,
    scratch: Vec<u8>,
    latencies: Histogram<u64>,
    /// Answers are counted from here on.
    from: Instant,
    until: Instant,
    answered: u64,
}

struct Connection {
    socket: WebSocket,
    /// When each message that is under way was sent.
    sent: VecDeque<Instant>,
    next: u64,
    awaited: u64,
    /// Bytes of the awaited answer that have come.
    came: usize,
    out: Vec<u8>,
    watches_out: bool,
}

/// What a bench showed.
struct Found {
    answered: u64,
    seconds: f64,
    latencies: Histogram<u64>,
    /// Of one core, by this process.
    busy: f64,
}

impl<'a> Bench<'a> {
    fn new(flags: &'a Echo) -> Result<Self> {
        let payload = usize::try_from(flags.payload).context("a payload that fits no memory")?;
        let now = Instant::now();
        Ok(Self {
            flags,
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

    fn add(&mut self, socket: WebSocket) -> Result<()> {
        if !socket.early.is_empty() {
            bail!("the server spoke first: it is no echo");
        }
        socket.stream.set_nonblocking(true)?;
        let index = epoll::EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.poll, &socket.stream, index, epoll::EventFlags::IN)?;
        self.connections.push(Connection {
            socket,
            sent: VecDeque::new(),
            next: 0,
            awaited: 0,
            came: 0,
            out: Vec::new(),
            watches_out: false,
        });
        Ok(())
    }

    fn measure(mut self) -> Result<Found, Failure> {
        let begin = Instant::now();
        self.from = begin + self.flags.duration / 10;
        self.until = self.from + self.flags.duration;
        let cpu = cpu_time();
        for index in 0..self.connections.len() {
            for _ in 0..self.flags.in_flight {
                self.say(index)?;
            }
            self.flush(index)?;
        }
        // After the end nothing new is sent, and what is under way must still come.
        let mut heard = Instant::now();
        while self.connections.iter().any(|connection| !connection.sent.is_empty()) {
            if self.turn()? {
                heard = Instant::now();
            } else if heard.elapsed() > self.flags.timeout {
                let missing: usize = self.connections.iter().map(|c| c.sent.len()).sum();
                return Err(anyhow!("{missing} messages were not given back").into());
            }
        }
        let busy = cpu_time().saturating_sub(cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        for connection in &mut self.connections {
            let mut close = Vec::new();
            connection.socket.sender.close(None, "", &mut close);
            // All answers are here; how the server says goodbye changes nothing.
            let _ = connection.socket.stream.write(&close);
        }
        let seconds = self.flags.duration.as_secs_f64();
        Ok(Found { answered: self.answered, seconds, latencies: self.latencies, busy })
    }

    /// Serves what is ready; false when nothing was for a while.
    fn turn(&mut self) -> Result<bool, Failure> {
        let mut ready = Vec::with_capacity(256);
        let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut ready), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow!(error).context("cannot poll").into()),
        }
        for event in &ready {
            let index = usize::try_from(event.data.u64()).unwrap_or(0);
            self.hear(index)?;
            self.flush(index)?;
        }
        Ok(!ready.is_empty())
    }

    fn say(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        number(&mut self.pattern, connection.next);
        connection.socket.sender.message(Kind::Binary, &self.pattern, &mut connection.out)?;
        connection.next += 1;
        connection.sent.push_back(Instant::now());
        Ok(())
    }

    fn hear(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let count = match connection.socket.stream.read(&mut self.scratch) {
            Ok(0) => return Err(anyhow!("the server closed connection {}", index + 1).into()),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(anyhow!(error).context("a connection broke").into()),
        };
        let now = Instant::now();
        let mut finished = 0;
        let mut rest = &mut self.scratch[..count];
        while !rest.is_empty() {
            let (used, event) = connection.socket.receiver.feed(rest).context("the server")?;
            match event {
                Some(Event::Data { data, end, .. }) => {
                    number(&mut self.pattern, connection.awaited);
                    let expected = self.pattern.get(connection.came..connection.came + data.len());
                    connection.came += data.len();
                    if expected != Some(data) || (end && connection.came != self.pattern.len()) {
                        let error = anyhow!(
                            "message {} of connection {} came back changed",
                            connection.awaited,
                            index + 1
                        );
                        return Err(Failure::new(Exit::Mismatch, error)
                            .with_hint("is it an echo service? anyport's is ws://HOST:PORT/echo"));
                    }
                    if end {
                        (connection.came, finished) = (0, finished + 1);
                        connection.awaited += 1;
                        let sent = connection.sent.pop_front().context("an answer too many")?;
                        if now >= self.from && now < self.until {
                            self.answered += 1;
                            let took = now.duration_since(sent).as_nanos();
                            self.latencies
                                .saturating_record(u64::try_from(took).unwrap_or(LONGEST));
                        }
                    }
                }
                Some(Event::Ping(payload)) => {
                    connection.socket.sender.pong(payload, &mut connection.out);
                }
                Some(Event::Close { .. }) => {
                    return Err(anyhow!("the server closed connection {}", index + 1).into());
                }
                Some(Event::Pong(_)) | None => {}
            }
            rest = &mut std::mem::take(&mut rest)[used..];
        }
        if now < self.until {
            for _ in 0..finished {
                self.say(index)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        while !connection.out.is_empty() {
            match connection.socket.stream.write(&connection.out) {
                Ok(count) if count == connection.out.len() => connection.out.clear(),
                Ok(count) => drop(connection.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a connection broke"),
            }
        }
        let watches_out = !connection.out.is_empty();
        if watches_out != connection.watches_out {
            let mut wanted = epoll::EventFlags::IN;
            wanted.set(epoll::EventFlags::OUT, watches_out);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poll, &connection.socket.stream, data, wanted)?;
            connection.watches_out = watches_out;
        }
        Ok(())
    }
}

/// No two messages of a connection are alike, as far as there is room to say so.
fn number(pattern: &mut [u8], number: u64) {
    for (place, byte) in pattern.iter_mut().zip(number.to_be_bytes().iter().rev()) {
        *place = *byte;
    }
}

/// What this thread has computed so far; it does all the work.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

impl Found {
    fn told(&self, flags: &Echo) -> String {
        let per_second = self.answered as f64 / self.seconds;
        let micros = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let (p50, p99, p999) = (micros(0.5), micros(0.99), micros(0.999));
        let most = self.latencies.max() as f64 / 1000.0;
        let Echo { url, connections, in_flight, payload, .. } = flags;
        if flags.json {
            return json!({
                "event": "echo", "url": url, "version": VERSION, "connections": connections,
                "in_flight": in_flight, "payload": payload, "seconds": self.seconds,
                "messages": self.answered, "per_second": per_second.round(),
                "microseconds": { "p50": p50, "p99": p99, "p99.9": p999, "max": most },
                "client_busy": self.busy,
            })
            .to_string();
        }
        let mut told = format!(
            "{url}: {connections} connections, {in_flight} in flight on each, {payload} bytes a message\n\
             {per_second:.0} messages per second, each one compared\n\
             p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us, max {most:.1} us"
        );
        if self.busy > 0.9 {
            let busy = self.busy * 100.0;
            told.push_str(&format!(
                "\nthe client itself kept {busy:.0} % of a core busy: the server may be faster than this"
            ));
        }
        told
    }
}

/// A minute in nanoseconds: what takes longer counts as that.
const LONGEST: u64 = 60_000_000_000;
