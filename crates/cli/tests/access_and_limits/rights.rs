//! The rights of tokens: what each of them permits over each protocol, and where.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyport_testkit::harness::http::curl_says;
use anyport_testkit::harness::tokens::token_file;
use anyport_testkit::harness::wire::{connect, converse, read_head, read_line, upgrade};
use anyport_testkit::harness::{Outcome, Running, Sample, Server, anyport, anyport_command};

/// The words of `--allow` and of a token file, and the operations that each permits by itself.
const TABLE: [(&str, &[Operation]); 8] = [
    ("read", READ),
    ("write", WRITE),
    ("delete", &[Operation::Delete]),
    (
        "write,delete",
        &[
            Operation::Upload,
            Operation::UploadDirectory,
            Operation::Form,
            Operation::CreateDirectory,
            Operation::Delete,
            Operation::Rename,
        ],
    ),
    ("talk", &[Operation::Talk, Operation::Look, Operation::Pipe]),
    ("share", &[]),
    ("admin", &[Operation::Metrics]),
    (
        "read,write,talk",
        &[
            Operation::List,
            Operation::Download,
            Operation::Archive,
            Operation::Upload,
            Operation::UploadDirectory,
            Operation::Form,
            Operation::CreateDirectory,
            Operation::Talk,
            Operation::Look,
            Operation::Pipe,
        ],
    ),
];

const READ: &[Operation] = &[Operation::List, Operation::Download, Operation::Archive];

const WRITE: &[Operation] =
    &[Operation::Upload, Operation::UploadDirectory, Operation::Form, Operation::CreateDirectory];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    List,
    Download,
    Upload,
    UploadDirectory,
    Talk,
    Look,
    Pipe,
    Metrics,
    Archive,
    Form,
    CreateDirectory,
    Delete,
    Rename,
}

const OPERATIONS: [Operation; 13] = [
    Operation::List,
    Operation::Download,
    Operation::Upload,
    Operation::UploadDirectory,
    Operation::Talk,
    Operation::Look,
    Operation::Pipe,
    Operation::Metrics,
    Operation::Archive,
    Operation::Form,
    Operation::CreateDirectory,
    Operation::Delete,
    Operation::Rename,
];

const PROTOCOLS: [&str; 8] = ["tcp", "ws", "tls", "wss", "http", "https", "http1", "http2"];

/// A client of a server: its token, if that needs one.
struct Client<'a> {
    server: &'a Server,
    token: &'a str,
}

