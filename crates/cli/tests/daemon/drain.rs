//! Draining: who may finish, who is notified, and what is kept for the next attempt.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyport_testkit::noise;

use anyport_testkit::harness::http2::{DATA, Http2Peer};
use anyport_testkit::harness::pipe::wait_for_senders;
use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::tokens::guarded;
use anyport_testkit::harness::wire::{
    connect, converse, read_close, read_frame, read_head, read_line, read_text, websocket,
};
use anyport_testkit::harness::{
    Running, Sample, Server, anyport, anyport_command, blake3, wait_until,
};

/// A transfer of 10 bytes of which 5 have come.
fn half(server: &Server, name: &str) -> TcpStream {
    let mut stream = connect(server.port());
    stream.write_all(format!("ANYPORT/1 PUT {name} size=10\nhello").as_bytes()).unwrap();
    stream
}

/// Row 25 of the fault matrix: each protocol, in the middle of something.
#[test]
fn a_hundred_transfers_and_a_hundred_rooms_end_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let grace = Duration::from_secs(4);
    let flags = ["--drain-timeout", "4s", "--max-conns", "512"];
    let mut server = Server::start_in(scratch.path(), &["127.0.0.1:0"], &flags);
    let transfers: Vec<TcpStream> =
        (0..100).map(|number| half(&server, &format!("t-{number}"))).collect();
    let raw: Vec<TcpStream> =
        (0..50).map(|number| join(&server, &format!("room-{number} as raw"))).collect();
    let ws: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut stream = websocket(server.port(), &format!("/rooms/room-{number}?as=ws"));
            read_frame(&mut stream);
            stream
        })
        .collect();
    let events: Vec<TcpStream> = (0..10)
        .map(|number| {
            let mut stream = connect(server.port());
            write!(stream, "GET /rooms/room-{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
            stream
        })
        .collect();
    wait_until("all parts", || {
        let names = server.names();
        (names.iter().filter(|name| name.ends_with(".part")).count() == 100).then_some(())
    });
    let stopped = Instant::now();
    server.signal("TERM");
    server.says("stopping");
    wait_until("a closed port", || TcpStream::connect(("127.0.0.1", server.port())).err());
    for mut stream in ws {
        let close = std::iter::repeat_with(|| read_frame(&mut stream)).find(|frame| frame.0 == 8);
        let (_, payload) = close.unwrap();
        assert_eq!(payload[..2], 1001_u16.to_be_bytes());
    }
    for mut stream in raw {
        let reported = read_text(&mut stream);
        assert!(reported.contains("the server is stopping"), "{reported:?}");
    }
    for mut stream in events {
        read_text(&mut stream);
    }
    // Half of the transfers continue to their end; the others are stalled.
    let mut transfers = transfers;
    let still: Vec<TcpStream> = transfers.split_off(50);
    for mut stream in transfers {
        let answer = converse(&mut stream, b"worldEND\n");
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
        assert_eq!(server.stored(&server.next_receipt()), b"helloworld");
    }
    for _ in 0..50 {
        let interrupted = server.next_interrupted();
        assert_eq!(interrupted["bytes"], 5, "{interrupted}");
        assert!(interrupted["part"].is_string(), "{interrupted}");
    }
    assert_eq!(server.wait().code(), Some(0));
    let took = stopped.elapsed();
    assert!(took >= grace, "{took:?}: they had {grace:?}");
    let published = server.published();
    assert_eq!(published.len(), 50, "{published:?}");
    drop(still);
}

/// A real sender, whose transfer is too long for the grace period.
#[test]
fn transfers_that_the_grace_period_interrupts_can_be_resumed() {
    let scratch = tempfile::tempdir().unwrap();
    let start =
        || Server::start_in(scratch.path(), &["127.0.0.1:0"], &["--drain-timeout", "200ms"]);
    let content = noise(6_000_000, 25);
    let sample = Sample::new("long.bin", &content);
    let mut server = start();
    let target = format!("127.0.0.1:{}", server.port());
    let flags = ["send", "--retry", "0", "--limit-rate", "1MB", sample.path(), &target];
    let sender = Running::start(anyport_command(&flags), None);
    let part = server.growing_part();
    wait_until("a megabyte", || (std::fs::metadata(&part).ok()?.len() > 1_000_000).then_some(()));
    server.signal("TERM");
    sender.outcome().exits(6);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.published(), Vec::<String>::new());
    let server = start();
    let target = format!("127.0.0.1:{}", server.port());
    anyport(&["send", sample.path(), &target]).succeeds();
    let receipt = server.next_receipt();
    assert_eq!(receipt["digest"], blake3(&content), "{receipt}");
    assert!(receipt["resumed"].as_u64().unwrap_or_default() >= 1_000_000, "{receipt}");
}

