//! A server in the background: `--daemon`, pid file, log file, control socket, and the commands
//! that talk to it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::wire::{connect, converse, read_line, websocket};
use anyport_testkit::harness::{
    Outcome, Running, Server, anyport, anyport_command, peer, wait_until,
};

/// A place for a daemon; whatever still runs there is killed when it is dropped.
struct Place {
    scratch: TempDir,
}

impl Place {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("served")).unwrap();
        std::fs::create_dir(scratch.path().join("run")).unwrap();
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// `anyport` where all paths are relative to this place, and no other server is found.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = anyport_command(arguments);
        command.current_dir(self.scratch.path()).env("RUNTIME_DIRECTORY", self.path("run"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Running::start(self.command(arguments), None).outcome()
    }

    /// Starts a daemon, and gives its process and port.
    fn start(&self, flags: &[&str]) -> (u32, u16) {
        let mut arguments = vec!["serve", "served", "--daemon", "--bind", "127.0.0.1:0", "--json"];
        arguments.extend(["--pid-file", "pid", "--log-file", "log"]);
        arguments.extend(flags);
        let started = self.run(&arguments).succeeds();
        let [event] = &started.json()[..] else { panic!("{started:#?}") };
        let pid = u32::try_from(event["pid"].as_u64().unwrap()).unwrap();
        assert_eq!(self.read("pid"), format!("{pid}\n"));
        let status = event["status"].as_str().unwrap();
        let port = status.rsplit_once(':').unwrap().1.parse();
        (pid, port.unwrap_or_else(|_| panic!("{status}")))
    }

    /// Lines of its log, as events.
    fn logged(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(pid) = self.read("pid").trim().parse::<u32>() {
            kill("KILL", pid);
        }
    }
}

fn kill(signal: &str, pid: u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).output();
}

/// All of its threads, and with the last one its locks.
fn is_gone(pid: u32) -> Option<()> {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Some(()) };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    // Its exit status may not be collected.
    (stat.contains(") Z ") && threads <= 1).then_some(())
}

fn store(port: u16, name: &str) {
    let mut stream = connect(port);
    let request = format!("ANYPORT/1 PUT {name} size=4\ngoodEND\n");
    assert!(converse(&mut stream, request.as_bytes()).starts_with("ANYPORT/1 RECEIPT "));
}

#[test]
fn a_daemon_serves_when_its_command_ends_and_leaves_nothing_behind() {
    let place = Place::new();
    let (pid, port) = place.start(&[]);
    store(port, "first");
    assert_eq!(place.read("served/first"), "good", "DIR is where it was for the command");
    let proc = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap();
    let link = |what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap();
    let stat = proc("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own: {stat}");
    assert_eq!(fields[4], "0", "no terminal: {stat}");
    assert_eq!(link("fd/0"), Path::new("/dev/null"));
    let log = place.path("log").canonicalize().unwrap();
    assert_eq!((link("fd/1"), link("fd/2")), (log.clone(), log));
    assert_eq!(link("cwd"), place.scratch.path().canonicalize().unwrap());
    let umask = |status: &str| {
        status.lines().find_map(|line| line.strip_prefix("Umask:").map(str::to_owned)).unwrap()
    };
    assert_eq!(
        umask(&proc("status")),
        umask(&std::fs::read_to_string("/proc/self/status").unwrap())
    );
    wait_until("the receipt in the log", || {
        place.logged("log").iter().any(|event| event["event"] == "receipt").then_some(())
    });
    let stopped = place.run(&["stop", "--wait"]).succeeds();
    let stopped = stopped.says(&format!("process {pid} is stopping"));
    stopped.says(&format!("process {pid} has stopped"));
    wait_until("its end", || is_gone(pid));
    assert_eq!(place.logged("log").last().unwrap()["event"], "summary");
    assert!(!place.path("pid").exists());
    assert_eq!(std::fs::read_dir(place.path("run")).unwrap().count(), 0, "its control socket");
}

#[test]
fn a_daemon_that_cannot_serve_reports_it_to_its_starter() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let common = ["serve", "--daemon", "--pid-file", "pid", "--log-file", "log"];
    let fails = |arguments: &[&str]| place.run(&[&common, arguments].concat());
    fails(&["served", "--bind", &taken]).exits(1).says(&format!("cannot listen on {taken}"));
    fails(&["no/where", "--bind", "127.0.0.1:0"])
        .exits(1)
        .says("the parent directory of DIR must exist");
    fails(&["served", "--bind", "0.0.0.0:0"]).exits(2).says("is reachable from other machines");
    assert!(!place.path("pid").exists());
    assert_eq!(place.read("log"), "", "the log is for who serves");
    let refused = place.run(&["serve", "--daemon", "served", "--log-file", "no/where"]);
    refused.exits(1).says("cannot open the log file").says("its directory must exist");
    // What is read by people ends with the addresses.
    let started =
        place.run(&["serve", "--daemon", "served", "--bind", "127.0.0.1:0", "--pid-file", "pid"]);
    started.succeeds().says(", serving 127.0.0.1:");
}

