//! `anyport trace`: what it records of each scheme, its outputs, and that the command is as without
//! it.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use anyport_testkit::harness::tokens::{BOB, guarded};
use anyport_testkit::harness::traces::{follow, names, trace};
use anyport_testkit::harness::{
    DEADLINE, Outcome, Running, Sample, Server, anyport, anyport_command, anyport_with_input,
    lines, signal, start,
};
use anyport_testkit::noise;
use serde_json::Value;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn every_scheme_has_its_events_when_it_sends_and_receives() {
    let server = Server::start(&[]);
    for (number, (scheme, expected)) in [
        ("tcp", &["line", "content", "line"][..]),
        ("tls", &["tls-done", "line", "content", "line"]),
        ("ws", &["head", "head", "frame"]),
        ("wss", &["tls-done", "head", "head", "frame"]),
        ("frames", &["frame"]),
        ("http", &["head", "head"]),
        ("https", &["tls-done", "http2"]),
    ]
    .into_iter()
    .enumerate()
    {
        let content = noise(3_000_000, number as u64);
        let sample = Sample::new(scheme, &content);
        let is_tls = expected[0] == "tls-done";
        let insecure = if is_tls { &["-k"][..] } else { &[] };
        let url = server.url(scheme, "");
        let send = [&["trace", "--json", "send"], insecure, &[sample.path(), &url]].concat();
        let sent = anyport(&send).succeeds();
        assert_eq!(sent.json()[0]["event"], "receipt", "{scheme}: {sent:?}");
        let events = trace(&sent);
        follow(&events, &["trace", "attempt", "connected"]);
        let connected = &["connected"][..];
        follow(&events, &[connected, expected, &["fin"]].concat());
        assert!(names(&events).contains(&"sample"), "{scheme}: {sent:?}");
        let here = tempfile::tempdir().unwrap();
        let (to, url) = (here.path().join("x"), server.url(scheme, scheme));
        let get = ["trace", "--json", "get", "-o", to.to_str().unwrap(), &url];
        let got = anyport(&[&get[..], insecure].concat()).succeeds();
        let trace = trace(&got);
        follow(&trace, &[connected, expected, &["fin"]].concat());
        let stored: Vec<_> = trace.iter().filter(|event| event["event"] == "stored").collect();
        let [stored] = stored[..] else { panic!("{scheme}: {trace:?}") };
        assert_eq!(stored["bytes"], 3_000_000, "{scheme}");
        assert!(stored["sync"].as_f64() <= stored["took"].as_f64(), "{scheme}: {stored}");
        assert!(std::fs::read(&to).unwrap() == content, "{scheme}");
    }
}

