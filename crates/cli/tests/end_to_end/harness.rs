//! Starts the program, waits for what it says, and compares what arrived.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::signal::unix::{self, SignalKind};

/// What anything may take. Long enough for a loaded machine; only a broken program waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running `anyport serve --json`, killed when dropped.
pub(crate) struct Server {
    child: Child,
    events: Receiver<Value>,
    stderr: Arc<Mutex<String>>,
    directory: PathBuf,
    scratch: Option<TempDir>,
    listening: Vec<Value>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// On a free port of 127.0.0.1, into a directory of its own.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_on(&["127.0.0.1:0"], flags)
    }

    pub(crate) fn start_on(bind: &[&str], flags: &[&str]) -> Self {
        Self::start_with("--bind", bind, flags)
    }

    /// On what `--listen` says.
    pub(crate) fn start_listening(listen: &[&str], flags: &[&str]) -> Self {
        Self::start_with("--listen", listen, flags)
    }

    fn start_with(flag: &str, addresses: &[&str], flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        // One level down, so that a name that climbs out of the directory lands where we look.
        let directory = scratch.path().join("served");
        std::fs::create_dir(&directory).unwrap();
        let mut server = Self::launch(&directory, flag, addresses, flags);
        server.scratch = Some(scratch);
        server
    }

    pub(crate) fn start_in(directory: &Path, bind: &[&str], flags: &[&str]) -> Self {
        Self::launch(directory, "--bind", bind, flags)
    }

    /// With more than flags: another environment, or a program that runs it.
    pub(crate) fn start_as(command: Command, addresses: &[&str], flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("served");
        std::fs::create_dir(&directory).unwrap();
        let mut server = Self::spawn(command, &directory, "--bind", addresses, flags);
        server.scratch = Some(scratch);
        server
    }

    /// The same on a directory that is there.
    pub(crate) fn start_as_in(command: Command, directory: &Path, flags: &[&str]) -> Self {
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
        // Who wants to be found says where.
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
        // What it inherits it announces too, and nobody asked for that here.
        for _ in 0..addresses.len().max(1) {
            let event = server.next_event();
            assert_eq!(event["event"], "listening", "{event}");
            server.addresses.push(event["addr"].as_str().unwrap().parse().unwrap());
            server.listening.push(event);
        }
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// In the order in which they were announced.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it said of each listener.
    pub(crate) fn listening(&self) -> &[Value] {
        &self.listening
    }

    /// `scheme://address/`, or with a path after the slash.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}/{path}", self.addresses[0])
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn next_event(&self) -> Value {
        match self.events.recv_timeout(DEADLINE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("no event within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server has ended"),
        }
    }

    /// One that is there already.
    pub(crate) fn try_event(&self) -> Option<Value> {
        self.events.try_recv().ok()
    }

    pub(crate) fn next_receipt(&self) -> Value {
        self.next("receipt")
    }

    pub(crate) fn next_interrupted(&self) -> Value {
        self.next("interrupted")
    }

    pub(crate) fn next_refused(&self) -> Value {
        self.next("refused")
    }

    fn next(&self, kind: &str) -> Value {
        let event = self.next_event();
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    pub(crate) fn stored(&self, receipt: &Value) -> Vec<u8> {
        let path = receipt["path"].as_str().unwrap_or_else(|| panic!("no path in {receipt}"));
        std::fs::read(self.directory.join(path)).unwrap()
    }

    /// Names in the served directory, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Names of files that anybody can see.
    pub(crate) fn published(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| !name.starts_with(".anyport-")).collect()
    }

    /// A part file with at least one byte; waits for it.
    pub(crate) fn growing_part(&self) -> PathBuf {
        wait_until("a growing part file", || {
            let names = self.names();
            let part = names.iter().find(|name| name.ends_with(".part"))?;
            let path = self.directory.join(part);
            (std::fs::metadata(&path).ok()?.len() > 0).then_some(path)
        })
    }

    /// A server that has been through something is as good as before.
    pub(crate) fn takes_a_good_file(&self) {
        let mut stream = crate::wire::connect(self.port());
        let answer = crate::wire::converse(&mut stream, b"ANYPORT/1 PUT good size=4\ngoodEND\n");
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
        let receipt = self.next_receipt();
        assert_eq!(self.stored(&receipt), b"good", "{receipt}");
        std::fs::remove_file(self.directory.join(receipt["path"].as_str().unwrap())).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// All that it has said on stderr.
    pub(crate) fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits for a line on stderr that contains `words`.
    pub(crate) fn says(&self, words: &str) {
        self.says_often(words, 1);
    }

    /// Waits until `words` stand there so many times.
    pub(crate) fn says_often(&self, words: &str, times: usize) {
        let said = || self.stderr.lock().unwrap().matches(words).count();
        wait_until(words, || (said() >= times).then_some(()));
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("the server's end", || self.child.try_wait().unwrap())
    }

    /// Stops it, and gives the events that nobody has asked for; the last one, its summary, is no
    /// surprise.
    pub(crate) fn stop(self) -> Vec<Value> {
        let (events, _) = self.stop_with_summary();
        events
    }

    pub(crate) fn stop_with_summary(mut self) -> (Vec<Value>, Value) {
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

    /// Most resident memory that it had since [`Self::forget_peak`], or ever, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The peak is counted anew from what is resident now.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    /// Time of a processor that it took, in steps of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, in parentheses, may hold blanks; user and system time are the 14th and 15th
        // field.
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

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn succeeds(self) -> Self {
        self.exits(0)
    }

    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// `words` stand on stderr.
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "no {words:?} in {self:#?}");
        self
    }

    /// One JSON object a line on stdout.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}")))
            .collect()
    }
}

