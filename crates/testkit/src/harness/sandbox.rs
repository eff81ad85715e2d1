//! A network, a home and an empty directory in which the commands of documents run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use tempfile::TempDir;

use super::process::{Running, lines, peer};
use super::program::program_path;
use super::waiting::{DEADLINE, skip};

/// A network namespace, in which every port is free; ended when dropped.
#[derive(Debug)]
struct Network {
    holder: Child,
}

impl Network {
    fn new() -> Option<Self> {
        for tool in ["unshare", "nsenter", "ip"] {
            peer(tool)?;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"]);
        unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = unshare.spawn().unwrap();
        let said = lines(holder.stdout.take().unwrap());
        let network = Self { holder };
        if said.recv_timeout(DEADLINE).is_ok_and(|line| line == "up") {
            return Some(network);
        }
        skip("cannot make a network namespace");
        None
    }

    /// Returns a shell that runs `command` in it.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("nsenter");
        shell.args(["-t", &self.holder.id().to_string(), "-n", "--", "sh", "-c", command]);
        shell
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// An empty directory, a home, a network of its own, and a path in which `anyport` is found.
#[derive(Debug)]
pub struct Sandbox {
    network: Network,
    scratch: TempDir,
}

/// A command that runs until it is ended, at the latest when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    /// The lines of stdout and stderr.
    pub said: Receiver<String>,
}

impl Background {
    /// Ends the command and returns the lines that were not yet received.
    pub fn rest(self) -> Vec<String> {
        self.end();
        self.said.iter().collect()
    }

    fn end(&self) {
        let kill = format!("kill -TERM -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    }

    /// Waits for a line that contains `words`, and returns what follows them.
    #[track_caller]
    pub fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("{words:?} was not said: {error}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    /// Creates a sandbox; returns `None` and reports it where this process may not.
    pub fn new() -> Option<Self> {
        let network = Network::new()?;
        let scratch = tempfile::tempdir().unwrap();
        for name in ["empty", "home", "bin", "run"] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        let program = scratch.path().join("bin/anyport");
        std::os::unix::fs::symlink(program_path(), program).unwrap();
        Some(Self { network, scratch })
    }

    /// Returns the directory that holds the others.
    pub fn root(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the directory in which commands run, empty at first.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("empty")
    }

    /// Returns the home directory of commands.
    pub fn home(&self) -> String {
        self.scratch.path().join("home").display().to_string()
    }

    /// Returns a shell that runs `command`.
    pub fn command(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.scratch.path().join("bin");
        let mut shell = self.network.shell(command);
        shell.current_dir(self.directory());
        shell.env("HOME", self.scratch.path().join("home"));
        shell.env("PATH", format!("{}:{path}", bin.display()));
        // With this variable `anyport status` finds the servers of this sandbox only.
        shell.env("RUNTIME_DIRECTORY", self.scratch.path().join("run"));
        for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
            shell.env_remove(variable);
        }
        shell
    }

    /// Starts a command with `typed` on its standard input, in a process group of its own.
    pub fn start(&self, command: &str, typed: &str) -> Background {
        let mut shell = self.command(&format!("exec 2>&1; {command}"));
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
        Background { child, said }
    }

    /// Runs a command with `typed` on its standard input to its end, and asserts that it succeeds.
    #[track_caller]
    pub fn run(&self, command: &str, typed: &str) {
        let outcome = Running::start(self.command(command), Some(typed.into())).outcome();
        assert_eq!(outcome.code, Some(0), "$ {command}\n{}{}", outcome.stdout, outcome.stderr);
    }
}
