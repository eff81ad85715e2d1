//! How a trace ends with a command that does not complete: how it ended, what limited it until
//! then, and which outputs there are.

use std::io::{Write, pipe};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyport_testkit::harness::tokens::both;
use anyport_testkit::harness::traces::{follow, trace};
use anyport_testkit::harness::wire::read_line;
use anyport_testkit::harness::{
    DEADLINE, Outcome, Running, Sample, Server, anyport, anyport_command, peer, signal, skip,
    start, wait_until,
};
use anyport_testkit::noise;
use serde_json::Value;

/// Schemes, and the flags that their clients need here.
const SCHEMES: [(&str, &[&str]); 4] =
    [("tcp", &[]), ("ws", &[]), ("http", &[]), ("https", &["-k"])];

/// Returns the diagnosis, which has no unknown limit if it says that something was measured.
#[track_caller]
fn diagnosis(outcome: &Outcome) -> Value {
    let diagnosis = trace(outcome).pop().unwrap();
    assert!(!diagnosis["evidence"].as_array().unwrap().is_empty(), "{diagnosis}");
    diagnosis
}

#[track_caller]
fn says(diagnosis: &Value, words: &str) {
    let evidence = diagnosis["evidence"].as_array().unwrap().iter();
    let mut texts = evidence.map(|text| text.as_str().unwrap());
    assert!(texts.any(|text| text.contains(words)), "no {words:?} in {diagnosis}");
}

#[test]
fn a_refusal_has_the_words_of_the_server() {
    let server = Server::start(&["--read-only"]);
    let sample = Sample::new("x", &noise(3_000_000, 1));
    for (scheme, flags) in SCHEMES {
        let url = server.url(scheme, "");
        let send = [&["trace", "--json", "send", sample.path(), &url], flags].concat();
        let refused = anyport(&send).exits(4);
        let diagnosis = diagnosis(&refused);
        assert_eq!(diagnosis["ended"], "refused", "{scheme}: {diagnosis}");
        says(&diagnosis, "refused");
        // The first evidence is the error.
        let first = diagnosis["evidence"][0].as_str().unwrap();
        assert!(refused.stderr.contains(first), "{scheme}: {refused:?}");
        // Of several files the command says only how many were not sent.
        let other = Sample::new("y", b"y");
        let send = [&["trace", "--json", "send", sample.path(), other.path(), &url], flags];
        let refused = anyport(&send.concat()).exits(4);
        let failed: Vec<_> =
            trace(&refused).into_iter().filter(|event| event["event"] == "failed").collect();
        let is_explained = |event: &Value| event["text"].as_str().unwrap().contains("refused");
        assert!(failed.iter().any(is_explained), "{scheme}: {failed:?}");
    }
    let text = anyport(&["trace", "send", sample.path(), &server.url("tcp", "")]).exits(4);
    assert!(text.stdout.contains("Did not complete: the server refused."), "{text:?}");
}

