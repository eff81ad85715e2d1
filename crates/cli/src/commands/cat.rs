//! `anyport cat`.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::anyhow;
use anyport_client::{CatOptions, ErrorKind, Target, cat};
use anyport_console::{Exit, Failure, to_stderr};
use anyport_net::congestion::Congestion;
use anyport_net::waiting::Waiting;

use crate::flags;

pub(crate) fn run(flags: &flags::Cat) -> Result<Exit, Failure> {
    // An invalid URL is reported by cat.
    let target = flags.url.replacen("udp://", "tcp://", 1).parse::<Target>().ok();
    let mut options = CatOptions::default();
    options.binary = flags.binary;
    options.quit_after = flags.quit_after;
    options.shutdown = !flags.no_shutdown;
    // A user at a terminal sees that the server has closed, and does not need to send more.
    options.outlasts = !io::stdin().is_terminal();
    // Congestion control does not make typed input faster.
    options.connect = super::connecting(&flags.connect, target.as_slice())?;
    if options.connect.unix_socket.is_some() && flags.url.starts_with("udp://") {
        let error = anyhow!("--unix-socket cannot be combined with udp://");
        return Err(Failure::new(Exit::Usage, error).with_hint("leave out one of them"));
    }
    options.connect.congestion = Congestion::System;
    options.token = flags.credential.handshake_token(&flags.url)?;
    match cat(&flags.url, &options, Waiting(io::stdin()), Waiting(io::stdout())) {
        Ok(reason) => {
            // Of a file that the server stored, it is the receipt.
            if let Some(reason) = reason {
                to_stderr(&format!("note: the server closed with: {reason}"));
            }
            Ok(Exit::Done)
        }
        // The reader of the output has closed it.
        Err(error) if error.is_closed_output() => Ok(Exit::Done),
        Err(error) => {
            let forms = "use tcp://HOST:PORT, ws://HOST:PORT/PATH or udp://HOST:PORT";
            let (exit, hint) = match error.kind() {
                ErrorKind::Target(_) => {
                    (Exit::Usage, error.hint().or_else(|| Some(forms.to_owned())))
                }
                ErrorKind::NoPath(..) | ErrorKind::NoChannel => (Exit::Usage, error.hint()),
                _ => (Exit::from(error.origin()), error.hint()),
            };
            let is_file = Path::new(&flags.url).exists();
            let no_url = "the argument is the URL of a server; to print a file use cat";
            let hint = if is_file { Some(no_url.to_owned()) } else { hint };
            let failure = Failure { hint, ..Failure::new(exit, error) };
            Err(match target {
                Some(target) => failure.at(&target, &options.connect),
                None => failure,
            })
        }
    }
}
