//! Responses over HTTP/2 and their clients: each has a progress clock of its own, and what all of
//! them hold is bounded.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyport_testkit::harness::http2::{
    DATA, END_STREAM, HEADERS, Http2Peer, RST_STREAM, WINDOW_UPDATE,
};
use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{Server, peer, wait_until};

/// A file of zeros.
fn store(server: &Server, name: &str, size: u64) {
    std::fs::File::create(server.dir().join(name)).unwrap().set_len(size).unwrap();
}

fn grant(wire: &mut Http2Peer, stream: u32, count: usize) {
    let count = u32::try_from(count).unwrap().to_be_bytes();
    wire.send(WINDOW_UPDATE, 0, stream, &count);
}

/// Two downloads of one connection: the client makes room for one of them, a little at a time, and
/// none for the other.
#[test]
fn h2_12_a_stalled_response_is_reset_while_another_one_moves() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    store(&server, "big", 64 * 1024 * 1024);
    // A short response that is stalled, too.
    store(&server, "small", 20_000);
    let mut wire = Http2Peer::open(&server, &[(4, 10_000)]);
    wire.get(1, "/big");
    wire.get(3, "/small");
    wire.get(5, "/big");
    let (mut reset, mut moved_after) = (Vec::new(), 0);
    while moved_after < 50 {
        let came = wire.next_frame().expect("the connection goes on");
        match (came.kind, came.stream) {
            (RST_STREAM, stream) => reset.push(stream),
            (DATA, 5) => {
                std::thread::sleep(Duration::from_millis(20));
                grant(&mut wire, 0, came.payload.len());
                grant(&mut wire, 5, came.payload.len().min(500));
                moved_after += if reset.len() == 2 { 1 } else { 0 };
            }
            (DATA, stream) => {
                assert!(reset.is_empty());
                grant(&mut wire, 0, came.payload.len());
                assert_eq!(came.flags & END_STREAM, 0, "{stream}");
            }
            _ => {}
        }
    }
    reset.sort_unstable();
    assert_eq!(reset, [1, 3]);
    for _ in 0..2 {
        let unsent = server.next_event();
        assert_eq!(unsent["event"], "unsent", "{unsent}");
    }
}

/// The whole file is in the buffers of both kernels within a moment, and the client reads it for
/// several idle timeouts.
#[test]
fn h2_12_a_slow_reader_gets_all_of_a_file_that_its_kernel_has() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let size = 6_000_000;
    store(&server, "big", size as u64);
    let most = u32::try_from(1 << 30).unwrap();
    let mut wire = Http2Peer::open(&server, &[(4, most)]);
    grant(&mut wire, 0, 1 << 30);
    wire.get(1, "/big");
    wire.until(HEADERS, 1);
    let (mut came, began) = (0, Instant::now());
    loop {
        let data = wire.next_frame().expect("the connection goes on");
        assert_ne!(data.kind, RST_STREAM, "after {came} bytes and {:?}", began.elapsed());
        if data.kind != DATA {
            continue;
        }
        came += data.payload.len();
        if data.flags & END_STREAM != 0 {
            break;
        }
        // What a client says while it reads; a server that has closed the connection answers with a
        // reset.
        grant(&mut wire, 0, data.payload.len().max(1));
        std::thread::sleep(Duration::from_millis(12));
    }
    assert_eq!(came, size);
    assert!(began.elapsed() > Duration::from_secs(3), "the test has tried nothing");
}

/// More streams than the limit on open files bears: those beyond it are refused, and other clients
/// get files all the while.
#[test]
fn h2_17_streams_do_not_use_up_the_open_files() {
    let Some(mut command) = peer("prlimit") else { return };
    command.args(["--nofile=128:128", env!("CARGO_BIN_EXE_anyport")]);
    let server = Server::start_as(command, &["127.0.0.1:0"], &["--bulk-threads", "2"]);
    store(&server, "big", 1024 * 1024);
    // As many connections as the server bears, but for two.
    let mut wires: Vec<Http2Peer> = (0..22).map(|_| Http2Peer::open(&server, &[(4, 0)])).collect();
    let (mut open, mut refused) = (0, 0);
    for wire in &mut wires {
        for at in 0..20 {
            wire.get(2 * at + 1, "/big");
        }
        for _ in 0..20 {
            // 503 is no entry of the static table.
            if next_status(wire) == 0x88 { open += 1 } else { refused += 1 }
        }
    }
    // One file of each connection, and a fair share of a quarter of the descriptors that are not
    // the server's own.
    assert_eq!(open + refused, 22 * 20);
    assert!((22 + 8..=22 + 16).contains(&open), "{open} files are open");
    assert!(descriptors(&server) <= 128);
    let answer = converse(&mut connect(server.port()), b"ANYPORT/1 PUT good size=4\ngoodEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    let answer = converse(&mut connect(server.port()), b"GET /big HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..20]);
    // A refused client is served when the others have gone.
    drop(wires);
    wait_until("closed files", || (descriptors(&server) < 40).then_some(()));
    let mut wire = Http2Peer::open(&server, &[]);
    for at in 0..10 {
        wire.get(2 * at + 1, "/big");
    }
    for _ in 0..10 {
        assert_eq!(next_status(&mut wire), 0x88);
    }
}

/// The first byte of the next head. RFC 7541, appendix A: 0x88 is `:status: 200`.
fn next_status(wire: &mut Http2Peer) -> u8 {
    loop {
        let came = wire.next_frame().expect("the connection goes on");
        if came.kind == HEADERS {
            return came.payload[0];
        }
    }
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// As many connections as there may be, each with all its streams, and no client reads: what the
/// server holds is bounded for all of them together.
#[test]
fn h2_17_memory_of_responses_is_bounded_for_all_connections() {
    let connections = 24;
    let conns = connections.to_string();
    let flags = ["--max-buffered", "16777216", "--max-conns", &conns];
    let server = Server::start(&flags);
    store(&server, "big", 64 * 1024 * 1024);
    {
        let mut wire = Http2Peer::open(&server, &[]);
        wire.get(1, "/healthz");
        wire.until(DATA, 1);
    }
    let before = server.memory();
    let wires: Vec<Http2Peer> = (0..connections)
        .map(|_| {
            let mut wire = Http2Peer::open(&server, &[(4, 1 << 30)]);
            grant(&mut wire, 0, 1 << 30);
            for at in 0..128 {
                wire.get(2 * at + 1, "/big");
            }
            wire
        })
        .collect();
    // Every stream has been looked at when the last one has an answer or waits for its socket. No
    // event reports that to a client that reads nothing; less time makes the test weaker only.
    std::thread::sleep(Duration::from_secs(2));
    let grown = server.memory().saturating_sub(before);
    // What all may hold, and some kilobytes for the state of each stream.
    assert!(grown < 96 * 1024 * 1024, "{grown} bytes for {connections} connections");
    drop(wires);
}

/// Many connections return for one upload, which another one holds: those that wait for it block no
/// other.
#[test]
fn senders_that_return_for_one_upload_delay_no_other() {
    let server = Server::start(&["--max-conns", "2000"]);
    let many_clients: Vec<_> = (0..700)
        .map(|_| {
            let mut stream = connect(server.port());
            let line = b"ANYPORT/1 PUT x size=2000000 id=same resume\n";
            stream.write_all(line).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        let mut stream = connect(server.port());
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
    }
    drop(many_clients);
}
