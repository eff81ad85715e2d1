//! Unix sockets: `serve --bind unix:PATH`, and clients that connect to one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyport_testkit::harness::http2::{DATA, HEADERS, Http2Peer};
use anyport_testkit::harness::program::announcement;
use anyport_testkit::harness::wire::{converse, read_line};
use anyport_testkit::harness::{
    DEADLINE, Running, Sample, Server, anyport, anyport_with_input, assert_same_bytes, blake3,
    peer, start,
};
use anyport_testkit::noise;
use tempfile::TempDir;

/// A path for a socket, and the address of it.
fn place() -> (TempDir, PathBuf, String) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sock");
    let address = format!("unix:{}", path.display());
    (scratch, path, address)
}

/// Connects; the stream is used as one of TCP, as the helpers for those do.
fn connect(path: &Path) -> TcpStream {
    let stream = TcpStream::from(OwnedFd::from(UnixStream::connect(path).unwrap()));
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Joins the room `lobby`, and reads the reply and the welcome.
fn join(path: &Path, name: &str) -> TcpStream {
    let mut stream = connect(path);
    stream.write_all(format!("ANYPORT/1 JOIN lobby as {name}\n").as_bytes()).unwrap();
    assert!(read_line(&mut stream).starts_with("ANYPORT/1 JOINED room="));
    assert!(read_line(&mut stream).contains(&format!("you are {name}")));
    stream
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Large enough for a bulk thread, splice and sendfile.
const LARGE: usize = 6 * 1024 * 1024;

#[test]
fn files_move_both_ways_over_every_scheme() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &[]);
    assert_eq!(server.listening()[0]["addr"], address);
    let socket = path.to_str().unwrap();
    let content = noise(LARGE, 77);
    for scheme in ["tcp", "tls", "ws", "wss", "frames", "frames+tls", "http", "https", "unix"] {
        let sample = Sample::new(&format!("{scheme}.bin"), &content);
        let (to, from, flags) = match scheme {
            "unix" => (address.clone(), format!("{address}:/unix.bin"), vec![]),
            scheme => {
                let url = format!("{scheme}://localhost/");
                let from = format!("{url}{scheme}.bin");
                (url, from, vec!["-k", "--unix-socket", socket])
            }
        };
        anyport(&[&["send", sample.path(), &to], &flags[..]].concat()).succeeds();
        let receipt = server.next_receipt();
        assert_eq!(
            (&receipt["peer"], &receipt["digest"]),
            (&"unix".into(), &blake3(&content).into())
        );
        assert_same_bytes(&server.stored(&receipt), &content);
        let file = tempfile::tempdir().unwrap();
        let file = file.path().join("x");
        let file = file.to_str().unwrap();
        anyport(&[&["get", &from, "-o", file], &flags[..]].concat()).succeeds();
        assert_same_bytes(&std::fs::read(file).unwrap(), &content);
        assert_eq!(server.next_event()["event"], "sent");
    }
}

#[test]
fn third_party_programs_use_it() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &[]);
    let socket = path.to_str().unwrap();
    let content = noise(LARGE, 78);
    let sample = Sample::new("x.bin", &content);
    if let Some(mut curl) = peer("curl") {
        let url = "http://localhost/curl.bin";
        curl.args(["-sS", "--unix-socket", socket, "-T", sample.path(), url]);
        Running::start(curl, None).outcome().succeeds();
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    }
    for arguments in [&["-N", "-U"][..], &["-U"]] {
        let Some(mut nc) = peer("nc") else { return };
        nc.args(arguments).arg(socket);
        let mut nc = Running::start(nc, Some(content.clone()));
        if arguments == ["-U"] {
            // It waits for the server, which waits for it; killed, it closes both directions.
            server_has(&server, LARGE);
            nc.kill();
        }
        let receipt = server.next_receipt();
        assert_same_bytes(&server.stored(&receipt), &content);
    }
}

fn server_has(server: &Server, bytes: usize) {
    anyport_testkit::harness::wait_until("all bytes", || {
        let part = server.names().into_iter().find(|name| name.ends_with(".part"))?;
        let length = std::fs::metadata(server.dir().join(part)).ok()?.len();
        (length >= bytes as u64).then_some(())
    });
}

