//! HTTP/2 as tools speak it: the same requests with the same answers as over HTTP/1.1, and many of
//! them at once.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyport_testkit::noise;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::{Expected, Running, Sample, Server, peer, wait_until};

/// curl with these arguments, over HTTP/2 from the first byte.
fn curl2(arguments: &[&str]) -> Option<Command> {
    let mut curl = curl()?;
    curl.arg("--http2-prior-knowledge").args(arguments);
    Some(curl)
}

/// What it says.
#[track_caller]
fn says(arguments: &[&str]) -> Option<String> {
    Some(Running::start(curl2(arguments)?, None).outcome().succeeds().stdout)
}

/// What curl shows of an answer: its status, its fields but for those that belong to one version or
/// one moment, sorted, and its content.
fn answer(version: &str, arguments: &[&str]) -> Option<(String, Vec<String>, String)> {
    let mut curl = curl()?;
    curl.args([version, "-i"]).args(arguments);
    let said = Running::start(curl, None).outcome().succeeds().stdout;
    let (head, content) = said.split_once("\r\n\r\n").unwrap();
    let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status.split(' ').nth(1).unwrap().to_owned();
    let mut fields: Vec<String> = fields
        .lines()
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| format!("{}:{value}", name.to_lowercase()))
        .filter(|field| !OF_ONE.iter().any(|name| field.starts_with(name)))
        .collect();
    fields.sort();
    Some((status, fields, content.to_owned()))
}

const OF_ONE: [&str; 4] = ["connection:", "date:", "transfer-encoding:", "keep-alive:"];

#[test]
fn h2_3_both_versions_answer_the_same() {
    let server = Server::start(&[]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    for (name, content) in [("x.html", "<p>hello"), ("d/y", "0123456789")] {
        let file = File::create(server.dir().join(name)).unwrap();
        (&file).write_all(content.as_bytes()).unwrap();
        // A recent time is not exact: its nanoseconds appear in the next second.
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
    let (big, small) = (Sample::sparse("big", 2_000_000), Sample::new("small", b"say"));
    let third_party = "Origin: http://elsewhere";
    for (path, arguments) in [
        ("x.html", &[][..]),
        ("x.html", &["-I"]),
        ("d/y", &["-r", "2-5"]),
        ("d/y", &["-r", "20-"]),
        ("d/y", &["-H", "If-None-Match: *"]),
        ("d/y", &["-H", "If-Match: \"other\""]),
        ("d", &[]),
        ("d/y/", &[]),
        ("none", &[]),
        ("%2e%2e/x", &["--path-as-is"]),
        ("", &[]),
        ("", &["-I"]),
        ("d/", &["-H", "Accept: application/json"]),
        ("d/", &["-H", "Accept: text/html"]),
        ("healthz", &[]),
        ("help", &[]),
        ("healthz", &["-X", "DELETE"]),
        ("x", &["-X", "OPTIONS"]),
        ("x", &["-X", "BREW"]),
        ("echo", &["--data-binary", "hello"]),
        ("echo", &["--data-binary", ""]),
        ("d/y", &["-H", "If-None-Match: *", "-T", small.path()]),
        ("part", &["-H", "Content-Range: bytes 0-2/10", "-T", small.path()]),
        ("form", &["-d", "a=b"]),
        ("coded", &["-H", "Content-Encoding: gzip", "-T", small.path()]),
        ("wrong", &["-H", "Repr-Digest: sha-256=:AAAA:", "-T", small.path()]),
        ("x", &["-H", third_party, "-T", small.path()]),
        ("x", &["-H", "Expect: something", "-T", small.path()]),
        ("rooms/lobby", &["-H", third_party]),
        ("rooms/lobby", &["-H", "Accept: application/json"]),
        ("rooms/%ff", &["-d", "hello"]),
        ("rooms/lobby", &["-d", ""]),
        ("rooms/lobby", &["-H", "Accept: application/json", "-T", big.path(), "-X", "POST"]),
        ("pipe/", &[]),
        ("pipe/k", &["-H", "Sec-Fetch-Site: cross-site"]),
    ] {
        let url = server.url("http", path);
        let arguments = [arguments, &[url.as_str()]].concat();
        let Some(first) = answer("--http1.1", &arguments) else { return };
        let second = answer("--http2-prior-knowledge", &arguments).unwrap();
        assert_eq!(first, second, "{path} {arguments:?}");
    }
}

#[test]
fn h2_3_receipts_differ_only_in_the_protocol() {
    let Some(mut command) = curl2(&["-H", "Accept: application/json", "-T", "-"]) else { return };
    let content = noise(3_000_017, 1);
    let server = Server::start(&[]);
    command.arg(server.url("http", "streamed"));
    let said = Running::start(command, Some(content.clone())).outcome().succeeds();
    let expected = Expected { protocol: "http2", engine: "own", end: "close", content: &content };
    let receipt = server.next_receipt();
    expected.check(&server, &receipt);
    assert_eq!(said.json()[0]["receipt"]["protocol"], "http2");
    assert_eq!(said.json()[0]["receipt"]["digest"], receipt["digest"]);

    let sample = Sample::new("sized", &content);
    let said = says(&["-i", "-T", sample.path(), &server.url("http", "")]).unwrap();
    assert!(said.starts_with("HTTP/2 201"), "{said}");
    assert!(said.contains("\r\nlocation: /files/sized\r\n"), "{said}");
    Expected { end: "size", ..expected }.check(&server, &server.next_receipt());
    let back = Sample::new("back", b"");
    says(&["-o", back.path(), &server.url("http", "files/sized")]).unwrap();
    assert_eq!(std::fs::read(back.path()).unwrap(), content);
    let sent = server.next_event();
    assert_eq!((&sent["event"], &sent["protocol"]), (&"sent".into(), &"http2".into()), "{sent}");
    assert_eq!(sent["bytes"], content.len(), "{sent}");
    let said = says(&["-s", "-T", sample.path(), &server.url("http", "d/")]).unwrap();
    assert!(said.contains(", http2, "), "{said}");
}

/// Four connections with 32 requests at once on each.
#[test]
fn h2_4_many_concurrent_streams_are_served_completely() {
    let server = Server::start(&["--sink", "discard", "--digest", "none"]);
    std::fs::write(server.dir().join("x"), noise(300_000, 1)).unwrap();
    let sample = Sample::new("up", &noise(100_000, 2));
    let many_clients = ["-n", "400", "-c", "4", "-m", "32"];
    let down = server.url("http", "x");
    let up = server.url("http", "");
    for arguments in [&[down.as_str()][..], &["-d", sample.path(), &up]] {
        let Some(mut h2load) = peer("h2load") else { return };
        h2load.args(many_clients).args(arguments);
        let said = Running::start(h2load, None).outcome().succeeds().stdout;
        assert!(said.contains("400 succeeded, 0 failed, 0 errored"), "{said}");
        assert!(said.contains("status codes: 400 2xx"), "{said}");
    }
    let (events, _) = server.stop_with_summary();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("sent"), of("receipt")), (400, 400));
    assert!(events.iter().all(|event| event["bytes"] == 300_000 || event["bytes"] == 100_000));
}