#[test]
fn a_pid_file_is_locked_by_one_server_and_a_stale_one_is_free() {
    let place = Place::new();
    let (pid, _) = place.start(&[]);
    let second = ["serve", "served", "--bind", "127.0.0.1:0", "--pid-file", "pid"];
    place.run(&second).exits(1).says(&format!("process {pid} is already running and holds"));
    kill("KILL", pid);
    wait_until("its end", || is_gone(pid));
    assert_eq!(place.read("pid"), format!("{pid}\n"), "what a crash leaves");
    let (next, _) = place.start(&[]);
    assert_ne!(next, pid);
    kill("TERM", next);
    wait_until("its end", || is_gone(next));
    assert!(!place.path("pid").exists());
}

/// The first rotation is reported by a signal, the second one is detected.
#[test]
fn a_renamed_log_file_is_opened_anew_and_no_line_is_lost() {
    let place = Place::new();
    let (pid, port) = place.start(&[]);
    let mut stored = 0;
    let mut store_some = || {
        for _ in 0..20 {
            store(port, &format!("file-{stored}"));
            stored += 1;
        }
    };
    store_some();
    std::fs::rename(place.path("log"), place.path("log.1")).unwrap();
    store_some();
    kill("USR1", pid);
    wait_until("a new log", || place.path("log").exists().then_some(()));
    store_some();
    std::fs::rename(place.path("log"), place.path("log.2")).unwrap();
    store_some();
    wait_until("a newer log", || place.path("log").exists().then_some(()));
    store_some();
    place.run(&["stop", "--wait"]).succeeds();
    let named = |log: &str| -> Vec<String> {
        let events = place.logged(log);
        let receipts = events.iter().filter(|event| event["event"] == "receipt");
        receipts.map(|receipt| receipt["path"].as_str().unwrap().to_owned()).collect()
    };
    let logs = [named("log.1"), named("log.2"), named("log")];
    assert!(logs.iter().all(|log| log.len() >= 20), "{logs:?}");
    let expected: Vec<String> = (0..stored).map(|number| format!("file-{number}")).collect();
    assert_eq!(logs.concat(), expected);
    // What is no event is a whole line too.
    assert!(place.read("log").contains("\nstopping\n"));
}

fn status(place: &Place) -> Value {
    place.run(&["status", "--json"]).succeeds().json().remove(0)
}

#[test]
fn status_reports_connections_and_progress_of_transfers() {
    let place = Place::new();
    let (pid, port) = place.start(&["--max-size", "1MiB", "--quota", "1GiB"]);
    store(port, "stored");
    let mut transfer = connect(port);
    transfer.write_all(b"ANYPORT/1 PUT big%1b[2J.iso size=1000\nhello").unwrap();
    let mut room = connect(port);
    room.write_all(b"ANYPORT/1 JOIN lobby as alice\n").unwrap();
    read_line(&mut room);
    let echo = websocket(port, "/echo");
    let silent = connect(port);
    let status = wait_until("all that is open", || {
        let status = status(&place);
        let open = &status["open"];
        let all = open["preface"] == 2 && open["http1"] == 1 && open["undecided"] == 1;
        (all && status["first_transfers"][0]["bytes"] == 5).then_some(status)
    });
    assert_eq!(status["pid"], pid);
    assert_eq!(status["state"], "serving");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["directory"], place.path("served").to_str().unwrap());
    assert_eq!(status["listening"][0]["addr"], format!("127.0.0.1:{port}"));
    assert_eq!(status["rooms"], 1);
    assert_eq!(status["transfers"], 1);
    let running = &status["first_transfers"][0];
    assert_eq!(
        (&running["direction"], &running["size"]),
        (&"in".into(), &1000.into()),
        "{running}"
    );
    assert_eq!(running["peer"], transfer.local_addr().unwrap().to_string());
    assert_eq!(status["since_start"]["connections"], 5);
    assert_eq!(status["since_start"]["receipts"], 1);
    assert_eq!(status["limits"]["max_size"], 1024 * 1024);
    assert_eq!(status["last_reload"], Value::Null);
    let shown = place.run(&["status"]).succeeds().stdout;
    for words in [
        &format!("process {pid}, serving for "),
        "connections: 4 open (http1 1, preface 2, undecided 1), 5 since the start",
        "files: 1 received (4 B)",
        "rooms: 1",
        "transfers: 1\n    in ",
        "5 B of ",
    ] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown:?}");
    drop((transfer, room, echo, silent));
    wait_until("nobody", || {
        let status = self::status(&place);
        (status["open"] == serde_json::json!({}) && status["transfers"] == 0).then_some(())
    });
}

