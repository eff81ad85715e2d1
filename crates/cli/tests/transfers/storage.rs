//! File systems that differ, targets that are no files, and what stored content may cost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::wire::connect_from;
use anyport_testkit::harness::wire::{
    connect, converse, frame, read_frame, read_line, read_text, websocket,
};
use anyport_testkit::harness::{
    Running, Sample, Server, SmallDisk, anyport, anyport_command, assert_same_bytes, peer,
    python_with, skip, start, wait_until,
};

/// A directory behind a FUSE file system that refuses some operations, unmounted when dropped.
struct OddDisk {
    scratch: tempfile::TempDir,
    process: Child,
}

impl OddDisk {
    /// `None` and a word where this process may not mount.
    fn mount(refused: &str) -> Option<Self> {
        peer("fusermount")?;
        let mut python = python_with("fuse")?;
        let scratch = tempfile::tempdir().unwrap();
        for name in ["root", "mount"] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fusefs.py");
        python.arg(script).arg(scratch.path().join("root")).arg(scratch.path().join("mount"));
        let process = python.arg(refused).stdout(Stdio::null()).stderr(Stdio::null());
        let mut disk = Self { process: process.spawn().unwrap(), scratch };
        let device =
            |path: &Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
        let is_there = wait_until("a mount", || {
            let is_mounted = device(&disk.path()) != device(disk.scratch.path());
            let has_ended = disk.process.try_wait().unwrap().is_some();
            (is_mounted || has_ended).then_some(is_mounted)
        });
        if !is_there {
            skip("cannot mount by FUSE");
        }
        is_there.then_some(disk)
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("mount")
    }
}

