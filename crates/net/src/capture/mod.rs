//! Capturing the packets of connections (packet(7)), for which the kernel asks for CAP_NET_RAW.
//!
//! ```text
//!   interface ─► filter: server and port ─► ring ─► thread ─► each packet, with the kernel's time
//! ```

mod filter;
mod ring;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use socket2::Socket;

pub use filter::Match;
use ring::{Raw, Ring};

/// Why packets cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The process has not the capability CAP_NET_RAW.
    #[error("capturing packets is not permitted (CAP_NET_RAW is missing)")]
    NotPermitted,
    /// The system has no packet sockets, or no memory for them.
    #[error("cannot capture packets")]
    System(#[source] io::Error),
}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::System(error),
        }
    }
}

/// A captured packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When the kernel sent or received it.
    pub at: Instant,
    /// Time since 1970 at the same instant.
    pub since_1970: Duration,
    /// The index of its interface.
    pub interface: u32,
    /// Whether this machine sent it.
    ///
    /// Packets of the loopback interface are sent ones.
    pub outgoing: bool,
    /// Its beginning, from the IP header.
    pub bytes: &'a [u8],
    /// Bytes of the whole packet.
    pub length: u32,
    /// The state of its checksum, as the kernel reports it.
    pub checksum: Checksum,
}

/// The state of the checksum of a packet's content, as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    Unknown,
    /// It is right.
    Valid,
    /// It is not computed: the network card does it, or the packet never leaves this machine.
    Pending,
}

/// A running capture.
///
/// Its thread ends when this value is dropped.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    wake: OwnedFd,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    snaplen: u32,
    matches: Mutex<Vec<Match>>,
}

/// Memory of the ring: enough for 20,000 headers, or for 500 segments of 64 KiB.
const SMALL: usize = 32;
const LARGE: usize = 128;
/// Packets that are cut to this size need the small ring.
const HEADERS: u32 = 256;
/// The largest packet: more does not fit into a block of the ring.
pub const MAX_SNAPLEN: u32 = 192 * 1024;

impl Capture {
    /// Begins a capture of no packet until [`Self::include`]; each packet is cut to `snaplen`.
    ///
    /// # Errors
    /// [`CaptureError::NotPermitted`], or the error of the system.
    pub fn start(
        snaplen: u32,
        each: impl FnMut(Packet<'_>) + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let snaplen = snaplen.min(MAX_SNAPLEN);
        let blocks = if snaplen <= HEADERS { SMALL } else { LARGE };
        let (socket, ring) = ring::open(&filter::program(&[], snaplen), blocks)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let ends = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            socket: socket.try_clone()?,
            wake: wake.try_clone()?,
            ends: Arc::clone(&ends),
            ring,
            clock: Clock::now(),
        };
        let thread = std::thread::Builder::new().name("capture".into());
        let thread = Some(thread.spawn(move || reader.run(each))?);
        Ok(Self { socket, wake, ends, thread, snaplen, matches: Mutex::default() })
    }

    /// Captures the packets of `one`, too.
    ///
    /// Beyond 64 of them the first ones end.
    ///
    /// # Errors
    /// The error of the system.
    pub fn include(&self, one: Match) -> Result<(), CaptureError> {
        self.change(|matches| {
            if matches.len() == filter::MAX_MATCHES {
                matches.remove(0);
            }
            matches.push(one);
        })
    }

    /// Captures the packets of those matches only for which `keep` is true.
    ///
    /// # Errors
    /// The error of the system.
    pub fn retain(&self, keep: impl FnMut(&Match) -> bool) -> Result<(), CaptureError> {
        self.change(|matches| matches.retain(keep))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Match>)) -> Result<(), CaptureError> {
        let mut matches = self.matches.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut matches);
        Ok(self.socket.attach_filter(&filter::program(&matches, self.snaplen))?)
    }

    /// Returns how many packets the kernel lost since the last call: the thread was too slow.
    pub fn lost(&self) -> u64 {
        ring::lost(&self.socket)
    }
}

