//! The flags of `anyport config`, `man` and `completions`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

/// Look at the settings of anyport serve: those of its file, its environment and its flags together.
///
/// A setting is a flag of anyport serve. Its key in a file is the flag's name without dashes before it (max-conns = 5), its
/// variable is ANYPORT_ and the name (ANYPORT_MAX_CONNS=5). A flag beats its variable, and that beats the file.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    Check(Check),
    Show(Show),
    /// Print a file with every key: what it means, and what it is if nobody says otherwise
    Example,
}

/// Say whether anyport serve could start with a file, and what is wrong with it.
///
/// All that is wrong with keys and values is said at once; then whether they go together, and whether the addresses, the
/// directory and the files that are named are there and can be used: keys and certificates too, also those that an earlier
/// start has made. A certificate that has expired is a warning. Nothing is listened on, so it may be asked while a server runs.
///
/// Exit codes: 0 all is well, 2 not.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file [default: that of ANYPORT_CONFIG, or none, and then only the environment is looked at]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Print every setting, and where it comes from, as a file that could be used.
///
/// FLAGS are those of anyport serve: --config FILE and any others, but for --json, which is about this output. What is secret is
/// not shown.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// As one JSON object on a line; before, among or after FLAGS
    #[arg(long)]
    pub(crate) json: bool,

    /// Flags that anyport serve would be given
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<OsString>,
}

/// Print the manual: the page of anyport, or of one of its commands.
///
/// anyport man serve | man -l - shows it.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command: serve, or config show
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// Write all pages into DIR instead, which is made if it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

/// Print what makes a shell complete commands, flags and their values.
///
/// bash: anyport completions bash > ~/.local/share/bash-completion/completions/anyport
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
