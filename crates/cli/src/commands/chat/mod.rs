//! `anyport chat`.
//!
//! The main thread receives and prints events; another one reads input. On a terminal a line editor
//! keeps the input line intact while events are printed above it.

mod input;
mod output;

use std::io::{self, IsTerminal};
use std::slice;

use anyport_client::{ChatOptions, Left, Target, chat, room};
use anyport_console::{Exit, Failure};
use anyport_net::congestion::Congestion;
use anyport_proto::counted::counted;
use tokio::sync::mpsc::channel;

use self::input::{Ending, Input};
use self::output::Output;
use crate::flags;

pub(crate) fn run(flags: &flags::Chat) -> Result<Exit, Failure> {
    let target = flags.credential.target(&flags.url, "use HOST:PORT/rooms/NAME")?;
    let options = options(flags, &target)?;
    room(&target, &options).map_err(|error| {
        let hint = error.hint();
        Failure { hint, ..Failure::new(Exit::Usage, error) }
    })?;
    // A dumb terminal cannot print above its input line.
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let edits = !flags.json && !is_dumb && is_terminal;
    let (input, printer) = Input::open(edits)?;
    let mut output = Output::new(flags.json, printer);
    let (said, queue) = channel(QUEUE);
    let ending = input.start(said);
    let done = chat(&target, &options, queue, &mut |notification| output.tell(notification));
    let ending = ending.stop();
    match done {
        Ok(Left { refused: 0, unconfirmed: 0, .. }) => match ending {
            Ending::Interrupted => Ok(Exit::Interrupted),
            Ending::Done => Ok(Exit::Done),
            Ending::LinesSkipped(lines) => {
                Err(anyhow::anyhow!("{} not sent", counted(lines as u64, "line")).into())
            }
        },
        Ok(Left { refused, unconfirmed: 0, .. }) => {
            let error = anyhow::anyhow!("the room refused {}", counted(refused as u64, "message"));
            Err(Failure::new(Exit::Refused, error))
        }
        Ok(Left { unconfirmed, .. }) => {
            let error = anyhow::anyhow!("{} not confirmed", counted(unconfirmed as u64, "message"));
            Err(Failure::new(Exit::ConnectionLost, error)
                .with_hint("they may or may not have reached the room"))
        }
        // The reader of the output has closed it.
        Err(error) if error.is_closed_output() => Ok(Exit::Done),
        Err(error) => {
            let (exit, hint) = (Exit::from(error.origin()), error.hint());
            Err(Failure { hint, ..Failure::new(exit, error) }.at(&target, &options.connect))
        }
    }
}

fn options(flags: &flags::Chat, target: &Target) -> Result<ChatOptions, Failure> {
    let mut options = ChatOptions::default();
    options.nick = flags.nick.clone();
    options.history = flags.history;
    options.retries = flags.retry;
    options.retry_max_time = flags.retry_max_time;
    options.connect = super::connecting(&flags.connect, slice::from_ref(target))?;
    options.connect.congestion = Congestion::System;
    Ok(options)
}

/// Maximum number of lines that wait for the room. Beyond it input is not read.
const QUEUE: usize = 64;
