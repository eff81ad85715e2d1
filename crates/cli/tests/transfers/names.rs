//! Names: none is lost, changed silently or taken for another one, and what has no way over is
//! named.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::wire::{
    TEXT, announced, connect, converse, frame, read_frame, read_line,
};
use anyport_testkit::harness::{
    Outcome, Running, Server, anyport, anyport_command, peer, wait_until,
};

/// A URL scheme of each transport, with the flags that it needs.
const SEND: [(&str, &[&str]); 7] = [
    ("tcp", &[]),
    ("tls", &["-k"]),
    ("ws", &[]),
    ("ws", &["--engine", "library"]),
    ("frames", &[]),
    ("http", &[]),
    // HTTP/2.
    ("https", &["-k"]),
];

const GET: [(&str, &[&str]); 5] =
    [("tcp", &[]), ("ws", &[]), ("frames", &[]), ("http", &[]), ("https", &["-k"])];

/// Names of which each pair would be one, if they were made text, or were made what all systems
/// take.
const NAMES: [&[u8]; 9] =
    [b"report", b"report ", b"caf\xe9", b"caf\xe8", b"a\\b", b"a_b", b" /x", b"x", b" /\xff"];

fn at(folder: &Path, name: &[u8]) -> std::path::PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// Writes a file; all have one time, so that size and time tell none from another.
fn write(folder: &Path, name: &[u8], content: &[u8]) {
    let path = at(folder, name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

/// All files below a directory.
fn files(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(open) = folders.pop() {
        for entry in std::fs::read_dir(open).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn run(words: &[&str], flags: &[&str]) -> Outcome {
    anyport(&[&words[..1], flags, &words[1..]].concat())
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn names_that_are_no_text_come_back_as_they_were() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("d");
    for (size, folder) in [(100_000, "large"), (100, "small")] {
        for (seed, name) in NAMES.iter().enumerate() {
            write(&top.join(folder), name, &noise(size, seed as u64));
        }
    }
    let sent = files(scratch.path());
    for (scheme, flags) in SEND {
        let server = Server::start(&[]);
        for round in ["first", "again"] {
            let outcome =
                run(&["send", "--json", top.to_str().unwrap(), &server.url(scheme, "")], flags);
            let receipts = outcome.succeeds().json();
            assert_eq!(receipts.len(), 2 * NAMES.len(), "{scheme} {round}");
            assert_eq!(files(server.dir()), sent, "{scheme} {round}");
        }
    }
    let server = Server::start(&[]);
    run(&["send", top.to_str().unwrap(), &server.url("tcp", "")], &[]).succeeds();
    for (scheme, flags) in GET {
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        for path in ["d/", "d/"] {
            run(&["get", &server.url(scheme, path), "-o", &into], flags).succeeds();
            assert_eq!(files(here.path()), sent, "{scheme}");
        }
        // One by one, as a URL has them.
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        for name in ["caf%E9", "report%20", "a%5Cb", "%20/%FF"] {
            let url = server.url(scheme, &format!("d/large/{name}"));
            run(&["get", &url, "-o", &into], flags).succeeds();
        }
        let names: Vec<Vec<u8>> = files(here.path()).into_keys().collect();
        assert_eq!(names, [&b"a\\b"[..], b"caf\xe9", b"report ", b"\xff"], "{scheme}");
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn two_sources_of_one_name_are_refused_before_anything_is_sent() {
    let scratch = tempfile::tempdir().unwrap();
    for (folder, seed) in [("a", 1), ("b", 2)] {
        write(scratch.path(), format!("{folder}/disk.img").as_bytes(), &noise(100_000, seed));
    }
    let path = |folder: &str| scratch.path().join(folder).join("disk.img").display().to_string();
    for (scheme, flags) in SEND {
        let server = Server::start(&[]);
        let url = server.url(scheme, "");
        let sent = run(&["send", &path("a"), &path("b"), &url], flags).exits(1);
        sent.says("a/disk.img and").says("b/disk.img would both be stored as disk.img");
        assert_eq!(server.stop(), Vec::<Value>::new(), "{scheme}");
    }
}

#[test]
fn a_name_that_had_to_change_never_counts_as_present() {
    let server = Server::start(&["--on-exists", "overwrite"]);
    for name in ["report", "a_b"] {
        write(server.dir(), name.as_bytes(), b"other");
    }
    let before = files(server.dir());
    for name in ["report%20", "a%0Ab", "x/..%2Freport%20", "a%5Cb"] {
        for keys in ["size=5 mtime=1700000000", "size=5 mtime=1700000000 resume", "size=5 id=x"] {
            for exists in ["", " exists=error", " exists=overwrite"] {
                let mut stream = connect(server.port());
                let line = format!("ANYPORT/1 PUT {name} {keys}{exists}\n");
                let content = if keys.contains("resume") { "" } else { "otherEND\n" };
                let answer = converse(&mut stream, format!("{line}{content}").as_bytes());
                if answer.contains("RECEIPT") {
                    // `x/../report ` is a path of its own.
                    assert!(name.starts_with("x/") && !answer.contains("already-here"), "{answer}");
                    continue;
                }
                assert!(answer.contains("ERROR exists ") || name.starts_with("x/"), "{answer}");
            }
        }
    }
    let now = files(server.dir());
    assert!(before.iter().all(|(name, content)| now.get(name) == Some(content)), "{now:?}");
    // The same over WebSocket, and over HTTP, where a path is bytes.
    let mut ws = announced(server.port());
    let offer = r#"{"offer":{"name":"report ","size":5,"mtime":1700000000,"resume":true}}"#;
    ws.write_all(&frame(TEXT, offer.as_bytes())).unwrap();
    let (_, answer) = read_frame(&mut ws);
    assert!(String::from_utf8_lossy(&answer).contains(r#""code":"exists""#), "{answer:?}");
    let put = "PUT /a%0Ab HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Anyport-Mtime: \
        1700000000\r\nConnection: close\r\n\r\nother";
    let answer = converse(&mut connect(server.port()), put.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
}

#[test]
fn a_changed_name_is_reported() {
    let server = Server::start(&[]);
    let answer = converse(&mut connect(server.port()), b"ANYPORT/1 PUT a%0Ab size=1\nxEND\n");
    assert!(answer.contains(" name=a%0Ab path=a_b "), "{answer}");
    let answer = converse(&mut connect(server.port()), b"ANYPORT/1 PUT a%09b size=1\nyEND\n");
    assert!(answer.contains(" name=a%09b path=a_b-1 "), "{answer}");
    // What is no more than another way to write a path is no change.
    let line = b"ANYPORT/1 PUT /d//./x size=1 mtime=5\nxEND\n";
    let answer = converse(&mut connect(server.port()), line);
    assert!(answer.contains(" name=/d//./x path=d/x "), "{answer}");
    let answer = converse(&mut connect(server.port()), line);
    assert!(answer.contains(" end=already-here "), "{answer}");
}

/// Speaks as a server of an earlier version, a line at a time; a connection is what `serve` makes
/// of it.
fn old_server(
    mut serve: impl FnMut(&mut BufReader<TcpStream>) + Send + 'static,
    connections: usize,
) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            serve(&mut BufReader::new(stream));
        }
    });
    (port, thread)
}

#[test]
fn a_server_that_does_not_know_names_in_bytes_is_asked_again_without() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, content) in [(&b"caf\xe8"[..], b"1"), (b"caf\xe9", b"2"), (b"z", b"3")] {
        write(&scratch.path().join("d"), name, content);
    }
    let (port, server) = old_server(
        |stream| {
            let mut taken = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 {
                    return;
                }
                let is_unknown = line.contains("name_raw=");
                let mut content = [0; 1];
                stream.read_exact(&mut content).unwrap();
                stream.read_line(&mut line).unwrap();
                if is_unknown {
                    let refusal = "ANYPORT/1 ERROR bad-request unknown key \"name_raw\"\n";
                    stream.get_mut().write_all(refusal.as_bytes()).unwrap();
                    return;
                }
                let path = line.split(' ').nth(2).unwrap();
                // Two names have become one, and it says that it has the second.
                let is_mapped = path.contains("caf");
                let end = if is_mapped && taken > 0 { "already-here" } else { "size" };
                taken += 1;
                let receipt = format!(
                    "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:9 bytes=1 seconds=0 \
                    end={end} confirmed=true path={path}\n"
                );
                stream.get_mut().write_all(receipt.as_bytes()).unwrap();
            }
        },
        2,
    );
    let folder = scratch.path().join("d");
    let url = format!("tcp://127.0.0.1:{port}/");
    let sent = anyport(&["send", folder.to_str().unwrap(), &url]).exits(4);
    let sent =
        sent.says("1 of 3 files were not sent").says(r"note: d/caf\xe8 is stored under another");
    sent.says(r"not sent:").says(r"cannot store d/caf\xe9 on ").says("renamed to d/caf");
    server.join().unwrap();
}

#[test]
fn an_older_server_gets_a_request_without_omissions() {
    let (port, server) = old_server(
        |stream| {
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 0 {
                let answer = if line.contains("left_out") {
                    "ANYPORT/1 ERROR bad-request unknown word \"left_out\"\n"
                } else if line.contains("LIST") {
                    "ANYPORT/1 ENTRY name=d/x kind=file size=1 mtime=5 \
                    mode=644\nANYPORT/1 END entries=1\n"
                } else {
                    "ANYPORT/1 FILE name=d/x size=1 offset=0 mtime=5 mode=644\nxEND\n"
                };
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if answer.contains("ERROR") {
                    return;
                }
                line.clear();
            }
        },
        2,
    );
    let here = tempfile::tempdir().unwrap();
    let into = format!("{}/", here.path().display());
    let url = format!("tcp://127.0.0.1:{port}/d/");
    anyport(&["get", "--digest", "none", &url, "-o", &into]).succeeds();
    assert_eq!(files(here.path()).into_keys().collect::<Vec<_>>(), [b"d/x"]);
    server.join().unwrap();
}

/// A tree in which there is one of each thing that has no way over.
fn incomplete(folder: &Path) {
    let top = folder.join("d");
    for name in [&b"ok"[..], b"caf\xe9", b"end ", b"sub/ok", b"a\nb", b".anyport-notes"] {
        write(&top, name, name);
    }
    write(&top, b".anyport-0123456789abcdef.part", b"partial");
    std::fs::create_dir_all(top.join("empty/inside")).unwrap();
    symlink("sub", top.join("linked")).unwrap();
    symlink("nowhere", top.join("lost")).unwrap();
    symlink("ok", top.join("file")).unwrap();
    let mkfifo = Command::new("mkfifo").arg(top.join("fifo")).status().unwrap();
    assert!(mkfifo.success());
    let deep = (0..33).fold(top.clone(), |path, _| path.join("n"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("deep"), b"x").unwrap();
}

const RECEIVED: [&[u8]; 5] = [b"d/caf\xe9", b"d/end ", b"d/file", b"d/ok", b"d/sub/ok"];

#[test]
fn a_received_directory_reports_missing_files() {
    let server = Server::start(&[]);
    incomplete(server.dir());
    for (scheme, flags) in GET {
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        let got = run(&["get", "--json", &server.url(scheme, "d/"), "-o", &into], flags).exits(1);
        let got = got
            .says(r"not received: d/a\x0ab: unsupported name")
            .says("not received: d/.anyport-notes: unsupported name")
            .says("not received: d/fifo: neither a file nor a directory")
            .says("n/n/n: path too deep or too long")
            .says("2 symbolic links were skipped")
            .says("--links follow")
            .says("error: 4 of 9 entries were not received");
        let names: Vec<Vec<u8>> = files(here.path()).into_keys().collect();
        assert_eq!(names, RECEIVED, "{scheme}");
        assert!(here.path().join("d/empty/inside").is_dir(), "{scheme}");
        let left_out = got.json().into_iter().filter(|event| event["event"] == "left_out");
        let mut reasons: Vec<String> =
            left_out.map(|event| event["reason"].as_str().unwrap().to_owned()).collect();
        reasons.sort();
        assert_eq!(reasons, ["depth", "name", "name", "special"], "{scheme}");
        let raw = got.json().iter().filter(|event| event.get("name_raw").is_some()).count();
        assert_eq!(raw, 4 + 2, "{scheme}");
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_sent_directory_reports_missing_files() {
    let scratch = tempfile::tempdir().unwrap();
    incomplete(scratch.path());
    let top = scratch.path().join("d");
    for (scheme, flags) in SEND {
        let server = Server::start(&[]);
        let sent = run(&["send", top.to_str().unwrap(), &server.url(scheme, "")], flags).exits(1);
        sent.says(r"d/a\x0ab: cannot send")
            .says("d/.anyport-notes: cannot send")
            .says("d/fifo is neither a file nor a directory")
            .says("has more than 32 components")
            .says("3 symbolic links were skipped")
            .says("hint: use --links follow")
            .says("error: 4 of 9 files were not sent");
        let names: Vec<Vec<u8>> = files(server.dir()).into_keys().collect();
        let sent = RECEIVED.into_iter().filter(|name| *name != b"d/file").collect::<Vec<_>>();
        assert_eq!(names, sent, "{scheme}");
        assert!(server.dir().join("d/empty/inside").is_dir(), "{scheme}");
    }
    // Links alone are no failure.
    let links = tempfile::tempdir().unwrap();
    std::fs::write(links.path().join("x"), b"x").unwrap();
    symlink("x", links.path().join("link")).unwrap();
    let server = Server::start(&[]);
    let sent = run(&["send", links.path().to_str().unwrap(), &server.url("tcp", "d/")], &[]);
    sent.succeeds().says("1 symbolic link was skipped\nhint: use --links follow");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn one_bad_entry_does_not_stop_the_others() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["one", "three"] {
        write(scratch.path(), name.as_bytes(), name.as_bytes());
    }
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for (scheme, flags) in SEND {
        let server = Server::start(&[]);
        let url = server.url(scheme, "");
        run(&["send", &path("one"), &path("missing"), &path("three"), &url], flags)
            .exits(1)
            .says("missing: No such file")
            .says("1 of 3 files were not sent");
        assert_eq!(server.published(), ["one", "three"], "{scheme}");
        let url = server.url(scheme, "x");
        run(&["send", &path("missing"), &url], flags).exits(1).says("error: cannot open");
    }
    let server = Server::start(&[]);
    for name in ["a", "b", "c"] {
        write(server.dir(), format!("t/{name}").as_bytes(), b"theirs");
    }
    for (scheme, flags) in GET {
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        write(here.path(), b"t/a", b"mine");
        run(&["get", &server.url(scheme, "t/"), "-o", &into], flags)
            .exits(1)
            .says("not received: t/a: ")
            .says("1 of 3 entries were not received");
        let urls = [server.url(scheme, "t/none"), server.url(scheme, "t/b")];
        let got = run(&["get", &urls[0], &urls[1], "-o", &into], flags);
        assert_ne!(got.code, Some(0), "{got:?}");
        got.says("not received: ").says("1 of 2 entries were not received");
        let names: Vec<Vec<u8>> = files(here.path()).into_keys().collect();
        assert_eq!(names, [&b"b"[..], b"t/a", b"t/b", b"t/c"], "{scheme}");
        assert_eq!(std::fs::read(here.path().join("t/a")).unwrap(), b"mine");
    }
}

#[test]
fn an_unreadable_file_does_not_stop_the_others() {
    let Some(setpriv) = peer("setpriv") else { return };
    drop(setpriv);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["d/a/f", "d/no/f", "d/z/f", "d/file"] {
        write(scratch.path(), name.as_bytes(), b"x");
    }
    for name in ["d/no", "d/file"] {
        let mode = PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(scratch.path().join(name), mode).unwrap();
    }
    let top = scratch.path().join("d");
    if std::fs::read_dir(top.join("no")).is_err() {
        // Not run by root, who may read everything.
        let server = Server::start(&[]);
        run(&["send", top.to_str().unwrap(), &server.url("tcp", "")], &[]).exits(1);
        return;
    }
    // Another user, with a copy of the program that they may run.
    let program = scratch.path().join("anyport");
    std::fs::copy(env!("CARGO_BIN_EXE_anyport"), &program).unwrap();
    let stranger = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command.args(arguments).env("HOME", "/nonexistent").current_dir("/");
        command
    };
    let server = Server::start(&[]);
    let sent = stranger(&["send", top.to_str().unwrap(), &server.url("tcp", "")]);
    Running::start(sent, None)
        .outcome()
        .exits(1)
        .says("d/no: Permission denied")
        .says("d/file: Permission denied")
        .says("2 of 4 files were not sent");
    assert_eq!(files(server.dir()).into_keys().collect::<Vec<_>>(), [b"d/a/f", b"d/z/f"]);
    let server =
        Server::start_as_in(stranger(&[]), scratch.path(), &["--sink", "discard", "--tls", "off"]);
    for scheme in ["tcp", "ws", "http"] {
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        run(&["get", &server.url(scheme, "d/"), "-o", &into], &[])
            .exits(1)
            .says("not received: d/no: not readable by the server")
            .says("not received: d/file: ")
            .says("2 of 4 entries were not received");
        let names: Vec<Vec<u8>> = files(here.path()).into_keys().collect();
        assert_eq!(names, [b"d/a/f", b"d/z/f"], "{scheme}");
    }
}

#[test]
fn listings_report_omitted_entries() {
    let server = Server::start(&[]);
    incomplete(server.dir());
    let lines = converse(&mut connect(server.port()), b"ANYPORT/1 LIST d\n");
    assert!(lines.contains(" name=d/caf%EF%BF%BD name_raw=d/caf%E9 kind=file "), "{lines}");
    assert!(lines.ends_with("ANYPORT/1 END entries=7 left_out=3 links=2\n"), "{lines}");
    assert!(!lines.contains(".part"), "{lines}");
    let lines = converse(&mut connect(server.port()), b"ANYPORT/1 LIST d left_out\n");
    assert!(lines.contains("ANYPORT/1 LEFT-OUT name_raw=d/a%0Ab reason=name\n"), "{lines}");
    assert!(lines.contains("ANYPORT/1 LEFT-OUT name_raw=d/lost reason=link\n"), "{lines}");
    let mut ws = announced(server.port());
    ws.write_all(&frame(TEXT, br#"{"list":{"path":"d"}}"#)).unwrap();
    let (_, entries) = read_frame(&mut ws);
    let entries: Value = serde_json::from_slice(&entries).unwrap();
    assert_eq!(entries["entries"][0]["name_raw"], "d/caf%E9", "{entries}");
    let (_, end) = read_frame(&mut ws);
    assert_eq!(end, br#"{"end":{"entries":7,"left_out":3,"links":2}}"#);
    let get = |accept: &str| {
        let head = format!("GET /d/ HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        let answer = converse(&mut connect(server.port()), head.as_bytes());
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let json: Value = serde_json::from_str(&get("application/json")).unwrap();
    assert_eq!(json["end"]["left_out"], 3, "{json}");
    assert_eq!(json["left_out"][1]["name_raw"], "d/a%0Ab", "{json}");
    let note = "3 entries left out, 2 symbolic links not followed";
    assert!(get("text/plain").ends_with(&format!("({note})\n")));
    assert!(get("text/html").contains(&format!("<p class=\"note\">{note}</p>")));
    for (scheme, flags) in GET {
        let listed = run(&["ls", &server.url(scheme, "d/")], flags).succeeds();
        listed
            .says(r"left out: d/a\x0ab: unsupported name")
            .says("3 entries left out, 2 symbolic links not followed");
        let listed = run(&["ls", "--json", &server.url(scheme, "d/")], flags).succeeds();
        let left_out = listed.json().iter().filter(|event| event["event"] == "left_out").count();
        assert_eq!(left_out, 5, "{scheme}");
    }
}

#[test]
fn ls_prints_names_that_get_accepts() {
    let server = Server::start(&[]);
    let names: [&[u8]; 9] = [
        b"50%.txt",
        b"50%25",
        b"what?",
        b"a#b",
        b"caf\xe9",
        b" x ",
        b"a b",
        "größe".as_bytes(),
        b"a\\b",
    ];
    for name in names {
        write(server.dir(), name, name);
    }
    for (scheme, flags) in GET {
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        let listed = run(&["ls", &server.url(scheme, "")], flags).succeeds();
        for line in listed.stdout.lines() {
            // Size, time with its zone, name, in columns.
            let name = &line[14 + 2 + 19 + 7 + 2..];
            let url = server.url(scheme, name);
            run(&["get", &url, "-o", &into], flags).succeeds();
        }
        assert_eq!(files(here.path()), files(server.dir()), "{scheme}");
    }
}

#[test]
fn a_listing_that_cannot_be_written_is_an_error() {
    let server = Server::start(&[]);
    write(server.dir(), b"x", b"x");
    for flags in [&["ls"][..], &["ls", "--json"]] {
        let mut command = anyport_command(&[flags, &[&server.url("tcp", "")]].concat());
        command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    }
}

#[test]
fn two_remote_files_never_become_one_local_file() {
    let server = Server::start(&[]);
    for (folder, seed) in [("a", 1), ("b", 2)] {
        write(server.dir(), format!("{folder}/x").as_bytes(), &noise(100_000, seed));
    }
    for (scheme, flags) in GET {
        for on_exists in ["error", "overwrite"] {
            let here = tempfile::tempdir().unwrap();
            let into = format!("{}/", here.path().display());
            let (a, b) = (server.url(scheme, "a/x"), server.url(scheme, "b/x"));
            run(&["get", "--on-exists", on_exists, &a, &b, "-o", &into], flags)
                .exits(1)
                .says("already received one under this name")
                .says("1 of 2 entries were not received");
            assert_eq!(std::fs::read(here.path().join("x")).unwrap(), noise(100_000, 1));
        }
        let here = tempfile::tempdir().unwrap();
        let into = format!("{}/", here.path().display());
        let (a, b) = (server.url(scheme, "a/x"), server.url(scheme, "b/x"));
        run(&["get", "--on-exists", "rename", &a, &b, "-o", &into], flags).succeeds();
        assert_eq!(files(here.path()).len(), 2, "{scheme}");
    }
}

#[test]
fn a_listing_without_an_end_needs_bounded_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_line(&mut stream);
        let name = vec!["n".repeat(200); 5].join("/");
        for count in 0.. {
            let line =
                format!("ANYPORT/1 ENTRY name={name}/{count} kind=file size=1 mtime=5 mode=644\n");
            if stream.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    });
    let here = tempfile::tempdir().unwrap();
    let into = format!("{}/", here.path().display());
    let url = format!("tcp://127.0.0.1:{port}/");
    let client = Running::start(anyport_command(&["get", &url, "-o", &into]), None);
    let mut peak = 0;
    wait_until("the end of a listing without one", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", client.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        // A process that has ended has none.
        let Some(line) = line else { return Some(()) };
        peak = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        None
    });
    client.outcome().exits(1).says("exceed 201326592 bytes in total");
    assert!(peak < 500_000, "{peak} KiB");
    server.join().unwrap();
}
