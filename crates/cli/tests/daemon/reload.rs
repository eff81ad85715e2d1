//! A server that runs takes new settings on SIGHUP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{Server, anyport, wait_until};

/// A server with a file of settings that changes.
struct Reloaded {
    scratch: TempDir,
    server: Server,
}

impl Reloaded {
    fn start(text: &str) -> Self {
        Self::start_with(text, Server::start)
    }

    fn start_with(text: &str, start: impl FnOnce(&[&str]) -> Server) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("anyport.toml");
        std::fs::write(&path, text).unwrap();
        let server = start(&["--config", path.to_str().unwrap()]);
        Self { scratch, server }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("anyport.toml")
    }

    /// Writes the file anew and has the server read it, which says `words`.
    fn reload(&self, text: &str, words: &str) {
        std::fs::write(self.path(), text).unwrap();
        self.server.signal("HUP");
        self.server.says(words);
    }
}

/// Returns the reply to an offer of this size.
fn offer(server: &Server, name: &str, size: usize) -> String {
    let mut stream = connect(server.port());
    let head = format!("ANYPORT/1 PUT {name} size={size}\n");
    let content = [head.as_bytes(), &vec![b'x'; size], b"END\n"].concat();
    // A refusal may come before all is written.
    let _ = stream.write_all(&content);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// A line of echo: whether this connection is served.
fn echoes(stream: &mut TcpStream, line: &str) {
    stream.write_all(line.as_bytes()).unwrap();
    let mut back = vec![0; line.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, line.as_bytes());
}

fn echo(server: &Server) -> TcpStream {
    let mut stream = connect(server.port());
    stream.write_all(b"ANYPORT/1 ECHO\n").unwrap();
    stream
}

#[test]
fn later_connections_get_new_settings_and_running_ones_keep_theirs() {
    let reloaded = Reloaded::start("max-size = 100\n");
    let server = &reloaded.server;
    assert!(offer(server, "one", 50).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    let mut running = connect(server.port());
    running.write_all(b"ANYPORT/1 PUT running size=50\n1234567890").unwrap();
    server.growing_part();
    reloaded.reload("max-size = 10\n", "reloaded: max-size is 10, was 100");
    let refused = offer(server, "two", 50);
    assert!(refused.contains("exceeds the server's limit of 10 bytes"), "{refused:?}");
    server.next_refused();
    let answer = converse(&mut running, &[&[b'x'; 40][..], b"END\n"].concat());
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    assert_eq!(server.next_receipt()["bytes"], 50);
    // What the file no longer says is the default again.
    reloaded.reload("", "reloaded: max-size is not set, was 10");
    assert!(offer(server, "three", 50).starts_with("ANYPORT/1 RECEIPT "));
}

#[test]
fn a_broken_file_changes_nothing() {
    let reloaded = Reloaded::start("max-size = 100\n");
    reloaded.reload("max-size = 10\nmax-con = 5\n", "not reloaded: ");
    reloaded.server.says(":2:1: unknown key \"max-con\"; did you mean max-conns?");
    assert!(offer(&reloaded.server, "one", 50).starts_with("ANYPORT/1 RECEIPT "));
    reloaded.reload("max-size = \"ten\"\nopen = 1\n", "(and 1 more)");
    reloaded.reload(
        "deflate = true\nengine = \"library\"\n",
        "--deflate is not supported by --engine library",
    );
    reloaded.reload("congestion = \"none-such\"\n", "not reloaded: cannot use congestion control");
    std::fs::remove_file(reloaded.path()).unwrap();
    reloaded.server.signal("HUP");
    reloaded.server.says("not reloaded: cannot read ");
    assert!(offer(&reloaded.server, "two", 50).starts_with("ANYPORT/1 RECEIPT "));
    // And then it is good again.
    reloaded.reload("max-size = 10\n", "reloaded: max-size is 10, was 100");
}

#[test]
fn settings_that_need_a_restart_are_named_and_stay() {
    let reloaded = Reloaded::start("max-size = 100\n");
    let text = "sink = \"discard\"\nbulk-threads = 7\nlisten = [\"echo://127.0.0.1:0\"]\n";
    reloaded.reload(
        text,
        "reloaded: max-size is not set, was 100; needs a restart: listen, sink, bulk-threads",
    );
    assert!(offer(&reloaded.server, "one", 50).starts_with("ANYPORT/1 RECEIPT "));
    let receipt = reloaded.server.next_receipt();
    assert_eq!(reloaded.server.stored(&receipt).len(), 50);
    // It is said as long as it is so.
    reloaded.reload(
        &format!("{text}deflate = true\n"),
        "deflate is true, was false; needs a restart: listen",
    );
    reloaded.reload("quota = 1\n", "reloaded: deflate is false, was true; needs a restart: quota");
    assert!(offer(&reloaded.server, "two", 50).starts_with("ANYPORT/1 RECEIPT "));
    // What was typed beats the file, also now.
    reloaded.reload("bind = [\"127.0.0.1:1\"]\n", "reloaded: no setting changed\n");
}

#[test]
fn places_follow_up_and_down() {
    let reloaded = Reloaded::start("max-conns = 1\n");
    let server = &reloaded.server;
    let mut first = echo(server);
    echoes(&mut first, "one\n");
    let mut second = echo(server);
    second.write_all(b"two\n").unwrap();
    second.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    second.read_exact(&mut [0; 4]).unwrap_err();
    second.set_read_timeout(Some(anyport_testkit::harness::DEADLINE)).unwrap();
    reloaded.reload("max-conns = 2\n", "max-conns is 2, was 1");
    let mut back = [0; 4];
    second.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"two\n");
    // Two are connected with one permit: none is closed, and a third one waits until both have
    // ended.
    reloaded.reload("max-conns = 1\n", "max-conns is 1, was 2");
    echoes(&mut first, "still\n");
    let mut third = echo(server);
    third.write_all(b"three\n").unwrap();
    drop(first);
    third.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    third.read_exact(&mut [0; 6]).unwrap_err();
    echoes(&mut second, "still\n");
    drop(second);
    third.set_read_timeout(Some(anyport_testkit::harness::DEADLINE)).unwrap();
    let mut back = [0; 6];
    third.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"three\n");
}

