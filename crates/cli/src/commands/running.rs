//! A server that runs, from its first client to its last: what signals, the control socket and a
//! service manager want of it.
//!
//! ```text
//!   SIGTERM, SIGINT, stop      take nothing new, let transfers finish; once more: at once
//!   SIGHUP, reload             the settings anew
//!   SIGUSR1                    the log file anew
//! ```

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyport_console::{Exit, Failure, to_stderr};
use anyport_server::Snapshot;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::daemon::{LogFile, Manager, Order, STATUS_EVERY, ServerHandle, stopping};
use crate::reload::Reloader;

/// Events from outside: signals and control requests.
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
    reopen: Signal,
    /// The terminal of the start, wherever stderr goes later.
    terminal: Option<OwnedFd>,
}

/// The objects beside the server that are needed while it runs.
pub(crate) struct Running {
    pub(crate) server: anyport_server::Server,
    pub(crate) handle: Arc<ServerHandle>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) manager: Arc<Manager>,
    pub(crate) reloader: Reloader,
}

impl Signals {
    /// Registers the signals. A daemon has no terminal.
    pub(crate) fn register(is_daemon: bool) -> Result<Self, Failure> {
        let stderr = io::stderr();
        let is_watched = !is_daemon && stderr.is_terminal();
        let register = |kind, name| signal(kind).with_context(|| format!("cannot handle {name}"));
        let ignored = ignored_signals();
        let register_unless_ignored = |kind: SignalKind, name| {
            let is_ignored = ignored & 1 << (kind.as_raw_value() - 1) != 0;
            (!is_ignored).then(|| register(kind, name)).transpose()
        };
        Ok(Self {
            interrupt: register_unless_ignored(SignalKind::interrupt(), "SIGINT")?,
            terminate: register(SignalKind::terminate(), "SIGTERM")?,
            hangup: register_unless_ignored(SignalKind::hangup(), "SIGHUP")?,
            reopen: register(SignalKind::user_defined1(), "SIGUSR1")?,
            // Without a handle of its own it counts as none: a reload too many harms less than an
            // end.
            terminal: is_watched.then(|| stderr.as_fd().try_clone_to_owned().ok()).flatten(),
        })
    }

    /// Returns whether the terminal of the start is gone: closing a window must not reload the
    /// settings.
    fn is_orphan(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| !terminal.is_terminal())
    }
}

/// The signals that this process ignored when it started, a bit each, as `nohup` and a shell's
/// `command &` have it (POSIX.1-2024, Shell 2.12). They stay ignored. Without /proc there are none.
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The next delivery of a signal; never, if it is ignored.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The next event.
enum Event {
    Ended,
    Stop(Exit),
    StopNow,
    Reload,
    Order(Order),
    Reopen,
    Tick,
}

/// Serves until it is stopped and everything has finished.
pub(crate) async fn to_the_end(
    running: Running,
    mut signals: Signals,
    log_file: Option<&LogFile>,
) -> (Exit, Snapshot) {
    let Running { server, handle, mut orders, manager, reloader } = running;
    let counters = server.counters();
    let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
    let watched = {
        let (manager, overview, drain) = (manager.clone(), server.overview(), drain.clone());
        tokio::spawn(async move { manager.watch(overview, drain).await })
    };
    let server = server.run(drain.clone().cancelled_owned(), abort.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    let mut said = (Instant::now(), handle.line());
    let mut exit = Exit::Done;
    loop {
        let event = tokio::select! {
            () = &mut server => Event::Ended,
            () = next(&mut signals.interrupt) => Event::Stop(Exit::Interrupted),
            _ = signals.terminate.recv() => Event::Stop(Exit::Done),
            () = next(&mut signals.hangup) => Event::Reload,
            _ = signals.reopen.recv() => Event::Reopen,
            Some(order) = orders.recv() => Event::Order(order),
            _ = ticks.tick() => Event::Tick,
        };
        let event = match event {
            Event::Reload if signals.is_orphan() => Event::Stop(Exit::Done),
            Event::Order(Order::Stop { now: true }) => Event::StopNow,
            Event::Order(Order::Stop { now: false }) if drain.is_cancelled() => continue,
            Event::Order(Order::Stop { now: false }) => Event::Stop(Exit::Done),
            Event::Stop(_) if drain.is_cancelled() => Event::StopNow,
            event => event,
        };
        match event {
            Event::Ended => break,
            Event::Stop(how) => {
                exit = how;
                let ((delay, grace), transfers) = (handle.drain_times(), handle.transfers());
                let waits = transfers > 0 || !delay.is_zero();
                let again = if waits { " (press Ctrl-C again to stop now)" } else { "" };
                to_stderr(&format!("{}{again}", stopping(delay, grace, transfers)));
                handle.stops();
                manager.stopping(delay, grace, transfers);
                drain.cancel();
            }
            Event::StopNow => {
                to_stderr("stopping now: running transfers are interrupted");
                handle.stops();
                drain.cancel();
                abort.cancel();
            }
            Event::Reload => drop(reloaded(&reloader, &handle, &manager)),
            Event::Order(Order::Reload(answer)) => {
                // The requester may have gone.
                let _ = answer.send(reloaded(&reloader, &handle, &manager));
            }
            Event::Order(Order::Stop { .. }) => {}
            Event::Reopen => match log_file {
                Some(log_file) => log_file.reopen(),
                None => tracing::debug!("SIGUSR1 ignored: no --log-file to reopen"),
            },
            Event::Tick => {
                if let Some(log_file) = log_file {
                    log_file.follow();
                }
                let line = handle.line();
                if line != said.1 && said.0.elapsed() >= STATUS_EVERY {
                    manager.status(&line);
                    said = (Instant::now(), line);
                }
            }
        }
    }
    watched.abort();
    (exit, counters.snapshot())
}

/// Reloads the settings, and reports the result.
fn reloaded(
    reloader: &Reloader,
    handle: &ServerHandle,
    manager: &Manager,
) -> Result<String, String> {
    manager.reloading();
    let outcome = block_in_place(|| reloader.reload());
    match &outcome {
        Ok(line) => to_stderr(&format!("reloaded: {line}")),
        Err(line) => to_stderr(&format!("not reloaded: {line}")),
    }
    handle.reloaded(&outcome);
    manager.ready(&handle.line());
    outcome
}

/// Interval of checks without an event: a log file that was renamed, and the status line.
const TICK: Duration = Duration::from_secs(1);
