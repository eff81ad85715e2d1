//! The loop on a thread of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::{Flow, Input, Step, trim};

/// Moves bytes between a blocking socket and `step` until it finishes. Ended early by `shutdown()` on the socket.
///
/// # Errors
/// What reading or writing the socket said; the step has not been told.
pub fn pump(mut socket: &TcpStream, buffer: &mut [u8], step: &mut impl Step) -> io::Result<()> {
    let mut replies = Vec::new();
    let mut patience = None;
    loop {
        let wanted = step.patience();
        if patience != Some(wanted) {
            socket.set_read_timeout(Some(wanted))?;
            socket.set_write_timeout(Some(wanted))?;
            patience = Some(wanted);
        }
        let flow = match socket.read(buffer) {
            Ok(0) => step.step(Input::EndOfStream, &mut replies),
            Ok(count) => {
                let (bytes, _) = buffer.split_at_mut(count);
                step.step(Input::Bytes(bytes, Instant::now()), &mut replies)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Flow::Continue,
            // A blocking socket says so when its read timeout has passed.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                step.step(Input::Silence, &mut replies)
            }
            Err(error) => return Err(error),
        };
        if !replies.is_empty() {
            socket.write_all(&replies)?;
            trim(&mut replies);
        }
        if flow == Flow::Finish {
            return Ok(());
        }
    }
}
