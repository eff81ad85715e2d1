//! Servers and senders as processes, started from this program and ended with it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use anyport_proto::transfer::digest::Digest;
use serde::Deserialize;

use super::Client;
use crate::flags::{self, Engine, Sink};

/// A running `anyport serve`; killed when dropped.
pub(super) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(super) address: SocketAddr,
}

/// What a bench needs of a receipt.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) digest: Option<Digest>,
    pub(super) path: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Listening { addr: SocketAddr },
    Receipt(Receipt),
    Interrupted { reason: String },
    Refused { reason: String },
}

/// How long a server may be silent when it has something to say.
const PATIENCE: Duration = Duration::from_secs(300);

impl Server {
    pub(super) fn start(
        engine: Engine,
        sink: Sink,
        digest: &str,
        directory: &Path,
    ) -> Result<Self> {
        let mut child = Command::new(this_program()?)
            .args(["serve", "--json", "--bind", "127.0.0.1:0", "--fsync", "none"])
            .args(["--engine", engine.as_str(), "--sink", sink.as_str(), "--digest", digest])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let lines = read_lines(child.stdout.take().context("a server without stdout")?);
        let mut server = Self { child, lines, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        match server.next_event()? {
            Event::Listening { addr } => server.address = addr,
            _ => bail!("a server did not begin by telling where it listens"),
        }
        Ok(server)
    }

    pub(super) fn next_receipt(&self) -> Result<Receipt> {
        match self.next_event()? {
            Event::Receipt(receipt) => Ok(receipt),
            Event::Interrupted { reason } => bail!("the transfer was interrupted: {reason}"),
            Event::Refused { reason } => bail!("the sender was refused: {reason}"),
            Event::Listening { addr } => bail!("the server began anew on {addr}"),
        }
    }

    fn next_event(&self) -> Result<Event> {
        let line = self.lines.recv_timeout(PATIENCE).context("a server said nothing")?;
        serde_json::from_str(&line).with_context(|| format!("a server said {line:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that must be saved: what it stores is ours to throw away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Starts `anyport send` for each run.
pub(super) struct Sender {
    program: PathBuf,
    file: PathBuf,
    frame_size: String,
    congestion: String,
}

impl Sender {
    pub(super) fn new(file: &Path, flags: &flags::Bench) -> Result<Self> {
        Ok(Self {
            program: this_program()?,
            file: file.to_owned(),
            frame_size: flags.frame_size.to_string(),
            congestion: flags.congestion.to_string(),
        })
    }

    /// Sends the file and waits until it is sent.
    pub(super) fn send(&self, client: Client, address: SocketAddr, digest: &str) -> Result<()> {
        let (scheme, extra): (&str, &[&str]) = match client {
            Client::Raw => ("tcp", &["--plain"]),
            Client::Ws => ("ws", &[]),
            Client::Frames => ("frames", &[]),
            Client::Library => ("ws", &["--engine", "library"]),
        };
        let output = Command::new(&self.program)
            .args(["send", "--quiet", "--digest", digest])
            .args(["--congestion", &self.congestion, "--frame-size", &self.frame_size])
            .args(extra)
            .arg(&self.file)
            .arg(format!("{scheme}://{address}/"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start a sender")?;
        if !output.status.success() {
            bail!("the sender failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}
