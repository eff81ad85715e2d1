//! TCP statistics of the kernel: getsockopt(TCP_INFO), tcp(7).
//!
//! No safe crate calls it, so the one call is here. The kernel fills as much of the structure as it
//! knows and returns that size; fields beyond it are absent, and so are fields that this end of the
//! connection has not measured.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::tcp_info;

use crate::queues;
use crate::unix::is_unix;

/// Statistics of one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: Option<u64>,
    /// Round-trip time estimated as a receiver, in microseconds; absent after little input.
    pub rcv_rtt_us: Option<u64>,
    /// Segments sent more than once.
    pub retransmits: Option<u64>,
    /// Congestion window, in segments.
    pub cwnd: Option<u64>,
    /// Bytes per second at which our segments were last delivered.
    pub delivery_rate: Option<u64>,
    /// Time with data to send since the connection began, in microseconds.
    pub busy_us: Option<u64>,
    /// Part of it limited by the peer's receive window.
    pub rwnd_limited_us: Option<u64>,
    /// Part of it limited by the send buffer.
    pub sndbuf_limited_us: Option<u64>,
    /// Variation of the round-trip time, in microseconds.
    pub rttvar_us: Option<u64>,
    /// Shortest round-trip time, in microseconds.
    pub min_rtt_us: Option<u64>,
    /// Slow-start threshold, in segments; absent before the first loss.
    pub ssthresh: Option<u64>,
    /// Maximum segment size of what this end sends, in bytes.
    pub mss: Option<u64>,
    /// Segments sent and not acknowledged.
    pub in_flight: Option<u64>,
    /// Whether the delivery rate was limited by the application.
    pub app_limited: Option<bool>,
    /// Bytes that the peer's kernel acknowledged.
    pub acked: Option<u64>,
    /// Bytes received.
    pub received: Option<u64>,
    /// Segments of data sent.
    pub segments: Option<u64>,
    /// Receive window of the peer, in bytes.
    pub peer_window: Option<u64>,
    /// Receive space of this end, in bytes.
    pub receive_space: Option<u64>,
    /// Written bytes that were not sent yet.
    pub unsent: Option<u64>,
    /// Receive window of this end, in bytes; since Linux 6.2.
    pub own_window: Option<u64>,
    /// Segments of data received.
    pub received_segments: Option<u64>,
    /// Those of them that arrived before an earlier one.
    pub out_of_order: Option<u64>,
    /// Segments that the peer reported as arrived twice (D-SACK).
    pub arrived_twice: Option<u64>,
    /// Times that a segment was acknowledged after later ones (reordering).
    pub overtaken: Option<u64>,
    /// State of the connection by its number in tcp_states.h.
    pub state: Option<u8>,
}

