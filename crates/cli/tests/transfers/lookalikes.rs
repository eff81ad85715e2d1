//! Files that begin like something else arrive unharmed, and bare frames are found out (DESIGN
//! section 5).

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use anyport_testkit::{hex, noise};
use serde_json::Value;

use anyport_testkit::harness::wire::{BINARY, CONTINUATION, PING, PONG, TEXT, wait_until_read};
use anyport_testkit::harness::wire::{
    close_frame, connect, fragment, frame, masked, masked_header, read_close,
};
use anyport_testkit::harness::wire::{converse, read_frame, read_text};
use anyport_testkit::harness::{Expected, Server};

/// How the network may deliver the same bytes.
#[derive(Debug, Clone, Copy)]
enum Cut {
    AtOnce,
    ByteByByte,
    InTwo(usize),
}

/// Sends in this cut, half-closes, and gives back what the server says.
fn deliver(server: &Server, bytes: &[u8], cut: Cut) -> String {
    let mut stream = connect(server.port());
    let rest = match cut {
        Cut::AtOnce => bytes,
        Cut::ByteByByte => {
            let (slow, rest) = bytes.split_at(bytes.len().min(100));
            slow.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
            rest
        }
        Cut::InTwo(at) => {
            let (first, rest) = bytes.split_at(at.min(bytes.len()));
            stream.write_all(first).unwrap();
            wait_until_read(&stream);
            rest
        }
    };
    converse(&mut stream, rest)
}

