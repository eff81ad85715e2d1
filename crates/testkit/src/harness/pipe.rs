//! Senders and receivers of pipes.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::files::assert_same_bytes;
use super::process::Running;
use super::server::Server;
use super::wire::connect;

/// Starts curl with arguments; errors go to stderr.
pub fn started(curl: Option<Command>, arguments: &[&str]) -> Option<Running> {
    let mut curl = curl?;
    curl.args(["-sS"]).args(arguments);
    Some(Running::start(curl, None))
}

/// A file that a receiver writes, in a directory of its own.
#[derive(Debug)]
pub struct Destination(TempDir);

impl Default for Destination {
    fn default() -> Self {
        Self::new()
    }
}

impl Destination {
    /// Creates the directory.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns the path of the file.
    pub fn path(&self) -> String {
        self.0.path().join("taken").to_str().unwrap().to_owned()
    }

    /// Asserts that the directory is empty.
    #[track_caller]
    pub fn is_empty(&self) {
        assert_eq!(std::fs::read_dir(self.0.path()).unwrap().count(), 0, "nothing is kept");
    }

    /// Asserts the content of the file.
    #[track_caller]
    pub fn has(&self, content: &[u8]) {
        assert_same_bytes(&std::fs::read(self.path()).unwrap(), content);
    }
}

/// Sends a request, and reads nothing.
pub fn ask(server: &Server, request: &str) -> TcpStream {
    let mut stream = connect(server.port());
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Connects a receiver.
pub fn get(server: &Server, key: &str) -> TcpStream {
    ask(server, &format!("GET /pipe/{key} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

/// Connects a sender of `length` bytes, and sends none of them.
pub fn put(server: &Server, key: &str, length: u64) -> TcpStream {
    ask(server, &format!("PUT /pipe/{key} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"))
}

/// Waits until `count` senders have connected to a server that logs them (`-v`).
pub fn wait_for_senders(server: &Server, count: usize) {
    server.says_often("pipe sender connected", count);
}
