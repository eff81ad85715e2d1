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
mod trust;
mod values;

use std::process::ExitCode;

use anyport_client::{DEFAULT_PORT, Target};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::Exit;
use crate::flags::Command;
use crate::layers::Refusal;
use crate::logging::LogFormat;

fn main() -> ExitCode {
    let parsed = match layers::parse(std::env::args_os().collect(), &layers::environment) {
        Ok(parsed) => parsed,
        Err(Refusal::Usage(error)) => match without_target(&error) {
            Some(failure) => {
                output::print_failure(&failure);
                return failure.exit.into();
            }
            None => without_hidden(error).exit(),
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

/// Takes hidden flags and commands out of what clap suggests, and its advice to write `-- -x`.
fn without_hidden(mut error: clap::Error) -> clap::Error {
    let program = layers::program();
    let is_visible = |word: &str| is_visible(&program, word);
    for kind in
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::ValidSubcommand]
    {
        match error.remove(kind) {
            Some(ContextValue::String(word)) if is_visible(&word) => {
                error.insert(kind, ContextValue::String(word));
            }
            Some(ContextValue::Strings(mut words)) => {
                words.retain(|word| is_visible(word));
                if !words.is_empty() {
                    error.insert(kind, ContextValue::Strings(words));
                }
            }
            _ => {}
        }
    }
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        tips.retain(|tip| {
            let tip = tip.to_string();
            // `'serve --max-conns' exists`
            let word = tip.split('\'').nth(1).and_then(|quoted| quoted.split(' ').next_back());
            !tip.starts_with("to pass ") && word.is_none_or(is_visible)
        });
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    let recursive = ["-r", "-R", "--recursive"];
    let invalid = error.get(ContextKind::InvalidArg);
    if matches!(invalid, Some(ContextValue::String(flag)) if recursive.contains(&flag.as_str())) {
        let tip = "directories are sent and received without a flag".to_owned();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Whether help shows a command or a long flag of that name anywhere.
fn is_visible(program: &clap::Command, word: &str) -> bool {
    let is_flag = |argument: &clap::Arg| {
        let names = argument.get_long_and_visible_aliases().unwrap_or_default();
        !argument.is_hide_set() && names.iter().any(|name| word.strip_prefix("--") == Some(name))
    };
    program.get_arguments().any(is_flag)
        || program
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .any(|command| command.get_name() == word || is_visible(command, word))
        || ["help", "--help", "--version"].contains(&word)
}

/// `anyport send FILE`, whose only argument is the target to clap.
fn without_target(error: &clap::Error) -> Option<Failure> {
    let missing = error.get(ContextKind::InvalidArg)?;
    let is_files = matches!(missing, ContextValue::Strings(names) if names.len() == 1 && names[0].starts_with("<FILE>"));
    if error.kind() != ErrorKind::MissingRequiredArgument || !is_files {
        return None;
    }
    let error = anyhow::anyhow!("missing URL: the server to send to");
    Some(Failure::new(Exit::Usage, error).with_hint("anyport send FILE HOST:PORT"))
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
        if self.error.chain().any(refused)
            && let Some(port) = target.web_port()
        {
            let scheme = target.scheme_name();
            let elsewhere = Target { port: DEFAULT_PORT, ..target.clone() };
            self.hint = Some(format!(
                "{scheme}:// uses port {port}, but anyport listens on {DEFAULT_PORT} by default: try {elsewhere}"
            ));
        }
        let text = format!("{:#}", self.error);
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