#[test]
fn bytes_that_the_kernel_moves_are_counted() {
    let server = Server::start(&["--digest", "none"]);
    let content = noise(3_000_000, 1);
    let sample = Sample::new("x", &content);
    let url = server.url("tcp", "");
    let bytes = |outcome: &Outcome, from: &str| {
        let trace = trace(outcome);
        let content = trace.iter().filter(|e| e["event"] == "content" && e["from"] == from);
        content.map(|event| event["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    let send = ["trace", "--json", "send", "--digest", "none", sample.path(), &url];
    let sent = anyport(&send).succeeds();
    assert_eq!(bytes(&sent, "client"), content.len() as u64);
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("x");
    let url = server.url("tcp", "x");
    let get = ["trace", "--json", "get", "--digest", "none", "-o", to.to_str().unwrap(), &url];
    assert_eq!(bytes(&anyport(&get).succeeds(), "server"), content.len() as u64);
}

#[test]
fn a_trace_of_a_failure_is_printed_and_the_exit_code_is_that_of_the_command() {
    let sample = Sample::new("x", b"content");
    // A port without a listener.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("127.0.0.1:{port}");
    let refused = anyport(&["trace", "--json", "send", sample.path(), &url]).exits(3);
    follow(&trace(&refused), &["attempt", "attempt-failed", "failed", "diagnosis"]);
    let named = format!("localhost:{port}");
    let named = anyport(&["trace", "--json", "send", sample.path(), &named]).exits(3);
    follow(&trace(&named), &["resolved", "attempt", "attempt-failed", "failed"]);
    let plain = anyport(&["send", sample.path(), &url]).exits(3);
    assert_eq!(refused.stderr, plain.stderr, "stderr is that of the command");
    let server = Server::start(&["--read-only"]);
    let refused = anyport(&["trace", "--json", "send", sample.path(), &server.url("tcp", "")]);
    follow(&trace(&refused.exits(4)), &["connected", "line", "failed"]);
}

#[test]
fn after_ctrl_c_the_trace_is_printed() {
    let sample = Sample::new("x", &noise(4_000_000, 1));
    let server = Server::start(&[]);
    let url = server.url("tcp", "");
    let flags = ["trace", "--json", "send", "--limit-rate", "1MB", sample.path(), &url];
    let send = start(&flags);
    server.growing_part();
    signal("INT", send.id());
    let interrupted = send.outcome().exits(130).says("interrupted\nhint: run the same command");
    follow(&trace(&interrupted), &["connected", "line"]);
    // A command that does not handle Ctrl-C itself.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let here = tempfile::tempdir().unwrap();
    let saved = here.path().join("trace");
    let mut command = anyport_command(&["trace", "--save", saved.to_str().unwrap(), "cat", &url]);
    let (input, _open) = std::io::pipe().unwrap();
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut cat = command.spawn().unwrap();
    listener.accept().unwrap().0.write_all(b"greeting\n").unwrap();
    let lines = lines(cat.stdout.take().unwrap());
    assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), "greeting");
    signal("INT", cat.id());
    assert_eq!(cat.wait().unwrap().signal(), Some(2), "as without a trace");
    let text = std::fs::read_to_string(&saved).unwrap();
    assert!(text.contains(r#""event":"connected""#), "{text}");
}

#[test]
fn data_keeps_stdout_for_itself() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), "content").unwrap();
    let url = server.url("tcp", "x");
    for flags in [&[][..], &["--json"]] {
        let got = anyport(&[&["trace"], flags, &["get", "-o", "-", &url]].concat()).succeeds();
        assert_eq!(got.stdout, "content");
        got.says("127.0.0.1");
        let echo = server.url("ws", "echo");
        let cat = [&["trace"], flags, &["cat", "-q", "10s", &echo]].concat();
        let cat = anyport_with_input(&cat, b"hello\n").succeeds();
        assert_eq!(cat.stdout, "hello\n");
        cat.says("127.0.0.1");
        let room = server.url("ws", "rooms/lobby");
        let chat = [&["trace"], flags, &["chat", "--as", "ann", &room]].concat();
        let chat = anyport_with_input(&chat, b"hello\n").succeeds();
        assert!(chat.stdout.lines().all(|line| !line.contains("127.0.0.1")), "{chat:?}");
        chat.says("127.0.0.1");
    }
}

