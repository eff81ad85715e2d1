//! One process for many clients: in a row, at once, starting and stopping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::announcement;
use anyport_testkit::harness::wire::{
    BINARY, TEXT, announced, close_frame, connect, converse, frame, read_close, read_frame,
    read_line, read_text, websocket,
};
use anyport_testkit::harness::{
    Expected, Running, Sample, Server, anyport, blake3, engines, program, skip, start,
};

#[test]
fn raw_ws_frames_and_ws_follow_each_other_over_one_process() {
    let server = Server::start(&[]);
    let content = noise(1_000_000, 7);
    let sample = Sample::new("s.bin", &content);
    for _ in 0..3 {
        for (scheme, protocol) in [("tcp", "raw"), ("ws", "ws"), ("frames", "frames"), ("ws", "ws")]
        {
            let url = server.url(scheme, "");
            anyport(&["send", "--on-exists", "rename", sample.path(), &url]).succeeds();
            let expected = Expected { protocol, engine: "own", end: "size", content: &content };
            expected.check(&server, &server.next_receipt());
        }
    }
    assert_eq!(server.names(), server.published());
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn twenty_clients_at_once_are_all_whole() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let samples: Vec<(Sample, Vec<u8>)> = (0..20)
            .map(|i| {
                let content = noise(600_000 + i * 1009, i as u64);
                (Sample::new(&format!("{i}.bin"), &content), content)
            })
            .collect();
        let ways: [(&str, &[&str]); 4] =
            [("tcp", &[]), ("ws", &[]), ("frames", &[]), ("ws", &["--engine", "library"])];
        let senders: Vec<Running> = samples
            .iter()
            .zip(ways.iter().cycle())
            .map(|((sample, _), (scheme, flags))| {
                let url = server.url(scheme, "");
                start(&[&["send"], *flags, &[sample.path(), url.as_str()]].concat())
            })
            .collect();
        for sender in senders {
            sender.outcome().succeeds();
        }
        for _ in 0..20 {
            server.next_receipt();
        }
        for (i, (_, content)) in samples.iter().enumerate() {
            let stored = std::fs::read(server.dir().join(format!("{i}.bin"))).unwrap();
            assert_eq!(blake3(&stored), blake3(content), "{i}.bin");
        }
        assert_eq!(server.names().len(), 20);
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

/// With one thread for bulk transfers the others go among the tasks of the runtime; none waits for
/// another.
#[test]
fn more_transfers_than_bulk_threads_run_side_by_side() {
    let server = Server::start(&["--bulk-threads", "1"]);
    let content = noise(8 * 1024 * 1024, 3);
    let (first, rest) = content.split_at(4 * 1024 * 1024);
    let mut raw = connect(server.port());
    raw.write_all(format!("ANYPORT/1 PUT raw.bin size={}\n", content.len()).as_bytes()).unwrap();
    raw.write_all(first).unwrap();
    let mut ws = websocket(server.port(), "/files/ws.bin");
    ws.write_all(&frame(BINARY, first)).unwrap();
    let mut frames = connect(server.port());
    frames.write_all(&frame(BINARY, first)).unwrap();

    // All three stand in the middle; each can be finished before the others, in any order.
    frames.write_all(&frame(BINARY, rest)).unwrap();
    frames.shutdown(Shutdown::Write).unwrap();
    let expected = |protocol, end| Expected { protocol, engine: "own", end, content: &content };
    expected("frames", "fin").check(&server, &server.next_receipt());
    ws.write_all(&[frame(BINARY, rest), close_frame(1000, "")].concat()).unwrap();
    assert_eq!(read_close(&mut ws).0, Some(1000));
    expected("ws", "close").check(&server, &server.next_receipt());
    converse(&mut raw, &[rest, b"END\n"].concat());
    expected("raw", "size").check(&server, &server.next_receipt());
}

#[test]
fn without_bulk_threads_large_files_still_arrive() {
    let server = Server::start(&["--bulk-threads", "0"]);
    let content = noise(8 * 1024 * 1024, 3);
    let sample = Sample::new("x", &content);
    for (scheme, protocol) in [("tcp", "raw"), ("ws", "ws"), ("frames", "frames")] {
        let url = server.url(scheme, "");
        anyport(&["send", "--on-exists", "rename", sample.path(), &url]).succeeds();
        let expected = Expected { protocol, engine: "own", end: "size", content: &content };
        expected.check(&server, &server.next_receipt());
    }
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let server = Server::start(&["--max-conns", "1"]);
    let mut first = connect(server.port());
    first.write_all(b"ANYPORT/1 PUT first size=4\nfi").unwrap();
    server.growing_part();
    let mut second = connect(server.port());
    second.write_all(b"ANYPORT/1 PUT second size=6\nsecondEND\n").unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    converse(&mut first, b"rsEND\n");
    assert_eq!(server.next_receipt()["path"], "first");
    read_text(&mut second);
    assert_eq!(server.next_receipt()["path"], "second");
}

/// A raw transfer that has brought `first` of `size` bytes, and nothing more yet.
fn half_a_transfer(server: &Server, size: usize, first: &[u8]) -> TcpStream {
    let mut stream = connect(server.port());
    stream.write_all(format!("ANYPORT/1 PUT half.bin size={size}\n").as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    let part = server.growing_part();
    anyport_testkit::harness::wait_until("all that was sent", || {
        (std::fs::metadata(&part).unwrap().len() == first.len() as u64).then_some(())
    });
    stream
}

/// The first is a transfer among the tasks of the runtime, the second one on a thread of its own.
const BEFORE_AND_AFTER_THE_THREAD: [usize; 2] = [20_000, 4_000_000];

#[test]
fn a_running_transfer_may_finish_when_the_server_stops() {
    for size in BEFORE_AND_AFTER_THE_THREAD {
        let mut server = Server::start(&[]);
        let content = noise(size, 1);
        let (first, rest) = content.split_at(size / 2);
        let mut stream = half_a_transfer(&server, size, first);
        server.signal("TERM");
        server.says("stopping");
        let answer = converse(&mut stream, &[rest, b"END\n"].concat());
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
        let receipt = server.next_receipt();
        let expected = Expected { protocol: "raw", engine: "own", end: "size", content: &content };
        expected.check(&server, &receipt);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn nothing_new_is_accepted_while_stopping() {
    let mut server = Server::start(&[]);
    let unclassified = connect(server.port());
    let mut running = half_a_transfer(&server, 10, b"hello");
    server.signal("INT");
    server.says("stopping");
    // One that has not said what it wants is not waited for.
    assert_eq!(read_text(&mut { unclassified }), "");
    anyport_testkit::harness::wait_until("a closed port", || {
        TcpStream::connect(("127.0.0.1", server.port())).err()
    });
    converse(&mut running, b"worldEND\n");
    assert_eq!(server.next_receipt()["bytes"], 10);
    assert_eq!(server.wait().code(), Some(130), "Ctrl-C");
}

#[test]
fn a_transfer_beyond_the_drain_time_is_interrupted() {
    for size in BEFORE_AND_AFTER_THE_THREAD {
        let mut server = Server::start(&["--drain-timeout", "300ms"]);
        let stream = half_a_transfer(&server, size, &noise(size / 2, 1));
        server.signal("TERM");
        assert_eq!(server.next_interrupted()["bytes"], size / 2);
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(server.published(), Vec::<String>::new());
        drop(stream);
    }
}

/// An abort shuts the socket, and that must not look like the FIN that ends a raw file.
#[test]
fn an_aborted_raw_transfer_publishes_nothing() {
    for size in BEFORE_AND_AFTER_THE_THREAD {
        let mut server = Server::start(&["--drain-timeout", "300ms"]);
        let mut stream = connect(server.port());
        stream.write_all(&noise(size, 1)).unwrap();
        server.growing_part();
        server.signal("TERM");
        let event = server.next_interrupted();
        assert_eq!((&event["protocol"], &event["bytes"]), (&"raw".into(), &size.into()), "{event}");
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(server.published(), Vec::<String>::new());
    }
}

/// Connections between two files, and echoes between two messages, are notified and not waited for.
#[test]
fn idle_sessions_are_notified_that_the_server_stops() {
    let mut server = Server::start(&[]);
    let mut echo = websocket(server.port(), "/echo");
    let mut upload = announced(server.port());
    let mut preface = connect(server.port());
    preface.write_all(b"ANYPORT/1 PUT x size=1\n1END\n").unwrap();
    assert!(read_line(&mut preface).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    server.signal("TERM");
    assert_eq!(read_close(&mut echo).0, Some(1001));
    assert_eq!(read_close(&mut upload).0, Some(1001));
    assert_eq!(read_line(&mut preface), "ANYPORT/1 ERROR busy the server is stopping");
    drop((echo, upload, preface));
    assert_eq!(server.wait().code(), Some(0));
}

/// A sender that never pauses must not keep the others of its thread from running.
#[test]
fn endless_senders_among_the_tasks_do_not_starve_others() {
    let flags = ["--bulk-threads", "0", "--sink", "discard", "--idle-timeout", "5s"];
    let server = Server::start(&flags);
    let zeros = vec![0; 1 << 20];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut stream = connect(server.port());
            let (zeros, stop) = (&zeros, &stop);
            scope.spawn(move || {
                // At least once, however soon the others are done: who says nothing gets no
                // receipt.
                loop {
                    stream.write_all(zeros).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let mut echo = websocket(server.port(), "/echo");
        for _ in 0..20 {
            echo.write_all(&frame(TEXT, b"still there?")).unwrap();
            assert_eq!(read_frame(&mut echo), (TEXT, b"still there?".to_vec()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    for _ in 0..8 {
        server.next_receipt();
    }
}

/// A listener that waits for clients holds no permit that another listener's client needs.
#[test]
fn one_connection_at_a_time_may_come_by_either_family() {
    let server = Server::start_on(&["127.0.0.1:0", "[::1]:0"], &["--max-conns", "1"]);
    for address in server.addresses() {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"content").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(read_text(&mut stream).starts_with("ANYPORT/1 RECEIPT "), "{address}");
    }
}

/// A transfer that stands still does not hold the process up: the drain and idle times are far
/// away here.
#[test]
fn a_second_signal_stops_at_once() {
    second_signal(BEFORE_AND_AFTER_THE_THREAD[0]);
}

#[test]
fn a_second_signal_stops_a_transfer_on_a_thread_of_its_own_too() {
    second_signal(BEFORE_AND_AFTER_THE_THREAD[1]);
}

fn second_signal(size: usize) {
    let mut server = Server::start(&[]);
    let stream = half_a_transfer(&server, size, &noise(size / 2, 1));
    server.signal("TERM");
    server.says("stopping");
    server.signal("TERM");
    server.wait();
    assert_eq!(server.published(), Vec::<String>::new());
    drop(stream);
}

#[test]
fn the_announcement_names_addresses_and_commands() {
    let said = announcement(&["--bind", "127.0.0.1:0"], "reachable from this machine only");
    let address = said.lines().find_map(|line| line.trim().strip_prefix("listening on ")).unwrap();
    let (ip, port) = address.split_once(':').unwrap();
    for line in [
        format!("  nc -N {ip} {port} < FILE\n"),
        format!("  curl -T FILE http://{address}/\n"),
        format!("  websocat -b -B 1048576 ws://{address}/files/NAME < FILE\n"),
        format!("  anyport send FILE tcp://{address}/\n"),
        format!("add --open --bind 0.0.0.0:{port}\n"),
    ] {
        assert!(said.contains(&line), "no {line:?} in\n{said}");
    }
}

#[test]
fn the_announcement_warns_of_an_open_address() {
    let said = announcement(&["--open", "--bind", "0.0.0.0:0"], "OPEN");
    assert!(said.contains("listening on 0.0.0.0:"), "{said}");
    assert!(said.contains("nc -N HOST "), "a name of this machine, whichever:\n{said}");
}

#[test]
fn receipts_for_people_are_one_line_each() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--bind", "127.0.0.1:0"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = lines.find_map(|line| {
        line.trim().strip_prefix("listening on 127.0.0.1:").map(|port| port.parse().unwrap())
    });
    let port: u16 = listening.unwrap();
    converse(&mut connect(port), b"ANYPORT/1 PUT x size=5\nhelloEND\n");
    converse(&mut connect(port), b"ANYPORT/1 PUT y size=5\nhell");
    converse(&mut connect(port), b"ANYPORT/1 PUT\n");
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for (line, words) in lines.iter().zip([
        &["x stored: 5 B in ", "blake3:", ", raw, 127.0.0.1:"][..],
        &["raw/own 127.0.0.1:", "interrupted after 4 bytes", "\"y\"", "kept as .anyport-"],
        &["raw 127.0.0.1:", "refused: PUT needs a name"],
    ]) {
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line:?}");
        }
    }
}

#[test]
fn ipv4_comes_first_and_both_families_have_one_port() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6");
    }
    let server = Server::start_on(&["[::1]:0", "127.0.0.1:0"], &[]);
    let [v4, v6] = server.addresses() else { panic!("{:?}", server.addresses()) };
    assert!(v4.is_ipv4() && v6.is_ipv6(), "{v4} {v6}");
    assert_eq!(v4.port(), v6.port());
    let sample = Sample::new("x", b"over IPv6");
    for scheme in ["tcp", "ws", "frames"] {
        anyport(&["send", sample.path(), &format!("{scheme}://{v6}/")]).succeeds();
        let receipt = server.next_receipt();
        assert!(receipt["peer"].as_str().unwrap().starts_with("[::1]:"), "{receipt}");
        assert_eq!(server.stored(&receipt), b"over IPv6");
    }
    server.takes_a_good_file();
}

/// A frame of 300 MB is no message in memory.
#[test]
fn lm_6_memory_stays_flat_while_one_frame_of_300_mb_goes_through() {
    const SIZE: u64 = 300_000_000;
    let server = Server::start(&["--sink", "discard"]);
    let small = Sample::sparse("small", 4_000_000);
    let large = Sample::sparse("large", SIZE);
    for scheme in ["ws", "frames"] {
        let url = server.url(scheme, "");
        let send = |sample: &Sample| {
            let flags = ["send", "--digest", "none", "--frame-size", "300MB"];
            anyport(&[&flags[..], &[sample.path(), url.as_str()]].concat()).succeeds();
            server.next_receipt()
        };
        // The first transfer pays for what every later one uses again.
        send(&small);
        let before = server.peak_memory();
        assert_eq!(send(&large)["bytes"], SIZE);
        let grown = server.peak_memory() - before;
        assert!(grown < 16 * 1024 * 1024, "{scheme}: {grown} bytes more");
    }
}

/// A bare frame of a client that did not greet is held only up to 1 MiB.
#[test]
fn dt_1_memory_stays_flat_for_an_unproven_frame() {
    let server = Server::start(&["--digest", "none", "--fsync", "none"]);
    let size: u64 = 100_000_000;
    converse(&mut connect(server.port()), &frame(BINARY, &vec![1; 3_000_000]));
    server.next_receipt();
    let before = server.peak_memory();
    let mut stream = connect(server.port());
    stream.write_all(&anyport_testkit::harness::wire::masked_header(0x82, size)).unwrap();
    std::io::copy(&mut std::io::repeat(7).take(size), &mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let receipt = server.next_receipt();
    assert_eq!(receipt["bytes"], size, "{receipt}");
    assert_eq!(receipt["protocol"], "frames", "{receipt}");
    let grown = server.peak_memory() - before;
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
}

/// The reader of stdout may pause, or close it: senders get their receipts all the same.
#[test]
fn a_paused_reader_delays_no_sender() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--json", "--sink", "discard", "--bind", "127.0.0.1:0"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let address = listening["addr"].as_str().unwrap();
    // Far more than a pipe holds: 64 KiB, at about 250 bytes a receipt.
    let files = 600;
    let mut stream = TcpStream::connect(address).unwrap();
    for _ in 0..files {
        stream.write_all(b"ANYPORT/1 PUT x size=1\n1END\n").unwrap();
        assert!(read_line(&mut stream).starts_with("ANYPORT/1 RECEIPT "));
    }
    let reported =
        stdout.lines().take(files).filter(|line| line.as_ref().unwrap().contains("receipt"));
    assert_eq!(reported.count(), files);
    child.kill().unwrap();
    child.wait().unwrap();
}
