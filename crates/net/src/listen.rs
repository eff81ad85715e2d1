//! Listening sockets for addresses as users write them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::Address;
use crate::resolve::{self, Query, ResolveError};

/// Maximum number of completed connections that wait for accept.
const BACKLOG: i32 = 1024;

/// Why listening on an address failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The resolver does not know the name.
    #[error("cannot resolve {address}")]
    Resolve {
        /// Host and port as given.
        address: String,
        /// The error of the resolver.
        #[source]
        source: ResolveError,
    },
    /// The system rejected one of its addresses.
    #[error("cannot listen on {}", address.text())]
    Bind {
        /// The numeric address, or the path.
        address: Address,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// No address is left to listen on.
    #[error("no address to listen on")]
    NoAddress,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listening {
    /// Of TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listening {
    /// Returns its address.
    ///
    /// # Errors
    /// The error of the system, or a Unix socket without a path.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other(NO_PATH))?;
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }
}

const NO_PATH: &str = "abstract sockets are not supported: they have no permissions";

/// Resolves `HOST:PORT` to its distinct addresses, in the order of getaddrinfo.
///
/// # Errors
/// [`ListenError::Resolve`].
pub fn resolve(address: &str) -> Result<Vec<SocketAddr>, ListenError> {
    let unresolved = |source| ListenError::Resolve { address: address.to_owned(), source };
    let query = Query::parse(address).map_err(unresolved)?;
    Ok(resolve::resolve(&query, TIMEOUT).map_err(unresolved)?.addresses)
}

/// How long resolving the addresses of listeners may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on each of `addresses`, IPv4 first.
///
/// The first socket's port is used for all addresses with port 0, so that the server has one port
/// in both families.
///
/// An IPv6 address that this machine does not have is skipped as long as another address is left.
///
/// # Errors
/// The first address that could not be bound, or [`ListenError::NoAddress`].
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    until_free(addresses, || listen_once(addresses))
}

/// Listens as [`listen`] does, with a socket for datagrams on the port of each listener.
///
/// # Errors
/// As [`listen`].
pub fn listen_with_datagrams(
    addresses: &[SocketAddr],
) -> Result<Vec<(TcpListener, UdpSocket)>, ListenError> {
    until_free(addresses, || {
        let beside = |listener: TcpListener| {
            let address = listener.local_addr().map_err(|_| ListenError::NoAddress)?;
            match bind_datagrams(address) {
                Ok(socket) => Ok((listener, socket)),
                Err(source) => Err(ListenError::Bind { address: address.into(), source }),
            }
        };
        listen_once(addresses)?.into_iter().map(beside).collect()
    })
}

/// With port 0, the port that the first socket gets may be in use for the next one: then another is
/// tried.
fn until_free<T>(
    addresses: &[SocketAddr],
    bind: impl Fn() -> Result<Vec<T>, ListenError>,
) -> Result<Vec<T>, ListenError> {
    for attempt in 0.. {
        match bind() {
            Err(ListenError::Bind { source, address })
                if source.kind() == io::ErrorKind::AddrInUse
                    && !address.ip().is_some_and(|address| addresses.contains(&address))
                    && attempt < PORT_ATTEMPTS => {}
            done => return done,
        }
    }
    Err(ListenError::NoAddress)
}

/// How many free ports are tried.
const PORT_ATTEMPTS: u32 = 16;

fn listen_once(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut sorted = addresses.to_vec();
    sorted.sort_by_key(SocketAddr::is_ipv6);
    sorted.dedup();
    let mut listeners = Vec::new();
    let mut free_port = None;
    let mut missing = None;
    for mut address in sorted {
        if let (0, Some(port)) = (address.port(), free_port) {
            address.set_port(port);
        }
        match listen_on(address) {
            Ok(listener) => {
                if free_port.is_none() {
                    free_port = listener.local_addr().ok().map(|bound| bound.port());
                }
                listeners.push(listener);
            }
            Err(source) if address.is_ipv6() && is_no_ipv6(&source) => {
                tracing::debug!(%address, error = %source, "IPv6 is not available");
                missing = Some(ListenError::Bind { address: address.into(), source });
            }
            Err(source) => return Err(ListenError::Bind { address: address.into(), source }),
        }
    }
    if listeners.is_empty() {
        Err(missing.unwrap_or(ListenError::NoAddress))
    } else {
        Ok(listeners)
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // One socket for each family: `::` must not occupy the IPv4 port of `0.0.0.0`.
        socket.set_only_v6(true)?;
    }
    // A restarted server must not wait for the TIME-WAIT of its old connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds without `SO_REUSEADDR`, which for datagrams would let two programs share the port.
fn bind_datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_no_ipv6(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_is_one_port_for_both_families() {
        let wanted = ["[::1]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let bound: Vec<SocketAddr> =
            listen(&wanted).unwrap().iter().map(|l| l.local_addr().unwrap()).collect();
        assert!(bound[0].is_ipv4(), "IPv4 comes first");
        assert!(bound.iter().all(|address| address.port() == bound[0].port()));
        assert_ne!(bound[0].port(), 0);
    }

    #[test]
    fn datagrams_have_the_port_of_the_streams_also_where_it_is_a_free_one() {
        let wanted = ["[::1]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let bound = listen_with_datagrams(&wanted).unwrap();
        let port = bound[0].0.local_addr().unwrap().port();
        for (listener, datagrams) in &bound {
            assert_eq!(listener.local_addr().unwrap(), datagrams.local_addr().unwrap());
            assert_eq!(listener.local_addr().unwrap().port(), port);
        }
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _held = UdpSocket::bind(taken).unwrap();
        let error = listen_with_datagrams(&[taken]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    }

    #[test]
    fn the_error_names_a_port_in_use() {
        let first = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = first[0].local_addr().unwrap();
        let error = listen(&[address]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    }

    #[test]
    fn names_are_resolved() {
        assert!(resolve("localhost:0").unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(matches!(resolve("no port"), Err(ListenError::Resolve { .. })));
    }
}
