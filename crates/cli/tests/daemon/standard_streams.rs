//! What a process inherits: standard streams of every kind, ignored signals, and an environment
//! without a runtime directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyport_testkit::noise;

use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{
    DEADLINE, Running, Server, anyport_command, assert_same_bytes, peer, skip, wait_until,
};

/// Our end of a standard stream, and the program's, which does not block.
fn non_blocking() -> (UnixStream, Stdio) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    (ours, Stdio::from(OwnedFd::from(theirs)))
}

/// `anyport` with both streams non-blocking.
fn start(arguments: &[&str]) -> (Child, UnixStream, UnixStream) {
    let ((input, stdin), (output, stdout)) = (non_blocking(), non_blocking());
    let child = anyport_command(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, input, output)
}

fn succeeds(mut child: Child) {
    let status = wait_until("the end of a program", || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// Waits until the program has filled what the kernel buffers for it, and reads the rest.
fn read_late(mut output: UnixStream) -> Vec<u8> {
    let mut ahead = vec![0; 100_000];
    wait_until("a full buffer", || {
        let peeked = rustix::net::recv(&output, &mut ahead, rustix::net::RecvFlags::PEEK);
        (peeked.unwrap().0 >= 64 * 1024).then_some(())
    });
    let mut content = Vec::new();
    output.read_to_end(&mut content).unwrap();
    content
}

#[test]
fn standard_input_that_does_not_block_is_sent_to_its_end() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let (child, mut input, _output) = start(&["send", "-", &server.url(scheme, "files/x")]);
        let content = noise(300_000, 1);
        for piece in content.chunks(100_000) {
            input.write_all(piece).unwrap();
            // Nothing is there to be read until the server has it all.
            server.growing_part();
        }
        drop(input);
        succeeds(child);
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    }
}

#[test]
fn standard_output_that_does_not_block_receives_all_of_a_file() {
    let server = Server::start(&[]);
    let content = noise(4_000_000, 2);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    for scheme in ["tcp", "ws", "frames", "http"] {
        let (child, _input, output) = start(&["get", "-q", "-o", "-", &server.url(scheme, "x")]);
        assert_same_bytes(&read_late(output), &content);
        succeeds(child);
    }
    // The same from a pipe, and into one.
    let url = server.url("tcp", "");
    let (pipe_receiver, _input, output) = start(&["get", "-q", "-o", "-", "--pipe", "key", &url]);
    let (pipe_sender, mut input, _output) = start(&["send", "-q", "--pipe", "key", "-", &url]);
    let given = content.clone();
    let writing = std::thread::spawn(move || input.write_all(&given).unwrap());
    assert_same_bytes(&read_late(output), &content);
    writing.join().unwrap();
    succeeds(pipe_sender);
    succeeds(pipe_receiver);
}

#[test]
fn cat_and_chat_work_on_streams_that_do_not_block() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let (child, mut input, output) = start(&["cat", &url]);
    let (mut stream, _) = listener.accept().unwrap();
    let content = noise(4_000_000, 3);
    input.write_all(b"hello").unwrap();
    let mut received = [0; 5];
    stream.read_exact(&mut received).unwrap();
    // The input is empty now, and the output is about to be full.
    let sent = content.clone();
    let writing = std::thread::spawn(move || {
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        rest
    });
    wait_until("a full buffer", || {
        let mut ahead = vec![0; 100_000];
        let peeked = rustix::net::recv(&output, &mut ahead, rustix::net::RecvFlags::PEEK);
        (peeked.unwrap().0 >= 64 * 1024).then_some(())
    });
    input.write_all(b" again").unwrap();
    drop(input);
    assert_same_bytes(&read_late(output), &content);
    assert_eq!(writing.join().unwrap(), b" again");
    succeeds(child);

    let server = Server::start(&[]);
    let url = server.url("tcp", "rooms/r");
    let (child, mut input, _output) = start(&["chat", "--as", "alice", &url]);
    let (other, other_input, output) = start(&["chat", "--as", "bob", &url]);
    let mut lines = BufReader::new(output).lines();
    for text in ["one", "two"] {
        writeln!(input, "{text}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("alice: {text}"));
    }
    drop((input, other_input));
    succeeds(child);
    succeeds(other);
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_anyport")]);
    for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, env!("CARGO_TARGET_TMPDIR"));
    }
    let mut server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    for signal in ["INT", "HUP", "INT"] {
        server.signal(signal);
        server.takes_a_good_file();
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert_eq!(ignored & 0b11, 0b11, "SIGHUP and SIGINT: {ignored:b}");
    assert!(!server.said().contains("reload"), "{}", server.said());
    server.signal("TERM");
    assert!(server.wait().success());
}

