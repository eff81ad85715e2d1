//! Mistakes of peers and users: each error names its object, and affects no other client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::JoinHandle;

use serde_json::Value;

use anyport_testkit::harness::wire::{BINARY, CONTINUATION, KEY, PING, TEXT};
use anyport_testkit::harness::wire::{
    announced, close_frame, connect, converse, fragment, frame, masked, unmasked,
};
use anyport_testkit::harness::wire::{
    read_close, read_frame, read_head, read_line, read_text, upgrade, websocket,
};
use anyport_testkit::harness::{Sample, Server, anyport, blake3, engines, start};

/// Sends a request and gives back the whole response.
fn request(server: &Server, head: &str) -> String {
    let mut stream = connect(server.port());
    stream.write_all(head.as_bytes()).unwrap();
    read_text(&mut stream)
}

#[test]
fn hs_1_a_bad_opening_handshake_is_refused_with_the_field_at_fault() {
    let good = upgrade("/", "");
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        for (head, status, word) in [
            (without(&good, "Sec-WebSocket-Key"), 400, "no Sec-WebSocket-Key"),
            (good.replace(KEY, "AAAA"), 400, "Sec-WebSocket-Key is not base64 of 16 bytes"),
            (good.replace(KEY, "not base64 at all!!"), 400, "Sec-WebSocket-Key"),
            (upgrade("/", &format!("Sec-WebSocket-Key: {KEY}\r\n")), 400, "more than one"),
            (good.replace("n: 13", "n: 12"), 426, "Sec-WebSocket-Version: 13"),
            (without(&good, "Sec-WebSocket-Version"), 426, "Sec-WebSocket-Version: 13"),
            (without(&good, "Connection"), 400, "Connection does not list upgrade"),
            (without(&good, "Host"), 400, "Host"),
            (good.replace("GET", "POST"), 405, "Allow: GET"),
            (good.replace("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"),
            (upgrade("/", "Origin: http://evil.example\r\n"), 403, "http://evil.example"),
            (upgrade("/", "Origin: null\r\n"), 403, "origin"),
            (upgrade("/help", ""), 404, "/help"),
            (
                upgrade("/rooms/", ""),
                404,
                "/rooms/ has no room name; expected a path such as /rooms/lobby",
            ),
            (upgrade("/files/%2e%2e", ""), 400, "directory"),
            (upgrade("/files/%zz", ""), 400, "percent escape"),
            (upgrade("/", "Content-Length: 5\r\n"), 400, "content"),
        ] {
            let response = request(&server, &head);
            let line = format!("HTTP/1.1 {status} ");
            assert!(response.starts_with(&line), "{engine}: {head}\n{response}");
            assert!(response.contains(word), "{engine}: no {word:?} in\n{head}\n{response}");
            server.next_refused();
        }
        server.takes_a_good_file();
        assert_eq!(server.stop(), Vec::<Value>::new());
    }
}

fn without(head: &str, field: &str) -> String {
    head.split_inclusive("\r\n").filter(|line| !line.starts_with(&format!("{field}:"))).collect()
}

#[test]
fn hs_10_a_page_of_the_same_host_is_accepted() {
    let server = Server::start(&[]);
    let origin = format!("Origin: http://127.0.0.1:{}\r\n", server.port());
    let host = format!("Host: 127.0.0.1:{}\r\n", server.port());
    let head = upgrade("/echo", &origin).replace("Host: 127.0.0.1\r\n", &host);
    let mut stream = connect(server.port());
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_line(&mut stream), "HTTP/1.1 101 Switching Protocols\r");
}

