//! permessage-deflate (RFC 7692): agreed on where both ask for it, both roles, and never a way to
//! fill memory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyport_testkit::harness::deflate::{COMPRESSED, OFFER, bomb, compressing, deflated};
use anyport_testkit::harness::python::python_websockets;
use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::wire::{
    BINARY, TEXT, connect, masked, read_close, read_frame, read_head, read_line, upgrade,
};
use anyport_testkit::harness::{Sample, Server, anyport, blake3};

/// Passes one connection through to `port`, and counts what the client sends.
fn relay(port: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = connect(port);
        let (mut to_client, mut from_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        let back = std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            counted.fetch_add(read as u64, Ordering::Relaxed);
            server.write_all(&buffer[..read]).unwrap();
        }
        let _ = server.shutdown(Shutdown::Write);
        let _ = back.join();
    });
    (here, count)
}

fn text() -> Vec<u8> {
    (0..60_000_u32)
        .flat_map(|line| format!("line {line}: all work and no play\n").into_bytes())
        .collect()
}

#[test]
fn pd_send_and_serve_agree_where_both_ask_for_it() {
    let content = text();
    let sample = Sample::new("words.txt", &content);
    for (serve, send, compressed) in
        [(true, true, true), (true, false, false), (false, true, false)]
    {
        let server = Server::start(if serve { &["--deflate"] } else { &[] });
        let (port, count) = relay(server.port());
        let url = format!("ws://127.0.0.1:{port}/files/words.txt");
        let mut arguments = vec!["send", sample.path(), &url];
        arguments.extend(send.then_some("--deflate"));
        anyport(&arguments).succeeds();
        let receipt = server.next_receipt();
        // Bytes and digest are the content's, whatever went over the wire.
        assert_eq!(receipt["bytes"], content.len(), "{receipt}");
        assert_eq!(receipt["digest"], blake3(&content), "{receipt}");
        assert_eq!(server.stored(&receipt), content);
        let wire = count.load(Ordering::Relaxed);
        assert_eq!(wire < content.len() as u64 / 3, compressed, "{wire} of {}", content.len());
    }
}

#[test]
fn pd_send_of_what_does_not_compress_and_of_a_pipe() {
    let server = Server::start(&["--deflate"]);
    let content = anyport_testkit::noise(3 * 1024 * 1024 + 7, 5);
    let sample = Sample::new("noise", &content);
    for (file, name) in [(sample.path(), "a"), ("/proc/self/cmdline", "b")] {
        anyport(&["send", "--deflate", file, &server.url("ws", &format!("files/{name}"))])
            .succeeds();
        let receipt = server.next_receipt();
        if name == "a" {
            assert_eq!(server.stored(&receipt), content);
        } else {
            assert!(
                server.stored(&receipt).starts_with(b"anyport")
                    || receipt["bytes"].as_u64() > Some(0)
            );
        }
    }
}

#[test]
fn pd_websockets_of_python_compresses_both_ways() {
    let server = Server::start(&["--deflate"]);
    let script = r"
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate
for offer in [Deflate(), Deflate(server_max_window_bits=9), Deflate(client_max_window_bits=9),
              Deflate(server_no_context_takeover=True, client_no_context_takeover=True)]:
    with connect('/echo', compression=None, extensions=[offer]) as ws:
        names = [e.name for e in ws.protocol.extensions]
        assert names == ['permessage-deflate'], names
        large = [noise(1024 * 1024), bytes(3_000_000)]
        for message in ['', 'hello', 'ü' * 70_000, 'hello', b'', b'x'] + large:
            ws.send(message)
            got = ws.recv()
            assert type(got) is type(message) and got == message, (type(got), len(got))
        ws.send(iter(['frag', 'men', 'ted']))
        assert ws.recv() == 'fragmented'
with connect('/files/py.txt', compression='deflate') as ws:
    data = b'all work and no play ' * 100_000
    for at in range(0, len(data), 300_000):
        ws.send(data[at:at + 300_000])
out(data)
";
    if python_websockets(&server, script).is_none() {
        return;
    }
    let receipt = server.next_receipt();
    assert_eq!(receipt["bytes"], 2_100_000, "{receipt}");
    assert_eq!(server.stored(&receipt), b"all work and no play ".repeat(100_000));
}

