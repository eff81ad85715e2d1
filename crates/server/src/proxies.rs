//! Proxies that the server trusts, by their addresses.

use std::net::IpAddr;
use std::str::FromStr;

use anyport_proto::peer::Peer;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Addresses of one or several proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAddress {
    /// An address or a network.
    Network(IpNet),
    /// Every client of a Unix socket.
    Unix,
}

/// Why a text does not name proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address, a network such as 10.0.0.0/8, or unix, not {0:?}")]
pub struct ProxyAddressError(String);

impl FromStr for ProxyAddress {
    type Err = ProxyAddressError;

    fn from_str(text: &str) -> Result<Self, ProxyAddressError> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(unmapped).map(Self::Network).map_err(|_| ProxyAddressError(text.to_owned()))
    }
}

/// Returns an IPv4-mapped network as the IPv4 network: addresses are compared in that form.
fn unmapped(network: IpNet) -> IpNet {
    let of = |network: Ipv6Net| {
        let address = network.addr().to_ipv4_mapped()?;
        Ipv4Net::new(address, network.prefix_len().checked_sub(MAPPED_PREFIX)?).ok()
    };
    match network {
        IpNet::V6(v6) => of(v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

/// Prefix length of the IPv4-mapped addresses (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A list of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<ProxyAddress>);

impl Proxies {
    /// Returns whether the peer of a connection is one of them.
    pub(crate) fn contains(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Unix => self.0.contains(&ProxyAddress::Unix),
            Peer::Socket(_) | Peer::Forwarded { .. } => {
                peer.ip().is_some_and(|ip| self.contains_ip(ip))
            }
            // The address is the proxy's, and the client chooses its input.
            Peer::Unstated { .. } => false,
        }
    }

    /// Returns whether an address is that of one of them.
    pub(crate) fn contains_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|proxy| match proxy {
            ProxyAddress::Network(network) => network.contains(&ip),
            ProxyAddress::Unix => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_contains_the_addresses_of_its_networks_and_nothing_else() {
        let list = |texts: &[&str]| {
            Proxies(texts.iter().map(|text| text.parse::<ProxyAddress>().unwrap()).collect())
        };
        let contains = |list: &Proxies, ip: &str| {
            list.contains(&Peer::Socket(std::net::SocketAddr::new(ip.parse().unwrap(), 1)))
        };
        let both =
            list(&["192.0.2.128/25", "2001:db8::/32", "198.51.100.7", "::ffff:10.1.0.0/112"]);
        for ip in ["192.0.2.128", "192.0.2.255", "198.51.100.7", "::ffff:192.0.2.200", "10.1.2.3"] {
            assert!(contains(&both, ip), "{ip}");
        }
        assert!(contains(&both, "2001:db8:ffff::1"));
        for ip in ["192.0.2.127", "198.51.100.8", "2001:db9::1", "10.2.0.0", "::1", "127.0.0.1"] {
            assert!(!contains(&both, ip), "{ip}");
        }
        assert!(contains(&list(&["192.0.2.9/24"]), "192.0.2.1"), "its last bits do not count");
        assert!(contains(&list(&["0.0.0.0/0"]), "192.0.2.1"));
        assert!(!contains(&list(&["0.0.0.0/0"]), "::1"));
        assert!(!contains(&list(&[]), "127.0.0.1"));
    }

    #[test]
    fn a_unix_socket_is_trusted_only_by_its_word() {
        let unix = Proxies(vec!["unix".parse().unwrap()]);
        let all = Proxies(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert!(unix.contains(&Peer::Unix) && !all.contains(&Peer::Unix));
        assert!(!unix.contains(&Peer::Forwarded { ip: None, port: None }));
        let ip = "127.0.0.1".parse().ok();
        assert!(!all.contains(&Peer::Unstated { ip, port: None }), "its address is the proxy's");
        assert!(!unix.contains_ip("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_error_of_an_invalid_address_names_the_valid_forms() {
        for text in
            ["", "proxy.example", "10.0.0.0/33", "10.0.0/8", "::/129", "UNIX", "10.0.0.1:80"]
        {
            let error = text.parse::<ProxyAddress>().unwrap_err().to_string();
            let expected = "expected an address, a network such as 10.0.0.0/8, or unix, not ";
            assert_eq!(error, format!("{expected}{text:?}"));
        }
    }
}
