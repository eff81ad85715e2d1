//! Messages to a service manager, its sockets, and the shipped units.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::wire::{connect, converse, read_line};
use anyport_testkit::harness::{
    DEADLINE, Outcome, Running, Sample, Server, anyport, anyport_command, peer, skip, wait_until,
};

/// The socket of a service manager.
struct Manager {
    scratch: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(scratch.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { scratch, socket }
    }

    fn start(&self, environment: &[(&str, &str)], flags: &[&str]) -> Server {
        let mut command = anyport_command(&[]);
        command.env("NOTIFY_SOCKET", self.scratch.path().join("notify"));
        command.envs(environment.iter().copied());
        Server::start_as(command, &["127.0.0.1:0"], flags)
    }

    /// The next message, as its lines.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let count = self.socket.recv(&mut message).unwrap();
        let message = String::from_utf8(message[..count].to_vec()).unwrap();
        message.lines().map(str::to_owned).collect()
    }

    /// The next message that has this line.
    fn next_with(&self, line: &str) -> Vec<String> {
        wait_until(line, || Some(self.next()).filter(|lines| lines.iter().any(|one| one == line)))
    }
}

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

#[test]
fn a_service_manager_is_notified_of_start_reload_and_stop() {
    let manager = Manager::new();
    let mut server = manager.start(&[], &["--drain-timeout", "20s"]);
    let ready = manager.next();
    assert_eq!(ready[0], "READY=1", "the first it hears");
    assert_eq!(value(&ready, "MAINPID"), server.pid().to_string());
    let status = value(&ready, "STATUS").to_owned();
    assert!(
        status.starts_with(&format!("serving 127.0.0.1:{}: connections 0", server.port())),
        "{status}"
    );

    let before = monotonic_microseconds();
    server.signal("HUP");
    let reloading = manager.next_with("RELOADING=1");
    let now: u64 = value(&reloading, "MONOTONIC_USEC").parse().unwrap();
    assert!((before..=monotonic_microseconds()).contains(&now), "{now}");
    manager.next_with("READY=1");

    let mut transfer = connect(server.port());
    transfer.write_all(b"ANYPORT/1 PUT x size=10\nhello").unwrap();
    let busy = wait_until("a status", || {
        let lines = manager.next();
        let status = lines.iter().find(|line| line.contains("transfers 1"))?;
        Some(status.clone())
    });
    assert!(busy.contains("connections 1, transfers 1, rooms 0"), "{busy}");

    server.signal("TERM");
    let stopping = manager.next_with("STOPPING=1");
    let more: u64 = value(&stopping, "EXTEND_TIMEOUT_USEC").parse().unwrap();
    assert_eq!(more, 30_000_000, "the drain time, and what the end takes");
    assert!(value(&stopping, "STATUS").starts_with("stopping"));
    converse(&mut transfer, b"worldEND\n");
    assert_eq!(server.wait().code(), Some(0));
}

/// As `clock_gettime(CLOCK_MONOTONIC)` says.
fn monotonic_microseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).unwrap()
}

#[test]
fn the_watchdog_is_notified_twice_in_its_time_also_while_draining_unless_the_server_hangs() {
    let manager = Manager::new();
    // No message is sent for another process.
    let others = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let other = manager.start(&others, &[]);
    assert_eq!(manager.next()[0], "READY=1");
    drop(other);
    let mut server = manager.start(&[("WATCHDOG_USEC", "400000")], &[]);
    let mut transfer = connect(server.port());
    transfer.write_all(b"ANYPORT/1 PUT x size=10\nhello").unwrap();
    let beats = |count: usize| {
        for _ in 0..count {
            manager.next_with("WATCHDOG=1");
        }
    };
    let began = Instant::now();
    beats(6);
    // Between the first and the last of six there are five halves of its time.
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}: too often", began.elapsed());
    server.signal("STOP");
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let silent = wait_until("silence", || match manager.socket.recv(&mut [0; 4096]) {
        Ok(_) => None,
        Err(error) => Some(error.kind()),
    });
    assert_eq!(silent, std::io::ErrorKind::WouldBlock);
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    server.signal("CONT");
    beats(2);
    server.signal("TERM");
    manager.next_with("STOPPING=1");
    beats(3);
    converse(&mut transfer, b"worldEND\n");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.said().contains("does not respond"), "{}", server.said());
}

