//! `anyport bench idle`: what an idle connection costs a server in memory.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use anyport_client::Target;
use anyport_console::{Exit, Failure, lines_to_stdout, to_stderr};
use anyport_proto::ws::Event;
use serde_json::json;

use super::child::memory_of;
use super::environment::VERSION;
use super::flags::Idle;
use super::websocket::{self, WebSocket};

pub(super) fn run(flags: &Idle) -> Result<Exit, Failure> {
    let target = websocket::target(&flags.url)?;
    websocket::raise_file_limit(flags.connections)?;
    // The first connection pays for what every later one uses again, so it is open before memory is
    // looked at.
    let mut connections = open(&target, flags, 1)?;
    let before = memory(flags)?;
    let begin = Instant::now();
    connections.extend(open(&target, flags, flags.connections)?);
    let opened = f64::from(flags.connections) / begin.elapsed().as_secs_f64();
    let after = memory(flags)?;
    to_stderr("pinging each connection");
    for (index, connection) in connections.iter_mut().enumerate() {
        ping(connection).with_context(|| format!("connection {} does not respond", index + 1))?;
    }
    let each = before
        .zip(after)
        .map(|(before, after)| (after as f64 - before as f64) / f64::from(flags.connections));
    let report = if flags.json {
        json!({
            "event": "idle", "url": flags.url, "version": VERSION,
            "connections": flags.connections, "opened_per_second": opened.round(),
            "server_memory": { "before": before, "after": after },
            "bytes_per_connection": each.map(f64::round),
        })
        .to_string()
    } else {
        let memory = match (each, before, after) {
            (Some(each), Some(before), Some(after)) => format!(
                "{each:.0} bytes of resident memory each (the server went from {before} to {after})"
            ),
            _ => "memory not measured: needs --pid of a server on this machine".to_owned(),
        };
        format!(
            "{}: {} idle connections, all alive; {opened:.0} opened per second, \
            one at a time\n{memory}",
            flags.url, flags.connections
        )
    };
    lines_to_stdout(&report).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

fn open(target: &Target, flags: &Idle, count: u32) -> Result<Vec<WebSocket>, Failure> {
    (1..=count)
        .map(|number| {
            websocket::open(target, flags.timeout).map_err(|error| {
                let error = error.context(format!("connection {number} of {count}"));
                Failure::new(Exit::Unreachable, error)
                    .with_hint("the server may have a limit; that of anyport is --max-conns")
            })
        })
        .collect()
}

/// Returns the memory of the server after the time of --settle.
fn memory(flags: &Idle) -> Result<Option<u64>, Failure> {
    let Some(pid) = flags.pid else { return Ok(None) };
    std::thread::sleep(flags.settle);
    let memory = memory_of(pid).ok_or_else(|| {
        Failure::new(Exit::Usage, anyhow!("cannot read the memory use of process {pid}"))
            .with_hint("use --pid with a process on this machine")
    })?;
    Ok(Some(memory.now))
}

/// Asks for a pong, and waits for it.
fn ping(connection: &mut WebSocket) -> Result<()> {
    let mut out = Vec::new();
    connection.sender.ping(b"alive?", &mut out);
    connection.stream.write_all(&out)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut piece = std::mem::take(&mut connection.early);
    while Instant::now() < deadline {
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let (used, event) = connection.receiver.feed(rest)?;
            match event {
                Some(Event::Pong(b"alive?")) => return Ok(()),
                Some(Event::Close { .. }) => bail!("the server closed it"),
                _ => {}
            }
            rest = &mut std::mem::take(&mut rest)[used..];
        }
        piece.resize(4096, 0);
        let count = connection.stream.read(&mut piece)?;
        if count == 0 {
            bail!("the server closed it");
        }
        piece.truncate(count);
    }
    bail!("no pong received")
}
