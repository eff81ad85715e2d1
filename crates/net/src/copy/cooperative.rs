//! The loop among the tasks of the runtime.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
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

/// Moves bytes between `socket` and `step` until it finishes, or until `bulk_after` bytes came for a bulk transfer. When
/// `stopping` is ready the step is told, once.
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
    stopping: impl Future<Output = ()>,
) -> io::Result<Pumped> {
    let mut stopping = std::pin::pin!(stopping);
    let mut told = false;
    let mut replies = Vec::new();
    let mut received = 0_u64;
    loop {
        // A socket that always has bytes never waits, and the other tasks of this thread would not run.
        consume_budget().await;
        let patience = step.patience();
        let read = tokio::select! {
            biased;
            () = &mut stopping, if !told => {
                told = true;
                Read::Stopping
            }
            read = read(socket, buffer, patience) => read?,
        };
        let input = match read {
            Read::Stopping => Input::Stopping,
            Read::Silence => Input::Silence,
            Read::Bytes(0) => Input::EndOfStream,
            Read::Bytes(count) => {
                received += count as u64;
                let (bytes, _) = buffer.split_at_mut(count);
                Input::Bytes(bytes, Instant::now())
            }
        };
        let flow = if step.may_block() {
            tokio::task::block_in_place(|| step.step(input, &mut replies))
        } else {
            step.step(input, &mut replies)
        };
        if !replies.is_empty() {
            // Asked anew: what was waited for may be here now, and its answer has all the time again.
            write(socket, &replies, step.patience()).await?;
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

enum Read {
    Bytes(usize),
    Silence,
    Stopping,
}

/// Cancel safe: yes; bytes are taken from the socket only in the call that gives them.
async fn read(socket: &TcpStream, buffer: &mut [u8], patience: Duration) -> io::Result<Read> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Read::Bytes),
        }
        let Ok(ready) = timeout(patience, socket.readable()).await else {
            return Ok(Read::Silence);
        };
        ready?;
    }
}

/// Writes all of `replies` to a peer that takes some of them every `patience`, however slowly.
async fn write(socket: &mut TcpStream, mut replies: &[u8], patience: Duration) -> io::Result<()> {
    while !replies.is_empty() {
        let unread =
            || io::Error::new(io::ErrorKind::TimedOut, "the peer does not read our replies");
        let written = timeout(patience, socket.write(replies)).await.map_err(|_| unread())??;
        replies = &replies[written..];
    }
    Ok(())
}
