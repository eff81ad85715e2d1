//! `--daemon`: the program executes itself once more with the same arguments and without a
//! terminal, and waits until that process serves or has failed.
//!
//! ```text
//!   anyport serve --daemon …        the shell's child
//!     └─ the same again             stdin /dev/null, stdout a pipe to the first, stderr as it was
//!          setsid                   no terminal, and no signal of one
//!          … binds, opens …         errors go to the terminal, and the first process exits alike
//!          "ready"                  to the pipe; stderr leaves the terminal, the first exits 0
//! ```
//!
//! Executing again instead of forking needs no unsafe code, and no lock can be held in the new
//! process. The working directory and the umask stay, so that relative paths keep their meaning.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use anyport_console::{Exit, Failure, json_to_stdout, to_stderr};
use rustix::stdio;

use super::{flags, inherited};

/// Starts the daemon, and waits until it serves; `None` where this process is to serve itself.
pub(crate) fn detach(flags: &flags::Background) -> Result<Option<Exit>, Failure> {
    if !flags.daemon || std::env::var_os(DETACHED).is_some() {
        return Ok(None);
    }
    if inherited::are_there() {
        let error = anyhow!("--daemon cannot be combined with inherited sockets (LISTEN_FDS)");
        return Err(Failure::new(Exit::Usage, error).with_hint(
            "leave out --daemon: under a service manager the server runs in the foreground",
        ));
    }
    flags.check_log_file()?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("anyport"));
    // Not by its path: an upgrade may have put another program there.
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the daemon")?;
    let mut said = String::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(MAX_OUTPUT).read_to_string(&mut said).context("cannot read from the daemon")?;
    }
    if let Some(line) = said.strip_suffix(READY) {
        match line.starts_with('{') {
            true => json_to_stdout(&line.trim_end()).context("cannot write to stdout")?,
            false => to_stderr(line.trim_end()),
        }
        return Ok(Some(Exit::Done));
    }
    let status = child.wait().context("cannot wait for the daemon")?;
    match status.code().and_then(Exit::from_code) {
        Some(Exit::Done) | None => {
            let signal = status.signal().map(|signal| format!(" (signal {signal})"));
            let signal = signal.unwrap_or_default();
            Err(anyhow!("the daemon exited during its start{signal}").into())
        }
        // It has reported the reason.
        Some(exit) => Ok(Some(exit)),
    }
}

/// The state of a daemon until it serves.
#[derive(Debug)]
pub(crate) struct Detached {
    /// The pipe to the starting process.
    pipe: File,
    null: File,
}

impl Detached {
    /// `None` where this is no daemon.
    pub(super) fn begin(flags: &flags::Background) -> Result<Option<Self>, Failure> {
        if !flags.daemon {
            return Ok(None);
        }
        rustix::process::setsid().context("cannot detach from the terminal")?;
        let pipe = io::stdout().as_fd().try_clone_to_owned();
        let pipe = File::from(pipe.context("cannot keep the pipe to the starting process")?);
        let null = OpenOptions::new().write(true).open("/dev/null");
        Ok(Some(Self { pipe, null: null.context("cannot open /dev/null")? }))
    }

    pub(super) fn leave_stdout(&self) -> Result<(), Failure> {
        Ok(stdio::dup2_stdout(&self.null).context("cannot redirect stdout")?)
    }

    pub(super) fn leave_stderr(&self) -> Result<(), Failure> {
        Ok(stdio::dup2_stderr(&self.null).context("cannot redirect stderr")?)
    }

    /// Notifies the starting process that the server is ready; then it exits.
    pub(crate) fn ready(mut self, line: &str) -> Result<(), Failure> {
        let said = self.pipe.write_all(format!("{line}\n{READY}").as_bytes());
        // No process is left that knows of the server.
        Ok(said.context("the starting process has exited")?)
    }
}

/// Variable that marks the second process.
const DETACHED: &str = "ANYPORT_DETACHED";

/// The last output to the starting process.
const READY: &str = "ready\n";

/// Maximum output before the daemon is ready: a line.
const MAX_OUTPUT: u64 = 64 * 1024;
