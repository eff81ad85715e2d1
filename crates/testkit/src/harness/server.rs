//! A running server, its events, and what its receipts must hold.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::files::{assert_same_bytes, blake3};
use super::process::signal;
use super::program::anyport_command;
use super::waiting::{DEADLINE, wait_until};
use super::wire::{connect, converse};

/// A running `anyport serve --json`, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    events: Receiver<Value>,
    stderr: Arc<Mutex<String>>,
    directory: PathBuf,
    scratch: Option<TempDir>,
    listening: Vec<Value>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1, with a directory of its own.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_on(&["127.0.0.1:0"], flags)
    }

    /// Starts a server on addresses (`--bind`).
    pub fn start_on(bind: &[&str], flags: &[&str]) -> Self {
        Self::start_with("--bind", bind, flags)
    }

    /// Starts a server on listeners (`--listen`).
    pub fn start_listening(listen: &[&str], flags: &[&str]) -> Self {
        Self::start_with("--listen", listen, flags)
    }

    fn start_with(flag: &str, addresses: &[&str], flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        // One level down, so that a name that leaves the directory stays inside `scratch`.
        let directory = scratch.path().join("served");
        std::fs::create_dir(&directory).unwrap();
        let mut server = Self::launch(&directory, flag, addresses, flags);
        server.scratch = Some(scratch);
        server
    }

    /// Starts a server with an existing directory.
    pub fn start_in(directory: &Path, bind: &[&str], flags: &[&str]) -> Self {
        Self::launch(directory, "--bind", bind, flags)
    }

    /// Starts a server by a command of its own: another environment, or a wrapper.
    pub fn start_as(command: Command, addresses: &[&str], flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("served");
        std::fs::create_dir(&directory).unwrap();
        let mut server = Self::spawn(command, &directory, "--bind", addresses, flags);
        server.scratch = Some(scratch);
        server
    }

    /// Starts a server by a command of its own, with an existing directory.
    pub fn start_as_in(command: Command, directory: &Path, flags: &[&str]) -> Self {
        Self::spawn(command, directory, "--bind", &["127.0.0.1:0"], flags)
    }

    fn launch(directory: &Path, flag: &str, addresses: &[&str], flags: &[&str]) -> Self {
        Self::spawn(anyport_command(&[]), directory, flag, addresses, flags)
    }

    fn spawn(
        mut command: Command,
        directory: &Path,
        flag: &str,
        addresses: &[&str],
        flags: &[&str],
    ) -> Self {
        // Only a test of the control socket has one.
        let unasked: &[&str] =
            if flags.contains(&"--control") { &[] } else { &["--control", "none"] };
        let mut child = command
            .args(["serve", "--json"])
            .args(unasked)
            .args(addresses.iter().flat_map(|address| [flag, address]))
            .args(flags)
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.unwrap();
                let event = serde_json::from_str(&line);
                let event = event.unwrap_or_else(|error| panic!("{error} in {line:?}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap());
        let said = stderr.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                said.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let directory = directory.to_owned();
        let (listening, bound) = (Vec::new(), Vec::new());
        let mut server =
            Self { child, events, stderr, directory, scratch: None, listening, addresses: bound };
        // An inherited listener is announced too, without an address of the test's own.
        for _ in 0..addresses.len().max(1) {
            let event = server.next_event();
            assert_eq!(event["event"], "listening", "{event}");
            // A Unix socket has none.
            server.addresses.extend(event["addr"].as_str().unwrap().parse::<SocketAddr>());
            server.listening.push(event);
        }
        server
    }

    /// Returns the port of the first listener.
    pub fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// Returns the addresses of all listeners, in the order in which they were announced.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the `listening` event of each listener.
    pub fn listening(&self) -> &[Value] {
        &self.listening
    }

    /// Returns `scheme://address/path`.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}/{path}", self.addresses[0])
    }

    /// Returns the served directory.
    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next event.
    #[track_caller]
    pub fn next_event(&self) -> Value {
        match self.events.recv_timeout(DEADLINE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("no event within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server has ended"),
        }
    }

    /// Returns an event that has already arrived.
    pub fn try_event(&self) -> Option<Value> {
        self.events.try_recv().ok()
    }

    /// Waits for the next event, which must be a receipt.
    #[track_caller]
    pub fn next_receipt(&self) -> Value {
        self.next("receipt")
    }

    /// Waits for the next event, which must be an interruption.
    #[track_caller]
    pub fn next_interrupted(&self) -> Value {
        self.next("interrupted")
    }

    /// Waits for the next event, which must be a refusal.
    #[track_caller]
    pub fn next_refused(&self) -> Value {
        self.next("refused")
    }

    #[track_caller]
    fn next(&self, kind: &str) -> Value {
        let event = self.next_event();
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    /// Returns the content of the file that a receipt names.
    #[track_caller]
    pub fn stored(&self, receipt: &Value) -> Vec<u8> {
        let path = receipt["path"].as_str().unwrap_or_else(|| panic!("no path in {receipt}"));
        std::fs::read(self.directory.join(path)).unwrap()
    }

    /// Returns the names in the served directory, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Returns the names of published files.
    pub fn published(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| !name.starts_with(".anyport-")).collect()
    }

    /// Waits for a partial file with at least one byte.
    pub fn growing_part(&self) -> PathBuf {
        wait_until("a growing partial file", || {
            let names = self.names();
            let part = names.iter().find(|name| name.ends_with(".part"))?;
            let path = self.directory.join(part);
            (std::fs::metadata(&path).ok()?.len() > 0).then_some(path)
        })
    }

    /// Asserts that the server still receives a file.
    pub fn takes_a_good_file(&self) {
        let mut stream = connect(self.port());
        let answer = converse(&mut stream, b"ANYPORT/1 PUT good size=4\ngoodEND\n");
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
        let receipt = self.next_receipt();
        assert_eq!(self.stored(&receipt), b"good", "{receipt}");
        std::fs::remove_file(self.directory.join(receipt["path"].as_str().unwrap())).unwrap();
    }

    /// Kills the server, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// Returns its stderr so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits for a line on stderr that contains `words`.
    pub fn says(&self, words: &str) {
        self.says_often(words, 1);
    }

    /// Waits until stderr contains `words` `times` times.
    pub fn says_often(&self, words: &str, times: usize) {
        let said = || self.stderr.lock().unwrap().matches(words).count();
        wait_until(words, || (said() >= times).then_some(()));
    }

    /// Waits for the end of the server.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the server's end", || self.child.try_wait().unwrap())
    }

    /// Stops the server, and returns the events that were not yet received, without the summary.
    pub fn stop(self) -> Vec<Value> {
        let (events, _) = self.stop_with_summary();
        events
    }

    /// Stops the server, and returns the events that were not yet received and the summary.
    #[track_caller]
    pub fn stop_with_summary(mut self) -> (Vec<Value>, Value) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        // The channel ends with stdout, so this waits for the last line and no longer.
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(DEADLINE) {
            events.push(event);
        }
        let summary = events.pop().unwrap();
        assert_eq!(summary["event"], "summary", "{summary}");
        (events, summary)
    }

    /// Returns the largest resident memory since [`Self::forget_peak`] or the start, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Returns the resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Resets the peak to the memory that is resident now.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// Returns the CPU time that it used, in steps of 10 ms.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, in parentheses, may contain blanks; user and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }
}

