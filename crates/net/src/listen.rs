//! Listening sockets from addresses as people write them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::resolve::{self, Query, ResolveError, address_text};

/// Completed connections that the kernel keeps for us to accept.
const BACKLOG: i32 = 1024;

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// getaddrinfo knows no such name.
    #[error("cannot resolve {address}")]
    Resolve {
        /// As it was asked.
        address: String,
        /// What the resolver said.
        #[source]
        source: ResolveError,
    },
    /// The kernel refused one of its addresses.
    #[error("cannot listen on {}", address_text(*address))]
    Bind {
        /// The numeric address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nothing was left to listen on.
    #[error("no address to listen on")]
    NoAddress,
}

/// All addresses of `HOST:PORT`, in the order of getaddrinfo, each once.
///
/// # Errors
/// [`ListenError::Resolve`].
pub fn resolve(address: &str) -> Result<Vec<SocketAddr>, ListenError> {
    let unresolved = |source| ListenError::Resolve { address: address.to_owned(), source };
    let query = Query::parse(address).map_err(unresolved)?;
    Ok(resolve::resolve(&query, PATIENCE).map_err(unresolved)?.addresses)
}

/// How long the addresses of our own listeners may take to be found.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on each of `addresses`, IPv4 first. Where port 0 is asked, the first socket's port is
/// used for all that ask for 0, so that one port reaches the server by either family.
///
/// An IPv6 address that this machine does not have is passed over as long as another address is
/// left.
///
/// # Errors
/// The first address that could not be bound, or [`ListenError::NoAddress`].
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    until_free(addresses, || listen_once(addresses))
}

/// The same for streams and datagrams: beside each listener a socket for datagrams to the same
/// port.
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
                Err(source) => Err(ListenError::Bind { address, source }),
            }
        };
        listen_once(addresses)?.into_iter().map(beside).collect()
    })
}

/// With port 0 the port that the first socket gets may be taken for the next one: then another is
/// tried.
fn until_free<T>(
    addresses: &[SocketAddr],
    bind: impl Fn() -> Result<Vec<T>, ListenError>,
) -> Result<Vec<T>, ListenError> {
    for attempt in 0.. {
        match bind() {
            Err(ListenError::Bind { source, address })
                if source.kind() == io::ErrorKind::AddrInUse
                    && !addresses.contains(&address)
                    && attempt < PORT_ATTEMPTS => {}
            done => return done,
        }
    }
    Err(ListenError::NoAddress)
}

/// How often another free port is tried.
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
                missing = Some(ListenError::Bind { address, source });
            }
            Err(source) => return Err(ListenError::Bind { address, source }),
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
        // One socket a family: `::` must not take the IPv4 port away from `0.0.0.0`.
        socket.set_only_v6(true)?;
    }
    // A restarted server must not wait for the TIME-WAIT of its old connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// No `SO_REUSEADDR`: of datagrams it would let two programs share the port.
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
    fn a_taken_port_is_named() {
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
