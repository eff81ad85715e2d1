//! One run of one row: starts the receiver and the senders, checks the received data, ends all
//! processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use anyport_client::Target;
use anyport_console::choices::{FSYNC, SINKS};
use anyport_console::values::word;
use anyport_console::{Fsync, SinkKind};
use anyport_proto::transfer::digest::{Algorithm, Digest};
use serde::Deserialize;

use super::child::{Deadline, Process, Start};
use super::flags::Bench;
use super::peers::{Job, Reporting, read_iperf3};
use super::rows::{Client, Extra, Framing, Receiver, Row, Sender};
use super::work::{self, Workplace};

/// The result of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// User and system time of all senders, and of the receiver if the benchmark ends it.
    pub(super) sender_cpu: f64,
    pub(super) receiver_cpu: Option<f64>,
    /// Resident memory of the receiver before the first connection, and its peak.
    pub(super) idle: Option<u64>,
    pub(super) peak: Option<u64>,
    /// Number of concurrent senders.
    pub(super) senders: u32,
    /// With several senders: how many times as long as the mean the slowest took.
    pub(super) slowest_over_mean: Option<f64>,
}

/// Why a row has no figure.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub(super) reason: String,
    /// Whether the received data differs from the sent data, which is worse than a process that
    /// failed.
    pub(super) mismatch: bool,
}

impl From<anyhow::Error> for Broken {
    fn from(error: anyhow::Error) -> Self {
        Self { reason: format!("{error:#}"), mismatch: false }
    }
}

/// Runs rows with the settings of this benchmark, one process for each end.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    pub(super) flags: &'a Bench,
    pub(super) work: &'a Workplace,
    /// Name of the congestion control of senders.
    pub(super) congestion: &'a str,
}

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Time,
    /// Store the data, for its digest.
    Verify,
}

/// A receiver that accepts connections.
struct Ready {
    process: Process,
    address: SocketAddr,
    /// Fingerprint of its certificate.
    fingerprint: Option<String>,
    /// File for a tool that does not choose a name itself.
    store: Option<PathBuf>,
}

/// The report of one connection.
#[derive(Debug, Deserialize)]
struct Receipt {
    bytes: u64,
    seconds: f64,
    durable_seconds: Option<f64>,
    digest: Option<Digest>,
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Listening { addr: SocketAddr, fingerprint: Option<String> },
    Receipt(Receipt),
    Sent { bytes: u64, seconds: f64 },
    Interrupted { reason: String },
    Refused { reason: String },
}

