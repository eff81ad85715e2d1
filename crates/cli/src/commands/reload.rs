//! `anyport reload`.

use anyhow::{Context, anyhow};
use anyport_console::{Exit, Failure, json_to_stdout, to_stderr, to_stdout};

use crate::daemon::control::client::Server;
use crate::daemon::flags;

pub(crate) fn run(flags: &flags::Reload) -> Result<Exit, Failure> {
    let mut server = Server::find(flags.instance.control.as_deref())?;
    let (address, pid) = server.address_and_pid();
    if !pid.is_null() {
        to_stderr(&format!("reloading process {pid}{address}"));
    }
    let answer = server.ask("reload")?;
    let line = answer["line"].as_str().unwrap_or_default().replace(char::is_control, " ");
    let done = answer["ok"] == true;
    if flags.instance.json {
        json_to_stdout(&answer).context("cannot write to stdout")?;
        return Ok(if done { Exit::Done } else { Exit::Failed });
    }
    if !done {
        return Err(Failure::new(Exit::Failed, anyhow!("{line}"))
            .with_hint("the server keeps its previous settings"));
    }
    to_stdout(&line).context("cannot write to stdout")?;
    Ok(Exit::Done)
}
