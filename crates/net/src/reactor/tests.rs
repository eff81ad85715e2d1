use std::collections::VecDeque;
use std::io::{Read as _, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;

use anyport_testkit::noise;
use bytes::Bytes;

use super::*;
use crate::copy::{Interest, Placement, Read};

/// Echoes its input.
struct Echo {
    idle_timeout: Duration,
    reads: bool,
    /// Handles one byte a turn and sets the others aside.
    sips: bool,
    waiting: VecDeque<u8>,
    wake: Option<Instant>,
}

impl Echo {
    /// Requests a wake-up time that will have passed when the reactor asks for it.
    fn sip(&mut self, at: Instant, replies: &mut Vec<u8>) {
        replies.extend(self.waiting.pop_front());
        self.wake = (!self.waiting.is_empty()).then_some(at);
    }
}

impl Session for Echo {
    type Successor = ();

    fn interest(&self) -> Interest {
        let read = if self.reads { Read::WhileProducing } else { Read::Bytes };
        let place = Placement::Reactor;
        Interest { read, wake: self.wake, place, ..Interest::input(self.idle_timeout) }
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<()> {
        match event {
            Event::Bytes(bytes) if bytes == b"panic" => panic!("as asked"),
            Event::Bytes(bytes) if bytes == b"quit" => {
                out.extend_from_slice(b"bye");
                return Next::Finish;
            }
            Event::Bytes(bytes) if self.sips => {
                self.waiting.extend(bytes.iter());
                self.sip(now, out);
            }
            Event::Timer => self.sip(now, out),
            Event::Bytes(bytes) => out.extend_from_slice(bytes),
            Event::Idle => out.extend_from_slice(b"still there?"),
            Event::Shutdown => {
                out.extend_from_slice(b"stopping");
                return Next::Finish;
            }
            Event::EndOfStream => return Next::Finish,
            other => panic!("{other:?}"),
        }
        Next::Continue
    }
}

/// Sends each message to all connections.
struct Broadcaster {
    messages: mpsc::Receiver<Bytes>,
    here: Vec<Key>,
    ends: mpsc::Sender<Option<String>>,
}

impl Host for Broadcaster {
    type Session = Echo;

    fn begin(&mut self, key: Key, _: &mut Echo, replies: &mut Vec<u8>) -> Next<()> {
        self.here.push(key);
        replies.extend_from_slice(b"hi");
        Next::Continue
    }

    fn drained(&mut self, _: Key, _: &mut Echo, replies: &mut Vec<u8>) {
        replies.extend_from_slice(b"drained");
    }

    fn turn(&mut self, wires: &mut Wires<Echo>) {
        for message in self.messages.try_iter() {
            for key in &self.here {
                if wires.queued(*key) < ROOM {
                    wires.write(*key, &message);
                }
            }
        }
    }

    fn ended(&mut self, key: Key, _: Echo, error: Option<io::Error>) {
        self.here.retain(|here| *here != key);
        let _ = self.ends.send(error.map(|error| error.to_string()));
    }
}

/// Maximum output queued for one connection.
const ROOM: usize = 4 * 1024 * 1024;

struct Fixture {
    reactor: Reactor<Echo>,
    listener: TcpListener,
    sender: mpsc::Sender<Bytes>,
    ends: mpsc::Receiver<Option<String>>,
}

impl Fixture {
    fn new(unread: Duration) -> Self {
        let ((sender, messages), (ends, ended)) = (mpsc::channel(), mpsc::channel());
        let broadcaster = Broadcaster { messages, here: Vec::new(), ends };
        let times = Times { unread, tick: Duration::from_millis(10) };
        let reactor = Reactor::start("test", broadcaster, times).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { reactor, listener, sender, ends: ended }
    }

    fn connect(&self, idle_timeout: Duration, reads: bool) -> TcpStream {
        self.connect_with(idle_timeout, reads, false)
    }

    fn connect_with(&self, idle_timeout: Duration, reads: bool, sips: bool) -> TcpStream {
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        self.reactor
            .add(server, Echo { idle_timeout, reads, sips, waiting: VecDeque::new(), wake: None });
        expect(&mut client, b"hi");
        client
    }

    fn end(&self) -> Option<String> {
        self.ends.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn expect(client: &mut TcpStream, expected: &[u8]) {
    let mut came = vec![0; expected.len()];
    client.read_exact(&mut came).unwrap();
    assert!(came == expected, "{:?}", String::from_utf8_lossy(&came[..came.len().min(100)]));
}

fn expect_end(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn each_connection_gets_its_own_echo_and_closes_cleanly() {
    let fixture = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..50).map(|_| fixture.connect(HOUR, false)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("number {number}").as_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        expect(client, format!("number {number}").as_bytes());
        match number % 2 {
            0 => client.shutdown(Shutdown::Write).unwrap(),
            _ => {
                client.write_all(b"quit").unwrap();
                expect(client, b"bye");
            }
        }
        expect_end(client);
    }
    drop(clients);
    (0..50).for_each(|_| assert_eq!(fixture.end(), None));
}

/// More than the socket buffers hold: reading stops until the peer reads, nothing is lost, and the
/// end waits.
#[test]
fn io_5_unread_output_is_queued_in_order_and_bounded_by_not_reading() {
    let fixture = Fixture::new(HOUR);
    let mut client = fixture.connect(HOUR, false);
    let sent = noise(64 * 1024 * 1024, 1);
    let mut writer = client.try_clone().unwrap();
    let expected = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!writing.is_finished(), "all of it went into memory");
    let mut came = Vec::new();
    client.read_to_end(&mut came).unwrap();
    // Between pieces of the echo is the host's output for an empty queue.
    let words = b"drained";
    let (mut at, mut matched) = (0, 0);
    while at < came.len() {
        if matched < expected.len()
            && came[at] == expected[matched]
            && !came[at..].starts_with(words)
        {
            (at, matched) = (at + 1, matched + 1);
        } else {
            assert!(came[at..].starts_with(words), "at {at}");
            at += words.len();
        }
    }
    assert_eq!(matched, expected.len());
    writing.join().unwrap();
}

/// The socket becomes writable only when a third of the send buffer is free, for which this peer
/// needs longer than its timeout.
#[test]
fn bp_1_a_peer_that_reads_slowly_from_its_kernel_stays_connected() {
    let fixture = Fixture::new(Duration::from_millis(400));
    let mut client = fixture.connect(HOUR, true);
    socket2::SockRef::from(&client).set_recv_buffer_size(16 * 1024).unwrap();
    fixture.sender.send(Bytes::from(vec![b'x'; 32 * 1024 * 1024])).unwrap();
    fixture.reactor.waker().wake();
    for _ in 0..40 {
        let _ = client.read(&mut [0; 16 * 1024]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(fixture.ends.try_recv().is_err(), "given up");
    }
    assert_eq!(fixture.end().as_deref(), Some(UNREAD));
}

#[test]
fn bp_1_a_peer_that_accepts_no_output_is_disconnected() {
    let fixture = Fixture::new(Duration::from_millis(200));
    let client = fixture.connect(HOUR, true);
    fixture.sender.send(Bytes::from(vec![b'x'; 32 * 1024 * 1024])).unwrap();
    fixture.reactor.waker().wake();
    assert_eq!(fixture.end().as_deref(), Some(UNREAD));
    drop(client);
}

#[test]
fn a_message_to_all_reaches_all_and_a_slow_reader_delays_no_other() {
    let fixture = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..20).map(|_| fixture.connect(HOUR, true)).collect();
    let mut slow = fixture.connect(HOUR, true);
    let piece = Bytes::from(vec![b'p'; 59_999]);
    for _ in 0..200 {
        fixture.sender.send(piece.clone()).unwrap();
        fixture.reactor.waker().wake();
        for client in &mut clients {
            expect(client, &piece);
        }
    }
    // It misses messages beyond its limit, receives the rest, and is notified afterwards.
    let mut came = Vec::new();
    let mut some = vec![0; 100_000];
    while !came.ends_with(b"drained") {
        let count = slow.read(&mut some).unwrap();
        came.extend_from_slice(&some[..count]);
    }
    assert!(came.len() >= ROOM - 60_000 && came.len() < 12_000_000, "{}", came.len());
    // Meanwhile its input is handled.
    slow.write_all(b"echo").unwrap();
    expect(&mut slow, b"echo");
}

#[test]
fn idle_time_and_shutdown_are_reported() {
    let fixture = Fixture::new(HOUR);
    let mut client = fixture.connect(Duration::from_millis(50), false);
    expect(&mut client, b"still there?still there?");
    fixture.reactor.stop();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"stopping"), "{rest:?}");
}

#[test]
fn a_panic_ends_one_connection() {
    let fixture = Fixture::new(HOUR);
    let (mut one, mut other) = (fixture.connect(HOUR, false), fixture.connect(HOUR, false));
    one.write_all(b"panic").unwrap();
    assert_eq!(fixture.end().as_deref(), Some("internal error"));
    expect_end(&mut one);
    other.write_all(b"hello").unwrap();
    expect(&mut other, b"hello");
}

#[test]
fn a_reset_is_reported_and_dropping_the_last_handle_ends_all() {
    let fixture = Fixture::new(HOUR);
    let client = fixture.connect(HOUR, false);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(fixture.end().is_some_and(|error| error.contains("reset")));
    let mut client = fixture.connect(HOUR, false);
    let Fixture { reactor, ends, .. } = fixture;
    drop(reactor);
    assert_eq!(ends.recv().unwrap().as_deref(), Some("the server stopped"));
    expect_end(&mut client);
}

/// Input set aside is handled without new input, also if the wake-up time is in the past and FIN
/// follows.
#[test]
fn input_that_is_set_aside_is_handled_without_new_input() {
    let fixture = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..20).map(|_| fixture.connect_with(HOUR, false, true)).collect();
    for client in &mut clients {
        client.write_all(b"a burst beyond what one turn handles").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for client in &mut clients {
        expect(client, b"a burst beyond what one turn handles");
        expect_end(client);
    }
}
