//! The flags of `anyport token`.

use anyport_console::values;
use clap::Args;

/// Generate an access token for serve --token-file
///
/// Prints 32 random bytes in Base64 on stdout. Store them in a file that only you can read: umask
/// 077; anyport token > FILE. A line of the server's file is TOKEN or NAME TOKEN; a line of a
/// client's file is TOKEN or HOST TOKEN, without the name of the user.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Name of the user, printed before the token
    ///
    /// The server logs it with each connection that uses the token. 1 to 15 characters: letters,
    /// digits, . _ -
    #[arg(long, value_name = "NAME", value_parser = values::user_name)]
    pub(crate) name: Option<String>,
}
