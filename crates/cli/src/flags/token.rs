//! The flags of `anyport token`.

use clap::Args;

use crate::values;

/// Print a new token for serve --token-file.
///
/// It is 32 random bytes in Base64, on stdout. Put it into a file that only you can read (umask 077; anyport token >
/// FILE), which is what the clients' --token-file reads too.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Who it is for, before it on the line: what logs show of its user; 1 to 15 of A-Z a-z 0-9 . _ -
    #[arg(long, value_name = "NAME", value_parser = values::user_name)]
    pub(crate) name: Option<String>,
}
