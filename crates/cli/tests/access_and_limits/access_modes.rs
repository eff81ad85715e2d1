//! `--read-only` and `--upload-only`, over every protocol.

use std::io::Write;
use std::process::Command;

use anyport_testkit::harness::http::curl_says;
use anyport_testkit::harness::wire::{
    BINARY, announced, close_frame, connect, converse, frame, read_close, read_frame, read_line,
    websocket,
};
use anyport_testkit::harness::{Sample, Server, SmallDisk, anyport, anyport_with_input};

const SCHEMES: [&str; 7] = ["tcp", "ws", "frames", "http", "tls", "wss", "https"];

const PAYLOAD: &[u8] = b"content of a file that is there";

/// A server whose directory holds `kept`.
fn server(flags: &[&str]) -> (tempfile::TempDir, Server) {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("kept"), PAYLOAD).unwrap();
    let server = Server::start_in(scratch.path(), &["127.0.0.1:0"], flags);
    (scratch, server)
}

#[test]
fn a_read_only_server_refuses_every_upload_and_writes_nothing() {
    let (_scratch, server) = server(&["--read-only"]);
    let sample = Sample::new("new", b"more");
    for scheme in SCHEMES {
        let send = anyport(&["send", "-k", sample.path(), &server.url(scheme, "")]).exits(4);
        send.says("this server is read-only");
        let stdin = anyport_with_input(&["send", "-k", "-", &server.url(scheme, "files/in")], b"x");
        stdin.exits(4).says("this server is read-only");
        server.next_refused();
    }
    for wire in [&b"raw bytes\n"[..], b"ANYPORT/1 PUT d/ size=0\n", b"ANYPORT/1 PUT x\nx"] {
        let answer = converse(&mut connect(server.port()), wire);
        assert!(answer.starts_with("ANYPORT/1 ERROR not-supported "), "{answer}");
    }
    let mut plain = websocket(server.port(), "/files/x");
    plain.write_all(&frame(BINARY, b"x")).unwrap();
    let (code, reason) = read_close(&mut plain);
    assert!(code == Some(1008) && reason.contains("read-only"), "{code:?} {reason}");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for put in [&["-T", sample.path()][..], &["-H", "Content-Type: a/b", "-d", "x"]] {
            let url = server.url("http", "x");
            let Some((said, status)) = curl_says(&[put, &[version, &url]].concat()) else { break };
            assert_eq!(status, 403, "{said}");
        }
    }
    assert_eq!(server.names(), ["kept"]);
}

#[test]
fn a_read_only_server_lists_and_sends_files_also_from_a_directory_that_cannot_be_written() {
    let Some(disk) = SmallDisk::mount() else { return };
    std::fs::write(disk.path().join("kept"), PAYLOAD).unwrap();
    let remount = ["-o", "remount,ro", disk.path().to_str().unwrap()];
    assert!(Command::new("mount").args(remount).status().unwrap().success());
    let path = disk.path().to_str().unwrap();
    let serve = ["serve", "--bind", "127.0.0.1:0", "--control", "none", path];
    anyport(&serve).exits(1).says("hint: DIR is not writable; --read-only ");
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &["--read-only"]);
    for scheme in SCHEMES {
        let get = anyport(&["get", "-k", "-q", "-o", "-", &server.url(scheme, "kept")]).succeeds();
        assert_eq!(get.stdout.as_bytes(), PAYLOAD, "{scheme}");
        let ls = anyport(&["ls", "-k", &server.url(scheme, "")]).succeeds();
        assert!(ls.stdout.contains("kept"), "{ls:?}");
    }
}

#[test]
fn a_read_only_server_creates_no_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("missing");
    let path = missing.to_str().unwrap();
    let serve = ["serve", "--read-only", "--bind", "127.0.0.1:0", "--control", "none", path];
    anyport(&serve).exits(1).says("hint: --read-only does not create DIR");
    assert!(!missing.exists());
    anyport(&["serve", "--read-only", "--upload-only"]).exits(2).says("cannot be used with");
}

