//! Files that leave the server: `anyport get` and `anyport ls`, and peers that ask by hand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::python::python_websockets;
use anyport_testkit::harness::wire::{BINARY, CLOSE, PING, PONG, TEXT};
use anyport_testkit::harness::wire::{
    announced, close_frame, connect, converse, frame, read_frame, read_line,
};
use anyport_testkit::harness::{
    Outcome, Running, Server, SmallDisk, anyport_command, assert_same_bytes, blake3, peer, program,
    start, wait_until,
};

const SCHEMES: [&str; 3] = ["tcp", "ws", "frames"];

/// An empty directory that files are received into.
struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `anyport` in it.
    fn anyport(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).outcome()
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = program();
        command.args(arguments).current_dir(self.path());
        Running::start(command, None)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    /// The hidden part of a file that is under way, with more than `bytes` in it; waits for it.
    fn part_beyond(&self, bytes: u64) -> std::path::PathBuf {
        wait_until("a part that grows", || {
            let names = self.names();
            let part = names.iter().find(|name| name.ends_with(".part"))?;
            let path = self.path().join(part);
            (std::fs::metadata(&path).ok()?.len() > bytes).then_some(path)
        })
    }
}

fn put(server: &Server, name: &str, content: &[u8]) {
    let path = server.dir().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn sent(server: &Server) -> Value {
    let event = server.next_event();
    assert_eq!(event["event"], "sent", "{event}");
    event
}

fn unsent(server: &Server) -> Value {
    let event = server.next_event();
    assert_eq!(event["event"], "unsent", "{event}");
    event
}

/// A server with everything that must not leave it, and a few files that may.
fn tempting() -> Server {
    let server = Server::start(&[]);
    std::fs::write(server.dir().parent().unwrap().join("secret"), b"secret").unwrap();
    put(&server, "photos/a b.jpg", b"hello");
    put(&server, "photos/deep/c", b"");
    put(&server, "zebra", b"z");
    put(&server, ".anyport-0123.part", b"part");
    put(&server, "back\\slash", b"no name for peers");
    for (to, name) in [
        ("/etc/passwd", "passwd"),
        ("../secret", "climbs"),
        ("..", "parent"),
        ("zebra", "inside"),
        ("photos", "album"),
        ("nowhere", "dangling"),
    ] {
        symlink(to, server.dir().join(name)).unwrap();
    }
    let fifo = server.dir().join("fifo");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    server
}

#[test]
fn files_of_many_sizes_arrive_over_each_protocol() {
    let server = Server::start(&[]);
    for size in [0, 1, 65_535, 65_536, 65_537, 3 * 1024 * 1024 + 7] {
        let content = noise(size, 1);
        let name = format!("{size}.bin");
        put(&server, &name, &content);
        for scheme in SCHEMES {
            for digest in ["blake3", "sha256", "none"] {
                let here = Here::new();
                let url = server.url(scheme, &name);
                let got = here.anyport(&["get", "--json", "--digest", digest, &url]).succeeds();
                let event = &got.json()[0];
                assert_eq!(event["event"], "received", "{event}");
                assert_eq!((&event["bytes"], &event["offset"]), (&size.into(), &0.into()));
                assert_same_bytes(&here.read(&name), &content);
                assert_eq!(here.names(), [name.as_str()]);
                let reported = sent(&server);
                assert_eq!(reported["protocol"], if scheme == "tcp" { "raw" } else { scheme });
                assert_eq!(
                    (&reported["name"], &reported["bytes"]),
                    (&name.as_str().into(), &size.into())
                );
                assert_eq!(reported["digest"], event["digest"], "{reported}");
                match digest {
                    "blake3" => assert_eq!(reported["digest"], blake3(&content)),
                    "none" => assert_eq!(reported["digest"], Value::Null),
                    _ => assert!(reported["digest"].as_str().unwrap().starts_with("sha256:")),
                }
            }
        }
    }
    let (_, summary) = server.stop_with_summary();
    assert_eq!((&summary["sent"], &summary["unsent"]), (&54.into(), &0.into()), "{summary}");
}

#[test]
fn time_and_mode_arrive_too_and_the_same_file_is_not_received_again() {
    let server = Server::start(&[]);
    put(&server, "tool", b"#!/bin/sh\n");
    let tool = server.dir().join("tool");
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o4750)).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::open(&tool).unwrap().set_modified(long_ago).unwrap();
    let here = Here::new();
    let url = server.url("tcp", "tool");
    here.anyport(&["get", &url]).succeeds();
    let metadata = std::fs::metadata(here.path().join("tool")).unwrap();
    assert_eq!(metadata.modified().unwrap(), long_ago);
    // Who runs it is decided here and not there.
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
    sent(&server);
    let again = here.anyport(&["get", "--json", &url]).succeeds();
    assert_eq!(again.json()[0]["already_here"], true, "{again:?}");
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn another_file_of_that_name_is_left_alone_unless_asked() {
    let server = Server::start(&[]);
    put(&server, "x", b"theirs");
    let here = Here::new();
    std::fs::write(here.path().join("x"), b"mine").unwrap();
    let url = server.url("tcp", "x");
    let exists = here.anyport(&["get", &url]).exits(1);
    exists.says("x: a different file exists").says("--on-exists overwrite");
    assert_eq!(here.read("x"), b"mine");
    here.anyport(&["get", "--on-exists", "rename", &url]).succeeds();
    assert_eq!((here.read("x"), here.read("x-1")), (b"mine".to_vec(), b"theirs".to_vec()));
    here.anyport(&["get", "--on-exists", "overwrite", &url]).succeeds();
    assert_eq!(here.read("x"), b"theirs");
    assert_eq!(here.names(), ["x", "x-1"]);
}

