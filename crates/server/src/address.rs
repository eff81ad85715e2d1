//! Client addresses, as limits count them.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the address by which limits count `peer`: its IPv4 address (also if IPv4-mapped), or its
/// IPv6 /64, because a client with one address of a /64 can usually use all of them.
pub(crate) fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        // Masked to /64, ::1 would become :: and no longer count as loopback.
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}