#[test]
fn interactive_commands_use_it() {
    let (_scratch, path, address) = place();
    let echo = path.with_file_name("echo.sock");
    let echo_url = format!("echo://unix:{}?mode=0600", echo.display());
    let listen = format!("any://{address}");
    let server = Server::start_listening(&[&listen, &echo_url], &[]);
    assert_eq!(server.listening()[1]["udp"], false);
    assert_eq!((mode(&path), mode(&echo)), (0o660, 0o600));
    let echoed = anyport_with_input(&["cat", &format!("unix:{}", echo.display())], b"hello\n");
    assert_eq!(echoed.succeeds().stdout, "hello\n");
    let socket = path.to_str().unwrap();
    let echoed =
        anyport_with_input(&["cat", "--unix-socket", socket, "ws://localhost/echo"], b"one\n");
    assert_eq!(echoed.succeeds().stdout, "one\n");
    let mut guest = join(&path, "guest");
    let room = format!("{address}:/rooms/lobby");
    anyport_with_input(&["chat", &room, "--as", "alice"], b"hi\nthere\n").succeeds();
    let lines: Vec<String> = (0..4).map(|_| read_line(&mut guest)).collect();
    assert_eq!(lines, ["* alice joined", "alice: hi", "alice: there", "* alice left"]);
    std::fs::write(server.dir().join("listed"), "x").unwrap();
    assert!(anyport(&["ls", &address]).succeeds().stdout.contains("listed"));
    // A pipe between two clients; the sender is gone when its content is read.
    let receiver = start(&["get", &address, "--pipe", "key", "-o", "-"]);
    anyport_with_input(&["send", "-", &address, "--pipe", "key"], b"through\n").succeeds();
    assert_eq!(receiver.outcome().succeeds().stdout, "through\n");
}

#[test]
fn http_1_and_2_and_a_whole_close_are_served() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &[]);
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = converse(&mut connect(&path), head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    let mut http2 = Http2Peer::over(connect(&path), &[]);
    http2.get(1, "/readyz");
    assert_eq!(http2.until(DATA, 1).payload, b"ok\n");
    http2.put(3, "/two", Some(3));
    http2.send(DATA, 1, 3, b"two");
    http2.until(HEADERS, 3);
    assert_eq!(server.stored(&server.next_receipt()), b"two");
    // Unlike one of TCP, a peer that closes hangs up at once; its input is read nevertheless.
    for content in [b"ANYPORT/1 PUT p size=5\nhelloEND\n".to_vec(), noise(LARGE, 79)] {
        let mut stream = connect(&path);
        stream.write_all(&content).unwrap();
        drop(stream);
        let receipt = server.next_receipt();
        let expected: &[u8] = if content.len() < LARGE { b"hello" } else { &content };
        assert_same_bytes(&server.stored(&receipt), expected);
    }
}

/// Its unread input must not hide that it closed.
#[test]
fn content_for_a_peer_that_closed_is_never_counted_as_sent() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &[]);
    std::fs::write(server.dir().join("x"), noise(LARGE, 81)).unwrap();
    for receiver in [
        "ANYPORT/1 TAKE key\n\n",
        "GET /pipe/key HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n",
    ] {
        let mut receiver_stream = connect(&path);
        receiver_stream.write_all(receiver.as_bytes()).unwrap();
        drop(receiver_stream);
        let content = [b"ANYPORT/1 PIPE key\n", &noise(LARGE, 82)[..]].concat();
        let mut sender = connect(&path);
        let mut writer = sender.try_clone().unwrap();
        let written = std::thread::spawn(move || {
            writer.write_all(&content).and_then(|()| writer.shutdown(Shutdown::Write))
        });
        let reply = read_line(&mut sender);
        assert!(reply.starts_with("ANYPORT/1 ERROR "), "{receiver}: {reply}");
        drop(sender);
        // The server may have closed before it read everything.
        let _ = written.join().unwrap();
        server.next_refused();
    }
    let mut getter = connect(&path);
    getter.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\n").unwrap();
    drop(getter);
    assert_eq!(server.next_event()["event"], "unsent");
}

#[test]
fn the_start_names_commands_that_reach_it() {
    let (_scratch, path, address) = place();
    let said = announcement(&["--bind", &address], "reachable from this machine only");
    let path = path.display();
    for line in [
        format!("listening on {address}"),
        format!("nc -N -U {path} < FILE"),
        format!("curl --unix-socket {path} -T FILE http://localhost/"),
        format!("anyport send --unix-socket {path} FILE tcp://localhost/"),
        "add --open --bind 0.0.0.0\n".to_owned(),
    ] {
        assert!(said.contains(&line), "no {line:?} in {said}");
    }
    assert!(!said.contains("browser") && !said.contains("websocat"), "{said}");
}

/// The room delays messages beyond its rate, and the sender does not wait for that.
#[test]
fn messages_of_a_member_that_closed_are_delivered() {
    let (_scratch, path, address) = place();
    let _server = Server::start_on(&[&address], &["--room-rate", "20"]);
    let mut guest = join(&path, "guest");
    let lines: Vec<String> = (0..60).map(|number| format!("line {number}")).collect();
    let mut sender = join(&path, "alice");
    // The last event of the room; closing with unread input would be a reset, as over TCP.
    assert_eq!(read_line(&mut sender), "* guest joined");
    sender.write_all(format!("{}\n", lines.join("\n")).as_bytes()).unwrap();
    drop(sender);
    assert_eq!(read_line(&mut guest), "* alice joined");
    for line in lines {
        assert_eq!(read_line(&mut guest), format!("alice: {line}"));
    }
    assert_eq!(read_line(&mut guest), "* alice left");
}