impl Drop for OddDisk {
    fn drop(&mut self) {
        let _ = Command::new("fusermount").arg("-uz").arg(self.path()).output();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A command with another umask.
fn with_umask(umask: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
    let anyport = anyport_command(&[]);
    command.arg(anyport.get_program());
    for (name, value) in anyport.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Whatever a file system lacks: a file is stored whole, never over another one, and no success is
/// reported as a failure.
#[test]
fn missing_features_of_a_file_system_interrupt_no_transfer() {
    let other = Server::start(&[]);
    std::fs::write(other.dir().join("x"), "from there").unwrap();
    for (refused, words) in [
        ("none", ""),
        ("chmod", "no chmod"),
        ("utimens", "no exact times"),
        ("link", "neither RENAME_NOREPLACE nor hard links"),
        ("fsyncdir", "no fsync of directories"),
        ("chmod,utimens,link,fsyncdir", "no fsync of directories"),
    ] {
        let Some(disk) = OddDisk::mount(refused) else { return };
        let server = Server::start_in(&disk.path(), &["127.0.0.1:0"], &[]);
        server.says(words);
        let (first, second) = (Sample::new("y", b"first"), Sample::new("y", b"second"));
        anyport(&["send", "--perms", first.path(), &server.url("tcp", "")]).succeeds();
        let renamed = ["send", "--on-exists", "rename", second.path(), &server.url("ws", "")];
        anyport(&renamed).succeeds();
        let receipt = Running::start(curl("-T", second.path(), &server.url("http", "z")), None);
        receipt.outcome().succeeds();
        assert_eq!(names(&disk.path()), ["y", "y-1", "z"], "{refused}");
        assert_eq!(std::fs::read(disk.path().join("y")).unwrap(), b"first", "{refused}");
        assert_eq!(std::fs::read(disk.path().join("y-1")).unwrap(), b"second", "{refused}");
        drop(server);
        for file in ["y", "y-1", "z"] {
            std::fs::remove_file(disk.path().join(file)).unwrap();
        }
        // The other direction.
        let into = disk.path().join("got");
        let get = |policy: &str| {
            let url = other.url("tcp", "x");
            anyport(&["get", "--on-exists", policy, &url, "-o", into.to_str().unwrap()])
        };
        get("error").succeeds();
        get("rename").succeeds();
        get("overwrite").succeeds();
        assert_eq!(names(&disk.path()), ["got", "got-1"], "{refused}");
        assert_eq!(std::fs::read(&into).unwrap(), b"from there", "{refused}");
    }
}

fn curl(flag: &str, file: &str, url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sSf", flag, file, url]);
    curl
}

#[test]
fn get_writes_to_fifos_and_devices_and_replaces_neither() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), "content").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
    };
    assert!(run("mkfifo", &[&at("fifo")]));
    for policy in ["error", "overwrite", "rename"] {
        let fifo = at("fifo");
        let reader = std::thread::spawn(move || std::fs::read(fifo).unwrap());
        let url = server.url("tcp", "x");
        anyport(&["get", "--on-exists", policy, &url, "-o", &at("fifo")]).succeeds();
        assert_eq!(reader.join().unwrap(), b"content", "{policy}");
        assert!(std::fs::symlink_metadata(at("fifo")).unwrap().file_type().is_fifo());
        for stdout in ["/dev/stdout", "-"] {
            let got = anyport(&["get", "--on-exists", policy, &url, "-o", stdout]).succeeds();
            assert_eq!(got.stdout, "content", "{policy} {stdout}");
        }
    }
    let other_user =
        ["get", "--connect-timeout", "100ms", &server.url("tcp", "x"), "-o", &at("fifo")];
    anyport(&other_user).exits(1).says("no process opened it for reading");
    // A device of this test's own: /dev/null is shared.
    if run("mknod", &[&at("null"), "c", "1", "3"]) {
        let url = server.url("http", "x");
        anyport(&["get", "--on-exists", "overwrite", &url, "-o", &at("null")]).succeeds();
        let kind = std::fs::symlink_metadata(at("null")).unwrap().file_type();
        assert!(kind.is_char_device());
    } else {
        skip("cannot make a device");
    }
    if run("mknod", &[&at("disk"), "b", "7", "250"]) {
        let url = server.url("tcp", "x");
        let refused = anyport(&["get", &url, "-o", &at("disk")]).exits(1);
        refused.says("is a block device").says("--on-exists overwrite");
    }
    // Neither a link nor a directory is replaced, nor what they lead to.
    std::fs::write(at("real"), "mine").unwrap();
    symlink("real", at("link")).unwrap();
    std::fs::create_dir(at("x")).unwrap();
    let url = server.url("tcp", "x");
    for (to, words) in [("link", "a symbolic link"), ("./", "a directory")] {
        let refused = anyport(&["get", "--on-exists", "overwrite", &url, "-o", &at(to)]).exits(1);
        refused.says("cannot replace").says(words);
    }
    assert_eq!(std::fs::read(at("real")).unwrap(), b"mine");
    assert_eq!(names(scratch.path()).iter().filter(|name| name.starts_with('.')).count(), 0);
}

