//! The server as a library: how a program starts it, observes its files, and stops it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyport_client::{GetOptions, Options, Source, Target};
use anyport_proto::transfer::receipt::{EndKind, Receipt};
use anyport_server::{Config, Interrupted, Observer, Refused, Server, Why};
use anyport_testkit::noise;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Maximum time for anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum Event {
    Receipt(Box<Receipt>),
    Interrupted(Interrupted),
    Refused(Refused),
}

/// Passes the events of the server on. Its methods run on the server's threads.
struct Forward(Sender<Event>);

impl Observer for Forward {
    fn receipt(&self, receipt: &Receipt) {
        let _ = self.0.send(Event::Receipt(Box::new(receipt.clone())));
    }

    fn interrupted(&self, transfer: &Interrupted) {
        let _ = self.0.send(Event::Interrupted(transfer.clone()));
    }

    fn refused(&self, peer: &Refused) {
        let _ = self.0.send(Event::Refused(peer.clone()));
    }
}

/// A server in this process, on a free port and with a directory of its own.
struct Embedded {
    address: SocketAddr,
    directory: TempDir,
    events: Receiver<Event>,
    drain: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

impl Embedded {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path());
        change(&mut config);
        // The caller binds the socket, so it knows the port before the server runs.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (forward, events) = channel();
        let (drain, drained) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listeners = vec![socket.into()];
                let server = Server::new(config, listeners, Forward(forward)).unwrap();
                server.run(async { drop(drained.await) }, std::future::pending()).await;
            });
        });
        Self { address, directory, events, drain: Some(drain), thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends `bytes`, shuts down writing, and returns the response.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn receipt(&self) -> Receipt {
        match self.events.recv_timeout(DEADLINE).unwrap() {
            Event::Receipt(receipt) => *receipt,
            other => panic!("{other:?}"),
        }
    }

    /// Stops accepting; running transfers may finish.
    fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }
}

/// A client that needs no progress reports.
struct Quiet;

impl anyport_client::Observer for Quiet {
    fn position(&self, _bytes: u64) {}
    fn sent(&self, _sent: anyport_client::Sent) {}
    fn failed(&self, _source: &Source, _error: &anyport_client::Error) {}
    fn retrying(&self, _error: &anyport_client::Error, _delay: Duration) {}
}

#[test]
fn a_file_from_any_client_is_stored_reported_and_served() {
    let server = Embedded::start(|_| {});
    let content = noise(300_000, 1);
    // Raw TCP: the content alone, ended by a half-close, gets a generated name.
    let response = server.exchange(&[b"\0", &content[1..]].concat());
    assert!(response.starts_with("ANYPORT/1 RECEIPT "), "{response}");
    let raw = server.receipt();
    assert_eq!((raw.bytes, raw.end), (300_000, EndKind::Fin));
    // HTTP, as curl -T sends it.
    let head = "PUT /http.bin HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
    let response = server.exchange(&[head.as_bytes(), &content].concat());
    assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
    let http = server.receipt();
    assert_eq!(http.path.as_deref(), Some("http.bin"));
    // The client library, which names the file itself.
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("sent.bin");
    std::fs::write(&file, &content).unwrap();
    let target: Target = format!("tcp://{}/", server.address).parse().unwrap();
    let sources = [Source::new(&file).unwrap()];
    anyport_client::send(&sources, &target, &Options::default(), &Quiet).unwrap();
    let sent = server.receipt();
    assert!(sent.confirmed, "{sent:?}");
    // Each is a file of the directory, and what a client receives has the digest of the receipt.
    for (receipt, expected) in
        [(raw, [b"\0", &content[1..]].concat()), (http, content.clone()), (sent, content.clone())]
    {
        let path = receipt.path.unwrap();
        assert!(std::fs::read(server.directory.path().join(&path)).unwrap() == expected, "{path}");
        let target: Target = format!("tcp://{}/{path}", server.address).parse().unwrap();
        let mut received = Vec::new();
        let options = GetOptions::default();
        let got = anyport_client::get_into(&target, &mut received, &options, &mut |_| {}).unwrap();
        assert!(received == expected, "{path}");
        assert_eq!(got.digest, receipt.digest, "{path}");
        assert!(got.verified, "{path}");
    }
}

#[test]
fn a_drain_lets_a_running_upload_finish_and_accepts_no_other() {
    let mut server = Embedded::start(|_| {});
    let mut upload = server.connect();
    upload.write_all(b"ANYPORT/1 PUT half size=10 id=1 resume\n").unwrap();
    // The response to the offer shows that the upload has begun.
    let mut go = [0; 22];
    upload.read_exact(&mut go).unwrap();
    assert_eq!(go, *b"ANYPORT/1 GO offset=0\n");
    upload.write_all(b"hello").unwrap();
    server.drain();
    // The port is closed, while the upload continues.
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(server.address).is_ok() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    upload.write_all(b"worldEND\n").unwrap();
    let mut response = String::new();
    upload.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("ANYPORT/1 RECEIPT "), "{response}");
    assert_eq!(server.receipt().path.as_deref(), Some("half"));
    // `Server::run` returns.
    server.thread.join().unwrap();
    assert_eq!(std::fs::read(server.directory.path().join("half")).unwrap(), b"helloworld");
}

#[test]
fn the_observer_gets_interruptions_and_refusals_and_nothing_is_published() {
    let server = Embedded::start(|config| config.max_size = 100);
    server.exchange(b"ANYPORT/1 PUT short size=10\nhello");
    match server.events.recv_timeout(DEADLINE).unwrap() {
        Event::Interrupted(Interrupted { bytes: 5, name: Some(name), .. }) => {
            assert_eq!(name, "short");
        }
        other => panic!("{other:?}"),
    }
    let response = server.exchange(b"ANYPORT/1 PUT long size=101\n");
    assert!(response.starts_with("ANYPORT/1 ERROR too-large "), "{response}");
    match server.events.recv_timeout(DEADLINE).unwrap() {
        Event::Refused(Refused { why: Why::Request, reason, .. }) => {
            assert!(reason.contains("101"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let names = std::fs::read_dir(server.directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let published: Vec<_> = names.filter(|name| !name.starts_with(".anyport-")).collect();
    assert!(published.is_empty(), "{published:?}");
}
