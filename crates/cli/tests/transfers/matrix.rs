//! Each of our clients against each engine, with files of the sizes at which something changes.

use anyport_testkit::noise;
use serde_json::Value;
use sha2::{Digest, Sha256};

use anyport_testkit::harness::{Expected, Outcome, Sample, Server, anyport, anyport_with_input};
use anyport_testkit::harness::{assert_same_bytes, blake3};

/// One way of `anyport send`.
struct Client {
    name: &'static str,
    scheme: &'static str,
    flags: &'static [&'static str],
    protocol: &'static str,
    end: &'static str,
}

const PREFACE: Client =
    Client { name: "preface", scheme: "tcp", flags: &[], protocol: "raw", end: "size" };
const PLAIN: Client =
    Client { name: "plain", scheme: "tcp", flags: &["--plain"], protocol: "raw", end: "fin" };
const WS: Client = Client { name: "ws", scheme: "ws", flags: &[], protocol: "ws", end: "size" };
const LIBRARY: Client = Client {
    name: "library",
    scheme: "ws",
    flags: &["--engine", "library"],
    protocol: "ws",
    end: "size",
};
const FRAMES: Client =
    Client { name: "frames", scheme: "frames", flags: &[], protocol: "frames", end: "size" };

const ON_OWN: [Client; 5] = [PREFACE, PLAIN, WS, LIBRARY, FRAMES];
const ON_LIBRARY: [Client; 2] = [WS, LIBRARY];

/// The borders of the length forms of a frame, and more than any buffer.
const SIZES: [usize; 7] = [0, 1, 125, 126, 65535, 65536, 3 * 1024 * 1024 + 7];

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn every_client_brings_every_size_to_the_own_engine() {
    every_size("own", &ON_OWN);
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn every_websocket_client_brings_every_size_to_the_library_engine() {
    every_size("library", &ON_LIBRARY);
}

/// Without a digest the kernel sends the content unread.
#[test]
fn every_size_arrives_by_splicing() {
    let server = Server::start(&[]);
    for size in SIZES {
        let content = noise(size, size as u64);
        let sample = Sample::new("unseen.bin", &content);
        let flags = ["send", "--digest", "none", "--on-exists", "rename"];
        anyport(&[&flags[..], &[sample.path(), &server.url("tcp", "")]].concat()).succeeds();
        let receipt = server.next_receipt();
        assert_eq!(receipt["end"], "size", "{receipt}");
        assert_same_bytes(&server.stored(&receipt), &content);
    }
    // What a pipe or /proc gives has no size to announce, and is read.
    let lines = "all of it\n".repeat(50_000);
    let url = server.url("tcp", "");
    anyport_with_input(&["send", "--digest", "none", "-", &url], lines.as_bytes()).succeeds();
    assert_same_bytes(&server.stored(&server.next_receipt()), lines.as_bytes());
    anyport(&["send", "--digest", "none", "/proc/version", &url]).succeeds();
    assert_eq!(server.stored(&server.next_receipt()), std::fs::read("/proc/version").unwrap());
}

fn every_size(engine: &str, clients: &[Client]) {
    let server = Server::start(&["--engine", engine]);
    for size in SIZES {
        let content = noise(size, size as u64);
        for client in clients {
            // Plain bytes that are none are a connection without a byte: no file.
            if client.end == "fin" && size == 0 {
                continue;
            }
            let name = format!("{}-{size}.bin", client.name);
            let sample = Sample::new(&name, &content);
            let sent = send(&server, client, &[sample.path()], "", &[]);
            let receipt = check_both(&server, client, engine, &content, &sent);
            if client.end != "fin" {
                assert_eq!(receipt["path"], name.as_str(), "{receipt}");
            }
        }
    }
    assert_eq!(server.names(), server.published(), "part files are left");
    assert_eq!(server.stop(), Vec::<Value>::new());
}

/// A number that two people compare, so it must not depend on whom they ask.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn both_sides_tell_the_same_rate() {
    let server = Server::start(&[]);
    let sample = Sample::new("r.bin", &noise(100_000, 5));
    for client in ON_OWN {
        let sent = send(&server, &client, &[sample.path()], "", &[]);
        let receipt = server.next_receipt();
        assert_eq!(sent[0]["seconds"], receipt["seconds"], "{}", client.name);
        assert_eq!(sent[0]["rate"], receipt["rate"], "{}: {receipt}", client.name);
    }
}