impl Client<'_> {
    /// Tries an operation; returns whether it was permitted, `None` where a protocol lacks it.
    fn may(&self, operation: Operation, protocol: &str) -> Option<bool> {
        match (protocol, operation) {
            ("http1", _) => self.over_http("--http1.1", operation),
            ("http2", _) => self.over_http("--http2-prior-knowledge", operation),
            (_, Operation::List) => self.ran(&["ls"], protocol, ""),
            (_, Operation::Download) => self.ran(&["get", "-q", "-o", "-"], protocol, "kept"),
            (_, Operation::Upload) => self.uploaded(protocol, ""),
            ("tcp", Operation::UploadDirectory) => self.line("PUT made/ size=0"),
            ("tcp", Operation::Talk) => self.line("JOIN lobby as x"),
            ("tcp", Operation::Pipe) => {
                // A sender that closes before its content: only a refusal is an error of rights.
                let refused = self.line("PIPE key size=5");
                refused.map(|may| may || self.token.is_empty())
            }
            ("ws", Operation::Talk) => {
                let mut stream = connect(self.server.port());
                let bearer = format!("Authorization: Bearer {}\r\n", self.token);
                let fields = if self.token.is_empty() { "" } else { &bearer };
                stream.write_all(upgrade("/rooms/lobby", fields).as_bytes()).unwrap();
                match read_head(&mut stream).split(' ').nth(1) {
                    Some("101") => Some(true),
                    Some("403") => Some(false),
                    other => panic!("{other:?}"),
                }
            }
            _ => None,
        }
    }

    fn line(&self, line: &str) -> Option<bool> {
        let token = if self.token.is_empty() { "" } else { &format!(" token={}", self.token) };
        let wire = format!("ANYPORT/1 {line}{token}\n");
        let answer = converse(&mut connect(self.server.port()), wire.as_bytes());
        Some(!is_refusal(&answer, answer.starts_with("ANYPORT/1 ERROR not-supported ")))
    }

    fn ran(&self, command: &[&str], scheme: &str, path: &str) -> Option<bool> {
        let url = self.server.url(scheme, path);
        self.outcome(&[command, &["-k", &url]].concat())
    }

    fn uploaded(&self, scheme: &str, path: &str) -> Option<bool> {
        static SENT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sent{}", SENT.fetch_add(1, Ordering::Relaxed));
        let sample = Sample::new(&name, b"content");
        self.outcome(&["send", "-k", sample.path(), &self.server.url(scheme, path)])
    }

    fn outcome(&self, arguments: &[&str]) -> Option<bool> {
        let mut command = anyport_command(arguments);
        if !self.token.is_empty() {
            command.env("ANYPORT_TOKEN", format!("127.0.0.1 {}", self.token));
        }
        let Outcome { stderr, code, .. } = Running::start(command, None).outcome();
        match code {
            Some(0) => Some(true),
            Some(4) => Some(!is_refusal(&stderr, true)),
            other => panic!("{other:?} {stderr}"),
        }
    }

    fn over_http(&self, version: &str, operation: Operation) -> Option<bool> {
        let url = |path: &str| self.server.url("http", path);
        let (arguments, url) = match operation {
            Operation::List => (vec![], url("")),
            Operation::Download => (vec![], url("kept")),
            Operation::Upload => (vec!["-H", "Content-Type: a/b", "-d", "x"], url("posted")),
            Operation::UploadDirectory => (vec!["-X", "PUT", "-T", "/dev/null"], url("made/")),
            Operation::Talk => (vec!["-d", "hi"], url("rooms/lobby")),
            Operation::Look => (vec!["-H", "Accept: application/json"], url("rooms/lobby")),
            // A receiver waits for a sender.
            Operation::Pipe => (vec!["--max-time", "1"], url("pipe/key")),
            Operation::Metrics => (vec![], url("metrics")),
            Operation::Archive => (vec!["-o", "/dev/null"], url("?tar")),
            Operation::Form => (vec!["-F", "file=x;filename=formed"], url("")),
            Operation::CreateDirectory => (vec!["-X", "MKCOL"], url("created")),
            Operation::Delete => (vec!["-X", "DELETE"], url("none")),
            Operation::Rename => (vec!["-X", "MOVE", "-H", "Destination: /x"], url("none")),
        };
        let credentials = format!(":{}", self.token);
        let credentials = if self.token.is_empty() { vec![] } else { vec!["-u", &credentials] };
        let (said, status) =
            curl_says(&[&[version][..], &arguments, &credentials, &[&url]].concat())?;
        match status {
            0 if operation == Operation::Pipe => Some(true),
            200..300 => Some(true),
            404 if matches!(operation, Operation::Delete | Operation::Rename) => Some(true),
            // It was created by a client before.
            405 if operation == Operation::CreateDirectory => Some(true),
            403 if operation == Operation::Archive => Some(false),
            403 => Some(!is_refusal(&said, true)),
            _ => panic!("{operation:?} {status} {said}"),
        }
    }
}

/// Returns `refused`, whose text must name the right or the path.
fn is_refusal(text: &str, refused: bool) -> bool {
    let names_it =
        ["lacks the right", "only", "read-only"].iter().any(|words| text.contains(words));
    assert!(!refused || names_it, "{text}");
    refused
}

fn directory() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("kept"), b"kept content").unwrap();
    scratch
}

const METRICS: [&str; 1] = ["--metrics"];

