//! Text of a peer on a terminal: it controls nothing, whichever way it arrives, and programs read
//! it unchanged.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyport_testkit::harness::wire::{connect, read_text};
use anyport_testkit::harness::{Server, anyport, anyport_command, anyport_with_input, wait_until};

/// What a terminal obeys: ESC and BEL, a C1 introducer, the override of direction, both line ends
/// of Unicode, DEL.
const ACTS: &str = "a\u{1b}[2J\u{7}\u{9b}31m\u{202e}b\u{2028}c\u{2029}\u{2066}d\u{85}\u{7f}";

#[track_caller]
fn nothing_acts(output: &str) {
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!output.contains(acts), "{output:?}");
}

/// A server that answers the first line of each connection with this, and ends.
fn answers(answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // So that no reset takes the answer away.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            while stream.read(&mut request).is_ok_and(|count| count > 0) {}
        }
    });
    port
}

#[test]
fn text_of_a_server_does_not_control_the_clients_terminal() {
    let error = format!("ANYPORT/1 ERROR not-found {ACTS}\n");
    let http = format!("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\n{ACTS}\n");
    for (scheme, answer) in [("tcp", &error), ("http", &http)] {
        let url = format!("{scheme}://127.0.0.1:{}/x", answers(answer.clone()));
        for command in [
            &["get", "--retry", "0", "-o", "-", &url][..],
            &["ls", &url],
            &["send", "--retry", "0", "-", &url],
            &["send", "--retry", "0", "-w", "%{path}\\n", "-", &url],
            &["get", "--json", "--retry", "0", "-o", "/nowhere/x", &url],
        ] {
            let outcome = anyport_with_input(command, b"content");
            nothing_acts(&outcome.stdout);
            nothing_acts(&outcome.stderr);
        }
    }
}

/// The path in a receipt is the server's word.
#[test]
fn a_receipt_does_not_act_on_the_terminal_of_its_sender() {
    let path = serde_json::to_string(ACTS).unwrap();
    let receipt = format!(
        "{{\"protocol\":\"raw\",\"engine\":\"own\",\"peer\":\"127.0.0.1:1\",\
        \"bytes\":7,\"seconds\":0.1,\"rate\":70,\
         \"end\":\"size\",\"confirmed\":true,\"path\":{path},\"name\":null,\
         \"digest\":null,\"congestion\":null,\
         \"tcp\":{{}},\"resumed\":0}}"
    );
    for flags in [&["-w", "%{path}\\n"][..], &["--json"], &[]] {
        let port = answers(format!("ANYPORT/1 RECEIPT {receipt}\n"));
        let url = format!("tcp://127.0.0.1:{port}/");
        let command = [&["send", "--retry", "0"][..], flags, &["-", &url]].concat();
        let outcome = anyport_with_input(&command, b"content");
        nothing_acts(&outcome.stdout);
        nothing_acts(&outcome.stderr);
    }
}

/// Names that clients ask for, over every protocol, in what the server prints, logs and answers.
#[test]
fn text_of_a_client_does_not_control_the_servers_terminal() {
    for flags in [
        &["-vv", "--log-format", "text"][..],
        &["-vv", "--log-format", "json"],
        &["--json", "-vv", "--log-format", "text"],
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let output = |name: &str| scratch.path().join(name);
        let mut command = anyport_command(&["serve", "--bind", "127.0.0.1:0", "--control", "none"]);
        let served = output("served");
        std::fs::create_dir(&served).unwrap();
        command.args(flags).arg(&served);
        command.stdout(std::fs::File::create(output("stdout")).unwrap());
        command.stderr(std::fs::File::create(output("stderr")).unwrap());
        let mut server = command.spawn().unwrap();
        let read = |name: &str| std::fs::read_to_string(output(name)).unwrap();
        let port: u16 = wait_until("a port", || {
            let all = read("stdout") + &read("stderr");
            let (_, rest) = all.split_once("127.0.0.1:")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            rest.strip_prefix(&digits).filter(|rest| !rest.is_empty())?;
            digits.parse().ok()
        });
        let encoded: String = ACTS.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let line = format!("ANYPORT/1 PUT {encoded} size=4\ngoodEND\n");
        nothing_acts(&anyport_testkit::harness::wire::converse(
            &mut connect(port),
            line.as_bytes(),
        ));
        let fields = "Host: a\r\nConnection: close";
        for request in [
            format!("GET /{encoded} HTTP/1.1\r\n{fields}\r\n\r\n"),
            format!("GET /{encoded} HTTP/1.1\r\n{fields}\r\nAccept: application/json\r\n\r\n"),
            format!("PUT /{encoded} HTTP/1.1\r\n{fields}\r\nContent-Length: 4\r\n\r\ngood"),
            "GET /x HTTP/1.1\r\nHost: a\u{9b}\u{202e}\r\n\r\n".to_owned(),
            format!("GET /rooms/{encoded} HTTP/1.1\r\n{fields}\r\n\r\n"),
        ] {
            let mut stream = connect(port);
            stream.write_all(request.as_bytes()).unwrap();
            nothing_acts(&read_text(&mut stream).replace('\r', ""));
        }
        wait_until("refusals", || (read("stdout").matches("refused").count() >= 3).then_some(()));
        server.kill().unwrap();
        server.wait().unwrap();
        nothing_acts(&read("stdout"));
        nothing_acts(&read("stderr"));
    }
}

/// What a file in the served directory is called is not always a peer's choice, and acts nowhere
/// either.
#[test]
fn names_in_a_listing_do_not_act() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join(ACTS), b"x").unwrap();
    for url in ["tcp", "http", "ws"] {
        for json in [&[][..], &["--json"]] {
            let url = server.url(url, "");
            let outcome = anyport(&[&["ls"][..], json, &[&url]].concat());
            nothing_acts(&outcome.stdout);
            nothing_acts(&outcome.stderr);
        }
    }
}

/// One connection that is refused as fast as it can ask: what is not reported is counted.
#[test]
fn a_flood_of_refused_requests_is_counted_and_not_printed() {
    let server = Server::start(&["-vv"]);
    let mut stream = connect(server.port());
    let requests = 20_000;
    let mut reader = stream.try_clone().unwrap();
    let answers = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        String::from_utf8(all).unwrap().matches("HTTP/1.1 404").count()
    });
    let request = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let began = Instant::now();
    for _ in 0..requests / 100 {
        stream.write_all(&request.repeat(100)).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(answers.join().unwrap(), requests);
    // A burst of a hundred, and ten in each second that it took.
    let most = 100 + 10 * (began.elapsed().as_secs() as usize + 1);
    let (mut printed, mut suppressed) = (0, 0);
    wait_until("the number of refusals", || {
        while let Some(event) = server.try_event() {
            match event["event"].as_str() {
                Some("refused") => printed += 1,
                Some("suppressed") => suppressed += event["refusals"].as_u64().unwrap() as usize,
                _ => panic!("{event}"),
            }
        }
        (printed + suppressed >= requests).then_some(())
    });
    assert_eq!(printed + suppressed, requests);
    assert!(printed <= most, "{printed} of {most}");
    assert!(server.said().matches("refused").count() <= most);
    // Other clients notice nothing, and the summary has all of them.
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["refused"], requests, "{summary}");
}
