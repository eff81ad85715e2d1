//! The path MTU of a connected socket: getsockopt(IP_MTU), ip(7) and ipv6(7).

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Returns the largest packet in bytes that the system sends to the peer in one piece, as far as
/// it knows.
///
/// # Errors
/// The error of the system.
pub fn path_mtu(socket: &TcpStream) -> io::Result<u32> {
    let (level, name) = match socket.peer_addr()?.is_ipv6() {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        false => (libc::IPPROTO_IP, libc::IP_MTU),
    };
    let mut mtu: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&mtu)).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "neither std nor rustix nor socket2 asks for IP_MTU")]
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `length` bytes, all
    // of them in `mtu`, and the new length; both outlive the call.
    let asked = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut mtu).cast(), &raw mut length)
    };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(mtu).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn loopback_has_a_path_mtu_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(path_mtu(&socket).unwrap() >= 1280, "{address}");
        }
    }
}
