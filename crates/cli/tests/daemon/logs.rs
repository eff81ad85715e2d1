//! What is said of each connection at its end, in each form of the log.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::wire::{
    BINARY, close_frame, connect, converse, frame, read_close, websocket,
};
use anyport_testkit::harness::{DEADLINE, Server, anyport_command, peer, skip};

/// The line of the log that tells the end of a connection which speaks `protocol`.
fn ended(server: &Server, protocol: &str) -> Value {
    let lines = || {
        let said = server.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ended = lines.filter(|line| line["message"] == "connection ended");
        ended.find(|line| line["protocol"] == protocol)
    };
    anyport_testkit::harness::wait_until("the end of a connection", lines)
}

#[test]
fn the_first_output_of_a_service_is_counted() {
    for service in ["greet", "daytime", "rfc868"] {
        let listen = format!("{service}://127.0.0.1:0");
        let server = Server::start_listening(&[&listen], &["-v", "--log-format", "json"]);
        let mut said = Vec::new();
        let mut stream = connect(server.port());
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut said).unwrap();
        assert!(said.len() >= 4, "{said:?}");
        let line = ended(&server, service);
        assert_eq!(line["bytes_out"], said.len(), "{line}");
    }
}

#[test]
fn each_connection_ends_in_one_line_with_its_facts() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let put = b"ANYPORT/1 PUT a size=5\nhelloEND\nANYPORT/1 GET a\n";
    let answer = converse(&mut connect(server.port()), put);
    let line = ended(&server, "preface");
    assert_eq!(line["level"], "INFO", "{line}");
    assert_eq!(line["bytes_in"], put.len(), "{line}");
    assert_eq!(line["bytes_out"], answer.len(), "{line}");
    assert_eq!((&line["requests"], &line["files"]), (&Value::from(2), &Value::from(2)), "{line}");
    assert_eq!(line["close"], "clean", "{line}");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert!(line["reason"].is_string() && line["seconds"].is_number(), "{line}");
    assert!(line.get("user").is_none() && line.get("tls").is_none(), "{line}");

    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = converse(&mut connect(server.port()), get.as_bytes());
    let line = ended(&server, "http1");
    assert_eq!(line["bytes_in"], get.len(), "{line}");
    assert_eq!(line["bytes_out"], answer.len(), "{line}");
    assert_eq!((&line["requests"], &line["files"]), (&Value::from(2), &Value::from(1)), "{line}");

    let mut stream = websocket(server.port(), "/files/b");
    stream.write_all(&[frame(BINARY, b"content"), close_frame(1000, "")].concat()).unwrap();
    read_close(&mut stream);
    drop(stream);
    assert_eq!(ended(&server, "ws")["files"], 1);

    let mut raw = connect(server.port());
    raw.write_all(b"\xffraw bytes").unwrap();
    socket2::SockRef::from(&raw).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    server.growing_part();
    drop(raw);
    let line = ended(&server, "raw");
    assert!(line["close"].as_str().unwrap().starts_with("connection lost: "), "{line}");
    assert_eq!(line["files"], 0, "{line}");
}

/// The answer to a JOIN is written on the reactor thread, outside of any event of the session.
#[test]
fn bytes_that_a_member_gets_when_it_enters_a_room_are_counted() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let mut member = connect(server.port());
    member.write_all(b"ANYPORT/1 JOIN lobby as bob\n").unwrap();
    let mut reader = BufReader::new(member.try_clone().unwrap());
    let (mut joined, mut rest) = (String::new(), String::new());
    reader.read_line(&mut joined).unwrap();
    assert!(joined.starts_with("ANYPORT/1 JOINED "), "{joined}");
    member.shutdown(std::net::Shutdown::Write).unwrap();
    reader.read_to_string(&mut rest).unwrap();
    let line = ended(&server, "preface");
    assert_eq!(line["bytes_out"], joined.len() + rest.len(), "{line}");
}

/// Output of a room to a member is written by other connections, and counted as its own.
#[test]
fn output_of_a_room_is_counted_for_each_member() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let mut listener = connect(server.port());
    listener.write_all(b"ANYPORT/1 JOIN lobby as bob\n").unwrap();
    anyport_testkit::harness::wire::read_line(&mut listener);
    let said = "x".repeat(1000);
    let post =
        format!("POST /rooms/lobby HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{said}");
    converse(&mut connect(server.port()), post.as_bytes());
    while !anyport_testkit::harness::wire::read_line(&mut listener).ends_with(&said) {}
    drop(listener);
    let line = ended(&server, "preface");
    assert!(line["bytes_out"].as_u64().unwrap() > 1000, "{line}");
}

#[test]
fn the_log_is_text_by_default_and_the_journal_is_used_only_if_present() {
    let server = Server::start(&["-v"]);
    converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
    server.says("connection ended");
    assert!(server.said().contains("protocol=\"preface\""), "{}", server.said());
    // An empty variable sets nothing, and an invalid level is reported.
    for (value, reported) in [("", false), ("=,=", true)] {
        let mut command = anyport_command(&[]);
        command.env("ANYPORT_LOG", value);
        let server = Server::start_as(command, &["127.0.0.1:0"], &["-v"]);
        converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
        server.says("connection ended");
        assert_eq!(server.said().contains("invalid ANYPORT_LOG"), reported, "{}", server.said());
    }
    let quiet = Server::start(&[]);
    converse(&mut connect(quiet.port()), b"ANYPORT/1 TIME\n");
    quiet.signal("TERM");
    quiet.says("stopping");
    assert!(!quiet.said().contains("connection ended"), "{}", quiet.said());
}

