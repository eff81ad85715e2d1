//! Who comes in where tokens are asked for, by each protocol, and who does not.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use anyport_testkit::harness::http::{curl_says, statuses};
use anyport_testkit::harness::tokens::{ALICE, BOB, ask, both, guarded, token_file};
use anyport_testkit::harness::wire::connect_from;
use anyport_testkit::harness::wire::{
    BINARY, PING, connect, converse, frame, read_close, read_head, read_line,
};
use anyport_testkit::harness::wire::{read_text, upgrade, websocket_with};
use anyport_testkit::harness::{
    Running, Sample, Server, anyport, anyport_command, anyport_with_input, engines, python_with,
};

#[test]
fn http_asks_for_a_token_everywhere_but_for_its_health() {
    let (server, _file) = guarded(&[]);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/files/x"),
        ("HEAD", "/"),
        ("OPTIONS", "/"),
        ("DELETE", "/x"),
        ("POST", "/echo"),
        ("GET", "/help"),
        ("GET", "/time"),
        ("GET", "/rooms/lobby"),
        ("GET", "/pipe/key"),
        ("PUT", "/x"),
    ] {
        let length = if matches!(method, "PUT" | "POST") { "Content-Length: 0\r\n" } else { "" };
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}");
        let answer = ask(&server, &format!("{request}\r\n"));
        assert_eq!(statuses(&answer), [401], "{method} {path}: {answer}");
        assert!(answer.contains("\r\nWww-Authenticate: Basic realm=\"anyport\""), "{answer}");
        assert!(answer.contains("\r\nWww-Authenticate: Bearer realm=\"anyport\""), "{answer}");
        let answer = ask(&server, &format!("{request}Authorization: Bearer x{ALICE}\r\n\r\n"));
        assert_eq!(statuses(&answer).len(), 1);
        assert!([401, 429].contains(&statuses(&answer)[0]), "{method} {path}: {answer}");
    }
    let healthy = ask(&server, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(statuses(&healthy), [200], "{healthy}");
    assert!(healthy.contains("\r\nWww-Authenticate: Bearer realm=\"anyport\""), "{healthy}");
    assert!(server.published().is_empty());
}

/// Each request brings its own: what goes over one connection may be of many, as a proxy sends it.
#[test]
fn a_token_lets_one_request_in_and_not_the_next() {
    let (server, _file) = guarded(&[]);
    let with = format!("GET /time HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\n\r\n");
    let without = "GET /time HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = ask(&server, &format!("{with}{without}{with}"));
    assert_eq!(statuses(&answers), [200, 401, 200], "{answers}");
}

#[test]
fn curl_is_admitted_with_a_password_or_a_bearer_token() {
    let (server, _file) = guarded(&[]);
    let sample = Sample::new("photo.jpg", b"a photo");
    let url = server.url("http", "");
    let bearer = format!("Authorization: Bearer {BOB}");
    for credentials in [
        ["-u".to_owned(), format!(":{ALICE}")],
        ["-u".to_owned(), format!("{ALICE}:")],
        ["-u".to_owned(), format!("anybody:{BOB}")],
        ["-H".to_owned(), bearer],
    ] {
        let [flag, value] = &credentials;
        let Some((said, status)) = curl_says(&[flag, value, "-T", sample.path(), &url]) else {
            return;
        };
        assert_eq!(status, 201, "{flag} {value}: {said}");
        assert_eq!(server.stored(&server.next_receipt()), b"a photo");
        let listed = curl_says(&[flag, value, &url]).unwrap();
        assert_eq!(listed.1, 200, "{listed:?}");
    }
    let (said, status) = curl_says(&["-T", sample.path(), &url]).unwrap();
    assert_eq!(status, 401);
    assert!(said.contains("a token is required") && said.contains("curl -u :TOKEN"), "{said}");
    assert_eq!(server.next_refused()["reason"], "a token is required");
}