#[test]
fn h2_5_messages_of_a_room_are_received_over_http_2() {
    let server = Server::start(&[]);
    let url = server.url("http", "rooms/lobby");
    let Some(mut listener) = curl2(&["-sN", &url]) else { return };
    let mut child = listener.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut child = Killed(child);
    let lines = anyport_testkit::harness::lines(stdout);
    // It is there when it is counted.
    wait_until("a listener", || {
        let who = says(&["-s", "-H", "Accept: application/json", &url]).unwrap();
        who.contains("\"listeners\":1").then_some(())
    });
    let id = says(&["-s", "-d", "hello", &format!("{url}?as=bob")]).unwrap();
    assert_eq!(
        lines.recv_timeout(anyport_testkit::harness::DEADLINE).unwrap(),
        format!("id: {}", id.trim())
    );
    assert_eq!(lines.recv_timeout(anyport_testkit::harness::DEADLINE).unwrap(), "data: bob: hello");
    // A stop ends the stream, and not by a break.
    server.signal("TERM");
    let status = wait_until("the listener's end", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn h2_6_a_pipe_joins_streams_of_any_version() {
    let content = noise(2_000_003, 6);
    let server = Server::start(&["-v"]);
    let url = server.url("http", "pipe/key");
    let give = || curl2(&["-s", "-T", "-", &url]);
    let take = |version: &str| {
        let mut take = curl().unwrap();
        take.args([version, "-s", &url]);
        take
    };
    for version in ["--http2-prior-knowledge", "--http1.1"] {
        let Some(give) = give() else { return };
        let back = Sample::new("back", b"");
        let mut pipe_receiver = take(version);
        pipe_receiver.args(["-o", back.path()]);
        let pipe_receiver = Running::start(pipe_receiver, None);
        let said = Running::start(give, Some(content.clone())).outcome().succeeds();
        pipe_receiver.outcome().succeeds();
        assert_eq!(std::fs::read(back.path()).unwrap(), content);
        assert!(said.stdout.contains("2.00 MB"), "{said:?}");
    }
    // An interrupted sender resets the stream of its receiver.
    let pipe_receiver = Running::start(take("--http2-prior-knowledge"), None);
    let mut pipe_sender = anyport_testkit::harness::wire::connect(server.port());
    Write::write_all(&mut pipe_sender, b"ANYPORT/1 PIPE key size=10\nhalf").unwrap();
    drop(pipe_sender);
    assert_ne!(pipe_receiver.outcome().code, Some(0));
    // A waiting client is notified that the server stops.
    let waiting = curl2(&["-s", &server.url("http", "pipe/end")]).unwrap();
    let waiting = Running::start(waiting, None);
    server.says_often("pipe receiver connected", 4);
    server.signal("TERM");
    assert!(waiting.outcome().stdout.contains("the server is stopping"));
}

#[test]
fn h2_7_a_rate_holds_both_ways() {
    let server = Server::start(&["--limit-rate", "200KB"]);
    let sample = Sample::new("x", &noise(100_000, 1));
    let began = Instant::now();
    let url = server.url("http", "x");
    if says(&["-s", "-T", sample.path(), &url]).is_none() {
        return;
    }
    let up = began.elapsed();
    let began = Instant::now();
    says(&["-s", "-o", "/dev/null", &url]).unwrap();
    let down = began.elapsed();
    assert!(up.as_secs_f64() > 0.4 && down.as_secs_f64() > 0.4, "{up:?} {down:?}");
}

/// The last of an answer has left its stream long before it has left us.
#[test]
fn h2_14_an_answer_at_a_low_rate_is_whole_though_the_server_stops() {
    let mut server = Server::start(&["--limit-rate", "40KB", "--drain-timeout", "10m"]);
    let content = noise(250_000, 14);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    let back = Sample::new("back", b"");
    let Some(curl) = curl2(&["-s", "-o", back.path(), &server.url("http", "x")]) else { return };
    let curl = Running::start(curl, None);
    wait_until("some of it", || (std::fs::metadata(back.path()).unwrap().len() > 0).then_some(()));
    server.signal("TERM");
    curl.outcome().succeeds();
    assert!(std::fs::read(back.path()).unwrap() == content);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn h2_8_refusals_are_the_same_over_http_2() {
    let server = Server::start_listening(&["any://127.0.0.1:0?only=http"], &[]);
    let Some(said) = says(&["-s", &server.url("http", "healthz")]) else { return };
    assert_eq!(said, "ok\n");
    let long = format!("X: {}", "x".repeat(20_000));
    let status = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
    let said = says(&[&status[..], &["-H", &long, &server.url("http", "")]].concat()).unwrap();
    assert_eq!(said, "431");
    let url = server.url("http", "");
    let many: Vec<String> = (0..101).map(|number| format!("X-{number}: x")).collect();
    let many = many.iter().flat_map(|field| ["-H", field]);
    let arguments: Vec<&str> = status.into_iter().chain(many).chain([url.as_str()]).collect();
    assert_eq!(says(&arguments).unwrap(), "431");
    let url = server.url("http", &"x".repeat(9000));
    assert_eq!(says(&[&status[..], &[&url]].concat()).unwrap(), "414");
}

/// RFC 7301: who offers h2 under TLS gets it, and who does not is served as before.
#[test]
fn h2_17_under_tls_both_versions_are_offered() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"hello");
    let url = server.url("https", "");
    for (version, expected) in [("--http2", "http2"), ("--http1.1", "http")] {
        let Some(mut curl) = curl() else { return };
        curl.args([version, "-sSk", "-T", sample.path(), &url]);
        Running::start(curl, None).outcome().succeeds();
        assert_eq!(server.next_receipt()["protocol"], expected);
    }
}

/// One connection under TLS, fifty requests at once.
#[test]
fn h2_17_a_directory_goes_at_once_under_tls() {
    let scratch = tempfile::tempdir().unwrap();
    let content = |number: usize| noise(10_000 * number + 1, number as u64);
    let paths: Vec<String> = (0..50)
        .map(|number| {
            let path = scratch.path().join(format!("f{number}"));
            std::fs::write(&path, content(number)).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let server = Server::start(&[]);
    let (all, url) = (format!("{{{}}}", paths.join(",")), server.url("https", ""));
    let Some(mut curl) = curl() else { return };
    curl.args([
        "--http2",
        "-kZ",
        "--parallel-max",
        "50",
        "-sS",
        "--fail-with-body",
        "-T",
        &all,
        &url,
    ]);
    Running::start(curl, None).outcome().succeeds();
    for _ in 0..50 {
        let receipt = server.next_receipt();
        let number = receipt["path"].as_str().unwrap()[1..].parse().unwrap();
        let content = content(number);
        Expected { protocol: "http2", engine: "own", end: "size", content: &content }
            .check(&server, &receipt);
    }
}

#[test]
fn h2_17_clear_text_is_refused_where_tls_is_required() {
    let server = Server::start(&["--tls", "required"]);
    let sample = Sample::new("x", b"hello");
    let status = ["-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    let url = server.url("http", "a?b");
    let Some(said) = says(&[&status[..], &["-T", sample.path(), &url]].concat()) else { return };
    assert_eq!(said, format!("308 {}", server.url("https", "a?b")));
    assert!(server.next_refused()["reason"].as_str().unwrap().contains("TLS is required"));
    assert_eq!(server.published(), [""; 0]);
}
