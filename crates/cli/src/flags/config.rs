//! The flags of `anyport config`, `man` and `completions`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

/// Check, show or generate the settings of anyport serve
///
/// A setting is a flag of anyport serve. Its key in a file is the name of the flag without dashes
/// before it (max-conns = 5), its environment variable is ANYPORT_ and the name
/// (ANYPORT_MAX_CONNS=5). A flag overrides the variable, which overrides the file.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    Check(Check),
    Show(Show),
    /// Print a settings file to edit: every key, its meaning, its default
    Example,
}

/// Check whether anyport serve could start with a settings file
///
/// Reports all wrong keys and values together; then whether the settings fit together, and whether
/// the addresses, directories and files they name exist and can be used, including certificates and
/// keys that an earlier start generated. An expired certificate is a warning. The check opens no
/// port, so it can run beside the server.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Settings file [default: the variable ANYPORT_CONFIG]
    ///
    /// Without either, the check covers the environment variables only.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Print every setting and where its value comes from
///
/// The output is a valid settings file. Secret values are not shown.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print one JSON object (accepted among FLAGS too)
    #[arg(long)]
    pub(crate) json: bool,

    /// Flags of anyport serve, such as --config FILE
    ///
    /// All are accepted except --json, which applies to this command.
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<OsString>,
}

/// Print the man page of anyport or of one of its commands
///
/// To read it: anyport man serve | man -l -
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Command whose page to print, such as serve or config show
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// Write all pages into DIR, created if it does not exist
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

/// Print a shell script that completes commands, flags and values
///
/// bash: anyport completions bash > ~/.local/share/bash-completion/completions/anyport
///
/// zsh: anyport completions zsh > DIR/_anyport, where DIR is in fpath before compinit runs
///
/// fish: anyport completions fish > ~/.config/fish/completions/anyport.fish
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Name of the shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