/// Nothing was sent in the room, and no receiver read from the pipe.
#[test]
fn a_refusal_at_the_door_of_a_room_or_a_pipe_has_no_limit() {
    let tokens = both();
    let server = Server::start(&["--token-file", tokens.path()]);
    let (tcp, sample) = (server.url("tcp", ""), Sample::new("x", &noise(3_000_000, 1)));
    let [lines, messages] = ["tcp", "ws"].map(|scheme| server.url(scheme, "rooms/lobby"));
    for command in [
        &["chat", "--as", "ann", &lines][..],
        &["chat", "--as", "ann", &messages],
        &["send", "--pipe", "key", sample.path(), &tcp],
        &["get", "--pipe", "key", "-o", "-", &tcp],
    ] {
        let refused = anyport(&[&["trace", "--json"], command].concat()).exits(4);
        let mut output = refused.stdout.lines().chain(refused.stderr.lines());
        let last = output.rfind(|line| line.contains(r#""event":"diagnosis""#)).unwrap();
        let diagnosis: Value = serde_json::from_str(last).unwrap();
        assert_eq!(diagnosis["ended"], "refused", "{command:?}: {diagnosis}");
        assert_eq!(diagnosis["main"], "unknown", "{command:?}: {diagnosis}");
        says(&diagnosis, "token");
    }
    // Most of the time was a wait for the refusal.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let room = format!("tcp://{}/rooms/lobby", slow.local_addr().unwrap());
    let refuses = std::thread::spawn(move || {
        let mut stream = slow.accept().unwrap().0;
        assert!(read_line(&mut stream).starts_with("ANYPORT/1 JOIN lobby"));
        std::thread::sleep(Duration::from_millis(300));
        stream.write_all(b"ANYPORT/1 ERROR busy the room is full\n").unwrap();
    });
    let refused = anyport(&["trace", "--json", "chat", "--as", "ann", &room]).exits(4);
    refuses.join().unwrap();
    let last = refused.stderr.lines().rfind(|line| line.contains("diagnosis")).unwrap();
    assert!(last.contains(r#""main":"unknown","ended":"refused""#), "{last}");
}

#[test]
fn a_lost_connection_has_its_bytes_and_the_limit_until_then() {
    let sample = Sample::new("x", &noise(8_000_000, 1));
    for (scheme, flags) in SCHEMES {
        let mut server = Server::start(&[]);
        let url = server.url(scheme, "");
        let send = ["trace", "--json", "send", "--limit-rate", "1MB", "--retry", "0"];
        let send = start(&[&send, flags, &[sample.path(), &url]].concat());
        wait_until("a second of content", || {
            (server.growing_part().metadata().ok()?.len() > 1_000_000).then_some(())
        });
        server.kill();
        let lost = send.outcome().exits(6);
        let diagnosis = diagnosis(&lost);
        assert_eq!(diagnosis["ended"], "lost", "{scheme}: {diagnosis}");
        assert_eq!(diagnosis["main"], "rate-limit", "{scheme}: {diagnosis}");
        says(&diagnosis, "lost after ");
    }
}

#[test]
fn a_lost_download_has_its_bytes_and_the_limit_until_then() {
    for (scheme, flags) in SCHEMES {
        let mut server = Server::start(&[]);
        std::fs::write(server.dir().join("x"), noise(8_000_000, 1)).unwrap();
        let url = server.url(scheme, "x");
        let here = tempfile::tempdir().unwrap();
        let to = here.path().join("x");
        let to = to.to_str().unwrap();
        let get = ["trace", "--json", "get", "--limit-rate", "1MB", "--retry", "0", "-o", to];
        let get = start(&[&get, flags, &[&url]].concat());
        wait_until("a second of content", || {
            let mut entries = std::fs::read_dir(here.path()).unwrap();
            let is_long = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.unwrap().metadata().is_ok_and(|metadata| metadata.len() > 1_000_000)
            };
            entries.any(is_long).then_some(())
        });
        server.kill();
        let diagnosis = diagnosis(&get.outcome().exits(6));
        assert_eq!(diagnosis["ended"], "lost", "{scheme}: {diagnosis}");
        assert_eq!(diagnosis["main"], "rate-limit", "{scheme}: {diagnosis}");
        says(&diagnosis, "of content");
    }
}

/// A server that accepts, and never answers.
#[test]
fn an_expired_time_limit_is_no_lost_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let sample = Sample::new("x", &noise(100_000, 1));
    for (scheme, _) in &SCHEMES[..3] {
        let url = format!("{scheme}://{address}/");
        let limits = ["--timeout", "1s", "--connect-timeout", "1s", "--retry", "0"];
        let send = [&["trace", "--json", "send"], &limits[..], &[sample.path(), &url]].concat();
        let diagnosis = diagnosis(&anyport(&send).exits(6));
        assert_eq!(diagnosis["ended"], "timed-out", "{scheme}: {diagnosis}");
        says(&diagnosis, "too long");
    }
    // Content was sent, and the receiver does not reply.
    let url = format!("tcp://{address}");
    let send = ["trace", "--json", "send", "--no-resume", "--timeout", "1s", "--retry", "0"];
    let send = anyport(&[&send, &[sample.path(), &*url][..]].concat()).exits(6);
    assert_eq!(diagnosis(&send)["main"], "receiver", "{send:?}");
}

#[test]
fn without_a_connection_the_reason_is_the_evidence() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sample = Sample::new("x", b"content");
    for scheme in ["tcp", "ws", "http"] {
        let url = format!("{scheme}://127.0.0.1:{port}");
        let diagnosis =
            diagnosis(&anyport(&["trace", "--json", "send", sample.path(), &url]).exits(3));
        assert_eq!(diagnosis["ended"], "unreachable", "{diagnosis}");
        assert_eq!(diagnosis["main"], "unknown", "{diagnosis}");
        says(&diagnosis, "refused");
        says(&diagnosis, "no content was transferred");
    }
    let server = Server::start(&[]);
    let url = server.url("tls", "");
    let pin = format!("sha256:{}", "0".repeat(64));
    let send = ["trace", "--json", "send", "--pin", &pin, sample.path(), &url];
    let untrusted = anyport(&send).exits(7);
    assert_eq!(diagnosis(&untrusted)["ended"], "untrusted", "{untrusted:?}");
}

/// Waits until an upload that is limited to 1 MB/s has a part.
fn sending(server: &Server, flags: &[&str], sample: &Sample, scheme: &str) -> Command {
    let url = server.url(scheme, "");
    let send = ["send", "-k", "--limit-rate", "1MB", "--no-resume", sample.path(), &url];
    anyport_command(&[flags, &send[..]].concat())
}

#[test]
fn after_each_signal_all_outputs_are_complete_and_the_end_is_that_of_the_command() {
    let sample = Sample::new("x", &noise(8_000_000, 1));
    let here = tempfile::tempdir().unwrap();
    let path = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    for (scheme, name, code) in [
        ("tcp", "INT", Some(130)),
        ("tcp", "TERM", None),
        ("tcp", "HUP", None),
        ("ws", "INT", Some(130)),
        ("ws", "TERM", None),
        ("http", "INT", Some(130)),
        ("https", "HUP", None),
    ] {
        let [saved, svg, html, pcap] = ["save", "svg", "html", "pcap"].map(path);
        let mut flags = vec!["trace", "--json", "--save", &saved, "--svg", &svg, "--html", &html];
        let captures = captures(&pcap);
        if captures {
            flags.extend(["--pcap", &pcap]);
        }
        for is_traced in [true, false] {
            let server = Server::start(&[]);
            let flags = if is_traced { &flags[..] } else { &[] };
            let send = Running::start(sending(&server, flags, &sample, scheme), None);
            wait_until("content", || {
                (server.growing_part().metadata().ok()?.len() > 500_000).then_some(())
            });
            signal(name, send.id());
            let ended = send.outcome();
            assert_eq!(ended.code, code, "{scheme} {name} {is_traced}: {ended:?}");
            if !is_traced {
                continue;
            }
            let diagnosis = diagnosis(&ended);
            assert_eq!(diagnosis["ended"], "interrupted", "{scheme} {name}: {diagnosis}");
            assert_eq!(diagnosis["main"], "rate-limit", "{scheme} {name}: {diagnosis}");
            says(&diagnosis, &format!("interrupted by SIG{name}"));
            says(&diagnosis, "bytes of content before");
            let text = std::fs::read_to_string(&saved).unwrap();
            assert!(ended.stdout.ends_with(&text), "{scheme} {name}: {ended:?}");
            assert!(std::fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"), "{svg}");
            assert!(std::fs::read_to_string(&html).unwrap().contains("</html>"), "{html}");
            if captures {
                is_read_by_tshark(&pcap);
            }
        }
    }
}

/// Returns whether packets may be captured here.
fn captures(pcap: &str) -> bool {
    let probe = anyport(&["trace", "--pcap", pcap, "cat", "tcp://127.0.0.1:1"]);
    let is_permitted = !probe.stderr.contains("CAP_NET_RAW");
    if !is_permitted {
        skip("no CAP_NET_RAW");
    }
    is_permitted
}

/// A file that is cut is read up to there, with an error.
fn is_read_by_tshark(pcap: &str) {
    let Some(mut tshark) = peer("tshark") else { return };
    let read = tshark.args(["-r", pcap, "-Y", "tcp.len > 0"]).output().unwrap();
    let (packets, error) =
        (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success() && !error.contains("cut short"), "{error}");
    assert!(packets.lines().count() > 3, "{packets}\n{error}");
}

/// The first signal waits for the reader of the output.
#[test]
fn a_second_signal_ends_the_command_immediately() {
    let sample = Sample::new("x", &noise(8_000_000, 1));
    for name in ["INT", "TERM"] {
        let server = Server::start(&[]);
        // A pipe that is full, without a reader.
        let (_reader, mut writer) = pipe().unwrap();
        writer.write_all(&[b'x'; 65536]).unwrap();
        let here = tempfile::tempdir().unwrap();
        let saved = here.path().join("trace");
        let flags = ["trace", "--json", "--save", saved.to_str().unwrap()];
        let mut command = sending(&server, &flags, &sample, "tcp");
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        let mut send = command.spawn().unwrap();
        server.growing_part();
        signal(name, send.id());
        // Files are written before stdout.
        wait_until("the saved trace", || {
            let text = std::fs::read_to_string(&saved).unwrap();
            (text.contains(r#""event":"diagnosis""#) && text.ends_with('\n')).then_some(())
        });
        assert_eq!(send.try_wait().unwrap(), None, "{name}: the output waits for its reader");
        let again = Instant::now();
        signal(name, send.id());
        let status = wait_until("the end", || send.try_wait().unwrap());
        assert!(again.elapsed() < DEADLINE / 2, "{name}");
        assert_eq!(status.code(), (name == "INT").then_some(130), "{status:?}");
    }
}

/// Mistakes in the command line, and files that are missing.
#[test]
fn a_command_that_does_not_connect_has_its_own_error_and_no_trace() {
    let server = Server::start(&[]);
    let (url, sample) = (server.url("tcp", ""), Sample::new("x", b"content"));
    let here = tempfile::tempdir().unwrap();
    let path = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    let (new, old) = (path("new"), path("old"));
    for (words, code) in [
        (&["send"][..], 2),
        (&["send", "--no-such-flag", sample.path(), &url], 2),
        (&["send", "/does/not/exist", &url], 1),
        (&["send", "--json", "/does/not/exist", &url], 1),
        (&["send", "/does/not/exist", "/neither/does/this", &url], 1),
        (&["send", sample.path(), "ftp://127.0.0.1/"], 2),
        (&["send", sample.path(), "8331", "8332"], 2),
        (&["get"], 2),
        (&["get", "-o", "/does/not/exist/x", "http://127.0.0.1:1/a", "http://127.0.0.1:1/b"], 2),
        (&["cat"], 2),
        (&["chat", "http://127.0.0.1:1"], 2),
    ] {
        let plain = anyport(words).exits(code);
        std::fs::write(&old, "old").unwrap();
        for flags in [
            &["trace"][..],
            &["trace", "--save", &new, "--html", &old],
            &["trace", "--svg", &new, "--save", &old],
        ] {
            let traced = anyport(&[flags, words].concat()).exits(code);
            assert_eq!(traced.stdout, plain.stdout, "{words:?}");
            let error = plain.stderr.lines().next().unwrap();
            assert_eq!(traced.stderr.lines().next(), Some(error), "{words:?}");
            assert!(!Path::new(&new).exists(), "{words:?}");
            assert_eq!(std::fs::read_to_string(&old).unwrap(), "old", "{words:?}");
        }
    }
    // A name that does not resolve is a failed connection.
    let missing = ["trace", "--json", "send", sample.path(), "does-not-exist.invalid"];
    let missing = anyport(&missing).exits(3);
    follow(&trace(&missing), &["failed", "diagnosis"]);
    assert_eq!(server.stop(), [Value::Null; 0], "nothing was sent");
}

/// It is neither a refusal nor an error of this machine.
#[test]
fn the_answer_of_another_server_is_unexpected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        std::io::copy(&mut client, &mut std::io::sink()).unwrap();
    });
    let sample = Sample::new("x", b"content");
    let url = format!("tcp://{address}");
    let send = anyport(&["trace", "--json", "send", sample.path(), &url]).exits(1);
    let diagnosis = diagnosis(&send);
    assert_eq!(diagnosis["ended"], "unexpected", "{diagnosis}");
    says(&diagnosis, "400 Bad Request");
    server.join().unwrap();
}
