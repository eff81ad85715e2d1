//! The loop among the tasks of the runtime.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Flow, Input, Step, trim};

/// Why the loop stopped without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// The step finished.
    Finished,
    /// A bulk transfer has shown itself; go on with a blocking loop.
    Bulk,
}

/// Moves bytes between `socket` and `step` until it finishes, or until `bulk_after` bytes came for a bulk transfer.
///
/// Cancel safe: no. Dropped in the middle, replies may be half written; the connection must then be closed.
///
/// # Errors
/// What reading or writing the socket said, or `TimedOut` when the peer does not take our replies; the step has not
/// been told.
pub async fn pump(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    step: &mut (impl Step + Send),
    bulk_after: u64,
) -> io::Result<Pumped> {
    let mut replies = Vec::new();
    let mut received = 0_u64;
    loop {
        let patience = step.patience();
        let read = read(socket, buffer, patience).await?;
        let flow = {
            let input = match read {
                None => Input::Silence,
                Some(0) => Input::EndOfStream,
                Some(count) => {
                    received += count as u64;
                    let (bytes, _) = buffer.split_at_mut(count);
                    Input::Bytes(bytes, Instant::now())
                }
            };
            if step.may_block() {
                tokio::task::block_in_place(|| step.step(input, &mut replies))
            } else {
                step.step(input, &mut replies)
            }
        };
        if !replies.is_empty() {
            write(socket, &replies, patience).await?;
            trim(&mut replies);
        }
        if flow == Flow::Finish {
            return Ok(Pumped::Finished);
        }
        if received >= bulk_after && step.is_bulk() {
            return Ok(Pumped::Bulk);
        }
    }
}

/// `None` when nothing came in time.
async fn read(
    socket: &TcpStream,
    buffer: &mut [u8],
    patience: Duration,
) -> io::Result<Option<usize>> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Some),
        }
        let Ok(ready) = timeout(patience, socket.readable()).await else { return Ok(None) };
        ready?;
    }
}

async fn write(socket: &mut TcpStream, replies: &[u8], patience: Duration) -> io::Result<()> {
    let unread = || io::Error::new(io::ErrorKind::TimedOut, "the peer does not read our replies");
    timeout(patience, socket.write_all(replies)).await.map_err(|_| unread())?
}
