//! The `anyport` command: flags, output, exit codes. Everything else is in the crates below it.

#![forbid(unsafe_code)]

mod access;
mod bench;
mod commands;
mod daemon;
mod exit;
mod flags;
mod layers;
mod listen;
mod logging;
mod output;
mod reload;
mod settings;
mod template;
mod tips;
mod trust;
mod values;

use std::process::ExitCode;

use anyport_client::{DEFAULT_PORT, Target};

use crate::exit::Exit;
use crate::flags::Command;
use crate::layers::Refusal;
use crate::logging::LogFormat;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let parsed = match layers::parse(arguments.clone(), &layers::environment) {
        Ok(parsed) => parsed,
        Err(Refusal::Usage(error)) => match tips::without_target(&error) {
            Some(failure) => {
                output::print_failure(&failure);
                return failure.exit.into();
            }
            None => tips::improve(error, &arguments).exit(),
        },
        Err(refusal) => {
            let failure = Failure::from(refusal);
            output::print_failure(&failure);
            return failure.exit.into();
        }
    };
    let (log_format, stays) = match &parsed.flags.command {
        Command::Serve(serve) => (serve.log_format(), !serve.background.leads_stderr_away()),
        _ => (LogFormat::Text, true),
    };
    logging::start(parsed.flags.verbose, log_format, stays);
    let done = match &parsed.flags.command {
        Command::Serve(serve) => commands::serve::run(serve, &parsed),
        Command::Send(send) => commands::send::run(send, parsed.flags.verbose > 0),
        Command::Get(get) => commands::get::run(get, parsed.flags.verbose > 0),
        Command::Chat(chat) => commands::chat::run(chat),
        Command::Cat(cat) => commands::cat::run(cat),
        Command::Ls(ls) => commands::ls::run(ls),
        Command::Token(token) => commands::token::run(token),
        Command::Resolve(resolve) => commands::resolve::run(resolve),
        Command::Status(status) => commands::status::run(status),
        Command::Reload(reload) => commands::reload::run(reload),
        Command::Stop(stop) => commands::stop::run(stop),
        Command::Config(config) => commands::config::run(config),
        Command::Man(man) => commands::manuals::man(man),
        Command::Completions(completions) => commands::manuals::completions(completions),
        Command::Bench(bench) => bench::run(bench),
        Command::BenchPeer(peer) => bench::run_peer(peer),
    };
    // Before the failure, which is what the log leads up to.
    logging::finish();
    done.unwrap_or_else(|failure| {
        output::print_failure(&failure);
        failure.exit
    })
    .into()
}

/// A command that did not do its work: what to print, and how to exit.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// What else is wrong.
    others: Vec<String>,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), others: Vec::new(), hint: None, exit }
    }

    /// Names the host as it was typed beside its address, and the port that `http://` stands for.
    fn at(mut self, target: &Target) -> Self {
        let refused = |cause: &(dyn std::error::Error + 'static)| {
            let error = cause.downcast_ref::<std::io::Error>();
            error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        let text = format!("{:#}", self.error);
        // Every protocol of a server that requires TLS says so in its own way, with these words.
        if !target.encrypted && text.contains("TLS is required") {
            let encrypted = Target { encrypted: true, ..target.clone() };
            self.hint = Some(format!("use {encrypted}"));
        }
        if target.path.contains(['*', '[']) && text.contains("no such file or directory") {
            self.hint = Some(PATTERN_HINT.to_owned());
        }
        if self.error.chain().any(refused)
            && let Some(port) = target.web_port()
        {
            let scheme = target.scheme_name();
            let elsewhere = Target { port: DEFAULT_PORT, ..target.clone() };
            self.hint = Some(format!(
                "{scheme}:// uses port {port}, but anyport listens on {DEFAULT_PORT} by default: try {elsewhere}"
            ));
        }
        if text.contains(&format!(":{}", target.port)) && !text.contains(&target.host) {
            self.error = self.error.context(target.host.clone());
        }
        self
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where a path that does not exist looks like a pattern of a shell.
const PATTERN_HINT: &str =
    "a server does not expand patterns; get the directory (DIR/) or list it with anyport ls";

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let mut lines = refusal.lines().into_iter();
        let first = anyhow::Error::msg(lines.next().unwrap_or_default());
        let failure = Self { others: lines.collect(), ..Self::new(Exit::Usage, first) };
        failure
            .with_hint("anyport config example lists all keys, and anyport serve --help all flags")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}
