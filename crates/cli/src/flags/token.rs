//! The flags of `anyport token`.

use clap::Args;

use crate::values;

/// Generate an access token for serve --token-file
///
/// Prints 32 random bytes in Base64 on stdout. Store them in a file that only you can read: umask
/// 077; anyport token > FILE. The --token-file of the clients has the same format.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Name of the user, printed before the token
    ///
    /// The server logs it with each connection that uses the token. 1 to 15 of A-Z a-z 0-9 . _ -
    #[arg(long, value_name = "NAME", value_parser = values::user_name)]
    pub(crate) name: Option<String>,
}
