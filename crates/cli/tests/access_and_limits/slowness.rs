//! A slow message times out, counted from its first byte; a stream does not.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use anyport_testkit::harness::wire::{
    BINARY, CONTINUATION, PING, PONG, TEXT, announced, close_frame, connect, fragment, frame,
    masked_header, read_close, read_frame, read_line, websocket,
};
use anyport_testkit::harness::{Server, engines};

/// The pause between two bytes of a slow client.
const STEP: Duration = Duration::from_millis(20);

/// Writes `piece` again and again until the server has had enough.
fn send_slowly(stream: &TcpStream, piece: Vec<u8>) -> JoinHandle<()> {
    let mut slow = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        while slow.write_all(&piece).is_ok() {
            std::thread::sleep(STEP);
        }
    })
}

fn end(stream: &TcpStream, sending_slowly: JoinHandle<()>) {
    // The server may have reset it already.
    let _ = stream.shutdown(Shutdown::Both);
    sending_slowly.join().unwrap();
}

#[test]
fn fg_5_a_slow_message_is_closed_with_1008() {
    for engine in engines() {
        let server = Server::start(&["--message-timeout", "300ms", "--engine", engine]);
        let mut stream = websocket(server.port(), "/echo");
        // Time between messages is not limited.
        std::thread::sleep(Duration::from_millis(700));
        stream.write_all(&frame(TEXT, b"whole")).unwrap();
        assert_eq!(read_frame(&mut stream), (TEXT, b"whole".to_vec()), "{engine}");
        // Longer than the limit, which does not count time between messages.
        std::thread::sleep(Duration::from_millis(700));
        stream.write_all(&masked_header(0x82, 1_000_000)).unwrap();
        let began = Instant::now();
        let sending_slowly = send_slowly(&stream, vec![7]);
        let (code, reason) = read_close(&mut stream);
        assert_eq!(code, Some(1008), "{engine}");
        assert_eq!(reason, "a message was not complete within 300ms", "{engine}");
        assert!(began.elapsed() >= Duration::from_millis(290), "{engine}: {:?}", began.elapsed());
        end(&stream, sending_slowly);
        server.next_refused();
        server.takes_a_good_file();
    }
}

/// Neither empty fragments nor pings between them start the time anew.
#[test]
fn fg_5_slow_fragments_are_closed_with_1008() {
    let server = Server::start(&["--message-timeout", "300ms"]);
    let mut stream = websocket(server.port(), "/echo");
    // The one that follows a whole message in the same read is no exception.
    stream.write_all(&[frame(TEXT, b"first"), fragment(TEXT, b"")].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (TEXT, b"first".to_vec()));
    let sending_slowly =
        send_slowly(&stream, [fragment(CONTINUATION, b""), frame(PING, b"")].concat());
    let close = loop {
        match read_frame(&mut stream) {
            (PONG, _) => {}
            (_, close) => break close,
        }
    };
    assert_eq!(close[..2], 1008_u16.to_be_bytes());
    end(&stream, sending_slowly);
    server.next_refused();
}

/// One byte of the header is as much a beginning as any other.
#[test]
fn fg_5_a_message_that_stops_after_a_byte_is_closed_with_1008() {
    let server = Server::start(&["--message-timeout", "200ms"]);
    let mut stream = websocket(server.port(), "/echo");
    stream.write_all(&[0x82]).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1008));
    server.next_refused();
}

#[test]
fn an_upload_may_last_longer_than_a_message() {
    for engine in engines() {
        let flags = ["--message-timeout", "100ms", "--handshake-timeout", "100ms"];
        let server = Server::start(&[&flags[..], &["--engine", engine]].concat());
        let mut stream = websocket(server.port(), "/files/slow");
        for byte in frame(BINARY, &[7; 30]) {
            stream.write_all(&[byte]).unwrap();
            std::thread::sleep(STEP);
        }
        stream.write_all(&close_frame(1000, "")).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1000), "{engine}");
        assert_eq!(server.next_receipt()["bytes"], 30, "{engine}");
    }
}

/// Only silence is idle: a message of a file may take longer than `--idle-timeout` while its bytes
/// arrive.
#[test]
fn a_message_with_a_file_may_last_longer_than_the_idle_timeout() {
    for engine in engines() {
        let server = Server::start(&["--idle-timeout", "1s", "--engine", engine]);
        let mut stream = websocket(server.port(), "/files/slow");
        let began = Instant::now();
        for byte in frame(BINARY, &[7; 24]) {
            stream.write_all(&[byte]).unwrap();
            std::thread::sleep(5 * STEP);
        }
        assert!(began.elapsed() > Duration::from_secs(2));
        stream.write_all(&close_frame(1000, "")).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1000), "{engine}");
        assert_eq!(server.next_receipt()["bytes"], 24, "{engine}");
        // Silence inside a message is.
        let mut stream = websocket(server.port(), "/files/silent");
        stream.write_all(&frame(BINARY, &[7; 24])[..20]).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1008), "{engine}");
    }
}

#[test]
fn a_slow_preface_line_is_refused() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT ").unwrap();
    let sending_slowly = send_slowly(&stream, b"x".to_vec());
    let answer = read_line(&mut stream);
    assert_eq!(answer, "ANYPORT/1 ERROR interrupted a line was not complete within 300ms");
    end(&stream, sending_slowly);
    server.next_refused();

    // The next line of a connection too, and one that stops; and between two lines nothing is due.
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT x size=1\n1END\n").unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    // Longer than the limit, which does not count time between lines.
    std::thread::sleep(Duration::from_millis(500));
    stream.write_all(b"A").unwrap();
    let answer = read_line(&mut stream);
    assert_eq!(answer, "ANYPORT/1 ERROR interrupted a line was not complete within 300ms");
    server.next_refused();
}

#[test]
fn a_slow_end_line_interrupts_the_file() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT x size=3\nab").unwrap();
    // Content may take its time.
    std::thread::sleep(Duration::from_millis(500));
    stream.write_all(b"cEND").unwrap();
    let sending_slowly = send_slowly(&stream, b" ".to_vec());
    let answer = read_line(&mut stream);
    assert_eq!(answer, "ANYPORT/1 ERROR interrupted a line was not complete within 300ms");
    end(&stream, sending_slowly);
    let event = server.next_interrupted();
    assert_eq!((&event["bytes"], event["part"].is_string()), (&3.into(), true), "{event}");
    assert_eq!(server.published(), Vec::<String>::new());
}

#[test]
fn a_slow_offer_is_refused() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let mut stream = announced(server.port());
    // As long as it likes before an offer.
    std::thread::sleep(Duration::from_millis(500));
    stream.write_all(&fragment(TEXT, b"{")).unwrap();
    let sending_slowly = send_slowly(&stream, fragment(CONTINUATION, b" "));
    let (opcode, reported) = read_frame(&mut stream);
    let reported: Value = serde_json::from_slice(&reported).unwrap();
    assert_eq!(opcode, TEXT);
    assert_eq!(
        reported["error"]["message"], "a text message was not complete within 300ms",
        "{reported}"
    );
    assert_eq!(reported["error"]["code"], "interrupted", "{reported}");
    assert_eq!(read_close(&mut stream).0, Some(1008));
    end(&stream, sending_slowly);
    server.next_refused();
    server.takes_a_good_file();
}
