//! `anyport stop`.

use anyhow::Context;
use anyport_console::{Exit, Failure, json_to_stdout, to_stderr};

use crate::daemon::control::client::Server;
use crate::daemon::flags;

pub(crate) fn run(flags: &flags::Stop) -> Result<Exit, Failure> {
    let mut server = Server::find(flags.instance.control.as_deref())?;
    let (address, _) = server.address_and_pid();
    let answer = server.ask(if flags.now { "stop now" } else { "stop" })?;
    if flags.instance.json {
        json_to_stdout(&answer).context("cannot write to stdout")?;
    } else {
        let how = if flags.now {
            "running transfers are interrupted"
        } else {
            "waiting for running transfers"
        };
        to_stderr(&format!("process {} is stopping{address}: {how}", answer["pid"]));
    }
    if flags.wait {
        server.wait()?;
        if !flags.instance.json {
            to_stderr(&format!("process {} has stopped", answer["pid"]));
        }
    }
    Ok(Exit::Done)
}
