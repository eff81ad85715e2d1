//! `anyport token`.

use anyhow::Context;
use anyport_console::{Exit, Failure, to_stdout};

use crate::{access, flags};

pub(crate) fn run(flags: &flags::Token) -> Result<Exit, Failure> {
    let token = access::generate()?;
    let line = match &flags.name {
        Some(name) => format!("{name} {token}"),
        None => token,
    };
    to_stdout(&line).context("cannot write to stdout")?;
    Ok(Exit::Done)
}
