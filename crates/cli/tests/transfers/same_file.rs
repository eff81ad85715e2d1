//! Files that are there already, and sources that change while they are read.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyport_testkit::noise;

use anyport_testkit::harness::{
    Outcome, Sample, Server, anyport, assert_same_bytes, peer, start, wait_until,
};

/// Beyond what is sent in one go, so that a server is asked before.
const LONG: usize = 100_000;

/// A time that no change can get any more.
fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 100_000_000)
}

fn modified(path: impl AsRef<Path>) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

fn write_at(path: impl AsRef<Path>, content: &[u8], time: SystemTime) {
    std::fs::write(&path, content).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn outcomes(outcome: &Outcome) -> Vec<String> {
    let events = outcome.json();
    events.iter().map(|event| event["outcome"].as_str().unwrap().to_owned()).collect()
}

fn send(server: &Server, scheme: &str, flags: &[&str], path: &str) -> Outcome {
    let url = server.url(scheme, "");
    anyport(&[&["send", "--json"], flags, &[path, url.as_str()]].concat())
}

fn get(server: &Server, scheme: &str, flags: &[&str], name: &str, to: &Path) -> Outcome {
    let url = server.url(scheme, &format!("files/{name}"));
    let url = if scheme == "tcp" || scheme == "frames" { server.url(scheme, name) } else { url };
    anyport(&[&["get", "--json", "-o", to.to_str().unwrap()], flags, &[url.as_str()]].concat())
}

#[test]
fn a_file_that_is_already_there_is_counted_apart_from_received_files() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let sample = Sample::new("f", &[b'A'; LONG]);
        write_at(sample.path(), &[b'A'; LONG], long_ago());
        for outcome in ["stored", "same"] {
            let sent = send(&server, scheme, &[], sample.path()).succeeds();
            assert!(outcomes(&sent)[0].starts_with(outcome), "{scheme}: {sent:?}");
            server.next_receipt();
        }
        let (_, summary) = server.stop_with_summary();
        let counted = ["receipts", "bytes", "already_there", "already_there_bytes"];
        let counted = counted.map(|key| summary[key].as_u64().unwrap());
        let long = LONG as u64;
        assert_eq!(counted, [2, 2 * long, 1, long], "{scheme}: {summary}");
    }
}

#[test]
fn a_file_rewritten_within_the_second_is_another_file() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&["--on-exists", "overwrite"]);
        let sample = Sample::new("f", b"");
        let later = long_ago() + Duration::from_millis(800);
        write_at(sample.path(), &[b'A'; LONG], long_ago());
        send(&server, scheme, &[], sample.path()).succeeds();
        assert_eq!(modified(server.dir().join("f")), long_ago(), "{scheme}");
        write_at(sample.path(), &[b'B'; LONG], later);
        let again = send(&server, scheme, &[], sample.path()).succeeds();
        assert_eq!(outcomes(&again), ["stored"], "{scheme}");
        assert_same_bytes(&std::fs::read(server.dir().join("f")).unwrap(), &[b'B'; LONG]);

        let scratch = tempfile::tempdir().unwrap();
        let to = scratch.path().join("f");
        get(&server, scheme, &[], "f", &to).succeeds();
        assert_eq!(modified(&to), later, "{scheme}");
        let same = get(&server, scheme, &[], "f", &to).succeeds();
        assert_eq!(outcomes(&same), ["same-time"], "{scheme}");
        write_at(server.dir().join("f"), &[b'C'; LONG], long_ago());
        get(&server, scheme, &[], "f", &to).exits(1).says("exist");
        get(&server, scheme, &["--on-exists", "overwrite"], "f", &to).succeeds();
        assert_same_bytes(&std::fs::read(&to).unwrap(), &[b'C'; LONG]);
    }
}

