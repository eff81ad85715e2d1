//! The flags of `anyport token`.

use anyport_console::values;
use clap::Args;

/// Generate an access token for serve --token-file
///
/// Prints 32 random bytes in Base64 on stdout. Store them in a file that only you can read: umask
/// 077; anyport token > FILE. Give the client the token without the name; its --token-file has
/// lines of TOKEN or HOST TOKEN.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Name of the user, printed before the token
    ///
    /// The server logs it with each connection that uses the token. 1 to 15 characters: letters,
    /// digits, . _ -
    #[arg(long, value_name = "NAME", value_parser = values::user_name)]
    pub(crate) name: Option<String>,
}
