//! Processes of the benchmark: they have a deadline, report their cost, and never outlive the
//! benchmark.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use wait4::Wait4;

/// A program with its arguments; its standard input is empty.
#[derive(Debug)]
pub(super) struct Start {
    program: OsString,
    arguments: Vec<OsString>,
    stdin: Stdio,
    stdout: Stdio,
    environment: Vec<(&'static str, String)>,
}

impl Start {
    pub(super) fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            environment: Vec::new(),
        }
    }

    /// This very program.
    pub(super) fn ourselves() -> Result<Self> {
        Ok(Self::new(this_program()?))
    }

    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(super) fn args(self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    pub(super) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    pub(super) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = stdout.into();
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Starts it. Only the main thread may: children die with the thread that started them.
    pub(super) fn start(self) -> Result<Process> {
        let name = PathBuf::from(&self.program);
        let name = name.file_name().unwrap_or(name.as_os_str()).to_string_lossy().into_owned();
        let mut command = Command::new(this_program()?);
        command
            .args(["bench-peer", "exec", "--"])
            .arg(self.program)
            .args(self.arguments)
            .envs(self.environment)
            .stdin(self.stdin)
            .stdout(self.stdout)
            .stderr(Stdio::piped());
        let mut live = live();
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        live.insert(child.id());
        drop(live);
        let lines = child.stdout.take().map(read_lines);
        let stderr = child.stderr.take().map(collect);
        Ok(Process { name, child: Some(child), lines, stderr })
    }
}

/// Becomes another program that dies with the process that started this one.
pub(super) fn exec(command: &[OsString]) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let (program, arguments) = command.split_first().context("no program")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = Command::new(program).args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot run {}", program.display())))
}

/// A deadline, and the timeout that it was computed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn within(timeout: Duration) -> Self {
        Self { end: Instant::now() + timeout, timeout }
    }

    pub(super) fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// `within 120s (--timeout)`
impl std::fmt::Display for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "within {:?} (--timeout)", self.timeout)
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    /// `None` once it is reaped.
    child: Option<Child>,
    lines: Option<Receiver<String>>,
    stderr: Option<Receiver<String>>,
}

/// The result of a process.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// User and system time of its whole life, in seconds.
    pub(super) cpu: f64,
    pub(super) stderr: String,
}

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) now: u64,
    pub(super) peak: u64,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The next line of its standard output.
    pub(super) fn line(&mut self, deadline: Deadline) -> Result<String> {
        let name = &self.name;
        let Some(lines) = &self.lines else { bail!("{name} has no output to read") };
        match lines.recv_timeout(deadline.left()) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("no output from {name} {deadline}"),
            Err(RecvTimeoutError::Disconnected) => {
                let name = name.clone();
                let said = self.end().map(|ended| ended.stderr).unwrap_or_default();
                bail!("{name} exited without reporting what it received: {}", last_lines(&said))
            }
        }
    }

    /// All that is left of its standard output, once it has ended.
    pub(super) fn rest(&mut self) -> String {
        let lines = self.lines.take();
        lines.map(|lines| lines.iter().collect::<Vec<_>>().join("\n")).unwrap_or_default()
    }

    /// Of a process that lives.
    pub(super) fn memory(&self) -> Option<Memory> {
        memory_of(self.id())
    }

    /// Returns whether it ends within `timeout`; does not reap it.
    pub(super) fn ends_within(&self, timeout: Duration) -> Result<bool> {
        let Some(child) = &self.child else { return Ok(true) };
        let pid = Pid::from_child(child);
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a process")?;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).context("timeout too long")?;
            let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for a process"),
            }
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It did not by `deadline`, and was killed.
    pub(super) fn wait(&mut self, deadline: Deadline) -> Result<Ended> {
        if !self.ends_within(deadline.left())? {
            let name = self.name.clone();
            self.end()?;
            bail!("{name} did not exit {deadline} and was killed");
        }
        self.reap()
    }

    /// Waits; any result but success is an error.
    pub(super) fn succeed(&mut self, deadline: Deadline) -> Result<Ended> {
        let ended = self.wait(deadline)?;
        if ended.status.success() {
            return Ok(ended);
        }
        bail!("{} failed ({}): {}", self.name, ended.status, last_lines(&ended.stderr))
    }

    /// Kills the process. Files that it stored belong to the benchmark and are removed.
    pub(super) fn end(&mut self) -> Result<Ended> {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), Signal::KILL);
        }
        self.reap()
    }

    fn reap(&mut self) -> Result<Ended> {
        let child = self.child.take().with_context(|| format!("{} has exited", self.name))?;
        // After it is reaped, its process ID may belong to another process.
        live().remove(&child.id());
        let used = child.wait4().with_context(|| format!("cannot wait for {}", self.name))?;
        let stderr = self.stderr.take().and_then(|said| said.recv_timeout(STDERR_TIMEOUT).ok());
        let stderr = stderr.unwrap_or_default();
        let cpu = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        Ok(Ended { status: used.status, cpu, stderr })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.end();
        }
    }
}

/// Of any process that may be looked at.
pub(super) fn memory_of(pid: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Running processes, for the thread that handles Ctrl-C.
static LIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn live() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all processes, and lets none start any more.
pub(super) fn end_all() {
    let live = live();
    for id in live.iter() {
        if let Some(pid) = i32::try_from(*id).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // No other process can be started before the benchmark exits.
    std::mem::forget(live);
}

fn read_lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn collect(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// How long the standard error of a dead process may stay open, for example in a child of its own.
const STDERR_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the last lines of an error output, because the table has no room for all.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(2);
    let text = lines[from..].join("; ");
    if text.is_empty() { "no output".to_owned() } else { text.chars().take(300).collect() }
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_ourselves_is_some() {
        let memory = memory_of(std::process::id()).unwrap();
        assert!(memory.now > 100_000 && memory.peak >= memory.now, "{memory:?}");
        assert_eq!(memory_of(u32::MAX), None);
    }

    #[test]
    fn the_end_of_a_complaint_is_kept() {
        assert_eq!(last_lines("one\n\n two \nthree\n"), "two; three");
        assert_eq!(last_lines("\n"), "no output");
    }
}
