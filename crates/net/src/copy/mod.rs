//! The bulk loop: read into one reused buffer, hand it to a step, write what the step replies (DESIGN section 8).
//!
//! There is one step and there are two loops around it: [`pump_blocking`] on a thread of its own for bulk transfers, and
//! [`pump_cooperative`] among the tasks of the runtime for everything else. The raw receiver and the WebSocket receiver are
//! the same loop with another step, so that any measured difference is the codec's.

mod blocking;
mod cooperative;
mod file;
mod gate;
mod outgoing;
mod unseen;

pub use blocking::{Came, Source, pump as pump_blocking};
pub use cooperative::{Pumped, pump as pump_cooperative};
pub use file::send_file;
pub use gate::{Gate, Held};
pub use outgoing::{Outgoing, Piece, write};
pub use unseen::Unseen;

use std::io;
use std::time::{Duration, Instant};

/// What happened on the socket.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came; the step may change them in place.
    Bytes(&'a mut [u8], Instant),
    /// So many bytes went where [`Step::unseen`] said.
    Unseen(u64, Instant),
    /// The peer sent FIN.
    EndOfStream,
    /// Nothing came for [`Step::patience`].
    Silence,
    /// The program stops: what runs may finish, nothing new begins.
    Stopping,
    /// The instant of [`Step::wake`] has been reached; this is the time now.
    Timer(Instant),
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// Write the replies, then stop.
    Finish,
}

/// A session, as the loops see it: bytes in, replies out.
pub trait Step {
    /// How long silence may last before it is told.
    fn patience(&self) -> Duration;

    /// Takes one input whole and appends what the peer is to be sent to `replies`, which is written out before the
    /// next read: so a peer that does not read stops being read.
    fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow;

    /// Where the next bytes may go without being looked at: then the loop on a thread of its own moves them there inside
    /// the kernel. Asked before each read. What that place does not take comes as [`Input::Bytes`] after all.
    fn unseen(&self) -> Option<Unseen<'_>> {
        None
    }

    /// Whether there is something to send before the next read, so that [`Self::outgoing`] is worth asking.
    fn is_sending(&self) -> bool {
        false
    }

    /// What goes out before the next read, beside the replies to the last one; asked until it is [`Outgoing::Nothing`].
    /// `buffer` is the loop's own and may be filled.
    ///
    /// # Errors
    /// What was announced cannot be sent. The connection breaks, so that nobody takes what came for all of it.
    fn outgoing(&mut self, buffer: &mut [u8], replies: &mut Vec<u8>) -> io::Result<Outgoing> {
        let _ = (buffer, replies);
        Ok(Outgoing::Nothing)
    }

    /// Whether what came meanwhile may be told between two pieces of what goes out, so that a sign of life is answered.
    fn hears_while_sending(&self) -> bool {
        false
    }

    /// So many bytes of the last [`Outgoing::File`] are with the kernel.
    fn sent(&mut self, count: u64) {
        let _ = count;
    }

    /// So many bytes that others had for this peer go out, or wait for it.
    fn delivered(&mut self, count: u64) {
        let _ = count;
    }

    /// Returns the instant before which nothing is read or sent. When it is reached, or if it has passed already, the driver
    /// delivers [`Input::Timer`] before it reads, even if no input has arrived, and asks again. Absolute, because a duration
    /// that is asked for twice has two values: a session that set input aside was forgotten when the second one was zero.
    fn wake(&self) -> Option<Instant> {
        None
    }

    /// What another session has to do before anything else is read or sent. Asked before each read and each piece.
    fn held(&self) -> Option<Held> {
        None
    }

    /// Whether a peer that has sent FIN, while this is held, has gone; `unread`: bytes that came before it. Then the step is told
    /// the end of the stream.
    fn is_gone_with_fin(&self, unread: u64) -> bool {
        let _ = unread;
        false
    }

    /// Whether a step may wait for a disk, so that the runtime must be told.
    fn may_block(&self) -> bool;

    /// Whether this is a bulk transfer that deserves a thread of its own.
    fn is_bulk(&self) -> bool;

    /// What goes out in place of bytes that this step did not say itself, but somebody in the same reactor; `is_last`: nothing
    /// follows them. `None`: they go as they are.
    fn seal(&mut self, bytes: &[u8], is_last: bool) -> Option<io::Result<Vec<u8>>> {
        let _ = (bytes, is_last);
        None
    }

    /// Whether from here on little is said and long is waited, so that a [`crate::reactor`] is the place to wait. Such a step
    /// never blocks, and sends nothing but replies.
    fn is_conversation(&self) -> bool {
        false
    }
}

/// Replies beyond this are given back to the allocator after they are written, so that an idle connection holds little.
const KEPT_REPLIES: usize = 64 * 1024;

/// Sleeps until the instant of [`Step::wake`], if there is one, and returns whether a timer event is due. Asks again now and
/// then, since an abort ends the wait.
fn sleep_blocking(step: &impl Step) -> bool {
    while let Some(at) = step.wake() {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LONGEST_SLEEP));
    }
    false
}

/// Sleeps until `at` on the runtime. Yields to other tasks in any case, as a session may ask to be called again immediately.
///
/// Cancel safe: yes.
async fn sleep_cooperative(at: Instant) {
    tokio::task::yield_now().await;
    tokio::time::sleep_until(at.into()).await;
}

/// Longest uninterrupted sleep on a thread, which notices an abort only in between.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

fn trim(replies: &mut Vec<u8>) {
    replies.clear();
    if replies.capacity() > KEPT_REPLIES {
        *replies = Vec::new();
    }
}
