//! Clients that talk to each other: any of them, in one order, whatever one of them does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use anyport_testkit::harness::rooms::{LineClient, join};
use anyport_testkit::harness::wire::{
    BINARY, PING, PONG, TEXT, connect, converse, fragment, frame, read_close, read_frame,
    read_head, read_line, upgrade, websocket, websocket_with,
};
use anyport_testkit::harness::{Server, peer, python_with};

fn say(stream: &mut TcpStream, line: &str) {
    writeln!(stream, "{line}").unwrap();
}

fn receives(stream: &mut TcpStream, lines: &[&str]) {
    for line in lines {
        assert_eq!(read_line(stream), *line);
    }
}

fn receives_text(stream: &mut TcpStream, texts: &[&str]) {
    for text in texts {
        let (opcode, payload) = read_frame(stream);
        assert_eq!((opcode, String::from_utf8(payload).unwrap().as_str()), (TEXT, *text));
    }
}

fn python_websockets(server: &Server, path: &str, subprotocol: &str) -> Option<Command> {
    let mut python = python_with("websockets.sync.client")?;
    let script = format!(
        r"
import sys, threading
from websockets.sync.client import connect
with connect('{}', subprotocols=[{subprotocol}] or None) as socket:
    def hear():
        for message in socket:
            print(message, flush=True)
    threading.Thread(target=hear, daemon=True).start()
    for line in sys.stdin:
        socket.send(line.rstrip())
",
        server.url("ws", path)
    );
    python.args(["-c", &script]);
    Some(python)
}

