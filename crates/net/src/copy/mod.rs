//! Sessions, and the drivers that connect them to a socket.
//!
//! A [`Session`] is one protocol without a socket. There are two drivers here, [`pump_blocking`] on
//! a thread of its own for bulk transfers and [`pump_cooperative`] on the runtime for everything
//! else; the third is the [`reactor`](crate::reactor). All of them run the same sessions, so that
//! any measured difference between two protocols is the codec's.

mod blocking;
mod cooperative;
mod file;
mod gate;
mod outgoing;
mod pipe;
mod session;

pub use blocking::{Received, Source, pump as pump_blocking};
pub use cooperative::{Pumped, pump as pump_cooperative};
pub use file::send_file;
pub use gate::Gate;
pub use outgoing::write;
pub use session::{Event, Interest, Next, Piece, Placement, Produced, Read, Session, Splice, Wait};

use std::time::{Duration, Instant};

/// A larger buffer of replies is released after it is written, so that an idle connection needs
/// little memory.
const KEPT_REPLIES: usize = 64 * 1024;

/// Sleeps until `at` on a thread, but not so long that an abort goes unnoticed. Returns whether the
/// instant was reached.
fn sleep_blocking(at: Instant) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    std::thread::sleep(left.min(LONGEST_SLEEP));
    left <= LONGEST_SLEEP
}

/// Sleeps until `at` on the runtime. Yields to other tasks in any case, as a session may ask to be
/// called again immediately.
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
