//! The SYN that a server reports to a traced command, over each scheme.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyport_testkit::harness::traces::trace;
use anyport_testkit::harness::{Outcome, Sample, Server, anyport, anyport_with_input};
use anyport_testkit::noise;
use serde_json::Value;

const PROXIED: &str = "the server received the SYN of a proxy";

/// Returns the SYNs and the notes of a trace.
#[track_caller]
fn reported(trace: &[Value]) -> (Vec<Value>, String) {
    let of = |name: &'static str| trace.iter().filter(move |event| event["event"] == name);
    let notes = of("note").map(|note| note["text"].as_str().unwrap().to_owned());
    (of("syn").cloned().collect(), notes.collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn has_its_syn(trace: &[Value], about: &str) {
    let (syns, notes) = reported(trace);
    let [syn] = &syns[..] else { panic!("{about}: {syns:?} {notes}") };
    let connected = trace.iter().find(|event| event["event"] == "connected").unwrap();
    let port = |address: &Value| address.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    assert_eq!(port(&syn["source"]), port(&connected["local"]), "{about}");
    assert_eq!(port(&syn["destination"]), port(&connected["peer"]), "{about}");
}

fn sends(url: &str, flags: &[&str], sample: &Sample) -> Outcome {
    let send = ["trace", "--json", "send", "-k", "--on-exists", "rename", "--no-times"];
    let http = ["trace", "--json", "send", "-k", "--no-times"];
    let send = if url.starts_with("http") { &http[..] } else { &send };
    anyport(&[send, flags, &[sample.path(), url]].concat()).succeeds()
}

#[test]
fn each_scheme_reports_it_to_uploads_and_downloads() {
    let server = Server::start(&[]);
    // The kernel keeps the SYN of connections that begin after the server has its socket.
    std::fs::write(server.dir().join("known"), noise(100_000, 1)).unwrap();
    for scheme in ["tcp", "tls", "ws", "wss", "frames", "http", "https"] {
        let sample = Sample::new(scheme, &noise(2_000_000, 1));
        has_its_syn(&trace(&sends(&server.url(scheme, ""), &[], &sample)), scheme);
        let here = tempfile::tempdir().unwrap();
        let (to, url) = (here.path().join("x"), server.url(scheme, "known"));
        let get = ["trace", "--json", "get", "-k", "-o", to.to_str().unwrap(), &url];
        has_its_syn(&trace(&anyport(&get).succeeds()), &format!("get over {scheme}"));
    }
    let sample = Sample::new("library", b"content");
    let library = anyport(&[
        "trace",
        "--json",
        "send",
        "--engine",
        "library",
        sample.path(),
        &server.url("ws", ""),
    ]);
    has_its_syn(&trace(&library.succeeds()), "library");
    let cat = ["trace", "--json", "cat", &server.url("frames", "")];
    let cat = anyport_with_input(&cat, b"{\"list\":{}}\n").succeeds();
    assert!(cat.stderr.contains(r#""event":"syn""#), "{cat:?}");
}

#[test]
fn behind_a_proxy_no_other_syn_is_shown_as_that_of_the_client() {
    let server = Server::start(&["--proxy-protocol-from", "127.0.0.1"]);
    for scheme in ["tcp", "tls", "ws", "frames", "http", "https"] {
        for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"[..], b"PROXY UNKNOWN\r\n"] {
            let proxy = proxy(server.port(), header);
            let sample = Sample::new(scheme, &noise(100_000, 1));
            let url = format!("{scheme}://127.0.0.1:{proxy}/");
            let (syns, notes) = reported(&trace(&sends(&url, &[], &sample)));
            assert_eq!(syns, [Value::Null; 0], "{scheme}");
            assert!(notes.contains(PROXIED), "{scheme}: {notes}");
        }
    }
}

/// Returns the port of a proxy that sends `header` before what each client sends.
fn proxy(to: u16, header: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)));
            let server = server.as_mut().unwrap();
            server.write_all(header).unwrap();
            let pass = |mut from: TcpStream, mut into: TcpStream| {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Write);
                })
            };
            pass(client.try_clone().unwrap(), server.try_clone().unwrap());
            pass(server.try_clone().unwrap(), client);
        }
    });
    port
}

/// A server of the time before the request, which refuses unknown ones and logs that.
#[test]
fn a_server_that_reports_no_syn_is_not_asked_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut input, mut piece) = (String::new(), [0; 4096]);
        loop {
            let count = socket.read(&mut piece).unwrap();
            if count == 0 {
                return input;
            }
            let before = input.len();
            input.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            let mut reply = |line: &str| socket.write_all(line.as_bytes()).unwrap();
            if input[before..].contains("END") {
                reply(
                    "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:1 bytes=7 \
                     seconds=0.1 end=size outcome=stored confirmed=true path=x\n",
                );
            } else if input[before..].contains("HELP") {
                reply("ANYPORT/1 HELP PUT NAME [size=BYTES] | TIME | HELP; more: curl\n");
            }
        }
    });
    let sample = Sample::new("x", b"content");
    let send = ["trace", "--json", "send", "--digest", "none", sample.path(), &url];
    let (syns, notes) = reported(&trace(&anyport(&send).succeeds()));
    assert_eq!(syns, [Value::Null; 0]);
    assert_eq!(notes.matches("the server does not report the SYN").count(), 1, "{notes}");
    let input = server.join().unwrap();
    assert!(input.contains("ANYPORT/1 HELP\n") && !input.contains("SYN"), "{input}");
    // Third-party servers of bare frames and WebSocket answer the ping as any other.
    let echo = Server::start(&["--only", "ws"]);
    let cat = ["trace", "--json", "cat", &echo.url("ws", "echo")];
    assert_eq!(anyport_with_input(&cat, b"hello\n").succeeds().stdout, "hello\n");
}
