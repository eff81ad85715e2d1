//! Where events of the libraries go, and in which form.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use clap::ValueEnum;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// The journal where stderr leads to it, else text
    #[default]
    Auto,
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
    /// systemd's journal, each fact a field of its own
    Journald,
}

/// Sends events to stderr or to the journal, at the level that `-v` or `ANYPORT_LOG` asks for.
pub(crate) fn start(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("ANYPORT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let (layer, missing) = layer(format);
    tracing_subscriber::registry().with(layer).with(filter).init();
    if let Some(error) = missing {
        tracing::warn!(%error, "there is no journal; the log goes to stderr");
    }
}

type Writing = Box<dyn Layer<Registry> + Send + Sync>;

/// What writes them; and why not to the journal, where that was wanted.
fn layer(format: LogFormat) -> (Writing, Option<io::Error>) {
    let journal = match format {
        LogFormat::Text => None,
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(false);
            return (json.with_writer(io::stderr).with_target(false).boxed(), None);
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
    let ansi = io::stderr().is_terminal();
    let text = fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false);
    (text.boxed(), missing)
}

/// systemd says which file it has given us as stderr; who has led stderr elsewhere since wants the log there
/// (systemd.exec(5), JOURNAL_STREAM).
fn leads_to_the_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.st_dev, file.st_ino)))
}