/// Its socket becomes writable only when most of its buffer is free.
#[test]
fn a_peer_that_reads_slowly_gets_everything_and_one_that_does_not_read_is_disconnected() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &["--idle-timeout", "400ms"]);
    let content = noise(1024 * 1024, 80);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    let mut slow = connect(&path);
    slow.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
    let mut found = Vec::new();
    let mut piece = [0; 16 * 1024];
    // For longer than the idle timeout it does not empty the buffer by half.
    while let Ok(count @ 1..) = slow.read(&mut piece) {
        found.extend_from_slice(&piece[..count]);
        std::thread::sleep(Duration::from_millis(50));
    }
    let body = found.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_same_bytes(&found[body..], &content);
    assert_eq!(server.next_event()["event"], "sent");
    let mut stalled = connect(&path);
    stalled.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
    let unsent = server.next_event();
    assert_eq!(unsent["event"], "unsent", "{unsent}");
}

#[test]
fn a_socket_is_of_its_group_and_goes_with_the_server() {
    let (_scratch, path, address) = place();
    let control = path.with_file_name("control");
    let control = control.to_str().unwrap();
    let mut server = Server::start_on(&[&address], &["--control", control]);
    assert_eq!(mode(&path), 0o660);
    assert_eq!(server.listening()[0]["addr"], address);
    let status = anyport(&["status", "--control", control]).succeeds();
    assert!(status.stdout.contains(&format!("listening on {address}")), "{status:?}");
    anyport(&["reload", "--control", control]).succeeds();
    // Another server on the same path.
    let outcome = anyport(&["serve", "--bind", &address, "--control", "none", "."]).exits(1);
    outcome.says(&format!("cannot listen on {address}: Address already in use")).says("hint: is ");
    anyport(&["stop", "--wait", "--control", control]).succeeds();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_left_over_socket_is_replaced_and_nothing_else() {
    let (scratch, path, address) = place();
    drop(UnixListener::bind(&path).unwrap());
    let mut server = Server::start_on(&[&address], &[]);
    connect(&path).shutdown(Shutdown::Both).unwrap();
    server.kill();
    assert!(path.exists(), "a killed server leaves its socket");
    let mut server = Server::start_on(&[&address], &[]);
    // Another socket at its path is not its own.
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(path.exists(), "the socket of another server");
    let file = scratch.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let link = scratch.path().join("link");
    symlink(&path, &link).unwrap();
    for other in [&file, &link] {
        let address = format!("unix:{}", other.display());
        let outcome = anyport(&["serve", "--bind", &address, "--control", "none", "."]).exits(1);
        outcome.says("the file exists and is not a socket").says("hint: choose another path");
        assert!(other.symlink_metadata().is_ok());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
}

#[test]
fn an_impossible_path_is_refused_with_a_hint() {
    let long = format!("unix:/tmp/{}", "x".repeat(103));
    for (address, exit, words) in [
        ("unix:/nonexistent/a.sock", 1, "hint: create the directory: mkdir -p /nonexistent"),
        (&long, 2, "the path has 108 bytes; the path of a socket has at most 107"),
        ("unix:@name", 2, "abstract sockets are not supported"),
        ("unix:", 2, "the path is empty"),
        ("/run/a.sock", 2, "hint: for a Unix socket: --bind unix:/run/a.sock"),
    ] {
        anyport(&["serve", "--bind", address, "--control", "none", "."]).exits(exit).says(words);
    }
    let twice = ["serve", "--bind", "unix:a", "--listen", "any://unix:./a", "."];
    anyport(&twice).exits(2).says("is given twice");
}

#[test]
fn a_client_explains_why_it_cannot_connect() {
    let (_scratch, path, address) = place();
    let sample = Sample::new("x", b"x");
    let send = |target: &str| anyport(&["send", "--retry", "0", sample.path(), target]);
    send(&address)
        .exits(3)
        .says(&format!("cannot connect to {address}: No such file"))
        .says("hint:");
    drop(UnixListener::bind(&path).unwrap());
    send(&address).exits(3).says("Connection refused").says("hint: the server has ended");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    let hint = "hint: a path on the server follows the socket after a colon";
    send(&format!("{address}/x")).exits(3).says(hint);
    send("unix:@name").exits(3).says("abstract sockets are not supported");
    let both = ["send", "-x", "http://127.0.0.1:1", sample.path(), &address];
    anyport(&both).exits(2).says("-x cannot be combined with unix:");
    anyport(&["resolve", &address]).exits(2).says("is a Unix socket, which has no IP address");
}

/// Over TCP a client of this machine counts the same.
#[test]
fn its_clients_are_this_machine() {
    let (_scratch, path, address) = place();
    let server = Server::start_on(&[&address], &[]);
    let head = |host| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (host, status) in [("localhost", 200), ("evil.example", 421)] {
        let answer = converse(&mut connect(&path), head(host).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    server.stop();
    let server = Server::start_on(&[&address], &["--max-conns-per-ip", "1"]);
    let _held = join(&path, "held");
    assert!(matches!(connect(&path).read(&mut [0]), Ok(0) | Err(_)));
    let refused = server.next_refused();
    assert_eq!(refused["peer"], "unix", "{refused}");
}