#[test]
fn websocket_accepts_a_token_in_a_field_or_a_subprotocol() {
    for engine in engines() {
        let (server, _file) = guarded(&["--engine", engine]);
        let encoded = "bobs%2Ftoken%3D0123456789%25%2B";
        for (path, fields, agreed) in [
            ("/", format!("Authorization: Bearer {ALICE}\r\n"), None),
            (
                "/",
                format!("Sec-WebSocket-Protocol: anyport.token.{ALICE}, anyport.file.1\r\n"),
                Some("anyport.file.1"),
            ),
            (
                "/echo",
                format!("Sec-WebSocket-Protocol: anyport.1, anyport.token.{encoded}\r\n"),
                Some("anyport.1"),
            ),
            (
                "/rooms/lobby",
                format!("Sec-WebSocket-Protocol: anyport.token.{ALICE}, anyport.1\r\n"),
                Some("anyport.1"),
            ),
            ("/echo", format!("Sec-WebSocket-Protocol: anyport.token.{ALICE}\r\n"), None),
        ] {
            let mut stream = connect(server.port());
            stream.write_all(upgrade(path, &fields).as_bytes()).unwrap();
            let head = read_head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 101 "), "{engine} {path} {fields}: {head}");
            let lower = head.to_lowercase();
            let answered = lower
                .lines()
                .find_map(|line| line.strip_prefix("sec-websocket-protocol: "))
                .map(str::trim);
            assert_eq!(answered, agreed, "{engine} {path} {fields}: {head}");
        }
        for (fields, status) in [
            (String::new(), 401),
            (format!("Sec-WebSocket-Protocol: anyport.token.x{ALICE}, anyport.1\r\n"), 401),
            ("Authorization: Bearer short\r\n".to_owned(), 401),
        ] {
            let answer = ask(&server, &upgrade("/echo", &fields));
            assert_eq!(statuses(&answer), [status], "{fields}: {answer}");
            assert!(answer.contains("anyport.1, anyport.token.TOKEN"), "{answer}");
        }
    }
}

/// The neutral subprotocol means nothing: a file is as without one.
#[test]
fn a_file_comes_whole_beside_the_neutral_subprotocol() {
    for engine in engines() {
        let (server, _file) = guarded(&["--engine", engine]);
        let fields = format!("Sec-WebSocket-Protocol: anyport.1, anyport.token.{ALICE}\r\n");
        let mut stream = websocket_with(server.port(), "/files/x", &fields);
        stream.write_all(&frame(BINARY, b"content")).unwrap();
        stream.write_all(&anyport_testkit::harness::wire::close_frame(1000, "")).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1000), "{engine}");
        assert_eq!(server.stored(&server.next_receipt()), b"content", "{engine}");
    }
}

#[test]
fn a_line_carries_a_token_once_for_its_connection() {
    let (server, _file) = guarded(&[]);
    let encoded = "token=bobs/token=0123456789%25+";
    for (line, answer) in [
        ("PUT a size=1", None),
        ("TIME", Some("ANYPORT/1 TIME ")),
        ("GREET", Some("ANYPORT/1 GREETING ")),
        ("LIST", Some("ANYPORT/1 END ")),
        ("GET nothing", Some("ANYPORT/1 ERROR not-found ")),
        ("ECHO", Some("ANYPORT/1 TIME")),
        ("JOIN lobby as alice", Some("ANYPORT/1 JOINED ")),
        ("PIPE key", None),
        ("TAKE key", None),
    ] {
        let refused = ask(&server, &format!("ANYPORT/1 {line}\n"));
        assert!(
            refused.starts_with("ANYPORT/1 ERROR unauthorized a token is required"),
            "{refused}"
        );
        assert!(refused.contains("append token=TOKEN"), "{refused}");
        let Some(expected) = answer else { continue };
        let mut stream = connect(server.port());
        let said = format!("ANYPORT/1 {line} {encoded}\nANYPORT/1 TIME\n");
        stream.write_all(said.as_bytes()).unwrap();
        let first = read_line(&mut stream);
        assert!(first.starts_with(expected), "{line}: {first}");
        if matches!(line, "TIME" | "GREET") {
            assert!(read_line(&mut stream).starts_with("ANYPORT/1 TIME "), "{line}");
        }
    }
    let wrong = ask(&server, "ANYPORT/1 PUT a size=1 token=alices-token-0123456789__\n");
    assert!(wrong.starts_with("ANYPORT/1 ERROR unauthorized invalid token"), "{wrong}");
    let put = format!("ANYPORT/1 PUT a size=1 token={ALICE}\nxEND\nANYPORT/1 PUT b size=1\nyEND\n");
    let receipts = ask(&server, &put);
    assert_eq!(receipts.matches("ANYPORT/1 RECEIPT ").count(), 2, "{receipts}");
    assert_eq!(server.published(), ["a", "b"]);
}

