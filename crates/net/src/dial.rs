//! Connecting by name, to the first address that answers (RFC 8305, Happy Eyeballs).
//!
//! ```text
//!   getaddrinfo's order, families in turn:   [2001:db8::1]   192.0.2.1   [2001:db8::2]   …
//!   an attempt begins      at once          250 ms later, or as soon as one fails
//!   the first connection is taken, the other attempts are closed
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::UNIX;
use crate::resolve::{
    Family, NO_ADDRESS, Port, Query, ResolveError, address_text, is_address, resolve,
};

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The resolver does not know the name.
    #[error("cannot resolve {host}")]
    Resolve {
        /// Host as given.
        host: String,
        /// The error of the resolver.
        #[source]
        source: ResolveError,
    },
    /// Connecting to a Unix socket failed.
    #[error("cannot connect to {UNIX}{}", path.display())]
    Unix {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Connecting to all addresses failed; this is the preferred one.
    #[error("cannot connect to {}", host_and_address(host, *address))]
    Connect {
        /// The host as the caller wrote it.
        host: String,
        /// The numeric address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// A step of connecting.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The resolver returned these addresses; they are tried in this order.
    Resolved(&'a [SocketAddr]),
    /// An attempt begins: the kernel sends a SYN.
    Begins(SocketAddr),
    /// An attempt failed.
    Failed(SocketAddr, &'a io::Error),
    /// An attempt was closed, because another one connected before.
    Closed(SocketAddr),
}

/// An observer of the steps, when they happen.
pub type Observe<'a> = dyn FnMut(Step<'_>) + 'a;

/// Connects to `host` and `port`: to the first of its addresses that answers.
///
/// Each attempt has `timeout`.
///
/// # Errors
/// The name does not resolve, or all addresses failed; then the error of the preferred address.
pub fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DialError> {
    dial_observed(host, port, timeout, &mut |_| {})
}

/// Connects like [`dial`], and reports each step to `observe`.
///
/// # Errors
/// As [`dial`].
pub fn dial_observed(
    host: &str,
    port: u16,
    timeout: Duration,
    observe: &mut Observe<'_>,
) -> Result<TcpStream, DialError> {
    let port = Port::Number(port);
    let query = Query { host: host.to_owned(), port, family: Family::Any };
    let unresolved = |source| DialError::Resolve { host: host.to_owned(), source };
    let found = resolve(&query, timeout).map_err(unresolved)?;
    let order = interleaved(&found.addresses);
    observe(Step::Resolved(&order));
    match dial_first(&order, timeout, observe) {
        Ok(stream) => Ok(stream),
        Err(Some((address, source))) => {
            Err(DialError::Connect { host: host.to_owned(), address, source })
        }
        Err(None) => {
            let none = io::Error::new(io::ErrorKind::NotFound, NO_ADDRESS);
            Err(unresolved(ResolveError::Failed(none)))
        }
    }
}

/// Returns `localhost (127.0.0.1:80)`, or only the address if the host is an address.
fn host_and_address(host: &str, address: SocketAddr) -> String {
    let shown = address_text(address);
    if is_address(host) { shown } else { format!("{host} ({shown})") }
}

/// Connects to the first of `addresses` that answers, and tries them in this order. Returns the
/// error of the preferred one; `None` if there is no address.
fn dial_first(
    addresses: &[SocketAddr],
    timeout: Duration,
    observe: &mut Observe<'_>,
) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
    let mut race = Race::new(addresses, timeout, observe);
    let stream = loop {
        if let Some(stream) = race.begin_next() {
            break stream;
        }
        if race.attempts.is_empty() && race.waiting.is_empty() {
            return Err(race.failure.map(|(_, address, error)| (address, error)));
        }
        if let Some(stream) = race.wait() {
            break stream;
        }
    };
    race.attempts.iter().for_each(|attempt| (race.observe)(Step::Closed(attempt.address)));
    Ok(stream)
}

/// The attempts to connect to one name.
struct Race<'a, 'b> {
    /// Addresses without an attempt yet, by their index.
    waiting: VecDeque<(usize, SocketAddr)>,
    attempts: Vec<Attempt>,
    /// When the next attempt may begin, whatever the state of the others.
    next: Instant,
    timeout: Duration,
    /// The error of the address with the lowest index.
    failure: Option<(usize, SocketAddr, io::Error)>,
    observe: &'a mut Observe<'b>,
}

struct Attempt {
    place: usize,
    address: SocketAddr,
    socket: Socket,
    /// `None` if the clock cannot represent it.
    until: Option<Instant>,
}

impl<'a, 'b> Race<'a, 'b> {
    fn new(addresses: &[SocketAddr], timeout: Duration, observe: &'a mut Observe<'b>) -> Self {
        let waiting = addresses.iter().copied().enumerate().collect();
        let (attempts, next, failure) = (Vec::new(), Instant::now(), None);
        Self { waiting, attempts, next, timeout, failure, observe }
    }

    /// Begins the attempts that are due, until one is in progress.
    fn begin_next(&mut self) -> Option<TcpStream> {
        while self.attempts.is_empty() || Instant::now() >= self.next {
            let (place, address) = self.waiting.pop_front()?;
            let now = Instant::now();
            (self.observe)(Step::Begins(address));
            match connect(address) {
                Ok((socket, Progress::Connected)) => match blocking(socket) {
                    Ok(stream) => return Some(stream),
                    Err(error) => self.failed(place, address, error),
                },
                Ok((socket, Progress::UnderWay)) => {
                    let until = now.checked_add(self.timeout);
                    self.attempts.push(Attempt { place, address, socket, until });
                    self.next = now + ATTEMPT_DELAY;
                }
                Err(error) => self.failed(place, address, error),
            }
        }
        None
    }

    /// Waits until an attempt ends or another may begin.
    fn wait(&mut self) -> Option<TcpStream> {
        let next = Some(self.next).filter(|_| !self.waiting.is_empty());
        let due = self.attempts.iter().filter_map(|attempt| attempt.until).chain(next).min();
        let ready = self.poll(due);
        let now = Instant::now();
        let mut attempts = std::mem::take(&mut self.attempts).into_iter().zip(ready);
        while let Some((attempt, ready)) = attempts.next() {
            let Attempt { place, address, socket, until } = attempt;
            let ended = match ready {
                true => socket.take_error().and_then(|error| error.map_or(Ok(()), Err)),
                false if until.is_some_and(|until| now >= until) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))
                }
                false => {
                    self.attempts.push(Attempt { place, address, socket, until });
                    continue;
                }
            };
            match ended.and_then(|()| blocking(socket)) {
                Ok(stream) => {
                    self.attempts.extend(attempts.map(|(attempt, _)| attempt));
                    return Some(stream);
                }
                Err(error) => self.failed(place, address, error),
            }
        }
        None
    }

    /// Returns for each attempt whether it has ended.
    fn poll(&self, due: Option<Instant>) -> Vec<bool> {
        let mut sockets: Vec<PollFd<'_>> = self
            .attempts
            .iter()
            .map(|attempt| PollFd::new(&attempt.socket, PollFlags::OUT))
            .collect();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut sockets, left.as_ref()) {
            Ok(_) => sockets.iter().map(|socket| !socket.revents().is_empty()).collect(),
            // Most likely interrupted; the caller polls again.
            Err(_) => vec![false; self.attempts.len()],
        }
    }

    /// Records a failure, after which the next attempt may begin immediately.
    fn failed(&mut self, place: usize, address: SocketAddr, error: io::Error) {
        tracing::debug!(%address, %error, "cannot connect");
        (self.observe)(Step::Failed(address, &error));
        self.next = Instant::now();
        if self.failure.as_ref().is_none_or(|(first, ..)| place < *first) {
            self.failure = Some((place, address, error));
        }
    }
}

