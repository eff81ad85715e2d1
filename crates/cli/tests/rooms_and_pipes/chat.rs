//! `anyport chat`: in pipes, on a terminal, and over connections that break.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use anyport_testkit::harness::rooms::{LineClient, join};
use anyport_testkit::harness::screen::Screen;
use anyport_testkit::harness::wire::read_line;
use anyport_testkit::harness::{
    Server, anyport, anyport_command, anyport_with_input, signal, skip, wait_until,
};

const SCHEMES: [&str; 2] = ["tcp", "ws"];

fn chat(url: &str, more: &[&str]) -> Vec<String> {
    [&["chat", url], more].concat().iter().map(|word| (*word).to_owned()).collect()
}

fn member(url: &str, more: &[&str]) -> LineClient {
    let arguments = chat(url, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    LineClient::start(anyport_command(&arguments))
}

/// Returns the next line of a guest, except joins and leaves.
fn receives_next(guest: &mut TcpStream) -> String {
    loop {
        let line = read_line(guest);
        if !line.starts_with('*') {
            return line;
        }
    }
}

#[test]
fn lines_of_a_pipe_are_messages_and_all_of_them_are_there_when_it_ends() {
    for scheme in SCHEMES {
        let server = Server::start(&["--room-rate", "100000"]);
        let mut guest = join(&server, "lobby as guest");
        let url = server.url(scheme, "rooms/lobby");
        let lines: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
        let input = format!("/who is no command here\n\n{}\r\nthe last ü", lines.join("\n"));
        let arguments = ["chat", &url, "--as", "alice"];
        let outcome = anyport_with_input(&arguments, input.as_bytes()).succeeds();
        // Own messages are not printed, and notices are no messages.
        assert_eq!(outcome.stdout, "", "{scheme}");
        assert!(outcome.stderr.contains("* you are alice in lobby; here: guest"), "{outcome:#?}");
        assert_eq!(receives_next(&mut guest), "alice: /who is no command here");
        for line in &lines {
            assert_eq!(receives_next(&mut guest), format!("alice: {line}"));
        }
        assert_eq!(receives_next(&mut guest), "alice: the last ü");
        assert_eq!(read_line(&mut guest), "* alice left");
    }
}

#[test]
fn two_chats_exchange_messages_over_any_transport() {
    let server = Server::start(&[]);
    let [tcp, ws] = SCHEMES.map(|scheme| server.url(scheme, "rooms/lobby"));
    let mut alice = member(&tcp, &["--as", "alice"]);
    let mut bob = member(&ws, &["--as", "bob", "--json"]);
    let mut guest = join(&server, "lobby as guest");
    // Both have joined when their messages arrive.
    alice.say("hello from tcp");
    assert_eq!(receives_next(&mut guest), "alice: hello from tcp");
    bob.say("hello from ws \u{1b}[2J");
    assert_eq!(receives_next(&mut guest), "bob: hello from ws ␛[2J");
    alice.receives("bob: hello from ws ␛[2J");
    let received = bob.next_json("message");
    assert_eq!((&received["from"], &received["text"]), (&"alice".into(), &"hello from tcp".into()));
    // Own messages are printed as JSON too.
    let own = bob.next_json("message");
    assert_eq!((&own["from"], &own["text"]), (&"bob".into(), &"hello from ws ␛[2J".into()));
    assert!(own["key"].is_string() && own["id"].is_string(), "{own}");
}

#[test]
fn earlier_messages_are_received_as_requested() {
    let server = Server::start(&[]);
    let mut guest = join(&server, "lobby as guest");
    for number in 1..=3 {
        writeln!(guest, "message {number}").unwrap();
    }
    let url = server.url("tcp", "rooms/lobby");
    for (history, expected) in [
        (&["--history", "2"][..], "guest: message 2\nguest: message 3\n"),
        (&[], "guest: message 1\nguest: message 2\nguest: message 3\n"),
    ] {
        let received = wait_until("the past", || {
            let outcome = anyport_with_input(&[&["chat", &url], history].concat(), b"");
            (outcome.stdout.lines().count() >= 2).then_some(outcome)
        });
        assert!(received.succeeds().stdout.ends_with(expected));
    }
}

#[test]
fn a_message_that_the_room_refuses_is_reported_and_is_an_error() {
    for scheme in SCHEMES {
        let server = Server::start(&["--room-message", "10"]);
        let mut guest = join(&server, "lobby as guest");
        let url = server.url(scheme, "rooms/lobby");
        let input = b"short\nmuch too long\nalso short\n";
        let outcome = anyport_with_input(&["chat", &url, "--as", "alice"], input).exits(4);
        let outcome = outcome.says("! the message is longer than 10 bytes");
        outcome.says("the room refused 1 message\n");
        assert_eq!(receives_next(&mut guest), "alice: short");
        assert_eq!(receives_next(&mut guest), "alice: also short");
    }
    // What no room takes is not sent.
    let server = Server::start(&[]);
    let url = server.url("tcp", "rooms/lobby");
    let long = [&b"x".repeat(65_537)[..], b"\nshort\n"].concat();
    let outcome = anyport_with_input(&["chat", &url], &long).exits(1);
    outcome.says("longer than 65536 bytes").says("1 line not sent");
}

#[test]
fn the_error_of_an_invalid_room_url_names_a_valid_one() {
    let server = Server::start(&[]);
    let hint = "HOST:PORT/rooms/NAME";
    anyport(&["chat", &server.url("tcp", "lobby")]).exits(2).says(hint);
    anyport(&["chat", &server.url("tcp", "rooms/a%20b")]).exits(2).says("' ' is not allowed");
    anyport(&["chat", &server.url("frames", "rooms/a")]).exits(2).says("frames://").says(hint);
    anyport(&["chat", &server.url("ws", "rooms/a"), "--as", "a:b"]).exits(2).says("nickname");
    anyport(&["chat", "127.0.0.1:1/rooms/lobby"]).exits(3).says("cannot connect");
    let other = Server::start_listening(&["greet://127.0.0.1:0"], &[]);
    anyport(&["chat", &other.url("tcp", "rooms/a")]).exits(4).says("unexpected reply to JOIN");
}

/// A proxy between a client and a server, which interrupts each connection after a number of bytes.
struct Proxy {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(server: u16, after: usize, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = cuts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut from, mut to) =
                    (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let limit = if counted.load(Ordering::SeqCst) < most { after } else { usize::MAX };
                let passed = pass(client.try_clone().unwrap(), &upstream, limit);
                if passed == limit {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                for stream in [client, upstream] {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        });
        Self { port, cuts }
    }
}

fn pass(mut client: TcpStream, mut upstream: &TcpStream, limit: usize) -> usize {
    let (mut passed, mut buffer) = (0, [0; 512]);
    while passed < limit {
        let most = buffer.len().min(limit - passed);
        match client.read(&mut buffer[..most]) {
            Ok(count) if count > 0 && upstream.write_all(&buffer[..count]).is_ok() => {
                passed += count
            }
            _ => break,
        }
    }
    passed
}

/// Interruptions within messages, after them, and while others send; each message arrives once, at
/// all.
#[test]
fn a_break_leaves_no_gap_and_no_duplicate() {
    for scheme in SCHEMES {
        let server = Server::start(&["--room-rate", "100000", "--room-history", "5000"]);
        let proxy = Proxy::start(server.port(), 2999, 5);
        let mut guest = join(&server, "lobby as guest");
        let url = format!("{scheme}://127.0.0.1:{}/rooms/lobby", proxy.port);
        let arguments = ["chat", &url, "--as", "alice", "--json"];
        let mut child = anyport_command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let lines: String = (1..=400).map(|number| format!("number {number}\n")).collect();
        stdin.write_all(lines.as_bytes()).unwrap();
        let mut received = Vec::new();
        while received.len() < 400 {
            let line = receives_next(&mut guest);
            received.push(line);
            if received.len() % 10 == 0 {
                writeln!(guest, "of the guest {}", received.len()).unwrap();
            }
        }
        for (number, line) in (1..).zip(&received) {
            assert_eq!(line, &format!("alice: number {number}"), "{scheme}");
        }
        drop(stdin);
        let outcome = child.wait_with_output().unwrap();
        let reported = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(outcome.status.success(), "{reported}");
        assert_eq!(proxy.cuts.load(Ordering::SeqCst), 5, "{reported}");
        assert!(reported.contains(" lost") && reported.contains("retrying in"), "{reported}");
        assert!(reported.contains("* reconnected"), "{reported}");
        // It misses nothing and receives nothing twice: neither its own messages nor those of
        // others.
        let events: Vec<Value> = String::from_utf8_lossy(&outcome.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(events.iter().all(|event| event["lost"].is_null()), "{reported}");
        let texts = |from: &str| -> Vec<String> {
            let messages = events.iter().map(|event| &event["message"]);
            let messages = messages.filter(|message| message["from"] == from);
            messages.map(|message| message["text"].as_str().unwrap().to_owned()).collect()
        };
        let own: Vec<String> = (1..=400).map(|number| format!("number {number}")).collect();
        assert_eq!(texts("alice"), own, "{scheme}");
        let theirs: Vec<String> =
            (1..=40).map(|ten| format!("of the guest {}", ten * 10)).collect();
        let reported = texts("guest");
        // It leaves when its own are confirmed, and the guest may be far behind then.
        assert!(reported.len() >= 10 && theirs.starts_with(&reported), "{scheme}: {reported:?}");
    }
}

#[test]
fn a_restarted_room_reports_lost_events() {
    let mut server = Server::start(&[]);
    let port = server.port();
    let url = server.url("ws", "rooms/lobby");
    let mut alice = member(&url, &["--as", "alice", "--json"]);
    let mut guest = join(&server, "lobby as guest");
    alice.say("before");
    assert_eq!(receives_next(&mut guest), "alice: before");
    assert_eq!(alice.next_json("message")["text"], "before");
    server.kill();
    let server = Server::start_on(&[&format!("127.0.0.1:{port}")], &[]);
    // Events of the old room are not in the new one.
    assert!(alice.next_json("lost")["count"].is_null());
    let mut guest = join(&server, "lobby as guest");
    alice.say("after");
    assert_eq!(receives_next(&mut guest), "alice: after");
}

/// Over tcp a member that reads is never silent.
#[test]
fn a_chat_suspended_for_longer_than_the_idle_timeout_reconnects() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let mut guest = join(&server, "lobby as guest");
    let mut alice = member(&server.url("ws", "rooms/lobby"), &["--as", "alice"]);
    assert_eq!(read_line(&mut guest), "* alice joined");
    signal("STOP", alice.id());
    assert_eq!(read_line(&mut guest), "* alice left");
    signal("CONT", alice.id());
    assert_eq!(read_line(&mut guest), "* alice joined");
    alice.say("again");
    assert_eq!(read_line(&mut guest), "alice: again");
}

#[test]
fn a_server_that_stays_away_is_given_up() {
    let mut server = Server::start(&[]);
    let url = server.url("tcp", "rooms/lobby");
    let arguments = ["chat", &url, "--as", "alice", "--retry", "2"];
    let mut command = anyport_command(&arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut guest = join(&server, "lobby as guest");
    writeln!(stdin, "here").unwrap();
    assert_eq!(receives_next(&mut guest), "alice: here");
    server.kill();
    let status = wait_until("it gives up", || child.try_wait().unwrap());
    drop(stdin);
    let mut reported = String::new();
    child.stderr.take().unwrap().read_to_string(&mut reported).unwrap();
    assert_eq!(status.code(), Some(6), "{reported}");
    assert_eq!(reported.matches("retrying in").count(), 2, "{reported}");
}

/// A chat on a terminal of its own.
struct Terminal {
    child: Child,
    master: std::fs::File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(url: &str, more: &[&str], colours: bool) -> Option<Self> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let Ok(master) = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY) else {
            skip("no pseudo-terminals");
            return None;
        };
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let path = name.to_str().unwrap();
        let slave = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut command = anyport_command(&[&["chat", url, "--as", "alice"], more].concat());
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        if !colours {
            command.env("NO_COLOR", "1");
        }
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let master = std::fs::File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, sees) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                sees.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Some(Self { child, master, seen })
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn screen(&self) -> Vec<String> {
        Screen::of(&self.seen.lock().unwrap(), 80)
    }

    fn shows(&self, lines: &[&str]) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !self
            .screen()
            .ends_with(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
        {
            assert!(std::time::Instant::now() < end, "{lines:#?} is not on {:#?}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_line_that_is_being_typed_is_never_torn() {
    let server = Server::start(&[]);
    let mut guest = join(&server, "lobby as guest");
    let Some(mut alice) = Terminal::start(&server.url("ws", "rooms/lobby"), &[], false) else {
        return;
    };
    alice.shows(&[
        "* you are alice in lobby; here: guest",
        "* guest joined",
        "* alice joined",
        "> ",
    ]);
    alice.types("half a li");
    alice.shows(&["> half a li"]);
    writeln!(guest, "in between \u{1b}[2J\u{7}").unwrap();
    alice.shows(&["guest: in between ␛[2J␇", "> half a li"]);
    for number in 1..=5 {
        writeln!(guest, "more {number}").unwrap();
    }
    alice.shows(&["guest: more 4", "guest: more 5", "> half a li"]);
    alice.types("ne\r");
    assert_eq!(receives_next(&mut guest), "alice: half a line");
    // It stands there as it was typed, once.
    alice.shows(&["guest: more 5", "> half a line", "> "]);
    alice.types("/who\r");
    alice.shows(&["* here: guest, alice", "> "]);
    alice.types("//who\r/nobody\r");
    assert_eq!(receives_next(&mut guest), "alice: /who");
    alice.shows(&[
        "> /nobody",
        "! unknown command \"/nobody\"; expected /who or /help (hint: write // to send a li",
        "ne that starts with /)",
        "> ",
    ]);
    alice.types("\u{4}");
    let status = wait_until("it leaves", || alice.child.try_wait().unwrap());
    assert!(status.success(), "{status}: {:#?}", alice.screen());
    assert_eq!(read_line(&mut guest), "* alice left");
}

#[test]
fn ctrl_c_leaves_and_restores_the_terminal() {
    let server = Server::start(&[]);
    let mut guest = join(&server, "lobby as guest");
    let Some(mut alice) = Terminal::start(&server.url("tcp", "rooms/lobby"), &[], false) else {
        return;
    };
    let cooked = |alice: &Terminal| {
        let modes = rustix::termios::tcgetattr(&alice.master).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON)
    };
    alice.shows(&["* alice joined", "> "]);
    wait_until("the editor has the terminal", || (!cooked(&alice)).then_some(()));
    alice.types("typed\u{3}");
    let status = wait_until("it leaves", || alice.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert!(cooked(&alice));
    assert_eq!(receives_next_or_leave(&mut guest), "* alice left");
    // And where the server ends it, in the middle of a line.
    let mut server = server;
    let url = server.url("tcp", "rooms/lobby");
    let Some(mut alice) = Terminal::start(&url, &["--retry", "1"], false) else { return };
    alice.shows(&["* alice joined", "> "]);
    alice.types("half");
    server.kill();
    let status = wait_until("it gives up", || {
        alice.types(".");
        alice.child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(6));
    assert!(cooked(&alice));
}

fn receives_next_or_leave(guest: &mut TcpStream) -> String {
    loop {
        let line = read_line(guest);
        if !line.ends_with("joined") {
            return line;
        }
    }
}

#[test]
fn nicknames_are_coloured_on_a_terminal_alone_and_not_against_its_will() {
    let server = Server::start(&[]);
    let mut guest = join(&server, "lobby as guest");
    for colours in [true, false] {
        let Some(alice) = Terminal::start(&server.url("ws", "rooms/lobby"), &[], colours) else {
            return;
        };
        writeln!(guest, "with {colours}").unwrap();
        let text = format!("with {colours}");
        wait_until("the message", || {
            alice.screen().iter().any(|line| line.ends_with(&text)).then_some(())
        });
        let seen = String::from_utf8_lossy(&alice.seen.lock().unwrap()).into_owned();
        assert_eq!(seen.contains("mguest\u{1b}[0m: with"), colours, "{seen:?}");
        assert_eq!(seen.contains("\u{1b}[2m* "), colours, "{seen:?}");
    }
}

#[test]
fn a_closed_output_ends_the_program() {
    let server = Server::start(&[]);
    let mut guest = join(&server, "lobby as guest");
    let url = server.url("tcp", "rooms/lobby");
    let mut child = anyport_command(&["chat", &url, "--history", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdin: Option<ChildStdin> = child.stdin.take();
    drop(child.stdout.take());
    let status = wait_until("chat ends", || {
        writeln!(guest, "anybody?").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        child.try_wait().unwrap()
    });
    drop(stdin);
    assert!(status.success(), "{status}");
}