/// Lines of a server that logs to its standard output, which `stream` reads.
fn logs_to(stdout: impl Into<Stdio>, lines: &mut dyn FnMut(&str)) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().to_str().unwrap();
    let serve = ["serve", path, "--bind", "127.0.0.1:0", "--control", "none", "--json"];
    let mut command = anyport_command(&[&serve[..], &["--log-file", "/dev/stdout"]].concat());
    let mut child = command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
    let pid = child.id();
    lines("\"listening\"");
    let kill = |signal: &str| {
        let line = format!("kill -{signal} {pid}");
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    };
    // A rotation changes nothing: there is no file to be opened anew.
    kill("USR1");
    kill("HUP");
    lines("reloaded: ");
    kill("TERM");
    lines("\"summary\"");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_log_goes_to_standard_output_whatever_that_is() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut socket = BufReader::new(ours).lines();
    logs_to(OwnedFd::from(theirs), &mut |words| {
        assert!(socket.any(|line| line.unwrap().contains(words)), "{words}");
    });
    let (ours, theirs) = std::io::pipe().unwrap();
    let mut pipe = BufReader::new(ours).lines();
    logs_to(theirs, &mut |words| {
        assert!(pipe.any(|line| line.unwrap().contains(words)), "{words}");
    });
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    logs_to(file, &mut |words| {
        wait_until(words, || std::fs::read_to_string(&path).unwrap().contains(words).then_some(()));
    });
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("before\n"));
    let daemon = anyport_command(&["serve", "--daemon", "--log-file", "/dev/stdout"]);
    let outcome = Running::start(daemon, None).outcome().exits(2);
    outcome.says("cannot log to standard output").says("hint: --log-file FILE");
}

/// A user ID that no other process has.
const USER: u32 = 54_321;

/// `anyport` as that user, without a runtime directory.
fn as_user(arguments: &[&str]) -> Running {
    let user = USER.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_anyport")).args(arguments);
    for variable in ["XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    Running::start(command, None)
}

#[test]
fn a_daemon_without_a_runtime_directory_is_found_in_a_private_one() {
    let place = format!("/tmp/anyport-{USER}");
    if !rustix::process::getuid().is_root() || peer("setpriv").is_none() {
        return skip("only root can be another user");
    }
    if Path::new(&place).exists() || Path::new(&format!("/run/user/{USER}")).exists() {
        return skip("that user is somebody here");
    }
    let scratch = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let path = scratch.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).unwrap();
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), mode).unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let daemon = |name: &str| {
        let bind = ["--bind", "127.0.0.1:0", "--tls", "off"];
        as_user(&[&["serve", "--daemon", &path(name)], &bind[..]].concat()).outcome().succeeds()
    };
    daemon("one");
    daemon("two");
    let there = std::fs::symlink_metadata(&place).unwrap();
    assert_eq!((there.uid(), there.mode() & 0o777), (USER, 0o700));
    // Of several, each is shown, with what the other commands need.
    let shown = as_user(&["status"]).outcome().succeeds().stdout;
    for name in ["one", "two"] {
        assert!(shown.contains(&path(name)), "{shown}");
    }
    assert_eq!(shown.matches("\n  --control ").count(), 2, "{shown}");
    let listed = as_user(&["status", "--json"]).outcome().succeeds().json();
    assert_eq!(listed.len(), 2, "{listed:?}");
    as_user(&["stop"]).outcome().exits(2).says("2 servers are running");
    for line in shown.lines().filter_map(|line| line.strip_prefix("  --control ")) {
        as_user(&["stop", "--wait", "--control", line]).outcome().succeeds();
    }
    // A directory that others can write to is not trusted, by either side.
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).unwrap();
    let count = || std::fs::read_dir(&place).unwrap().count();
    let before = count();
    let outcome = daemon("one");
    let refused = outcome.stderr.contains("other users can write to it");
    let pid = outcome.stderr.split("process ").nth(1).unwrap().split(',').next().unwrap();
    let kill = format!("kill -TERM {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let after = count();
    std::fs::remove_dir_all(&place).unwrap();
    assert!(refused && after <= before, "{outcome:?}");
}

/// The last of many: the server still answers.
#[test]
fn events_reach_a_standard_output_that_does_not_block() {
    const FILES: usize = 3000;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().to_str().unwrap();
    let (output, stdout) = non_blocking();
    let serve = ["serve", path, "--bind", "127.0.0.1:0", "--control", "none", "--json"];
    let mut command = anyport_command(&[&serve[..], &["--fsync", "none"]].concat());
    let mut child = command.stdout(stdout).spawn().unwrap();
    let mut lines = BufReader::new(output).lines();
    let first = lines.next().unwrap().unwrap();
    let listening: serde_json::Value = serde_json::from_str(&first).unwrap();
    let port = listening["addr"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let request: String =
        (0..FILES).map(|number| format!("ANYPORT/1 PUT {number} size=1\nxEND\n")).collect();
    let answer = converse(&mut connect(port), request.as_bytes());
    assert_eq!(answer.matches("ANYPORT/1 RECEIPT ").count(), FILES);
    let receipts = lines.by_ref().take(FILES).filter(|line| {
        serde_json::from_str::<serde_json::Value>(line.as_ref().unwrap()).unwrap()["event"]
            == "receipt"
    });
    assert_eq!(receipts.count(), FILES);
    child.kill().unwrap();
    child.wait().unwrap();
}