#[test]
fn a_missing_service_manager_is_reported_once_and_prevents_no_service() {
    let mut command = anyport_command(&[]);
    command.env("NOTIFY_SOCKET", "/nowhere/notify").env("WATCHDOG_USEC", "20000");
    let server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    server.says("cannot notify the service manager");
    server.takes_a_good_file();
    server.signal("HUP");
    server.says("reloaded");
    assert_eq!(server.said().matches("cannot notify the service manager").count(), 1);
}

#[test]
fn a_socket_that_systemd_opened_is_served_and_its_first_client_too() {
    let Some(mut activate) = peer("systemd-socket-activate") else { return };
    let address = free_address();
    let scratch = tempfile::tempdir().unwrap();
    activate.args(["-l", &address, env!("CARGO_BIN_EXE_anyport"), "serve", "--control", "none"]);
    activate.arg(scratch.path());
    let running = Running::start(activate, None);
    // The first client starts the server.
    let mut stream = wait_until("a listener", || TcpStream::connect(&address).ok());
    let answer = converse(&mut stream, b"ANYPORT/1 PUT x size=4\ngoodEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert_eq!(std::fs::read(scratch.path().join("x")).unwrap(), b"good");
    // It has become the server.
    assert!(Command::new("kill").arg(running.id().to_string()).status().unwrap().success());
    running.outcome().succeeds().says(&format!("listening on {address}"));
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Runs `anyport serve` as the child of a process that opens `sockets`, as `KIND ADDRESS`, and
/// names them.
fn activate(sockets: &[&str], names: &str, flags: &[&str]) -> Option<Command> {
    let mut parent = peer("python3")?;
    parent.args(["-c", PARENT, &sockets.join(","), names, env!("CARGO_BIN_EXE_anyport")]);
    parent.args(flags);
    Some(parent)
}

/// Descriptors from 3 on, as sd_listen_fds(3) has them; then it becomes the program.
const PARENT: &str = r#"
import os, socket, sys
kinds, names, program, *flags = sys.argv[1:]
opened = []
for kind in filter(None, kinds.split(",")):
    kind, _, address = kind.partition(" ")
    if kind == "file":
        opened.append(os.open("/dev/null", os.O_RDWR))
        continue
    if kind == "unix":
        one = socket.socket(socket.AF_UNIX)
        if address.startswith("/"):
            one.bind(address)
            one.listen()
    else:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((host.strip("[]"), int(port)))
        if kind == "tcp":
            one.listen()
    opened.append(one.detach())
# Out of the way first, as one of them may be where another one belongs.
for at, fd in enumerate(opened):
    os.dup2(fd, 100 + at, inheritable=False)
for at in range(len(opened)):
    os.dup2(100 + at, 3 + at, inheritable=True)
os.environ["LISTEN_FDS"] = str(len(opened))
os.environ["LISTEN_PID"] = str(os.getpid())
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(program, [program, *flags])
"#;

#[test]
fn several_sockets_of_both_kinds_and_families_are_served_by_their_names() {
    let port = free_address().rsplit_once(':').unwrap().1.to_owned();
    let echo = free_address();
    let sockets = [
        format!("tcp 127.0.0.1:{port}"),
        format!("tcp [::1]:{port}"),
        format!("tcp {echo}"),
        format!("udp {echo}"),
    ];
    let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
    let Some(command) = activate(&sockets, "any:anyport.socket:echo:echo", &[]) else { return };
    let server = Server::start_as(command, &[], &[]);
    // The others that it says after the first.
    let announced = [server.listening()[0].clone(), server.next_event(), server.next_event()];
    let addresses: Vec<&str> = announced.iter().map(|one| one["addr"].as_str().unwrap()).collect();
    assert_eq!(addresses, [sockets[0], sockets[1], sockets[2]].map(|one| &one[4..]));
    let services = announced.iter().map(|one| one["service"].clone()).collect::<Vec<Value>>();
    assert_eq!(services, [Value::Null, Value::Null, "echo".into()]);
    assert_eq!(announced[2]["udp"], true);
    server.takes_a_good_file();
    let mut v6 = TcpStream::connect(addresses[1]).unwrap();
    assert!(converse(&mut v6, b"ANYPORT/1 PUT six size=1\n6END\n").contains("RECEIPT"));
    let mut stream = TcpStream::connect(&echo).unwrap();
    stream.write_all(b"over TCP\n").unwrap();
    assert_eq!(read_line(&mut stream), "over TCP");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_read_timeout(Some(DEADLINE)).unwrap();
    datagrams.send_to(b"over UDP", &echo).unwrap();
    let mut answer = [0; 16];
    let count = datagrams.recv(&mut answer).unwrap();
    assert_eq!(&answer[..count], b"over UDP");
}

#[test]
fn an_inherited_unix_socket_is_served_and_left_to_the_service_manager() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sock");
    let socket = format!("unix {}", path.display());
    let Some(command) = activate(&[&socket], "", &[]) else { return };
    let mut server = Server::start_as(command, &[], &[]);
    assert_eq!(server.listening()[0]["addr"], format!("unix:{}", path.display()));
    let sample = Sample::new("x", b"content");
    anyport(&["send", sample.path(), &format!("unix:{}", path.display())]).succeeds();
    assert_eq!(server.stored(&server.next_receipt()), b"content");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(path.exists());
}

/// Those that flags name come beside them, and are asked for once.
#[test]
fn addresses_of_flags_are_served_beside_inherited_ones() {
    let inherited = free_address();
    let socket = format!("tcp {inherited}");
    let Some(command) = activate(&[&socket], "", &[]) else { return };
    let server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    assert_eq!(server.addresses()[0].to_string(), inherited);
    let beside = server.next_event()["addr"].as_str().unwrap().to_owned();
    for address in [inherited.clone(), beside] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let answer = converse(&mut stream, b"ANYPORT/1 PUT x size=1 exists=rename\nxEND\n");
        assert!(answer.contains("ANYPORT/1 "), "{address}: {answer}");
    }
    drop(server);
    refused(&[&socket], "", &["--bind", &inherited], "is given twice");
}