#[test]
fn chats_and_pipes_are_diagnosed_too() {
    let server = Server::start(&[]);
    let is_measured = |outcome: &Outcome, lines: &str| {
        let last = lines.lines().rfind(|line| line.contains(r#""event":"diagnosis""#)).unwrap();
        assert!(!last.contains("no content was transferred"), "{outcome:?}");
    };
    let echo = server.url("ws", "echo");
    let cat = anyport_with_input(&["trace", "--json", "cat", &echo], b"hello\n").succeeds();
    is_measured(&cat, &cat.stderr);
    for scheme in ["tcp", "ws"] {
        let room = server.url(scheme, "rooms/lobby");
        let chat = ["trace", "--json", "chat", "--as", "ann", &room];
        let chat = anyport_with_input(&chat, b"hello\n").succeeds();
        is_measured(&chat, &chat.stderr);
    }
    let (url, sample) = (server.url("tcp", ""), Sample::new("x", b"content"));
    let send = start(&["send", "--pipe", "key", sample.path(), &url]);
    let get = ["trace", "--json", "get", "--pipe", "key", "-o", "-", &url];
    let got = anyport(&get).succeeds();
    assert_eq!(got.stdout, "content");
    is_measured(&got, &got.stderr);
    send.outcome().succeeds();
    let send = start(&["trace", "--json", "send", "--pipe", "key", sample.path(), &url]);
    anyport(&["get", "--pipe", "key", "-o", "-", &url]).succeeds();
    let sent = send.outcome().succeeds();
    is_measured(&sent, &sent.stdout);
}

#[test]
fn output_files_are_the_owners_alone_and_are_opened_before_the_transfer() {
    let (server, sample) = (Server::start(&[]), Sample::new("x", b"content"));
    let url = server.url("tcp", "");
    let here = tempfile::tempdir().unwrap();
    let path = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    // A file that others could read becomes the owner's alone, and its old content goes.
    std::fs::write(path("save"), vec![b'x'; 1 << 20]).unwrap();
    std::fs::set_permissions(path("save"), PermissionsExt::from_mode(0o644)).unwrap();
    let (save, svg, html) = (path("save"), path("svg"), path("html"));
    let flags = ["trace", "--save", &save, "--svg", &svg, "--html", &html];
    let sent = anyport(&[&flags[..], &["send", sample.path(), &url]].concat()).succeeds();
    for file in [&save, &svg, &html] {
        assert_eq!(mode(Path::new(file)), 0o600, "{file}");
    }
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<svg"));
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
    // A saved trace is shown as it was.
    let shown = anyport(&["trace", "--read", &save]).succeeds();
    assert!(sent.stdout.ends_with(&shown.stdout), "{sent:?}\n{shown:?}");
    let json = anyport(&["trace", "--json", "--read", &save]).succeeds();
    assert_eq!(json.stdout, std::fs::read_to_string(&save).unwrap());
    symlink(path("elsewhere"), path("link")).unwrap();
    let (link, below) = (path("link"), path("missing/file"));
    // The packets too, and they begin before the transfer.
    let pcap = path("pcap");
    let flags = ["trace", "--pcap", &pcap, "send", "--on-exists", "rename", "--no-times"];
    let captured = anyport(&[&flags[..], &[sample.path(), &url]].concat());
    assert_eq!(mode(Path::new(&pcap)), 0o600);
    let is_permitted = captured.code == Some(0);
    if is_permitted {
        captured.says("may contain secrets");
        // Section Header Block (the draft of pcapng, section 4.1).
        assert!(std::fs::read(&pcap).unwrap().starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    } else {
        captured.exits(1).says("CAP_NET_RAW");
    }
    for (flag, file) in [
        ("--save", &*link),
        ("--svg", &link),
        ("--pcap", &link),
        ("--html", &link),
        ("--save", &below),
        ("--save", "/dev/null"),
    ] {
        let refused = anyport(&["trace", flag, file, "send", sample.path(), &url]).exits(1);
        refused.says(&format!("error: cannot write to {file}: "));
    }
    assert!(!Path::new(&path("elsewhere")).exists());
    // Neither the file that is sent nor another output.
    for flags in [["--save", sample.path(), "--svg", &svg], ["--save", &save, "--svg", &save]] {
        let words = [&["trace"], &flags[..], &["send", sample.path(), &url]].concat();
        anyport(&words).exits(2).says("an output of the trace is a file that is sent");
    }
    anyport(&["trace", "--read", &save, "--html", &save]).exits(2).says("sent or read");
    assert_eq!(std::fs::read(sample.path()).unwrap(), b"content");
    (0..1 + u32::from(is_permitted)).for_each(|_| drop(server.next_receipt()));
    assert_eq!(server.stop(), [Value::Null; 0], "nothing was sent");
}

#[test]
fn payloads_are_kept_on_request_with_a_warning() {
    let (server, sample) = (Server::start(&[]), Sample::new("x", b"the content"));
    let url = server.url("tcp", "");
    let bare = anyport(&["trace", "--json", "send", sample.path(), &url]).succeeds();
    assert!(!bare.stdout.contains("the content") && bare.stderr.is_empty(), "{bare:?}");
    let flags = ["trace", "--json", "--payload", "8", "send", "--on-exists", "rename"];
    let kept = anyport(&[&flags[..], &["--no-times", sample.path(), &url]].concat()).succeeds();
    assert!(kept.stdout.contains("the cont"), "{kept:?}");
    kept.says("may contain secrets");
}

#[test]
fn events_beyond_the_limit_are_counted() {
    let (server, sample) = (Server::start(&[]), Sample::new("x", b"content"));
    let url = server.url("ws", "");
    let here = tempfile::tempdir().unwrap();
    let saved = here.path().join("trace");
    let saved = saved.to_str().unwrap();
    let flags = ["trace", "--json", "--save", saved, "--events", "8", "send", sample.path(), &url];
    let sent = anyport(&flags).succeeds();
    let trace = trace(&sent);
    let is_event = |line: &&Value| line["event"] != "sample";
    // The header and the diagnosis are no events.
    assert!(trace.iter().filter(is_event).count() <= 10, "{trace:?}");
    assert!(trace[0]["left_out"].as_u64().unwrap() > 3, "{trace:?}");
    // The beginning and the end are there.
    follow(&trace, &["attempt", "gap", "fin", "diagnosis"]);
    let gap = trace.iter().find(|event| event["event"] == "gap").unwrap();
    assert!(gap["events"].as_u64().unwrap() > 3 && gap["took"].as_f64().unwrap() > 0.0, "{gap}");
    let shown = anyport(&["trace", "--read", saved]).succeeds();
    let line = format!("{} events of ", gap["events"]);
    assert!(shown.stdout.contains(&line), "{shown:?}");
    let again = anyport(&["trace", "--json", "--read", saved]).succeeds();
    assert_eq!(again.stdout, std::fs::read_to_string(saved).unwrap());
}

/// Each file has a stream of its own, and what belongs to it is there.
#[test]
fn files_over_http2_are_streams_with_their_own_frames() {
    let server = Server::start(&[]);
    let content = [noise(700_000, 1), noise(70_000, 2), noise(7, 3)];
    let samples = content.each_ref().map(|content| Sample::new("x", content));
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(number, sample)| {
            let path = folder.path().join(format!("file-{number}"));
            std::fs::copy(sample.path(), &path).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let url = server.url("https", "");
    let sent = anyport(&[&["trace", "--json", "send", "-k"], &paths[..], &[&url]].concat());
    let trace = trace(&sent.succeeds());
    let value = |event: &Value, name: &str| {
        let values = event["values"].as_array()?.iter();
        let mut found = values.filter(|pair| pair[0] == name);
        found.next().map(|pair| pair[1].as_str().unwrap().to_owned())
    };
    let frames = |stream: u64, from: &str, kind: &str| -> Vec<Value> {
        let mut frames = trace.clone();
        frames.retain(|event| {
            event["event"] == "http2"
                && event["stream"] == stream
                && event["from"] == from
                && event["kind"] == kind
        });
        frames
    };
    let mut found = 0;
    for stream in (1..32).step_by(2) {
        let requests = frames(stream, "client", "HEADERS");
        let Some(request) = requests.first() else { continue };
        let path = value(request, ":path").unwrap();
        let Some(number) = path.strip_prefix("/file-").and_then(|n| n.parse::<usize>().ok()) else {
            continue;
        };
        found += 1;
        assert_eq!(value(request, ":method").unwrap(), "PUT", "{path}");
        let data = frames(stream, "client", "DATA");
        let bytes: u64 = data.iter().map(|frame| frame["length"].as_u64().unwrap()).sum();
        assert_eq!(bytes, content[number].len() as u64, "{path}: {data:?}");
        let flags: Vec<_> = data.iter().flat_map(|f| f["flags"].as_array().unwrap()).collect();
        assert_eq!(flags, ["END_STREAM"], "{path}: {data:?}");
        let responses = frames(stream, "server", "HEADERS");
        let status = responses.iter().filter_map(|head| value(head, ":status")).next_back();
        assert_eq!(status.as_deref(), Some("201"), "{path}: {responses:?}");
        let at = |event: &Value| event["at"].as_f64().unwrap();
        assert!(at(request) <= at(&data[0]) && at(&data[0]) <= at(responses.last().unwrap()));
        assert!(!frames(stream, "server", "DATA").is_empty(), "{path}: the receipt");
    }
    assert_eq!(found, content.len(), "{trace:?}");
}

#[test]
fn no_output_contains_a_token_or_the_key_of_a_pipe() {
    // One with characters that some fields encode.
    let (server, _tokens) = guarded(&[]);
    for (scheme, flags) in [("tcp", &[][..]), ("ws", &[]), ("wss", &["-k"]), ("https", &["-k"])] {
        let sample = Sample::new(scheme, b"content");
        let url = server.url(scheme, "");
        let words = [&["trace", "--json", "send", sample.path(), &url], flags].concat();
        let mut command = anyport_command(&words);
        command.env("ANYPORT_TOKEN", BOB);
        let sent = Running::start(command, None).outcome().succeeds();
        // Its end is the same in all encodings.
        let hidden = [BOB, "0123456789%", "Ym9ic"].iter().all(|form| !sent.stdout.contains(form));
        assert!(hidden, "{scheme}: {sent:?}");
        assert!(sent.stdout.contains("[redacted]"), "{scheme}: {sent:?}");
    }
    let server = Server::start(&[]);
    let (key, url) = ("key-of-a-pipe", server.url("tcp", ""));
    let sample = Sample::new("x", b"content");
    let flags = ["trace", "--json", "send", "--pipe", key, sample.path(), &url];
    let send = start(&flags);
    let got = anyport(&["get", "--pipe", key, "-o", "-", &url]).succeeds();
    assert_eq!(got.stdout, "content");
    let sent = send.outcome().succeeds();
    let trace = sent.stdout.split_once("\n{\"event\":\"trace\"").unwrap().1;
    assert!(!trace.contains(key), "{trace}");
}

#[test]
fn wrong_uses_are_refused_with_a_hint() {
    for (words, error) in [
        (&["trace"][..], "hint: anyport trace send FILE HOST:PORT"),
        (&["trace", "send"], "required arguments"),
        (&["trace", "ls", "tcp://h:1/"], "tip: trace runs send, get, chat and cat"),
        (&["trace", "--read", "x", "cat", "tcp://h:1"], "cannot be combined with a command"),
        (&["trace", "cat", "UDP://h:1"], "cannot trace udp://"),
        (&["trace", "--payload", "5KiB", "cat", "tcp://h:1"], "at most 4KiB"),
        (&["trace", "--snaplen", "1KiB", "cat", "tcp://h:1"], "--pcap"),
        (&["trace", "--pcap", "x", "--snaplen", "1", "cat", "tcp://h:1"], "must be 128 bytes to"),
        (&["trace", "--events", "0", "cat", "tcp://h:1"], "a number from 1"),
        (&["trace", "--html", "-", "cat", "tcp://h:1"], "cannot write to -: name a file"),
    ] {
        let refused = anyport(words).exits(2).says(error);
        assert_eq!(refused.stdout, "", "{words:?}");
    }
    anyport(&["trace", "--read", "/does/not/exist"]).exits(1).says("cannot read");
}

#[test]
fn a_traced_command_reads_the_same_variables() {
    let mut command = anyport_command(&["trace", "cat", "tcp://127.0.0.1:9"]);
    command.env("ANYPORT_CONNECT_TIMEOUT", "soon");
    Running::start(command, None).outcome().exits(2).says("ANYPORT_CONNECT_TIMEOUT");
    let (server, sample) = (Server::start(&[]), Sample::new("x", b"content"));
    let mut command = anyport_command(&["trace", "send", sample.path(), &server.url("tcp", "")]);
    command.env("ANYPORT_QUIET", "true");
    let quiet = Running::start(command, None).outcome().succeeds();
    assert!(!quiet.stdout.contains("stored and verified"), "{quiet:?}");
}