#[test]
fn a_changed_file_is_refused_and_not_reported_as_stored() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        for size in [5, LONG] {
            let server = Server::start(&[]);
            let sample = Sample::new("f", b"");
            write_at(sample.path(), &vec![b'A'; size], long_ago());
            send(&server, scheme, &[], sample.path()).succeeds();
            write_at(sample.path(), &vec![b'B'; size], long_ago() + Duration::from_nanos(1000));
            send(&server, scheme, &[], sample.path())
                .exits(4)
                .says("f exists with different content");
            assert_same_bytes(&std::fs::read(server.dir().join("f")).unwrap(), &vec![b'A'; size]);
        }
    }
}

#[test]
fn a_time_too_recent_to_be_trusted_is_compared_by_digest() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let sample = Sample::new("f", b"");
        // Ahead of the clock for as long as the test can take.
        let recent = SystemTime::now() + Duration::from_secs(3600);
        write_at(sample.path(), &[b'A'; LONG], recent);
        send(&server, scheme, &[], sample.path()).succeeds();
        let same = send(&server, scheme, &[], sample.path()).succeeds();
        assert_eq!(outcomes(&same), ["same-digest"], "{scheme}");
        write_at(sample.path(), &[b'B'; LONG], recent);
        send(&server, scheme, &[], sample.path()).exits(4).says("f exists with different content");

        let scratch = tempfile::tempdir().unwrap();
        let to = scratch.path().join("f");
        write_at(server.dir().join("f"), &[b'C'; LONG], recent);
        get(&server, scheme, &[], "f", &to).succeeds();
        let same = get(&server, scheme, &[], "f", &to).succeeds();
        assert_eq!(outcomes(&same), ["same-digest"], "{scheme}");
        write_at(server.dir().join("f"), &[b'D'; LONG], recent);
        get(&server, scheme, &[], "f", &to).exits(1);
        assert_same_bytes(&std::fs::read(&to).unwrap(), &[b'C'; LONG]);
    }
}

#[test]
fn a_file_that_may_be_replaced_is_sent_where_its_digest_differs() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&["--on-exists", "overwrite"]);
        let sample = Sample::new("f", b"");
        let recent = SystemTime::now() + Duration::from_secs(3600);
        for content in [[b'A'; LONG], [b'B'; LONG]] {
            write_at(sample.path(), &content, recent);
            let sent = send(&server, scheme, &[], sample.path()).succeeds();
            assert_eq!(outcomes(&sent), ["stored"], "{scheme}");
            assert_same_bytes(&std::fs::read(server.dir().join("f")).unwrap(), &content);
        }
        assert_eq!(server.names(), ["f"], "{scheme}");
    }
}

#[test]
fn a_file_that_curl_sent_is_already_there_and_only_its_time_is_set() {
    if peer("curl").is_none() {
        return;
    }
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let content = noise(LONG, 1);
        let sample = Sample::new("f", b"");
        write_at(sample.path(), &content, long_ago());
        let url = server.url("http", "");
        let put = Command::new("curl").args(["-sT", sample.path(), &url]).output().unwrap();
        assert!(put.status.success(), "{put:?}");
        let same = send(&server, scheme, &[], sample.path()).succeeds();
        assert_eq!(outcomes(&same), ["same-digest"], "{scheme}");
        assert_eq!(modified(server.dir().join("f")), long_ago());
        if scheme != "http" {
            let same = send(&server, scheme, &[], sample.path()).succeeds();
            assert_eq!(outcomes(&same), ["same-time"], "{scheme}");
        }
        assert_eq!(server.names(), ["f"]);
    }
}

#[test]
fn the_same_transfer_twice_succeeds_where_times_are_coarse() {
    // What a file system with steps of two seconds makes of the time that was set.
    let coarse = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let sample = Sample::new("f", b"");
        let content = noise(LONG, 2);
        write_at(sample.path(), &content, long_ago());
        send(&server, scheme, &[], sample.path()).succeeds();
        write_at(server.dir().join("f"), &content, coarse);
        let again = send(&server, scheme, &[], sample.path()).succeeds();
        assert_eq!(outcomes(&again), ["same-digest"], "{scheme}");
        let scratch = tempfile::tempdir().unwrap();
        let to = scratch.path().join("f");
        get(&server, scheme, &[], "f", &to).succeeds();
        write_at(&to, &content, coarse);
        let again = get(&server, scheme, &[], "f", &to).succeeds();
        assert_eq!(outcomes(&again), ["same-digest"], "{scheme}");
    }
}