#[test]
fn each_right_permits_its_operations_over_each_protocol_and_no_other() {
    let tokens: Vec<_> = (0..TABLE.len()).map(|n| format!("token-number-{n}-0123456789")).collect();
    let line = |(n, (rights, _)): (usize, &(&str, _))| format!("user{n} {} {rights}\n", tokens[n]);
    let file = token_file(&TABLE.iter().enumerate().map(line).collect::<String>());
    let scratch = directory();
    let flags = [&["--token-file", file.path()][..], &METRICS].concat();
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
    let mut cells = 0;
    for ((rights, permitted), token) in TABLE.iter().zip(&tokens) {
        let client = Client { server: &server, token };
        for (operation, protocol) in OPERATIONS.iter().flat_map(|it| PROTOCOLS.map(|p| (it, p))) {
            let Some(may) = client.may(*operation, protocol) else { continue };
            assert_eq!(may, permitted.contains(operation), "{rights}: {operation:?} {protocol}");
            cells += 1;
        }
    }
    assert!(cells > 250, "{cells}");
}

#[test]
fn clients_without_tokens_have_the_rights_that_the_server_allows() {
    let open = [Operation::Metrics].iter().chain(TABLE[7].1).copied().collect::<Vec<_>>();
    let without = |missing: &[Operation]| -> Vec<_> {
        open.iter().filter(|it| !missing.contains(it)).copied().collect()
    };
    for (flags, permitted) in [
        (vec![], open.clone()),
        (
            vec!["--allow", "admin,delete"],
            [&open[..], &[Operation::Delete, Operation::Rename]].concat(),
        ),
        (vec!["--read-only"], without(WRITE)),
        (vec!["--upload-only"], without(READ)),
    ] {
        let scratch = directory();
        let flags = [&flags[..], &METRICS].concat();
        let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
        let client = Client { server: &server, token: "" };
        for (operation, protocol) in OPERATIONS.iter().flat_map(|it| PROTOCOLS.map(|p| (it, p))) {
            let Some(may) = client.may(*operation, protocol) else { continue };
            assert_eq!(may, permitted.contains(operation), "{flags:?}: {operation:?} {protocol}");
        }
    }
}

const ALICE: &str = "alices-token-0123456789";

/// Starts a server with a token for `/own/deep` alone, beside files that it must not reveal.
fn scoped(rights: &str) -> (tempfile::TempDir, Server, Sample) {
    let scratch = directory();
    for directory in ["own/deep/er", "own/secret", "secret"] {
        std::fs::create_dir_all(scratch.path().join(directory)).unwrap();
    }
    for file in ["own/deep/a", "own/deep/er/b", "own/secret/c", "own/deeper", "secret/d"] {
        std::fs::write(scratch.path().join(file), b"content").unwrap();
    }
    std::os::unix::fs::symlink("missing", scratch.path().join("dangling")).unwrap();
    let file = token_file(&format!("alice {ALICE} {rights} /own/deep\n"));
    let flags = ["--token-file", file.path()];
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
    (scratch, server, token_file(ALICE))
}

#[test]
fn changes_and_archives_keep_to_the_scope() {
    let (scratch, server, _file) = scoped("read,write,delete");
    let credentials = format!(":{ALICE}");
    let ask = |arguments: &[&str], path: &str| {
        let url = server.url("http", path);
        curl_says(&[&["-u", &credentials], arguments, &[&url]].concat())
    };
    let destination = |path: &str| format!("Destination: {path}");
    for (method, path, to, status) in [
        ("DELETE", "own/secret/c", "/x", 403),
        ("DELETE", "none", "/x", 403),
        ("DELETE", "own", "/x", 403),
        ("MKCOL", "own/new", "/x", 403),
        ("MOVE", "own/deep/a", "/own/moved", 403),
        ("MOVE", "own/secret/c", "/own/deep/c", 403),
        ("MOVE", "own/deep/a", "/own/deep/er/a", 201),
        ("MKCOL", "own/deep/new", "/x", 201),
        ("DELETE", "own/deep/new", "/x", 204),
    ] {
        let found = ask(&["-X", method, "-H", &destination(to)], path);
        let Some((said, found)) = found else { return };
        assert_eq!(found, status, "{method} {path}: {said}");
    }
    assert!(scratch.path().join("own/secret/c").exists());
    let (archive, _) = ask(&["--output", "-"], "?tar").unwrap();
    assert!(archive.contains("files/own/deep/er/a"), "{archive}");
    assert!(!archive.contains("secret") && !archive.contains("deeper"), "{archive}");
}

