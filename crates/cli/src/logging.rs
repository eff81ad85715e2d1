//! The output of log events, and its format.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyport_console::to_stderr;
use anyport_net::waiting::Waiting;
use anyport_proto::counted::counted;
use anyport_proto::visible::{escape_json, make_visible};
use clap::ValueEnum;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// journald if stderr is connected to the journal, else text
    #[default]
    Auto,
    /// Plain text, one event per line
    Text,
    /// One JSON object per line
    Json,
    /// The systemd journal, with fields
    Journald,
}

/// Sends events to stderr or to the journal, at the level that `-v` or `ANYPORT_LOG` asks for.
/// `stays`: stderr leads where it leads now for as long as the program runs.
pub(crate) fn start(verbose: u8, format: LogFormat, stays: bool) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let wanted = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.map(EnvFilter::try_new).transpose();
    let wrong = wanted.as_ref().err().map(ToString::to_string);
    let filter = wanted.ok().flatten().unwrap_or_else(|| EnvFilter::new(level));
    let (layer, missing) = layer(format, stays && io::stderr().is_terminal());
    tracing_subscriber::registry().with(layer).with(filter).init();
    if let Some(error) = wrong {
        tracing::warn!(error, "invalid {VARIABLE} ignored; the log level is that of -v");
    }
    if let Some(error) = missing {
        tracing::warn!(%error, "no systemd journal; logging to stderr");
    }
}

/// `warn`, `debug`, or a level for each part: `anyport_server=debug,hyper=info`.
const VARIABLE: &str = "ANYPORT_LOG";

type Writing = Box<dyn Layer<Registry> + Send + Sync>;

/// Returns the writer, with or without colours; and the error of the journal, if that was wanted.
fn layer(format: LogFormat, ansi: bool) -> (Writing, Option<io::Error>) {
    let journal = match format {
        LogFormat::Text => None,
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(false);
            return (json.with_writer(|| Lines { escapes: true }).with_target(false).boxed(), None);
        }
        LogFormat::Auto => leads_to_the_journal().then(tracing_journald::layer),
        LogFormat::Journald => Some(tracing_journald::layer()),
    };
    let missing = match journal {
        None => None,
        Some(Ok(journal)) => {
            return (journal.with_syslog_identifier("anyport".to_owned()).boxed(), None);
        }
        Some(Err(error)) => Some(error),
    };
    // Some values are a peer's words.
    let fields = debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        let value = make_visible(&value);
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    });
    let text =
        fmt::layer().with_writer(|| Lines { escapes: false }).with_ansi(ansi).with_target(false);
    (text.fmt_fields(fields.delimited(" ")).boxed(), missing)
}

/// Log lines for stderr. A thread of its own writes them, so that a paused reader delays no task.
struct Lines {
    /// They are JSON, in which a terminal obeys nothing then.
    escapes: bool,
}

/// A message to the thread.
enum Message {
    Line(Vec<u8>),
    /// Everything before it is written.
    Flushed(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();

/// Lines that found the queue full since the last one that did not.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that wait for a reader of stderr; further ones are counted and lost.
const QUEUED: usize = 4096;

/// Maximum time to write the last lines at the end of the program.
const LAST_LINES: Duration = Duration::from_secs(2);

impl Lines {
    /// Begins with the first line, as a daemon has no threads before it is one.
    fn queue() -> &'static SyncSender<Message> {
        QUEUE.get_or_init(|| {
            let (queue, messages) = sync_channel(QUEUED);
            std::thread::spawn(move || {
                while let Ok(message) = messages.recv() {
                    match message {
                        // A failure to write the log cannot be reported.
                        Message::Line(line) => _ = Waiting(io::stderr().lock()).write_all(&line),
                        Message::Flushed(flushed) => _ = flushed.send(()),
                    }
                    let lost = LOST.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        let lines = counted(lost, "line");
                        to_stderr(&format!("stderr was not read in time: {lines} of the log lost"));
                    }
                }
            });
            queue
        })
    }
}

/// Waits until the log is written, within a time limit.
pub(crate) fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    let (flushed, is_flushed) = sync_channel(1);
    if queue.try_send(Message::Flushed(flushed)).is_ok() {
        let _ = is_flushed.recv_timeout(LAST_LINES);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = if self.escapes { escape_json(&text) } else { text };
        if Self::queue().try_send(Message::Line(text.into_owned().into_bytes())).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether stderr is the one that systemd connected to the journal; if it was redirected
/// since, the log goes there instead (systemd.exec(5), JOURNAL_STREAM).
fn leads_to_the_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.st_dev, file.st_ino)))
}