#[test]
fn an_upload_only_server_does_not_reveal_which_files_exist() {
    let (_scratch, server) = server(&["--upload-only"]);
    for scheme in SCHEMES {
        let refused = |name: &str| {
            let url = server.url(scheme, name);
            let command = if name.ends_with('/') || name.is_empty() { "ls" } else { "get" };
            let outcome = anyport(&[command, "-k", &url]).exits(4).says("accepts uploads only");
            outcome.stderr.replace(&url, "").replace(name, "")
        };
        assert_eq!(refused("kept"), refused("none"), "{scheme}");
        refused("");
        refused("d/");
    }
    let mut messages = announced(server.port());
    for name in ["kept", "none"] {
        let get = format!("{{\"get\":{{\"name\":\"{name}\"}}}}");
        messages.write_all(&frame(1, get.as_bytes())).unwrap();
        let (_, answer) = read_frame(&mut messages);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("not-supported") && !answer.contains(name), "{answer}");
    }
    for arguments in [&[][..], &["-I"], &["-r", "0-0"], &["-H", "If-None-Match: *"]] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let answers = ["kept", "none", "kept/", ""].map(|name| {
                let url = server.url("http", name);
                curl_says(&[arguments, &[version, &url]].concat())
            });
            let Some(Some(_)) = answers.first() else { return };
            let are_refused = answers.iter().flatten().all(|(_, status)| *status == 403);
            assert!(are_refused, "{answers:?}");
            if arguments != ["-I"] {
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
            }
        }
    }
    // A precondition would tell whether the name is there.
    for (field, status) in [("If-None-Match: *", 201), ("If-Match: *", 412)] {
        for name in ["kept", "none"] {
            let url = server.url("http", name);
            let (said, reported) =
                curl_says(&["-X", "PUT", "-H", field, "-d@/dev/null", &url]).unwrap();
            let typed = ["-H", "Content-Type: a/b"];
            let (said, reported) = match reported {
                415 => {
                    curl_says(&[&typed[..], &["-X", "PUT", "-H", field, "-d", "x", &url]].concat())
                        .unwrap()
                }
                _ => (said, reported),
            };
            assert_eq!(reported, status, "{field} {name}: {said}");
        }
    }
    assert_eq!(std::fs::read(server.dir().join("kept")).unwrap(), PAYLOAD);
}

#[test]
fn an_upload_only_server_renames_and_never_reports_a_file_as_already_stored() {
    for scheme in SCHEMES {
        let server = Server::start(&["--upload-only", "--on-exists", "overwrite"]);
        // Long enough to be compared before it is sent.
        let sample = Sample::new("name", &[7; 300_000]);
        let url = server.url(scheme, "");
        for expected in ["name", "name-1", "name-2"] {
            let send = anyport(&["send", "-k", "--json", sample.path(), &url]).succeeds();
            let receipt = &send.json()[0];
            assert_eq!(receipt["path"], expected, "{scheme}");
            assert!(receipt["resumed"].is_null(), "{receipt}");
            assert_eq!(receipt["end"], "size", "{receipt}");
        }
        assert_eq!(server.published(), ["name", "name-1", "name-2"]);
    }
    let server = Server::start(&["--upload-only", "--on-exists", "overwrite"]);
    for (policy, expected) in [("error", "x"), ("error", "x-1"), ("overwrite", "x-2")] {
        let line = format!("ANYPORT/1 PUT x size=4 mtime=5 exists={policy}\ngoodEND\n");
        let answer = converse(&mut connect(server.port()), line.as_bytes());
        assert!(answer.contains(&format!(" path={expected} ")), "{answer}");
    }
}

#[test]
fn an_upload_only_server_resumes_an_upload_by_its_id_alone() {
    const SIZE: usize = 2_000_000;
    let server = Server::start(&["--upload-only"]);
    let offer = |keys: &str| {
        let mut stream = connect(server.port());
        let line = format!("ANYPORT/1 PUT x size={SIZE}{keys} resume\n");
        stream.write_all(line.as_bytes()).unwrap();
        let answer = read_line(&mut stream);
        (stream, answer)
    };
    // One with an id, and one without that is worth keeping elsewhere.
    let mut plain = connect(server.port());
    let line = format!("ANYPORT/1 PUT x size={SIZE}\n");
    plain.write_all(&[line.as_bytes(), &[7; 1_500_000]].concat()).unwrap();
    server.growing_part();
    drop(plain);
    server.next_interrupted();
    let (mut own, answer) = offer(" id=own");
    assert_eq!(answer, "ANYPORT/1 GO offset=0");
    own.write_all(&[7; 1000]).unwrap();
    drop(own);
    assert_eq!(server.next_interrupted()["bytes"], 1000);
    for (keys, offset) in [(" id=other", 0), ("", 0), (" id=own", 1000)] {
        let (stream, answer) = offer(keys);
        assert_eq!(answer, format!("ANYPORT/1 GO offset={offset}"), "{keys}");
        drop(stream);
        server.next_interrupted();
    }
}

