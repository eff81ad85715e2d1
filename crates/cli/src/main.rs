//! The `anyport` command: flags, output, exit codes. Everything else is in the crates below it.
//!
//! Cargo features, both on by default: `library-engine` builds the WebSocket implementation of
//! `--engine library`; `mimalloc` replaces the allocator of builds for musl, and only of those.

#![forbid(unsafe_code)]

mod access;
mod commands;
mod daemon;
mod flags;
mod layers;
mod listen;
mod logging;
mod output;
mod reload;
mod setting;
mod settings;
mod template;
mod tips;
mod trust;

use std::process::ExitCode;

use anyport_console::{Exit, Failure, print_failure};
use anyport_proto::setting::name_settings;

use crate::flags::Command;
use crate::layers::ParseError;
use crate::logging::LogFormat;

// The allocator of musl has one lock for all threads. See docs/install.md and bench/records/.
#[cfg(all(target_env = "musl", feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    name_settings(setting::as_flag);
    let arguments: Vec<_> = std::env::args_os().collect();
    let mut parsed = match layers::parse(arguments.clone(), &layers::environment) {
        Ok(parsed) => parsed,
        Err(ParseError::Usage(error)) => match tips::without_target(&error) {
            Some(failure) => {
                print_failure(&failure);
                return failure.exit.into();
            }
            None => tips::improve(error, &arguments).exit(),
        },
        Err(refusal) => {
            let failure = Failure::from(refusal);
            print_failure(&failure);
            return failure.exit.into();
        }
    };
    let (log_format, stays) = match &parsed.flags.command {
        Command::Serve(serve) => (serve.log_format(), !serve.background.leads_stderr_away()),
        _ => (LogFormat::Text, true),
    };
    logging::start(parsed.flags.verbose, log_format, stays);
    let verbose = parsed.flags.verbose > 0;
    if let Command::Trace(trace) = &mut parsed.flags.command {
        return finish(commands::trace::run(trace, verbose, &parsed.arguments));
    }
    let done = match &parsed.flags.command {
        Command::Serve(serve) => commands::serve::run(serve, &parsed),
        Command::Send(send) => commands::send::run(send, verbose),
        Command::Get(get) => commands::get::run(get, verbose),
        Command::Chat(chat) => commands::chat::run(chat),
        Command::Cat(cat) => commands::cat::run(cat),
        Command::Ls(ls) => commands::ls::run(ls),
        Command::Share(share) => commands::share::run(share),
        Command::Token(token) => commands::token::run(token),
        Command::Trace(_) => unreachable!("it ran above"),
        Command::Probe(probe) => commands::probe::run(probe),
        Command::Resolve(resolve) => commands::resolve::run(resolve),
        Command::Status(status) => commands::status::run(status),
        Command::Reload(reload) => commands::reload::run(reload),
        Command::Stop(stop) => commands::stop::run(stop),
        Command::Config(config) => commands::config::run(config),
        Command::Man(man) => commands::manuals::man(man),
        Command::Completions(completions) => commands::manuals::completions(completions),
        Command::Bench(bench) => anyport_bench::run(bench),
        Command::BenchPeer(peer) => anyport_bench::run_peer(peer),
    };
    finish(done)
}

/// Prints why the command failed; returns its exit code.
fn finish(done: Result<Exit, Failure>) -> ExitCode {
    // The log precedes the failure.
    logging::finish();
    done.unwrap_or_else(|failure| {
        print_failure(&failure);
        failure.exit
    })
    .into()
}

impl From<ParseError> for Failure {
    fn from(refusal: ParseError) -> Self {
        let mut lines = refusal.lines().into_iter();
        let first = lines.next().unwrap_or_default();
        let is_missing = first.contains("No such file or directory");
        let first = anyhow::Error::msg(first);
        let failure = Self { others: lines.collect(), ..Self::new(Exit::Usage, first) };
        failure.with_hint(if is_missing {
            "create a file with anyport config example > FILE"
        } else {
            "anyport config example lists all keys, and anyport serve --help all flags"
        })
    }
}

#[cfg(test)]
mod commit;