/// Returns the name of an interface.
pub fn interface_name(index: u32) -> Option<String> {
    let socket = UnixDatagram::unbound().ok()?;
    rustix::net::netdevice::index_to_name(&socket, index).ok()
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // An eventfd accepts this, unless its counter is at its end.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread of a capture.
struct Reader {
    socket: Socket,
    wake: OwnedFd,
    /// Also while packets keep arriving.
    ends: Arc<AtomicBool>,
    ring: Ring,
    clock: Clock,
}

impl Reader {
    fn run(mut self, mut each: impl FnMut(Packet<'_>)) {
        loop {
            while !self.ends.load(Ordering::Relaxed)
                && self.ring.read(|raw| {
                    if let Some(packet) = packet(raw, &self.clock) {
                        each(packet);
                    }
                })
            {}
            let mut both = [
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
            ];
            match poll(&mut both, None) {
                Ok(_) if both[1].revents().is_empty() => {}
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
            // An interface that goes down is an error of the socket, which this clears.
            let _ = self.socket.take_error();
        }
    }
}

/// Returns a packet; the loopback interface shows each one twice, of which the first is kept.
fn packet<'a>(raw: Raw<'a>, clock: &Clock) -> Option<Packet<'a>> {
    let outgoing = raw.kind == libc::PACKET_OUTGOING;
    let is_own = raw.kind == libc::PACKET_HOST && raw.hardware != libc::ARPHRD_LOOPBACK;
    let checksum = match raw.status {
        status if status & libc::TP_STATUS_CSUMNOTREADY != 0 => Checksum::Pending,
        status if status & libc::TP_STATUS_CSUM_VALID != 0 => Checksum::Valid,
        _ => Checksum::Unknown,
    };
    (outgoing || is_own).then(|| Packet {
        at: clock.at(raw.time),
        since_1970: raw.time,
        interface: raw.interface,
        outgoing,
        bytes: raw.bytes,
        length: raw.length,
        checksum,
    })
}

/// Both clocks at one time: packets have the time of day, events the monotonic one.
struct Clock {
    monotonic: Instant,
    since_1970: Duration,
}

impl Clock {
    fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { monotonic: Instant::now(), since_1970: since_1970.unwrap_or_default() }
    }

    fn at(&self, time: Duration) -> Instant {
        let moved = match time.checked_sub(self.since_1970) {
            Some(later) => self.monotonic.checked_add(later),
            None => self.monotonic.checked_sub(self.since_1970 - time),
        };
        moved.unwrap_or(self.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

    type Seen = Arc<Mutex<Vec<(Vec<u8>, Instant, u32)>>>;

    /// Captures into a list; `None` where that is not permitted, and the test is skipped.
    fn capture(snaplen: u32) -> Option<(Capture, Seen)> {
        let seen = Seen::default();
        let into = Arc::clone(&seen);
        let capture = Capture::start(snaplen, move |packet| {
            into.lock().unwrap().push((packet.bytes.to_vec(), packet.at, packet.length));
        });
        match capture {
            Ok(capture) => Some((capture, seen)),
            Err(CaptureError::NotPermitted) => {
                eprintln!("skipped: {}", CaptureError::NotPermitted);
                None
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    fn wait(seen: &Seen, done: impl Fn(&[(Vec<u8>, Instant, u32)]) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !done(&seen.lock().unwrap()) {
            assert!(Instant::now() < until, "{:?}", seen.lock().unwrap().len());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn talk(listener: &TcpListener) -> SocketAddr {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        client.local_addr().unwrap()
    }

    fn has_fin(packet: &[u8], tcp: usize, port: u16) -> bool {
        packet[tcp + 13] & 1 != 0 && packet[tcp..tcp + 2] == port.to_be_bytes()
    }

    #[test]
    fn a_connection_is_captured_from_its_syn_each_packet_once_and_others_are_not() {
        let Some((capture, seen)) = capture(128) else { return };
        let began = Instant::now();
        let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let server = listeners[0].local_addr().unwrap();
        let one = Match { server: Some(server.ip()), port: server.port(), local_port: None };
        capture.include(one).unwrap();
        talk(&listeners[1]);
        let client = talk(&listeners[0]);
        // Both sides end: the server's socket was dropped.
        wait(&seen, |seen| {
            [server, client].iter().all(|end| seen.iter().any(|p| has_fin(&p.0, 20, end.port())))
        });
        let seen = seen.lock().unwrap();
        let flags: Vec<u8> = seen.iter().map(|(bytes, ..)| bytes[33]).collect();
        assert_eq!(flags[..3], [0x02, 0x12, 0x10], "SYN, SYN ACK, ACK: {flags:x?}");
        let data = seen.iter().filter(|(bytes, ..)| bytes[33] & 0x08 != 0).count();
        assert_eq!(data, 1, "each packet once");
        for (bytes, at, length) in &*seen {
            let ports = [&bytes[20..22], &bytes[22..24]];
            assert!(ports.contains(&&server.port().to_be_bytes()[..]));
            assert!(*length as usize >= bytes.len());
            // The clocks were read a moment apart, and one of them may be set meanwhile.
            assert!(began.saturating_duration_since(*at) < Duration::from_secs(60));
            assert!(at.saturating_duration_since(Instant::now()) < Duration::from_secs(60));
        }
        assert_eq!(capture.lost(), 0);
        assert_eq!(interface_name(1).as_deref(), Some("lo"));
    }

    #[test]
    fn ipv6_is_captured_a_large_segment_is_cut_and_a_narrow_match_leaves_out_other_clients() {
        let Some((capture, seen)) = capture(128) else { return };
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
        let server = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(server).unwrap();
        let port = client.local_addr().unwrap().port();
        let (mut accepted, _) = listener.accept().unwrap();
        let one = Match { server: Some(server.ip()), port: server.port(), local_port: Some(port) };
        capture.include(one).unwrap();
        talk(&listener);
        let reader = std::thread::spawn(move || {
            let mut content = Vec::new();
            accepted.read_to_end(&mut content).unwrap();
            content.len()
        });
        client.write_all(&[7; 300_000]).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), 300_000);
        wait(&seen, |seen| seen.iter().any(|(bytes, ..)| has_fin(bytes, 40, port)));
        let seen = seen.lock().unwrap();
        let port = port.to_be_bytes();
        assert!(seen.iter().all(|(bytes, ..)| bytes[40..42] == port || bytes[42..44] == port));
        assert!(seen.iter().all(|(bytes, ..)| bytes.len() <= 128));
        assert!(seen.iter().any(|(_, _, length)| *length > 1500), "segments before they are split");
        assert_eq!(capture.lost(), 0);
    }

    #[test]
    fn a_block_with_wrong_offsets_ends_without_a_panic() {
        for byte in [0, 1, 0x7f, 0xff] {
            let block = vec![byte; 4096];
            assert!(packets_of(&block) <= 4096);
        }
    }

    fn packets_of(block: &[u8]) -> usize {
        ring::packets(block).count()
    }
}
