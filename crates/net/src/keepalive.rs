//! Detection of a peer that is gone: TCP keepalive (RFC 9293 §3.8.4) and the user timeout (RFC
//! 5482).
//!
//! For connections that may be idle. A peer that is reachable answers the probes in its kernel.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::unix::is_unix;

/// Makes the kernel end the connection after the peer has acknowledged nothing for about `timeout`:
/// neither probes on an idle connection, nor data, nor zero-window probes.
///
/// The kernel itself ends the connection of a Unix socket whose peer is gone.
///
/// # Errors
/// The error of the system.
pub fn watch(socket: &impl AsFd, timeout: Duration) -> io::Result<()> {
    if is_unix(socket) {
        return Ok(());
    }
    let socket = SockRef::from(socket);
    let half = (timeout / 2).clamp(SHORTEST, LONGEST);
    let probes = TcpKeepalive::new()
        .with_time(half)
        .with_interval((half / PROBES).clamp(SHORTEST, LONGEST))
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(timeout.clamp(SHORTEST, 2 * LONGEST)))
}

/// Number of unanswered probes after which the peer is gone.
const PROBES: u32 = 5;

/// Minimum: the kernel counts whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Maximum of the kernel for the time before the first probe.
const LONGEST: Duration = Duration::from_secs(32767);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_probes_in_time_for_any_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        for (timeout, first, between, gone) in [
            (Duration::from_secs(60), 30, 6, 60),
            (Duration::from_millis(1), 1, 1, 1),
            (Duration::MAX, 32767, 6553, 65534),
        ] {
            watch(&stream, timeout).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), first);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), between);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
            assert_eq!(socket.tcp_user_timeout().unwrap().map(|gone| gone.as_secs()), Some(gone));
        }
    }
}
