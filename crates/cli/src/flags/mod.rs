//! Every flag of every command, by command; the doc comments are the help.

mod config;
mod resolve;
mod serve;
mod talk;
mod tls;
mod token;
mod transfer;

pub(crate) use config::{Completions, Config, ConfigCommand, Man, Show};
pub(crate) use resolve::Resolve;
pub(crate) use serve::{Fsync, Serve, Sink, SlowReader};
pub(crate) use talk::{Cat, Chat};
pub(crate) use tls::{ClientTls, ServerTls, Tls};
pub(crate) use token::Token;
pub(crate) use transfer::{Connection, Get, Links, Ls, Send};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{bench, daemon};

/// One port. Any client. A whole file. A number you can believe.
#[derive(Debug, Parser)]
#[command(name = "anyport", version, max_term_width = 100)]
pub(crate) struct Anyport {
    /// Show whole digests in receipts, and log to stderr: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Send(Send),
    Get(Get),
    Ls(Ls),
    Chat(Chat),
    Cat(Cat),
    Resolve(Resolve),
    Status(daemon::flags::Status),
    Reload(daemon::flags::Reload),
    Stop(daemon::flags::Stop),
    Token(Token),
    Bench(bench::flags::Bench),
    Config(Config),
    Man(Man),
    Completions(Completions),
    /// A part of the bench as a process of its own; not for people.
    #[command(hide = true)]
    BenchPeer(bench::flags::Peer),
}

/// Who speaks WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The project's own
    Own,
    /// tokio-tungstenite, for comparison
    Library,
}

impl Engine {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Library => "library",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_fit_together() {
        Anyport::command().debug_assert();
    }

    #[test]
    fn the_last_word_of_send_is_the_target() {
        let flags = Anyport::parse_from(["anyport", "send", "a", "-", "tcp://h/"]);
        let Command::Send(send) = flags.command else { panic!() };
        assert_eq!(send.files, [PathBuf::from("a"), PathBuf::from("-")]);
        assert_eq!(send.target, "tcp://h/");
        assert!(Anyport::try_parse_from(["anyport", "send", "tcp://h/"]).is_err());
    }
}