/// The status of a path, over a new connection.
fn status(server: &Server, path: &str) -> u16 {
    let mut stream = connect(server.port());
    let host = "balancer.example\r\nConnection: close";
    let asked = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = converse(&mut stream, asked.as_bytes());
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn readiness_fails_first_while_new_clients_are_served() {
    let mut server = Server::start(&["--drain-delay", "10m"]);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(status(&server, path), 200, "{path}");
    }
    server.signal("TERM");
    server.says("stopping: not ready, accepting connections for 600s (--drain-delay)");
    for (path, expected) in [("/livez", 200), ("/readyz", 503), ("/healthz", 503)] {
        assert_eq!(status(&server, path), expected, "{path}");
    }
    let mut http2 = Http2Peer::open(&server, &[]);
    for (stream, path, text) in [(1, "/livez", "ok"), (3, "/readyz", "the server is stopping")] {
        http2.get(stream, path);
        assert_eq!(http2.until(DATA, stream).payload, format!("{text}\n").as_bytes(), "{path}");
    }
    drop(http2);
    server.takes_a_good_file();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "a second signal does not wait for the delay");
}

#[test]
fn the_drain_follows_the_delay() {
    let delay = Duration::from_millis(300);
    let mut server = Server::start(&["--drain-delay", "300ms"]);
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
}

/// Nothing that a restart would not repair.
#[test]
fn live_does_not_depend_on_the_directory_or_a_token() {
    let (server, _tokens) = guarded(&[]);
    std::fs::rename(server.dir(), server.dir().with_extension("away")).unwrap();
    for (path, expected) in [("/livez", 200), ("/readyz", 503), ("/healthz", 503), ("/help", 401)] {
        assert_eq!(status(&server, path), expected, "{path}");
    }
}

