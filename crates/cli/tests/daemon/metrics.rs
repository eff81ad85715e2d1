//! What is counted, as Prometheus reads it.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyport_testkit::harness::http::statuses;
use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{DEADLINE, Running, Sample, Server, python_with, wait_until};

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn scrape(server: &Server) -> String {
    let answer = converse(&mut connect(server.port()), SCRAPE.as_bytes());
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    page.to_owned()
}

/// A server after a bit of everything.
fn busy() -> Server {
    let server = Server::start(&["--metrics"]);
    for bytes in [
        &b"ANYPORT/1 PUT a size=5\nhelloEND\nANYPORT/1 GET a\n"[..],
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /rooms/lobby HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n",
        b"POST /rooms/lobby HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"ANYPORT/1 PUT b size=9\nhello",
        b"",
    ] {
        converse(&mut connect(server.port()), bytes);
    }
    server
}

#[test]
fn events_are_counted_by_kind() {
    let server = busy();
    for line in [
        "anyport_files_received_total{result=\"whole\"} 1",
        "anyport_files_received_total{result=\"interrupted\"} 1",
        "anyport_files_received_bytes_total 5",
        "anyport_files_sent_total{result=\"whole\"} 1",
        "anyport_files_sent_bytes_total 5",
        "anyport_refusals_total{reason=\"host\"} 1",
        "anyport_refusals_total{reason=\"origin\"} 1",
        "anyport_refusals_total{reason=\"no-token\"} 0",
        "anyport_room_messages_total 1",
        "anyport_rooms 1",
        "anyport_room_members 0",
        "anyport_pipes 0",
        "anyport_connections_silent_total{end=\"closed\"} 1",
        "anyport_connections_decided_total{protocol=\"preface\",reason=\"first-bytes\"} 2",
        "anyport_file_received_seconds_count 1",
        "anyport_file_received_seconds_bucket{le=\"+Inf\"} 1",
        "anyport_file_sent_seconds_count 1",
        "anyport_build_info{version=\"0.1.0\"} 1",
    ] {
        wait_until(line, || scrape(&server).lines().any(|found| found == line).then_some(()));
    }
    let page = scrape(&server);
    let open = page.lines().find_map(|line| line.strip_prefix("anyport_connections_open "));
    assert!(open.unwrap().parse::<u64>().unwrap() >= 1, "the one that asks: {page}");
    let bytes = page.lines().find_map(|line| line.strip_prefix("anyport_received_bytes_total "));
    assert!(bytes.unwrap().parse::<u64>().unwrap() > 100, "{page}");
    for secret in ["evil", "lobby", "127.0.0.1"] {
        assert!(!page.contains(secret), "{secret} was a peer's word: {page}");
    }
}

/// What stands behind `name` on the page.
fn value(page: &str, name: &str) -> f64 {
    let row = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    row.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
}

