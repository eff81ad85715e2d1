//! Pipes: what one client gives others get while it comes (docs/pipe.md).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http::curl_says;
use anyport_testkit::harness::pipe::{Destination, ask, get, put, started, wait_for_senders};
use anyport_testkit::harness::wire::{connect, converse, read_head, read_line, read_text};
use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, anyport, anyport_with_input, peer, start,
};

/// More than all socket buffers and the pipe's own together.
const LARGE: u64 = 64 * 1024 * 1024;

#[test]
fn pi_1_curl_sends_and_receives_in_either_order() {
    let content = noise(3_000_011, 1);
    let sample = Sample::new("sample", &content);
    let server = Server::start(&["-v"]);
    let url = server.url("http", "pipe/some-key");
    for sender_first in [true, false] {
        let place = Destination::new();
        let give = || started(curl(), &["-T", sample.path(), &url]);
        let take = || started(curl(), &["-D", "-", "-o", &place.path(), &url]);
        let (give, take) = if sender_first {
            let Some(give) = give() else { return };
            wait_for_senders(&server, 1);
            (give, take().unwrap())
        } else {
            let Some(take) = take() else { return };
            (give().unwrap(), take)
        };
        let reported = give.outcome().succeeds().stdout;
        assert!(
            reported.starts_with("3.00 MB in ") && reported.ends_with(" to 1 receiver\n"),
            "{reported}"
        );
        let head = take.outcome().succeeds().stdout;
        for field in [
            "Content-Length: 3000011\r\n",
            "Content-Type: application/octet-stream\r\n",
            "X-Content-Type-Options: nosniff\r\n",
            "Content-Disposition: attachment; filename=\"some-key\"\r\n",
        ] {
            assert!(head.contains(field), "no {field} in {head}");
        }
        place.has(&content);
    }
    assert_eq!(server.names(), [""; 0], "nothing is stored");
}

#[test]
fn pi_2_three_receive_chunks_of_standard_input_and_the_sender_gets_json() {
    let content = noise(2_000_003, 2);
    let server = Server::start(&[]);
    let url = server.url("http", "pipe/größe");
    let url = url.replace("größe", "gr%C3%B6%C3%9Fe");
    let places = [Destination::new(), Destination::new(), Destination::new()];
    let Some(mut give) = curl() else { return };
    give.args([
        "-sS",
        "-T",
        "-",
        "-H",
        "Accept: application/json",
        "-H",
        "Content-Type: text/plain",
    ]);
    let give = Running::start(
        {
            give.arg(format!("{url}?n=3"));
            give
        },
        Some(content.clone()),
    );
    let pipe_receivers: Vec<_> = places
        .iter()
        .map(|place| started(curl(), &["-D", "-", "-o", &place.path(), &url]).unwrap())
        .collect();
    let reported: Value = serde_json::from_str(&give.outcome().succeeds().stdout).unwrap();
    let reported = &reported["piped"];
    assert_eq!(
        (&reported["bytes"], &reported["receivers"]),
        (&2_000_003.into(), &3.into()),
        "{reported}"
    );
    for (pipe_receiver, place) in pipe_receivers.into_iter().zip(&places) {
        let head = pipe_receiver.outcome().succeeds().stdout;
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain\r\n"), "{head}");
        assert!(head.contains("attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe\r\n"), "{head}");
        place.has(&content);
    }
}

