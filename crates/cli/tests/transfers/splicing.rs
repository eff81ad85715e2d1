//! Files without a digest, whose bytes the kernel moves from the socket into the file: all other
//! rules hold for them.

use std::io::Write;

use anyport_testkit::noise;

use anyport_testkit::harness::wire::{connect, converse, read_line};
use anyport_testkit::harness::{Sample, Server, SmallDisk, anyport, assert_same_bytes};

/// Enough to become a bulk transfer, and some more.
const LARGE: usize = 5_000_011;

#[test]
fn raw_bytes_without_a_digest_are_stored_unchanged() {
    let server = Server::start(&["--digest", "none"]);
    let content = noise(LARGE, 1);
    let answer = converse(&mut connect(server.port()), &content);
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    let receipt = server.next_receipt();
    assert_eq!((&receipt["bytes"], &receipt["end"]), (&LARGE.into(), &"fin".into()), "{receipt}");
    assert!(receipt["digest"].is_null(), "{receipt}");
    assert!(receipt["seconds"].as_f64().unwrap() > 0.0, "{receipt}");
    assert_same_bytes(&server.stored(&receipt), &content);
}

#[test]
fn consecutive_files_are_separated() {
    let server = Server::start(&[]);
    let (first, second) = (noise(LARGE, 1), noise(LARGE, 2));
    let mut stream = connect(server.port());
    for (name, content) in [("a", &first), ("b", &second), ("c", &Vec::new())] {
        let line = format!("ANYPORT/1 PUT {name} size={} digest=none\n", content.len());
        stream.write_all(&[line.as_bytes(), content, b"END\n"].concat()).unwrap();
    }
    for (name, content) in [("a", &first), ("b", &second), ("c", &Vec::new())] {
        assert!(read_line(&mut stream).starts_with("ANYPORT/1 RECEIPT "));
        let receipt = server.next_receipt();
        assert_eq!(receipt["path"], name, "{receipt}");
        assert_same_bytes(&server.stored(&receipt), content);
    }
}

#[test]
fn a_byte_too_many_is_refused() {
    let server = Server::start(&["--digest", "none", "--max-size", "2MiB"]);
    let exact = noise(2 << 20, 1);
    let answer = converse(&mut connect(server.port()), &exact);
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &exact);
    let mut stream = connect(server.port());
    let _ = stream.write_all(&noise(LARGE, 1));
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 ERROR too-large "));
    server.next_interrupted();
    server.takes_a_good_file();
}

#[test]
fn a_full_disk_is_reported() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &["--digest", "none"]);
    let mut stream = connect(server.port());
    let _ = stream.write_all(&noise(LARGE, 1));
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 ERROR no-space "));
    server.next_interrupted();
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
}

#[test]
fn a_stream_that_breaks_is_an_interruption() {
    let server = Server::start(&[]);
    let sample = Sample::new("half", &noise(LARGE, 1));
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 PUT half size=10000000 digest=none\n").unwrap();
    stream.write_all(&std::fs::read(sample.path()).unwrap()).unwrap();
    drop(stream);
    let event = server.next_interrupted();
    assert_eq!(event["bytes"], LARGE, "{event}");
    // The same file as a whole, by our own client.
    anyport(&["send", "--digest", "none", sample.path(), &server.url("tcp", "")]).succeeds();
    assert_same_bytes(&server.stored(&server.next_receipt()), &noise(LARGE, 1));
}
