//! A server with `--trace DIR`, and its traces.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::program::anyport;
use super::server::Server;
use super::waiting::wait_until;

/// Bytes that must be in no trace.
pub const CANARY: &str = "Canary7f3a9c";

/// A server that traces its connections.
#[derive(Debug)]
pub struct Tracing {
    /// The server.
    pub server: Server,
    /// The directory of its traces.
    pub directory: PathBuf,
    _scratch: TempDir,
}

impl Tracing {
    /// Starts a server with further flags.
    pub fn start(flags: &[&str]) -> Self {
        Self::with(|more| Server::start(&[more, flags].concat()))
    }

    /// Starts a server with these addresses of `--listen`.
    pub fn start_listening(listen: &[&str]) -> Self {
        Self::with(|flags| Server::start_listening(listen, flags))
    }

    /// Starts a server with these addresses of `--bind`, and further flags.
    pub fn start_on(bind: &[&str], flags: &[&str]) -> Self {
        Self::with(|more| Server::start_on(bind, &[more, flags].concat()))
    }

    fn with(start: impl FnOnce(&[&str]) -> Server) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("traces");
        let server = start(&["--trace", directory.to_str().unwrap()]);
        Self { server, directory, _scratch: scratch }
    }

    /// Returns the files in the directory of traces, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        files(&self.directory)
    }

    /// Waits for the trace of the only connection that speaks `protocol`, and removes it.
    #[track_caller]
    pub fn take(&self, protocol: &str) -> Trace {
        let word = format!("-{protocol}-");
        let (path, text) = wait_until("a trace", || {
            let path = self.files().into_iter().find(|path| name(path).contains(&word))?;
            let text = std::fs::read_to_string(&path).ok()?;
            text.ends_with('\n').then_some((path, text))
        });
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let read = anyport(&["trace", "--read", path.to_str().unwrap()]).succeeds().stdout;
        std::fs::remove_file(&path).unwrap();
        Trace { events, read }
    }

    /// Stops the server, and returns the text of each trace.
    pub fn stop(self) -> Vec<String> {
        self.server.stop();
        files(&self.directory).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

/// Returns the files in a directory, in the order of their names.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Returns the name of a file.
pub fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A trace, and the output of `anyport trace --read` for it.
#[derive(Debug)]
pub struct Trace {
    /// Its lines.
    pub events: Vec<Value>,
    /// Its text.
    pub read: String,
}

impl Trace {
    /// Returns its events of one end.
    pub fn of<'t>(&'t self, event: &'t str, from: &'t str) -> impl Iterator<Item = &'t Value> {
        self.events.iter().filter(move |e| e["event"] == event && e["from"] == from)
    }

    /// Asserts that these events follow each other, with others between them; each is its name and
    /// a part of its JSON.
    #[track_caller]
    pub fn follow(&self, expected: &[(&str, &str)]) {
        let mut rest = self.events.iter();
        for (event, part) in expected {
            let is_it = |e: &Value| e["event"] == *event && e.to_string().contains(part);
            assert!(rest.any(is_it), "no {event} with {part:?} in its place:\n{}", self.all());
        }
    }

    /// Returns the texts of its failures.
    pub fn failures(&self) -> Vec<&str> {
        let failed = self.events.iter().filter(|event| event["event"] == "failed");
        failed.map(|event| event["text"].as_str().unwrap()).collect()
    }

    /// Asserts that there is one failure, with this text in it.
    #[track_caller]
    pub fn fails_once(&self, text: &str) {
        let [failure] = self.failures()[..] else { panic!("{}", self.all()) };
        assert!(failure.contains(text), "no {text:?} in {failure:?}");
    }

    /// Returns its lines and its text.
    pub fn all(&self) -> String {
        self.events.iter().map(|event| format!("{event}\n")).collect::<String>() + &self.read
    }

    /// Returns the bytes of content of one end.
    pub fn content(&self, from: &str) -> u64 {
        self.of("content", from).map(|event| event["bytes"].as_u64().unwrap()).sum()
    }
}