#[track_caller]
fn refused(sockets: &[&str], names: &str, flags: &[&str], words: &str) {
    let flags = [&["serve", "--control", "none"], flags].concat();
    let Some(command) = activate(sockets, names, &flags) else { return };
    let outcome: Outcome = Running::start(command, None).outcome().exits(2);
    assert!(outcome.stderr.contains("hint: "), "{outcome:#?}");
    outcome.says(words);
}

#[test]
fn the_error_of_an_unusable_socket_names_it_and_the_reason() {
    let here = "tcp 127.0.0.1:0";
    refused(&["tcp 0.0.0.0:0"], "", &[], "is reachable from other machines");
    refused(&[here, "tcp 0.0.0.0:0"], "any:echo", &[], "to let every client use echo");
    refused(&["file x"], "", &[], "cannot use the inherited descriptor 3: fd 3 is not a");
    let idle = "descriptor 4 (mine.socket): it is not a listening socket";
    refused(&[here, "unix x"], "any:mine.socket", &[], idle);
    refused(&["bound 127.0.0.1:0"], "", &[], "descriptor 3: it is not a listening socket");
    refused(
        &[here],
        "ehco",
        &[],
        "descriptor 3 (ehco): unknown service \"ehco\"; expected one of any, echo",
    );
    refused(&["udp 127.0.0.1:0"], "any", &[], "it is a datagram socket at 127.0.0.1:");
    refused(&["udp 127.0.0.1:0"], "echo", &[], "but no stream socket for echo");
    let mut command = anyport_command(&["serve"]);
    command.env("LISTEN_FDS", "4294967295");
    Running::start(command, None)
        .outcome()
        .exits(2)
        .says("LISTEN_FDS=4294967295 exceeds the limit of 256");
}

/// Sockets for another process are ignored: the default is served, or the addresses of flags.
#[test]
fn sockets_that_were_meant_for_another_process_are_not_touched() {
    let mut command = anyport_command(&[]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    server.takes_a_good_file();
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").canonicalize().unwrap()
}

/// The shipped units, with the program that was built in place of the installed one.
fn units_with_our_program() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/local/bin/anyport", env!("CARGO_BIN_EXE_anyport"));
        std::fs::write(scratch.path().join(path.file_name().unwrap()), text).unwrap();
    }
    scratch
}