#[test]
fn raw_bytes_and_bare_frames_are_refused_with_a_reason() {
    let (server, _file) = guarded(&[]);
    let answer = ask(&server, "\u{1}just bytes");
    assert!(answer.starts_with("ANYPORT/1 ERROR unauthorized a token is required"), "{answer}");
    assert!(answer.contains("ANYPORT/1 PUT NAME token=TOKEN"), "{answer}");
    assert_eq!(server.next_refused()["protocol"], "raw");
    for opening in [frame(PING, b"anyport/1"), frame(BINARY, b"content")] {
        let mut stream = connect(server.port());
        stream.write_all(&opening).unwrap();
        let (code, reason) = read_close(&mut stream);
        assert_eq!(code, Some(1008), "{reason}");
        assert!(reason.contains("token=TOKEN"), "{reason}");
        assert_eq!(read_text(&mut stream), "");
    }
    assert!(server.names().is_empty(), "{:?}", server.names());
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn client_commands_send_the_token_of_a_file_or_of_the_environment() {
    let (server, _file) = guarded(&[]);
    let (mine, sample) = (token_file(&format!("{BOB}\n")), Sample::new("x", b"content"));
    for (scheme, engine) in [("tcp", "own"), ("ws", "own"), ("ws", "library")] {
        let url = server.url(scheme, "");
        let name = format!("{scheme}-{engine}");
        let to = server.url(scheme, if scheme == "ws" { "files/" } else { "" }) + &name;
        let send = ["send", sample.path(), &to, "--engine", engine];
        anyport(&[&send[..], &["--token-file", mine.path()]].concat()).succeeds();
        anyport(&send).exits(4).says("a token is required");
        let listed = anyport(&["ls", &url, "--token-file", mine.path()]).succeeds();
        assert!(listed.stdout.contains(&name), "{listed:?}");
        anyport(&["ls", &url]).exits(4).says("token");
        let mut get = anyport_command(&["get", &to, "-o", "-"]);
        get.env("ANYPORT_TOKEN", ALICE);
        let got = Running::start(get, None).outcome().succeeds();
        assert_eq!(got.stdout, "content");
    }
    for scheme in ["tcp", "ws"] {
        let room = server.url(scheme, "rooms/lobby");
        let chat = ["chat", &room, "--as", "bob", "--json", "--token-file", mine.path()];
        let said = anyport_with_input(&chat, b"hello\n").succeeds();
        assert!(said.stdout.contains("\"hello\""), "{said:?}");
    }
    let echo = server.url("ws", "echo");
    let said = anyport_with_input(&["cat", &echo, "--token-file", mine.path()], b"hello\n");
    assert_eq!(said.succeeds().stdout, "hello\n");
}

#[test]
fn a_token_of_one_host_is_never_shown_to_another() {
    let (server, _file) = guarded(&[]);
    let port = server.port();
    let (here, named) = (format!("127.0.0.1:{port}/"), format!("localhost:{port}/"));
    let ls = |url: &str, lines: &str| {
        let file = token_file(lines);
        anyport(&["ls", url, "--token-file", file.path()])
    };
    ls(&here, &format!("127.0.0.1 {ALICE}\n")).succeeds();
    ls(&here, &format!("files.example {BOB}x\n127.0.0.1:{port} {ALICE}\n")).succeeds();
    ls(&named, &format!("LocalHost {ALICE}\n127.0.0.1 {BOB}x\n")).succeeds();
    // One without a host is for any that is named.
    ls(&here, &format!("files.example {BOB}x\n{ALICE}\n")).succeeds();
    for lines in [
        format!("files.example {ALICE}\n"),
        format!("localhost {ALICE}\n"),
        format!("127.0.0.1:1 {ALICE}\n"),
        // The name of a server's user is not a host.
        format!("alice {ALICE}\n"),
        // The words in the wrong order.
        format!("{ALICE} files.example.org\n"),
    ] {
        let outcome = ls(&here, &lines).exits(2).says("has no token for 127.0.0.1:");
        assert!(!outcome.stderr.contains(ALICE), "{outcome:?}");
    }
    let with = |url: &str, value: &str| {
        let mut command = anyport_command(&["ls", url]);
        command.env("ANYPORT_TOKEN", value);
        Running::start(command, None).outcome()
    };
    with(&here, ALICE).succeeds();
    with(&named, &format!("127.0.0.1 {BOB}x\nlocalhost {ALICE}")).succeeds();
    // Which of several is meant cannot be known; one for this host is.
    let outcome = with(&here, &format!("{ALICE}\n{BOB}")).exits(2);
    let outcome = outcome.says("ANYPORT_TOKEN has several tokens without a host");
    assert!(!outcome.stderr.contains(ALICE) && !outcome.stderr.contains(BOB), "{outcome:?}");
    with(&here, &format!("{BOB}x\n{BOB}y\n127.0.0.1 {ALICE}")).succeeds();
    with(&named, &format!("127.0.0.1 {ALICE}")).exits(4).says("a token is required");
    assert_eq!(server.next_refused()["reason"], "a token is required");
    // Another host than this machine is not asked here: that it is not shown is said before.
    let outcome = with("anyport.invalid", ALICE).exits(3);
    let outcome = outcome.says("has no host and is not sent to anyport.invalid");
    assert!(!outcome.stderr.contains(ALICE), "{outcome:?}");
}

#[test]
fn a_pipe_asks_both_its_ends() {
    let (server, _file) = guarded(&[]);
    let (mine, sample) = (token_file(ALICE), Sample::new("x", b"content"));
    let url = server.url("tcp", "");
    let give = ["send", sample.path(), &url, "--pipe", "key", "--token-file", mine.path()];
    let giving = anyport_testkit::harness::start(&give);
    anyport(&["get", &url, "--pipe", "key", "-o", "-"]).exits(4).says("a token is required");
    let take = ["get", &url, "--pipe", "key", "-o", "-", "--token-file", mine.path()];
    assert_eq!(anyport(&take).succeeds().stdout, "content");
    giving.outcome().succeeds();
}

/// Ten wrong ones, and the address is not listened to, whatever it shows; another one is.
#[test]
fn guessing_is_limited_by_address() {
    let (server, _file) = guarded(&[]);
    let bearer = |token: &str| {
        format!("GET /time HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    for guess in 0..10 {
        let answer = ask(&server, &bearer(&format!("guess-number-{guess:03}")));
        assert_eq!(statuses(&answer), [401], "{answer}");
    }
    let answer = ask(&server, &bearer(ALICE));
    assert_eq!(statuses(&answer), [429], "{answer}");
    assert!(answer.contains("too many invalid tokens from this address"), "{answer}");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    let line = ask(&server, &format!("ANYPORT/1 TIME token={ALICE}\n"));
    assert!(line.starts_with("ANYPORT/1 ERROR busy too many invalid tokens"), "{line}");
    let fields = format!("Authorization: Bearer {ALICE}\r\n");
    assert_eq!(statuses(&ask(&server, &upgrade("/echo", &fields))), [429]);
    let mut other = connect_from("127.0.0.2", server.port());
    let answer = converse(&mut other, bearer(ALICE).as_bytes());
    assert_eq!(statuses(&answer), [200], "{answer}");
    // Reported once a second at most, however fast it guesses; and always counted.
    let (events, summary) = server.stop_with_summary();
    assert!(summary["refused"].as_u64().unwrap() >= 13, "{summary}");
    assert!(events.iter().all(|event| event["event"] == "refused"), "{events:?}");
}

/// Whatever is said of it: to whom it belongs, to those who run the server, on any level.
#[test]
fn no_token_is_ever_logged_or_answered() {
    let file = both();
    let (scratch, wrong) = (tempfile::tempdir().unwrap(), "wrong-token-0123456789");
    let mut command = anyport_command(&["serve", "-vvv", "--bind", "127.0.0.1:0", "--json"]);
    command.args(["--token-file", file.path()]).arg(scratch.path());
    let mut server = Logged::start(command);
    let mut said = String::new();
    for shown in [ALICE, wrong] {
        for bytes in [
            format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {shown}\r\n\r\n"),
            upgrade("/", &format!("Sec-WebSocket-Protocol: anyport.token.{shown}\r\n")),
            format!("ANYPORT/1 PUT a size=1 token={shown}\nxEND\n"),
            format!("ANYPORT/1 PUT a size=1 token={shown}\nxANYPORT/1 PUT b token={shown}\n"),
            format!("ANYPORT/1 TIME token={shown} token={shown}\n"),
            format!("ANYPORT/1 TIME token={shown}%zz\n"),
        ] {
            said.push_str(&converse(&mut connect(server.port), bytes.as_bytes()));
        }
    }
    said.push_str(&server.stop());
    assert!(said.contains("connection ended"), "{said}");
    assert!(said.contains("alice"), "the user is named: {said}");
    for secret in [ALICE, wrong, BOB] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

/// A server with all that it logs.
struct Logged {
    child: std::process::Child,
    stderr: std::thread::JoinHandle<String>,
    port: u16,
}

impl Logged {
    fn start(mut command: Command) -> Self {
        use std::io::{BufRead, BufReader, Read};
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let (_, port) = event["addr"].as_str().unwrap().rsplit_once(':').unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, stderr, port: port.parse().unwrap() }
    }

    fn stop(&mut self) -> String {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap();
        std::mem::replace(&mut self.stderr, std::thread::spawn(String::new)).join().unwrap()
    }
}

#[test]
fn a_token_file_that_others_can_read_or_that_is_wrong_is_refused_at_the_start() {
    let serve = |file: &Sample| {
        anyport(&[
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--token-file",
            file.path(),
            "/nonexistent/dir",
        ])
    };
    for mode in [0o604, 0o602, 0o660, 0o644] {
        let file = token_file(ALICE);
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        serve(&file).exits(2).says(&format!("(mode {mode:o})")).says("hint: chmod 600 ");
    }
    // A group's right to read is how a service is given a file of root's.
    let file = token_file(ALICE);
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o640)).unwrap();
    serve(&file).exits(1).says("cannot create /nonexistent/dir");
    for (content, words) in [
        ("# nobody\n".to_owned(), "no token found"),
        ("short\n".to_owned(), "line 1: a token has 16 to 256 bytes, not 5"),
        (format!("{ALICE} alice\n"), "line 1: the name before the token"),
        (format!("{ALICE}\n").repeat(2), "line 2: duplicate of the token in line 1"),
        ((0..1025).map(|n| format!("{n:016}\n")).collect(), "more than 1024 tokens"),
        ("#".repeat(1024 * 1024 + 1), "it is longer than 1048576 bytes"),
    ] {
        let outcome = serve(&token_file(&content)).exits(2).says(words);
        assert!(!outcome.stderr.contains(ALICE), "{outcome:?}");
    }
    anyport(&["serve", "--token-file", "/nonexistent"]).exits(2).says("/nonexistent");
}