/// Each end reports its kernel's statistics; a transfer of one read too, and one with a bulk
/// thread.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn both_ends_name_their_congestion_control_and_what_tcp_saw() {
    for (engine, clients) in [("own", &ON_OWN[..]), ("library", &ON_LIBRARY)] {
        let server = Server::start(&["--engine", engine, "--congestion", "reno"]);
        for (client, size) in clients.iter().flat_map(|client| [(client, 9), (client, 3_000_000)]) {
            let sample = Sample::new("t.bin", &noise(size, 5));
            let flags = ["--congestion", "reno"];
            let sent = send(&server, client, &[sample.path()], "", &flags);
            let receipt = server.next_receipt();
            let says = format!("{} {size}: {receipt} {sent:?}", client.name);
            for end in [&receipt, &sent[0]["sender"]] {
                assert_eq!(end["congestion"], "reno", "{says}");
                let known =
                    |key: &str| end["tcp"][key].as_u64().unwrap_or_else(|| panic!("{says}"));
                assert!((1..10_000_000).contains(&known("rtt_us")), "{says}");
                assert!((1..100_000).contains(&known("cwnd")), "{says}");
                assert!(known("retransmits") < 1000, "{says}");
            }
            if size > 1_000_000 {
                let rate = sent[0]["sender"]["tcp"]["delivery_rate"].as_u64();
                assert!(rate.is_some_and(|rate| rate > 100_000), "{says}");
            }
        }
    }
}

fn send(
    server: &Server,
    client: &Client,
    files: &[&str],
    path: &str,
    flags: &[&str],
) -> Vec<Value> {
    let url = server.url(client.scheme, path);
    // The same file is sent again and again.
    let again = ["send", "--json", "--on-exists", "rename"];
    let again = if client.flags.contains(&"--plain") { &again[..2] } else { &again };
    let arguments = [again, client.flags, flags, files, &[url.as_str()]].concat();
    anyport(&arguments).succeeds().json()
}

/// The server's next receipt and the sender's only one say the same, and it is true.
fn check_both(
    server: &Server,
    client: &Client,
    engine: &str,
    content: &[u8],
    sent: &[Value],
) -> Value {
    // Raw TCP has no engine but ours.
    let engine = if client.protocol == "ws" { engine } else { "own" };
    let receipt = server.next_receipt();
    let expected = Expected { protocol: client.protocol, engine, end: client.end, content };
    expected.check(server, &receipt);
    assert_same_receipts(sent, &[&receipt], client.name);
    receipt
}