/// In place of journald: what is sent to the socket that a program finds where journald has its
/// own.
struct Journal {
    scratch: TempDir,
    entries: Receiver<HashMap<String, String>>,
    /// How a program gets a view of files of its own here.
    unshare: &'static str,
}

impl Journal {
    /// None and a word where no mount namespace is to be had.
    fn open() -> Option<Self> {
        let may = |flags: &&str| {
            let command = ["unshare", *flags, "mount", "-t", "tmpfs", "tmpfs", "/run"];
            Command::new("env").args(command).output().is_ok_and(|done| done.status.success())
        };
        peer("unshare")?;
        let Some(unshare) = ["-m", "-rm"].into_iter().find(may) else {
            skip("nothing may be mounted over /run, not even for one process");
            return None;
        };
        let scratch = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(scratch.path().join("socket")).unwrap();
        let (sender, entries) = channel();
        // Read at once, as who writes would wait for us.
        std::thread::spawn(move || {
            let mut datagram = vec![0; 256 * 1024];
            while let Ok(count) = socket.recv(&mut datagram) {
                if sender.send(entry(&datagram[..count])).is_err() {
                    return;
                }
            }
        });
        Some(Self { scratch, entries, unshare })
    }

    /// A server whose stderr is said to be `stream`, an expression of a shell.
    fn serve(&self, stream: &str, flags: &[&str]) -> Server {
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal &&
             mount --bind \"$1\" /run/systemd/journal && shift || exit 99
             JOURNAL_STREAM={stream} exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args([self.unshare, "sh", "-c", &script, "sh"]).arg(self.scratch.path());
        command.arg(env!("CARGO_BIN_EXE_anyport"));
        Server::start_as(command, &["127.0.0.1:0"], flags)
    }

    /// The next entry with this message.
    fn next(&self, message: &str) -> HashMap<String, String> {
        loop {
            let entry = self.entries.recv_timeout(DEADLINE).unwrap();
            if entry.get("MESSAGE").is_some_and(|said| said == message) {
                return entry;
            }
        }
    }
}

/// The fields of an entry (systemd's native protocol): `KEY=value` and a line feed, or the key on a
/// line, eight bytes of length, and a value that may hold anything.
fn entry(mut bytes: &[u8]) -> HashMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = HashMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let (key, value, after) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let (length, rest) = rest.split_first_chunk::<8>().unwrap();
                let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
                (line, value, rest.strip_prefix(b"\n").unwrap())
            }
        };
        fields.insert(text(key), text(value));
        bytes = after;
    }
    fields
}

/// The device and inode of stderr, as systemd tells them.
const OF_STDERR: &str = "$(stat -L -c %d:%i /proc/self/fd/2)";

#[test]
fn the_journal_gets_each_fact_as_a_field_where_stderr_leads_to_it() {
    let Some(journal) = Journal::open() else { return };
    let server = journal.serve(OF_STDERR, &["-v", "--drain-timeout", "100ms"]);
    let put = b"ANYPORT/1 PUT a size=5\nhelloEND\n";
    let answer = converse(&mut connect(server.port()), put);
    let ended = journal.next("connection ended");
    let (received, sent) = (put.len().to_string(), answer.len().to_string());
    for (key, value) in [
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "anyport"),
        ("F_PROTOCOL", "preface"),
        ("F_BYTES_IN", &received),
        ("F_BYTES_OUT", &sent),
        ("F_FILES", "1"),
        ("F_CLOSE", "clean"),
    ] {
        assert_eq!(ended.get(key).map(String::as_str), Some(value), "{key}: {ended:?}");
    }
    assert!(ended["F_PEER"].starts_with("127.0.0.1:"), "{ended:?}");
    let mut held = connect(server.port());
    held.write_all(b"ANYPORT/1 PUT b size=10\nhello").unwrap();
    server.growing_part();
    server.signal("TERM");
    let warning = journal.next("drain timeout reached; closing the remaining connections");
    assert_eq!(warning["PRIORITY"], "4", "{warning:?}");
    assert!(warning["F_CONNECTIONS"].parse::<u64>().unwrap() >= 1, "{warning:?}");
    // What is said to people is said all the same, and nothing is said twice.
    server.says("stopping");
    let said = server.said();
    assert!(!said.contains("connection ended") && !said.contains("drain timeout"), "{said}");
}

#[test]
fn a_redirected_log_stays_redirected() {
    let Some(journal) = Journal::open() else { return };
    // Of another file: stderr was led elsewhere after systemd had opened it.
    let server = journal.serve("$(stat -L -c %d:%i /dev/null)", &["-v"]);
    converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
    server.says("connection ended");
    assert!(journal.entries.try_recv().is_err());
    // The journal can be requested.
    let server = journal.serve("", &["-v", "--log-format", "journald"]);
    converse(&mut connect(server.port()), b"ANYPORT/1 TIME\n");
    journal.next("connection ended");
    assert!(!server.said().contains("connection ended"), "{}", server.said());
    let without = Server::start(&["-v", "--log-format", "journald"]);
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        without.says("no systemd journal; logging to stderr");
    }
}