#[test]
fn a_directory_is_received_with_all_its_visible_content() {
    let server = tempting();
    for scheme in SCHEMES {
        let here = Here::new();
        let got = here.anyport(&["get", &server.url(scheme, ""), "-o", "all/"]).exits(1);
        got.says("not received: fifo: neither a file nor a directory");
        assert_eq!(here.read("all/photos/a b.jpg"), b"hello");
        assert_eq!(here.read("all/photos/deep/c"), b"");
        assert_eq!(here.read("all/inside"), b"z");
        let mut names: Vec<_> = std::fs::read_dir(here.path().join("all"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["back\\slash", "inside", "photos", "zebra"]);
        here.anyport(&["get", &server.url(scheme, "photos/deep/")]).succeeds();
        assert_eq!(here.read("deep/c"), b"");
        let directory = here.anyport(&["get", &server.url(scheme, "photos")]).exits(1);
        directory.says("photos is a directory").says("end the URL with /");
        let urls = [server.url(scheme, "zebra"), server.url(scheme, "photos/a%20b.jpg")];
        here.anyport(&["get", &urls[0], &urls[1]]).succeeds();
        assert_eq!(here.names(), ["a b.jpg", "all", "deep", "zebra"]);
        here.anyport(&["get", &urls[0], "-o", "z"]).succeeds();
        assert_eq!(here.read("z"), b"z");
        here.anyport(&["get", &urls[0], &urls[1], "-o", "both"]).exits(2).says("-o names one file");
        here.anyport(&["get", &urls[0], "-o", "deep"]).succeeds();
        assert_eq!(here.read("deep/zebra"), b"z");
    }
}

#[test]
fn standard_output_gets_the_content_and_nothing_else() {
    let server = Server::start(&[]);
    put(&server, "x", b"content\n");
    for scheme in SCHEMES {
        let here = Here::new();
        let got = here.anyport(&["get", "-o", "-", &server.url(scheme, "x")]).succeeds();
        assert_eq!(got.stdout, "content\n");
        got.says("verified");
        assert!(here.names().is_empty());
        let url = server.url(scheme, "");
        here.anyport(&["get", "-o", "-", &url]).exits(2).says("a directory");
    }
}

#[test]
fn a_listing_shows_what_can_be_received_and_nothing_else() {
    let server = tempting();
    for scheme in SCHEMES {
        let here = Here::new();
        let names = |arguments: &[&str]| -> Vec<String> {
            let listed = here.anyport(&[&["ls", "--json"], arguments].concat()).succeeds();
            let entries = listed.json().into_iter().filter(|event| event["event"] == "entry");
            entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
        };
        let root = server.url(scheme, "");
        assert_eq!(names(&[&root]), ["back_slash", "inside", "photos", "zebra"]);
        assert_eq!(
            names(&["-R", &root]),
            [
                "back_slash",
                "inside",
                "photos",
                "photos/a b.jpg",
                "photos/deep",
                "photos/deep/c",
                "zebra"
            ]
        );
        let photos = ["photos/a b.jpg", "photos/deep"];
        assert_eq!(names(&[&server.url(scheme, "photos")]), photos);
        assert_eq!(names(&[&server.url(scheme, "photos/")]), photos);
        assert_eq!(names(&[&server.url(scheme, "zebra")]), ["zebra"]);
        let plain = here.anyport(&["ls", &server.url(scheme, "photos")]).succeeds().stdout;
        let lines: Vec<Vec<&str>> =
            plain.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!((lines[0][0], lines[0][4], lines[0][5]), ("5", "photos/a", "b.jpg"));
        assert_eq!((lines[1][0], lines[1][4]), ("-", "photos/deep/"), "{plain}");
        here.anyport(&["ls", &server.url(scheme, "none")])
            .exits(4)
            .says("no such file or directory: none");
    }
    let scratch = Here::new();
    let empty = Server::start_in(scratch.path(), &["127.0.0.1:0"], &[]);
    assert_eq!(scratch.anyport(&["ls", &empty.url("tcp", "")]).succeeds().stdout, "");
}

/// Requests for forbidden files, by hand; the connection continues after each reply.
#[test]
fn nothing_outside_and_nothing_hidden_leaves_the_server() {
    let server = tempting();
    let asked = [
        ("passwd", "not-found"),
        ("climbs", "not-found"),
        ("parent/secret", "not-found"),
        ("album", "not-found"),
        ("dangling", "not-found"),
        ("fifo", "not-found"),
        ("photos", "not-found"),
        ("zebra/x", "not-found"),
        ("none", "not-found"),
        ("../secret", "bad-name"),
        ("..%2fsecret", "bad-name"),
        ("%2e%2e/secret", "bad-name"),
        ("photos/../../secret", "bad-name"),
        ("/etc/passwd", "bad-name"),
        ("%2Fetc%2Fpasswd", "bad-name"),
        (".anyport-0123.part", "bad-name"),
        (".AnyPort-0123.part", "bad-name"),
        ("photos/.anyport-0123.part", "bad-name"),
        ("./zebra", "bad-name"),
        ("photos//a%20b.jpg", "bad-name"),
        ("zebra%00", "bad-name"),
        ("zebra%0a", "bad-name"),
        ("%252e%252e/secret", "not-found"),
    ];
    for verb in ["GET", "LIST"] {
        let mut stream = connect(server.port());
        // A directory and a link to one may be listed as what they are, and not received.
        for (name, code) in asked.iter().filter(|(name, _)| verb == "GET" || *name != "photos") {
            stream.write_all(format!("ANYPORT/1 {verb} {name}\n").as_bytes()).unwrap();
            let answer = read_line(&mut stream);
            let start = format!("ANYPORT/1 ERROR {code} ");
            assert!(answer.starts_with(&start), "{verb} {name}: {answer}");
            server.next_refused();
        }
        let answer = converse(&mut stream, b"ANYPORT/1 GET zebra\n");
        assert!(answer.starts_with("ANYPORT/1 FILE name=zebra size=1 "), "{answer}");
        sent(&server);
    }
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn nc_asks_by_hand() {
    let Some(mut nc) = peer("nc") else { return };
    let server = Server::start(&[]);
    put(&server, "d/a b.txt", b"0123456789");
    let questions = "ANYPORT/1 GET d/a%20b.txt\nANYPORT/1 GET d/a%20b.txt offset=7 digest=none\r\n\
                     ANYPORT/1 LIST recursive\nANYPORT/1 PUT new size=2\nhiEND\nANYPORT/1 GET new \
                     offset=2\nANYPORT/1 GET new offset=3\n";
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let answer = Running::start(nc, Some(questions.as_bytes().to_vec())).outcome().stdout;
    let lines: Vec<&str> = answer.lines().collect();
    let digest = blake3(b"0123456789");
    assert!(lines[0].starts_with("ANYPORT/1 FILE name=d/a%20b.txt size=10 offset=0 mtime="));
    assert_eq!(lines[1], format!("0123456789END {digest}"));
    assert!(lines[2].starts_with("ANYPORT/1 FILE name=d/a%20b.txt size=10 offset=7 "));
    assert_eq!(lines[3], "789END");
    assert!(lines[4].starts_with("ANYPORT/1 ENTRY name=d kind=directory mtime="), "{answer}");
    assert!(lines[5].starts_with("ANYPORT/1 ENTRY name=d/a%20b.txt kind=file size=10 mtime="));
    assert_eq!(lines[6], "ANYPORT/1 END entries=2");
    assert!(lines[7].starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert!(lines[8].starts_with("ANYPORT/1 FILE name=new size=2 offset=2 "), "{answer}");
    assert_eq!(lines[9], format!("END {}", blake3(b"hi")));
    assert!(lines[10].starts_with("ANYPORT/1 ERROR bad-request offset 3 exceeds"), "{answer}");
    assert_eq!(lines.len(), 11, "{answer}");
}

#[test]
fn python_websockets_asks_in_json() {
    let server = Server::start(&[]);
    let content = noise(3 * 1024 * 1024 + 7, 2);
    put(&server, "d/large.bin", &content);
    let script = r"
ws = connect('/', subprotocols=['anyport.file.1'])
def ask(**what):
    ws.send(json.dumps(what))
def file():
    head, content = json.loads(ws.recv()), b''
    while isinstance(piece := ws.recv(), bytes):
        content += piece
    return head, content, json.loads(piece)
ask(get={'name': 'd/large.bin', 'offset': 1000000, 'digest': 'sha256'})
head, content, end = file()
assert head['file']['offset'] == 1000000 and head['file']['size'] == 3145735, head
assert end['end']['bytes'] == 3145735 and end['end']['digest'].startswith('sha256:'), end
ask(get={'name': 'd/large.bin', 'digest': 'none'})
head, whole, end = file()
assert whole[1000000:] == content and 'digest' not in end['end'], end
out(whole)
ask(list={'recursive': True})
entries = json.loads(ws.recv())['entries']
assert [entry['name'] for entry in entries] == ['d', 'd/large.bin'], entries
assert json.loads(ws.recv()) == {'end': {'entries': 2}}
ask(get={'name': '../secret'})
assert json.loads(ws.recv())['error']['code'] == 'bad-name'
ask(get={'name': 'none'})
assert json.loads(ws.recv())['error']['code'] == 'not-found'
ws.close()
";
    if python_websockets(&server, script).is_none() {
        return;
    }
    assert_same_bytes(
        &std::fs::read(server.dir().parent().unwrap().join("sent")).unwrap(),
        &content,
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    put(&server, "x", b"hello");
    for mut stream in [announced(server.port()), connect(server.port())] {
        let get = frame(TEXT, br#"{"get":{"name":"x","offset":4,"digest":"none"}}"#);
        let none = frame(TEXT, br#"{"get":{"name":"none"}}"#);
        let list = frame(TEXT, br#"{"list":{}}"#);
        // The greeting of bare frames is a ping like any other after a handshake.
        let ping = frame(PING, b"anyport/1");
        stream.write_all(&[ping, get.clone(), none, list, get].concat()).unwrap();
        let mut said = Vec::new();
        while said.len() < 10 {
            let (opcode, payload) = read_frame(&mut stream);
            said.push((opcode, String::from_utf8(payload).unwrap()));
        }
        let texts: Vec<&str> =
            said[1..].iter().map(|(_, text)| &text[..text.len().min(9)]).collect();
        assert_eq!(
            texts,
            [
                r#"{"file":{"#,
                "o",
                r#"{"end":{""#,
                r#"{"error":"#,
                r#"{"entries"#,
                r#"{"end":{""#,
                r#"{"file":{"#,
                "o",
                r#"{"end":{""#
            ]
        );
        assert_eq!(said[2], (BINARY, "o".to_owned()));
        stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// Clients that ping to see whether we are alive must not have to wait for the end of a file (RFC
/// 6455 §5.5.2).
#[test]
fn fg_6_pings_and_closes_are_handled_in_the_middle_of_a_file() {
    for digest in ["none", "blake3"] {
        let server = Server::start(&[]);
        let size = 400_000_000_u64;
        std::fs::File::create(server.dir().join("x")).unwrap().set_len(size).unwrap();
        let mut stream = announced(server.port());
        let get = format!(r#"{{"get":{{"name":"x","digest":"{digest}"}}}}"#);
        stream.write_all(&frame(TEXT, get.as_bytes())).unwrap();
        assert_eq!(read_frame(&mut stream).0, TEXT);
        stream.write_all(&frame(PING, b"alive?")).unwrap();
        let mut received = 0;
        let pong = loop {
            match read_frame(&mut stream) {
                (BINARY, content) => received += content.len() as u64,
                other => break other,
            }
        };
        assert_eq!(pong, (PONG, b"alive?".to_vec()));
        assert!(received > 0 && received < size / 2, "{received}");
        // The next question waits, and does not stand in the way of the Close before it.
        let next = frame(TEXT, br#"{"get":{"name":"x"}}"#);
        stream.write_all(&[close_frame(1000, "enough"), next].concat()).unwrap();
        let (opcode, _) = loop {
            match read_frame(&mut stream) {
                (BINARY, _) => {}
                other => break other,
            }
        };
        assert_eq!(opcode, CLOSE);
        let reported = unsent(&server);
        assert_eq!(reported["reason"], "the receiver closed before the end", "{reported}");
        assert!(reported["bytes"].as_u64().unwrap() < size, "{reported}");
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn the_library_engine_refuses_downloads() {
    let server = Server::start(&["--engine", "library"]);
    put(&server, "x", b"hello");
    let here = Here::new();
    let refused = here.anyport(&["get", &server.url("ws", "x")]).exits(4);
    refused.says("not supported by --engine library").says("--engine own");
    here.anyport(&["get", &server.url("tcp", "x")]).succeeds();
}

/// Zeros, so that the file takes no room on the disk, but for a mark behind the middle.
fn large(server: &Server, size: u64) -> Vec<u8> {
    let file = std::fs::File::create(server.dir().join("large.bin")).unwrap();
    file.set_len(size).unwrap();
    let mut content = vec![0; usize::try_from(size).unwrap()];
    let at = content.len() / 2;
    content[at..at + 4].copy_from_slice(b"mark");
    std::os::unix::fs::FileExt::write_all_at(&file, b"mark", at as u64).unwrap();
    content
}

/// Slow enough to be killed in the middle.
const SLOW: [&str; 2] = ["--bulk-buffer", "1KiB"];

#[test]
fn a_killed_client_resumes() {
    for scheme in SCHEMES {
        let server = Server::start(&SLOW);
        let content = large(&server, 100_000_000);
        let here = Here::new();
        let url = server.url(scheme, "large.bin");
        let mut client = here.start(&["get", &url]);
        here.part_beyond(100_000);
        client.kill();
        client.outcome();
        let broken = unsent(&server);
        assert!(broken["bytes"].as_u64().unwrap() > 100_000, "{broken}");
        let kept = std::fs::metadata(here.part_beyond(100_000)).unwrap().len();
        assert!(kept < 100_000_000);
        let got = here.anyport(&["get", "--json", &url]).succeeds();
        let event = &got.json()[0];
        assert_eq!((&event["offset"], &event["digest"]), (&kept.into(), &blake3(&content).into()));
        assert_same_bytes(&here.read("large.bin"), &content);
        assert_eq!(here.names(), ["large.bin"]);
        let reported = sent(&server);
        assert_eq!(
            (&reported["offset"], &reported["digest"]),
            (&event["offset"], &event["digest"])
        );
    }
}

#[test]
fn a_dead_server_is_an_interruption_and_another_one_resumes() {
    for scheme in SCHEMES {
        let mut server = Server::start(&SLOW);
        let content = large(&server, 100_000_000);
        let here = Here::new();
        let client = here.start(&["get", "--retry", "0", &server.url(scheme, "large.bin")]);
        let part = here.part_beyond(100_000);
        server.kill();
        client.outcome().exits(6).says(" lost after ").says("the same command again");
        let kept = std::fs::metadata(&part).unwrap().len();
        assert!(kept > 100_000 && kept < 100_000_000, "{kept}");
        // The same directory on another port of the same host.
        let again = Server::start_in(server.dir(), &["127.0.0.1:0"], &[]);
        let got = here.anyport(&["get", "--json", &again.url(scheme, "large.bin")]).succeeds();
        assert_eq!(got.json()[0]["offset"], kept, "{got:?}");
        assert_same_bytes(&here.read("large.bin"), &content);
        assert_eq!(here.names(), ["large.bin"]);
    }
}

#[test]
fn a_source_that_changed_begins_anew_and_its_old_part_goes() {
    let server = Server::start(&SLOW);
    large(&server, 100_000_000);
    let here = Here::new();
    let url = server.url("tcp", "large.bin");
    let mut client = here.start(&["get", &url]);
    here.part_beyond(100_000);
    client.kill();
    client.outcome();
    put(&server, "large.bin", b"now it is short");
    let got = here.anyport(&["get", "--json", &url]).succeeds();
    assert_eq!(got.json()[0]["offset"], 0, "{got:?}");
    assert_eq!(here.read("large.bin"), b"now it is short");
    assert_eq!(here.names(), ["large.bin"]);
}

/// There is nothing to hash at the end, so it ends with the last byte.
#[test]
fn a_download_without_a_digest_is_resumed() {
    let server = Server::start(&SLOW);
    let content = large(&server, 100_000_000);
    let here = Here::new();
    let url = server.url("tcp", "large.bin");
    let mut client = here.start(&["get", &url]);
    here.part_beyond(100_000);
    client.kill();
    client.outcome();
    let got = here.anyport(&["get", "--json", "--digest", "none", &url]).succeeds();
    assert!(got.json()[0]["offset"].as_u64() >= Some(100_000), "{got:?}");
    assert_eq!(here.read("large.bin"), content);
}

/// Same size, same second: only the digest of the whole tells.
#[test]
fn a_part_of_other_content_is_not_kept_and_begun_anew_once() {
    let server = Server::start(&SLOW);
    large(&server, 100_000_000);
    let here = Here::new();
    let url = server.url("tcp", "large.bin");
    let interrupted_and_damaged = || {
        let mut client = here.start(&["get", &url]);
        let part = here.part_beyond(100_000);
        client.kill();
        client.outcome();
        let file = std::fs::OpenOptions::new().write(true).open(part).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"other", 50_000).unwrap();
    };
    interrupted_and_damaged();
    let got = here.anyport(&["get", "--retry", "0", &url]).exits(5);
    got.says("the server sent blake3:").says("again");
    assert!(here.names().is_empty(), "{:?}", here.names());
    interrupted_and_damaged();
    let got = here.anyport(&["get", &url]).succeeds().says("the server sent blake3:");
    assert_eq!(got.stderr.matches("retrying in").count(), 1, "{got:?}");
}

#[test]
fn two_clients_do_not_write_to_one_part() {
    let server = Server::start(&SLOW);
    large(&server, 100_000_000);
    let here = Here::new();
    let url = server.url("tcp", "large.bin");
    let mut first = here.start(&["get", &url]);
    here.part_beyond(0);
    here.anyport(&["get", &url]).exits(1).says("another process is receiving large.bin");
    first.kill();
}

/// A file that cannot be sent is never padded: the client is notified by the end of the stream.
#[test]
fn a_file_that_shrinks_while_it_is_sent_breaks_the_connection() {
    for (scheme, digest) in [("tcp", "blake3"), ("tcp", "none"), ("ws", "blake3"), ("ws", "none")] {
        let server = Server::start(&SLOW);
        let file = std::fs::File::create(server.dir().join("large.bin")).unwrap();
        file.set_len(1 << 40).unwrap();
        let here = Here::new();
        let url = server.url(scheme, "large.bin");
        let mut command = anyport_command(&["get", "-q", "--digest", digest, "-o", "-", &url]);
        command.current_dir(here.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        let mut content = client.stdout.take().unwrap();
        content.read_exact(&mut [0]).unwrap();
        file.set_len(1).unwrap();
        // Discarded, as a terabyte fits nowhere.
        std::io::copy(&mut content, &mut std::io::sink()).unwrap();
        assert_eq!(client.wait().unwrap().code(), Some(6), "{scheme} {digest}");
        let reported = unsent(&server);
        assert!(reported["reason"].as_str().unwrap().contains("was truncated"), "{reported}");
    }
}

/// BP-1: what a peer does not take is not held for it.
#[test]
fn bp_1_a_receiver_that_never_reads_needs_no_memory_and_is_disconnected() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let file = std::fs::File::create(server.dir().join("large.bin")).unwrap();
    file.set_len(1 << 33).unwrap();
    // Once for the code that was never run.
    put(&server, "small", &noise(3_000_000, 1));
    for digest in ["none", "blake3"] {
        let here = Here::new();
        here.anyport(&["get", "--digest", digest, &server.url("tcp", "small")]).succeeds();
        sent(&server);
    }
    server.forget_peak();
    let before = server.memory();
    for digest in ["none", "blake3"] {
        let mut lines = connect(server.port());
        let question = format!("ANYPORT/1 GET large.bin digest={digest}\n");
        lines.write_all(question.repeat(3).as_bytes()).unwrap();
        let mut messages = announced(server.port());
        let question = format!(r#"{{"get":{{"name":"large.bin","digest":"{digest}"}}}}"#);
        messages.write_all(&frame(TEXT, question.as_bytes())).unwrap();
        for _ in 0..2 {
            let reported = unsent(&server);
            let reason = reported["reason"].as_str().unwrap();
            assert!(reason.contains("does not read the replies"), "{reported}");
        }
        drop((lines, messages));
    }
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 3 * 1024 * 1024, "{grown} bytes");
    server.takes_a_good_file();
}

#[test]
fn a_full_disk_is_reported_and_the_part_that_fits_is_kept() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Server::start(&[]);
    put(&server, "large.bin", &noise(3 * 1024 * 1024, 1));
    let output = format!("{}/", disk.path().display());
    for digest in ["none", "blake3"] {
        let url = server.url("tcp", "large.bin");
        let get = start(&["get", "--digest", digest, &url, "-o", &output]).outcome().exits(1);
        get.says("cannot write").says("No space left");
        // So little may all be with the kernel before the client gives up.
        server.next_event();
        assert!(!disk.path().join("large.bin").exists());
    }
}

#[test]
fn a_listing_beyond_a_thousand_names_is_sorted_and_whole() {
    let server = Server::start(&[]);
    for number in 0..1500 {
        put(&server, &format!("many/{number:05}"), b"");
    }
    let here = Here::new();
    for scheme in SCHEMES {
        let url = server.url(scheme, "many/");
        let listed = here.anyport(&["ls", "--json", &url]).succeeds().json();
        let names: Vec<&str> = listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 1500);
        assert!(names.is_sorted() && names[1499] == "many/01499");
    }
}

/// A server that lies: what it names stays where it belongs, and what it says steers no terminal.
#[test]
fn a_hostile_server_writes_nothing_elsewhere() {
    for answer in [
        "ANYPORT/1 ENTRY name=../evil kind=file size=1 mtime=0 mode=644\nANYPORT/1 END entries=1\n",
        "ANYPORT/1 ENTRY name=/evil kind=file size=1 mtime=0 mode=644\nANYPORT/1 END entries=1\n",
        "ANYPORT/1 ENTRY name=d/%2e%2e/evil kind=file size=1 mtime=0 mode=644\n",
        "ANYPORT/1 ENTRY name=other kind=file size=1 mtime=0 mode=644\nANYPORT/1 END entries=1\n",
        "ANYPORT/1 ENTRY name=d/x kind=file size=1 mtime=0 mode=644\nANYPORT/1 END entries=1\n\
         ANYPORT/1 FILE name=d/y size=1 offset=0 mtime=0 mode=644\nxEND\n",
        "ANYPORT/1 ENTRY name=d/x kind=file size=1 mtime=0 mode=644\nANYPORT/1 END entries=1\n\
         ANYPORT/1 FILE name=d/x size=1 offset=1 mtime=0 mode=644\nEND\n",
        "ANYPORT/1 ERROR not-found \u{1b}[2Jcleared\n",
        "\u{1b}[2J\n",
        "",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}/d/", listener.local_addr().unwrap());
        let here = Here::new();
        let client = here.start(&["get", "--retry", "0", &url]);
        let (mut stream, _) = listener.accept().unwrap();
        read_line(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        let outcome = client.outcome();
        assert!(matches!(outcome.code, Some(1 | 4 | 6)), "{answer:?}: {outcome:?}");
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
        let visible: Vec<String> = here.names().into_iter().filter(|name| name != "d").collect();
        assert!(visible.is_empty(), "{answer:?}: {visible:?}");
        assert!(!here.path().join("d/y").exists() && !here.path().join("d/x").exists());
    }
}

#[test]
fn mistakes_of_users_are_reported() {
    let here = Here::new();
    for (arguments, code, words) in [
        (vec!["get", "gopher://x/"], 2, "unknown scheme"),
        (vec!["get", "tcp://127.0.0.1:1/../x"], 2, "is not allowed in the path"),
        (vec!["get", "tcp://127.0.0.1:1/x"], 3, "cannot connect to 127.0.0.1:1"),
        (vec!["ls", "tcp://127.0.0.1:1/"], 3, "is a server running there?"),
        (vec!["get"], 2, "URL"),
        (vec!["get", "tcp://127.0.0.1:1/x", "-q", "--json"], 2, "cannot be used with"),
    ] {
        here.anyport(&arguments).exits(code).says(words);
    }
    let help = start(&["get", "--help"]).outcome().succeeds();
    assert!(help.stdout.contains("--on-exists <POLICY>"), "{}", help.stdout);
}

/// The digest of a terabyte takes many minutes, for which the client does not wait any more.
#[test]
fn hashing_for_a_client_that_is_gone_ends() {
    let server = Server::start(&[]);
    let file = std::fs::File::create(server.dir().join("x")).unwrap();
    file.set_len(1 << 40).unwrap();
    let size = 1_u64 << 40;
    let mut stream = connect(server.port());
    writeln!(stream, "ANYPORT/1 GET x offset={size}").unwrap();
    stream.peek(&mut [0]).unwrap();
    // With the answer unread it is a reset.
    drop(stream);
    let mut ws = announced(server.port());
    let get = format!(r#"{{"get":{{"name":"x","offset":{size}}}}}"#);
    ws.write_all(&frame(TEXT, get.as_bytes())).unwrap();
    read_frame(&mut ws);
    drop(ws);
    for _ in 0..2 {
        let event = server.next_event();
        assert_eq!(
            (&event["event"], &event["reason"]),
            (&"unsent".into(), &"the client disconnected".into())
        );
    }
}

/// A resumed upload is hashed again from its last checkpoint, and after a reboot from its
/// beginning.
#[test]
fn hashing_a_partial_file_for_a_client_that_is_gone_ends() {
    let Some(disk) = SmallDisk::mount_with("size=4t") else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    let size = 2_u64 << 40;
    let mut begun = connect(server.port());
    writeln!(begun, "ANYPORT/1 PUT x size={size} id=gone resume").unwrap();
    read_line(&mut begun);
    begun.write_all(b"begun").unwrap();
    drop(begun);
    let part = server.next_interrupted()["part"].as_str().unwrap().to_owned();
    std::fs::File::options()
        .write(true)
        .open(server.dir().join(part))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    // A reset, and FIN alone: content would have to follow the answer.
    for linger in [Some(Duration::ZERO), None] {
        let mut stream = connect(server.port());
        writeln!(stream, "ANYPORT/1 PUT x size={size} id=gone resume").unwrap();
        let before = server.processor_time() + Duration::from_millis(200);
        // It hashes as soon as it holds the part.
        wait_until("work", || (server.processor_time() > before).then_some(()));
        socket2::SockRef::from(&stream).set_linger(linger).unwrap();
        drop(stream);
        let refused = server.next_refused();
        assert!(
            refused["reason"].as_str().unwrap().contains("the client disconnected"),
            "{refused}"
        );
    }
}
