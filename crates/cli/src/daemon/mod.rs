//! Runs the server as a well-behaved Linux daemon, independent of what it serves.
//!
//! - `detach` `--daemon`: the same program again, without a terminal
//! - `pid_file` one server for each file, by a lock
//! - `log_file` stdout and stderr in a file, which may be rotated
//! - `inherited` sockets that a service manager has opened
//! - `descriptors` how many connections the limit on open files permits
//! - `notify` messages to a service manager
//! - `control` the socket for `anyport status`, `reload` and `stop`
//! - `status` replies of the control socket

pub(crate) mod control;
mod descriptors;
mod detach;
pub(crate) mod flags;
pub(crate) mod inherited;
mod log_file;
mod notify;
mod pid_file;
mod status;

pub(crate) use descriptors::apply_file_limit;
pub(crate) use detach::{Detached, detach};
pub(crate) use log_file::LogFile;
pub(crate) use notify::{Manager, STATUS_EVERY, stopping};
pub(crate) use pid_file::PidFile;
#[cfg(test)]
pub(crate) use status::limits;
pub(crate) use status::{Order, ServerHandle};

use anyport_console::Failure;

use crate::logging;

/// The objects that a server holds from start to end.
#[derive(Debug)]
pub(crate) struct Background {
    /// The process that waits until the server is ready.
    pub(crate) detached: Option<Detached>,
    pub(crate) log_file: Option<LogFile>,
    #[expect(dead_code, reason = "held until it is dropped")]
    pid_file: Option<PidFile>,
}

impl Background {
    /// Detaches, locks the pid file and opens the log file. Must be called before any thread
    /// exists.
    pub(crate) fn begin(flags: &flags::Background) -> Result<Self, Failure> {
        let detached = Detached::begin(flags)?;
        let pid_file = flags.pid_file.as_deref().map(PidFile::take).transpose()?;
        let log_file = flags.log_file.as_deref().map(LogFile::open).transpose()?;
        let begun = Self { detached, log_file, pid_file };
        begun.redirect_stdout()?;
        Ok(begun)
    }

    /// Redirects stdout; errors still go to the starting process.
    fn redirect_stdout(&self) -> Result<(), Failure> {
        match (&self.log_file, &self.detached) {
            (Some(log_file), _) => log_file.take_stdout(),
            (None, Some(detached)) => detached.leave_stdout(),
            (None, None) => Ok(()),
        }
    }

    /// Redirects stderr, after the last step that could fail.
    pub(crate) fn redirect_stderr(&self) -> Result<(), Failure> {
        // Warnings of the start belong to the person who started it.
        logging::finish();
        match (&self.log_file, &self.detached) {
            (Some(log_file), _) => log_file.take_stderr(),
            (None, Some(detached)) => detached.leave_stderr(),
            (None, None) => Ok(()),
        }
    }
}
