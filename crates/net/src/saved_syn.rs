//! The SYN of a client, which the kernel keeps for its server: tcp(7), TCP_SAVE_SYN.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lets the kernel keep the SYN of each connection that `listener` accepts.
///
/// # Errors
/// The socket is not a TCP socket.
pub fn save_syn(listener: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    let listener = listener.as_fd();
    #[expect(unsafe_code, reason = "neither std nor rustix nor socket2 sets TCP_SAVE_SYN")]
    // SAFETY: the descriptor is borrowed and so open; the kernel reads all bytes of `on`, which
    // outlives the call.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the headers of IP and TCP of the SYN with which `connection` began; `None` if the kernel
/// has none, or returned it before: it keeps it until then.
pub fn saved_syn(connection: impl AsFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; LONGEST];
    let mut length = libc::socklen_t::try_from(bytes.len()).ok()?;
    let connection = connection.as_fd();
    #[expect(unsafe_code, reason = "neither std nor rustix nor socket2 asks for TCP_SAVED_SYN")]
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `length` bytes, all
    // of them in `bytes`, and the new length; both outlive the call.
    let asked = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    bytes.truncate(usize::try_from(length).ok()?);
    (asked == 0 && !bytes.is_empty()).then_some(bytes)
}

/// Maximum size of a SYN's headers: without room for all of it the kernel returns none.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn the_syn_of_a_client_is_returned_once_and_not_without_the_option() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _client = connect();
        let (before, _) = listener.accept().unwrap();
        assert_eq!(saved_syn(&before), None);
        save_syn(&listener).unwrap();
        let client = connect();
        let (connection, _) = listener.accept().unwrap();
        let syn = saved_syn(&connection).unwrap();
        assert_eq!(syn[0] >> 4, 4);
        assert_eq!(syn[20..22], client.local_addr().unwrap().port().to_be_bytes());
        assert_eq!(saved_syn(&connection), None);
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(saved_syn(&datagrams), None);
        assert!(save_syn(&datagrams).is_err());
    }
}