/// Over TCP the bytes of these services are counted too.
#[test]
fn bytes_of_datagrams_are_counted_whether_they_are_answered_or_dropped() {
    let listen = ["echo", "rfc868", "daytime"].map(|service| format!("{service}://127.0.0.1:0"));
    let listen = ["any://127.0.0.1:0", &listen[0], &listen[1], &listen[2]];
    let server = Server::start_listening(&listen, &["--metrics"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let ask = |service: usize, question: &[u8]| {
        socket.send_to(question, server.addresses()[service]).unwrap();
        socket.recv(&mut [0; 65_507]).unwrap()
    };
    let counted = || {
        let page = scrape(&server);
        ["received", "sent"].map(|way| value(&page, &format!("anyport_{way}_bytes_total")) as usize)
    };
    let before = counted();
    // Much more than the bytes of a scrape.
    let question = [0; 60_000];
    let answered: usize = [1, 2, 3].map(|service| ask(service, &question)).into_iter().sum();
    assert!(answered > question.len() + 4, "{answered}");
    for too_short in [2, 3] {
        socket.send_to(b"x", server.addresses()[too_short]).unwrap();
    }
    // A service counts an answer before it receives the next question.
    [1, 2, 3].iter().for_each(|service| assert!(ask(*service, &question) > 0));
    let after = counted();
    assert!(after[0] - before[0] >= 6 * question.len() + 2, "{before:?} {after:?}");
    let sent = after[1] - before[1];
    assert!((answered..3 * question.len()).contains(&sent), "{before:?} {after:?}");
}

#[test]
fn requests_are_timed_by_protocol_and_by_how_they_were_answered() {
    let server = Server::start(&["--metrics"]);
    let row = |what: &str, protocol: &str, status: &str| {
        format!("anyport_request_seconds_{what}{{protocol=\"{protocol}\",status=\"{status}\"}}")
    };
    let count = |page: &str, protocol: &str, status: &str| {
        value(page, &row("count", protocol, status)) as u64
    };
    // A request takes from its head to its answer, and this one's content takes a while.
    let mut slow = connect(server.port());
    let wrong = format!("Repr-Digest: sha-256=:{}=:", "A".repeat(43));
    let head = format!("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{wrong}\r\n");
    slow.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    slow.write_all(b"he").unwrap();
    wait_until("a part", || {
        server.names().iter().any(|name| name.ends_with(".part")).then_some(())
    });
    // The seconds that the request takes are what is counted.
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(count(&scrape(&server), "http1", "4xx"), 0, "it has not been answered");
    let answer = converse(&mut slow, b"llo");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // What is no request is answered, and not counted here.
    assert!(converse(&mut connect(server.port()), b"GET / HTTP/1.1\r\n\r\n").contains(" 400 "));
    let page = wait_until("the first", || {
        Some(scrape(&server)).filter(|page| count(page, "http1", "4xx") == 1)
    });
    assert!(value(&page, &row("sum", "http1", "4xx")) >= 0.15, "{page}");
    let within = |bound: &str| {
        let row = row("bucket", "http1", "4xx");
        value(&page, &row.replace('}', &format!(",le=\"{bound}\"}}"))) as u64
    };
    assert_eq!((within("0.1"), within("+Inf")), (0, 1), "{page}");
    assert_eq!(count(&page, "http1", "5xx"), 0, "rows are always the same: {page}");

    for (path, expected) in [("healthz", [1, 0]), ("none", [1, 1]), ("x", [2, 1])] {
        let url = server.url("http", path);
        let sample = Sample::new("x", b"hello");
        let Some(mut curl) = anyport_testkit::harness::http::curl() else { return };
        curl.args(["--http2-prior-knowledge", "-s", "-o", "/dev/null"]);
        if path == "x" {
            curl.args(["-T", sample.path()]);
        }
        curl.arg(&url);
        Running::start(curl, None).outcome().succeeds();
        wait_until("its count", || {
            let page = scrape(&server);
            let counts = ["2xx", "4xx"].map(|class| count(&page, "http2", class));
            (counts == expected).then_some(())
        });
    }
    // A stream without end is timed until it begins.
    let mut curl = anyport_testkit::harness::http::curl().unwrap();
    curl.args(["--http2-prior-knowledge", "-sN", &server.url("http", "rooms/lobby")]);
    let mut listening = Running::start(curl, None);
    wait_until("its count", || (count(&scrape(&server), "http2", "2xx") == 3).then_some(()));
    listening.kill();
}

/// Every line is one that Prometheus takes, by its own word where that is here.
#[test]
fn prometheus_accepts_the_metrics() {
    let page = scrape(&busy());
    for line in page.lines() {
        let is_row = line.starts_with("anyport_") && {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                && value.parse::<f64>().is_ok()
        };
        let is_about = line.starts_with("# HELP anyport_") || line.starts_with("# TYPE anyport_");
        assert!(is_row || is_about, "{line}");
    }
    let Some(mut python) = python_with("prometheus_client") else { return };
    let parser = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        families = list(parse(sys.stdin.read()))\n\
        assert len({family.name for family in families}) == len(families)\n\
        assert all(family.type != 'unknown' for family in families)\n\
        print(sum(len(family.samples) for family in families))\n";
    let rows = page.lines().filter(|line| !line.starts_with('#')).count();
    python.args(["-c", parser]);
    let outcome = Running::start(python, Some(page.into_bytes())).outcome();
    assert_eq!(outcome.succeeds().stdout.trim(), rows.to_string());
}

#[test]
fn metrics_are_served_only_if_enabled_and_with_tokens_only_to_an_admin() {
    let server = Server::start(&[]);
    let answer = converse(&mut connect(server.port()), SCRAPE.as_bytes());
    assert_eq!(statuses(&answer), [404], "a file may be called so: {answer}");
    let lines = b"0123456789abcdeg\nmonitor 0123456789abcdef admin";
    let file = Sample::new("tokens", lines);
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--metrics", "--token-file", file.path()]);
    let answer = converse(&mut connect(server.port()), SCRAPE.as_bytes());
    assert_eq!(statuses(&answer), [401], "{answer}");
    let other = "GET /metrics HTTP/1.0\r\nAuthorization: Bearer 0123456789abcdeg\r\n\r\n";
    let answer = converse(&mut connect(server.port()), other.as_bytes());
    assert_eq!(statuses(&answer), [403], "{answer}");
    assert!(answer.contains("lacks the right admin"), "{answer}");
    let bearer = "\r\nAuthorization: Bearer 0123456789abcdef\r\nConnection: close\r\n\r\n";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: a{bearer}");
    let answer = converse(&mut connect(server.port()), request.as_bytes());
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert!(answer.contains("anyport_refusals_total{reason=\"no-token\"} 1"), "{answer}");
}
