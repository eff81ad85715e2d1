//! A WebSocket client for benchmarks of any server: opens a connection, and returns its receiver
//! and its sender.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use anyport_client::{Scheme, Target};
use anyport_console::{Exit, Failure};
use anyport_net::dial::dial;
use anyport_proto::http1::{Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::ws::handshake::{ClientTarget, Key, request, verify};
use anyport_proto::ws::{KeySource, Receiver, Role, Sender};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::Deadline;

/// An open connection.
pub(super) struct WebSocket {
    pub(super) stream: TcpStream,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    /// Input after the handshake response.
    pub(super) early: Vec<u8>,
}

/// Parses the URL of a WebSocket service.
///
/// # Errors
/// The URL is invalid, or not `ws://`.
pub(super) fn target(url: &str) -> Result<Target, Failure> {
    let usage = |error: anyhow::Error| {
        Failure::new(Exit::Usage, error).with_hint("write ws://HOST:PORT/PATH")
    };
    let target: Target = url.parse().map_err(|error| usage(anyhow!("{error}")))?;
    match target.scheme {
        Scheme::Ws => Ok(target),
        _ => Err(usage(anyhow!("{url} is not a WebSocket URL"))),
    }
}

/// Connects, and completes the handshake; `timeout` limits each of both, and later reads and
/// writes.
pub(super) fn open(target: &Target, timeout: Duration) -> Result<WebSocket> {
    let mut stream = dial(&target.host, target.port, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeout))?;
    let deadline = Deadline::within(timeout);
    let (mut bytes, mut seed) = ([0; 16], [0; 8]);
    getrandom::fill(&mut bytes)?;
    getrandom::fill(&mut seed)?;
    let key = Key::from_bytes(bytes);
    let authority = target.authority();
    let asked = ClientTarget {
        host: &authority,
        path: &target.path,
        subprotocols: &[],
        fields: &[],
        deflate: false,
    };
    stream.write_all(&request(&asked, &key)?)?;
    let mut reader = ResponseHeadReader::new();
    let mut piece = [0; 4096];
    let (head, early) = loop {
        let late = || format!("no complete response to the WebSocket handshake {deadline}");
        // A timeout of zero is invalid for a socket.
        let left = Some(deadline.left()).filter(|left| !left.is_zero()).with_context(late)?;
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut piece).with_context(late)?;
        if count == 0 {
            bail!("the server closed the connection during the handshake");
        }
        match reader.push(&piece[..count], &Limits::default())? {
            Pushed::NeedMore => {}
            Pushed::Done { head, used } => break (head, piece[used..count].to_vec()),
        }
    };
    stream.set_read_timeout(Some(timeout))?;
    verify(&head, &key, &asked)?;
    let keys = TestKeys(fastrand::Rng::with_seed(u64::from_ne_bytes(seed)));
    Ok(WebSocket {
        stream,
        receiver: Receiver::new(Role::Client, &Limits::default()),
        sender: Sender::client(keys),
        early,
    })
}

/// Cheap mask keys: the data of a benchmark need not be unpredictable.
struct TestKeys(fastrand::Rng);

impl KeySource for TestKeys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0.u32(..).to_ne_bytes()
    }
}

/// Raises the soft limit on open files to the hard limit.
///
/// # Errors
/// The limit is too low for `connections`.
pub(super) fn raise_file_limit(connections: u32) -> Result<(), Failure> {
    let limits = getrlimit(Resource::Nofile);
    // If it cannot be raised, the check below fails.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = u64::from(connections) + OTHER_FILES;
    if needed <= most {
        return Ok(());
    }
    let error =
        anyhow!("{connections} connections need {needed} open files, but the limit is {most}");
    Err(Failure::new(Exit::Usage, error).with_hint("raise the limit with ulimit -n, or lower -c"))
}

/// Number of open files of a process besides its connections.
const OTHER_FILES: u64 = 32;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_whole_handshake_is_limited_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Each byte arrives within the limit, and all of them after it.
            for byte in "HTTP/1.1 101 Switching Protocols\r\n".bytes() {
                std::thread::sleep(Duration::from_millis(40));
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let error = open(&target, Duration::from_millis(400)).err().unwrap();
        assert!(error.to_string().ends_with("handshake within 400ms (--timeout)"), "{error:#}");
        server.join().unwrap();
    }
}