impl TcpInfo {
    /// Reads the statistics of `socket`.
    ///
    /// # Errors
    /// The socket is not a TCP socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        // With room for what libc does not name on every platform.
        let mut bytes = [0; size_of::<tcp_info>() + 16];
        let known = ask(socket, &mut bytes)?;
        let known = &bytes[..known];
        let measured = |value: &u64| *value > 0;
        Ok(Self {
            rtt_us: number(known, offset_of!(tcp_info, tcpi_rtt)).filter(measured),
            rcv_rtt_us: number(known, offset_of!(tcp_info, tcpi_rcv_rtt)).filter(measured),
            retransmits: number(known, offset_of!(tcp_info, tcpi_total_retrans)),
            cwnd: number(known, offset_of!(tcp_info, tcpi_snd_cwnd)),
            delivery_rate: long_number(known, offset_of!(tcp_info, tcpi_delivery_rate))
                .filter(measured),
            busy_us: long_number(known, offset_of!(tcp_info, tcpi_busy_time)),
            rwnd_limited_us: long_number(known, offset_of!(tcp_info, tcpi_rwnd_limited)),
            sndbuf_limited_us: long_number(known, offset_of!(tcp_info, tcpi_sndbuf_limited)),
            rttvar_us: number(known, offset_of!(tcp_info, tcpi_rttvar)),
            min_rtt_us: number(known, offset_of!(tcp_info, tcpi_min_rtt))
                .filter(|rtt| (1..NONE).contains(rtt)),
            ssthresh: number(known, offset_of!(tcp_info, tcpi_snd_ssthresh))
                .filter(|segments| *segments < INFINITE),
            mss: number(known, offset_of!(tcp_info, tcpi_snd_mss)),
            in_flight: number(known, offset_of!(tcp_info, tcpi_unacked)),
            // The first bit of the byte before, which libc does not name on every platform.
            app_limited: known.get(offset_of!(tcp_info, tcpi_rto) - 1).map(|bits| bits & 1 == 1),
            acked: long_number(known, offset_of!(tcp_info, tcpi_bytes_acked)),
            received: long_number(known, offset_of!(tcp_info, tcpi_bytes_received)),
            segments: number(known, offset_of!(tcp_info, tcpi_data_segs_out)),
            peer_window: number(known, offset_of!(tcp_info, tcpi_snd_wnd)),
            receive_space: number(known, offset_of!(tcp_info, tcpi_rcv_space)),
            unsent: number(known, offset_of!(tcp_info, tcpi_notsent_bytes)),
            // The field behind it, which libc does not name on every platform.
            own_window: number(known, offset_of!(tcp_info, tcpi_snd_wnd) + 4).filter(measured),
            received_segments: number(known, offset_of!(tcp_info, tcpi_data_segs_in)),
            out_of_order: number(known, offset_of!(tcp_info, tcpi_rcv_ooopack)),
            arrived_twice: number(known, offset_of!(tcp_info, tcpi_dsack_dups)),
            overtaken: number(known, offset_of!(tcp_info, tcpi_reord_seen)),
            state: known.get(offset_of!(tcp_info, tcpi_state)).copied(),
        })
    }
}

/// How many of the written bytes were delivered: those that the peer's kernel has, or for a Unix
/// socket those that the peer has read.
///
/// A peer that still reads from the socket buffers makes progress, although no write succeeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Bytes that were written to the socket.
    pub written: u64,
    /// Bytes that the peer's kernel has acknowledged.
    pub acked: u64,
    /// The last byte that it has room for: this moves when the peer reads. 0 on kernels that do not
    /// report it.
    pub room: u64,
}

impl Delivery {
    /// Reads the statistics of `socket`.
    ///
    /// # Errors
    /// The socket is neither a TCP nor a Unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let mut bytes = [0; size_of::<tcp_info>()];
        let known = match ask(&socket, &mut bytes) {
            Err(_) if is_unix(&socket) => return Self::of_unix(&socket),
            known => known?,
        };
        let known = &bytes[..known];
        let long = |at| long_number(known, at).unwrap_or_default();
        let short = |at| number(known, at).unwrap_or_default();
        let sent = long(offset_of!(tcp_info, tcpi_bytes_sent));
        let once = sent.saturating_sub(long(offset_of!(tcp_info, tcpi_bytes_retrans)));
        let acked = long(offset_of!(tcp_info, tcpi_bytes_acked));
        Ok(Self {
            written: once.saturating_add(short(offset_of!(tcp_info, tcpi_notsent_bytes))),
            acked,
            room: acked.saturating_add(short(offset_of!(tcp_info, tcpi_snd_wnd))),
        })
    }

    /// A Unix socket knows only how much of what was written is unread.
    fn of_unix(socket: &impl AsFd) -> io::Result<Self> {
        let unread = queues::unacknowledged(socket)?;
        Ok(Self { written: MUCH, acked: MUCH.saturating_sub(unread), room: 0 })
    }

    /// Returns whether the peer or its kernel accepted anything after `earlier`.
    pub const fn has_advanced_since(&self, earlier: &Self) -> bool {
        self.acked > earlier.acked || self.room > earlier.room
    }
}

/// Fills `bytes` with a `tcp_info`, and returns how many of them the kernel wrote.
fn ask(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    let socket = socket.as_fd();
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "neither std nor rustix nor socket2 asks for TCP_INFO")]
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `length` bytes, all
    // of them in `bytes`, whose content may be any, and the new length; both outlive the call.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(length).map_err(io::Error::other)?.min(bytes.len()))
}

