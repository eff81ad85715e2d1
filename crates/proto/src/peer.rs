//! The address of a client.

use std::fmt::{self, Display, Formatter};
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The address of a client, as the server's socket or a trusted proxy states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The address of the peer of a socket.
    Socket(SocketAddr),
    /// The peer of a Unix socket, which has no address.
    Unix,
    /// The client of a trusted proxy; without an address, a client of a Unix socket of the proxy.
    Forwarded {
        /// The address.
        ip: Option<IpAddr>,
        /// The port, if the proxy states it.
        port: Option<u16>,
    },
    /// A client of a trusted proxy that does not state its address; it has the proxy's, but is not
    /// the proxy.
    Unstated {
        /// The address of the proxy.
        ip: Option<IpAddr>,
        /// The port of the proxy.
        port: Option<u16>,
    },
}

impl Peer {
    /// Returns the IP address; `None` for a Unix socket.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Socket(address) => Some(address.ip()),
            Self::Unix => None,
            Self::Forwarded { ip, .. } | Self::Unstated { ip, .. } => *ip,
        }
    }

    /// Returns the port, if it is known.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Socket(address) => Some(address.port()),
            Self::Unix => None,
            Self::Forwarded { port, .. } | Self::Unstated { port, .. } => *port,
        }
    }

    /// Returns whether the client is one of a trusted proxy.
    pub const fn is_forwarded(&self) -> bool {
        matches!(self, Self::Forwarded { .. } | Self::Unstated { .. })
    }

    /// Returns whether the client runs on this machine: only the socket can tell, so a forwarded
    /// loopback address does not count.
    pub fn is_this_machine(&self) -> bool {
        match self {
            Self::Socket(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
            Self::Forwarded { .. } | Self::Unstated { .. } => false,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.ip(), self.port()) {
            (Some(ip), Some(port)) => SocketAddr::new(ip, port).fmt(f),
            (Some(ip), None) => ip.fmt(f),
            (None, _) => f.pad(UNIX),
        }
    }
}

impl FromStr for Peer {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if text == UNIX {
            return Ok(Self::Unix);
        }
        match text.parse() {
            Ok(ip) => Ok(Self::Forwarded { ip: Some(ip), port: None }),
            Err(_) => text.parse().map(Self::Socket),
        }
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text of a Unix socket's peer.
const UNIX: &str = "unix";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_written_with_its_port_if_that_is_known() {
        for (peer, text) in [
            (Peer::Socket("192.0.2.1:443".parse().unwrap()), "192.0.2.1:443"),
            (Peer::Socket("[2001:db8::1]:443".parse().unwrap()), "[2001:db8::1]:443"),
            (Peer::Forwarded { ip: "192.0.2.1".parse().ok(), port: None }, "192.0.2.1"),
            (Peer::Forwarded { ip: "2001:db8::1".parse().ok(), port: None }, "2001:db8::1"),
            (Peer::Unix, "unix"),
        ] {
            assert_eq!(peer.to_string(), text);
            assert_eq!(text.parse(), Ok(peer));
            assert_eq!(serde_json::to_string(&peer).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Peer>(&format!("{text:?}")).unwrap(), peer);
        }
        let forwarded = Peer::Forwarded { ip: "2001:db8::1".parse().ok(), port: Some(443) };
        assert_eq!(forwarded.to_string(), "[2001:db8::1]:443");
        assert_eq!(Peer::Forwarded { ip: None, port: None }.to_string(), "unix");
        assert!("example.org".parse::<Peer>().is_err());
    }

    #[test]
    fn a_forwarded_address_is_never_this_machine() {
        let socket = |text: &str| Peer::Socket(text.parse().unwrap()).is_this_machine();
        assert!(socket("127.0.0.2:1") && socket("[::1]:1") && socket("[::ffff:127.0.0.1]:1"));
        assert!(!socket("192.0.2.1:1") && Peer::Unix.is_this_machine());
        for ip in ["127.0.0.1".parse().ok(), "::1".parse().ok(), None] {
            assert!(!Peer::Forwarded { ip, port: None }.is_this_machine(), "{ip:?}");
            assert!(!Peer::Unstated { ip, port: None }.is_this_machine(), "{ip:?}");
        }
    }
}
