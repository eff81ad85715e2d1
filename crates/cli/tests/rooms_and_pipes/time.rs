//! What time it is: to a browser, to curl, and as RFC 867 and 868 tell it.

use std::io::{Read, Write};
use std::net::TcpStream;

use jiff::Timestamp;
use jiff::fmt::strtime;

use anyport_testkit::harness::wire::{connect, converse, read_text, upgrade};
use anyport_testkit::harness::{Outcome, Running, Server, peer, skip};

/// Seconds by which the clocks of a test may differ from one another.
const SLACK: i64 = 60;

fn assert_now(seconds: i64) {
    let now = Timestamp::now().as_second();
    assert!((now - SLACK..=now + SLACK).contains(&seconds), "{seconds} is not about {now}");
}

#[track_caller]
fn assert_time_line(line: &str) {
    let time = line.strip_prefix("Local time is: ").unwrap_or_else(|| panic!("{line:?}"));
    let time = strtime::parse("%Y-%m-%d %H:%M:%S %:z", time.trim_end()).unwrap();
    assert_now(time.to_timestamp().unwrap().as_second());
}

fn curl(server: &Server, path: &str, flags: &[&str]) -> Option<Outcome> {
    let mut curl = peer("curl")?;
    curl.args(["--silent", "--show-error"]).args(flags).arg(server.url("http", path));
    Some(Running::start(curl, None).outcome().succeeds())
}

#[test]
fn curl_gets_the_time_at_any_path_and_its_address_is_logged() {
    let server = Server::start_listening(&["time://127.0.0.1:0"], &["-v"]);
    let Some(root) = curl(&server, "", &["--include"]) else { return };
    let (head, body) = root.stdout.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
    assert_time_line(body);
    let deep = curl(&server, "any/path?at=all", &[]).unwrap();
    assert_time_line(&deep.stdout);
    let local = curl(&server, "", &["--output", "/dev/null", "--write-out", "%{local_port}"]);
    let local = local.unwrap().stdout;
    server.says(&format!("time sent peer=127.0.0.1:{local} "));
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["served"]["time"], 3, "{summary}");
}

#[test]
fn head_is_answered_without_content_and_nothing_else_is() {
    let server = Server::start_listening(&["time://127.0.0.1:0"], &[]);
    let Some(head) = curl(&server, "x", &["--head"]) else { return };
    assert!(head.stdout.starts_with("HTTP/1.1 200 OK\r\n"), "{}", head.stdout);
    assert!(head.stdout.ends_with("\r\n\r\n"), "{}", head.stdout);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = curl(&server, "x", &["--include", "--request", method]).unwrap().stdout;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
        assert!(server.next_refused()["reason"].as_str().unwrap().starts_with(method));
    }
}

#[test]
fn a_browser_shows_the_time() {
    let Some(mut chromium) = peer("chromium") else { return };
    let server = Server::start_listening(&["time://127.0.0.1:0"], &[]);
    let profile = tempfile::tempdir().unwrap();
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(server.url("http", ""));
    let page = Running::start(chromium, None).outcome().succeeds().stdout;
    let line = page.lines().find_map(|line| line.split_once("Local time is: ")).unwrap();
    assert_time_line(&format!("Local time is: {}", line.1));
}

#[test]
fn other_protocols_are_not_accepted_there() {
    let server = Server::start_listening(&["time://127.0.0.1:0"], &[]);
    let upgrade = upgrade("/", "");
    for (sent, status) in [
        (&b"a raw file\r\n\r\n"[..], "400"),
        (b"ANYPORT/1 PUT x size=1\nxEND\n\r\n\r\n", "400"),
        // A request like any other: RFC 9110 §7.8 lets a server leave the upgrade.
        (upgrade.as_bytes(), "200"),
    ] {
        let answer = converse(&mut connect(server.port()), sent);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        if status != "200" {
            assert_eq!(server.next_refused()["protocol"], "http");
        }
    }
    converse(&mut connect(server.port()), b"GET / HT");
    assert!(server.next_refused()["reason"].as_str().unwrap().contains("inside a request head"));
    assert!(server.names().is_empty());
}

#[test]
fn a_slow_head_is_not_waited_for() {
    let server =
        Server::start_listening(&["time://127.0.0.1:0"], &["--handshake-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let answer = read_text(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.next_refused();
}

#[test]
fn rfc_868_is_four_bytes_and_the_end() {
    let server = Server::start_listening(&["rfc868://127.0.0.1:0"], &[]);
    let mut bytes = Vec::new();
    connect(server.port()).read_to_end(&mut bytes).unwrap();
    let seconds = u32::from_be_bytes(bytes.try_into().unwrap());
    assert_now(i64::from(seconds) - 2_208_988_800);
    // What a client says is not waited for, and costs it nothing.
    let mut stream = connect(server.port());
    stream.write_all(b"what time is it?").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 4);
}

#[test]
fn daytime_is_a_line_and_the_end_by_ipv6_too() {
    let Some(mut nc) = peer("nc") else { return };
    let server = Server::start_listening(&["daytime://127.0.0.1:0"], &[]);
    nc.args(["-d", "127.0.0.1", &server.port().to_string()]);
    let line = Running::start(nc, None).outcome().succeeds().stdout;
    assert_daytime(&line);
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6");
    }
    let server = Server::start_listening(&["daytime://[::1]:0"], &[]);
    assert_daytime(&read_text(&mut TcpStream::connect(server.addresses()[0]).unwrap()));
}

#[track_caller]
fn assert_daytime(line: &str) {
    assert!(line.is_ascii() && line.ends_with("\r\n"), "{line:?}");
    let time = strtime::parse("%A, %B %d, %Y %H:%M:%S %:z", line.trim_end()).unwrap();
    assert_now(time.to_timestamp().unwrap().as_second());
}
