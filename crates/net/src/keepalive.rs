//! Finding out that a silent peer is gone: TCP keepalive (RFC 9293 §3.8.4) and the user timeout
//! (RFC 5482).
//!
//! For connections on which silence is no fault. A peer that is there answers the kernel's probes
//! and notices nothing.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// From now on the kernel ends the connection when the peer has answered nothing for about
/// `patience`: neither probes, when nothing is under way, nor what was sent to it, nor what it has
/// no room for.
///
/// # Errors
/// What the kernel said.
pub fn watch(socket: &impl AsFd, patience: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let half = (patience / 2).clamp(SHORTEST, LONGEST);
    let probes = TcpKeepalive::new()
        .with_time(half)
        .with_interval((half / PROBES).clamp(SHORTEST, LONGEST))
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(patience.clamp(SHORTEST, 2 * LONGEST)))
}

/// Probes that may go unanswered.
const PROBES: u32 = 5;

/// The kernel counts in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// The most that the kernel takes for the time before the first probe.
const LONGEST: Duration = Duration::from_secs(32767);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_asks_in_time_and_for_any_patience() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        for (patience, first, between, gone) in [
            (Duration::from_secs(60), 30, 6, 60),
            (Duration::from_millis(1), 1, 1, 1),
            (Duration::MAX, 32767, 6553, 65534),
        ] {
            watch(&stream, patience).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), first);
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), between);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
            assert_eq!(socket.tcp_user_timeout().unwrap().map(|gone| gone.as_secs()), Some(gone));
        }
    }
}
