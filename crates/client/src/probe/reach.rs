//! The first connections: to all addresses concurrently, silent until the server has had time to
//! speak first.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Instant, SystemTime};

use anyport_net::congestion::Congestion;
use anyport_net::path::path_mtu;
use anyport_net::tcp_info::TcpInfo;
use rustix::io::Errno;
use socket2::SockRef;

use super::report::{Outcome, PathReport, Reached};
use super::wire::{End, Wire};
use super::{ProbeOptions, known};

/// Connects to all addresses.
pub(super) fn all(addresses: &[SocketAddr], options: &ProbeOptions) -> Vec<Reached> {
    let failed = |address| Reached::failed(address, Outcome::Failed("no thread".to_owned()));
    thread::scope(|scope| {
        let spawn = |address: &SocketAddr| {
            let address = *address;
            let work = move || one(address, options);
            (address, thread::Builder::new().spawn_scoped(scope, work).ok())
        };
        let threads: Vec<_> = addresses.iter().map(spawn).collect();
        let join = |(address, thread): (SocketAddr, Option<thread::ScopedJoinHandle<'_, _>>)| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_else(|| failed(address))
        };
        threads.into_iter().map(join).collect()
    })
}

fn one(address: SocketAddr, options: &ProbeOptions) -> Reached {
    let started = Instant::now();
    let mut wire = match Wire::connect(address, options.connect_timeout, options.greeting_timeout) {
        Ok(wire) => wire,
        Err(error) => return Reached::failed(address, Outcome::of(&error)),
    };
    let connected = Instant::now();
    let socket = wire.socket();
    let congestion = match (socket.local_addr(), socket.peer_addr()) {
        // As a transfer would set it.
        (Ok(local), Ok(peer)) => Congestion::Auto.apply(socket, local, peer).ok(),
        _ => None,
    };
    let (greeting, end) = wire.listen(options.greeting_timeout);
    let first_byte = wire.first_at.map(|at| at.duration_since(connected));
    let outcome = match end {
        _ if !greeting.is_empty() => {
            Outcome::Speaks { name: name(&greeting), closes: !matches!(end, End::Late), greeting }
        }
        End::Closed => Outcome::Closes,
        End::Reset => Outcome::Resets,
        End::Late => {
            wire.abandon();
            Outcome::Silent
        }
        End::Tls(error) => Outcome::Failed(error.to_string()),
        End::Failed(error) => Outcome::of(&error),
    };
    let info = TcpInfo::of(wire.socket()).unwrap_or_default();
    let path = PathReport {
        rtt_us: info.rtt_us,
        mtu: path_mtu(wire.socket()).ok(),
        mss: SockRef::from(wire.socket()).tcp_mss().ok(),
        congestion,
    };
    let connect = Some(connected.duration_since(started));
    Reached { address, outcome, connect, first_byte, path: Some(path) }
}

fn name(greeting: &[u8]) -> Option<&'static str> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if known::rfc868(greeting, now.as_secs()) {
        return Some("time (RFC 868)");
    }
    known::greeting(greeting)
}

impl Outcome {
    /// Returns the outcome of a failed attempt to connect.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(Errno::CONNRESET) => Self::Resets,
            // Linux reports a blackhole route as an invalid argument.
            Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::INVAL) => Self::NoRoute,
            Some(Errno::HOSTUNREACH | Errno::HOSTDOWN) => Self::NoHost,
            Some(Errno::ACCESS | Errno::PERM) => Self::Forbidden,
            // The limit of the attempt, rather than that of the kernel.
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed(error.to_string()),
        }
    }
}