#[test]
fn third_party_tools_share_one_room() {
    let server = Server::start(&[]);
    let (Some(mut nc), Some(mut ncat)) = (peer("nc"), peer("ncat")) else { return };
    let Some(python) = python_websockets(&server, "rooms/lobby?as=python", "") else { return };
    let Some(program) =
        python_websockets(&server, "rooms/lobby?as=program&self", "'anyport.chat.1'")
    else {
        return;
    };
    let port = server.port().to_string();
    nc.args(["127.0.0.1", &port]);
    ncat.args(["127.0.0.1", &port]);
    let mut nc = LineClient::start(nc);
    nc.say("ANYPORT/1 JOIN lobby as nc");
    nc.receives("* you are nc in lobby; here: no other members");
    let mut ncat = LineClient::start(ncat);
    ncat.say("ANYPORT/1 JOIN lobby as ncat");
    ncat.receives("* you are ncat in lobby; here: nc");
    let mut python = LineClient::start(python);
    python.receives("* you are python in lobby; here: nc, ncat");
    let mut program = LineClient::start(program);
    nc.receives("* program joined");

    nc.say("hello from nc");
    [&ncat, &python].iter().for_each(|member| member.receives("nc: hello from nc"));
    python.say("hello from python");
    [&nc, &ncat].iter().for_each(|member| member.receives("python: hello from python"));
    program.say(r#"{"say":{"text":"hello from a program","key":"1"}}"#);
    [&nc, &ncat, &python]
        .iter()
        .for_each(|member| member.receives("program: hello from a program"));
    let mut reported = Vec::new();
    while reported.len() < 3 {
        let line = program.next_line();
        let event: Value = serde_json::from_str(&line).unwrap();
        if let Some(message) = event.get("message") {
            reported.push((
                message["from"].clone(),
                message["text"].clone(),
                message["key"].clone(),
            ));
        }
    }
    let message = |from: &str, text: &str, key: Value| (json!(from), json!(text), key);
    assert_eq!(
        reported,
        [
            message("nc", "hello from nc", Value::Null),
            message("python", "hello from python", Value::Null),
            message("program", "hello from a program", json!("1")),
        ]
    );
    drop(ncat);
    nc.receives("* ncat left");
    nc.say("/who");
    nc.receives("* here: nc, python, program");
}

#[test]
fn all_members_receive_all_messages_in_one_order() {
    let server = Server::start(&["--room-rate", "0", "--reactor-threads", "3"]);
    let mut speakers: Vec<_> =
        (0..4).map(|number| join(&server, &format!("r as s{number} self history=0"))).collect();
    let mut listeners: Vec<_> =
        (0..3).map(|number| join(&server, &format!("r as l{number} self history=0"))).collect();
    let writers: Vec<_> = speakers
        .iter()
        .map(|speaker| {
            let mut speaker = speaker.try_clone().unwrap();
            std::thread::spawn(move || {
                for number in 0..500 {
                    writeln!(speaker, "{number}").unwrap();
                }
            })
        })
        .collect();
    let mut orders: Vec<Vec<String>> = Vec::new();
    for stream in speakers.iter_mut().chain(&mut listeners) {
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        orders.push(lines.by_ref().filter(|line| !line.starts_with('*')).take(2000).collect());
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert!(orders.iter().all(|order| *order == orders[0]), "the orders differ");
    for speaker in 0..4 {
        let name = format!("s{speaker}: ");
        let own = orders[0].iter().filter_map(|line| line.strip_prefix(&name));
        assert!(own.eq((0..500).map(|number| number.to_string()).collect::<Vec<_>>()));
    }
}

#[test]
fn a_member_receives_its_own_messages_only_on_request() {
    let server = Server::start(&[]);
    let mut alice = join(&server, "r as alice");
    let mut bob = websocket(server.port(), "/rooms/r?as=bob&self&history=0");
    receives(&mut alice, &["* bob joined"]);
    receives_text(&mut bob, &["* you are bob in r; here: alice", "* bob joined"]);
    say(&mut alice, "one");
    bob.write_all(&[frame(TEXT, b"two\n"), frame(TEXT, b"/who")].concat()).unwrap();
    receives(&mut alice, &["bob: two"]);
    say(&mut alice, "three");
    let mut reported = Vec::new();
    while reported.len() < 4 {
        reported.push(String::from_utf8(read_frame(&mut bob).1).unwrap());
    }
    reported.sort();
    assert_eq!(reported, ["* here: alice, bob", "alice: one", "alice: three", "bob: two"]);
}

#[test]
fn a_member_without_a_nickname_is_a_guest() {
    let server = Server::start(&[]);
    let mut alice = join(&server, "r as alice");
    let mut ws = websocket(server.port(), "/rooms/r?history=0");
    let guest = read_line(&mut alice);
    let guest = guest.strip_prefix("* ").and_then(|line| line.strip_suffix(" joined")).unwrap();
    assert!(guest.starts_with("guest-") && guest.len() == 10, "{guest}");
    receives_text(&mut ws, &[&format!("* you are {guest} in r; here: alice")]);
    ws.write_all(&frame(TEXT, b"hi")).unwrap();
    receives(&mut alice, &[&format!("{guest}: hi")]);
    let mut raw = join(&server, "r history=0");
    assert!(read_line(&mut alice).starts_with("* guest-"));
    say(&mut raw, "hi");
    assert!(read_line(&mut alice).ends_with(": hi"));
}

/// Input in the same read as the request, or as the opening handshake, is handled like later input.
#[test]
fn input_in_one_read_is_handled() {
    let server = Server::start(&[]);
    let mut alice = join(&server, "r as alice");
    let mut bob = connect(server.port());
    bob.write_all(b"ANYPORT/1 JOIN r as bob\none\ntw").unwrap();
    receives(&mut alice, &["* bob joined", "bob: one"]);
    bob.write_all(b"o\r\n\n").unwrap();
    receives(&mut alice, &["bob: two"]);
    let mut carol = connect(server.port());
    let head = upgrade("/rooms/r?as=carol", "");
    let said = [fragment(TEXT, b"fir"), frame(PING, b"?")].concat();
    carol.write_all(&[head.as_bytes(), &said].concat()).unwrap();
    read_head(&mut carol);
    receives(&mut alice, &["* carol joined"]);
    carol.write_all(&frame(0, b"st")).unwrap();
    receives(&mut alice, &["carol: first"]);
    assert_eq!(read_frame(&mut carol), (PONG, b"?".to_vec()));
}

#[test]
fn no_message_moves_a_cursor_or_forges_a_line() {
    let server = Server::start(&[]);
    let mut alice = join(&server, "r as alice");
    let mut bob = websocket(server.port(), "/rooms/r?as=bob");
    receives(&mut alice, &["* bob joined"]);
    let evil = "a\u{1b}[2J\nalice: I quit\u{202e}\u{9b}1m\u{7f}";
    bob.write_all(&frame(TEXT, evil.as_bytes())).unwrap();
    receives(&mut alice, &["bob: a␛[2J␊alice: I quit��1m␡"]);
    let mut last = connect(server.port());
    last.write_all(b"ANYPORT/1 JOIN r as carol json history=1\n").unwrap();
    read_line(&mut last);
    read_line(&mut last);
    let event: Value = serde_json::from_str(&read_line(&mut last)).unwrap();
    assert_eq!(event["message"]["text"], "a␛[2J␊alice: I quit��1m␡", "{event}");
}

#[test]
fn a_message_at_the_limit_is_accepted_and_a_longer_one_refused() {
    let server = Server::start(&["--room-message", "1000"]);
    let mut alice = join(&server, "r as alice");
    let mut bob = join(&server, "r as bob history=0");
    receives(&mut alice, &["* bob joined"]);
    let (fits, exceeds) = ("x".repeat(1000), "x".repeat(1001));
    say(&mut bob, &exceeds);
    say(&mut bob, &"y".repeat(300_000));
    say(&mut bob, &fits);
    receives(&mut alice, &[&format!("bob: {fits}")]);
    receives(&mut bob, &["! the message is longer than 1000 bytes"; 2]);
    let mut carol = websocket(server.port(), "/rooms/r?as=carol&history=0");
    receives_text(&mut carol, &["* you are carol in r; here: alice, bob"]);
    receives(&mut alice, &["* carol joined"]);
    carol.write_all(&frame(TEXT, format!("//{}\n", &fits[1..]).as_bytes())).unwrap();
    receives(&mut alice, &[&format!("carol: /{}", &fits[1..])]);
    carol.write_all(&frame(TEXT, "x".repeat(2000).as_bytes())).unwrap();
    assert_eq!(read_close(&mut carol).0, Some(1009));
    receives(&mut alice, &["* carol left"]);
}

/// It would be kept for as long as it is not whole.
#[test]
fn fg_5_an_incomplete_line_times_out_and_idle_time_between_lines_does_not() {
    let server = Server::start(&["--message-timeout", "300ms"]);
    let mut silent = join(&server, "r as silent history=0");
    let mut slow = join(&server, "r as slow history=0");
    receives(&mut silent, &["* slow joined"]);
    slow.write_all(b"half a li").unwrap();
    receives(&mut slow, &["! a line was not complete within 300ms"]);
    assert_eq!(slow.read(&mut [0]).unwrap(), 0);
    receives(&mut silent, &["* slow left"]);
    let mut other = join(&server, "r as other history=0");
    say(&mut silent, "I am here");
    receives(&mut other, &["silent: I am here"]);
}

#[test]
fn an_invalid_message_is_refused_without_effect_on_others() {
    let server = Server::start(&[]);
    let mut alice = join(&server, "r as alice json");
    for (said, code, words) in [
        ("/who", "bad-request", "not JSON"),
        (r#"{"say":{}}"#, "bad-request", "\"text\" is missing"),
        (r#"{"say":{"text":""}}"#, "bad-request", "empty"),
        (r#"{"shout":{}}"#, "bad-request", "shout"),
    ] {
        say(&mut alice, said);
        let event: Value = serde_json::from_str(&read_line(&mut alice)).unwrap();
        assert_eq!(event["error"]["code"], code, "{event}");
        assert!(event["error"]["message"].as_str().unwrap().contains(words), "{event}");
    }
    let mut bob = join(&server, "r as bob history=0");
    bob.write_all(b"\xff\xfe\n/nope\n").unwrap();
    receives(&mut bob, &["! the message is not UTF-8"]);
    assert!(read_line(&mut bob).starts_with("! unknown command \"/nope\""));
    let mut carol = websocket(server.port(), "/rooms/r?as=carol&history=0");
    read_frame(&mut carol);
    carol.write_all(&frame(BINARY, b"x")).unwrap();
    assert_eq!(read_close(&mut carol), (Some(1003), "rooms accept text messages only".to_owned()));
}

#[test]
fn invalid_rooms_and_nicknames_are_refused_with_the_reason() {
    let server = Server::start(&["--max-rooms", "1"]);
    for (words, answer) in [
        ("", "room"),
        ("r as", "as"),
        ("r as a:b", "is not allowed in the nickname"),
        ("../etc", "is not allowed in the room"),
        ("..", "must begin with a letter or digit"),
        ("r since=5", "since"),
        ("r colour=red", "colour"),
    ] {
        let reported =
            converse(&mut connect(server.port()), format!("ANYPORT/1 JOIN {words}\n").as_bytes());
        assert!(
            reported.starts_with("ANYPORT/1 ERROR bad-request ") && reported.contains(answer),
            "{reported}"
        );
    }
    for (path, answer) in [
        ("/rooms/r?as=a%0ab", "nickname"),
        ("/rooms/r?colour=red", "colour"),
        ("/rooms/a%2fb", "room"),
    ] {
        let mut stream = connect(server.port());
        stream.write_all(upgrade(path, "").as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        assert!(body.contains(answer), "{body}");
    }
    let _one = join(&server, "one as alice");
    let reported = converse(&mut connect(server.port()), b"ANYPORT/1 JOIN two as bob\n");
    assert!(reported.starts_with("ANYPORT/1 ERROR busy all 1 rooms are in use"), "{reported}");
    let mut two = websocket(server.port(), "/rooms/two?as=bob");
    let (code, reason) = read_close(&mut two);
    assert_eq!(code, Some(1013));
    assert!(reason.starts_with("all 1 rooms are in use (--max-rooms)"), "{reason}");
}

/// Disconnects repeatedly, and resumes after the last ID.
#[test]
fn a_returning_member_misses_no_event_and_receives_none_twice() {
    let server = Server::start(&["--room-rate", "0", "--room-history", "1000"]);
    let mut speaker = join(&server, "r as speaker");
    // Slow enough that no break is longer than what the room keeps.
    let speaking = std::thread::spawn(move || {
        for number in 0..600 {
            writeln!(speaker, "{number}").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        speaker
    });
    let (mut reported, mut last, mut breaks) = (Vec::new(), None::<String>, 0);
    let is_over = |reported: &[String]| reported.last().is_some_and(|last| last == "599");
    while !is_over(&reported) {
        let since =
            last.as_ref().map_or_else(|| "history=0".to_owned(), |id| format!("since={id}"));
        // All kinds of members take turns.
        let fields = "Sec-WebSocket-Protocol: anyport.chat.1\r\n";
        let mut ws = None;
        let mut raw = None;
        if breaks % 2 == 0 {
            ws = Some(websocket_with(server.port(), &format!("/rooms/r?as=m&{since}"), fields));
        } else {
            raw = Some(join(&server, &format!("r as m json {since}")));
        }
        for _ in 0..7 + breaks % 13 {
            let text = match (&mut ws, &mut raw) {
                (Some(ws), _) => String::from_utf8(read_frame(ws).1).unwrap(),
                (_, Some(raw)) => read_line(raw),
                _ => unreachable!(),
            };
            let event: Value = serde_json::from_str(&text).unwrap();
            assert!(event.get("lost").is_none(), "{event}");
            for kind in ["message", "join", "leave"] {
                if let Some(id) = event[kind]["id"].as_str() {
                    last = Some(id.to_owned());
                }
            }
            if let Some(joined) = event["joined"]["last"].as_str().filter(|_| last.is_none()) {
                last = Some(joined.to_owned());
            }
            if let Some(text) = event["message"]["text"].as_str() {
                reported.push(text.to_owned());
            }
            if is_over(&reported) {
                break;
            }
        }
        breaks += 1;
    }
    speaking.join().unwrap();
    let first: usize = reported[0].parse().unwrap();
    let expected: Vec<String> = (first..600).map(|number| number.to_string()).collect();
    assert_eq!(reported, expected);
    assert!(breaks > 20, "{breaks}");
}

/// A member that never reads: the others receive all messages, its queue is bounded, and when it
/// reads it gets the number of lost events.
#[test]
fn bp_3_a_slow_member_delays_no_other_and_receives_the_number_of_lost_events() {
    const MESSAGES: u64 = 2000;
    let flags = ["--room-rate", "0", "--room-queue", "256KiB", "--idle-timeout", "30s"];
    let server = Server::start(&flags);
    let mut slow = join(&server, "r as slow json history=0");
    let mut reader = join(&server, "r as reader history=0");
    let mut speaker = join(&server, "r as speaker history=0");
    let before = server.memory();
    let text = "x".repeat(10_000);
    let speaking = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            writeln!(speaker, "{number} {text}").unwrap();
        }
        speaker
    });
    let mut lines = BufReader::new(&mut reader).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "* speaker joined");
    for number in 0..MESSAGES {
        let line = lines.next().unwrap();
        assert!(line.starts_with(&format!("speaker: {number} ")), "{number}: {}", &line[..30]);
    }
    // 20 MB went through; what waits for the slow one is a part of a MB, and some of it is with the
    // kernel.
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 8 * 1024 * 1024, "{grown} bytes more");

    // It still may speak.
    say(&mut slow, r#"{"say":{"text":"I am here"}}"#);
    assert_eq!(lines.next().unwrap(), "slow: I am here");
    let (mut reported, mut lost) = (0, 0);
    let mut speaker = speaking.join().unwrap();
    let mut lines = BufReader::new(&mut slow).lines().map(Result::unwrap);
    let mut event = || -> Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    let mut expected = 0;
    while reported + lost < MESSAGES {
        let event = event();
        if let Some(count) = event["lost"]["count"].as_u64() {
            lost += count;
            expected += count;
        } else if let Some(text) = event["message"]["text"].as_str() {
            assert!(text.starts_with(&format!("{expected} ")), "{}", &text[..20]);
            (reported, expected) = (reported + 1, expected + 1);
        }
    }
    assert!(reported > 10 && lost > 100, "told {reported}, lost {lost}");
    say(&mut speaker, "and on");
    assert_eq!(event()["message"]["text"], "and on");
}

#[test]
fn bp_3_a_slow_member_is_closed_if_configured() {
    let flags = ["--room-rate", "0", "--room-queue", "64KiB", "--slow-reader", "close"];
    let server = Server::start(&[&flags[..], &["--idle-timeout", "5s"]].concat());
    let mut ws = websocket(server.port(), "/rooms/r?as=ws&history=0");
    let mut raw = join(&server, "r as raw history=0");
    let never = join(&server, "r as never history=0");
    let mut speaker = join(&server, "r as speaker self history=0");
    let text = "x".repeat(50_000);
    // It receives its own messages, so that it keeps the pace of the room.
    let mut lines = BufReader::new(speaker.try_clone().unwrap()).lines().map(Result::unwrap);
    let mut received = |prefix: &str| while !lines.next().unwrap().starts_with(prefix) {};
    for _ in 0..400 {
        say(&mut speaker, &text);
        received("speaker: ");
    }
    // Behind what had been on its way stands why.
    let mut last = String::new();
    BufReader::new(&mut raw).lines().map_while(Result::ok).for_each(|line| last = line);
    assert_eq!(last, "! you read too slowly (--slow-reader close)");
    let code = loop {
        let (opcode, payload) = read_frame(&mut ws);
        if opcode == 8 {
            break u16::from_be_bytes([payload[0], payload[1]]);
        }
    };
    assert_eq!(code, 1013);
    // One that does not even read that is not waited for.
    received("* never left");
    drop(never);
}

/// A lower bound only: messages beyond the rate are delayed, and none is lost.
#[test]
fn messages_beyond_the_rate_are_delayed() {
    let server = Server::start(&["--room-rate", "20"]);
    let mut alice = join(&server, "r as alice history=0");
    let mut bob = websocket(server.port(), "/rooms/r?as=bob&history=0");
    receives(&mut alice, &["* bob joined"]);
    let started = Instant::now();
    let said: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    bob.write_all(&said.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect::<Vec<_>>())
        .unwrap();
    for text in &said {
        receives(&mut alice, &[&format!("bob: {text}")]);
    }
    // A burst of 20 is free; the other 40 are paid for by waiting.
    bob.write_all(&frame(TEXT, b"later")).unwrap();
    receives(&mut alice, &["bob: later"]);
    assert!(started.elapsed() > Duration::from_millis(1900), "{:?}", started.elapsed());
}

/// It asks and asks, and reads no answer: with and without a limit on how often it may ask.
#[test]
fn bp_1_a_client_that_requests_and_never_reads_needs_no_memory() {
    for (rate, path) in [("0", None), ("100", None), ("0", Some(PING)), ("0", Some(TEXT))] {
        let server = Server::start(&["--room-rate", rate, "--idle-timeout", "20s"]);
        let (mut stream, question) = match path {
            None => (join(&server, "r as asker history=0"), b"/who\n/help\n".repeat(5000)),
            Some(opcode) => {
                let stream = websocket(server.port(), "/rooms/r?as=asker&history=0");
                (stream, frame(opcode, b"/help").repeat(5000))
            }
        };
        let before = server.memory();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut written = 0_u64;
        while let Ok(count) = stream.write(&question) {
            written += count as u64;
            assert!(written < 256 * 1024 * 1024, "the server read all of it");
        }
        let grown = server.memory().saturating_sub(before);
        assert!(grown < 16 * 1024 * 1024, "{rate} {path:?}: {grown} bytes more, {written} written");
    }
}

/// While it is suspended its pongs do not arrive either.
#[test]
fn a_suspended_receiver_is_not_considered_dead() {
    let server = Server::start(&["--room-rate", "1", "--idle-timeout", "400ms"]);
    let mut alice = join(&server, "r as alice history=0");
    let mut bob = websocket(server.port(), "/rooms/r?as=bob&history=0");
    receives(&mut alice, &["* bob joined"]);
    bob.write_all(&frame(TEXT, b"hi").repeat(4)).unwrap();
    // Three seconds in which it answers no ping.
    receives(&mut alice, &["bob: hi"; 4]);
    say(&mut alice, "still there?");
    let mut texts = Vec::new();
    while texts.len() < 2 {
        match read_frame(&mut bob) {
            (TEXT, text) => texts.push(String::from_utf8(text).unwrap()),
            (PING, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["* you are bob in r; here: alice", "alice: still there?"]);
}

/// A person who reads along says nothing for hours; a WebSocket is asked whether it is there.
#[test]
fn silent_members_stay_as_long_as_they_answer_pings() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let mut silent = join(&server, "r as silent");
    let mut dead = websocket(server.port(), "/rooms/r?as=dead&history=0");
    receives(&mut silent, &["* dead joined"]);
    let Some(python) = python_websockets(&server, "rooms/r?as=python", "") else { return };
    let python = LineClient::start(python);
    // It reads nothing and answers no ping.
    let mut reported = [read_line(&mut silent), read_line(&mut silent)];
    reported.sort();
    assert_eq!(reported, ["* dead left", "* python joined"]);
    let mut watch = websocket(server.port(), "/rooms/r?as=watch&history=0");
    receives(&mut silent, &["* watch joined"]);
    let mut last = None;
    for _ in 0..20 {
        match read_frame(&mut dead) {
            (TEXT, _) => {}
            (PING, payload) => assert!(payload.is_empty()),
            (_, payload) => {
                last = Some(u16::from_be_bytes([payload[0], payload[1]]));
                break;
            }
        }
    }
    assert_eq!(last, Some(1008));
    // Each member is pinged once in an idle timeout, and this one answers.
    let mut pinged = 0;
    while pinged < 3 {
        if let (PING, payload) = read_frame(&mut watch) {
            watch.write_all(&frame(PONG, &payload)).unwrap();
            pinged += 1;
        }
    }
    say(&mut silent, "still here");
    python.receives("silent: still here");
}

fn curl(arguments: &[&str]) -> Option<Command> {
    let mut curl = peer("curl")?;
    curl.args(["-sS", "--max-time", "30"]).args(arguments);
    Some(curl)
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_is_in_the_same_room() {
    let server = Server::start(&["--room-message", "1000"]);
    let room = server.url("http", "rooms/r");
    let (Some(listen), Some(post)) = (
        curl(&["-N", &format!("{room}?as=curl")]),
        curl(&["--data-binary", "hello\n", &format!("{room}?as=poster")]),
    ) else {
        return;
    };
    let mut alice = join(&server, "r as alice");
    let listener = LineClient::start(listen);
    listener.receives("data: * you are curl in r; here: alice");
    receives(&mut alice, &["* curl joined"]);
    let id = output(post);
    receives(&mut alice, &["poster: hello"]);
    listener.receives(&format!("id: {}", id.trim_end()));
    listener.receives("data: poster: hello");
    say(&mut alice, "bye");
    listener.receives("data: alice: bye");

    let json = ["-H", "Accept: application/json", &room];
    let who: Value = serde_json::from_str(&output(curl(&json).unwrap())).unwrap();
    assert_eq!(who["members"], json!(["alice", "curl"]));
    assert_eq!((&who["room"], &who["listeners"]), (&json!("r"), &json!(0)), "{who}");
    let said = output(curl(&[&json[..], &["-d", "in JSON"]].concat()).unwrap());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_ne!(said["id"], who["last"], "{said}");
    assert!(read_line(&mut alice).ends_with(": in JSON"));
    drop(listener);
    receives(&mut alice, &["* curl left"]);

    let too_long = "x".repeat(1001);
    let not_text = "\u{fffd}".repeat(3);
    for (arguments, status) in [
        (&["-d", too_long.as_str(), &room][..], "413"),
        (&["-H", "Transfer-Encoding: chunked", "-d", too_long.as_str(), &room], "413"),
        (&["-d", "", &room], "400"),
        (&["-d", "x", &format!("{room}?as=a:b")], "400"),
        (&["-d", "x", &format!("{room}?since=5")], "400"),
        (&["-H", "Origin: http://evil.example", "-d", "x", &room], "403"),
        (&["-H", "Origin: http://evil.example", &room], "403"),
        (&["-X", "DELETE", &room], "405"),
        (&["-d", not_text.as_str(), &room], "200"),
    ] {
        let status_of = [arguments, &["-o", "/dev/null", "-w", "%{http_code}"]].concat();
        assert_eq!(output(curl(&status_of).unwrap()), status, "{arguments:?}");
    }
}

/// A page of another host that the server allows: by WebSocket, EventSource and fetch.
#[test]
fn a_page_in_a_browser_is_in_the_same_room() {
    talk_from_a_page("");
}

#[test]
fn a_page_in_a_browser_is_in_the_same_room_under_tls() {
    talk_from_a_page("s");
}

/// `s`: the letter that schemes have under TLS.
fn talk_from_a_page(s: &str) {
    let Some(mut chromium) = peer("chromium") else { return };
    let pages = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", pages.local_addr().unwrap());
    let server = Server::start(&["--allow-origin", &origin]);
    let page = format!(
        r"<script>
        const room = '//127.0.0.1:{}/rooms/r';
        const ws = new WebSocket('ws{s}:' + room + '?as=socket');
        ws.onmessage = event => {{
            if (event.data.startsWith('alice:')) ws.send('I received ' + event.data);
        }};
        new EventSource('http{s}:' + room).onmessage = event => {{
            if (event.data.startsWith('alice:'))
                fetch('http{s}:' + room + '?as=poster',
                    {{ method: 'POST', body: 'and I ' + event.data }})
                    .then(answer => answer.text())
                    .then(id => ws.send('posted as ' + id));
        }};
        </script>",
        server.port()
    );
    std::thread::spawn(move || {
        for stream in pages.incoming() {
            let (mut stream, page) = (stream.unwrap(), page.clone());
            // Some of a browser's connections ask for nothing.
            std::thread::spawn(move || {
                if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    let length = page.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: \
                        text/html\r\nContent-Length: {length}\r\n\r\n"
                    );
                    let _ = stream.write_all(format!("{head}{page}").as_bytes());
                }
            });
        }
    });
    let mut alice = join(&server, "r as alice");
    let profile = tempfile::tempdir().unwrap();
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]);
    chromium.arg("--ignore-certificate-errors");
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).arg(&origin);
    let _browser = LineClient::start(chromium);
    receives(&mut alice, &["* socket joined"]);
    // Its two connections come in any order.
    let (mut received, started) = (Vec::new(), Instant::now());
    while !received.iter().any(|line: &String| line.starts_with("socket: posted as ")) {
        assert!(started.elapsed() < Duration::from_secs(60), "{received:?}");
        if received.is_empty() {
            say(&mut alice, "hi");
        }
        received.push(read_line(&mut alice));
        if received == ["socket: I heard alice: hi"] && !is_listened_to(&server) {
            // The stream was not there yet.
            received.clear();
        }
    }
    assert!(received.iter().any(|line| line == "poster: and I alice: hi"), "{received:?}");
}