#[test]
fn hs_10_only_a_page_of_exactly_an_allowed_origin_is_accepted() {
    let flags = ["--allow-origin", "https://App.example.com", "--allow-origin", "http://a.test:81"];
    for engine in engines() {
        let server = Server::start(&[&flags[..], &["--engine", engine]].concat());
        for (origin, status) in [
            ("https://app.example.com:443", 101),
            ("http://a.test:81", 101),
            ("http://app.example.com", 403),
            ("https://app.example.com.evil.org", 403),
            ("http://a.test", 403),
            ("null", 403),
        ] {
            let mut stream = connect(server.port());
            let head = upgrade("/echo", &format!("Origin: {origin}\r\n"));
            stream.write_all(head.as_bytes()).unwrap();
            let answer = read_line(&mut stream);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {answer}");
            if status == 403 {
                let reason = server.next_refused()["reason"].as_str().unwrap().to_owned();
                assert!(reason.contains(origin), "{origin}: {reason}");
            }
        }
    }
    anyport(&["serve", "--allow-origin", "null"]).exits(2).says("cannot be allowed");
    anyport(&["serve", "--allow-origin", "https://a/"]).exits(2).says("expected SCHEME://HOST");
}

/// Field names in any case, lists, blanks and unknown fields (RFC 9110 §5).
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn hs_1_a_handshake_written_differently_is_accepted() {
    for (engine, upgrade) in [("own", "h2c, WebSocket"), ("library", "WebSocket  ")] {
        let server = Server::start(&["--engine", engine]);
        let head = format!(
            "GET /echo HTTP/1.1\r\nhost:127.0.0.1\r\nUPGRADE:{upgrade}\r\nconnection: keep-alive,  \
             Upgrade \r\nsec-websocket-key:  {KEY}\r\nSec-WebSocket-VERSION: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\nCookie: a=b\r\n\r\n"
        );
        let mut stream = connect(server.port());
        stream.write_all(head.as_bytes()).unwrap();
        let response = read_head(&mut stream);
        assert!(response.starts_with("HTTP/1.1 101 "), "{engine}: {response}");
        assert!(!response.to_lowercase().contains("sec-websocket-extensions"), "{response}");
        stream.write_all(&frame(TEXT, b"hello")).unwrap();
        assert_eq!(read_frame(&mut stream), (TEXT, b"hello".to_vec()), "{engine}");
    }
}

/// Clients must wait (RFC 6455 §4.1), but frames in the same read as the head are not lost.
#[test]
fn io_3_frames_that_come_with_the_handshake_are_not_lost() {
    let server = Server::start(&[]);
    let head = upgrade("/files/early", "").into_bytes();
    let wire = [head, frame(BINARY, b"early"), close_frame(1000, "")].concat();
    for cut in [wire.len(), 10, wire.len() - 12, wire.len() - 3] {
        let mut stream = connect(server.port());
        let (first, rest) = wire.split_at(cut);
        stream.write_all(first).unwrap();
        stream.write_all(rest).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        assert_eq!(read_close(&mut stream).0, Some(1000));
        assert_eq!(server.stored(&server.next_receipt()), b"early", "{cut}");
    }
}

/// What the library makes of a list is its own affair, but no client is left without an answer.
#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_handshake_that_only_the_library_refuses_is_answered() {
    let server = Server::start(&["--engine", "library"]);
    let head = upgrade("/echo", "").replace("websocket", "h2c, websocket");
    let mut stream = connect(server.port());
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_text(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
}

#[test]
fn hs_9_a_broken_request_head_is_answered_with_400_or_its_like() {
    let server = Server::start(&[]);
    for (head, status) in [
        ("GET / HTTP/1.1\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200)), 431),
    ] {
        let response = request(&server, &head);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.80}\n{response}");
        server.next_refused();
    }
    server.takes_a_good_file();
}

