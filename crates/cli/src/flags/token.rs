//! The flags of `anyport token`.

use anyport_console::values;
use anyport_proto::access::Rights;
use anyport_proto::transfer::file_path::FilePath;
use clap::Args;

/// Generate an access token for serve --token-file
///
/// Prints 32 random bytes in Base64 on stdout. Store them in a file that only you can read: umask
/// 077; anyport token > FILE. A line of the server's file is TOKEN, or NAME TOKEN RIGHTS /PATH,
/// where RIGHTS and /PATH may be left out; a line of a client's file is TOKEN or HOST TOKEN,
/// without the name of the user.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Name of the user, printed before the token
    ///
    /// The server logs it with each connection that uses the token. 1 to 15 characters: letters,
    /// digits, . _ -
    #[arg(long, value_name = "NAME", value_parser = values::user_name)]
    pub(crate) name: Option<String>,

    /// Rights of the token, printed behind it
    ///
    /// A list of words, such as read,write (see serve --allow) [default: read,write,talk]
    #[arg(long, value_name = "RIGHTS", requires = "name")]
    pub(crate) rights: Option<Rights>,

    /// File or directory of the server that the token is for
    #[arg(long, value_name = "PATH", requires = "name", value_parser = scope)]
    pub(crate) path: Option<FilePath>,
}

/// Parses the path of a line of the server's file.
fn scope(text: &str) -> Result<FilePath, String> {
    let path = text.trim_end_matches('/').strip_prefix('/');
    let path = path.and_then(|path| FilePath::exact(path.as_bytes()).ok());
    let is_one_line = !text.contains(char::is_control) && text == text.trim();
    path.filter(|_| is_one_line).ok_or_else(|| "expected a path such as /photos/2026".to_owned())
}