/// Stands for all bytes that were ever written to a Unix socket, whose kernel does not count them.
const MUCH: u64 = u64::MAX / 2;

/// The slow-start threshold before the first loss (TCP_INFINITE_SSTHRESH).
const INFINITE: u64 = 0x7fff_ffff;

/// The shortest round-trip time before the first measurement.
const NONE: u64 = u32::MAX as u64;

fn number(known: &[u8], at: usize) -> Option<u64> {
    let (bytes, _) = known.get(at..)?.split_first_chunk()?;
    Some(u64::from(u32::from_ne_bytes(*bytes)))
}

fn long_number(known: &[u8], at: usize) -> Option<u64> {
    let (bytes, _) = known.get(at..)?.split_first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn both_ends_know_their_half() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let mut content = vec![7; 64 * 1024];
        for _ in 0..32 {
            sender.write_all(&content).unwrap();
            receiver.read_exact(&mut content).unwrap();
        }
        let theirs = TcpInfo::of(&sender).unwrap();
        assert!(theirs.rtt_us.is_some_and(|rtt| rtt < 10_000_000), "{theirs:?}");
        assert!(theirs.cwnd.is_some_and(|segments| (1..1_000_000).contains(&segments)));
        assert!(theirs.delivery_rate.is_some_and(|rate| rate > 1000), "{theirs:?}");
        assert!(theirs.retransmits.is_some_and(|segments| segments < 1000), "{theirs:?}");
        let ours = TcpInfo::of(&receiver).unwrap();
        assert!(ours.rtt_us.is_some() && ours.cwnd.is_some(), "{ours:?}");
        assert_eq!(ours.received, Some(32 * 64 * 1024));
        assert!(theirs.mss.is_some_and(|mss| mss >= 500), "{theirs:?}");
        assert!(theirs.segments > Some(0) && theirs.peer_window > Some(0), "{theirs:?}");
        assert!(theirs.min_rtt_us <= theirs.rtt_us.map(|rtt| rtt + 10_000_000), "{theirs:?}");
        assert_eq!(theirs.state, Some(1), "established");
        assert!(theirs.app_limited.is_some() && theirs.receive_space > Some(0), "{theirs:?}");
    }

    #[test]
    fn a_peer_that_reads_from_its_kernel_alone_makes_progress() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = sender.write(&[0; 64 * 1024]) {
            written += count as u64;
        }
        let full = Delivery::of(&sender).unwrap();
        // Some kernels count the sequence number of the SYN.
        assert!(full.written.abs_diff(written) <= 1, "{full:?} of {written}");
        assert!(full.acked < full.written, "{full:?}");
        assert!(!Delivery::of(&sender).unwrap().has_advanced_since(&full));
        let mut content = vec![0; usize::try_from(written / 2).unwrap()];
        receiver.read_exact(&mut content).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !Delivery::of(&sender).unwrap().has_advanced_since(&full) {
            assert!(std::time::Instant::now() < until, "no progress");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_peer_of_a_unix_socket_makes_progress_when_it_reads() {
        let (mut sender, mut receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = sender.write(&[0; 64 * 1024]) {
            written += count;
        }
        let full = Delivery::of(&sender).unwrap();
        assert!(full.acked < full.written, "{full:?}");
        assert!(!Delivery::of(&sender).unwrap().has_advanced_since(&full));
        receiver.read_exact(&mut vec![0; written]).unwrap();
        let read = Delivery::of(&sender).unwrap();
        assert!(read.has_advanced_since(&full) && read.acked == read.written, "{read:?}");
    }

    #[test]
    fn another_socket_is_an_error_and_a_shorter_structure_is_accepted() {
        assert!(TcpInfo::of(UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
        assert_eq!(number(&[1, 0, 0, 0], 0), Some(u64::from(u32::from_ne_bytes([1, 0, 0, 0]))));
        for (known, at) in [(&[1, 0, 0][..], 0), (&[1, 0, 0, 0], 1), (&[], 8)] {
            assert_eq!(number(known, at), None);
            assert_eq!(long_number(known, at), None);
        }
    }
}