#[test]
fn fr_1_a_frame_against_the_rules_is_closed_with_1002() {
    for engine in engines() {
        for (wire, what) in [
            (unmasked(0x82, b"content"), "not masked"),
            (masked(0xc2, b"x"), "RSV1"),
            (masked(0xa2, b"x"), "RSV2"),
            (masked(0x92, b"x"), "RSV3"),
            (masked(0x83, b"x"), "a reserved data opcode"),
            (masked(0x8b, b"x"), "a reserved control opcode"),
            (fragment(PING, b"x"), "a fragmented ping"),
            (masked(0x89, &[0; 126]), "a long ping"),
            (frame(CONTINUATION, b"x"), "a continuation of nothing"),
            ([fragment(BINARY, b"x"), frame(BINARY, b"y")].concat(), "a message in a message"),
            (masked(0x88, b"x"), "a Close with one byte"),
            (close_frame(1005, ""), "a Close with a code that may not be sent"),
            (close_frame(999, ""), "a Close with a code below all"),
        ] {
            let server = Server::start(&["--engine", engine]);
            let mut stream = websocket(server.port(), "/");
            stream.write_all(&[frame(BINARY, b"begun"), wire].concat()).unwrap();
            assert_eq!(read_close(&mut stream).0, Some(1002), "{engine}: {what}");
            let event = server.next_interrupted();
            assert!(event["bytes"].as_u64().unwrap() >= 5, "{engine} {what}: {event}");
            assert_eq!(server.published(), Vec::<String>::new(), "{engine}: {what}");
            server.takes_a_good_file();
        }
    }
}

#[test]
fn ut_2_text_that_is_none_is_closed_with_1007() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&frame(TEXT, b"\xff")).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1007), "{engine}");
        server.next_refused();
    }
}

#[test]
fn fr_7_lengths_not_in_their_shortest_form_are_closed_with_1002() {
    let server = Server::start(&[]);
    for header in [&[0x82, 0xfe, 0, 5][..], &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]] {
        let mut stream = websocket(server.port(), "/");
        stream.write_all(&[header, &[1, 2, 3, 4, 5]].concat()).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1002), "{header:02x?}");
        server.next_refused();
    }
    server.takes_a_good_file();
}

#[test]
fn lm_4_a_message_beyond_the_echo_limit_is_closed_with_1009() {
    let server = Server::start(&[]);
    let mut stream = websocket(server.port(), "/echo");
    stream
        .write_all(&anyport_testkit::harness::wire::masked_header(0x82, 16 * 1024 * 1024 + 1))
        .unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1009));
}

