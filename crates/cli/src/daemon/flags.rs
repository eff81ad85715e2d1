//! Flags of a server that runs in the background, and of the commands that talk to one.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use rustix::fs::Access;

use super::log_file::standard_stream;
use crate::Failure;
use crate::exit::Exit;

/// How the server runs, not what it serves.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Background {
    /// Go to the background when it serves: this command ends then, or with the error that kept it from serving
    #[arg(long, help_heading = "Daemon")]
    pub(crate) daemon: bool,

    /// File that holds the process id while the server runs, locked so that a second one does not start
    #[arg(long, value_name = "FILE", help_heading = "Daemon")]
    pub(crate) pid_file: Option<PathBuf>,

    /// File that gets all that would be on stdout and stderr; opened anew on SIGUSR1, and when it was renamed or removed
    #[arg(long, value_name = "FILE", help_heading = "Daemon")]
    pub(crate) log_file: Option<PathBuf>,

    /// Unix socket for anyport status, reload and stop, or none [default: anyport/PORT.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, /run/user/UID or /run, or /tmp/anyport-UID/PORT.sock]
    #[arg(long, value_name = "PATH", help_heading = "Daemon")]
    pub(crate) control: Option<PathBuf>,
}

impl Background {
    /// Whether stderr is led elsewhere when the server serves.
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

    /// Whether the files that it names can be made where they are to be.
    ///
    /// # Errors
    /// The first whose directory is not there, or not ours to write.
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

/// Which server is meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Control socket of the server [default: that of the only server that runs]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// The answer as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what running servers do: addresses, connections, transfers, limits.
///
/// Without --control every server of this user is shown; with --json each is one line. Exit codes: 0 all answered, 1 failed, 3 none
/// runs.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Have a running server read its settings anew; connections live on. The same as SIGHUP, with an answer.
///
/// Exit codes: 0 done, 1 the new settings cannot be used and the old ones stay, 2 several run and none was named, 3 none runs.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Stop a running server: nothing new is taken, running transfers may finish. The same as SIGTERM, with an answer.
///
/// Exit codes: 0 told, or with --wait ended; 2 several run and none was named, 3 none runs.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Let no transfer finish; what has come of them is kept, and they can be gone on with
    #[arg(long)]
    pub(crate) now: bool,

    /// Come back when it has ended
    #[arg(long)]
    pub(crate) wait: bool,
}