fn is_listened_to(server: &Server) -> bool {
    let ask =
        "GET /rooms/r HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    converse(&mut connect(server.port()), ask.as_bytes()).contains("\"listeners\":1")
}

/// What a stream's reader sends when it comes back, as EventSource does by itself.
#[test]
fn an_event_stream_resumes_after_the_last_id() {
    let server = Server::start(&["--room-history", "4"]);
    let room = server.url("http", "rooms/r");
    let Some(_) = peer("curl") else { return };
    let post = |text: &str| output(curl(&["-d", text, &room]).unwrap()).trim_end().to_owned();
    let first = post("1");
    (2..5).for_each(|number| drop(post(&number.to_string())));
    let listen = |since: &str| {
        let field = format!("Last-Event-ID: {since}");
        LineClient::start(curl(&["-N", "-H", &field, &format!("{room}?json")]).unwrap())
    };
    let reported = |listener: &LineClient, count: usize| -> Vec<Value> {
        let data = || listener.next_line();
        let events = std::iter::repeat_with(data).filter_map(|line| {
            line.strip_prefix("data: ").map(|json| serde_json::from_str(json).unwrap())
        });
        events.take(count).collect()
    };
    let listener = listen(&first);
    // The id that a browser saw last counts, and not the one in the URL that it asks for again.
    let field = format!("Last-Event-ID: {first}");
    let url = format!("{room}?json&since=zzzzzz-1");
    let again = LineClient::start(curl(&["-N", "-H", &field, &url]).unwrap());
    assert_eq!(reported(&again, 1)[0]["message"]["text"], "2");
    drop(again);
    let texts: Vec<_> =
        reported(&listener, 3).iter().map(|event| event["message"]["text"].clone()).collect();
    assert_eq!(texts, [json!("2"), json!("3"), json!("4")]);
    (5..8).for_each(|number| drop(post(&number.to_string())));
    let events = reported(&listen(&first), 5);
    assert_eq!(events[0], json!({ "lost": { "count": 2 } }));
    assert_eq!(events[4]["message"]["text"], "7");
}