/// A program that runs, with all it says collected.
pub(crate) struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    finished: bool,
}

impl Running {
    pub(crate) fn start(mut command: Command, input: Option<Vec<u8>>) -> Self {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that has enough closes its input; that is its right.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr, finished: false }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn outcome(mut self) -> Outcome {
        let status = wait_until("a program's end", || self.child.try_wait().unwrap());
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

/// The lines of a program that runs on, as they come.
pub(crate) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
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

/// Runs `anyport` with these arguments.
pub(crate) fn anyport(arguments: &[&str]) -> Outcome {
    start(arguments).outcome()
}

/// The same, with bytes on its standard input.
pub(crate) fn anyport_with_input(arguments: &[&str], input: &[u8]) -> Outcome {
    Running::start(anyport_command(arguments), Some(input.to_vec())).outcome()
}

/// The same, still running.
pub(crate) fn start(arguments: &[&str]) -> Running {
    Running::start(anyport_command(arguments), None)
}

/// The program, which heeds SIGINT and SIGHUP also where the tests run under nohup or in the
/// background of a script: a signal that is ignored at the start of a process stays so, but a
/// handler of this process becomes the default of its children.
pub(crate) fn program() -> Command {
    static HEED: Once = Once::new();
    HEED.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        for kind in [SignalKind::hangup(), SignalKind::interrupt()] {
            if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                drop(unix::signal(kind).unwrap());
            }
        }
    });
    Command::new(env!("CARGO_BIN_EXE_anyport"))
}

pub(crate) fn anyport_command(arguments: &[&str]) -> Command {
    let mut command = program();
    // Keys and known hosts of tests are not those of whoever runs them.
    let home = env!("CARGO_TARGET_TMPDIR");
    command.args(arguments).env("XDG_STATE_HOME", home).env("XDG_CONFIG_HOME", home);
    // Listings are in local time.
    command.env_remove("STATE_DIRECTORY").env("TZ", "UTC0");
    command
}

/// A program of somebody else, or `None` and a word where it is not installed. In CI it must be.
pub(crate) fn peer(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return Some(Command::new(name));
    }
    skip(&format!("no {name}"));
    None
}

/// Whether this machine has the loopback address of IPv6.
pub(crate) fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Python, where `module` is installed.
pub(crate) fn python_with(module: &str) -> Option<Command> {
    let mut probe = peer("python3")?;
    if probe.args(["-c", &format!("import {module}")]).output().unwrap().status.success() {
        return peer("python3");
    }
    skip(&format!("no {module} for python3"));
    None
}

/// Says why a test shows nothing here. In CI each must show something.
#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI lacks something: {why}");
    println!("skipped: {why}");
}

/// A file of this content in a directory that lives as long as it.
pub(crate) struct Sample {
    _scratch: TempDir,
    path: PathBuf,
}

impl Sample {
    pub(crate) fn new(name: &str, content: &[u8]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(name);
        std::fs::write(&path, content).unwrap();
        Self { _scratch: scratch, path }
    }

    /// So many zeros that take no room on the disk.
    pub(crate) fn sparse(name: &str, size: u64) -> Self {
        let sample = Self::new(name, b"");
        let file = std::fs::OpenOptions::new().write(true).open(&sample.path).unwrap();
        file.set_len(size).unwrap();
        sample
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// A file system that is unmounted when dropped.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// Of 2 MiB; `None` and a word where this process may not mount.
    pub(crate) fn mount() -> Option<Self> {
        Self::mount_with("size=2m")
    }

    /// Of 2 MiB and 32 files.
    pub(crate) fn mount_with_few_inodes() -> Option<Self> {
        Self::mount_with("size=2m,nr_inodes=32")
    }

    pub(crate) fn mount_with(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        if !mount.output().is_ok_and(|done| done.status.success()) {
            skip("cannot mount a small disk");
            return None;
        }
        Some(Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

pub(crate) fn blake3(content: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(content).to_hex())
}

/// What a receipt must say, whoever tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) engine: &'a str,
    pub(crate) end: &'a str,
    pub(crate) content: &'a [u8],
}

impl Expected<'_> {
    /// Compares a receipt, and the stored bytes with the content.
    #[track_caller]
    pub(crate) fn check(&self, server: &Server, receipt: &Value) {
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
        let peer: SocketAddr = receipt["peer"].as_str().unwrap().parse().unwrap();
        assert!(peer.ip().is_loopback(), "{receipt}");
        assert_same_bytes(&server.stored(receipt), content);
    }
}

/// Shows where two contents part, as megabytes of bytes help nobody.
#[track_caller]
pub(crate) fn assert_same_bytes(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| bytes[at..bytes.len().min(at + 16)].to_vec();
    panic!(
        "{} bytes found, {} expected; they part at {at}: {:02x?} instead of {:02x?}",
        found.len(),
        expected.len(),
        around(found),
        around(expected),
    );
}

/// Sends the signal directly: a shell in between can take seconds on a busy machine.
pub(crate) fn signal(name: &str, id: u32) {
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

/// Asks again and again until there is an answer. For what no event tells: a file that grows, a
/// process that ends.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
