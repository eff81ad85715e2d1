//! The first connections: to all addresses concurrently, or to a Unix socket, silent until the
//! server has had time to speak first.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::{Instant, SystemTime};

use anyport_net::address::Address;
use anyport_net::congestion::Congestion;
use anyport_net::path::path_mtu;
use anyport_net::tcp_info::TcpInfo;
use rustix::io::Errno;
use socket2::SockRef;

use super::report::{Outcome, PathReport, Reached};
use super::wire::{End, Wire};
use super::{ProbeOptions, known};

/// Connects to all addresses.
pub(super) fn all(addresses: &[Address], options: &ProbeOptions) -> Vec<Reached> {
    let no_thread = || Outcome::Failed("no thread".to_owned());
    thread::scope(|scope| {
        let spawn = |address: &Address| {
            let (address, probed) = (address.clone(), address.clone());
            let work = move || one(probed, options);
            (address, thread::Builder::new().spawn_scoped(scope, work).ok())
        };
        let threads: Vec<_> = addresses.iter().map(spawn).collect();
        let join = |(address, thread): (Address, Option<thread::ScopedJoinHandle<'_, _>>)| {
            let reached = thread.and_then(|thread| thread.join().ok());
            reached.unwrap_or_else(|| Reached::failed(address, no_thread()))
        };
        threads.into_iter().map(join).collect()
    })
}

fn one(address: Address, options: &ProbeOptions) -> Reached {
    let started = Instant::now();
    let mut wire = match Wire::connect(&address, options.connect_timeout, options.greeting_timeout)
    {
        Ok(wire) => wire,
        Err(error) => {
            let outcome = Outcome::of(&address, &error);
            return Reached::failed(address, outcome);
        }
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
        End::Failed(error) => Outcome::of(&address, &error),
    };
    let connect = Some(connected.duration_since(started));
    if let Address::Unix(_) = address {
        return Reached { address, outcome, connect, first_byte, path: None };
    }
    let info = TcpInfo::of(wire.socket()).unwrap_or_default();
    let path = PathReport {
        rtt_us: info.rtt_us,
        mtu: path_mtu(wire.socket()).ok(),
        mss: SockRef::from(wire.socket()).tcp_mss().ok(),
        congestion,
    };
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
    pub(super) fn of(address: &Address, error: &io::Error) -> Self {
        if let Address::Unix(path) = address {
            return Self::of_unix(path, error);
        }
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
    /// Returns the outcome of a failed attempt to connect to a Unix socket (unix(7)).
    fn of_unix(path: &Path, error: &io::Error) -> Self {
        // The system refuses a connection to a file of another kind too.
        let is_file = || fs::metadata(path).is_ok_and(|there| !there.file_type().is_socket());
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) if is_file() => Self::NotASocket,
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NoFile,
            Some(Errno::ACCESS | Errno::PERM) => Self::Forbidden,
            Some(Errno::CONNRESET) => Self::Resets,
            Some(Errno::PROTOTYPE) => {
                Self::Failed("it is a socket of another type than stream".to_owned())
            }
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed(error.to_string()),
        }
    }
}