/// An error would end an EventSource for good.
#[test]
fn an_unknown_last_event_id_gets_all_that_is_kept_behind_a_loss() {
    let server = Server::start(&[]);
    let room = server.url("http", "rooms/r");
    let Some(post) = curl(&["-d", "kept", &room]) else { return };
    output(post);
    for id in ["42", "", "zzzzzz-7", "k3f9c2-", "with space", "\u{e9}"] {
        for version in ["1.1", "2"] {
            let mut stream = connect(server.port());
            let field = format!("Last-Event-ID: {id}");
            if version == "2" {
                // curl leaves out a field without a value unless it ends in a semicolon.
                let field = if id.is_empty() { "Last-Event-ID;" } else { &field };
                let listen = ["--http2-prior-knowledge", "-N", "-H", field, &room];
                let listener = LineClient::start(curl(&listen).unwrap());
                let lines = || listener.next_line();
                let reported: Vec<_> = std::iter::repeat_with(lines)
                    .filter(|line| line.starts_with("data: "))
                    .take(2)
                    .collect();
                assert!(
                    reported[0].contains("lost") && reported[1].contains(": kept"),
                    "{id}: {reported:?}"
                );
                continue;
            }
            let request = format!("GET /rooms/r HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let head = read_head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 200 "), "{id}: {head}");
            let mut reported = Vec::new();
            while reported.len() < 2 {
                reported
                    .extend(Some(read_line(&mut stream)).filter(|line| line.starts_with("data: ")));
            }
            assert!(
                reported[0].contains("lost") && reported[1].contains(": kept"),
                "{id}: {reported:?}"
            );
        }
    }
}

