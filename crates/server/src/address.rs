//! Client addresses, as limits count them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyport_proto::peer::Peer;

/// Returns the address by which limits count `peer`: its IPv4 address (also if IPv4-mapped), or its
/// IPv6 /64, because a client with one address of a /64 can usually use all of them. Peers of Unix
/// sockets count as 127.0.0.1.
pub(crate) fn counted_as(peer: Peer) -> IpAddr {
    match peer.ip().map(|ip| ip.to_canonical()) {
        None => Ipv4Addr::LOCALHOST.into(),
        // Masked to /64, ::1 would become :: and no longer count as loopback.
        Some(IpAddr::V6(address)) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        Some(address) => address,
    }
}
