//! `anyport token`.

use anyhow::Context;
use anyport_console::{Exit, Failure, to_stdout};

use crate::{access, flags};

pub(crate) fn run(flags: &flags::Token) -> Result<Exit, Failure> {
    let token = access::generate()?;
    let words = [
        flags.name.clone(),
        Some(token),
        flags.rights.map(|rights| rights.to_string()),
        flags.path.as_ref().map(|path| format!("/{}", path.text())),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    to_stdout(&words.join(" ")).context("cannot write to stdout")?;
    Ok(Exit::Done)
}