/// The sender tells what the server tells; of the rate see `both_sides_tell_the_same_rate`.
#[track_caller]
fn assert_same_receipts(sent: &[Value], received: &[&Value], client: &str) {
    // The sender computes the rate anew, and adds what only its end knows.
    let but_the_rate = |receipt: &Value| {
        let mut receipt = receipt.clone();
        for own in ["rate", "sender"] {
            receipt.as_object_mut().unwrap().remove(own);
        }
        receipt
    };
    let sent: Vec<Value> = sent.iter().map(but_the_rate).collect();
    let received: Vec<Value> = received.iter().map(|receipt| but_the_rate(receipt)).collect();
    assert_eq!(sent, received, "{client}");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn the_named_digest_is_the_one_on_both_sides() {
    let content = noise(100_000, 5);
    let sample = Sample::new("d.bin", &content);
    for (engine, clients) in [("own", &ON_OWN[..]), ("library", &ON_LIBRARY)] {
        let server = Server::start(&["--engine", engine]);
        for client in clients.iter().filter(|client| client.end == "size") {
            for (algorithm, expected) in [
                ("sha256", Value::from(format!("sha256:{}", hex(&Sha256::digest(&content))))),
                ("blake3", Value::from(blake3(&content))),
                ("none", Value::Null),
            ] {
                let sent = send(&server, client, &[sample.path()], "", &["--digest", algorithm]);
                let receipt = server.next_receipt();
                assert_eq!(receipt["digest"], expected, "{} {receipt}", client.name);
                assert_same_receipts(&sent, &[&receipt], client.name);
                assert_same_bytes(&server.stored(&receipt), &content);
            }
        }
    }
}

/// A sender that names no algorithm gets the server's.
#[test]
fn plain_bytes_are_hashed_as_configured() {
    for (algorithm, expected) in [
        ("sha256", Value::from(format!("sha256:{}", hex(&Sha256::digest(b"plain"))))),
        ("none", Value::Null),
    ] {
        let server = Server::start(&["--digest", algorithm]);
        let sample = Sample::new("p", b"plain");
        send(&server, &PLAIN, &[sample.path()], "", &[]);
        assert_eq!(server.next_receipt()["digest"], expected);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn frames_of_any_size_carry_the_same_file() {
    let content = noise(1_500_000, 8);
    let sample = Sample::new("f.bin", &content);
    for (engine, clients) in [("own", &[WS, LIBRARY, FRAMES][..]), ("library", &ON_LIBRARY)] {
        let server = Server::start(&["--engine", engine]);
        for client in clients {
            for size in ["1000", "65536", "1MiB"] {
                let sent = send(&server, client, &[sample.path()], "", &["--frame-size", size]);
                check_both(&server, client, engine, &content, &sent);
            }
        }
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn several_files_in_one_send_have_a_receipt_each_in_order() {
    let contents = [noise(10, 1), Vec::new(), noise(700_000, 3), noise(126, 4)];
    let samples: Vec<Sample> = contents
        .iter()
        .enumerate()
        .map(|(i, content)| Sample::new(&format!("{i}.bin"), content))
        .collect();
    let files: Vec<&str> = samples.iter().map(Sample::path).collect();
    for (engine, clients) in [("own", &ON_OWN[..]), ("library", &ON_LIBRARY)] {
        for client in clients.iter().filter(|client| client.end == "size") {
            let server = Server::start(&["--engine", engine]);
            let sent = send(&server, client, &files, "", &[]);
            assert_eq!(sent.len(), 4, "{sent:?}");
            for (i, content) in contents.iter().enumerate() {
                let receipt = check_both(&server, client, engine, content, &sent[i..=i]);
                assert_eq!(receipt["path"], format!("{i}.bin"), "{receipt}");
            }
            let peers: Vec<&Value> = sent.iter().map(|receipt| &receipt["peer"]).collect();
            assert!(peers.iter().all(|peer| *peer == peers[0]), "one connection: {peers:?}");
        }
    }
}

#[test]
fn several_plain_files_are_several_connections() {
    let server = Server::start(&[]);
    let (one, two) = (Sample::new("1", b"one"), Sample::new("2", b"two"));
    let sent = send(&server, &PLAIN, &[one.path(), two.path()], "", &[]);
    check_both(&server, &PLAIN, "own", b"one", &sent[..1]);
    check_both(&server, &PLAIN, "own", b"two", &sent[1..]);
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn standard_input_is_confirmed_by_protocols_with_an_end() {
    let content = noise(300_000, 9);
    for (scheme, protocol, end, flags) in [
        ("tcp", "raw", "fin", &[][..]),
        ("tcp", "raw", "fin", &["--plain"]),
        ("ws", "ws", "size", &[]),
        ("ws", "ws", "size", &["--engine", "library"]),
        ("frames", "frames", "size", &[]),
    ] {
        let server = Server::start(&[]);
        let url = server.url(scheme, "");
        let arguments = [&["send", "--json"], flags, &["-", url.as_str()]].concat();
        let sent = anyport_with_input(&arguments, &content).succeeds().json();
        let receipt = server.next_receipt();
        Expected { protocol, engine: "own", end, content: &content }.check(&server, &receipt);
        assert_same_receipts(&sent, &[&receipt], scheme);
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_name_in_the_url_names_the_file() {
    let sample = Sample::new("other", b"named");
    let server = Server::start(&[]);
    for (client, path, name) in [
        (&PREFACE, "short.txt", "short.txt"),
        (&PREFACE, "with%20space%20%C3%BC.txt", "with space ü.txt"),
        (&WS, "files/gr%C3%BC%C3%9Fe%20an%20alle.txt", "grüße an alle.txt"),
        (&LIBRARY, "files/library%20%C3%BC.txt", "library ü.txt"),
        (&FRAMES, "files/frames%20%C3%BC.txt", "frames ü.txt"),
    ] {
        let sent = send(&server, client, &[sample.path()], path, &[]);
        let receipt = check_both(&server, client, "own", b"named", &sent);
        assert_eq!(receipt["path"], name, "{receipt}");
    }
}

#[test]
fn a_name_in_use_gets_a_number_and_the_receipt_reports_it() {
    let server = Server::start(&[]);
    for (content, path) in [("first", "a.txt"), ("second", "a-1.txt")] {
        let sample = Sample::new("a.txt", content.as_bytes());
        let sent = send(&server, &WS, &[sample.path()], "", &[]);
        let receipt = check_both(&server, &WS, "own", content.as_bytes(), &sent);
        assert_eq!(receipt["path"], path, "{receipt}");
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn sinks_that_store_nothing_send_receipts_without_a_path() {
    let content = noise(2_000_000, 2);
    let sample = Sample::new("s", &content);
    for sink in ["memory", "discard"] {
        for client in ON_OWN {
            let server = Server::start(&["--sink", sink]);
            let sent = send(&server, &client, &[sample.path()], "", &[]);
            let receipt = server.next_receipt();
            assert_eq!(receipt["digest"], blake3(&content), "{sink} {receipt}");
            assert_eq!(receipt["path"], Value::Null, "{sink} {receipt}");
            assert_same_receipts(&sent, &[&receipt], sink);
            assert_eq!(server.names(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_sender_without_json_tells_a_person() {
    let server = Server::start(&[]);
    let sample = Sample::new("p.txt", b"for people");
    let url = server.url("tcp", "");
    let Outcome { stdout, .. } = anyport(&["send", sample.path(), &url]).succeeds();
    assert!(stdout.starts_with("p.txt stored and verified: 10 B in "), "{stdout:?}");
    assert!(stdout.contains(&blake3(b"for people")[..15]), "{stdout:?}");
    let Outcome { stdout, stderr, .. } = anyport(&["send", "-q", sample.path(), &url]).succeeds();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""));
}