/// No content is asked for that could not be stored.
#[test]
fn an_impossible_target_is_refused_before_content() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("file"), "x").unwrap();
    std::fs::create_dir(server.dir().join("real")).unwrap();
    symlink("real", server.dir().join("link")).unwrap();
    for (to, words) in [
        ("file/below", "file is not a directory"),
        ("file/below/deep", "file is not a directory"),
        ("link/x", "link is a symbolic link"),
    ] {
        // HTTP/1.1, HTTP/2 and the answer to Expect.
        let mut stream = connect(server.port());
        let head = format!(
            "PUT /{to} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let status = read_line(&mut stream);
        assert!(status.starts_with("HTTP/1.1 4"), "{to}: {status}");
        // The line that waits for GO, and the one that does not.
        for rest in [" id=abcdefgh resume", ""] {
            let offer = format!("ANYPORT/1 PUT {to} size=20000000{rest}\n");
            let mut stream = connect(server.port());
            stream.write_all(offer.as_bytes()).unwrap();
            let answer = read_line(&mut stream);
            assert!(answer.starts_with("ANYPORT/1 ERROR "), "{to}: {answer}");
            assert!(answer.contains(words), "{to}: {answer}");
        }
        let mut ws = websocket(server.port(), &format!("/files/{to}"));
        ws.write_all(&frame(1, br#"{"type":"offer","size":20000000}"#)).unwrap();
        let (_, answer) = read_frame(&mut ws);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("\"go\""), "{to}: {answer}");
    }
    for scheme in ["tcp", "ws", "http"] {
        let sample = Sample::sparse("large", 20_000_000);
        let to = if scheme == "ws" { "files/file/below" } else { "file/below" };
        let sent = anyport(&["send", "--retry", "0", sample.path(), &server.url(scheme, to)]);
        sent.exits(4).says("file is not a directory");
    }
    assert_eq!(server.published(), ["file", "link", "real"]);
    assert_eq!(names(&server.dir().join("real")), [""; 0]);
}

fn health(server: &Server) -> String {
    let mut stream = connect(server.port());
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    read_text(&mut stream)
}

fn put(server: &Server, name: &str) -> String {
    let line = format!("ANYPORT/1 PUT {name} size=4\ngoodEND\n");
    converse(&mut connect(server.port()), line.as_bytes())
}

#[test]
fn a_missing_directory_is_reported_and_service_resumes_when_it_is_back() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("served");
    std::fs::create_dir(&directory).unwrap();
    let control = scratch.path().join("control");
    let flags = ["--control", control.to_str().unwrap(), "--quota", "10MiB"];
    let server = Server::start_in(&directory, &["127.0.0.1:0"], &flags);
    let status = || {
        let asked = anyport(&["status", "--json", "--control", control.to_str().unwrap()]);
        asked.succeeds().json()[0]["storage_error"].clone()
    };
    assert!(health(&server).starts_with("HTTP/1.1 200 ") && status() == Value::Null);
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(health(&server).starts_with("HTTP/1.1 503 "));
    assert!(status().as_str().unwrap().contains("is gone"));
    let answer = put(&server, "x");
    assert!(answer.starts_with("ANYPORT/1 ERROR storage "), "{answer}");
    assert!(answer.contains("the served directory is gone"), "{answer}");
    let listed = anyport(&["ls", &server.url("tcp", "")]).exits(4);
    listed.says("the served directory is gone");
    // Something else in its place is not it.
    std::fs::write(&directory, "no directory").unwrap();
    assert!(health(&server).starts_with("HTTP/1.1 503 "));
    std::fs::remove_file(&directory).unwrap();
    std::fs::create_dir(&directory).unwrap();
    assert!(health(&server).starts_with("HTTP/1.1 200 ") && status() == Value::Null);
    assert!(put(&server, "x").starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(std::fs::read(directory.join("x")).unwrap(), b"good");
    // Replaced by another one.
    std::fs::rename(&directory, scratch.path().join("old")).unwrap();
    std::fs::create_dir(&directory).unwrap();
    assert!(put(&server, "y").starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(names(&directory), ["y"]);
}

/// What was mounted is not stored into the directory beneath.
#[test]
fn an_unmounted_directory_accepts_no_files_until_it_is_mounted_again() {
    let Some(disk) = SmallDisk::mount() else { return };
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).arg(disk.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    assert!(put(&server, "x").starts_with("ANYPORT/1 RECEIPT "));
    run("umount", &["-l"]);
    assert!(health(&server).starts_with("HTTP/1.1 503 "));
    let answer = put(&server, "y");
    assert!(answer.contains("the served directory is not mounted"), "{answer}");
    assert_eq!(names(disk.path()), [""; 0]);
    run("mount", &["-t", "tmpfs", "tmpfs"]);
    assert!(health(&server).starts_with("HTTP/1.1 200 "));
    assert!(put(&server, "y").starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(names(disk.path()), ["y"]);
}

/// Leaves a partial file of `size` bytes.
fn interrupt(server: &Server, mut stream: TcpStream, id: &str, size: usize) -> String {
    let line = format!("ANYPORT/1 PUT {id} size=1000000 id={id}-secret resume\n");
    stream.write_all(line.as_bytes()).unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 GO "));
    stream.write_all(&vec![7; size]).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    server.next_interrupted()["part"].as_str().unwrap().to_owned()
}

fn parts(server: &Server) -> Vec<String> {
    server.names().into_iter().filter(|name| name.ends_with(".part")).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn partial_files_are_bounded_in_number_and_for_each_address() {
    let server = Server::start(&["--max-partial", "8"]);
    let one = |id: &str| interrupt(&server, connect(server.port()), id, 10);
    let kept: Vec<String> = (0..5).map(|number| one(&format!("a{number}"))).collect();
    assert_eq!(parts(&server), sorted(kept[3..].to_vec()), "a fourth of 8 for one address");
    // No other sender's is removed for them, and there is no state without its file.
    let other = interrupt(&server, connect_from("127.0.0.2", server.port()), "other", 10);
    let last = one("b");
    assert_eq!(parts(&server), sorted(vec![kept[4].clone(), other.clone(), last.clone()]));
    assert_eq!(server.names().len(), 6);
    // What is kept can be continued, and is not removed meanwhile.
    let mut stream = connect(server.port());
    let line = "ANYPORT/1 PUT b size=1000000 id=b-secret resume\n";
    stream.write_all(line.as_bytes()).unwrap();
    assert_eq!(read_line(&mut stream), "ANYPORT/1 GO offset=10");
    for id in ["c", "d", "e"] {
        one(id);
    }
    let answer = converse(&mut stream, &[&vec![7; 999_990][..], b"END\n"].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    server.next_receipt();
    drop(server);
}

#[test]
fn partial_files_are_bounded_in_bytes() {
    let server = Server::start(&["--max-partial-bytes", "400000"]);
    let one = |id: &str, size| interrupt(&server, connect(server.port()), id, size);
    let (small, large) = (one("a", 60_000), one("b", 60_000));
    assert_eq!(parts(&server), std::slice::from_ref(&large), "{small} is too much for one address");
    // However large it is, the last one of an address can be continued.
    let huge = one("c", 500_000);
    assert_eq!(parts(&server), [huge]);
}

/// Those of an earlier run count too.
#[test]
fn partial_files_of_an_earlier_run_are_bounded_at_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    for number in 0..10_u64 {
        let part = std::fs::File::create(scratch.path().join(format!(".anyport-{number}.part")));
        let age = std::time::Duration::from_secs(100 - number);
        part.unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &["--max-partial", "3"]);
    let kept = ["7", "8", "9"].map(|number| format!(".anyport-{number}.part"));
    assert_eq!(parts(&server), kept);
}

#[test]
fn old_partial_files_are_removed_while_the_server_runs() {
    let flags = ["--keep-partial", "1s", "--idle-timeout", "1s"];
    let server = Server::start(&flags);
    let part = interrupt(&server, connect(server.port()), "a", 10);
    wait_until("the sweep", || {
        let names = server.names();
        (!names.contains(&part) && names.is_empty()).then_some(())
    });
    server.takes_a_good_file();
}

/// However many partial files there are, an interruption looks at none of the others.
#[test]
fn an_interruption_costs_the_same_however_many_partial_files_there_are() {
    let Some(mut strace) = peer("strace") else { return };
    let scratch = tempfile::tempdir().unwrap();
    for number in 0..2000 {
        std::fs::write(scratch.path().join(format!(".anyport-{number:032x}.part")), b"x").unwrap();
    }
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    let output = tempfile::NamedTempFile::new().unwrap();
    strace.args(["-f", "-e", "trace=openat,newfstatat,flock,getdents64", "-o"]);
    strace.arg(output.path()).args(["-p", &server.pid().to_string()]).stderr(Stdio::piped());
    let mut strace = strace.spawn().unwrap();
    let mut said = [0; 64];
    let count = strace.stderr.as_mut().unwrap().read(&mut said).unwrap();
    if !String::from_utf8_lossy(&said[..count]).contains("attached") {
        let _ = strace.wait();
        skip("strace may not attach");
        return;
    }
    for id in 0..3 {
        interrupt(&server, connect(server.port()), &format!("id{id}"), 10);
    }
    let text = wait_until("the traced calls", || {
        let text = std::fs::read_to_string(output.path()).unwrap();
        text.contains("flock").then_some(text)
    });
    strace.kill().unwrap();
    strace.wait().unwrap();
    assert!(text.lines().count() < 100, "{} calls", text.lines().count());
    assert!(!text.contains("getdents64"), "{text}");
}

#[test]
fn a_quota_counts_blocks_directories_and_entries() {
    // What can be stored in 20 blocks of 4096 bytes.
    let server = Server::start(&["--quota", "81920"]);
    let put = |name: &str, size: usize| {
        let line = format!("ANYPORT/1 PUT {name} size={size}\n{}END\n", "x".repeat(size));
        converse(&mut connect(server.port()), line.as_bytes())
    };
    for number in 0..10 {
        let answer = put(&format!("one-byte-{number}"), 1);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    }
    for number in 0..10 {
        let answer = put(&format!("d{number}/"), 0);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    }
    for (name, size) in [("one-more", 1), ("directory/", 0), ("new/empty", 0)] {
        let answer = put(name, size);
        assert!(answer.contains("(--quota)"), "{name}: {answer}");
    }
    let server = Server::start(&["--quota", "1GiB", "--max-entries", "5"]);
    let put = |name: &str| {
        let line = format!("ANYPORT/1 PUT {name} size=0\nEND\n");
        converse(&mut connect(server.port()), line.as_bytes())
    };
    for name in ["a", "b", "c/d", "c/"] {
        assert!(put(name).starts_with("ANYPORT/1 RECEIPT "), "{name}");
    }
    assert!(put("x/y").contains("(--max-entries)"));
    assert!(put("e").starts_with("ANYPORT/1 RECEIPT "));
    for name in ["f", "g/"] {
        let answer = put(name);
        assert!(answer.starts_with("ANYPORT/1 ERROR no-space "), "{answer}");
        assert!(answer.contains("5 files and directories") && answer.contains("(--max-entries)"));
    }
}

/// Stored content never keeps a server from starting.
#[test]
fn a_server_starts_beyond_its_quota_and_config_check_reports_it() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("d/".repeat(80))).unwrap();
    for number in 0..20 {
        std::fs::write(scratch.path().join(number.to_string()), [7; 5000]).unwrap();
    }
    let directory = scratch.path().to_str().unwrap();
    for (flags, words) in [
        (["--quota", "50000", "--max-entries", "1000000"], "--quota"),
        (["--quota", "1GiB", "--max-entries", "10"], "--max-entries"),
    ] {
        let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
        let answer = put(&server, "x");
        assert!(answer.starts_with("ANYPORT/1 ERROR no-space "), "{answer}");
        assert!(answer.contains(words), "{answer}");
        anyport(&["get", &server.url("tcp", "0"), "-o", "-"]).succeeds();
        let file = Sample::new("anyport.toml", settings(directory, &flags).as_bytes());
        anyport(&["config", "check", file.path()]).succeeds().says("warning: ").says(words);
    }
}

fn settings(directory: &str, flags: &[&str]) -> String {
    let pairs = flags.chunks(2).map(|pair| {
        let value = pair[1];
        let value =
            if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("{value:?}") };
        format!("{} = {value}\n", pair[0].trim_start_matches('-'))
    });
    format!("directory = {directory:?}\n{}", pairs.collect::<String>())
}

/// More names than a listing may hold.
#[test]
fn a_directory_of_many_long_names_is_listed_whole() {
    const COUNT: usize = 56_000;
    let server = Server::start(&[]);
    let large = server.dir().join("large");
    std::fs::create_dir(&large).unwrap();
    for number in 0..COUNT {
        std::fs::File::create(large.join(format!("{number:0>250}"))).unwrap();
    }
    for (scheme, path) in [("tcp", "large/"), ("ws", "files/large/"), ("http", "large/")] {
        let listed = anyport(&["ls", &server.url(scheme, path)]).succeeds();
        assert_eq!(listed.stdout.lines().count(), COUNT, "{scheme}");
        let last = listed.stdout.lines().last().unwrap();
        assert!(last.ends_with(&(COUNT - 1).to_string()), "{scheme}: {last}");
    }
}

/// Between two pages of a directory, a file takes its place, so that it cannot be read any more.
#[test]
fn a_directory_that_becomes_unreadable_between_two_pages_is_counted_and_named() {
    let server = Server::start(&["--max-buffered", "256KiB", "--limit-rate", "50KB"]);
    let many = server.dir().join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..3000 {
        std::fs::File::create(many.join(format!("{number:0>250}"))).unwrap();
    }
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 LIST recursive left_out\n").unwrap();
    let first = read_line(&mut stream);
    assert!(first.contains("name=many kind=directory"), "{first}");
    // In one step: a directory that is missing for a moment was removed, and is not counted.
    let other = server.dir().join("other");
    std::fs::write(&other, b"x").unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &many, rustix::fs::CWD, &other, exchange).unwrap();
    let mut lines = vec![first];
    while !lines.last().unwrap().starts_with("ANYPORT/1 END ") {
        lines.push(read_line(&mut stream));
    }
    let [.., directory, end] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(directory, "ANYPORT/1 LEFT-OUT name_raw=many reason=unreadable");
    // The other lines are of the first page.
    let left_out = lines.iter().filter(|line| line.contains("LEFT-OUT")).count();
    assert!(lines.len() < 3000 && end.ends_with(&format!("left_out={left_out}")), "{end}");
}

