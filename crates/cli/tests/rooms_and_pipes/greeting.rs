//! Who is greeted, when, and what becomes of the answer.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use anyport_testkit::harness::wire::{connect, converse, read_line, read_text};
use anyport_testkit::harness::{DEADLINE, Running, Server, anyport, peer, program};

fn greeting(flags: &[&str]) -> Server {
    Server::start_listening(&["greet://127.0.0.1:0"], flags)
}

/// The next answer: who gave it, and its words.
fn next_answer(server: &Server) -> (String, String) {
    let event = server.next_event();
    assert_eq!(event["event"], "greet", "{event}");
    (event["peer"].as_str().unwrap().to_owned(), event["text"].as_str().unwrap().to_owned())
}

#[test]
fn nc_is_greeted_and_its_answer_printed() {
    let Some(mut nc) = peer("nc") else { return };
    let server = greeting(&["--greeting", "Hello, visitor!"]);
    assert_eq!(server.listening()[0]["service"], "greet");
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let outcome = Running::start(nc, Some(b"good morning\n".to_vec())).outcome().succeeds();
    assert_eq!(outcome.stdout, "Hello, visitor!\n");
    let (from, text) = next_answer(&server);
    assert!(from.starts_with("127.0.0.1:"), "{from}");
    assert_eq!(text, "good morning");
    assert!(server.names().is_empty(), "it is no file");
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["served"]["greet"], 1, "{summary}");
}

/// A line for people: who, and what.
#[test]
fn an_answer_is_a_line_on_stdout() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--listen", "greet://127.0.0.1:0"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = said.find(|line| line.contains("listening on ")).unwrap();
    let port = line.trim_end_matches(", greet").rsplit(':').next().unwrap().parse().unwrap();
    let mut stream = connect(port);
    let from = stream.local_addr().unwrap();
    assert_eq!(converse(&mut stream, b"hello\x1b[2J"), "Welcome to anyport!\n");
    let mut printed = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut printed).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(printed, format!("greet  {from}  hello␛[2J\n"));
}

#[test]
fn a_silent_client_delays_no_other() {
    let server = greeting(&[]);
    let mut silent = connect(server.port());
    assert_eq!(read_line(&mut silent), "Welcome to anyport!");
    let mut talking = connect(server.port());
    let from = talking.local_addr().unwrap().to_string();
    assert_eq!(converse(&mut talking, b"me first\n"), "Welcome to anyport!\n");
    assert_eq!(next_answer(&server), (from, "me first".to_owned()));
    let from = silent.local_addr().unwrap().to_string();
    // Nothing more is said to it.
    assert_eq!(converse(&mut silent, b"and I"), "");
    assert_eq!(next_answer(&server), (from, "and I".to_owned()));
}

#[test]
fn at_the_limit_the_oldest_silent_client_is_evicted() {
    let server = greeting(&["--max-unclassified", "2"]);
    let mut many_clients: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = connect(server.port());
            assert_eq!(read_line(&mut stream), "Welcome to anyport!");
            stream
        })
        .collect();
    assert_eq!(read_text(&mut many_clients[0]), "", "it is closed");
    assert_eq!(converse(&mut many_clients[2], b"here\n"), "");
    assert_eq!(next_answer(&server).1, "here");
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["silent"]["gave-way"], 1, "{summary}");
}

#[test]
fn output_about_one_client_is_bounded() {
    let server = greeting(&[]);
    let mut stream = connect(server.port());
    let long = "ü".repeat(2000);
    let lines: String = (1..=20).map(|number| format!("line {number}\n")).collect();
    // The server closes with unread input, while the client does not.
    stream.write_all(format!("{long}\r\na\rb\tc\n{lines}").as_bytes()).unwrap();
    assert_eq!(read_text(&mut stream), "Welcome to anyport!\n");
    assert_eq!(next_answer(&server).1, "ü".repeat(512) + "…");
    assert_eq!(next_answer(&server).1, "a␍b␉c");
    for number in 1..=14 {
        assert_eq!(next_answer(&server).1, format!("line {number}"));
    }
    assert!(server.stop().is_empty(), "no more than 16 lines are told");
}

