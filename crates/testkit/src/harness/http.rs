//! curl, and HTTP servers whose answers a test writes.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::process::{Running, peer};
use super::waiting::DEADLINE;
use super::wire::read_head;

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
