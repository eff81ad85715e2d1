//! Bytes in the queues of a socket: SIOCINQ and SIOCOUTQ, tcp(7) and unix(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::ioctl_fionread;

/// Returns the received bytes that this end has not read.
///
/// # Errors
/// The error of the system.
pub fn unread(socket: impl AsFd) -> io::Result<u64> {
    Ok(ioctl_fionread(socket)?)
}

/// Returns the written bytes that the peer's kernel has not acknowledged; of a Unix socket the
/// memory of those that the peer has not read.
///
/// # Errors
/// The error of the system.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    #[expect(unsafe_code, reason = "rustix has no function for SIOCOUTQ")]
    // SAFETY: the descriptor is borrowed and so open; the kernel writes one int, which outlives the
    // call.
    let asked = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_wait_at_the_receiver_until_it_reads_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.write_all(&[0; 100]).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while unread(&receiver).unwrap() < 100 || unacknowledged(&sender).unwrap() > 0 {
            assert!(std::time::Instant::now() < until, "it did not arrive");
            std::thread::yield_now();
        }
        receiver.read_exact(&mut [0; 100]).unwrap();
        assert_eq!(unread(&receiver).unwrap(), 0);
    }
}