#[test]
fn members_are_notified_that_the_server_stops() {
    let mut server = Server::start(&[]);
    let mut raw = join(&server, "r as raw");
    let mut ws = websocket(server.port(), "/rooms/r?as=ws&history=0");
    receives(&mut raw, &["* ws joined"]);
    receives_text(&mut ws, &["* you are ws in r; here: raw"]);
    server.signal("TERM");
    let mut rest = String::new();
    raw.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("! the server is stopping\n"), "{rest}");
    drop(raw);
    loop {
        match read_frame(&mut ws) {
            (TEXT, _) => {}
            (8, payload) => break assert_eq!(payload[..2], 1001_u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    ws.shutdown(Shutdown::Both).unwrap();
    assert!(server.wait().success());
}

#[test]
fn a_room_without_a_name_is_not_found_and_gets_a_hint() {
    let server = Server::start(&[]);
    for request in [
        "GET /rooms/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /rooms/?as=me HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "POST /rooms/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
    ] {
        let answer = converse(&mut connect(server.port()), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 404 "), "{request}: {answer}");
        assert!(
            answer.contains("/rooms/ has no room name; expected a path such as /rooms/lobby"),
            "{answer}"
        );
        assert!(answer.contains("curl -N http://HOST:PORT/rooms/lobby"), "{answer}");
    }
    let mut stream = connect(server.port());
    stream.write_all(upgrade("/rooms/", "").as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 404 "));
}