/// RFC 8305 §4: alternates the families, beginning with that of the first address, and keeps the
/// order within a family.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let of_first = |address: &&SocketAddr| address.is_ipv4() == first.is_ipv4();
    let mut preferred = addresses.iter().filter(of_first);
    let mut others = addresses.iter().filter(|address| !of_first(address));
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(preferred.next());
        order.extend(others.next());
    }
    order
}

enum Progress {
    Connected,
    UnderWay,
}

fn connect(address: SocketAddr) -> io::Result<(Socket, Progress)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok((socket, Progress::Connected)),
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
            Ok((socket, Progress::UnderWay))
        }
        Err(error) => Err(error),
    }
}

fn blocking(socket: Socket) -> io::Result<TcpStream> {
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// Delay before the next attempt begins (RFC 8305 §8, Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A test that takes longer has failed.
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn dial_first(
        addresses: &[SocketAddr],
        timeout: Duration,
    ) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
        super::dial_first(addresses, timeout, &mut |_| {})
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Returns an address without a listener.
    fn refusing() -> SocketAddr {
        listener().1
    }

    /// Returns an address whose SYNs get no answer, because its accept queue is full.
    fn black_hole() -> (Vec<Socket>, SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut held = vec![listener];
        loop {
            let (socket, _) = connect(address).unwrap();
            let full = socket.connect_timeout(&address.into(), Duration::from_millis(200)).is_err();
            held.push(socket);
            if full {
                return (held, address);
            }
        }
    }

    #[test]
    fn address_families_alternate_beginning_with_the_first() {
        for (given, expected) in [
            (&["[::1]:1", "[::1]:2", "1.1.1.1:1"][..], &["[::1]:1", "1.1.1.1:1", "[::1]:2"][..]),
            (&["1.1.1.1:1", "[::1]:1", "[::1]:2"], &["1.1.1.1:1", "[::1]:1", "[::1]:2"]),
            (&["1.1.1.1:2", "1.1.1.1:1"], &["1.1.1.1:2", "1.1.1.1:1"]),
            (&[], &[]),
        ] {
            assert_eq!(interleaved(&addresses(given)), addresses(expected));
        }
    }

    #[test]
    fn an_address_that_does_not_answer_delays_the_next_one_briefly() {
        let (_held, silent) = black_hole();
        let (_listener, good) = listener();
        let started = Instant::now();
        let stream = dial_first(&[silent, good], TIMEOUT).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let elapsed = started.elapsed();
        // The first address had its delay, and not its whole timeout.
        assert!((ATTEMPT_DELAY..TIMEOUT / 2).contains(&elapsed), "{elapsed:?}");
    }

    #[test]
    fn an_error_names_the_host_as_it_was_written_and_its_address() {
        let port = refusing().port();
        let error = dial("localhost", port, TIMEOUT).unwrap_err().to_string();
        let address = if error.contains('[') { "[::1]" } else { "127.0.0.1" };
        assert_eq!(error, format!("cannot connect to localhost ({address}:{port})"));
        let error = dial("127.0.0.1", port, TIMEOUT).unwrap_err().to_string();
        assert_eq!(error, format!("cannot connect to 127.0.0.1:{port}"));
    }

    #[test]
    fn after_a_refusal_the_next_begins_at_once() {
        let (_listener, good) = listener();
        let refusing: Vec<_> = (0..64).map(|_| refusing()).collect();
        let started = Instant::now();
        let stream = dial_first(&[&refusing[..], &[good]].concat(), TIMEOUT).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(started.elapsed() < 64 * ATTEMPT_DELAY / 2);
    }

    #[test]
    fn the_first_address_that_answers_is_used_and_its_socket_blocks() {
        let ((_one, first), (other, second)) = (listener(), listener());
        let stream = dial_first(&[first, second], TIMEOUT).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), first);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let started = Instant::now();
        io::Read::read(&mut &stream, &mut [0]).unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(40), "it does not block");
        // The second address got no connection.
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_observer_sees_each_attempt_and_how_it_ended() {
        let (_held, silent) = black_hole();
        let (refusing, (_listener, good)) = (refusing(), listener());
        let mut steps = Vec::new();
        let mut observe = |step: Step<'_>| {
            steps.push(match step {
                Step::Begins(address) => ("begins", address),
                Step::Failed(address, error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                    ("failed", address)
                }
                Step::Closed(address) => ("closed", address),
                Step::Resolved(_) => unreachable!("no name was resolved"),
            });
        };
        super::dial_first(&[silent, refusing, good], TIMEOUT, &mut observe).unwrap();
        let expected = [
            ("begins", silent),
            ("begins", refusing),
            ("failed", refusing),
            ("begins", good),
            ("closed", silent),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn the_error_of_the_preferred_address_is_reported_also_if_it_fails_last() {
        let (_held, silent) = black_hole();
        let timeout = Duration::from_millis(300);
        let (address, error) = dial_first(&[silent, refusing()], timeout).unwrap_err().unwrap();
        assert_eq!((address, error.kind()), (silent, io::ErrorKind::TimedOut));
        let refusing = [refusing(), refusing()];
        let (address, error) = dial_first(&refusing, timeout).unwrap_err().unwrap();
        assert_eq!((address, error.kind()), (refusing[0], io::ErrorKind::ConnectionRefused));
        assert!(dial_first(&[], timeout).unwrap_err().is_none());
    }
}
