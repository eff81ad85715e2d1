//! Progress on a terminal: a bar, and after Ctrl-C how to resume.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context;
pub(super) use anyport_client::RESUME_HINT as RESUMES;
use anyport_console::{Exit, Failure, to_stderr};
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
        if let Some(finish) = BEFORE_LEAVING.get() {
            finish();
        }
        leave(Exit::Interrupted as i32);
    });
    Ok(())
}

/// Makes SIGTERM and SIGHUP end the process as Ctrl-C does, with their own exit codes.
pub(super) fn on_termination() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot handle SIGTERM")?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let is_ignored = ignored_signals() & 1 << (Signal::HUP.as_raw() - 1) != 0;
    let hangup = (!is_ignored).then(|| signal(SignalKind::hangup()));
    let mut hangup = hangup.transpose().context("cannot handle SIGHUP")?;
    drop(entered);
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => Signal::TERM.as_raw(),
                _ = hung_up => Signal::HUP.as_raw(),
            }
        });
        if let Some(finish) = BEFORE_LEAVING.get() {
            finish();
        }
        leave(128 + number);
    });
    Ok(())
}

/// Calls `finish` before a signal ends the process.
pub(super) fn before_leaving(finish: impl Fn() + Send + Sync + 'static) {
    let _ = BEFORE_LEAVING.set(Box::new(finish));
}

static BEFORE_LEAVING: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

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