/// A load balancer must send no clients, with the status that it understands. Requested after
/// a download, because new connections are not accepted.
#[test]
fn health_is_503_and_live_200_while_draining_and_a_room_is_refused() {
    let content = 64 * 1024 * 1024;
    for asked in ["GET /healthz", "GET /readyz", "GET /rooms/lobby", "HEAD /healthz", "GET /livez"]
    {
        let mut server = Server::start(&[]);
        let file = std::fs::File::create(server.dir().join("big")).unwrap();
        file.set_len(content).unwrap();
        let mut stream = connect(server.port());
        let requests =
            format!("GET /big HTTP/1.1\r\nHost: a\r\n\r\n{asked} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(requests.as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
        server.signal("TERM");
        server.says("stopping");
        let came = std::io::copy(&mut (&mut stream).take(content), &mut std::io::sink()).unwrap();
        assert_eq!(came, content);
        let answer = read_text(&mut stream);
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        if asked.ends_with("/livez") {
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
            assert_eq!(server.wait().code(), Some(0));
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 503 "), "{asked}: {answer:?}");
        assert!(answer.contains("Retry-After: "), "{answer}");
        let words = answer.ends_with("the server is stopping\n");
        assert_eq!(words, asked.starts_with("GET"), "{answer}");
        assert_eq!(server.wait().code(), Some(0));
    }
}

/// One whose head has begun when the server stops gets an answer.
#[test]
fn half_a_request_is_answered_with_503() {
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let control = control.to_str().unwrap();
    let mut server = Server::start(&["--control", control]);
    let mut stream = connect(server.port());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    wait_until("its bytes to be heard", || {
        let status = anyport(&["status", "--json", "--control", control]).succeeds();
        (status.json()[0]["open"]["http1"] == 1).then_some(())
    });
    server.signal("TERM");
    let answer = read_text(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
}

/// A connection that has had a bulk thread is notified there, and not only by the end of the grace
/// period.
#[test]
fn a_client_waiting_for_a_pipe_on_a_bulk_thread_is_notified_immediately() {
    let mut server = Server::start(&["-v", "--drain-timeout", "10m", "--fsync", "none"]);
    let mut stream = connect(server.port());
    let content = noise(4_000_000, 3);
    // After a file, in one stream: the same thread continues.
    let file = "PUT /bulk HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n";
    let pipe = "PUT /pipe/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    stream
        .write_all(&[file.as_bytes(), &content, pipe.as_bytes(), &noise(1000, 4)].concat())
        .unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 201 "));
    server.next_receipt();
    wait_for_senders(&server, 1);
    server.signal("TERM");
    let reported = read_text(&mut stream);
    assert!(
        reported.contains("HTTP/1.1 503 ") && reported.contains("the server is stopping"),
        "{reported}"
    );
    assert_eq!(server.wait().code(), Some(0));
}

/// Datagrams are not answered any more, and their port is free for the next server.
#[test]
fn datagrams_end_with_the_listener() {
    let mut server = Server::start_listening(&["any://127.0.0.1:0", "echo://127.0.0.1:0"], &[]);
    let mut held = half(&server, "held");
    // A connection that has sent nothing when the server stops is closed.
    server.growing_part();
    let echo = server.addresses()[1];
    let mut talking = TcpStream::connect(echo).unwrap();
    talking.write_all(b"x\n").unwrap();
    assert_eq!(read_line(&mut talking), "x");
    server.signal("TERM");
    server.says("stopping");
    let _free = wait_until("a free port", || std::net::UdpSocket::bind(echo).ok());
    assert_eq!(read_text(&mut talking), "", "an echo has nothing to say");
    converse(&mut held, b"worldEND\n");
    server.next_receipt();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_order_to_stop_is_the_first_signal_and_with_now_the_second() {
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let control = control.to_str().unwrap();
    let stop = |more: &[&str]| anyport(&[&["stop", "--control", control], more].concat());
    let mut server = Server::start(&["--control", control, "--drain-timeout", "10m"]);
    let mut echo = websocket(server.port(), "/echo");
    let held = half(&server, "held");
    server.growing_part();
    stop(&[]).succeeds().says("waiting for running transfers");
    assert_eq!(read_close(&mut echo).0, Some(1001));
    let status = anyport(&["status", "--json", "--control", control]).succeeds().json().remove(0);
    assert_eq!((&status["state"], &status["transfers"]), (&"stopping".into(), &1.into()));
    // Asked once more it is no second signal: a script may ask twice.
    stop(&[]).succeeds();
    assert_eq!(read_text(&mut echo), "");
    stop(&["--now", "--wait", "--json"]).succeeds();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.next_interrupted()["name"], "held");
    drop(held);
}

/// Bytes of a raw file are not waited for without end, and a peer that never closes does not delay
/// the exit.
#[test]
fn a_raw_stream_may_end_while_draining() {
    let mut server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(&[0xff; 1000]).unwrap();
    server.growing_part();
    server.signal("TERM");
    server.says("stopping");
    stream.write_all(&[0xfe; 1000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_text(&mut stream).starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(server.next_receipt()["bytes"], 2000);
    assert_eq!(server.wait().code(), Some(0));
}

/// Who waits in the middle of a pipe waits without working, among the tasks and on a thread of its
/// own.
#[test]
fn a_receiver_waiting_for_content_costs_nothing_while_draining() {
    let mut server = Server::start(&["--drain-timeout", "10m"]);
    let mut raw = connect(server.port());
    raw.write_all(b"ANYPORT/1 TAKE k\n").unwrap();
    let mut chunked = connect(server.port());
    chunked.write_all(b"GET /pipe/k HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut pipe_sender = connect(server.port());
    // Enough for a thread of its own.
    let content = noise(2_000_000, 5);
    pipe_sender.write_all(b"ANYPORT/1 PIPE k n=2\n").unwrap();
    let reader = std::thread::spawn(move || {
        let head = read_head(&mut chunked);
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        read_text(&mut chunked)
    });
    let sent = content.clone();
    let writer = std::thread::spawn(move || {
        pipe_sender.write_all(&sent).unwrap();
        pipe_sender
    });
    let mut taken = vec![0; content.len()];
    raw.read_exact(&mut taken).unwrap();
    let mut pipe_sender = writer.join().unwrap();
    server.signal("TERM");
    server.says("stopping");
    // Not how fast it is, but how much it does: a loop that spins takes a processor.
    let before = server.processor_time();
    std::thread::sleep(Duration::from_secs(1)); // CPU time: load of the machine does not count
    let busy = server.processor_time() - before;
    assert!(busy < Duration::from_millis(250), "{busy:?} of a second");
    pipe_sender.write_all(b"rest").unwrap();
    pipe_sender.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_text(&mut raw), "rest");
    assert!(reader.join().unwrap().ends_with("4\r\nrest\r\n0\r\n\r\n"));
    assert!(read_line(&mut pipe_sender).starts_with("ANYPORT/1 PIPED bytes=2000004 "));
    assert_eq!(server.wait().code(), Some(0));
}
