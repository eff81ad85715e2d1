//! The flags of `anyport share`.

use std::time::Duration;

use anyport_console::values;
use clap::Args;

use super::Connection;

/// Make a link to one file, or a drop box, for people without a token
///
/// The server must allow it: by serve --allow share, or by a token with the right share. Each
/// person with the link can download the file; with --drop, can upload files, and see nothing. A
/// link to a file is for its content: if the file is changed or removed, the link leads to nothing.
/// A link ends after --expires, with --revoke, or with the token that made it.
///
/// URL is HOST:PORT/PATH or http://HOST:PORT/PATH, under TLS https://; the command always uses
/// HTTP. A URL below a path of a proxy (serve --base-path) needs a token with the right read.
#[derive(Debug, Args)]
pub(crate) struct Share {
    /// File to link to: HOST:PORT/PATH or http://HOST:PORT/PATH
    ///
    /// With --drop a directory; with --list and --revoke any URL of the server.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Make a drop box, a new directory for uploads in URL
    ///
    /// An upload never replaces a file, and a person with the link sees no file.
    #[arg(long, conflicts_with_all = ["list", "revoke"])]
    pub(crate) drop: bool,

    /// List your links; with the right admin, all
    #[arg(long, conflicts_with = "revoke")]
    pub(crate) list: bool,

    /// End the link NAME; files in a drop box stay
    #[arg(long, value_name = "NAME")]
    pub(crate) revoke: Option<String>,

    /// End the link after DURATION
    ///
    /// At most 366d.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = values::duration)]
    pub(crate) expires: Duration,

    /// Name of the link [default: that of the file, or drop]
    ///
    /// The directory of a drop box has this name too, with a number if it is in use.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Maximum size of all files of a drop box [default: 1 GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, requires = "drop")]
    pub(crate) max_bytes: Option<u64>,

    /// Maximum number of files of a drop box [default: 100]
    #[arg(long, value_name = "COUNT", requires = "drop")]
    #[arg(value_parser = values::number(1..=100_000))]
    pub(crate) max_files: Option<u32>,

    /// Maximum concurrent uploads to a drop box [default: 4]
    #[arg(long, value_name = "COUNT", requires = "drop")]
    #[arg(value_parser = values::number(1..=64))]
    pub(crate) max_uploads: Option<u32>,

    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Print links as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}