#[test]
fn settings_of_one_listener_follow_a_question_mark() {
    let text = |only: &str| format!("listen = [\"any://127.0.0.1:0?only={only}\"]\n");
    // A listener of the file alone; the harness names none.
    let reloaded =
        Reloaded::start_with(&text("raw,http"), |flags| Server::start_listening(&[], flags));
    let address = reloaded.server.addresses()[0];
    let get = |expected: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(anyport_testkit::harness::DEADLINE)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with(expected), "{answer:?}");
    };
    get("HTTP/1.1 200 ");
    reloaded.reload(&text("ws"), "reloaded: listen is any://127.0.0.1:0?only=ws, was ");
    get("HTTP/1.1 4");
    // The address itself stays.
    reloaded.reload("listen = [\"any://127.0.0.1:1?only=http\"]\n", "needs a restart: listen");
    get("HTTP/1.1 4");
}

/// What listens beyond this machine keeps what lets it, though the file says that it listens
/// elsewhere now.
#[test]
fn a_wide_listener_keeps_its_tokens() {
    let scratch = tempfile::tempdir().unwrap();
    let tokens = scratch.path().join("tokens");
    let write = |token: &str| {
        std::fs::write(&tokens, format!("ann {token}\n")).unwrap();
        std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (first, second) = ("first-token-of-ann-0123456789", "second-token-of-ann-0123456789");
    write(first);
    let wide = "bind = [\"0.0.0.0:0\"]\n";
    let asked = format!("token-file = {tokens:?}\n");
    let start = |flags: &[&str]| Server::start_listening(&[], flags);
    let reloaded = Reloaded::start_with(&format!("{wide}{asked}"), start);
    let status = |token: Option<&str>| {
        let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let fields =
            format!("Host: 127.0.0.1\r\nConnection: close\r\n{}", shown.unwrap_or_default());
        let mut stream = connect(reloaded.server.port());
        let answer = converse(&mut stream, format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let asks_for = |token: &str| {
        assert_eq!((status(None), status(Some(token))), ("401".to_owned(), "200".to_owned()));
    };
    asks_for(first);
    reloaded.reload(wide, "is reachable from other machines");
    asks_for(first);
    let narrow = "bind = [\"127.0.0.1:0\"]\n";
    for (text, number) in [(narrow, 2), ("", 3)] {
        std::fs::write(reloaded.path(), text).unwrap();
        reloaded.server.signal("HUP");
        wait_until("the next refusal", || {
            let said = reloaded.server.said();
            let refused = said.matches("not reloaded: 0.0.0.0:").count();
            (refused == number).then_some(())
        });
        asks_for(first);
    }
    // Another token needs a reload; no tokens need a restart.
    write(second);
    reloaded.reload(&format!("{wide}{asked}"), "reloaded: no setting changed");
    assert_eq!(status(Some(first)), "401");
    asks_for(second);
    reloaded.reload(&format!("{wide}open = true\n"), "reloaded: open is true, was false");
    assert_eq!(status(None), "200");
    // With neither of them it stays open, as it was.
    reloaded.reload(narrow, &format!("0.0.0.0:{} is reachable", reloaded.server.port()));
    assert_eq!(status(None), "200");
}

#[test]
fn rooms_and_pipes_get_new_limits_and_keep_their_members() {
    let reloaded = Reloaded::start("max-rooms = 1\nmax-pipes = 1\n");
    let server = &reloaded.server;
    let join = |room: &str| {
        let mut stream = connect(server.port());
        stream.write_all(format!("ANYPORT/1 JOIN {room} as Ann\n").as_bytes()).unwrap();
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).unwrap();
        (String::from_utf8_lossy(&answer[..count]).into_owned(), stream)
    };
    let (first, _in_one) = join("one");
    assert!(!first.contains("all 1 rooms"), "{first:?}");
    let (refused, _) = join("two");
    assert!(refused.contains("all 1 rooms are in use"), "{refused:?}");
    reloaded.reload("max-rooms = 2\nmax-pipes = 1\n", "max-rooms is 2, was 1");
    let (second, _in_two) = join("two");
    assert!(!second.contains("rooms are in use"), "{second:?}");
}

#[test]
fn a_transfer_does_not_notice() {
    let reloaded = Reloaded::start("idle-timeout = \"60s\"\n");
    let sample = anyport_testkit::harness::Sample::sparse("big", 300_000_000);
    let url = reloaded.server.url("tcp", "");
    let sender = anyport_testkit::harness::start(&["send", "--json", sample.path(), &url]);
    reloaded.server.growing_part();
    for seconds in 61..75 {
        let text = format!("idle-timeout = \"{seconds}s\"\nmax-conns = {seconds}\n");
        reloaded.reload(&text, &format!("idle-timeout is {seconds}s"));
    }
    let outcome = sender.outcome().succeeds();
    assert_eq!(outcome.json().last().unwrap()["bytes"], 300_000_000);
    anyport(&["ls", &url]).succeeds();
}

#[test]
fn listeners_that_are_written_alike_keep_their_own_settings() {
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let listen = ["any://127.0.0.1:0?only=http", "any://127.0.0.1:0?only=raw"];
    let server = Server::start_listening(&listen, &["--control", control.to_str().unwrap()]);
    let answer = |address: &std::net::SocketAddr| {
        converse(&mut connect(address.port()), b"GET /time HTTP/1.0\r\n\r\n")
    };
    for _ in 0..2 {
        let [http, raw] = server.addresses() else { panic!("two listeners") };
        assert!(answer(http).starts_with("HTTP/1.1 200 "), "{}", answer(http));
        assert!(!answer(raw).starts_with("HTTP/"), "{}", answer(raw));
        let reload = ["reload", "--control", control.to_str().unwrap()];
        anyport(&reload).succeeds();
    }
}
