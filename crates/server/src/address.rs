//! Client addresses, as limits count them.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the address that `peer` counts as: its IPv4 address, also on a socket of both families,
/// or its IPv6 /64, because a client with one address there can use all of them.
pub(crate) fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}
