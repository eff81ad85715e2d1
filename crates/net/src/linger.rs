//! Lingering close, after which the peer can still read the final response.
//!
//! `close(2)` with unread bytes in the receive queue sends RST, and RST may discard the receipt or
//! the Close frame that is still on its way. So: FIN first, then read on until the peer's FIN, for
//! a bounded time and count, then close.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::unix::is_unix;

/// Maximum time that the peer may continue to send after FIN.
pub const LINGER_TIME: Duration = Duration::from_secs(2);

/// Maximum bytes that it may send in that time.
pub const LINGER_BYTES: u64 = 32 * 1024 * 1024;

/// Half-closes a blocking socket and discards further input, within [`LINGER_TIME`] and
/// [`LINGER_BYTES`].
pub fn close_blocking(mut socket: &TcpStream, scratch: &mut [u8]) {
    let deadline = Instant::now() + LINGER_TIME;
    let mut drained = 0;
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    while drained < LINGER_BYTES {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
        if socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).is_err() {
            return;
        }
        match socket.read(scratch) {
            Ok(0) => return,
            Ok(count) => drained += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Returns whether the connection of a socket is over: reset, or closed in both directions.
///
/// With `half_close` the peer's FIN alone is enough. Without it, the connection of a Unix socket
/// whose peer closed is over when all of its input was read.
pub fn is_over(socket: impl AsFd, half_close: bool) -> bool {
    let mut wanted = PollFlags::HUP | PollFlags::ERR;
    if half_close {
        wanted |= PollFlags::RDHUP;
    }
    let mut polled = [PollFd::new(&socket, wanted)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if !poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0) {
        return false;
    }
    let is_error = polled[0].revents().contains(PollFlags::ERR);
    half_close || is_error || !is_unix(&socket) || ioctl_fionread(&socket) == Ok(0)
}

/// Closes a socket of the runtime as [`close_blocking`] does.
///
/// Cancel safe: yes; the input is discarded anyway.
pub async fn close(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let drain = async {
        if socket.shutdown().await.is_err() {
            return;
        }
        let mut drained = 0;
        // Not part of the future, which each connection has from its beginning on.
        let mut scratch = vec![0; 8 * 1024];
        while drained < LINGER_BYTES {
            match socket.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count as u64,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}
