//! Members of rooms.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::process::lines;
use super::server::Server;
use super::waiting::DEADLINE;
use super::wire::{connect, read_line};

/// Joins over raw TCP, with `words` after JOIN, and reads the `JOINED` line and the welcome.
pub fn join(server: &Server, words: &str) -> TcpStream {
    let mut stream = connect(server.port());
    writeln!(stream, "ANYPORT/1 JOIN {words}").unwrap();
    let joined = read_line(&mut stream);
    assert!(joined.starts_with("ANYPORT/1 JOINED room="), "{joined}");
    let welcome = read_line(&mut stream);
    assert!(welcome.contains("you are") || welcome.contains("joined"), "{welcome}");
    stream
}

/// A program that reads and writes lines; killed when dropped.
#[derive(Debug)]
pub struct LineClient {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl LineClient {
    /// Starts the program.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, lines: lines(stdout) }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the next line.
    #[track_caller]
    pub fn next_line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// Returns the next line of JSON that has the key `kind`; skips lines before it.
    pub fn next_json(&self, kind: &str) -> Value {
        loop {
            let mut event: Value = serde_json::from_str(&self.next_line()).unwrap();
            if !event[kind].is_null() {
                return event[kind].take();
            }
        }
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program writes `line`; skips lines before it.
    #[track_caller]
    pub fn receives(&self, line: &str) {
        let mut before = Vec::new();
        while before.last().is_none_or(|received| received != line) {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(received) => before.push(received),
                Err(_) => panic!("{line:?} never came, but {before:?}"),
            }
        }
    }
}

impl Drop for LineClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