#[test]
fn invalid_messages_of_the_subprotocol_are_refused() {
    for engine in engines() {
        for text in ["no json", "{}", "[]", r#"{"hello":1}"#, r#"{"end":{}}"#, r#"{"offer":5}"#] {
            let server = Server::start(&["--engine", engine]);
            let mut stream = announced(server.port());
            stream.write_all(&frame(TEXT, text.as_bytes())).unwrap();
            let (opcode, reported) = read_frame(&mut stream);
            assert_eq!(opcode, TEXT, "{engine} {text}");
            let reported: Value = serde_json::from_slice(&reported).unwrap();
            assert_eq!(reported["error"]["code"], "bad-request", "{engine} {text} {reported}");
            assert_eq!(read_close(&mut stream).0, Some(1008), "{engine} {text}");
            server.next_refused();
            server.takes_a_good_file();
        }
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_closed_port_is_unreachable_with_a_hint() {
    // Bound once and closed, so there is no listener.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sample = Sample::new("x", b"x");
    for (scheme, flags) in
        [("tcp", &[][..]), ("ws", &[]), ("ws", &["--engine", "library"]), ("frames", &[])]
    {
        let url = format!("{scheme}://127.0.0.1:{port}/");
        let outcome = anyport(&[&["send"], flags, &[sample.path(), url.as_str()]].concat());
        outcome.exits(3).says(&format!("127.0.0.1:{port}")).says("hint: ").says("anyport serve");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let sample = Sample::new("x", b"x");
    let outcome = anyport(&["send", sample.path(), "tcp://no.such.host.invalid:1/"]);
    outcome.exits(3).says("no.such.host.invalid").says("hint: ");
}

#[test]
fn a_missing_file_is_named() {
    for url in ["tcp://127.0.0.1:1/", "ws://127.0.0.1:1/"] {
        anyport(&["send", "/no/such/file", url])
            .exits(1)
            .says("/no/such/file")
            .says("No such file");
    }
}

#[test]
fn a_directory_has_names_that_plain_bytes_do_not_carry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    // It stands for what is in it, which --plain has no names for.
    let server = Server::start(&[]);
    std::fs::write(directory.path().join("a"), "a").unwrap();
    anyport(&["send", "--plain", path, &server.url("tcp", "")])
        .exits(2)
        .says("cannot send directories");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_command_line_that_makes_no_sense_exits_2() {
    let sample = Sample::new("x", b"x");
    let file = sample.path();
    for (arguments, words) in [
        (&["send", file, "ftp://127.0.0.1:1/"][..], "unknown scheme \"ftp\""),
        (&["send", file, "gopher://127.0.0.1:1"], "unknown scheme \"gopher\""),
        (&["send", file, "ws://127.0.0.1:99999/"], "port"),
        (&["send", file, "tcp:///x"], "has no host"),
        (&["send", "--plain", file, "ws://127.0.0.1:1/"], "--plain"),
        (&["send", "--plain", file, "tcp://127.0.0.1:1/name"], "--plain"),
        (&["send", "--engine", "library", file, "tcp://127.0.0.1:1/"], "ws://"),
        (&["send", "--engine", "library", file, "frames://127.0.0.1:1/"], "ws://"),
        (&["send", "--frame-size", "0", file, "ws://127.0.0.1:1/"], "--frame-size"),
        (&["send", "--digest", "md5", file, "ws://127.0.0.1:1/"], "--digest"),
        (&["send", file], "missing URL"),
        (&["serve", "--sink", "nowhere"], "--sink"),
        (&["serve", "--idle-timeout", "5"], "--idle-timeout"),
        (&["serve", "--max-conns", "0"], "--max-conns"),
        (&["frobnicate"], "frobnicate"),
        (&[], "Usage"),
    ] {
        let outcome = anyport(arguments);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        outcome.exits(2).says(words);
    }
}

#[test]
fn a_bad_preface_line_gets_one_error_line() {
    let long = format!("ANYPORT/1 PUT {}\n", "x".repeat(5000));
    let server = Server::start(&[]);
    for (line, code, words) in [
        ("ANYPORT/1 PUT x sise=5\n", "bad-request", "sise"),
        ("ANYPORT/1 PUT\n", "bad-request", "PUT needs a name"),
        ("ANYPORT/1 PUT my photo.jpg\n", "bad-request", "%20"),
        ("ANYPORT/1 PUT x size=five\n", "bad-request", "size"),
        ("ANYPORT/1 PUT x size=-1\n", "bad-request", "size"),
        ("ANYPORT/1 PUT x size=1 size=2\n", "bad-request", "twice"),
        ("ANYPORT/1 PUT x digest=md5\n", "bad-request", "md5"),
        ("ANYPORT/1 PUT %zz\n", "bad-request", "%zz"),
        ("ANYPORT/1 FROB x\n", "bad-request", "FROB"),
        ("ANYPORT/2 PUT x\n", "bad-request", "ANYPORT/2"),
        ("ANYPORT/1 ECHO this\n", "bad-request", "unexpected word \"this\""),
        (&long, "bad-request", "4096"),
        ("ANYPORT/1 PUT x", "bad-request", "ended inside a line"),
    ] {
        let answer = converse(&mut connect(server.port()), line.as_bytes());
        let start = format!("ANYPORT/1 ERROR {code} ");
        assert!(answer.starts_with(&start), "{line:.60?}: {answer:?}");
        assert!(answer.contains(words), "{line:.60?}: no {words:?} in {answer:?}");
        assert_eq!(answer.matches('\n').count(), 1, "{line:.60?}: {answer:?}");
        server.next_refused();
    }
    assert_eq!(server.names(), Vec::<String>::new());
    server.takes_a_good_file();
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn an_end_line_that_is_none_is_an_error_and_an_interruption() {
    let server = Server::start(&[]);
    for end in ["END blake3:xyz\n", "FINE\n", "END sha256 x\n", "ANYPORT/1 PUT y\n"] {
        let wire = format!("ANYPORT/1 PUT x size=5\nhello{end}");
        let answer = converse(&mut connect(server.port()), wire.as_bytes());
        assert!(answer.starts_with("ANYPORT/1 ERROR bad-request "), "{end:?}: {answer:?}");
        server.next_interrupted();
    }
    assert_eq!(server.names(), Vec::<String>::new());
    server.takes_a_good_file();
}

#[test]
fn a_port_in_use_is_an_error_with_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    anyport(&["serve", "--bind", &address, path]).exits(1).says(&address).says("hint: ");
}

#[test]
fn an_address_beyond_this_machine_needs_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    for wide in ["0.0.0.0:0", "[::]:0"] {
        anyport(&["serve", "--bind", wide, path]).exits(2).says("--open");
    }
    let server = Server::start_on(&["0.0.0.0:0"], &["--open"]);
    server.takes_a_good_file();
}

#[test]
fn a_directory_that_is_none_cannot_be_served() {
    let sample = Sample::new("file", b"");
    for path in ["/no/such/dir", sample.path()] {
        let outcome = anyport(&["serve", "--bind", "127.0.0.1:0", path]);
        outcome.exits(1).says(path).says("hint: ").says("directory");
    }
}

/// Names that try to leave the directory, and where they land instead (`None`: refused).
const HOSTILE: [(&str, Option<&str>); 11] = [
    ("../../x", Some("x")),
    ("/etc/passwd", Some("etc/passwd")),
    ("a/../b", Some("a/b")),
    (r"..\..\windows.ini", Some(".._.._windows.ini")),
    (r"C:\autoexec.bat", Some("C:_autoexec.bat")),
    (".anyport-x.part", Some("_.anyport-x.part")),
    ("bell\u{7}\u{1b}[2J\n\0.txt", Some("bell__[2J__.txt")),
    ("right\u{202e}left", Some("right_left")),
    ("..", None),
    ("a/..", None),
    ("dir/", None),
];

fn percent(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Nothing beside the served directory was touched.
fn nothing_escaped(server: &Server) {
    let parent = server.dir().parent().unwrap();
    let beside: Vec<_> =
        std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, [server.dir().file_name().unwrap()]);
}

#[test]
fn hostile_names_in_a_preface_stay_in_the_directory() {
    let server = Server::start(&[]);
    for (asked, lands) in HOSTILE {
        let wire = format!("ANYPORT/1 PUT {} size=1\nxEND\n", percent(asked));
        let answer = converse(&mut connect(server.port()), wire.as_bytes());
        if let Some(lands) = lands {
            let receipt = server.next_receipt();
            assert_eq!(receipt["path"], lands, "{asked:?}");
            assert_eq!(receipt["name"], asked, "the receipt says what was asked");
            assert_eq!(server.stored(&receipt), b"x");
        } else {
            assert!(answer.starts_with("ANYPORT/1 ERROR bad-name "), "{asked:?}: {answer:?}");
            server.next_refused();
        }
        assert_eq!(answer.matches('\n').count(), 1, "{asked:?}: {answer:?}");
    }
    nothing_escaped(&server);
}

#[test]
fn hostile_names_in_an_offer_stay_in_the_directory() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        for (asked, lands) in HOSTILE {
            let mut stream = announced(server.port());
            let offer = serde_json::json!({ "offer": { "name": asked, "size": 1 } });
            let wire = [
                frame(TEXT, offer.to_string().as_bytes()),
                frame(BINARY, b"x"),
                frame(TEXT, br#"{"end":{"bytes":1}}"#),
            ];
            stream.write_all(&wire.concat()).unwrap();
            let (_, reported) = read_frame(&mut stream);
            let reported: Value = serde_json::from_slice(&reported).unwrap();
            if let Some(lands) = lands {
                assert_eq!(reported["receipt"]["path"], lands, "{asked:?} {reported}");
                server.next_receipt();
            } else {
                assert_eq!(reported["error"]["code"], "bad-name", "{asked:?} {reported}");
                server.next_refused();
            }
        }
        nothing_escaped(&server);
    }
}

#[test]
fn a_name_of_300_bytes_is_cut_before_its_extension() {
    let server = Server::start(&[]);
    let wire = format!("ANYPORT/1 PUT {}.tar.gz size=1\nxEND\n", "n".repeat(300));
    converse(&mut connect(server.port()), wire.as_bytes());
    let receipt = server.next_receipt();
    let path = receipt["path"].as_str().unwrap();
    assert_eq!(path.len(), 255, "{path}");
    assert!(path.ends_with("n.tar.gz"), "{path}");
    assert_eq!(server.stored(&receipt), b"x");
}

#[test]
fn a_link_with_a_files_name_is_not_followed() {
    let server = Server::start(&[]);
    let outside = Sample::new("outside", b"untouched");
    std::os::unix::fs::symlink(outside.path(), server.dir().join("x")).unwrap();
    converse(&mut connect(server.port()), b"ANYPORT/1 PUT x size=3\nnewEND\n");
    assert_eq!(server.next_receipt()["path"], "x-1");
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"untouched");
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_file_beyond_max_size_is_refused_before_any_content() {
    for engine in engines() {
        let server = Server::start(&["--max-size", "1000", "--engine", engine]);
        let sample = Sample::sparse("large", 1 << 30);
        let clients = [("tcp", &[][..]), ("ws", &[]), ("ws", &["--engine", "library"])];
        for (scheme, flags) in clients.into_iter().chain([("frames", &[][..])]) {
            let url = server.url(scheme, "");
            let outcome = anyport(&[&["send"], flags, &[sample.path(), url.as_str()]].concat());
            outcome.exits(4).says("exceeds the server's limit of 1000 bytes (--max-size)");
            server.next_refused();
        }
        assert_eq!(server.names(), Vec::<String>::new());
        server.takes_a_good_file();
    }
}

#[test]
fn an_unannounced_file_beyond_max_size_is_cut_off_and_not_kept() {
    let server = Server::start(&["--max-size", "1000"]);
    let answer = converse(&mut connect(server.port()), &[0; 1001]);
    assert!(answer.starts_with("ANYPORT/1 ERROR too-large "), "{answer:?}");
    server.next_interrupted();
    let mut stream = websocket(server.port(), "/");
    stream.write_all(&frame(BINARY, &[0; 1001])).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1009));
    server.next_interrupted();
    assert_eq!(server.names(), Vec::<String>::new());
    // Exactly the limit is within it.
    converse(&mut connect(server.port()), &[0; 1000]);
    assert_eq!(server.next_receipt()["bytes"], 1000);
}

