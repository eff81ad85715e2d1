//! Addresses of listening sockets.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::resolve::address_text;

/// The address of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Returns the IP address and port; `None` for a Unix socket.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns the text for people, in which the zone of an IPv6 address is the name of its
    /// interface.
    pub fn text(&self) -> String {
        match self {
            Self::Tcp(address) => address_text(*address),
            Self::Unix(_) => self.to_string(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Prefix of the path of a Unix socket.
pub const UNIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_flags_accept_them() {
        for (address, text, is_loopback) in [
            (Address::Tcp("127.0.0.1:80".parse().unwrap()), "127.0.0.1:80", true),
            (Address::Tcp("[::ffff:127.0.0.1]:80".parse().unwrap()), "[::ffff:127.0.0.1]:80", true),
            (Address::Tcp("192.0.2.1:80".parse().unwrap()), "192.0.2.1:80", false),
            (Address::Tcp("[::]:80".parse().unwrap()), "[::]:80", false),
            (Address::Unix("/run/x.sock".into()), "unix:/run/x.sock", true),
        ] {
            assert_eq!((&*address.to_string(), &*address.text()), (text, text));
            assert_eq!(address.is_loopback(), is_loopback, "{text}");
        }
    }
}
