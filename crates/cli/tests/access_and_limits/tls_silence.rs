//! Records without content are idle time: a client that sends nothing else times out like a silent
//! one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use anyport_testkit::noise;

use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{TEXT, frame, upgrade};
use anyport_testkit::harness::{Server, peer, wait_until};

/// Ten times in the idle time of these tests, so that each comes before it has passed.
const STEP: Duration = Duration::from_millis(100);
const IDLE: &str = "1s";

/// A record of 10,000 bytes, begun and never whole, a byte at a time for as long as the server
/// takes them.
fn send_slowly(secured: &mut TlsPeer) -> JoinHandle<()> {
    let mut record = Vec::new();
    secured.seal(&noise(10_000, 1), &mut record);
    let mut stream = secured.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for byte in record {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(STEP);
        }
    })
}

fn end(stream: &TcpStream, sending_slowly: JoinHandle<()>) {
    // The server may have reset it already.
    let _ = stream.shutdown(Shutdown::Both);
    sending_slowly.join().unwrap();
}

/// Among the tasks, and on a thread of its own.
#[test]
fn an_upload_with_a_slow_tls_record_is_interrupted_after_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", IDLE]);
    for begun in [5, 2_000_000] {
        let mut secured = TlsPeer::connect(server.port());
        secured.write(b"ANYPORT/1 PUT x size=9000000\n");
        secured.write(&noise(begun, 2));
        let sending_slowly = send_slowly(&mut secured);
        let interrupted = server.next_interrupted();
        let reason = interrupted["reason"].as_str().unwrap();
        assert_eq!(reason, "no data for 1s (--idle-timeout)", "{interrupted}");
        assert_eq!(interrupted["bytes"], begun, "{interrupted}");
        end(&secured.stream, sending_slowly);
    }
}

/// On reactor threads: it gets a ping after half of the idle timeout, which an incomplete record
/// does not answer.
#[test]
fn a_websocket_with_a_slow_tls_record_is_closed_after_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", IDLE]);
    let mut secured = TlsPeer::connect(server.port());
    secured.write(upgrade("/echo", "").as_bytes());
    secured.receives("\r\n\r\n");
    secured.write(&frame(TEXT, b"hello"));
    secured.receives("hello");
    let sending_slowly = send_slowly(&mut secured);
    secured.receives("no data for 1s (--idle-timeout)");
    end(&secured.stream, sending_slowly);
}

/// Between two requests there is no response, as without TLS.
#[test]
fn a_request_in_a_slow_tls_record_is_not_waited_for() {
    let server = Server::start(&["--idle-timeout", IDLE]);
    let mut secured = TlsPeer::connect(server.port());
    secured.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    secured.receives("ok");
    let sending_slowly = send_slowly(&mut secured);
    // Closed or reset, because bytes are in transit; but not this test's own timeout.
    let ended = secured.stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
    end(&secured.stream, sending_slowly);
}

/// What comes slowly, and in records that reads cut, is content: several idle times of it.
#[test]
fn a_slow_sender_with_progress_is_not_interrupted() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let mut secured = TlsPeer::connect(server.port());
    let content = noise(50, 3);
    secured.write(b"ANYPORT/1 PUT slow size=50\n");
    for byte in &content {
        let mut record = Vec::new();
        secured.seal(&[*byte], &mut record);
        let (begun, rest) = record.split_at(record.len() / 2);
        for piece in [begun, rest] {
            secured.stream.write_all(piece).unwrap();
            std::thread::sleep(STEP / 2);
        }
    }
    secured.write(b"END\n");
    let receipt = server.next_receipt();
    assert!(server.stored(&receipt) == content, "{receipt}");
}

/// Whole records this time: openssl has new keys again and again, and nothing to say with them.
#[test]
fn an_upload_of_nothing_but_new_keys_is_interrupted_after_the_idle_time() {
    let Some(mut openssl) = peer("openssl") else { return };
    let server = Server::start(&["--idle-timeout", IDLE]);
    let address = server.addresses()[0].to_string();
    let mut openssl = openssl
        .args(["s_client", "-tls1_3", "-connect", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(b"ANYPORT/1 PUT x size=100\n").unwrap();
    // What it reads in one piece with something else is no command.
    wait_until("a part", || {
        server.names().iter().any(|name| name.ends_with(".part")).then_some(())
    });
    let renewing = std::thread::spawn(move || {
        // Fewer than rustls takes for an attack, and longer than the idle time.
        for _ in 0..25 {
            if stdin.write_all(b"k\n").is_err() {
                return;
            }
            std::thread::sleep(4 * STEP);
        }
    });
    let interrupted = server.next_interrupted();
    assert_eq!(interrupted["reason"], "no data for 1s (--idle-timeout)", "{interrupted}");
    assert_eq!(interrupted["bytes"], 0, "{interrupted}");
    let _ = openssl.kill();
    openssl.wait().unwrap();
    renewing.join().unwrap();
}
