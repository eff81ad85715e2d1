//! curl, and HTTP servers whose answers a test writes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::process::{Running, peer};
use super::waiting::DEADLINE;
use super::wire::{connect, read_head};

/// Returns curl without progress and proxies.
pub fn curl() -> Option<Command> {
    let mut curl = peer("curl")?;
    curl.args(["-s", "--noproxy", "*", "--max-time", "20"]);
    Some(curl)
}

/// Runs curl; returns its output and the status of the last response.
#[track_caller]
pub fn curl_says(arguments: &[&str]) -> Option<(String, u16)> {
    let mut curl = curl()?;
    curl.args(["-w", "\n%{http_code}"]).args(arguments);
    let outcome = Running::start(curl, None).outcome();
    let (said, status) = outcome.stdout.rsplit_once('\n').unwrap();
    Some((said.to_owned(), status.parse().unwrap()))
}

/// Returns the statuses of all responses in a text, in their order.
pub fn statuses(responses: &str) -> Vec<u16> {
    let lines = responses.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

/// The heads of requests, each with the number of its connection.
pub type Requests = Arc<Mutex<Vec<(usize, String)>>>;

/// Starts a server that passes each request's head and its connection to `answer`, and closes the
/// connection when that returns false. It answers OPTIONS itself, with 405: it has no resumable
/// uploads.
pub fn scripted_server(
    answer: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Requests) {
    let requests = Requests::default();
    let received = requests.clone();
    let (address, _) = server_of_all_methods(move |number, head, stream| {
        if head.starts_with("OPTIONS ") {
            return respond(stream, "HTTP/1.1 405 Method Not Allowed\nContent-Length: 0", b"");
        }
        received.lock().unwrap().push((number, head.to_owned()));
        answer(head, stream)
    });
    (address, requests)
}

/// The same without an answer of its own. `answer` gets the number of the connection too.
pub fn server_of_all_methods(
    answer: impl Fn(usize, &str, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Requests::default();
    let (received, answer) = (requests.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, received, answer) =
                (stream.unwrap(), received.clone(), answer.clone());
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                while stream.peek(&mut [0]).is_ok_and(|count| count > 0) {
                    let head = read_head(&mut stream);
                    received.lock().unwrap().push((number, head.clone()));
                    if !answer(number, &head, &mut stream) {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

/// Writes a response, whose head has a line feed after each field; returns whether the client
/// accepts it.
pub fn respond(stream: &mut TcpStream, head: &str, content: &[u8]) -> bool {
    let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
    stream.write_all(&[head.as_bytes(), content].concat()).is_ok()
}

/// A response with the interim responses before it.
#[derive(Debug)]
pub struct Response {
    /// The heads of interim responses.
    pub interim: Vec<String>,
    /// Its head, without the empty line.
    pub head: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl Response {
    /// Parses all bytes that a server sent for one request.
    #[track_caller]
    pub fn parse(mut wire: &[u8]) -> Self {
        let mut interim = Vec::new();
        loop {
            let end = wire.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(wire)));
            let head = String::from_utf8(wire[..end].to_vec()).unwrap();
            wire = &wire[end + 4..];
            if !head.starts_with("HTTP/1.1 1") {
                return Self { interim, head, content: wire.to_vec() };
            }
            interim.push(head);
        }
    }

    /// Returns its status.
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    /// Returns the value of a field, empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        field_of(&self.head, name)
    }

    /// Returns its content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// Returns the value of a field in a head, empty if there is none.
pub fn field_of<'a>(head: &'a str, name: &str) -> &'a str {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut values =
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    values.next().unwrap_or_default()
}

/// Sends one request over a connection of its own; each of `fields` ends in a line feed.
#[track_caller]
pub fn request(port: u16, line: &str, fields: &str, content: &[u8]) -> Response {
    let length = format!("Content-Length: {}\n", content.len());
    let length =
        if fields.contains("Transfer-Encoding") || line.starts_with("HEAD") { "" } else { &length };
    let head = format!("{line} HTTP/1.1\nHost: a\nConnection: close\n{length}{fields}\n");
    let wire = [head.replace('\n', "\r\n").as_bytes(), content].concat();
    let mut stream = connect(port);
    stream.write_all(&wire).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Response::parse(&answer)
}
