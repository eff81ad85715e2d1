//! Processes: their output, their end, and third-party programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::waiting::{DEADLINE, skip, wait_within};

/// How a program ended, and its output.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code, none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Asserts that the program succeeded.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that stderr contains `words`.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "no {words:?} in {self:#?}");
        self
    }

    /// Parses stdout, one JSON object a line.
    pub fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}")))
            .collect()
    }

    /// Returns the files that `send --json` names in `failed` events, each with the exit code of a
    /// refusal. The last event has none: it is about the whole command.
    #[track_caller]
    pub fn failed_files(&self) -> Vec<String> {
        let mut events = self.json();
        events.retain(|event| event["event"] == "failed");
        assert!(events.iter().all(|event| event["exit"] == 4), "{self:?}");
        let last = events.pop().unwrap();
        assert!(
            last["file"].is_null() && last["error"].as_str().unwrap().contains("were not sent")
        );
        let name = |event: &Value| {
            let (file, error) = (event["file"].as_str().unwrap(), event["error"].as_str().unwrap());
            assert!(!error.is_empty(), "{event}");
            let components: Vec<_> = file.rsplitn(3, '/').take(2).collect();
            format!("{}/{}", components[1], components[0])
        };
        events.iter().map(name).collect()
    }
}

/// A running program whose output is collected; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    finished: bool,
}

impl Running {
    /// Starts a program with `input` on its standard input.
    pub fn start(mut command: Command, input: Option<Vec<u8>>) -> Self {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program may close its input before it has read everything.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr, finished: false }
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub fn outcome(self) -> Outcome {
        self.outcome_within(DEADLINE)
    }

    /// Waits for the end of a program that is busy for longer than [`DEADLINE`] on a loaded
    /// machine.
    #[track_caller]
    pub fn outcome_within(mut self, limit: Duration) -> Outcome {
        let status = wait_within(limit, "a program's end", || self.child.try_wait().unwrap());
        self.finished = true;
        let empty = || std::thread::spawn(Vec::new);
        let text = |bytes: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&bytes.join().unwrap()).into_owned()
        };
        Outcome {
            code: status.code(),
            stdout: text(std::mem::replace(&mut self.stdout, empty())),
            stderr: text(std::mem::replace(&mut self.stderr, empty())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Returns the lines of a stream of a running program, as they arrive.
pub fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Sends a signal directly: a shell in between can take seconds on a busy machine.
///
/// # Panics
/// When the signal is none of CONT, HUP, INT, STOP and TERM, or the process is gone.
pub fn signal(name: &str, id: u32) {
    let signal = match name {
        "CONT" => Signal::CONT,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "STOP" => Signal::STOP,
        "TERM" => Signal::TERM,
        _ => panic!("unknown signal {name}"),
    };
    kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Returns a third-party program, or `None` (and reports it) where it is not installed.
pub fn peer(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return Some(Command::new(name));
    }
    skip(&format!("no {name}"));
    None
}

/// Returns Python where `module` is installed.
pub fn python_with(module: &str) -> Option<Command> {
    let mut probe = peer("python3")?;
    if probe.args(["-c", &format!("import {module}")]).output().unwrap().status.success() {
        return peer("python3");
    }
    skip(&format!("no {module} for python3"));
    None
}

/// Returns Node where the npm package is installed beside a directory of programs, ready for the
/// text of a module.
pub fn node_with(package: &str) -> Option<Command> {
    let mut node = peer("node")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path)
        .filter_map(|directory| directory.parent().map(Path::to_path_buf))
        .find(|prefix| prefix.join("node_modules").join(package).is_dir());
    let Some(prefix) = installed else {
        skip(&format!("no npm {package}"));
        return None;
    };
    // Node looks for the packages of a text in the working directory.
    node.current_dir(prefix).args(["--input-type=module", "-e"]);
    Some(node)
}