/// Files of `/proc` have size 0, whatever can be read from them, and this one only in records of 8
/// bytes.
#[test]
fn a_file_of_size_0_that_has_content_is_sent_and_not_buffered() {
    let server = Server::start(&["--max-size", "1MiB"]);
    let url = server.url("tcp", "");
    // Nothing is at address 0.
    anyport(&["send", "/proc/self/mem", &url]).exits(1).says("cannot read /proc/self/mem");
    assert_eq!(server.next_event()["event"], "interrupted");
    for flags in [&[][..], &["--plain"]] {
        let sent = anyport(&[&["send", "/proc/self/pagemap", &url], flags].concat());
        assert_ne!(sent.code, Some(0), "{sent:?}");
        let event = server.next_event();
        assert!(event["reason"].as_str().unwrap().contains("--max-size"), "{event}");
    }
}

/// Neither end widens what its umask withholds because the other one says so.
#[test]
fn permissions_obey_the_umask_unless_both_ends_request_otherwise() {
    let sample = Sample::new("x", b"content");
    let set = |mode| std::fs::set_permissions(sample.path(), PermissionsExt::from_mode(mode));
    for (flags, sent, stored) in [
        (&[][..], 0o777, 0o750),
        (&["--perms"], 0o777, 0o777),
        (&[], 0o604, 0o600),
        (&["--perms"], 0o604, 0o604),
    ] {
        let server = Server::start_as(with_umask("027"), &["127.0.0.1:0"], flags);
        set(sent).unwrap();
        anyport(&["send", "--perms", sample.path(), &server.url("tcp", "a")]).succeeds();
        assert_eq!(mode(&server.dir().join("a")), stored, "{sent:o} {flags:?}");
        anyport(&["send", sample.path(), &server.url("tcp", "b")]).succeeds();
        assert_eq!(mode(&server.dir().join("b")), 0o640, "{flags:?}");
    }
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), "content").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for (number, (flags, there, here)) in
        [(&[][..], 0o777, 0o750), (&["--perms"], 0o777, 0o777), (&[], 0o600, 0o600)]
            .into_iter()
            .enumerate()
    {
        let permissions = PermissionsExt::from_mode(there);
        std::fs::set_permissions(server.dir().join("x"), permissions).unwrap();
        let into = scratch.path().join(number.to_string());
        let mut get = with_umask("027");
        get.arg("get").args(flags).arg(server.url("tcp", "x")).arg("-o").arg(&into);
        Running::start(get, None).outcome().succeeds();
        assert_eq!(mode(&into), here, "{there:o} {flags:?}");
    }
}