#[test]
fn tokens_or_open_permit_public_addresses_and_only_open_permits_services_without_tokens() {
    let file = both();
    let tokens = ["--token-file", file.path()];
    let serve =
        |flags: &[&str]| anyport(&[&["serve"], flags, &tokens, &["/nonexistent/dir"]].concat());
    anyport(&["serve", "--bind", "0.0.0.0:0", "/nonexistent/dir"])
        .exits(2)
        .says("--token-file FILE");
    serve(&["--bind", "0.0.0.0:0"]).exits(1).says("cannot create /nonexistent/dir");
    for service in ["echo", "greet", "time", "rfc868", "daytime"] {
        let listen = format!("{service}://0.0.0.0:0");
        serve(&["--listen", &listen]).exits(2).says("cannot require a token");
        serve(&["--open", "--listen", &listen]).exits(1).says("cannot create /nonexistent/dir");
    }
    serve(&["--bind", "127.0.0.1:0", "--no-detect"]).exits(2).says("cannot require a token");
    let greeting = serve(&["--bind", "127.0.0.1:0", "--on-timeout", "greet"]);
    greeting.exits(2).says("cannot require a token");
}

#[test]
fn a_public_server_reports_tokens_and_clear_text() {
    let file = both();
    // --open does not undo it.
    let server = Server::start_on(&["0.0.0.0:0"], &["--open", "--token-file", file.path()]);
    server.says("without TLS can be read by others on the network: use --tls required");
    assert_eq!(statuses(&ask(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")), [401]);
}

#[test]
fn a_new_token_is_long_random_and_fits_everywhere() {
    let draw = |flags: &[&str]| anyport(&[&["token"], flags].concat()).succeeds().stdout;
    let (one, other) = (draw(&[]), draw(&[]));
    assert_ne!(one, other);
    let token = one.trim_end();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(token.len() == 43 && token.bytes().all(fits), "{one}");
    let file = token_file(&draw(&["--name", "alice"]));
    let server = Server::start(&["--token-file", file.path()]);
    let line = std::fs::read_to_string(file.path()).unwrap();
    let token = line.strip_prefix("alice ").unwrap().trim_end();
    let answer = ask(&server, &format!("ANYPORT/1 TIME token={token}\n"));
    assert!(answer.starts_with("ANYPORT/1 TIME "), "{answer}");
    anyport(&["token", "--name", "a-name-of-16-char"]).exits(2);
}

#[test]
fn a_token_in_a_url_or_where_it_cannot_go_is_refused_with_advice() {
    let (mine, two) = (token_file(ALICE), both());
    let sample = Sample::new("x", b"content");
    for url in ["ws://alice:s3cret@h/", "s3cret@h"] {
        for command in [
            vec!["send", sample.path(), url],
            vec!["get", url],
            vec!["ls", url],
            vec!["chat", url],
            vec!["cat", url],
        ] {
            let outcome = anyport(&command).exits(2).says("--token-file").says("ANYPORT_TOKEN");
            assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
        }
    }
    let shown = ["--token-file", mine.path()];
    let frames = ["send", sample.path(), "frames://h:1/"];
    anyport(&[&frames[..], &shown].concat()).exits(2).says("use ws:// or tcp://");
    anyport(&[&["cat", "tcp://h:1"][..], &shown].concat()).exits(2).says("token=TOKEN");
    let send = ["send", sample.path(), "h:1"];
    anyport(&[&send[..], &["--token-file", two.path()]].concat())
        .exits(2)
        .says("has no token for h:1, only for: ");
    let line = anyport(&["token", "--name", "ann"]).succeeds().stdout;
    let named = token_file(&line);
    let outcome = anyport(&[&send[..], &["--token-file", named.path()]].concat()).exits(2);
    let outcome = outcome.says("has no token for h:1, only for: ann").says("leave out the name");
    assert!(!outcome.stderr.contains(line.trim_start_matches("ann ").trim()), "{outcome:?}");
    let mut short = anyport_command(&send);
    short.env("ANYPORT_TOKEN", "s3cret");
    let outcome = Running::start(short, None).outcome().exits(2).says("ANYPORT_TOKEN");
    assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
}

/// As a page does it, which can set no field.
#[test]
fn a_browser_sends_its_token_as_a_subprotocol() {
    let Some(mut python) = python_with("websockets") else { return };
    let (server, _file) = guarded(&[]);
    let url = server.url("ws", "echo");
    let script = format!(
        "import asyncio, websockets\n\
         async def main():\n\
         \x20   async with websockets.connect('{url}', subprotocols=[\
         'anyport.1', 'anyport.token.{ALICE}']) as ws:\n\
         \x20       await ws.send('hello')\n\
         \x20       print(await ws.recv(), ws.subprotocol)\n\
         asyncio.run(main())\n"
    );
    python.args(["-c", &script]);
    let outcome = Running::start(python, None).outcome();
    assert_eq!(outcome.succeeds().stdout, "hello anyport.1\n");
}

/// A user may misplace it; it is repeated neither in the reply nor in the log.
#[test]
fn a_misplaced_token_is_not_repeated() {
    let (server, _file) = guarded(&["-vv"]);
    for line in [
        format!("ANYPORT/1 token={ALICE} LIST\n"),
        format!("ANYPORT/1 Token={ALICE} LIST\n"),
        format!("ANYPORT/1 TAKE k {ALICE}\n"),
        format!("ANYPORT/1 {ALICE}\n"),
        format!("ANYPORT/1 GET a TOKEN={ALICE}\n"),
    ] {
        let said = converse(&mut connect(server.port()), line.as_bytes());
        assert!(said.starts_with("ANYPORT/1 ERROR bad-request word "), "{said}");
        assert!(!said.contains(ALICE), "{said}");
        let refused = server.next_refused().to_string();
        assert!(!refused.contains(ALICE), "{refused}");
    }
    // A client that has sent a token gets the word at fault.
    let lines = format!("ANYPORT/1 TIME token={ALICE}\nANYPORT/1 TAKE k other\n");
    let said = converse(&mut connect(server.port()), lines.as_bytes());
    assert!(said.contains("unknown word \"other\""), "{said}");
    assert!(!server.said().contains(ALICE), "{}", server.said());
}
