//! Echo over TCP from the first byte on (RFC 862).

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyport_testkit::noise;

use anyport_testkit::harness::wire::{connect, converse, read_text, upgrade};
use anyport_testkit::harness::{DEADLINE, Running, Server, assert_same_bytes, peer, wait_until};

fn echo(flags: &[&str]) -> Server {
    Server::start_listening(&["echo://127.0.0.1:0"], flags)
}

/// Whatever it looks like, and a byte at a time.
#[test]
fn nothing_is_looked_at() {
    let server = echo(&["--detect-timeout", "1h"]);
    let request = upgrade("/echo", "");
    for sent in ["x", "ANYPORT/1 PUT x size=1\nxEND\n", "\x16\x03\x01", &request] {
        assert_eq!(converse(&mut connect(server.port()), sent.as_bytes()), sent);
    }
    let mut stream = connect(server.port());
    for byte in *b"GET /" {
        stream.write_all(&[byte]).unwrap();
        let mut back = [0];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, [byte]);
    }
    assert!(server.names().is_empty());
}

#[test]
fn nc_gets_everything_back_and_then_the_end() {
    let Some(mut nc) = peer("nc") else { return };
    let server = echo(&[]);
    let content = noise(3 * 1024 * 1024 + 7, 1);
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    nc.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = nc.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = content.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&sent));
    let mut back = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    writing.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert_same_bytes(&back, &content);
}

/// What it has not taken waits with the kernel and with it, not with us; in the end it is given up.
#[test]
fn a_peer_that_never_reads_costs_little_and_is_given_up() {
    let server = echo(&["--idle-timeout", "1s"]);
    converse(&mut connect(server.port()), b"warm");
    let before = server.memory();
    let mut stream = connect(server.port());
    let piece = vec![b'x'; 1024 * 1024];
    let broken = (0..1024).find_map(|_| stream.write_all(&piece).err()).unwrap();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&broken.kind()), "{broken}");
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes");
    assert_eq!(converse(&mut connect(server.port()), b"still here"), "still here");
}

/// Silence is no fault here: the kernel finds out who is gone.
#[test]
fn a_silent_peer_may_stay() {
    let server = echo(&["--idle-timeout", "200ms"]);
    let mut stream = connect(server.port());
    for _ in 0..2 {
        stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let nothing = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(nothing.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"x").unwrap();
        let mut back = [0];
        stream.read_exact(&mut back).unwrap();
    }
    assert_eq!(converse(&mut stream, b"bye"), "bye");
}

/// The kernel's own timer looks after it: what would find a dead peer.
#[test]
fn the_kernel_probes_a_silent_peer() {
    let server = echo(&[]);
    let mut stream = connect(server.port());
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let (ours, theirs) = (server.port(), stream.local_addr().unwrap().port());
    wait_until("a keepalive timer", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut ends = fields.filter(|fields| {
            fields[1].ends_with(&format!(":{ours:04X}"))
                && fields[2].ends_with(&format!(":{theirs:04X}"))
        });
        // The timer that runs, and when it rings: 02 is keepalive's.
        ends.next().unwrap()[5].starts_with("02:").then_some(())
    });
}

/// It is not evicted, and evicts no unclassified connection.
#[test]
fn a_silent_echo_client_needs_no_permit_for_unclassified_connections() {
    let listen = ["echo://127.0.0.1:0", "any://127.0.0.1:0"];
    let server = Server::start_listening(&listen, &["--max-unclassified", "1"]);
    let [echo, any] = [0, 1].map(|i| server.addresses()[i].port());
    let mut unclassified = connect(any);
    let mut streams: Vec<_> = (0..4).map(|_| connect(echo)).collect();
    for stream in &mut streams {
        assert_eq!(converse(stream, b"here"), "here");
    }
    converse(&mut unclassified, b"a file");
    assert_eq!(server.stored(&server.next_receipt()), b"a file");
}

#[test]
fn an_echo_keeps_to_the_rate_of_a_connection() {
    let server = echo(&["--limit-rate", "100kB"]);
    let started = Instant::now();
    // In one go it would take no time; both ways together it is 100 kB.
    let sent = noise(50_000, 2);
    let mut stream = connect(server.port());
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_same_bytes(&back, &sent);
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_stops_waits_for_no_echo() {
    let mut server = echo(&[]);
    let mut stream = connect(server.port());
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    server.signal("TERM");
    assert_eq!(read_text(&mut stream), "");
    drop(stream);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn ncat_and_its_lines_are_echoed() {
    if peer("ncat").is_none() {
        return;
    }
    let server = echo(&[]);
    let mut shell = std::process::Command::new("sh");
    // It ends with its input, before the echo is there.
    let port = server.port();
    shell.args(["-c", &format!("(echo hi; sleep 1) | ncat 127.0.0.1 {port}")]);
    assert_eq!(Running::start(shell, None).outcome().succeeds().stdout, "hi\n");
}
