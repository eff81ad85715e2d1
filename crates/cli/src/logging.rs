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

/// Sends events to stderr or to the journal, at the level that `-v` or `ANYPORT_LOG` asks for. `stays`: stderr leads where it
/// leads now for as long as the program runs.
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
        tracing::warn!(error, "{VARIABLE} says nothing that is understood; -v counts");
    }
    if let Some(error) = missing {
        tracing::warn!(%error, "there is no journal; the log goes to stderr");
    }
}

/// `warn`, `debug`, or a level for each part: `anyport_server=debug,hyper=info`.
const VARIABLE: &str = "ANYPORT_LOG";

type Writing = Box<dyn Layer<Registry> + Send + Sync>;

/// What writes them, with colours or not; and why not to the journal, where that was wanted.
fn layer(format: LogFormat, ansi: bool) -> (Writing, Option<io::Error>) {
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