#[test]
fn an_overwrite_that_the_server_refuses_names_the_flag_of_the_server() {
    let (_scratch, server) = server(&[]);
    let sample = Sample::new("kept", b"changed");
    for scheme in SCHEMES {
        let send = ["send", "-k", "--on-exists", "overwrite", sample.path()];
        let url = server.url(scheme, "");
        // Over HTTP the client cannot ask for it.
        let code = if scheme.starts_with("http") { 2 } else { 4 };
        let outcome = anyport(&[&send[..], &[&url]].concat()).exits(code);
        let hint = outcome.stderr.split_once("\nhint: ").unwrap().1;
        assert!(hint.contains("server") && hint.contains("--on-exists overwrite"), "{outcome:?}");
    }
    assert_eq!(std::fs::read(server.dir().join("kept")).unwrap(), PAYLOAD);
}

#[test]
fn a_server_that_overwrites_needs_no_flag_of_its_clients() {
    let (_scratch, server) = server(&["--on-exists", "overwrite"]);
    let stored = || std::fs::read(server.dir().join("kept")).unwrap();
    for (number, scheme) in SCHEMES.into_iter().enumerate() {
        let changed = "x".repeat(number);
        let sample = Sample::new("kept", changed.as_bytes());
        anyport(&["send", "-k", sample.path(), &server.url(scheme, "")]).succeeds();
        assert_eq!(stored(), changed.as_bytes());
        let target = server.url(scheme, "files/kept");
        anyport_with_input(&["send", "-k", "-", &target], b"from a pipe").succeeds();
    }
    converse(&mut connect(server.port()), b"ANYPORT/1 PUT kept\nby hand");
    assert_eq!(stored(), b"by hand");
    let mut plain = websocket(server.port(), "/files/kept");
    plain.write_all(&[frame(BINARY, b"in a frame"), close_frame(1000, "")].concat()).unwrap();
    read_close(&mut plain);
    assert_eq!(stored(), b"in a frame");
    let sample = Sample::new("kept", b"from curl");
    if let Some((said, status)) = curl_says(&["-T", sample.path(), &server.url("http", "")]) {
        assert_eq!((status, stored().as_slice()), (200, &b"from curl"[..]), "{said}");
    }
    assert_eq!(server.published(), ["kept"]);
}

/// One request over either version of HTTP: the head of the answer in lower case, and its content.
fn request(version: &str, arguments: &[&str], url: &str) -> Option<(String, String)> {
    let (said, _) = curl_says(&[&["-i", version, url], arguments].concat())?;
    let (head, content) = said.split_once("\r\n\r\n").unwrap();
    Some((head.to_lowercase(), content.to_owned()))
}

#[test]
fn allow_fields_and_help_have_what_the_access_mode_permits_and_nothing_else() {
    const SEND: [&str; 4] = ["Send a file", "websocat -b", "anyport send", " PUT NAME"];
    const GET: [&str; 3] = ["List and download files", "curl -O", "anyport get"];
    let both = [&SEND[..], &GET[..]].concat();
    for (flags, allow, shown, hidden) in [
        (&[][..], "get, head, put, post, mkcol, options", &both[..], &[][..]),
        (&["--read-only"], "get, head, options", &GET, &SEND),
        (&["--upload-only"], "put, post, mkcol, options", &SEND, &GET),
    ] {
        let (_scratch, server) = server(flags);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let ask = |method, path| request(version, &["-X", method], &server.url("http", path));
            for (method, path) in [("OPTIONS", ""), ("OPTIONS", "kept"), ("PATCH", "kept")] {
                let Some((head, content)) = ask(method, path) else { break };
                let field = format!("\r\nallow: {allow}");
                assert!(format!("{head}\r\n").contains(&format!("{field}\r\n")), "{head}");
                assert!(method == "OPTIONS" || content.to_lowercase().contains(allow), "{content}");
            }
            let Some((_, help)) = ask("GET", "help") else { break };
            assert!(shown.iter().all(|words| help.contains(words)), "{flags:?}: {help}");
            assert!(!hidden.iter().any(|words| help.contains(words)), "{flags:?}: {help}");
            assert!(help.contains("/rooms/lobby") && help.contains("/pipe/KEY"), "{help}");
        }
        let help = converse(&mut connect(server.port()), b"ANYPORT/1 HELP\n");
        assert_eq!(help.contains(" PUT NAME"), flags != ["--read-only"], "{help}");
        assert_eq!(help.contains(" GET NAME | LIST"), flags != ["--upload-only"], "{help}");
    }
}