const SCHEMES: [&str; 6] = ["tcp", "ws", "http", "tls", "wss", "https"];

#[test]
fn listings_show_the_way_to_a_scope_and_nothing_beside_it() {
    let (_scratch, server, file) = scoped("read");
    let list = |scheme: &str, path: &str, flags: &[&str]| {
        let url = server.url(scheme, path);
        let arguments = [&["ls", "-k", "--json", "--token-file", file.path()], flags, &[&url]];
        anyport(&arguments.concat())
    };
    for scheme in SCHEMES {
        for (path, flags, expected) in [
            ("", &[][..], &["own"][..]),
            ("own/", &[], &["own/deep"]),
            ("own/deep/", &[], &["own/deep/a", "own/deep/er"]),
            (
                "",
                &["--recursive"],
                &["own", "own/deep", "own/deep/a", "own/deep/er", "own/deep/er/b"],
            ),
            ("own/deep/er/", &[], &["own/deep/er/b"]),
        ] {
            if scheme.starts_with("http") && !flags.is_empty() {
                continue;
            }
            let listed = list(scheme, path, flags).succeeds();
            let entries = listed.json();
            let names: Vec<_> = entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
            assert_eq!(names, expected, "{scheme} {path} {flags:?}: {}", listed.stdout);
            // Entries beside the scope are not even counted.
            assert!(!listed.stdout.contains("left_out"), "{}", listed.stdout);
            assert!(!listed.stderr.contains("left out"), "{}", listed.stderr);
        }
        let answers = ["own/secret/", "own/none/", "secret/", "none/"].map(|path| {
            let refused = list(scheme, path, &[]).exits(4);
            assert!(refused.stderr.contains("for /own/deep only"), "{}", refused.stderr);
            refused.stderr.replace(&server.url(scheme, path), "")
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}

#[test]
fn files_outside_a_scope_are_neither_sent_nor_stored_nor_revealed() {
    let (scratch, server, file) = scoped("read,write,delete,talk");
    let sample = Sample::new("new", b"more content");
    for scheme in SCHEMES {
        let run = |command: &[&str], path: &str| {
            let token = ["-k", "--token-file", file.path()];
            anyport(&[&command[..1], &token, &command[1..], &[&server.url(scheme, path)]].concat())
        };
        let get = ["get", "-q", "-o", "-"];
        assert_eq!(run(&get, "own/deep/a").succeeds().stdout, "content", "{scheme}");
        let refused =
            ["own/secret/c", "own/secret/none", "own/deeper", "own/deep/../deeper", "kept"].map(
                |path| {
                    let refused = run(&get, path);
                    assert_ne!(refused.code, Some(0), "{scheme} {path}");
                    assert!(!refused.stdout.contains("content"), "{scheme} {path}");
                    refused.stderr.replace(path, "").replace(&server.url(scheme, ""), "")
                },
            );
        assert_eq!(refused[0], refused[1], "{scheme}");
        for (path, outcome) in [("own/deep/", 0), ("own/", 4), ("own/secret/", 4), ("", 4)] {
            let sent = run(&["send", sample.path()], path);
            assert_eq!(sent.code, Some(outcome), "{scheme} {path}: {}", sent.stderr);
        }
    }
    let mut names: Vec<_> = std::fs::read_dir(scratch.path().join("own"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["deep", "deeper", "secret"]);
    assert_eq!(server.published(), ["dangling", "kept", "own", "secret"]);
}

#[test]
fn an_upload_into_a_scope_of_one_file_gets_no_other_name() {
    let scratch = directory();
    let file = token_file(&format!("alice {ALICE} write /drop/report.txt\n"));
    let flags = ["--token-file", file.path()];
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
    let file = token_file(ALICE);
    let sample = Sample::new("report.txt", b"first");
    let again = Sample::new("report.txt", b"second");
    let url = server.url("tcp", "drop/report.txt");
    anyport(&["send", "--token-file", file.path(), sample.path(), &url]).succeeds();
    for exists in ["rename", "error"] {
        let flags = ["send", "--token-file", file.path(), "--on-exists", exists];
        anyport(&[&flags[..], &[again.path(), &url]].concat()).exits(4);
    }
    let stored = std::fs::read_dir(scratch.path().join("drop")).unwrap();
    assert_eq!(stored.flatten().count(), 1);
}

#[test]
fn wrong_rights_and_contradictions_are_named_at_the_start() {
    let directory = directory();
    let path = directory.path().to_str().unwrap();
    let serve = ["serve", "--bind", "127.0.0.1:0", "--control", "none"];
    let file = token_file(&format!("alice {ALICE}\n"));
    for (flags, words) in [
        (&["--read-only", "--allow", "delete"][..], "--allow delete contradicts --read-only"),
        (&["--upload-only", "--allow", "delete"], "--allow delete contradicts --upload-only"),
        (&["--token-file", file.path(), "--allow", "delete"], "no effect with --token-file"),
        (&["--allow", "fly"], "read,write,delete,talk,share,admin"),
    ] {
        anyport(&[&serve[..], flags, &[path]].concat()).exits(2).says(words);
    }
    let printed = ["token", "--name", "alice", "--rights", "write,read", "--path", "/my photos/"];
    let line = anyport(&printed).succeeds().stdout;
    assert!(line.ends_with(" read,write /my photos\n"), "{line}");
    let good = token_file(&line);
    Server::start_in(directory.path(), &["127.0.0.1:0"], &["--token-file", good.path()]);
    anyport(&["token", "--name", "a", "--path", "photos"]).exits(2).says("/photos/2026");
    anyport(&["token", "--rights", "read"]).exits(2).says("--name");
    let bad = token_file(&format!("alice {ALICE} reads\n"));
    anyport(&[&serve[..], &["--token-file", bad.path(), path]].concat())
        .exits(2)
        .says("line 1: expected TOKEN or NAME TOKEN [RIGHTS] [/PATH]");
}

#[test]
fn a_reload_changes_the_rights_of_later_connections() {
    let scratch = directory();
    let file = token_file(&format!("alice {ALICE} read\n"));
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &["--token-file", file.path()]);
    let client = Client { server: &server, token: ALICE };
    assert_eq!(client.may(Operation::Upload, "tcp"), Some(false));
    std::fs::write(file.path(), format!("alice {ALICE} read,write /in\n")).unwrap();
    server.signal("HUP");
    server.says("reload");
    assert_eq!(client.uploaded("tcp", "in/"), Some(true));
    assert_eq!(client.uploaded("tcp", ""), Some(false));
}

/// A directory that moves takes its links with it, and a relative one then means another entry.
#[test]
fn a_client_cannot_turn_a_link_inside_its_scope_into_one_that_leads_outside() {
    let (scratch, server, _file) = scoped("read,write,delete,talk");
    let deep = scratch.path().join("own/deep");
    std::fs::create_dir_all(deep.join("x/y")).unwrap();
    std::os::unix::fs::symlink("../../a", deep.join("x/y/up")).unwrap();
    std::fs::write(scratch.path().join("own/a"), b"secret").unwrap();
    let moved = |from: &str, to: &str| {
        let (from, to) = (server.url("http", from), format!("Destination: /{to}"));
        let credentials = format!(":{ALICE}");
        curl_says(&["-u", &credentials, "-X", "MOVE", "-H", &to, &from])
    };
    let Some((said, status)) = moved("own/deep/x/y", "own/deep/y") else { return };
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("directories stay in their directory"), "{said}");
    assert_eq!(moved("own/deep/x/y/up", "own/deep/up").unwrap().1, 403);
    assert_eq!(moved("own/deep/x/y", "own/deep/x/z").unwrap().1, 201);
    assert_eq!(moved("own/deep/a", "own/deep/x/a").unwrap().1, 201);
}

/// The ID of an upload is a secret, but no way around the rights.
#[test]
fn an_upload_of_another_scope_does_not_exist_for_a_client_that_knows_its_id() {
    let other = "others-token-0123456789";
    let file = token_file(&format!("alice {ALICE} write /own\nbob {other} read,write /b\n"));
    let server = Server::start(&["--token-file", file.path()]);
    let ask = |method: &str, path: &str, token: &str, fields: &str| {
        let line = format!("{method} {path}");
        let fields = format!("Authorization: Bearer {token}\nTus-Resumable: 1.0.0\n{fields}");
        anyport_testkit::harness::http::request(server.port(), &line, &fields, b"")
    };
    let created =
        ask("POST", "/files/own/", ALICE, "Upload-Length: 5\nUpload-Metadata: filename YQ==\n");
    assert_eq!(created.status(), 201, "{}", created.text());
    let path = created.field("Location").to_owned();
    let path = path.find("/.anyport").map_or(path.as_str(), |at| &path[at..]);
    assert_eq!(ask("HEAD", path, ALICE, "").status(), 200);
    for method in ["HEAD", "DELETE"] {
        let answer = ask(method, path, other, "");
        assert_eq!(answer.status(), 404, "{method}: {}", answer.text());
        assert!(!answer.text().contains("own"), "{}", answer.text());
    }
    assert_eq!(ask("HEAD", path, ALICE, "").status(), 200);
}

#[test]
fn a_removed_token_admits_to_no_further_request_of_an_open_connection() {
    let file = token_file(&format!("alice {ALICE}\n"));
    let server = Server::start(&["--token-file", file.path()]);
    let request = format!("GET /time HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\n\r\n");
    let mut stream = connect(server.port());
    stream.write_all(request.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    std::fs::write(file.path(), "bob others-token-0123456789\n").unwrap();
    server.signal("HUP");
    server.says("reload");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    while !answer.contains("HTTP/1.1 401 ") {
        answer = read_line(&mut stream);
        assert!(!answer.contains("HTTP/1.1 200 "), "{answer}");
    }
}

/// A page of any origin can open a WebSocket, so its tokens must not count against its browser.
#[test]
fn pages_of_other_origins_cannot_lock_out_the_address_of_their_browser() {
    let file = token_file(&format!("alice {ALICE}\n"));
    let server = Server::start(&["--token-file", file.path()]);
    for guess in 0..20 {
        let fields = format!(
            "Origin: http://evil.example\r\n\
             Sec-WebSocket-Protocol: anyport.1, anyport.token.wrong-wrong-wrong-{guess}\r\n"
        );
        let mut stream = connect(server.port());
        stream.write_all(upgrade("/echo", &fields).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    }
    assert_eq!(Client { server: &server, token: ALICE }.may(Operation::List, "tcp"), Some(true));
}

#[test]
fn a_write_only_token_for_one_file_learns_nothing_of_its_content() {
    let scratch = directory();
    let stored = scratch.path().join("kept");
    let time = std::fs::metadata(&stored).unwrap().modified().unwrap();
    let file = token_file(&format!("alice {ALICE} write /kept\n"));
    let flags = ["--token-file", file.path()];
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
    let answers = [&b"kept content"[..], b"other conten", b"x"].map(|content| {
        let fields = format!("Authorization: Bearer {ALICE}\nX-Anyport-Mtime: 1600000000\n");
        let answer =
            anyport_testkit::harness::http::request(server.port(), "PUT /kept", &fields, content);
        (answer.status(), answer.text())
    });
    assert_eq!(answers[0].0, 409, "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(std::fs::metadata(&stored).unwrap().modified().unwrap(), time);
}
