//! The `anyport` command: flags, output, exit codes. Everything else is in the crates below it.

#![forbid(unsafe_code)]

mod bench;
mod commands;
mod daemon;
mod exit;
mod flags;
mod listen;
mod output;
mod reload;
mod settings;
mod template;
mod trust;
mod values;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Exit;
use crate::flags::{Anyport, Command};

fn main() -> ExitCode {
    let flags = Anyport::parse();
    output::start_logging(flags.verbose);
    let done = match &flags.command {
        Command::Serve(serve) => commands::serve::run(serve),
        Command::Send(send) => commands::send::run(send),
        Command::Get(get) => commands::get::run(get),
        Command::Chat(chat) => commands::chat::run(chat),
        Command::Cat(cat) => commands::cat::run(cat),
        Command::Ls(ls) => commands::ls::run(ls),
        Command::Resolve(resolve) => commands::resolve::run(resolve),
        Command::Status(status) => commands::status::run(status),
        Command::Reload(reload) => commands::reload::run(reload),
        Command::Stop(stop) => commands::stop::run(stop),
        Command::Bench(bench) => bench::run(bench),
        Command::BenchPeer(peer) => bench::run_peer(peer),
    };
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
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), hint: None, exit }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}
