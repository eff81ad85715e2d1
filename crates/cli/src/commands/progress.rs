//! Progress on a terminal: a bar, and after Ctrl-C how to resume.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
pub(super) use anyport_client::RESUME_HINT as RESUMES;
use anyport_console::{Exit, Failure, to_stderr};
use anyport_net::signals::end_by;
use anyport_proto::visible::make_visible;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::running::ignored_signals;

/// Returns a progress bar on stderr, hidden unless stderr is a terminal. `total` is the sum of all
/// sizes, if they are known.
pub(super) fn bar(quiet: bool, total: Option<u64>) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), KNOWN),
        None => (ProgressBar::new_spinner(), UNKNOWN),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar
}

/// Shows the name of the file that is being transferred.
pub(super) fn show_name(bar: &ProgressBar, path: &Path) {
    let name = path.file_name().unwrap_or(path.as_os_str());
    bar.set_message(make_visible(&name.to_string_lossy()).into_owned());
}

/// Makes Ctrl-C print the hint `resume` and end the process. Partial files are kept, as after any
/// other end.
pub(super) fn on_interrupt(
    bar: &ProgressBar,
    resume: impl Into<Option<&'static str>>,
) -> Result<(), Failure> {
    let resume = resume.into();
    if ignored_signals() & 1 << (Signal::INT.as_raw() - 1) != 0 {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot handle SIGINT")?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    drop(entered);
    let bar = bar.clone();
    std::thread::spawn(move || {
        runtime.block_on(interrupt.recv());
        // The next one ends the process at once, whatever the output waits for.
        std::thread::spawn(move || {
            runtime.block_on(interrupt.recv());
            leave(Exit::Interrupted as i32);
        });
        bar.finish_and_clear();
        to_stderr("interrupted");
        if let Some(resume) = resume {
            to_stderr(&format!("hint: {resume}"));
        }
        before_end(Signal::INT);
        leave(Exit::Interrupted as i32);
    });
    Ok(())
}

/// Makes SIGTERM, SIGHUP and perhaps SIGINT end the process as without a handler, after what
/// [`before_leaving`] asks for; the second one ends it immediately.
pub(super) fn on_termination(also_interrupt: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot handle signals")?;
    let (signals, mut arrived) = tokio::sync::mpsc::channel(1);
    let ignored = ignored_signals();
    for (handled, is_wanted) in
        [(Signal::TERM, true), (Signal::HUP, true), (Signal::INT, also_interrupt)]
    {
        if !is_wanted || ignored & 1 << (handled.as_raw() - 1) != 0 {
            continue;
        }
        let _entered = runtime.enter();
        let mut next = signal(SignalKind::from_raw(handled.as_raw()))
            .with_context(|| format!("cannot handle {}", name(handled)))?;
        let signals = signals.clone();
        runtime.spawn(async move {
            while next.recv().await.is_some() && signals.send(handled).await.is_ok() {}
        });
    }
    std::thread::spawn(move || {
        let Some(signal) = runtime.block_on(arrived.recv()) else { return };
        // The output may wait for its reader.
        std::thread::spawn(move || {
            if let Some(again) = runtime.block_on(arrived.recv()) {
                leave_by(again);
            }
        });
        before_end(signal);
        leave_by(signal);
    });
    Ok(())
}

/// Calls `finish` with its name before a signal ends the process.
pub(super) fn before_leaving(finish: impl Fn(&'static str) + Send + Sync + 'static) {
    let _ = BEFORE_LEAVING.set(Box::new(finish));
}

fn before_end(signal: Signal) {
    // Another signal does not wait for the output either.
    if let (Some(finish), false) = (BEFORE_LEAVING.get(), ENDING.swap(true, Ordering::Relaxed)) {
        finish(name(signal));
    }
}

/// Whether a signal was handled before.
static ENDING: AtomicBool = AtomicBool::new(false);

const fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "SIGINT",
        Signal::TERM => "SIGTERM",
        _ => "SIGHUP",
    }
}

static BEFORE_LEAVING: OnceLock<Box<dyn Fn(&'static str) + Send + Sync>> = OnceLock::new();

/// Ends the process by `signal`.
fn leave_by(signal: Signal) -> ! {
    // It ends this thread too, unless it cannot be sent.
    if end_by(signal).is_ok() {
        std::thread::sleep(DELIVERY);
    }
    leave(128 + signal.as_raw())
}

/// Maximum time for a signal to end the process.
const DELIVERY: Duration = Duration::from_secs(1);

#[expect(
    clippy::exit,
    reason = "the other threads wait for a disk or a server, and keep nothing to be saved"
)]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

/// The hint over HTTP, where other servers may not support it.
pub(super) const MAY_RESUME: &str =
    "run the same command again; it resumes if the server supports resumable uploads";

/// The hint after an interrupted transfer that cannot be resumed.
pub(super) const STARTS_OVER: &str = "run the same command again; it starts from the beginning";

const KNOWN: &str = "{msg:24!} {percent:>3}% {wide_bar} {decimal_bytes}/{decimal_total_bytes} \
    {decimal_bytes_per_sec} ETA {eta}";
const UNKNOWN: &str = "{msg:24!} {spinner} {decimal_bytes} {decimal_bytes_per_sec} {elapsed}";
