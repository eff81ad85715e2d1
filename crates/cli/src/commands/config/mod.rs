//! `anyport config`: the settings of a server, and their sources.

mod example;
mod show;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use anyport_console::{Exit, Failure, to_stdout};
use anyport_proto::counted::counted;

use crate::flags::{Command, Config, ConfigCommand, Serve};
use crate::layers::{self, ParseError, Parsed};
use crate::settings;

pub(crate) fn run(flags: &Config) -> Result<Exit, Failure> {
    match &flags.command {
        ConfigCommand::Check(check) => self::check(check.file.as_deref()),
        ConfigCommand::Show(show) => show::run(show),
        ConfigCommand::Example => example::run(),
    }
}

fn check(file: Option<&Path>) -> Result<Exit, Failure> {
    let flags = file.map(|file| ["--config".into(), file.into()]);
    let parsed = serve(flags.into_iter().flatten())?;
    let serve = serve_flags(&parsed)?;
    settings::check(serve).map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
    let what = match &serve.config {
        Some(file) => file.display().to_string(),
        None => "the environment".to_owned(),
    };
    let count = parsed.settings.iter().filter(|setting| setting.source != layers::Source::Default);
    let count = counted(count.count() as u64, "setting");
    to_stdout(&format!("{what} is valid: {count}")).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

/// Parses these flags as `anyport serve` does.
fn serve(flags: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    let line = ["anyport", "serve"].map(OsString::from).into_iter().chain(flags);
    layers::parse(line.collect(), &layers::environment).map_err(ParseError::into)
}

fn serve_flags(parsed: &Parsed) -> Result<&Serve, Failure> {
    match &parsed.flags.command {
        Command::Serve(serve) => Ok(serve),
        _ => Err(Failure::new(Exit::Usage, anyhow::anyhow!("not a command line of anyport serve"))),
    }
}