impl Runner<'_> {
    /// Performs a timed run, and checks the number of received bytes.
    pub(super) fn time(&self, row: &Row) -> Result<Sample, Broken> {
        let done = self.run(row, Purpose::Time).map(|(sample, _)| sample);
        self.work.clear();
        done
    }

    /// Performs an untimed run whose data is stored and compared; returns its digest, if the row's
    /// receiver can store.
    pub(super) fn verify(&self, row: &Row, expected: &str) -> Result<Option<String>, Broken> {
        let done = self.run(row, Purpose::Verify).and_then(|(_, receipt)| {
            let reported = receipt.digest.map(|digest| digest.to_string());
            let stored = receipt.path.map(|path| self.work.stored.join(path));
            let stored = stored.filter(|_| !matches!(row.receiver, Receiver::Running { .. }));
            let found = stored.map(|path| work::digest_of(&path)).transpose()?;
            for (source, digest) in [("the receipt", &reported), ("the stored file", &found)] {
                if let Some(digest) = digest
                    && digest != expected
                {
                    let reason = format!("the file has {expected}, but {source} has {digest}");
                    return Err(Broken { reason, mismatch: true });
                }
            }
            Ok(found.or(reported))
        });
        self.work.clear();
        done
    }

    fn run(&self, row: &Row, purpose: Purpose) -> Result<(Sample, Receipt), Broken> {
        let deadline = Deadline::within(self.flags.timeout);
        let count = if purpose == Purpose::Verify { 1 } else { self.flags.parallel };
        let mut receiver = self.start_receiver(row, purpose, deadline)?;
        let memory = |receiver: &Option<Ready>| receiver.as_ref().and_then(|r| r.process.memory());
        let idle = memory(&receiver).map(|memory| memory.now);
        let begin = Instant::now();
        let mut senders = Vec::new();
        for _ in 0..count {
            senders.push(self.start_sender(row, receiver.as_ref(), purpose)?);
        }
        let (mut sender_cpu, mut reported, mut peak) = (0.0, Vec::new(), None);
        for sender in &mut senders {
            // Sampled while it runs, since the memory of an exited process cannot be read.
            while row.receiver_ends_itself()
                && !deadline.left().is_zero()
                && !sender.ends_within(MEMORY_INTERVAL)?
            {
                peak = memory(&receiver).map(|memory| memory.peak).max(peak);
            }
            sender_cpu += sender.succeed(deadline)?.cpu;
            reported.push(sender.rest());
        }
        let receipts = self.receipts(row, receiver.as_mut(), &reported, deadline)?;
        let wall = begin.elapsed().as_secs_f64();
        peak = memory(&receiver).map(|memory| memory.peak).max(peak);
        let store = receiver.as_ref().and_then(|receiver| receiver.store.clone());
        let ended = receiver
            .map(|mut receiver| {
                if row.receiver_ends_itself() {
                    receiver.process.succeed(deadline)
                } else {
                    receiver.process.end()
                }
            })
            .transpose()?;

        let stored_durably =
            self.flags.fsync == Fsync::File && self.sink(row, purpose) == SinkKind::File;
        let each: Vec<f64> = receipts
            .iter()
            .map(|receipt| {
                receipt.durable_seconds.filter(|_| stored_durably).unwrap_or(receipt.seconds)
            })
            .collect();
        let sum: f64 = each.iter().sum();
        let slowest = each.iter().copied().fold(0.0, f64::max);
        let slowest_over_mean = (receipts.len() > 1).then(|| slowest * each.len() as f64 / sum);
        // Concurrent transfers are measured together.
        let seconds = if slowest_over_mean.is_some() { wall } else { slowest };
        if purpose == Purpose::Time && seconds <= 0.0 {
            return Err(anyhow!("all bytes arrived in one read: too few to measure").into());
        }
        let receiver_cpu = ended.map(|ended| ended.cpu);
        let sample = Sample {
            seconds,
            sender_cpu,
            receiver_cpu,
            idle,
            peak,
            senders: count,
            slowest_over_mean,
        };
        let mut receipt = receipts.into_iter().next().context("no receipt")?;
        if let (Purpose::Verify, Some(store)) = (purpose, store) {
            receipt.path = store.file_name().map(|name| name.to_string_lossy().into_owned());
        }
        Ok((sample, receipt))
    }

    /// Returns the reports of all connections.
    fn receipts(
        &self,
        row: &Row,
        mut receiver: Option<&mut Ready>,
        reported: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Receipt>, Broken> {
        let size = self.work.size;
        let mut receipts = Vec::new();
        for reported in reported {
            let receipt = match (&row.receiver, &mut receiver) {
                (Receiver::Tool(tool), _) if tool.reporting() == Reporting::BySender => {
                    Receipt::without_details(size, read_iperf3(reported, size)?)
                }
                (Receiver::Tool(tool), _) if tool.reporting() == Reporting::Nothing => {
                    match parse(reported.trim())? {
                        Event::Sent { bytes, seconds } => Receipt::without_details(bytes, seconds),
                        other => return Err(other.unexpected().into()),
                    }
                }
                (_, Some(receiver)) => match parse(&receiver.process.line(deadline)?)? {
                    Event::Receipt(receipt) => receipt,
                    other => return Err(other.unexpected().into()),
                },
                (_, None) if reported.trim().is_empty() => {
                    return Err(anyhow!("no receipt: check that the server is anyport").into());
                }
                (_, None) => match parse(reported.trim())? {
                    Event::Receipt(receipt) => receipt,
                    other => return Err(other.unexpected().into()),
                },
            };
            if receipt.bytes != size {
                return Err(Broken::incomplete(receipt.bytes, size));
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    /// Returns the storage backend of this row.
    fn sink(&self, row: &Row, purpose: Purpose) -> SinkKind {
        match (purpose, row.extra) {
            (Purpose::Verify, _) | (_, Extra::Stored) => SinkKind::File,
            _ => self.flags.sink,
        }
    }

    fn digest(&self, row: &Row, purpose: Purpose) -> Algorithm {
        match (purpose, row.extra) {
            (Purpose::Verify, _) | (_, Extra::Hashed) => Algorithm::Blake3,
            _ => self.flags.digest,
        }
    }

    fn frame_size(&self, row: &Row) -> usize {
        row.frame_size.unwrap_or(self.flags.frame_size)
    }

    fn job(&self, row: &Row) -> Job<'_> {
        Job {
            file: &self.work.file,
            size: self.work.size,
            buffer: self.flags.buffer,
            frame_size: self.frame_size(row),
            congestion: self.congestion,
        }
    }

    fn start_receiver(
        &self,
        row: &Row,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Option<Ready>> {
        let sink = self.sink(row, purpose);
        let fsync = if sink == SinkKind::File { self.flags.fsync } else { Fsync::None };
        let (stored, buffer) = (&self.work.stored, self.flags.buffer.to_string());
        let start = match &row.receiver {
            Receiver::Running { .. } => return Ok(None),
            Receiver::Anyport(engine) => {
                let encrypted = row.extra == Extra::Encrypted;
                let memory = self.work.size.saturating_mul(u64::from(self.flags.parallel) + 1);
                Start::ourselves()?
                    .args(["serve", "--json", "--bind", "127.0.0.1:0", "--control", "none"])
                    .args(["--engine", engine.as_str(), "--sink", word(SINKS, sink)])
                    .args(["--fsync", word(FSYNC, fsync), "--bulk-buffer", &buffer])
                    .args(["--digest", &self.digest(row, purpose).to_string()])
                    .args(["--max-memory", &memory.max(LEAST_MEMORY).to_string()])
                    .args(["--tls", if encrypted { "optional" } else { "off" }])
                    .arg("--tls-dir")
                    .arg(stored.with_file_name("tls"))
                    .arg(stored)
            }
            Receiver::Bare { frames } => Start::ourselves()?
                .args(["bench-peer", "receive", "--buffer", &buffer])
                .args(["--sink", word(SINKS, sink), "--fsync", word(FSYNC, fsync), "--directory"])
                .arg(stored)
                .args(frames.then_some("--frames")),
            Receiver::Tool(tool) => {
                let keeps = sink == SinkKind::File && tool.reporting() != Reporting::BySender;
                let store = keeps.then(|| stored.join(TOOL_FILE));
                if tool.reporting() != Reporting::Events {
                    let port = free_port()?;
                    let start = tool.receiver(self.job(row), port, store.as_deref())?;
                    let process = start.start()?;
                    wait_for_port(&process, port, deadline)?;
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    let fingerprint = None;
                    return Ok(Some(Ready { process, address, fingerprint, store }));
                }
                let start =
                    tool.receiver(self.job(row), 0, store.as_deref())?.stdout(Stdio::piped());
                return Self::start_and_read_address(start, store, deadline).map(Some);
            }
        };
        Self::start_and_read_address(start.stdout(Stdio::piped()), None, deadline).map(Some)
    }

    /// Starts a receiver that prints its address.
    fn start_and_read_address(
        start: Start,
        store: Option<PathBuf>,
        deadline: Deadline,
    ) -> Result<Ready> {
        let mut process = start.start()?;
        match parse(&process.line(deadline)?)? {
            Event::Listening { addr, fingerprint } => {
                Ok(Ready { process, address: addr, fingerprint, store })
            }
            other => Err(other.unexpected()),
        }
    }

    fn start_sender(
        &self,
        row: &Row,
        receiver: Option<&Ready>,
        purpose: Purpose,
    ) -> Result<Process> {
        let (flags, work) = (self.flags, self.work);
        let frame_size = self.frame_size(row).to_string();
        let address =
            || receiver.map(|ready| ready.address).context("a receiver without an address");
        match &row.sender {
            Sender::Anyport(client) => {
                let (plain, encrypted, extra): (_, _, &[&str]) = match client {
                    Client::Raw => ("tcp", "tls", &["--plain"]),
                    Client::Preface => ("tcp", "tls", &[]),
                    Client::Ws => ("ws", "wss", &[]),
                    Client::Frames => ("frames", "frames+tls", &[]),
                    Client::Library => ("ws", "wss", &["--engine", "library"]),
                };
                let scheme = if row.extra == Extra::Encrypted { encrypted } else { plain };
                let pin = receiver.and_then(|ready| ready.fingerprint.as_deref());
                let (url, reported) = match &row.receiver {
                    Receiver::Running { url } => (with_new_name(url)?, "--json"),
                    _ => (format!("{scheme}://{}/", address()?), "--quiet"),
                };
                Start::ourselves()?
                    .args(["send", reported, "--congestion", &flags.congestion.to_string()])
                    .args(["--digest", &self.digest(row, purpose).to_string()])
                    .args(["--frame-size", &frame_size])
                    .args(extra)
                    .args(pin.map(|pin| format!("--pin={pin}")))
                    .arg(&work.file)
                    .arg(url)
                    .stdout(Stdio::piped())
                    .start()
            }
            Sender::Bare(bare) => {
                let mut start = Start::ourselves()?
                    .args(["bench-peer", "send", "--to", &address()?.to_string()])
                    .args(["--size", &work.size.to_string(), "--buffer", &flags.buffer.to_string()])
                    .args(["--congestion", &flags.congestion.to_string()]);
                if bare.framing != Framing::None {
                    start = start.args(["--frame-size", &frame_size]);
                }
                if bare.framing == Framing::WebSocket {
                    start = start.arg("--handshake");
                }
                if bare.reads_file || purpose == Purpose::Verify {
                    start = start.arg("--file").arg(&work.file);
                }
                start.stdout(Stdio::piped()).start()
            }
            Sender::Tool(tool) => {
                let start = tool.sender(self.job(row), address()?)?;
                // iperf3 prints a report; the others print a receipt like the receiver's.
                start.stdout(Stdio::piped()).start()
            }
        }
    }
}

/// Returns the URL with a new file name: a server would refuse a second file of the same name, or
/// report that it already has the file.
fn with_new_name(url: &str) -> Result<String> {
    let mut target: Target = url.parse()?;
    let (path, query) = target.path.split_at(target.path.find('?').unwrap_or(target.path.len()));
    let separator = if path.ends_with('/') { "" } else { "-" };
    let random = getrandom::u64()?;
    target.path = format!("{path}{separator}bench-{random:016x}.bin{query}");
    Ok(target.to_string())
}

impl Row {
    /// Returns whether the receiver exits with its only connection.
    fn receiver_ends_itself(&self) -> bool {
        matches!(&self.receiver, Receiver::Tool(tool) if tool.reporting() != Reporting::Events)
    }

    /// Returns whether the receiver is a tool, which accepts one connection and ignores `--sink`.
    pub(super) const fn is_received_by_a_tool(&self) -> bool {
        matches!(self.receiver, Receiver::Tool(_))
    }

    /// Returns whether the time is estimated from the report of the sender.
    pub(super) fn is_estimated(&self) -> bool {
        matches!(&self.receiver, Receiver::Tool(tool) if tool.reporting() == Reporting::BySender)
    }

    /// Returns which process measures the time.
    pub(super) fn clock(&self) -> &'static str {
        match &self.receiver {
            Receiver::Tool(tool) if tool.reporting() == Reporting::Nothing => "sender",
            _ => "receiver",
        }
    }
}

impl Broken {
    fn incomplete(received: u64, size: u64) -> Self {
        Self { reason: format!("received {received} of {size} bytes"), mismatch: true }
    }
}

impl Receipt {
    const fn without_details(bytes: u64, seconds: f64) -> Self {
        Self { bytes, seconds, durable_seconds: None, digest: None, path: None }
    }
}

impl Event {
    fn unexpected(self) -> anyhow::Error {
        match self {
            Self::Interrupted { reason } => anyhow!("the transfer was interrupted: {reason}"),
            Self::Refused { reason } => anyhow!("the sender was refused: {reason}"),
            Self::Listening { addr, .. } => anyhow!("the receiver restarted on {addr}"),
            Self::Receipt(_) | Self::Sent { .. } => anyhow!("unexpected summary before the end"),
        }
    }
}

fn parse(line: &str) -> Result<Event> {
    serde_json::from_str(line).with_context(|| format!("unexpected output: {line:?}"))
}

/// Returns a free port, for tools that do not print theirs. It is below the range that the kernel
/// assigns, so that the kernel does not assign it before the tool listens on it.
fn free_port() -> Result<u16> {
    let mut tries = 0;
    loop {
        let random = u16::try_from(getrandom::u32()? % u32::from(PORTS.end - PORTS.start))?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, PORTS.start + random)) {
            Ok(listener) => return Ok(listener.local_addr()?.port()),
            Err(_) if tries < MAX_TRIES => tries += 1,
            Err(error) => return Err(error).context("no free port"),
        }
    }
}

