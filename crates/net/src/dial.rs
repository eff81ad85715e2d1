//! Connecting by name.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// getaddrinfo knows no such name.
    #[error("cannot resolve {host}")]
    Resolve {
        /// As it was asked.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The last of the name's addresses refused, or did not answer in time.
    #[error("cannot connect to {address}")]
    Connect {
        /// The numeric address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Connects to `host` and `port`: every address in the order of getaddrinfo, each for at most `patience`.
///
/// # Errors
/// The name does not resolve, or each address failed; the first failure is told, as it is the preferred address.
pub fn dial(host: &str, port: u16, patience: Duration) -> Result<TcpStream, DialError> {
    let unresolved = |source| DialError::Resolve { host: host.to_owned(), source };
    let addresses = (host, port).to_socket_addrs().map_err(unresolved)?;
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                failure.get_or_insert(DialError::Connect { address, source });
            }
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    Err(failure.unwrap_or_else(|| unresolved(none())))
}
