//! `anyport cat`.

use std::io::{self, IsTerminal};

use anyport_client::{CatError, CatOptions, Target, cat};
use anyport_console::{Exit, Failure};
use anyport_net::congestion::Congestion;
use anyport_net::waiting::Waiting;

use crate::flags;

pub(crate) fn run(flags: &flags::Cat) -> Result<Exit, Failure> {
    let mut options = CatOptions::default();
    options.binary = flags.binary;
    options.quit_after = flags.quit_after;
    options.shutdown = !flags.no_shutdown;
    // Who sits at a terminal sees that the server has ended, and has nothing more to say to it.
    options.outlasts = !io::stdin().is_terminal();
    // No congestion control makes what is typed faster.
    options.connect = super::connecting(&flags.connect)?;
    options.connect.congestion = Congestion::System;
    options.token = flags.credential.handshake_token(&flags.url)?;
    match cat(&flags.url, &options, Waiting(io::stdin()), Waiting(io::stdout())) {
        Ok(()) => Ok(Exit::Done),
        // Whoever reads has enough.
        Err(CatError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => {
            let exit = match error {
                CatError::Target(_) | CatError::NoPath { .. } => Exit::Usage,
                _ => Exit::from(error.blame()),
            };
            let failure = Failure { hint: error.hint(), ..Failure::new(exit, error) };
            let target = flags.url.replacen("udp://", "tcp://", 1).parse::<Target>();
            Err(match target {
                Ok(target) => failure.at(&target, &options.connect),
                Err(_) => failure,
            })
        }
    }
}