#[test]
fn more_than_was_announced_is_refused() {
    let server = Server::start(&[]);
    let mut stream = announced(server.port());
    let wire = [frame(TEXT, br#"{"offer":{"name":"x","size":3}}"#), frame(BINARY, b"four")];
    stream.write_all(&wire.concat()).unwrap();
    let (_, reported) = read_frame(&mut stream);
    let reported: Value = serde_json::from_slice(&reported).unwrap();
    assert_eq!(reported["error"]["code"], "size-mismatch", "{reported}");
    server.next_interrupted();
    server.takes_a_good_file();
}

#[test]
fn a_connection_without_a_byte_is_no_file_and_no_event() {
    let server = Server::start(&[]);
    for _ in 0..10 {
        drop(connect(server.port()));
        let mut stream = connect(server.port());
        assert_eq!(converse(&mut stream, b""), "");
    }
    assert_eq!(server.names(), Vec::<String>::new());
    server.takes_a_good_file();
    assert_eq!(server.stop(), Vec::<Value>::new());
}

#[test]
fn a_websocket_without_content_is_no_file() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let mut stream = websocket(server.port(), "/files/x");
        stream.write_all(&close_frame(1000, "")).unwrap();
        assert_eq!(read_close(&mut stream).0, Some(1000), "{engine}");
        drop(stream);
        let mut stream = websocket(server.port(), "/files/x");
        stream.shutdown(Shutdown::Write).unwrap();
        read_text(&mut stream);
        assert_eq!(server.names(), Vec::<String>::new(), "{engine}");
        server.takes_a_good_file();
        assert_eq!(server.stop(), Vec::<Value>::new(), "{engine}");
    }
}