impl Drop for Server {
    #[expect(clippy::print_stdout, reason = "shown with a test that fails")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the server said on stderr:\n{}", self.stderr.lock().unwrap());
        }
    }
}

/// The expected fields of a receipt.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Protocol of the transfer.
    pub protocol: &'a str,
    /// WebSocket implementation.
    pub engine: &'a str,
    /// What ended the content.
    pub end: &'a str,
    /// Content of the file.
    pub content: &'a [u8],
}

impl Expected<'_> {
    /// Compares a receipt, and the stored bytes with the content.
    #[track_caller]
    pub fn check(&self, server: &Server, receipt: &Value) {
        let Self { protocol, engine, end, content } = *self;
        assert_eq!(receipt["event"], "receipt", "{receipt}");
        assert_eq!(receipt["protocol"], protocol, "{receipt}");
        assert_eq!(receipt["engine"], engine, "{receipt}");
        assert_eq!(receipt["bytes"], content.len(), "{receipt}");
        assert_eq!(receipt["digest"], blake3(content), "{receipt}");
        assert_eq!(receipt["end"], end, "{receipt}");
        // The library does not say whether a Close cut a message.
        let confirmed = end == "size" || (end == "close" && engine == "own");
        assert_eq!(receipt["confirmed"], confirmed, "{receipt}");
        assert!(receipt["seconds"].as_f64().unwrap() >= 0.0, "{receipt}");
        let peer = receipt["peer"].as_str().unwrap();
        let is_loopback = |peer: SocketAddr| peer.ip().is_loopback();
        assert!(peer == "unix" || peer.parse().is_ok_and(is_loopback), "{receipt}");
        assert_same_bytes(&server.stored(receipt), content);
    }
}