#[test]
fn control_commands_report_no_server_and_list_several() {
    let place = Place::new();
    for command in ["status", "reload", "stop"] {
        place.run(&[command]).exits(3).says("no running server found");
        let named = place.run(&[command, "--control", "run/none.sock"]);
        named.exits(3).says("no server answers at run/none.sock");
    }
    let (_, port) = place.start(&[]);
    let second = Place::new();
    let run = place.path("run").to_str().unwrap().to_owned();
    let mut command = second.command(&["serve", "served", "--daemon", "--bind", "127.0.0.1:0"]);
    command.args(["--pid-file", "pid"]).env("RUNTIME_DIRECTORY", &run);
    Running::start(command, None).outcome().succeeds();
    place.run(&["reload"]).exits(2).says("2 servers are running");
    let both = place.run(&["stop"]).exits(2).says("2 servers are running");
    let both = both.says(&format!("--control {run}/{port}.sock"));
    assert_eq!(both.stderr.matches("--control ").count(), 2, "{both:#?}");
    let named = format!("{run}/{port}.sock");
    place.run(&["stop", "--now", "--wait", "--control", &named]).succeeds();
    // Sockets of killed servers are ignored.
    let pid = second.read("pid").trim().parse().unwrap();
    kill("KILL", pid);
    wait_until("its end", || is_gone(pid));
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 1, "what a crash leaves");
    place.run(&["status"]).exits(3).says("no running server found");
    place.start(&[]);
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 1, "the next one clears it away");
}

#[test]
fn a_control_socket_that_is_closed_without_a_complete_reply_is_reported() {
    for (reply, words) in [
        ("", "closed the connection without a reply"),
        ("{\"event\":", "closed the connection within its reply"),
        ("?\n", "invalid reply from the server at control"),
    ] {
        let place = Place::new();
        let listener = UnixListener::bind(place.path("control")).unwrap();
        std::thread::spawn(move || {
            // The client opens two at the same time.
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let _ = BufReader::new(&stream).read_line(&mut String::new());
                    let _ = stream.write_all(reply.as_bytes());
                });
            }
        });
        let outcome = place.run(&["reload", "--control", "control"]).exits(1).says(words);
        assert!(!outcome.stderr.contains("null"), "{outcome:?}");
    }
}