/// Waits for a listening socket by reading the kernel's tables, because a test connection would be
/// the only one that the tool accepts.
fn wait_for_port(process: &Process, port: u16, deadline: Deadline) -> Result<()> {
    while !deadline.left().is_zero() {
        if is_listened_on(Path::new("/proc/net/tcp"), port)
            || is_listened_on(Path::new("/proc/net/tcp6"), port)
        {
            return Ok(());
        }
        if process.ends_within(Duration::from_millis(2))? {
            bail!("the receiver exited before it listened on port {port}");
        }
    }
    bail!("the receiver did not listen {deadline}")
}

fn is_listened_on(table: &Path, port: u16) -> bool {
    let table = std::fs::read_to_string(table).unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':'));
        let state = fields.nth(1);
        local.is_some_and(|(_, found)| u16::from_str_radix(found, 16) == Ok(port))
            && state == Some("0A")
    })
}

/// Ports below those that Linux assigns (32768 and above, `net.ipv4.ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Maximum number of ports to try.
const MAX_TRIES: u32 = 100;

/// Interval at which the memory of a receiver that exits by itself is read.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

const TOOL_FILE: &str = "stored-by-tool.bin";

/// Minimum of `--max-memory`: files use whole blocks, so small ones need more than their size.
const LEAST_MEMORY: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_on_a_running_server_has_a_file_name_of_its_own() {
        for (url, begins) in [
            ("ws://h/", "ws://h:8331/bench-"),
            ("tcp://h/d/", "tcp://h:8331/d/bench-"),
            ("ws://h/files/x?q", "ws://h:8331/files/x-bench-"),
        ] {
            let [first, second] = [(); 2].map(|()| with_new_name(url).unwrap());
            assert!(first.starts_with(begins), "{first}");
            assert_ne!(first, second);
            assert_eq!(first.ends_with("?q"), url.ends_with("?q"));
        }
    }

    #[test]
    fn a_listener_is_seen_in_the_tables_of_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listened_on(Path::new("/proc/net/tcp"), port));
        drop(listener);
        assert!(!is_listened_on(Path::new("/proc/net/tcp"), port));
    }
}
