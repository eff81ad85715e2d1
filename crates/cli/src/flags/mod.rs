//! Every flag of every command, by command; the doc comments are the help.

mod config;
mod connect;
pub(crate) mod help;
mod notes;
mod probe;
mod resolve;
mod serve;
mod share;
mod talk;
mod tls;
mod token;
mod trace;
mod transfer;

pub(crate) use config::{Completions, Config, ConfigCommand, Man, Show};
pub(crate) use connect::Connect;
pub(crate) use probe::Probe;
pub(crate) use resolve::Resolve;
pub(crate) use serve::Serve;
pub(crate) use share::Share;
pub(crate) use talk::{Cat, Chat};
pub(crate) use tls::{ClientTls, ServerTls};
pub(crate) use token::Token;
pub(crate) use trace::{Trace, Traced};
pub(crate) use transfer::{Connection, Get, Ls, Send};

use clap::{Command as Program, CommandFactory, Parser, Subcommand};

use crate::daemon;
use crate::setting::Restart;

/// Transfer files over one port, with any client: nc, curl, a browser
///
/// One port. Any client. A whole file. A number you can believe: each transfer ends with a receipt
/// of the bytes, the digest and the time, as the receiver measured them.
///
/// anyport serve detects the protocol of each connection to its port: raw TCP, HTTP/1.1, HTTP/2 and
/// WebSocket, with and without TLS. It receives and serves files, and has rooms for chat, pipes
/// from one client to others, and echo. The other commands are its clients.
#[derive(Debug, Parser)]
#[command(name = "anyport", version, long_version = env!("LONG_VERSION"))]
pub(crate) struct Anyport {
    /// Log to stderr: -v info, -vv debug, -vvv trace
    ///
    /// The variable ANYPORT_LOG, if set, overrides it with one of the levels error, warn (the
    /// default without -v), info, debug and trace.
    #[arg(short, long, global = true, display_order = 998, action = clap::ArgAction::Count)]
    #[arg(add = Restart::Always)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Returns the program with all its commands and their help.
pub(crate) fn program() -> Program {
    help::with_help(Anyport::command())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Send(Send),
    Get(Get),
    Ls(Ls),
    Share(Share),
    Chat(Chat),
    Cat(Cat),
    Trace(Box<Trace>),
    Probe(Probe),
    Resolve(Resolve),
    Status(daemon::flags::Status),
    Reload(daemon::flags::Reload),
    Stop(daemon::flags::Stop),
    Token(Token),
    Bench(anyport_bench::flags::Bench),
    Config(Config),
    Man(Man),
    Completions(Completions),
    /// Internal process of anyport bench
    #[command(hide = true)]
    BenchPeer(anyport_bench::flags::Peer),
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn flags_fit_together() {
        program().debug_assert();
    }

    #[test]
    fn the_last_argument_of_send_is_the_target() {
        let flags = Anyport::parse_from(["anyport", "send", "a", "-", "tcp://h/"]);
        let Command::Send(send) = flags.command else { panic!() };
        assert_eq!(send.files, [PathBuf::from("a"), PathBuf::from("-")]);
        assert_eq!(send.target, "tcp://h/");
        assert!(Anyport::try_parse_from(["anyport", "send", "tcp://h/"]).is_err());
    }
}