/// A private file is private from its first byte.
#[test]
fn partial_files_of_private_files_are_private_from_the_start() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT x size=10 mode=600 id=abcdefgh resume\n").unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 GO "));
    let [part] = &parts(&server)[..] else { panic!("{:?}", server.names()) };
    assert_eq!(mode(&server.dir().join(part)), 0o600);
    let answer = converse(&mut stream, b"0123456789END\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert_eq!(mode(&server.dir().join("x")), 0o600);
    // The client: a server that sends slowly, and a file that is private there.
    let server = Server::start(&["--limit-rate", "100000"]);
    std::fs::write(server.dir().join("x"), noise(10_000_000, 1)).unwrap();
    let private = PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(server.dir().join("x"), private).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let into = scratch.path().join("x");
    let mut get = start(&["get", &server.url("tcp", "x"), "-o", into.to_str().unwrap()]);
    let part = wait_until("a partial file", || {
        names(scratch.path()).into_iter().find(|name| name.ends_with(".part"))
    });
    assert_eq!(mode(&scratch.path().join(part)), 0o600);
    get.kill();
}

/// In a directory where others may write, theirs is not continued.
#[test]
fn a_partial_file_of_another_user_is_not_used() {
    let server = Server::start(&["--limit-rate", "1000000"]);
    let content = noise(3_000_000, 2);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let into = scratch.path().join("x");
    let url = server.url("tcp", "x");
    let mut get = start(&["get", &url, "-o", into.to_str().unwrap()]);
    let part = wait_until("a partial file", || {
        let part = names(scratch.path()).into_iter().find(|name| name.ends_with(".part"))?;
        let part = scratch.path().join(part);
        (std::fs::metadata(&part).ok()?.len() > 0).then_some(part)
    });
    get.kill();
    drop(get);
    // A second name of it stands for another user's hand on it: making one of another user takes
    // root.
    let planted = scratch.path().join("planted");
    std::fs::hard_link(&part, &planted).unwrap();
    let length = std::fs::metadata(&planted).unwrap().len();
    anyport(&["get", &url, "-o", into.to_str().unwrap()]).succeeds().says("partial file not used");
    assert_same_bytes(&std::fs::read(&into).unwrap(), &content);
    assert_eq!(std::fs::metadata(&planted).unwrap().len(), length, "left alone");
}

/// Files that a service writes to are not chosen by other users.
#[test]
fn pid_and_log_files_do_not_follow_links() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("served")).unwrap();
    std::fs::write(at("mine"), "mine").unwrap();
    symlink("mine", at("link")).unwrap();
    for flag in ["--pid-file", "--log-file"] {
        let served = at("served");
        let arguments = ["serve", "--bind", "127.0.0.1:0", "--control", "none", &served];
        let refused = anyport(&[&arguments[..], &[flag, &at("link")]].concat()).exits(1);
        refused.says("it is a symbolic link");
    }
    assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "mine");
}