#[test]
fn a_control_path_that_is_in_use_is_left_alone() {
    let place = Place::new();
    std::fs::write(place.path("file"), "precious").unwrap();
    let serve = ["serve", "served", "--bind", "127.0.0.1:0", "--control"];
    let refused = |path: &str| place.run(&[&serve[..], &[path]].concat()).exits(1);
    refused("file").says("the path exists and is not a socket");
    assert_eq!(place.read("file"), "precious");
    let _other = UnixListener::bind(place.path("other")).unwrap();
    refused("other").says("another server uses this path");
    refused(&"x".repeat(200)).says("cannot create the control socket").says("hint: use another");
    drop(_other);
    let server = Server::start(&["--control", place.path("other").to_str().unwrap()]);
    let mode = std::fs::metadata(place.path("other")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.run(&["status", "--control", "other"]).succeeds();
    let reload = place.run(&["reload", "--control", "other"]);
    assert!(matches!(reload.code, Some(0 | 1)), "{reload:#?}");
    let status = place.run(&["status", "--json", "--control", "other"]).succeeds().json().remove(0);
    assert!(status["last_reload"]["line"].is_string(), "{status}");
    drop(server);
}

/// The mode excludes other users, and if it was changed, the kernel's credentials do.
#[test]
fn another_user_on_the_control_socket_is_refused() {
    let Some(mut setpriv) = peer("setpriv") else { return };
    if !rustix::process::geteuid().is_root() {
        return anyport_testkit::harness::skip("only root can be somebody else");
    }
    let Some(python) = peer("python3") else { return };
    let place = Place::new();
    let path = place.path("control");
    let server = Server::start(&["--control", path.to_str().unwrap()]);
    let open = |what: &Path, mode| {
        std::fs::set_permissions(what, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.scratch.path(), 0o755);
    open(&path, 0o666);
    setpriv.args(["--reuid=65534", "--clear-groups", "--"]).arg("/usr/bin/python3");
    if !Path::new("/usr/bin/python3").exists() {
        // Only root may run one of root's own.
        return drop(python);
    }
    setpriv.arg("-c").arg(STRANGER).arg(&path);
    let outcome = Running::start(setpriv, None).outcome().succeeds();
    assert!(
        outcome.stdout.contains("only root and the user of the server may use the control socket"),
        "{outcome:#?}"
    );
    drop(server);
}

const STRANGER: &str = "import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
peer.sendall(b'stop now\\n')
print(peer.makefile().readline())";

#[test]
fn an_invalid_request_gets_an_error_and_stops_nothing() {
    let place = Place::new();
    let path = place.path("control");
    let server = Server::start(&["--control", path.to_str().unwrap()]);
    let ask = |request: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(anyport_testkit::harness::DEADLINE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    assert!(ask(b"halt\n").contains("unknown request"));
    assert!(ask(&[b'x'; 100]).contains("unknown request"), "cut at its longest");
    // A silent connection does not block others.
    let _silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert!(ask(b"status\n").contains("\"event\":\"status\""));
    server.takes_a_good_file();
}

/// As a shell does it: the command is in the background, and the terminal is closed.
#[test]
fn a_hangup_is_a_reload_and_only_without_its_terminal_a_stop() {
    let mut server = Server::start(&[]);
    server.signal("HUP");
    server.says("reloaded");
    server.takes_a_good_file();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));

    // Also where its words go to a file.
    for more in [&[][..], &["--log-file", "log", "-vv"]] {
        let place = Place::new();
        let (mut child, pty) = on_a_terminal(&place, more);
        if !more.is_empty() {
            kill("HUP", child.id());
            wait_until("a reload", || place.read("log").contains("reloaded: ").then_some(()));
            assert!(!place.read("log").contains('\x1b'), "a file has no colours");
        }
        drop(pty);
        kill("HUP", child.id());
        let status = wait_until("its end", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }

    // A daemon has left the terminal that it was started from.
    let place = Place::new();
    let (mut parent, pty) = on_a_terminal(&place, &["--daemon", "--log-file", "log"]);
    assert!(wait_until("its parent's end", || parent.try_wait().unwrap()).success());
    let pid = place.read("pid").trim().parse().unwrap();
    for terminal in [Some(pty), None] {
        kill("HUP", pid);
        let reloads = 2 - usize::from(terminal.is_some());
        let count = || place.read("log").matches("reloaded: ").count();
        wait_until("a reload", || (count() == reloads).then_some(()));
    }
    place.run(&["stop", "--wait"]).succeeds();
}

/// A server whose stderr is a terminal, which is closed when its other end is dropped.
fn on_a_terminal(place: &Place, more: &[&str]) -> (Child, OwnedFd) {
    // Not the child's too, or it would stay open.
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::CLOEXEC;
    let pty = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&pty).unwrap();
    rustix::pty::unlockpt(&pty).unwrap();
    let terminal = rustix::pty::ptsname(&pty, Vec::new()).unwrap();
    let terminal = std::fs::File::options().read(true).write(true).open(terminal.to_str().unwrap());
    let serve = ["serve", "served", "--bind", "127.0.0.1:0", "--pid-file", "pid"];
    let mut command = place.command(&[&serve[..], more].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal.unwrap());
    let child = command.spawn().unwrap();
    wait_until("its pid file", || (!place.read("pid").is_empty()).then_some(()));
    wait_until("its control socket", || {
        (std::fs::read_dir(place.path("run")).unwrap().count() == 1).then_some(())
    });
    (child, pty)
}

#[test]
fn a_log_file_that_cannot_be_reopened_is_reported_once() {
    let place = Place::new();
    std::fs::create_dir(place.path("logs")).unwrap();
    let serve = ["serve", "served", "--daemon", "--bind", "127.0.0.1:0", "--pid-file", "pid"];
    place.run(&[&serve[..], &["--log-file", "logs/log"]].concat()).succeeds();
    std::fs::rename(place.path("logs"), place.path("elsewhere")).unwrap();
    let reported = || place.read("elsewhere/log").matches("cannot reopen the log file").count();
    wait_until("a word of it", || (reported() > 0).then_some(()));
    // It tries each second, and nothing reports an attempt that logs nothing.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(reported(), 1);
    std::fs::create_dir(place.path("logs")).unwrap();
    wait_until("the file", || place.path("logs/log").exists().then_some(()));
    place.run(&["stop", "--wait"]).succeeds();
}

#[test]
fn a_service_asks_no_server_but_its_own() {
    let place = Place::new();
    let beside = place.path("beside");
    std::fs::create_dir(&beside).unwrap();
    place.start(&[]);
    let mut command = place.command(&["status"]);
    command.env("RUNTIME_DIRECTORY", &beside).env("XDG_RUNTIME_DIR", place.path("run"));
    Running::start(command, None).outcome().exits(3).says("no running server found");
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let mut command = anyport_command(&["serve", "--daemon", "--bind", "127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let refused = Running::start(command, None).outcome().exits(2);
    refused.says("--daemon cannot be combined with inherited sockets").says("leave out --daemon");
    anyport(&["stop", "--wait", "now"]).exits(2);
}