#[test]
fn the_beginning_of_a_slow_line_is_reported() {
    let server = greeting(&["--message-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"whole\nhalf").unwrap();
    assert_eq!(next_answer(&server).1, "whole");
    assert_eq!(next_answer(&server).1, "half");
    assert_eq!(read_text(&mut stream), "Welcome to anyport!\n");
}

/// A word of the server among those of a client that speaks first would be damage.
#[test]
fn on_the_common_port_no_client_is_greeted_by_default() {
    let server = Server::start(&["--detect-timeout", "100ms"]);
    let mut stream = connect(server.port());
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let nothing = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(nothing.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    converse(&mut stream, b"a file");
    assert_eq!(server.stored(&server.next_receipt()), b"a file");
}

#[test]
fn with_on_timeout_greet_only_silent_clients_are_greeted() {
    let listen = ["any://127.0.0.1:0", "any://127.0.0.1:0?on-timeout=wait&detect-timeout=100ms"];
    let flags = ["--on-timeout", "greet", "--detect-timeout", "2s", "--greeting", "Anybody?"];
    let server = Server::start_listening(&listen, &flags);
    let [greets, waits] = [0, 1].map(|i| server.addresses()[i].port());
    // Who speaks in time is no visitor: nothing but its receipt comes back.
    let answer = converse(&mut connect(greets), b"a file");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert_eq!(server.stored(&server.next_receipt()), b"a file");
    // Who does not is one from then on, whatever it says.
    let mut silent = connect(greets);
    assert_eq!(read_line(&mut silent), "Anybody?");
    assert_eq!(converse(&mut silent, b"ANYPORT/1 PUT x size=1\nx"), "");
    assert_eq!(next_answer(&server).1, "ANYPORT/1 PUT x size=1");
    assert_eq!(next_answer(&server).1, "x");
    assert_eq!(server.published().len(), 1, "nothing more is stored");
    let mut waiting = connect(waits);
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    waiting.read(&mut [0]).unwrap_err();
}

#[test]
fn a_line_asks_for_the_greeting_and_for_the_time() {
    let server = Server::start(&["--greeting", "Servus"]);
    let mut stream = connect(server.port());
    let asked =
        b"ANYPORT/1 GREET\nANYPORT/1  TIME \r\nANYPORT/1 PUT x size=1\nxEND\nANYPORT/1 GREET\n";
    let answer = converse(&mut stream, asked);
    let lines: Vec<&str> = answer.lines().collect();
    let [greeting, time, receipt, again] = lines[..] else { panic!("{answer}") };
    assert_eq!([greeting, again], ["ANYPORT/1 GREETING Servus"; 2]);
    assert!(time.starts_with("ANYPORT/1 TIME Local time is: 20"), "{time}");
    assert!(receipt.starts_with("ANYPORT/1 RECEIPT "), "{receipt}");
    server.next_receipt();
    let answer = converse(&mut connect(server.port()), b"ANYPORT/1 TIME please\n");
    assert!(answer.contains(r#"unknown word "please" in the TIME line"#), "{answer}");
    server.next_refused();
}

#[test]
fn an_invalid_greeting_is_an_error() {
    for (greeting, words) in
        [("", "is empty"), ("two\nlines", "a line end"), (&"x".repeat(257), "more than 256")]
    {
        anyport(&["serve", "--greeting", greeting]).exits(2).says(words);
    }
}

/// A silent client does not delay the exit.
#[test]
fn a_server_that_stops_leaves_its_visitors() {
    let mut server = greeting(&[]);
    let mut silent = connect(server.port());
    assert_eq!(read_line(&mut silent), "Welcome to anyport!");
    let mut talking = connect(server.port());
    talking.write_all(b"one\ntw").unwrap();
    assert_eq!(next_answer(&server).1, "one");
    server.signal("TERM");
    assert_eq!(next_answer(&server).1, "tw");
    assert_eq!(read_text(&mut silent), "");
    drop(talking);
    assert_eq!(server.wait().code(), Some(0));
}