#[test]
fn checksum_compares_content_whatever_the_times_say() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let sample = Sample::new("f", b"");
        write_at(sample.path(), &[b'A'; LONG], long_ago());
        send(&server, scheme, &[], sample.path()).succeeds();
        write_at(sample.path(), &[b'B'; LONG], long_ago());
        send(&server, scheme, &["--checksum"], sample.path()).exits(4).says("different content");
        write_at(sample.path(), &[b'A'; LONG], long_ago());
        let same = send(&server, scheme, &["--checksum"], sample.path()).succeeds();
        assert_eq!(outcomes(&same), ["same-digest"], "{scheme}");

        let scratch = tempfile::tempdir().unwrap();
        let to = scratch.path().join("f");
        write_at(server.dir().join("f"), &[b'A'; LONG], long_ago());
        write_at(&to, &[b'B'; LONG], long_ago());
        let trusted = get(&server, scheme, &[], "f", &to).succeeds();
        assert_eq!(outcomes(&trusted), ["same-time"], "{scheme}");
        get(&server, scheme, &["--checksum"], "f", &to).exits(1);
        write_at(&to, &[b'A'; LONG], long_ago());
        let same = get(&server, scheme, &["--checksum"], "f", &to).succeeds();
        assert_eq!(outcomes(&same), ["same-digest"], "{scheme}");
    }
}

#[test]
fn the_outcome_of_a_file_is_in_words() {
    let server = Server::start(&[]);
    let sample = Sample::new("f", b"");
    write_at(sample.path(), &noise(LONG, 3), long_ago());
    let url = server.url("tcp", "");
    let said = |flags: &[&str]| {
        anyport(&[&["send"], flags, &[sample.path(), url.as_str()]].concat()).succeeds().stdout
    };
    assert!(said(&[]).contains("f stored and verified: "));
    assert!(said(&[]).contains("f already there (same size and time): "));
    assert!(said(&["--checksum"]).contains("f already there (same digest): "));
}

/// What happens to a source.
type Change = dyn Fn(&File, &Path);

/// Sends a file slowly while `change` is done to it.
fn send_while(scheme: &str, change: impl FnOnce(&File, &Path)) -> (Server, Outcome) {
    let server = Server::start(&[]);
    let sample = Sample::new("f", b"");
    write_at(sample.path(), &vec![b'A'; 3_000_000], long_ago());
    let url = server.url(scheme, "");
    let sending = start(&["send", "--json", "--limit-rate", "3MB", sample.path(), &url]);
    server.growing_part();
    let file = File::options().read(true).write(true).open(sample.path()).unwrap();
    change(&file, Path::new(sample.path()));
    let outcome = sending.outcome();
    (server, outcome)
}

#[test]
fn a_source_that_changes_while_it_is_sent_is_never_verified() {
    let rewrite = |file: &File, _: &Path| file.write_all_at(&vec![b'B'; 3_000_000], 0).unwrap();
    let truncate = |file: &File, _: &Path| file.set_len(10).unwrap();
    let replace = |_: &File, path: &Path| {
        let other = path.with_extension("new");
        write_at(&other, &vec![b'B'; 3_000_000], long_ago());
        std::fs::rename(other, path).unwrap();
    };
    let grow_rewritten = |file: &File, _: &Path| {
        file.write_all_at(&vec![b'B'; 3_000_001], 0).unwrap();
    };
    let changes: [&Change; 4] = [&rewrite, &truncate, &replace, &grow_rewritten];
    for scheme in ["tcp", "ws", "frames", "http"] {
        for change in changes {
            let (server, outcome) = send_while(scheme, change);
            let outcome = outcome.exits(1);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(said.contains("during the transfer"), "{scheme}: {said}");
            assert!(server.published().is_empty(), "{scheme}: {:?}", server.names());
        }
    }
}

