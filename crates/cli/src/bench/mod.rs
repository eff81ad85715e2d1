//! `anyport bench`: the ways of sending, compared on the same file (DESIGN section 1, F7).
//!
//! Servers and senders are processes of their own, started from this very program, so that what is measured is what
//! users run. Seconds are the receiver's own, out of its receipts.

mod process;
mod report;
mod stats;
mod work;

use anyhow::Context;

use self::process::{Sender, Server};
use self::report::Row;
use self::work::Workplace;
use crate::Failure;
use crate::exit::Exit;
use crate::flags::{self, Engine, Sink};
use crate::output::{to_stderr, to_stdout};

/// A client and a server. Later transports join here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    client: Client,
    server: Engine,
}

/// How the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Nothing but the bytes.
    Raw,
    /// Own WebSocket with a handshake.
    Ws,
    /// Own WebSocket frames without a handshake.
    Frames,
    /// tokio-tungstenite.
    Library,
}

/// The six pairs; the first one is what the others are compared to.
const PAIRS: [Pair; 6] = [
    Pair { client: Client::Raw, server: Engine::Own },
    Pair { client: Client::Ws, server: Engine::Own },
    Pair { client: Client::Frames, server: Engine::Own },
    Pair { client: Client::Library, server: Engine::Own },
    Pair { client: Client::Library, server: Engine::Library },
    Pair { client: Client::Ws, server: Engine::Library },
];

impl Pair {
    fn name(self) -> String {
        format!("{} → {}", self.client.as_str(), self.server.as_str())
    }
}

impl Client {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ws => "ws",
            Self::Frames => "frames",
            Self::Library => "library",
        }
    }
}

pub(crate) fn run(flags: &flags::Bench) -> Result<Exit, Failure> {
    let work = Workplace::new(flags)?;
    let sender = Sender::new(&work.file, flags)?;
    to_stderr(&format!(
        "{} bytes of {}; {} rounds and one to warm up",
        work.size, work.label, flags.runs
    ));
    let seconds = measure(flags, &work, &sender)?;
    let digests = verify(&work, &sender)?;
    let raw = &seconds[0];
    let rows: Vec<Row> = PAIRS
        .iter()
        .zip(&seconds)
        .zip(digests)
        .map(|((pair, seconds), digest)| Row::new(*pair, seconds, raw, &work, digest))
        .collect();
    let printed = if flags.json { report::json(&rows, flags) } else { report::table(&rows, flags) };
    to_stdout(printed.trim_end()).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

/// Seconds of every measured round, for each pair in the order of [`PAIRS`].
fn measure(
    flags: &flags::Bench,
    work: &Workplace,
    sender: &Sender,
) -> Result<Vec<Vec<f64>>, Failure> {
    let own = Server::start(Engine::Own, flags.sink, "none", &work.stored)?;
    let library = Server::start(Engine::Library, flags.sink, "none", &work.stored)?;
    let mut seconds = vec![Vec::new(); PAIRS.len()];
    for round in 0..=flags.runs {
        for index in stats::shuffled(PAIRS.len()).context("no randomness for the order")? {
            let pair = PAIRS[index];
            let server = if pair.server == Engine::Own { &own } else { &library };
            let receipt = transfer(sender, server, pair, work, "none")?;
            // The first round warms up caches, the page cache of the file and the CPU's clock.
            if round > 0 {
                seconds[index].push(receipt.seconds);
            }
        }
        if round > 0 {
            to_stderr(&format!("round {round} of {}", flags.runs));
        }
    }
    Ok(seconds)
}

/// The digest of what one run of each pair stored, compared with the file's.
fn verify(work: &Workplace, sender: &Sender) -> Result<Vec<String>, Failure> {
    to_stderr("one untimed run of each pair, stored and compared byte for byte by digest");
    let expected = work::digest_of(&work.file)?;
    let mut digests = Vec::new();
    let own = Server::start(Engine::Own, Sink::File, "blake3", &work.stored)?;
    let library = Server::start(Engine::Library, Sink::File, "blake3", &work.stored)?;
    for pair in PAIRS {
        let server = if pair.server == Engine::Own { &own } else { &library };
        let receipt = transfer_keeping(sender, server, pair, work, "blake3")?;
        let name = receipt.path.context("a file sink names what it stored")?;
        let stored = work.stored.join(&name);
        let found = work::digest_of(&stored)?;
        std::fs::remove_file(&stored).with_context(|| format!("cannot remove {name}"))?;
        let told = receipt.digest.map(|digest| digest.to_string()).unwrap_or_default();
        if found != expected || told != expected {
            let error = anyhow::anyhow!(
                "{}: the file has {expected}, the receipt says {told}, stored was {found}",
                pair.name()
            );
            return Err(Failure::new(Exit::Mismatch, error));
        }
        digests.push(found);
    }
    Ok(digests)
}

/// One run, whose bytes are checked and whose file, if there is one, is removed.
fn transfer(
    sender: &Sender,
    server: &Server,
    pair: Pair,
    work: &Workplace,
    digest: &str,
) -> Result<process::Receipt, Failure> {
    let receipt = transfer_keeping(sender, server, pair, work, digest)?;
    if let Some(path) = &receipt.path {
        let stored = work.stored.join(path);
        std::fs::remove_file(&stored).with_context(|| format!("cannot remove {path}"))?;
    }
    Ok(receipt)
}

fn transfer_keeping(
    sender: &Sender,
    server: &Server,
    pair: Pair,
    work: &Workplace,
    digest: &str,
) -> Result<process::Receipt, Failure> {
    sender.send(pair.client, server.address, digest).with_context(|| pair.name())?;
    let receipt = server.next_receipt().with_context(|| pair.name())?;
    if receipt.bytes != work.size {
        let (name, came, size) = (pair.name(), receipt.bytes, work.size);
        let error = anyhow::anyhow!("{name}: {came} bytes came of {size}");
        return Err(Failure::new(Exit::Mismatch, error));
    }
    Ok(receipt)
}