#[test]
fn pi_3_nc_sends_and_receives_with_one_typed_line() {
    let content = noise(1_000_003, 3);
    let server = Server::start(&[]);
    let port = server.port().to_string();
    let nc = |input: Vec<u8>| {
        let mut nc = peer("nc")?;
        nc.args(["-N", "127.0.0.1", &port]);
        Some(Running::start(nc, Some(input)))
    };
    let place = Destination::new();
    let url = server.url("http", "pipe/nc");
    let Some(take) = started(curl(), &["-o", &place.path(), &url]) else { return };
    let Some(give) = nc([b"ANYPORT/1 PIPE nc\n", &content[..]].concat()) else { return };
    let reported = give.outcome().succeeds().stdout;
    assert!(reported.starts_with("ANYPORT/1 PIPED bytes=1000003 seconds="), "{reported}");
    assert!(reported.ends_with(" receivers=1\n"), "{reported}");
    take.outcome().succeeds();
    place.has(&content);

    let text = "as text\n".repeat(50_000);
    let sample = Sample::new("sample", text.as_bytes());
    let take = nc(b"ANYPORT/1 TAKE nc\n".to_vec()).unwrap();
    started(curl(), &["-T", sample.path(), &url]).unwrap().outcome().succeeds();
    assert!(take.outcome().succeeds().stdout == text);
}

#[test]
fn pi_4_raw_senders_may_announce_a_size_and_raw_receivers_may_request_it() {
    let server = Server::start(&[]);
    let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE k head\n");
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE k size=5\nhello, and this is not of it");
    assert_eq!(read_line(&mut pipe_receiver), "ANYPORT/1 CONTENT size=5");
    assert_eq!(read_text(&mut pipe_receiver), "hello");
    assert!(read_line(&mut pipe_sender).starts_with("ANYPORT/1 PIPED bytes=5 "));
    // Without a size: content in the same read as the line and its FIN waits for a receiver.
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE k\nin one read");
    pipe_sender.shutdown(Shutdown::Write).unwrap();
    let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE k head\n");
    assert_eq!(read_line(&mut pipe_receiver), "ANYPORT/1 CONTENT");
    assert_eq!(read_text(&mut pipe_receiver), "in one read");
    assert!(read_line(&mut pipe_sender).starts_with("ANYPORT/1 PIPED bytes=11 "));
    // Nothing is something.
    let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE k\n");
    let reported = converse(&mut connect(server.port()), b"ANYPORT/1 PIPE k size=0\n");
    assert!(reported.starts_with("ANYPORT/1 PIPED bytes=0 "), "{reported}");
    assert_eq!(read_text(&mut pipe_receiver), "");
}

/// Lines behind an answer lead where they would have led without it.
#[test]
fn pi_4_a_pipe_may_follow_another_request() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("a"), vec![7; 1000]).unwrap();
    let mut stream = ask(&server, "ANYPORT/1 GET a\nANYPORT/1 PIPE k\nafter a file");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_text(&mut ask(&server, "ANYPORT/1 TAKE k\n")), "after a file");
    assert!(read_text(&mut stream).contains("ANYPORT/1 PIPED bytes=12 "));
    let mut echo = ask(&server, "ANYPORT/1 GET a\nANYPORT/1 ECHO\nback");
    echo.shutdown(Shutdown::Write).unwrap();
    assert!(read_text(&mut echo).ends_with("back"));
}