#[test]
fn the_units_that_are_shipped_mean_something_to_systemd() {
    let Some(mut analyze) = peer("systemd-analyze") else { return };
    let scratch = units_with_our_program();
    let files = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    analyze.arg("verify").args(files);
    let outcome = Running::start(analyze, None).outcome().succeeds();
    // systemd-analyze reports settings that it ignores.
    assert_eq!(outcome.stderr, "");
}

#[test]
fn the_service_may_do_little_beside_serving() {
    let Some(mut analyze) = peer("systemd-analyze") else { return };
    let scratch = units_with_our_program();
    let unit = scratch.path().join("anyport.service");
    // Of 100; a service that says nothing of itself has 96.
    analyze.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit);
    let outcome = Running::start(analyze, None).outcome();
    if outcome.stderr.contains("unrecognized option") {
        return skip("systemd-analyze is too old for --offline");
    }
    let last = outcome.stdout.lines().last().unwrap_or_default().to_owned();
    assert_eq!(outcome.code, Some(0), "{last}");
}

/// One that the unit forbids fails in front of clients, and nowhere else.
#[test]
fn every_system_call_of_a_server_is_one_that_the_unit_allows() {
    let (Some(mut strace), Some(mut analyze)) = (peer("strace"), peer("systemd-analyze")) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let trace = scratch.path().join("trace");
    let control = scratch.path().join("control");
    let control = control.to_str().unwrap();
    strace.args(["-f", "-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_anyport"));
    let server = Server::start_as(strace, &["127.0.0.1:0"], &["--control", control]);
    let sample = Sample::new("sample", &anyport_testkit::noise(3_000_000, 7));
    let at = |scheme: &str| server.url(scheme, "");
    // To a file by reading and by splice, and from one by sendfile.
    anyport(&["send", sample.path(), &at("tcp")]).succeeds();
    let hidden = server.url("tcp", "unseen");
    anyport(&["send", "--digest", "none", sample.path(), &hidden]).succeeds();
    anyport(&["send", sample.path(), &server.url("ws", "files/ws")]).succeeds();
    anyport(&["get", "--digest", "none", "-o", "-", &server.url("tcp", "sample")]).succeeds();
    anyport(&["ls", &at("tcp")]).succeeds();
    let mut room = connect(server.port());
    room.write_all(b"ANYPORT/1 JOIN lobby as alice\nhello\n").unwrap();
    read_line(&mut room);
    anyport(&["status", "--control", control]).succeeds();
    anyport(&["reload", "--control", control]).succeeds();
    anyport(&["stop", "--wait", "--control", control]).succeeds();
    let trace = std::fs::read_to_string(trace).unwrap();
    let called = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim().split_once('('));
    let called: BTreeSet<&str> =
        called.map(|(name, _)| name).filter(|name| is_name(name)).collect();
    assert!(called.contains("accept4") && called.contains("splice"), "{called:?}");

    analyze.arg("syscall-filter");
    let known = Running::start(analyze, None).outcome().succeeds().stdout;
    let groups = Groups::parse(&known);
    let text = std::fs::read_to_string(units().join("anyport.service")).unwrap();
    let mut allowed = groups.all("@default");
    for filter in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (forbids, words) =
            filter.strip_prefix('~').map_or((false, filter), |rest| (true, rest));
        for name in words.split(' ').flat_map(|word| groups.all(word)) {
            if forbids {
                allowed.remove(&name)
            } else {
                allowed.insert(name)
            };
        }
    }
    let forbidden: Vec<_> = called.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// System calls by the names that units have for many of them.
struct Groups(BTreeMap<String, Vec<String>>);

impl Groups {
    fn parse(listed: &str) -> Self {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut group = String::new();
        for line in listed.lines().filter(|line| !line.trim_start().starts_with('#')) {
            if line.starts_with('@') {
                group = line.trim().to_owned();
            } else if line.starts_with("    ") {
                groups.entry(group.clone()).or_default().push(line.trim().to_owned());
            }
        }
        Self(groups)
    }

    /// What a word of a filter stands for.
    fn all(&self, word: &str) -> BTreeSet<String> {
        match self.0.get(word) {
            Some(members) => members.iter().flat_map(|member| self.all(member)).collect(),
            None => BTreeSet::from([word.to_owned()]),
        }
    }
}