fn stays_raw(file: &[u8]) {
    let server = Server::start(&[]);
    for cut in [
        Cut::AtOnce,
        Cut::ByteByByte,
        Cut::InTwo(1),
        Cut::InTwo(2),
        Cut::InTwo(7),
        Cut::InTwo(file.len() / 2),
        Cut::InTwo(file.len()),
    ] {
        let answer = deliver(&server, file, cut);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{cut:?}: {answer:?}");
        let expected = Expected { protocol: "raw", engine: "own", end: "fin", content: file };
        expected.check(&server, &server.next_receipt());
    }
    assert_eq!(server.names(), server.published(), "part files are left");
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn dt_2_shift_jis_text_stays_raw() {
    // "こんにちは。これはファイルです。" and a line of kana: 82 b1 is a masked binary header of 49 bytes.
    let line = hex("82b182f182c982bf82cd8142 82b182ea82cd 837483408343838b 82c582b78142 0d0a \
         82a082a282a482a682a8 0d0a");
    stays_raw(&line);
    stays_raw(&line.repeat(4000));
}

#[test]
fn dt_2_message_pack_stays_raw() {
    // A map of one entry: 81 a5 is a masked text header of 37 bytes.
    stays_raw(&hex("81 a5 68656c6c6f a5 776f726c64"));
    let mut map = hex("81 a5 68656c6c6f c6 00100000");
    map.extend(noise(0x10_0000, 3));
    stays_raw(&map);
    // A map of two, with a string of 31 bytes as its first key.
    stays_raw(&[hex("82 bf"), vec![b'k'; 31], hex("01 a1 62 02")].concat());
}

#[test]
fn dt_2_files_with_a_signature_stay_raw() {
    for signature in [
        "89504e470d0a1a0a 0000000d 49484452", // PNG
        "1f8b0800 00000000 0003",             // gzip
        "3082 0a0a 3082 08f2 a003020102",     // DER, a certificate
        "7f454c46 02010100",                  // ELF
        "fffe 4700 4500 5400 2000",           // UTF-16, little end first
        "feff 0047 0045 0054 0020",           // UTF-16, big end first
        "efbbbf 4745 5420",                   // UTF-8 with a mark
        "504b0304 1400 0000",                 // ZIP
        "25504446 2d312e37 0a",               // PDF
        "ffd8ffe0 0010 4a464946",             // JPEG
        "1603 0102 0001",                     // almost TLS: no ClientHello
        "00",                                 // nothing at all
    ] {
        stays_raw(&[hex(signature), noise(5000, 1)].concat());
    }
}

#[test]
fn short_beginnings_of_something_stay_raw() {
    for start in ["16", "1603", "50", "82", "81", "89", "82fe", "82fe01", "82ff000000", "01", "02"]
    {
        stays_raw(&hex(start));
    }
    for start in ["A", "ANYPORT", "GET", "GET /", "PRI * HTTP/2"] {
        stays_raw(start.as_bytes());
    }
}

#[test]
fn text_that_begins_like_a_request_stays_raw() {
    for text in [
        "GET me a coffee\n",
        "GET a life HTTP and all\r\nmore\r\n",
        "POST scriptum: nothing\n",
        "ANYPORT is a port\n",
        "ANYPORT\n",
        "ANYPORTER/1 PUT x\n",
        "anyport/1 PUT x\n",
        "PRI vate\n",
    ] {
        stays_raw(text.as_bytes());
        stays_raw(text.repeat(3000).as_bytes());
    }
}

/// A client that goes silent before the request line ends is raw after the detection time.
#[test]
fn half_a_request_line_is_raw_after_the_detection_time() {
    let server = Server::start(&["--detect-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"GET ").unwrap();
    // A part file appears when it is decided.
    server.growing_part();
    converse(&mut stream, b"/ HTTP/1.1\r\n\r\n");
    let content = b"GET / HTTP/1.1\r\n\r\n";
    let expected = Expected { protocol: "raw", engine: "own", end: "fin", content };
    expected.check(&server, &server.next_receipt());
}

/// Seven frames of `length` bytes each, and then bytes that are no header.
fn seven_headers_and_no_eighth(length: usize) -> Vec<u8> {
    let mut file: Vec<u8> = (0..7).flat_map(|seed| frame(BINARY, &noise(length, seed))).collect();
    // Reserved bits and a reserved opcode.
    file.extend_from_slice(&[0xf7, 0x80]);
    file.extend(noise(1000, 99));
    file
}

#[test]
fn dt_1_seven_valid_headers_and_no_eighth_stay_raw() {
    stays_raw(&seven_headers_and_no_eighth(30));
    stays_raw(&seven_headers_and_no_eighth(1000));
}

/// More than the 1 MiB that a candidate is held in memory, so that it has gone into the part file.
#[test]
fn dt_1_seven_valid_headers_in_a_large_file_stay_raw() {
    let file = seven_headers_and_no_eighth(400_000);
    assert!(file.len() > 2 * 1024 * 1024);
    stays_raw(&file);
}

#[test]
fn a_header_that_announces_more_than_follows_stays_raw() {
    stays_raw(&[masked_header(0x82, 4096), noise(100, 1)].concat());
    stays_raw(&[masked_header(0x82, 100), noise(99, 1)].concat());
    stays_raw(&[masked_header(0x82, 1 << 40), noise(100, 1)].concat());
    stays_raw(&[masked_header(0x82, 5_000_000), noise(3_000_000, 1)].concat());
    stays_raw(&masked_header(0x82, 20));
}

#[test]
fn a_message_without_its_last_fragment_stays_raw() {
    stays_raw(&[fragment(BINARY, b"first"), fragment(CONTINUATION, b"second")].concat());
}

#[test]
fn text_frames_that_are_no_text_stay_raw() {
    stays_raw(&frame(TEXT, b"\xff\xfe no text"));
}

#[test]
fn a_frame_beyond_the_largest_file_is_raw() {
    let server = Server::start(&["--max-size", "100"]);
    let file = [masked_header(0x82, 101), vec![7; 30]].concat();
    deliver(&server, &file, Cut::AtOnce);
    let expected = Expected { protocol: "raw", engine: "own", end: "fin", content: &file };
    expected.check(&server, &server.next_receipt());
}

/// What is gone cannot be decoded later.
#[test]
fn a_candidate_unproven_at_1_mib_is_raw_where_nothing_is_kept() {
    let server = Server::start(&["--sink", "discard"]);
    let file = frame(BINARY, &noise(3 * 1024 * 1024, 1));
    deliver(&server, &file, Cut::AtOnce);
    let receipt = server.next_receipt();
    assert_eq!(receipt["protocol"], "raw", "{receipt}");
    assert_eq!(receipt["bytes"], file.len(), "{receipt}");
    assert_eq!(receipt["digest"], anyport_testkit::harness::blake3(&file), "{receipt}");
}

fn frames<'a>(end: &'a str, content: &'a [u8]) -> Expected<'a> {
    Expected { protocol: "frames", engine: "own", end, content }
}

/// The wire is decoded to `content`, however it is cut.
fn is_decoded(wire: &[u8], content: &[u8]) {
    for flags in [&[][..], &["--sink", "memory"]] {
        let server = Server::start(flags);
        for cut in [Cut::AtOnce, Cut::ByteByByte, Cut::InTwo(3), Cut::InTwo(wire.len() / 2)] {
            deliver(&server, wire, cut);
            let receipt = server.next_receipt();
            if flags.is_empty() {
                frames("fin", content).check(&server, &receipt);
            }
            assert_eq!(receipt["protocol"], "frames", "{cut:?} {receipt}");
            assert_eq!(
                receipt["digest"],
                anyport_testkit::harness::blake3(content),
                "{cut:?} {receipt}"
            );
        }
        assert_eq!(server.names(), server.published(), "part files are left");
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

#[test]
fn dt_1_eight_messages_are_decoded() {
    let payloads: Vec<Vec<u8>> = (0..20).map(|seed| noise(1000, seed)).collect();
    let wire: Vec<u8> = payloads.iter().flat_map(|payload| frame(BINARY, payload)).collect();
    is_decoded(&wire, &payloads.concat());
}

/// The proof comes after what was held has gone into the part file.
#[test]
fn eight_large_messages_are_decoded_in_place() {
    let payloads: Vec<Vec<u8>> = (0..9).map(|seed| noise(300_000, seed)).collect();
    let wire: Vec<u8> = payloads.iter().flat_map(|payload| frame(BINARY, payload)).collect();
    is_decoded(&wire, &payloads.concat());
}

#[test]
fn one_message_and_a_half_close_are_decoded() {
    is_decoded(&frame(BINARY, b"x"), b"x");
    let payload = noise(70_000, 4);
    is_decoded(&frame(BINARY, &payload), &payload);
}

#[test]
fn one_frame_of_3_mib_is_decoded_in_place() {
    let payload = noise(3 * 1024 * 1024, 5);
    is_decoded(&frame(BINARY, &payload), &payload);
}

#[test]
fn text_frames_are_decoded() {
    let text = "Grüße, こんにちは\n".repeat(100);
    is_decoded(&frame(TEXT, text.as_bytes()), text.as_bytes());
}

#[test]
fn fg_2_fragments_with_pings_between_are_decoded_and_answered() {
    let wire = [
        fragment(BINARY, b"first "),
        frame(PING, b"one"),
        fragment(CONTINUATION, b"second "),
        frame(PING, b"two"),
        frame(CONTINUATION, b"third"),
    ]
    .concat();
    is_decoded(&wire, b"first second third");

    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(&wire).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_frame(&mut stream), (PONG, b"one".to_vec()));
    assert_eq!(read_frame(&mut stream), (PONG, b"two".to_vec()));
    frames("fin", b"first second third").check(&server, &server.next_receipt());
}

#[test]
fn dt_1_an_idle_client_at_a_frame_boundary_confirms_frames() {
    let server = Server::start(&["--detect-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(&[frame(BINARY, b"one "), frame(PING, b"proven?")].concat()).unwrap();
    // Raw bytes are never answered before their end, so the pong says that it was proven.
    assert_eq!(read_frame(&mut stream), (PONG, b"proven?".to_vec()));
    stream.write_all(&[frame(BINARY, b"two"), close_frame(1000, "")].concat()).unwrap();
    let (code, reason) = read_close(&mut stream);
    assert_eq!(code, Some(1000));
    assert!(reason.starts_with("whole 7 blake3:"), "{reason:?}");
    frames("close", b"one two").check(&server, &server.next_receipt());
}

/// The same after the 1 MiB that is held in memory.
#[test]
fn idle_time_after_a_large_frame_confirms_it_in_place() {
    let server = Server::start(&["--detect-timeout", "300ms"]);
    let payload = noise(2 * 1024 * 1024, 5);
    let mut stream = connect(server.port());
    stream.write_all(&frame(BINARY, &payload)).unwrap();
    stream.write_all(&frame(PING, b"proven?")).unwrap();
    assert_eq!(read_frame(&mut stream), (PONG, b"proven?".to_vec()));
    stream.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1000));
    frames("close", &payload).check(&server, &server.next_receipt());
}

#[test]
fn dt_1_an_idle_client_inside_a_frame_confirms_nothing() {
    let server = Server::start(&["--detect-timeout", "100ms"]);
    let file = [masked_header(0x82, 50), noise(20, 1)].concat();
    let (first, rest) = file.split_at(10);
    let mut stream = connect(server.port());
    stream.write_all(first).unwrap();
    // The silence is what is tested: longer than the detection time.
    std::thread::sleep(Duration::from_millis(300));
    converse(&mut stream, rest);
    let expected = Expected { protocol: "raw", engine: "own", end: "fin", content: &file };
    expected.check(&server, &server.next_receipt());
}

#[test]
fn dt_1_the_greeting_proves_frames_at_once() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(&frame(PING, b"anyport/1")).unwrap();
    assert_eq!(read_frame(&mut stream), (PONG, b"anyport/1".to_vec()));
    let wire = [frame(BINARY, b"content"), frame(TEXT, br#"{"end":{"bytes":7}}"#)].concat();
    stream.write_all(&wire).unwrap();
    let (opcode, receipt) = read_frame(&mut stream);
    assert_eq!(opcode, TEXT);
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["receipt"]["protocol"], "frames", "{receipt}");
    frames("size", b"content").check(&server, &server.next_receipt());
}

#[test]
fn a_violation_after_the_proof_is_1002_and_nothing_is_published() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let mut wire: Vec<u8> = (0..8).flat_map(|seed| frame(BINARY, &noise(100, seed))).collect();
    wire.extend(masked(0xf2, b"reserved bits"));
    stream.write_all(&wire).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1002));
    drop(read_text(&mut stream));
    assert_eq!(server.next_interrupted()["protocol"], "frames");
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
}