#[test]
fn tls_is_refused_with_an_alert() {
    let server = Server::start(&["--tls", "off"]);
    let hello = anyport_testkit::hex("16 03 01 00c8 01 0000c4 03 03");
    let mut stream = connect(server.port());
    stream.write_all(&hello).unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert, [0x15, 3, 3, 0, 2, 2, 40], "a fatal alert, handshake_failure");
    assert_eq!(server.next_refused()["protocol"], "tls");
    server.takes_a_good_file();
}

/// Sending slowly does not help: the time counts from the first byte.
#[test]
fn hs_7_a_slow_handshake_times_out_with_408() {
    let server = Server::start(&["--handshake-timeout", "300ms", "--detect-timeout", "10s"]);
    let mut stream = connect(server.port());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut slow = stream.try_clone().unwrap();
    let send_slowly = std::thread::spawn(move || {
        while slow.write_all(b"A").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let status = read_line(&mut stream);
    assert!(status.starts_with("HTTP/1.1 408 "), "{status:?}");
    stream.shutdown(Shutdown::Both).unwrap();
    send_slowly.join().unwrap();
    server.next_refused();
    server.takes_a_good_file();
}

#[test]
fn hs_7_a_silent_handshake_times_out_with_408() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let response = request(&server, "GET / HTTP/1.1\r\nHost: x\r\n");
    assert!(response.starts_with("HTTP/1.1 408 "), "{response:?}");
    server.next_refused();
}

/// A peer that takes one connection, reads until something ends in `last` and a line feed, and
/// answers with fixed words.
fn fake_server(last: &str, answer: &str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (last, answer) = (format!("{last}\n"), answer.to_owned());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(last.as_bytes()) && stream.read(&mut byte).unwrap() > 0 {
            read.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (address, served)
}

#[test]
fn a_wrong_receipt_exits_5_and_names_the_difference() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"hello");
    let end = format!("END {}", blake3(b"hello"));
    for (arrived, found) in [("hello!", "6 bytes".to_owned()), ("hell0", blake3(b"hell0"))] {
        let receipt = converse(&mut connect(server.port()), arrived.as_bytes());
        let (address, served) = fake_server(&end, &receipt);
        let outcome = anyport(&["send", sample.path(), &format!("tcp://{address}/")]);
        served.join().unwrap();
        outcome.exits(5).says(&found).says("sent").says("hint: ");
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn a_server_of_another_kind_is_named() {
    let sample = Sample::new("x", b"hello");
    let end = format!("END {}", blake3(b"hello"));
    for (flags, scheme, last, answer, code, words) in [
        (&[][..], "ws", "\r\n\r", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 4, "200"),
        (&["--engine", "library"], "ws", "\r\n\r", "HTTP/1.1 404 No\r\n\r\n", 4, "404"),
        (&[], "ws", "\r\n\r", "220 mail.example ESMTP\r\n\r\n", 4, "does not speak HTTP"),
        (&[], "tcp", &end, "220 mail.example ESMTP\r\n", 1, "220 mail.example"),
        (&[], "tcp", &end, "", 6, " lost after "),
        (&["--plain"], "tcp", "", "", 0, "no receipt"),
    ] {
        let (address, served) = fake_server(last, answer);
        let url = format!("{scheme}://{address}/");
        let send = ["send", "--retry", "0"];
        let outcome = anyport(&[&send, flags, &[sample.path(), url.as_str()]].concat());
        served.join().unwrap();
        outcome.exits(code).says(words);
    }
}

/// Help and version are answers, not mistakes.
#[test]
fn help_and_version_go_to_stdout() {
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"], &["send", "-h"]] {
        let outcome = start(arguments).outcome().succeeds();
        assert!(!outcome.stdout.is_empty(), "{arguments:?}");
        assert_eq!(outcome.stderr, "", "{arguments:?}");
    }
}

/// What a listener does not take it does not look for, and what is left is refused in words.
#[test]
fn dt_3_only_the_configured_protocols_are_accepted() {
    let request = upgrade("/files/x", "");
    let raw = Server::start(&["--only", "raw"]);
    for first in [request.as_bytes(), &frame(BINARY, b"a frame")] {
        let mut stream = connect(raw.port());
        converse(&mut stream, first);
        assert_eq!(raw.stored(&raw.next_receipt()), first);
    }

    let ws = Server::start(&["--only", "ws"]);
    let mut stream = connect(ws.port());
    assert!(converse(&mut stream, b"a raw file\r\n\r\n").starts_with("HTTP/1.1 400 "));
    ws.next_refused();
    let mut stream = websocket(ws.port(), "/files/x");
    stream.write_all(&[frame(BINARY, b"content"), close_frame(1000, "")].concat()).unwrap();
    assert_eq!(ws.stored(&ws.next_receipt()), b"content");

    let frames = Server::start(&["--only", "frames"]);
    for first in
        [b"a raw file".to_vec(), [frame(BINARY, b"a frame"), b"and more".to_vec()].concat()]
    {
        let mut stream = connect(frames.port());
        let answer = converse(&mut stream, &first);
        assert!(answer.starts_with("ANYPORT/1 ERROR not-supported "), "{answer:?}");
        assert!(frames.next_refused()["reason"].as_str().unwrap().contains("--only"));
    }
    assert_eq!(frames.published(), Vec::<String>::new());

    let http = Server::start(&["--only", "http"]);
    let mut stream = connect(http.port());
    assert!(converse(&mut stream, request.as_bytes()).starts_with("HTTP/1.1 403 "));

    let blind = Server::start(&["--no-detect"]);
    let mut stream = connect(blind.port());
    converse(&mut stream, b"ANYPORT/1 PUT x size=1\n");
    assert_eq!(blind.stored(&blind.next_receipt()), b"ANYPORT/1 PUT x size=1\n");
    anyport(&["serve", "--only", "ftp"])
        .exits(2)
        .says("expected one of raw, http, ws, frames, tls");
}

#[test]
fn an_impossible_target_is_wrong_usage() {
    let sample = Sample::new("x.bin", b"content");
    let empty = Sample::new("empty.bin", b"");
    let path = sample.path();
    for (arguments, words) in [
        (
            vec!["send", "-", "-", "tcp://127.0.0.1:1/"],
            "standard input (-) is given more than once",
        ),
        (vec!["send", path, path, "tcp://127.0.0.1:1/name"], "names one file"),
        (vec!["send", path, "tcp://127.0.0.1:1/a/../b"], "invalid path in the URL"),
        (vec!["send", "--plain", empty.path(), "tcp://127.0.0.1:1/"], "empty file"),
        (vec!["serve", "--keep-partial", "1s"], "--keep-partial must be at least --idle-timeout"),
    ] {
        anyport(&arguments).exits(2).says(words);
    }
}

/// A received digest is never ignored: none was computed to compare it with.
#[test]
fn a_digest_beside_digest_none_is_refused() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    let end = format!("END sha256:{:064}\n", 0);
    let answer =
        converse(&mut stream, format!("ANYPORT/1 PUT n size=5 digest=none\nhello{end}").as_bytes());
    assert!(answer.starts_with("ANYPORT/1 ERROR bad-request "), "{answer:?}");
    assert_eq!(server.published(), Vec::<String>::new());
}

#[test]
fn a_server_that_never_answers_is_called_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sample = Sample::new("x.bin", b"content");
    for (scheme, limit) in
        [("tcp", "--timeout"), ("ws", "--connect-timeout"), ("frames", "--timeout")]
    {
        let url = format!("{scheme}://127.0.0.1:{port}/");
        let flags = ["send", "--retry", "0", "--timeout", "300ms", "--connect-timeout", "300ms"];
        anyport(&[&flags[..], &[sample.path(), &url]].concat())
            .exits(6)
            .says(&format!("for too long ({limit})"));
    }
}
