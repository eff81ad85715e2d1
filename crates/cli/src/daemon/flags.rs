//! Flags of a server that runs in the background, and of the commands that talk to one.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use anyport_console::{Exit, Failure};
use clap::Args;
use rustix::fs::Access;

use super::log_file::standard_stream;
use crate::setting::Restart;

/// Flags of a server that runs in the background.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Background {
    /// Run in the background
    ///
    /// This command exits once the server accepts connections, or with the error that prevented
    /// that.
    #[arg(long, help_heading = "Daemon", add = Restart::Always)]
    pub(crate) daemon: bool,

    /// Write the process id to FILE, locked while the server runs
    ///
    /// A second server with the same FILE does not start.
    #[arg(long, value_name = "FILE", help_heading = "Daemon", add = Restart::Always)]
    pub(crate) pid_file: Option<PathBuf>,

    /// Write all output to FILE instead of stdout and stderr
    ///
    /// The server reopens FILE on SIGUSR1, and if it was renamed or removed (log rotation).
    #[arg(long, value_name = "FILE", help_heading = "Logging", add = Restart::Always)]
    pub(crate) log_file: Option<PathBuf>,

    /// Unix socket for status, reload and stop; none disables it
    ///
    /// [default: PORT.sock in $RUNTIME_DIRECTORY if that is set, else in the first of these that is
    /// usable: $XDG_RUNTIME_DIR/anyport, /run/user/UID/anyport, /run/anyport, /tmp/anyport-UID]
    #[arg(long, value_name = "SOCKET", help_heading = "Daemon", add = Restart::Always)]
    pub(crate) control: Option<PathBuf>,
}

impl Background {
    /// Returns whether stderr is redirected while serving.
    pub(crate) const fn leads_stderr_away(&self) -> bool {
        self.daemon || self.log_file.is_some()
    }

    /// Checks that the log file outlives the command that starts a daemon.
    pub(super) fn check_log_file(&self) -> Result<(), Failure> {
        if self.daemon && self.log_file.as_deref().and_then(standard_stream) == Some(1) {
            let error = anyhow!("cannot log to standard output: --daemon closes it");
            return Err(
                Failure::new(Exit::Usage, error).with_hint("--log-file FILE or /dev/stderr")
            );
        }
        Ok(())
    }

    /// Checks that the named files can be created.
    ///
    /// # Errors
    /// The first whose directory does not exist, or is not writable.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.check_log_file()?;
        let control = self.control.as_deref().filter(|path| *path != Path::new("none"));
        let files = [
            ("--pid-file", self.pid_file.as_deref()),
            ("--log-file", self.log_file.as_deref()),
            ("--control", control),
        ];
        for (flag, path) in files {
            let Some(path) = path.filter(|path| standard_stream(path).is_none()) else { continue };
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
            let directory = directory.unwrap_or_else(|| Path::new("."));
            rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
                let error = anyhow!("{flag} {}: {error}", path.display());
                Failure::new(Exit::Usage, error)
                    .with_hint("its directory must exist, and be ours to write")
            })?;
        }
        Ok(())
    }
}

/// The server that a command talks to.
#[derive(Debug, Args)]
pub(crate) struct Instance {
    /// Control socket of the server
    ///
    /// [default: sockets in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/anyport, /run/user/UID/anyport,
    /// /run/anyport and /tmp/anyport-UID]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) control: Option<PathBuf>,

    /// Print the answer as JSON, one object per server
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the addresses, connections and transfers of running servers
///
/// Also shows their limits. Without --control, all servers of this user are shown.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) instance: Instance,
}

/// Reload the settings of a running server; connections stay open
///
/// Like SIGHUP, but prints the result. The server reads again its settings file and the files that
/// it names: tokens, certificates and keys. With a mistake in them it changes nothing. Settings
/// that need a restart are named. Without --control, exactly one server of this user must be
/// running.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) instance: Instance,
}

/// Stop a running server after its transfers have finished
///
/// Like SIGTERM, but prints the result. The server accepts no new connections or transfers, and
/// waits up to --drain-timeout for running ones. Without --control, exactly one server of this user
/// must be running.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) instance: Instance,

    /// Interrupt running transfers
    ///
    /// Their partial files are kept, and clients can resume them.
    #[arg(long)]
    pub(crate) now: bool,

    /// Wait until the server has stopped
    #[arg(long)]
    pub(crate) wait: bool,
}