#[test]
fn pd_8_a_bomb_on_an_upload_is_streamed_and_bounded_by_max_size() {
    let server = Server::start(&["--deflate", "--max-size", "64MiB"]);
    server.takes_a_good_file();
    let before = server.peak_memory();
    let mut stream = compressing(server.port(), "/files/bomb");
    let _ = stream.write_all(&masked(COMPRESSED | BINARY, &bomb(128 << 20)));
    let (code, reason) = read_close(&mut stream);
    assert_eq!(code, Some(1009), "{reason}");
    server.next_interrupted();
    assert_eq!(server.published(), Vec::<String>::new());
    let grown = server.peak_memory() - before;
    assert!(grown < 1 << 20, "{grown} bytes");
    server.takes_a_good_file();
}

#[test]
fn pd_8_an_echo_at_the_limit_is_returned_compressed() {
    let server = Server::start(&["--deflate"]);
    let mut stream = compressing(server.port(), "/echo");
    stream.write_all(&masked(COMPRESSED | BINARY, &bomb(16 << 20))).unwrap();
    let mut first = [0; 1];
    stream.peek(&mut first).unwrap();
    assert_eq!(first, [COMPRESSED | BINARY], "compressed");
}

#[test]
fn pd_9_the_close_for_garbage_names_the_rule() {
    let server = Server::start(&["--deflate"]);
    let mut stream = compressing(server.port(), "/echo");
    // A whole message before it is answered first.
    stream.write_all(&masked(0x80 | TEXT, b"plain")).unwrap();
    stream.write_all(&masked(COMPRESSED | TEXT, b"\xff\xff")).unwrap();
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[0], COMPRESSED | TEXT);
    let mut payload = vec![0; usize::from(header[1])];
    stream.read_exact(&mut payload).unwrap();
    let (code, reason) = read_close(&mut stream);
    assert_eq!(code, Some(1007));
    assert!(reason.contains("RFC 7692 §7.2.2"), "{reason}");
    let refused = server.next_refused();
    assert!(refused["reason"].as_str().unwrap().contains("DEFLATE"), "{refused}");
}

#[test]
fn pd_1_an_offer_is_ignored_without_deflate_and_rsv1_is_refused() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(upgrade("/echo", OFFER).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("Extensions"), "{head}");
    stream.write_all(&masked(0x80 | TEXT, b"plain")).unwrap();
    assert_eq!(read_frame(&mut stream), (TEXT, b"plain".to_vec()));
    stream.write_all(&masked(COMPRESSED | TEXT, b"\x00")).unwrap();
    assert_eq!(read_close(&mut stream).0, Some(1002));
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn deflate_without_the_built_in_websocket_is_a_usage_error() {
    let sample = Sample::new("a", b"a");
    anyport(&["send", "--deflate", sample.path(), "tcp://127.0.0.1:1/"]).exits(2).says("--deflate");
    let library = ["send", "--deflate", "--engine", "library", sample.path(), "ws://127.0.0.1:1/"];
    anyport(&library).exits(2).says("not supported by --engine library");
    anyport(&["serve", "--deflate", "--engine", "library", "."])
        .exits(2)
        .says("not supported by --engine library");
}

/// The bombs are within the limits: each continues as long as the server reads.
#[test]
fn members_receive_messages_beside_members_that_inflate_a_lot() {
    let server = Server::start(&["--deflate"]);
    let messages =
        [deflated(&[b'a'; 60_000]), vec![0], [&[3, 0].repeat(60_000)[..], &[0]].concat()];
    for (number, message) in messages.into_iter().enumerate() {
        let mut bomb = compressing(server.port(), &format!("/rooms/bomb-{number}"));
        let wire = masked(COMPRESSED | TEXT, &message).repeat(100);
        std::thread::spawn(move || while bomb.write_all(&wire).is_ok() {});
    }
    // One member with compression, one without: they are on different threads.
    let mut plain = join(&server, "r as plain");
    let mut packed = compressing(server.port(), "/rooms/r?as=packed&history=0");
    assert_eq!(read_line(&mut plain), "* packed joined");
    assert_eq!(read_frame(&mut packed).1, b"* you are packed in r; here: plain");
    for round in 0..50 {
        let text = format!("round {round}");
        writeln!(plain, "{text}").unwrap();
        assert_eq!(read_frame(&mut packed).1, format!("plain: {text}").into_bytes());
        packed.write_all(&masked(COMPRESSED | TEXT, &deflated(text.as_bytes()))).unwrap();
        assert_eq!(read_line(&mut plain), format!("packed: {text}"));
    }
}