#[test]
fn a_source_that_only_grew_or_was_touched_is_verified_as_it_was() {
    let grow = |file: &File, _: &Path| file.write_all_at(b"more", 3_000_000).unwrap();
    let touch = |file: &File, _: &Path| {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for scheme in ["tcp", "ws", "frames", "http"] {
        let (server, outcome) = send_while(scheme, grow);
        assert_eq!(outcome.succeeds().json()[0]["grown"], true, "{scheme}");
        assert_eq!(std::fs::read(server.dir().join("f")).unwrap().len(), 3_000_000);
        let (server, outcome) = send_while(scheme, touch);
        assert!(outcome.succeeds().json()[0].get("grown").is_none(), "{scheme}");
        assert_eq!(std::fs::read(server.dir().join("f")).unwrap().len(), 3_000_000);
    }
}

#[test]
fn a_stored_file_that_changes_while_it_is_received_is_never_verified() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&["--limit-rate", "8MB"]);
        let stored = server.dir().join("f");
        write_at(&stored, &vec![b'A'; 3_000_000], long_ago());
        let scratch = tempfile::tempdir().unwrap();
        let to = scratch.path().join("f");
        let name = if scheme == "http" || scheme == "ws" { "files/f" } else { "f" };
        let url = server.url(scheme, name);
        let getting = start(&["get", "--retry", "0", "-o", to.to_str().unwrap(), &url]);
        wait_until("a part file", || {
            let mut entries = std::fs::read_dir(scratch.path()).unwrap();
            entries.find_map(|entry| (entry.ok()?.metadata().ok()?.len() > 0).then_some(()))
        });
        let file = File::options().write(true).open(&stored).unwrap();
        file.write_all_at(&vec![b'B'; 3_000_000], 0).unwrap();
        let outcome = getting.outcome();
        assert_ne!(outcome.code, Some(0), "{scheme}: {outcome:?}");
        assert!(!to.exists(), "{scheme}");
    }
}

#[test]
fn files_whose_size_lies_are_read_to_their_end() {
    let (proc, sys) = ("/proc/sys/kernel/ostype", "/sys/class/net/lo/mtu");
    for scheme in ["tcp", "ws", "frames", "http"] {
        for path in [proc, sys] {
            if !Path::new(path).exists() {
                continue;
            }
            let server = Server::start(&[]);
            send(&server, scheme, &[], path).succeeds();
            let stored = server.stored(&server.next_receipt());
            assert_same_bytes(&stored, &std::fs::read(path).unwrap());
        }
    }
}

/// A server from before the key: it refuses a line that has it, and closes.
#[test]
fn a_server_that_does_not_know_nanoseconds_is_asked_without_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for connection in listener.incoming().take(2) {
            let mut stream = connection.unwrap();
            lines.push(anyport_testkit::harness::wire::read_line(&mut stream));
            if lines.len() == 1 {
                let refusal = "ANYPORT/1 ERROR bad-request unknown key \"mtime_ns\" in the preface";
                writeln!(stream, "{refusal}").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
                continue;
            }
            let receipt = "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:1 bytes=5 \
                           seconds=0 end=size confirmed=true path=f";
            stream.read_exact(&mut [0; 5]).unwrap();
            writeln!(stream, "{receipt}").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        lines
    });
    let sample = Sample::new("f", b"");
    write_at(sample.path(), b"hello", long_ago());
    anyport(&["send", sample.path(), &url]).succeeds();
    let lines = server.join().unwrap();
    assert!(lines[0].contains(" mtime=1700000000 mtime_ns=100000000"), "{lines:?}");
    assert!(lines[1].contains(" mtime=1700000000") && !lines[1].contains("mtime_ns"), "{lines:?}");
}
