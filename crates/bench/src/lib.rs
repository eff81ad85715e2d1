//! `anyport bench`: what each way of sending costs on this machine.
//!
//! ```text
//!   rows ──► run (child: receiver, senders) ──► stats ──► report: table · JSON · CSV · SVG · HTML
//!     ▲ peers: other programs                     bare: loops of the baselines
//! ```
//!
//! Every part of a run is a process of its own, started from this program or another one, so that
//! the figures are those of what users run. `docs/BENCH.md` explains each figure.
//!
//! The feature `library-engine`, on by default, adds the rows of the WebSocket library
//! tokio-tungstenite.

#![forbid(unsafe_code)]

mod bare;
mod child;
mod cpu;
mod echo;
mod environment;
pub mod flags;
mod idle;
mod peer_rows;
mod peers;
mod report;
mod rooms;
mod rows;
mod run;
mod stats;
mod websocket;
mod work;

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, anyhow};
use anyport_client::{Scheme, Target};
use anyport_console::choices::HAS_LIBRARY;
use anyport_console::{Exit, Failure, Fsync, SinkKind, lines_to_stdout, to_stderr};
use anyport_proto::transfer::digest::Algorithm;

use self::environment::Environment;
use self::flags::{Bench, Part, Peer, What};
use self::report::{Measured, Report};
use self::rows::{Client, Row, Skipped};
use self::run::Runner;
use self::work::Workplace;

/// Runs a benchmark, and prints and writes its report.
///
/// # Errors
/// Invalid flags, a server that cannot be reached, a report that cannot be written.
pub fn run(flags: &Bench) -> Result<Exit, Failure> {
    if cfg!(debug_assertions) {
        to_stderr(&format!("warning: {DEBUG_BUILD}"));
    }
    match &flags.what {
        Some(What::Echo(flags)) => echo::run(flags),
        Some(What::Idle(flags)) => idle::run(flags),
        Some(What::Rooms(flags)) => rooms::run(flags),
        None => compare(flags),
    }
}

/// Runs an internal process of the benchmark.
///
/// # Errors
/// Those of its sockets, files and pipes.
pub fn run_peer(peer: &Peer) -> Result<Exit, Failure> {
    match &peer.part {
        Part::Exec { command } => child::exec(command)?,
        Part::Send(flags) => bare::send(flags)?,
        Part::Echo => bare::echo()?,
        Part::Receive(flags) => bare::receive(flags)?,
    }
    Ok(Exit::Done)
}

fn compare(flags: &Bench) -> Result<Exit, Failure> {
    let environment = Environment::gather(flags).map_err(|error| {
        Failure::new(Exit::Usage, error).with_hint(anyport_client::congestion_hint())
    })?;
    let (rows, skipped) =
        if flags.urls.is_empty() { local_rows(flags)? } else { (server_rows(flags)?, Vec::new()) };
    // Reported now, and not after the last round.
    for path in [&flags.output.svg, &flags.output.html].into_iter().flatten() {
        if path.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) {
            let error = anyhow!("cannot write {}: there is no such directory", path.display());
            return Err(Failure::new(Exit::Usage, error));
        }
    }
    let work = Workplace::new(flags)?;
    to_stderr(&format!(
        "{} bytes of {}; {}, {} and one to warm up",
        work.size,
        work.label,
        counted(rows.len(), "row"),
        counted(flags.runs, "round"),
    ));
    if !flags.urls.is_empty() {
        to_stderr("the servers keep the file of each run, unless their --sink discards it");
    }
    let congestion = environment.congestion.clone();
    let runner = Runner { flags, work: &work, congestion: &congestion };
    let expected = work::digest_of(&work.file)?;
    let versions = report::versions(&rows);
    let measured = measure(&runner, rows, &expected)?;
    let exit = exit_code(&measured);
    let content = (work.size, expected, work.label.as_str());
    let report = Report::new(environment, flags, content, &measured, versions, skipped);
    tell(&report, flags)?;
    Ok(exit)
}

