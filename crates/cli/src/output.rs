//! What the user sees: receipts to stdout, all else to stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use anyport_proto::transfer::receipt::Receipt;
use anyport_server::{Interrupted, Observer, Refused};
use serde_json::json;

use crate::Failure;

/// Sends events of the libraries to stderr, at the level that `-v` or `ANYPORT_LOG` asks for.
pub(crate) fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ANYPORT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// `error: what: why` and, on a line of its own, `hint: …`.
pub(crate) fn print_failure(failure: &Failure) {
    to_stderr(&format!("error: {:#}", failure.error));
    if let Some(hint) = &failure.hint {
        to_stderr(&format!("hint: {hint}"));
    }
}

/// A line to stderr. One that cannot be written is lost: there is nobody to tell.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line to stdout, at once.
pub(crate) fn to_stdout(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A server's events, for people or for machines.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    /// Whether stdout has failed; said once.
    lost: Mutex<bool>,
}

impl Printer {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, lost: Mutex::new(false) }
    }

    /// A server goes on when nobody reads its receipts any more: its senders still get theirs.
    fn print(&self, line: &str) {
        if let Err(error) = to_stdout(line) {
            let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !std::mem::replace(&mut *lost, true) {
                tracing::warn!(%error, "cannot print receipts");
            }
        }
    }
}

impl Observer for Printer {
    fn receipt(&self, receipt: &Receipt) {
        self.print(&if self.json { receipt.event_json() } else { receipt.human_line() });
    }

    fn interrupted(&self, transfer: &Interrupted) {
        let Interrupted { protocol, engine, peer, bytes, name, reason, part, .. } = transfer;
        if self.json {
            let event = json!({
                "event": "interrupted", "protocol": protocol, "engine": engine, "peer": peer,
                "bytes": bytes, "name": name, "reason": reason, "part": part,
            });
            return self.print(&event.to_string());
        }
        let name = name.as_ref().map(|name| format!(" of {name:?}")).unwrap_or_default();
        let part = part.as_ref().map(|part| format!(", kept as {part}")).unwrap_or_default();
        self.print(&format!(
            "{protocol}/{engine} {peer} interrupted after {bytes} bytes{name}: {reason}{part}"
        ));
    }

    fn refused(&self, refused: &Refused) {
        let Refused { protocol, peer, reason, .. } = refused;
        if self.json {
            let event =
                json!({ "event": "refused", "protocol": protocol, "peer": peer, "reason": reason });
            return self.print(&event.to_string());
        }
        self.print(&format!("{protocol} {peer} refused: {reason}"));
    }
}
