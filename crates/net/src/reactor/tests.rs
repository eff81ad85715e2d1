use std::collections::VecDeque;
use std::io::{Read as _, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;

use anyport_testkit::noise;
use bytes::Bytes;

use super::*;
use crate::copy::{Interest, Placement, Read};

/// Gives back what comes.
struct Echo {
    patience: Duration,
    hears: bool,
    /// Handles one byte a turn and sets the others aside.
    sips: bool,
    waiting: VecDeque<u8>,
    wake: Option<Instant>,
}

impl Echo {
    /// Asks to be woken at an instant that will have passed when the reactor asks for it.
    fn sip(&mut self, at: Instant, replies: &mut Vec<u8>) {
        replies.extend(self.waiting.pop_front());
        self.wake = (!self.waiting.is_empty()).then_some(at);
    }
}

impl Session for Echo {
    type Successor = ();

    fn interest(&self) -> Interest {
        let read = if self.hears { Read::WhileProducing } else { Read::Bytes };
        let place = Placement::Reactor;
        Interest { read, wake: self.wake, place, ..Interest::input(self.patience) }
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

/// Says to all what is shouted.
struct Broadcaster {
    shouted: mpsc::Receiver<Bytes>,
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
        for shout in self.shouted.try_iter() {
            for key in &self.here {
                if wires.queued(*key) < ROOM {
                    wires.write(*key, &shout);
                }
            }
        }
    }

    fn ended(&mut self, key: Key, _: Echo, error: Option<io::Error>) {
        self.here.retain(|here| *here != key);
        let _ = self.ends.send(error.map(|error| error.to_string()));
    }
}

/// What waits for one.
const ROOM: usize = 4 * 1024 * 1024;

struct Fixture {
    reactor: Reactor<Echo>,
    listener: TcpListener,
    shouts: mpsc::Sender<Bytes>,
    ends: mpsc::Receiver<Option<String>>,
}

impl Fixture {
    fn new(unread: Duration) -> Self {
        let ((shouts, shouted), (ends, ended)) = (mpsc::channel(), mpsc::channel());
        let hall = Broadcaster { shouted, here: Vec::new(), ends };
        let times = Times { unread, tick: Duration::from_millis(10) };
        let reactor = Reactor::start("test", hall, times).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { reactor, listener, shouts, ends: ended }
    }

    fn connect(&self, patience: Duration, hears: bool) -> TcpStream {
        self.connect_with(patience, hears, false)
    }

    fn connect_with(&self, patience: Duration, hears: bool, sips: bool) -> TcpStream {
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        self.reactor
            .add(server, Echo { patience, hears, sips, waiting: VecDeque::new(), wake: None });
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
fn each_conversation_gets_its_own_back_and_ends_in_peace() {
    let house = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..50).map(|_| house.connect(HOUR, false)).collect();
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
    (0..50).for_each(|_| assert_eq!(house.end(), None));
}

/// More than the sockets take: reading stops until it is taken, nothing is lost, and the end waits
/// for it.
#[test]
fn io_5_what_a_peer_does_not_take_is_kept_in_order_and_bounded_by_not_reading() {
    let house = Fixture::new(HOUR);
    let mut client = house.connect(HOUR, false);
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
    // Between pieces of the echo stands what the host says when its queue is empty.
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

/// The socket has room only when a third of the send buffer is free, for which this peer takes
/// longer than it has.
#[test]
fn bp_1_a_peer_that_reads_slowly_from_its_kernel_is_not_given_up() {
    let house = Fixture::new(Duration::from_millis(400));
    let mut client = house.connect(HOUR, true);
    socket2::SockRef::from(&client).set_recv_buffer_size(16 * 1024).unwrap();
    house.shouts.send(Bytes::from(vec![b'x'; 32 * 1024 * 1024])).unwrap();
    house.reactor.waker().wake();
    for _ in 0..40 {
        let _ = client.read(&mut [0; 16 * 1024]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(house.ends.try_recv().is_err(), "given up");
    }
    assert_eq!(house.end().as_deref(), Some(UNREAD));
}

#[test]
fn bp_1_a_peer_that_takes_nothing_is_given_up() {
    let house = Fixture::new(Duration::from_millis(200));
    let client = house.connect(HOUR, true);
    house.shouts.send(Bytes::from(vec![b'x'; 32 * 1024 * 1024])).unwrap();
    house.reactor.waker().wake();
    assert_eq!(house.end().as_deref(), Some(UNREAD));
    drop(client);
}

#[test]
fn what_is_said_to_all_reaches_all_and_a_slow_one_delays_nobody() {
    let house = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..20).map(|_| house.connect(HOUR, true)).collect();
    let mut slow = house.connect(HOUR, true);
    let piece = Bytes::from(vec![b'p'; 59_999]);
    for _ in 0..200 {
        house.shouts.send(piece.clone()).unwrap();
        house.reactor.waker().wake();
        for client in &mut clients {
            expect(client, &piece);
        }
    }
    // It missed what was beyond its bound, hears the rest, and is told when that is over.
    let mut came = Vec::new();
    let mut some = vec![0; 100_000];
    while !came.ends_with(b"drained") {
        let count = slow.read(&mut some).unwrap();
        came.extend_from_slice(&some[..count]);
    }
    assert!(came.len() >= ROOM - 60_000 && came.len() < 12_000_000, "{}", came.len());
    // And all the while it may speak.
    slow.write_all(b"echo").unwrap();
    expect(&mut slow, b"echo");
}

#[test]
fn silence_is_told_and_a_stop_too() {
    let house = Fixture::new(HOUR);
    let mut client = house.connect(Duration::from_millis(50), false);
    expect(&mut client, b"still there?still there?");
    house.reactor.stop();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"stopping"), "{rest:?}");
}

#[test]
fn a_panic_ends_one_conversation() {
    let house = Fixture::new(HOUR);
    let (mut one, mut other) = (house.connect(HOUR, false), house.connect(HOUR, false));
    one.write_all(b"panic").unwrap();
    assert_eq!(house.end().as_deref(), Some("internal error"));
    expect_end(&mut one);
    other.write_all(b"hello").unwrap();
    expect(&mut other, b"hello");
}

#[test]
fn a_reset_is_told_and_the_last_handle_ends_all() {
    let house = Fixture::new(HOUR);
    let client = house.connect(HOUR, false);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(house.end().is_some_and(|error| error.contains("reset")));
    let mut client = house.connect(HOUR, false);
    let Fixture { reactor, ends, .. } = house;
    drop(reactor);
    assert_eq!(ends.recv().unwrap().as_deref(), Some("the server stopped"));
    expect_end(&mut client);
}

/// Input set aside is handled without new input, also if the wake-up is in the past, and FIN comes
/// behind it.
#[test]
fn input_that_is_set_aside_is_handled_in_silence() {
    let house = Fixture::new(HOUR);
    let mut clients: Vec<_> = (0..20).map(|_| house.connect_with(HOUR, false, true)).collect();
    for client in &mut clients {
        client.write_all(b"a burst beyond what one turn handles").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for client in &mut clients {
        expect(client, b"a burst beyond what one turn handles");
        expect_end(client);
    }
}