/// Returns `1 round` or `3 rounds`.
fn counted(count: impl Display + PartialEq + From<u8>, noun: &str) -> String {
    let plural = if count == 1.into() { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// The beginning of a report of a debug build.
const DEBUG_BUILD: &str = "this is a debug build: its times mean nothing";

/// Returns the selected rows of the table and of the installed tools, and the skipped ones with
/// reasons.
fn local_rows(flags: &Bench) -> Result<(Vec<Row>, Vec<Skipped>), Failure> {
    let mut rows = rows::rows(flags.sink, flags.digest != Algorithm::None, flags.frame_size);
    let mut skipped = Vec::new();
    if flags.against {
        let (tools, absent) = peers::find();
        rows.extend(tools.iter().flat_map(peers::Tool::rows));
        skipped.extend(absent.into_iter().map(|absent| Skipped {
            name: absent.name.to_owned(),
            reason: format!("not installed; {}", absent.install),
        }));
    }
    let known: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let mut rows = rows::chosen(rows, &flags.pairs).map_err(|unknown| {
        let hint = format!("expected one of {}", known.join(", "));
        let hint = if flags.against { hint } else { format!("{hint}, and more with --against") };
        Failure::new(Exit::Usage, anyhow!("unknown row {unknown:?}")).with_hint(hint)
    })?;
    let reason = match (flags.sink, flags.fsync) {
        _ if flags.parallel > 1 => Some("accepts one connection at a time"),
        (SinkKind::Memory, _) => Some("keeps nothing in memory"),
        (SinkKind::File, Fsync::File) => Some("does not fsync"),
        _ => None,
    };
    if let Some(reason) = reason {
        rows.retain(|row| {
            if !row.is_received_by_a_tool() {
                return true;
            }
            skipped.push(Skipped { name: row.name.clone(), reason: reason.to_owned() });
            false
        });
    }
    Ok((rows, skipped))
}

/// The clients that fit each URL.
fn server_rows(flags: &Bench) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for url in &flags.urls {
        let target: Target = url.parse().map_err(|error| {
            Failure::new(Exit::Usage, error)
                .with_hint("write tcp://HOST:PORT/, ws://HOST:PORT/ or frames://HOST:PORT/")
        })?;
        let clients: &[Client] = match target.scheme {
            Scheme::Tcp => &[Client::Preface],
            Scheme::Ws if HAS_LIBRARY => &[Client::Ws, Client::Library],
            Scheme::Ws => &[Client::Ws],
            Scheme::Frames => &[Client::Frames],
            other => {
                let error = anyhow!("{}:// is not supported by bench", other.as_str());
                return Err(Failure::new(Exit::Usage, error)
                    .with_hint("use tcp://HOST:PORT/, ws://HOST:PORT/ or frames://HOST:PORT/"));
            }
        };
        rows.extend(clients.iter().map(|client| Row::server(url, *client)));
    }
    Ok(rows)
}

/// Measures: first an untimed run of each row, whose digest is compared, because a row with wrong
/// data is not worth timing. Then the rounds. A row that fails is skipped from then on, and has no
/// figure.
fn measure(runner: &Runner<'_>, rows: Vec<Row>, expected: &str) -> Result<Vec<Measured>, Failure> {
    to_stderr("one untimed run of each row, stored and compared byte for byte by digest");
    let mut measured = Vec::new();
    for row in rows {
        let (digest, broken) = match runner.verify(&row, expected) {
            Ok(digest) => (digest, None),
            Err(broken) => (None, Some(broken)),
        };
        measured.push(Measured { row, samples: Vec::new(), digest, broken });
    }
    for one in &measured {
        complain(one);
    }
    let seed = getrandom::u64().context("cannot get random numbers for the order")?;
    let mut order: Vec<usize> = (0..measured.len()).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..=runner.flags.runs {
        random.shuffle(&mut order);
        for index in order.iter().copied() {
            let one = &mut measured[index];
            if one.broken.is_some() {
                continue;
            }
            match runner.time(&one.row) {
                // The first round warms up caches, the page cache of the file and the CPU's clock.
                Ok(sample) if round > 0 => one.samples.push(sample),
                Ok(_) => {}
                Err(broken) => {
                    one.broken = Some(broken);
                    complain(one);
                }
            }
        }
        if round > 0 {
            to_stderr(&format!("round {round} of {}", runner.flags.runs));
        }
    }
    Ok(measured)
}

fn complain(one: &Measured) {
    if let Some(broken) = &one.broken {
        to_stderr(&format!("{}: {}", one.row.name, broken.reason));
    }
}

/// The worst that happened.
fn exit_code(measured: &[Measured]) -> Exit {
    let broken = || measured.iter().filter_map(|one| one.broken.as_ref());
    if broken().any(|broken| broken.mismatch) {
        Exit::Mismatch
    } else if broken().next().is_some() {
        Exit::Failed
    } else {
        Exit::Done
    }
}

fn tell(report: &Report, flags: &Bench) -> Result<(), Failure> {
    let output = &flags.output;
    let printed = if output.json {
        report::json(report)
    } else if output.csv {
        report::csv(report)
    } else {
        report::table(report)
    };
    lines_to_stdout(printed.trim_end()).context("cannot write to stdout")?;
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &output.svg {
        write(path, report::svg(report))?;
    }
    if let Some(path) = &output.html {
        write(path, report::html(report))?;
    }
    Ok(())
}