#[test]
fn pi_5_http_1_0_receives_until_the_close_and_connections_continue() {
    let server = Server::start(&[]);
    let mut old = ask(&server, "GET /pipe/k HTTP/1.0\r\n\r\n");
    let mut pipe_sender = ask(
        &server,
        "POST /pipe/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \
        chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let answer = read_text(&mut old);
    assert!(!answer.contains("Content-Length") && !answer.contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabcde"), "{answer}");
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    assert!(read_line(&mut pipe_sender).starts_with("5 B in "));
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    assert_eq!(read_line(&mut pipe_sender), "ok");
    // A receiver's connection continues too, with pipelined requests.
    let mut pipe_receiver = get(&server, "k");
    pipe_receiver.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut pipe_sender = put(&server, "k", 1);
    pipe_sender.write_all(b"x").unwrap();
    assert!(read_head(&mut pipe_receiver).contains("Content-Length: 1\r\n"));
    pipe_receiver.read_exact(&mut [0]).unwrap();
    assert!(read_head(&mut pipe_receiver).starts_with("HTTP/1.1 200 "));
    assert_eq!(read_line(&mut pipe_receiver), "ok");
}

/// A client that expects 100 Continue gets it when a receiver has connected.
#[test]
fn pi_5_a_waiting_sender_gets_100_continue_when_the_receiver_connects() {
    let server = Server::start(&["-v"]);
    let fields = "Content-Length: 2\r\nExpect: 100-continue";
    let mut pipe_sender =
        ask(&server, &format!("PUT /pipe/k HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
    wait_for_senders(&server, 1);
    pipe_sender.set_nonblocking(true).unwrap();
    assert_eq!(pipe_sender.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    pipe_sender.set_nonblocking(false).unwrap();
    let mut pipe_receiver = get(&server, "k");
    assert_eq!(read_head(&mut pipe_sender), "HTTP/1.1 100 Continue\r\n\r\n");
    pipe_sender.write_all(b"ok").unwrap();
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    assert!(read_head(&mut pipe_receiver).contains("Content-Length: 2\r\n"));
}

/// Writes until the server takes no more; gives how much it took.
fn fill(stream: &mut TcpStream) -> u64 {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let (piece, mut taken) = (vec![7; 256 * 1024], 0);
    loop {
        match stream.write(&piece) {
            Ok(count) => taken += count as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return taken;
            }
        }
        assert!(taken < LARGE, "nothing holds the sender back");
    }
}

#[test]
fn pi_6_a_receiver_that_does_not_read_holds_the_sender_back() {
    let server = Server::start(&[]);
    let (mut fast, mut slow) = (get(&server, "k"), get(&server, "k"));
    let request = "PUT /pipe/k?n=2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    let mut pipe_sender = ask(&server, request);
    let reader = std::thread::spawn(move || std::io::copy(&mut fast, &mut std::io::sink()));
    let taken = fill(&mut pipe_sender);
    // Socket buffers on both ways, and the pipe's own.
    assert!(taken < LARGE / 2, "{taken} bytes were taken");
    // What one reads the other may bring.
    slow.read_exact(&mut vec![0; 8 * 1024 * 1024]).unwrap();
    pipe_sender.write_all(&[7; 1024 * 1024]).unwrap();
    drop(pipe_sender);
    // Neither takes a part for the whole.
    let _ = reader.join().unwrap();
    server.next_refused();
}

#[test]
fn pi_6_300_megabytes_go_through_a_pipe_in_constant_memory() {
    let server = Server::start(&[]);
    let through = |size: u64| {
        let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE k\n");
        let mut pipe_sender = ask(&server, &format!("ANYPORT/1 PIPE k size={size}\n"));
        let sender = std::thread::spawn(move || {
            let piece = vec![7; 1024 * 1024];
            let mut left = size;
            while left > 0 {
                let count = left.min(piece.len() as u64);
                pipe_sender.write_all(&piece[..usize::try_from(count).unwrap()]).unwrap();
                left -= count;
            }
            read_line(&mut pipe_sender)
        });
        let taken = std::io::copy(&mut pipe_receiver, &mut std::io::sink()).unwrap();
        assert_eq!(taken, size);
        assert!(sender.join().unwrap().starts_with("ANYPORT/1 PIPED "));
    };
    // The threads and stacks of a first one do not count.
    through(16 * 1024 * 1024);
    server.forget_peak();
    let before = server.memory();
    through(300 * 1000 * 1000);
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{} KiB", grown / 1024);
}

/// An interrupted sender leaves no receiver with content that looks complete.
#[test]
fn pi_7_a_killed_sender_fails_every_receiver() {
    let sample = Sample::new("sample", &noise(4_000_000, 7));
    let server = Server::start(&[]);
    let url = server.url("http", "pipe/k");
    for known in [true, false] {
        let place = Destination::new();
        let Some(take) = started(curl(), &["-o", &place.path(), &url]) else { return };
        let mut raw = ask(&server, "ANYPORT/1 TAKE k\n");
        let mut old = ask(&server, "GET /pipe/k HTTP/1.0\r\n\r\n");
        let to = format!("{url}?n=3");
        let source = if known { sample.path() } else { "-" };
        let mut give = curl().unwrap();
        give.args(["-sS", "--limit-rate", "1M", "-T", source, &to]);
        let input = (!known).then(|| noise(4_000_000, 7));
        let mut give = Running::start(give, input);
        raw.read_exact(&mut [0; 1000]).unwrap();
        give.kill();
        for (stream, what) in [(&mut raw, "raw"), (&mut old, "HTTP/1.0")] {
            let error = stream.read_to_end(&mut Vec::new()).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
        }
        let Outcome { code, stderr, .. } = take.outcome();
        assert!(matches!(code, Some(18 | 56)), "{code:?} {stderr}");
        server.next_refused();
    }
}

#[test]
fn pi_8_a_killed_receiver_is_missed_and_the_last_one_ends_it() {
    let server = Server::start(&[]);
    let mut goes = get(&server, "k");
    let mut stays = get(&server, "k");
    let mut pipe_sender = ask(
        &server,
        "PUT /pipe/k?n=2 HTTP/1.1\r\nHost: a\r\nContent-Length: 6000000\r\nAccept: \
        application/json\r\n\r\n",
    );
    pipe_sender.write_all(&[7; 1000]).unwrap();
    read_head(&mut goes);
    drop(goes);
    let reader = std::thread::spawn(move || {
        let head = read_head(&mut stays);
        assert!(head.contains("Content-Length: 6000000\r\n"), "{head}");
        let mut content = vec![0; 6_000_000];
        stays.read_exact(&mut content).unwrap();
        assert!(content.iter().all(|byte| *byte == 7));
    });
    pipe_sender.write_all(&vec![7; 5_999_000]).unwrap();
    reader.join().unwrap();
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    let reported: Value = serde_json::from_str(&read_line(&mut pipe_sender)).unwrap();
    assert_eq!(
        (&reported["piped"]["receivers"], &reported["piped"]["gone"]),
        (&1.into(), &1.into())
    );

    // The only receiver leaves: the sender is notified long before it has sent everything.
    let mut pipe_receiver = get(&server, "k");
    let mut pipe_sender = put(&server, "k", 1 << 40);
    pipe_sender.write_all(&[7; 1000]).unwrap();
    read_head(&mut pipe_receiver);
    drop(pipe_receiver);
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 502 "));
    assert_eq!(read_line(&mut pipe_sender), "the receiver of this pipe disconnected");
    assert_eq!(server.next_refused()["reason"], "the receiver of this pipe disconnected");
    let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE k\n");
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE k\nx");
    pipe_receiver.read_exact(&mut [0]).unwrap();
    drop(pipe_receiver);
    pipe_sender.write_all(&[7; 100_000]).unwrap();
    let _ = pipe_sender.write_all(&[7; 100_000]);
    let said = read_line(&mut pipe_sender);
    assert_eq!(said, "ANYPORT/1 ERROR interrupted the receiver of this pipe disconnected");
}

/// Who waits and leaves takes its place with it.
#[test]
fn pi_8_a_client_that_leaves_while_waiting_frees_its_key() {
    let server = Server::start(&["-v"]);
    drop(get(&server, "k"));
    assert_eq!(server.next_refused()["reason"], "the client closed while it waited");
    let mut pipe_sender = put(&server, "http", 10);
    pipe_sender.write_all(b"half").unwrap();
    wait_for_senders(&server, 1);
    drop(pipe_sender);
    assert_eq!(server.next_refused()["reason"], "the client closed while it waited");
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE raw size=10\nhalf");
    wait_for_senders(&server, 2);
    pipe_sender.shutdown(Shutdown::Write).unwrap();
    let error = read_line(&mut pipe_sender);
    assert!(error.contains("ended 6 bytes before the announced size"), "{error}");
    server.next_refused();
    // All of them have gone.
    for key in ["k", "http", "raw"] {
        let mut pipe_receiver = get(&server, key);
        let mut pipe_sender = put(&server, key, 2);
        pipe_sender.write_all(b"ok").unwrap();
        assert!(read_head(&mut pipe_receiver).contains("Content-Length: 2\r\n"));
        assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    }
}

/// Longer than the idle timeout, and within its own limit; both sides get a reason.
#[test]
fn pi_9_a_wait_has_its_own_end() {
    let server = Server::start(&["--idle-timeout", "200ms", "--pipe-wait", "1s"]);
    let started = Instant::now();
    let mut pipe_sender = put(&server, "a?n=2", 10);
    let mut pipe_receiver = get(&server, "a");
    let mut raw_pipe_sender = ask(&server, "ANYPORT/1 PIPE b\n");
    let mut raw_pipe_receiver = ask(&server, "ANYPORT/1 TAKE c\n");
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 504 "));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(
        read_line(&mut pipe_sender).ends_with(" of 2 receivers connected to this pipe within 1s")
    );
    assert!(read_head(&mut pipe_receiver).starts_with("HTTP/1.1 504 "));
    assert!(read_line(&mut pipe_receiver).starts_with("the pipe did not start within 1s"));
    let said = read_text(&mut raw_pipe_sender);
    assert_eq!(said, "ANYPORT/1 ERROR interrupted no receiver connected to this pipe within 1s\n");
    let said = read_text(&mut raw_pipe_receiver);
    assert!(said.starts_with("ANYPORT/1 ERROR interrupted the pipe did not start within 1s"));
    // Once it has begun silence counts as ever.
    let mut pipe_receiver = get(&server, "a");
    let mut pipe_sender = put(&server, "a", 10);
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 408 "));
    read_head(&mut pipe_receiver);
    assert_eq!(pipe_receiver.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn pi_10_invalid_and_surplus_requests_are_refused() {
    let server = Server::start(&["-v", "--max-pipes", "1"]);
    let held = put(&server, "k", 10);
    wait_for_senders(&server, 1);
    let url = server.url("http", "pipe/");
    for (path, status, words) in [
        ("other", 503, "all 1 pipes are in use"),
        ("k%20", 400, "is not allowed in the key of a pipe"),
        ("", 400, "the key of a pipe is empty"),
        (&"x".repeat(129), 400, "is longer than 128 characters"),
    ] {
        let Some((said, found)) = curl_says(&["-s", &format!("{url}{path}")]) else { return };
        assert_eq!(found, status, "{path}: {said}");
        assert!(said.contains(words), "{path}: {said}");
        server.next_refused();
    }
    let mut conflict = put(&server, "k", 0);
    assert!(read_head(&mut conflict).starts_with("HTTP/1.1 409 "));
    assert_eq!(read_line(&mut conflict), "this pipe already has a sender");
    server.next_refused();
    for (request, status) in [
        ("PUT /pipe/k?n=65 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 400),
        ("PUT /pipe/k?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 400),
        ("PUT /pipe/k HTTP/1.1\r\nHost: a\r\n\r\n", 411),
        ("HEAD /pipe/k HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (
            "PUT /pipe/k HTTP/1.1\r\nHost: a\r\nContent-Encoding: \
            gzip\r\nContent-Length: 0\r\n\r\n",
            415,
        ),
        ("PUT /pipe/k HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nContent-Length: 0\r\n\r\n", 403),
        ("GET /pipe/k HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n", 403),
        ("GET /pipe/k HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
    ] {
        let head = read_head(&mut ask(&server, request));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        server.next_refused();
    }
    for (line, words) in [
        ("ANYPORT/1 PIPE k\n", "ANYPORT/1 ERROR exists this pipe already has a sender"),
        ("ANYPORT/1 PIPE other\n", "ANYPORT/1 ERROR busy all 1 pipes are in use"),
        ("ANYPORT/1 TAKE other\n", "ANYPORT/1 ERROR busy all 1 pipes are in use"),
        ("ANYPORT/1 PIPE\n", "ANYPORT/1 ERROR bad-request the PIPE line needs a key"),
        ("ANYPORT/1 TAKE k n=2\n", "ANYPORT/1 ERROR bad-request unknown word \"n=2\""),
    ] {
        let said = converse(&mut connect(server.port()), line.as_bytes());
        assert!(said.starts_with(words), "{said}");
        server.next_refused();
    }
    drop(held);
}

/// A type that a browser would run is not passed on.
#[test]
fn pi_10_content_that_a_browser_would_execute_is_served_as_bytes() {
    let server = Server::start(&[]);
    for (media, passed) in [
        ("image/png", "image/png"),
        ("Multipart/Mixed; boundary=AbC", "Multipart/Mixed; boundary=AbC"),
        ("text/html; charset=utf-8", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
    ] {
        let mut pipe_receiver = get(&server, "k");
        let fields = format!("Content-Type: {media}\r\nContent-Length: 0");
        let request = format!("PUT /pipe/k HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let mut pipe_sender = ask(&server, &request);
        let head = read_head(&mut pipe_receiver);
        assert!(head.contains(&format!("Content-Type: {passed}\r\n")), "{media}: {head}");
        // The key is free for the next one when this is said.
        assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn pi_11_waiting_clients_are_notified_of_a_stop_and_running_pipes_finish() {
    let mut server = Server::start(&["-v"]);
    let mut waits = put(&server, "a", 10);
    let mut raw_waits = ask(&server, "ANYPORT/1 TAKE b\n");
    let mut pipe_receiver = get(&server, "c");
    let mut pipe_sender = put(&server, "c", 4);
    pipe_sender.write_all(b"ab").unwrap();
    read_head(&mut pipe_receiver);
    wait_for_senders(&server, 2);
    server.says_often("pipe receiver connected", 2);
    server.signal("TERM");
    assert!(read_head(&mut waits).starts_with("HTTP/1.1 503 "));
    assert!(read_line(&mut raw_waits).starts_with("ANYPORT/1 ERROR busy the server is stopping"));
    pipe_sender.write_all(b"cd").unwrap();
    let mut content = [0; 4];
    pipe_receiver.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"abcd");
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 200 "));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn pi_12_anyport_sends_and_receives() {
    let content = noise(2_000_003, 12);
    let sample = Sample::new("sample", &content);
    let server = Server::start(&[]);
    let to = format!("127.0.0.1:{}", server.port());
    let place = Destination::new();
    let take = start(&["get", &to, "--pipe", "k", "-o", &place.path()]);
    let give = anyport(&["send", sample.path(), &to, "--pipe", "k", "--json"]).succeeds();
    let reported = &give.json()[0];
    assert_eq!(
        (&reported["bytes"], &reported["receivers"]),
        (&2_000_003.into(), &1.into()),
        "{reported}"
    );
    let said = take.outcome().succeeds().stdout;
    assert!(said.starts_with("received ") && said.contains("2.00 MB"), "{said}");
    place.has(&content);
    // An existing file is kept, and no content is lost.
    let arguments = ["get", &to, "--pipe", "k", "-o", &place.path()];
    anyport(&arguments).exits(1).says("a different file exists there");
    // From standard input to standard output, and to curl.
    let take = start(&["get", &to, "--pipe", "k", "-o", "-"]);
    let Some(other) = started(curl(), &[&server.url("http", "pipe/k")]) else { return };
    let arguments = ["send", "-", &to, "--pipe", "k", "--receivers", "2"];
    let give = anyport_with_input(&arguments, b"hello\n").succeeds();
    assert!(give.stdout.ends_with(" to 2 receivers, no digest\n"), "{give:#?}");
    assert_eq!(take.outcome().succeeds().stdout, "hello\n");
    assert_eq!(other.outcome().succeeds().stdout, "hello\n");
}

#[test]
fn pi_12_failures_are_reported_and_leave_nothing() {
    let server = Server::start(&["-v", "--pipe-wait", "1s"]);
    let to = format!("127.0.0.1:{}", server.port());
    let sample = Sample::new("sample", b"content");
    let place = Destination::new();
    let said = "refused: no receiver connected to this pipe within 1s";
    anyport(&["send", sample.path(), &to, "--pipe", "a"]).exits(6).says(said);
    let said = "refused: the pipe did not start within 1s";
    anyport(&["get", &to, "--pipe", "a", "-o", &place.path()]).exits(6).says(said);
    let _sender = ask(&server, "ANYPORT/1 PIPE b\n");
    wait_for_senders(&server, 2);
    let said = "this pipe already has a sender";
    anyport(&["send", sample.path(), &to, "--pipe", "b"]).exits(4).says(said);
    // An interrupted sender.
    let take = start(&["get", &to, "--pipe", "c", "-o", &place.path()]);
    let mut pipe_sender = ask(&server, "ANYPORT/1 PIPE c size=10\nhalf");
    server.says_often("pipe receiver connected", 2);
    pipe_sender.shutdown(Shutdown::Write).unwrap();
    assert!(read_line(&mut pipe_sender).contains("ended 6 bytes before"));
    take.outcome().exits(6).says("run both commands again");
    place.is_empty();
    // A receiver that goes away in the middle.
    let large = Sample::sparse("large", LARGE);
    let give = start(&["send", large.path(), &to, "--pipe", "d"]);
    let mut pipe_receiver = ask(&server, "ANYPORT/1 TAKE d\n");
    pipe_receiver.read_exact(&mut [0; 1000]).unwrap();
    drop(pipe_receiver);
    give.outcome().exits(6).says("the receiver of this pipe disconnected");
    for (arguments, words) in [
        (&["send", sample.path(), "127.0.0.1:1/x", "--pipe", "a"][..], "without a path"),
        (&["send", sample.path(), "ws://127.0.0.1:1/", "--pipe", "a"], "not supported over ws"),
        (
            &["send", sample.path(), sample.path(), &to, "--pipe", "a"],
            "--pipe sends exactly one file",
        ),
        (&["send", sample.path(), &to, "--pipe", "a/b"], "is not allowed in the key of a pipe"),
        (
            &["send", sample.path(), &to, "--pipe", "a", "--receivers", "65"],
            "expected a number from 1 to 64",
        ),
        (&["get", &to, &to, "--pipe", "a"], "--pipe needs exactly one server"),
    ] {
        anyport(arguments).exits(2).says(words);
    }
}

/// The key is all that keeps others from a pipe.
#[test]
fn pi_17_a_key_is_in_no_log() {
    const KEY: &str = "nobody-guesses-this";
    let server = Server::start(&["-vv", "--pipe-wait", "1s"]);
    let mut pipe_sender = put(&server, &format!("{KEY}?n=2"), 10);
    wait_for_senders(&server, 1);
    let mut pipe_receiver = ask(&server, &format!("ANYPORT/1 TAKE {KEY}\n"));
    let mut reported = Vec::new();
    for (request, status) in [
        (format!("PUT /pipe/{KEY} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), " 409 "),
        (format!("HEAD /pipe/{KEY} HTTP/1.1\r\nHost: a\r\n\r\n"), " 405 "),
        (format!("ANYPORT/1 PIPE {KEY}\n"), " ERROR exists "),
        (format!("ANYPORT/1 TAKE {KEY} more\n"), " ERROR bad-request "),
    ] {
        let said = read_line(&mut ask(&server, &request));
        assert!(said.contains(status), "{said}");
        reported.push(server.next_refused());
    }
    assert!(read_head(&mut pipe_sender).starts_with("HTTP/1.1 504 "));
    assert!(read_text(&mut pipe_receiver).contains("the pipe did not start"));
    server.says("pipe failed pipe=");
    let mut pipe_receiver = get(&server, KEY);
    let mut pipe_sender = put(&server, KEY, 2);
    pipe_sender.write_all(b"ok").unwrap();
    assert!(read_head(&mut pipe_receiver).starts_with("HTTP/1.1 200 "));
    server.says(" piped pipe=");
    drop((pipe_sender, pipe_receiver));
    server.says_often("connection ended", 8);
    let said = server.said();
    let reported = format!("{reported:?}{:?}{said}", server.stop());
    assert!(reported.contains("this pipe") && !reported.contains(KEY), "{reported}");
}
