//! Storage of files.

use std::time::Duration;

use anyport_console::choices::{FSYNC, SINKS};
use anyport_console::values;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_server::{Config, Fsync, SinkKind};
use clap::Args;

use crate::setting::Restart;

/// Storage of files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Storage backend (memory and discard are for benchmarks)
    #[arg(long, value_name = "BACKEND", default_value = "file", add = Restart::Always)]
    #[arg(value_parser = values::choice(SINKS))]
    pub(crate) sink: SinkKind,

    /// What to fsync before sending the receipt
    #[arg(long, value_name = "MODE", default_value = "file")]
    #[arg(value_parser = values::choice(FSYNC))]
    pub(crate) fsync: Fsync,

    /// Digest of files whose client selects no algorithm
    ///
    /// ALGORITHM is blake3, sha256 or none (no digest).
    #[arg(long, value_name = "ALGORITHM", default_value = "blake3")]
    pub(crate) digest: Algorithm,

    /// If the name is taken: error, rename, overwrite
    ///
    /// Clients may request error or rename instead; they may request overwrite only if it is given
    /// here. [default: error for clients that send size and modification time (anyport send), and
    /// rename for all others (nc, curl, browsers, anyport send from standard input)]
    #[arg(long, value_name = "POLICY")]
    pub(crate) on_exists: Option<OnExists>,

    /// Maximum size of one file [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    pub(crate) max_size: Option<u64>,

    /// Maximum total size of DIR [default: unlimited]
    ///
    /// Counts files, partial files and directories, including those that exist before the start.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    #[arg(add = Restart::ToSetOrUnset)]
    pub(crate) quota: Option<u64>,

    /// Maximum number of files and directories in DIR, with --quota
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    #[arg(value_parser = values::number(1..=u64::MAX))]
    pub(crate) max_entries: u64,

    /// Maximum total size of files in memory, with --sink memory
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, default_value = "4GiB")]
    pub(crate) max_memory: u64,

    /// Time after which partial files of interrupted uploads are removed
    #[arg(long, alias = "keep-parts", value_name = "DURATION", default_value = "24h")]
    #[arg(value_parser = values::duration)]
    pub(crate) keep_partial: Duration,

    /// Maximum number of partial files; the oldest are removed
    ///
    /// One IP address (for IPv6, one /64 network) may have a quarter of them. The newest partial
    /// file of each address is always kept.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = values::count)]
    pub(crate) max_partial: usize,

    /// Maximum total size of partial files [default: half the file system]
    ///
    /// One IP address (for IPv6, one /64 network) may use a quarter of it.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    pub(crate) max_partial_bytes: Option<u64>,

    /// Apply the permissions that clients request, even beyond the umask
    ///
    /// Clients request them with anyport send --perms. Without this flag the umask of the server
    /// limits them.
    #[arg(long)]
    pub(crate) perms: bool,
}

impl Files {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.startup.sink = self.sink;
        config.fsync = self.fsync;
        config.digest = self.digest;
        config.on_exists = self.on_exists;
        config.max_size = self.max_size.unwrap_or(config.max_size);
        config.quota = self.quota;
        config.max_entries = self.max_entries;
        config.max_memory = self.max_memory;
        config.keep_partial = self.keep_partial;
        config.max_partial = self.max_partial;
        config.max_partial_bytes = self.max_partial_bytes;
        config.perms = self.perms;
    }
}
