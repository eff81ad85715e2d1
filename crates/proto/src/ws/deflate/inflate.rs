//! Compressed payload → pieces of the message (RFC 7692 §7.2.2), in memory of a fixed size.
//!
//! Each message is inflated as a DEFLATE stream of its own that ends: behind its payload go the
//! four bytes that the peer left away, and an empty final block as a probe. zlib reaches the end of
//! the probe only if the payload ended at the border of a block, so a message that was cut is
//! found, which appending the four bytes alone does not show. What earlier messages said (context
//! takeover) is given to the stream as its dictionary; so is the content before a block with BFINAL
//! inside a message, which ends zlib's stream and not the message (§7.2.3.4).

use flate2::{Decompress, FlushDecompress, Status};

use super::{LARGEST_WINDOW, TAIL};

/// The payload cannot be inflated, or ends inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ws) struct NotDeflate;

/// The result of [`Inflater::inflate`]: a piece of [`Inflater::window`], which may be empty. The
/// work for one is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ws) struct Inflated {
    pub(in crate::ws) start: usize,
    pub(in crate::ws) end: usize,
    /// Whether the message ended with it.
    pub(in crate::ws) last: bool,
}

/// Inflates one message after the other.
pub(in crate::ws) struct Inflater {
    stream: Decompress,
    takeover: bool,
    /// Inflated bytes, up to `at`. The peer may refer to the last 32 KiB.
    window: Box<[u8]>,
    at: usize,
    /// Compressed bytes that were accepted and not inflated yet.
    staged: Vec<u8>,
    staged_from: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All staged bytes are inflated.
    Hungry,
    /// There is more to inflate, or the window was full before zlib had returned everything.
    Pending,
    /// Like `Pending`, and no more bytes of this message follow.
    Ending,
}

impl Inflater {
    /// Returns an inflater. `takeover`: a message may refer to earlier ones.
    pub(in crate::ws) fn new(takeover: bool) -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, LARGEST_WINDOW),
            takeover,
            window: vec![0; WINDOW].into_boxed_slice(),
            at: 0,
            staged: Vec::with_capacity(STAGE + BEHIND.len()),
            staged_from: 0,
            state: State::Hungry,
        }
    }

    /// Begins a message.
    pub(in crate::ws) fn begin(&mut self) {
        if !self.takeover {
            self.at = 0;
        }
        self.staged.clear();
        self.staged_from = 0;
        self.state = State::Hungry;
        self.restart();
    }

    /// Returns whether to call [`Self::inflate`] before staging more.
    pub(in crate::ws) fn is_pending(&self) -> bool {
        self.state != State::Hungry
    }

    /// Returns how many bytes can be staged now.
    pub(in crate::ws) fn room(&self) -> usize {
        if self.is_pending() { 0 } else { STAGE }
    }

    /// Stages the next compressed bytes, at most [`Self::room`], after `unmask` has changed them.
    pub(in crate::ws) fn stage(&mut self, bytes: &[u8], unmask: impl FnOnce(&mut [u8])) {
        debug_assert!(bytes.len() <= self.room(), "staged more than there is room for");
        self.staged.clear();
        self.staged_from = 0;
        self.staged.extend_from_slice(bytes);
        unmask(&mut self.staged);
        self.state = State::Pending;
    }

    /// Ends the input of this message.
    pub(in crate::ws) fn end(&mut self) {
        self.staged.extend_from_slice(&BEHIND);
        self.state = State::Ending;
    }

    /// Inflates staged bytes until the window is full or nothing is left.
    pub(in crate::ws) fn inflate(&mut self) -> Result<Inflated, NotDeflate> {
        if self.at == self.window.len() {
            self.window.copy_within(WINDOW - CONTEXT.., 0);
            self.at = CONTEXT;
        }
        let start = self.at;
        let mut restarts = 0;
        loop {
            let (taken, given) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(
                &self.staged[self.staged_from..],
                &mut self.window[self.at..],
                FlushDecompress::None,
            );
            // Both are at most the length of the slices that were passed in.
            self.staged_from += usize::try_from(self.stream.total_in() - taken).unwrap_or(0);
            self.at += usize::try_from(self.stream.total_out() - given).unwrap_or(0);
            let moved = self.stream.total_in() != taken || self.stream.total_out() != given;
            let left = self.staged.len() - self.staged_from;
            let full = self.at == self.window.len();
            let Ok(status) = status else { return self.fault(start) };
            match (status, self.state) {
                (Status::StreamEnd, State::Ending) if left <= BEHIND.len() => {
                    // The end of the probe; or a BFINAL block at the end of the payload, with its
                    // tail omitted as for any other block, or complete.
                    if ![0, PROBE_LEN, BEHIND.len()].contains(&left) {
                        return self.fault(start);
                    }
                    self.state = State::Hungry;
                    return Ok(Inflated { start, end: self.at, last: true });
                }
                (Status::StreamEnd, _) if restarts < MOST_RESTARTS => {
                    restarts += 1;
                    self.restart();
                }
                (Status::StreamEnd, _) => {
                    self.restart();
                    return Ok(Inflated { start, end: self.at, last: false });
                }
                // There is input and space, but zlib makes no progress. Never seen; prevents an
                // endless loop.
                _ if !moved && left > 0 && !full => return self.fault(start),
                // At the end, zlib consumed everything without reaching the probe: the payload
                // ended inside a block.
                (_, State::Ending) if left == 0 && !full => return self.fault(start),
                (_, State::Pending) if left == 0 && !full => self.state = State::Hungry,
                _ => {}
            }
            if full || self.state == State::Hungry {
                return Ok(Inflated { start, end: self.at, last: false });
            }
        }
    }

    /// Returns the bytes before a fault first, so that the result does not depend on the
    /// segmentation. The next call reports the fault, as zlib stays in it.
    const fn fault(&self, start: usize) -> Result<Inflated, NotDeflate> {
        if self.at > start {
            return Ok(Inflated { start, end: self.at, last: false });
        }
        Err(NotDeflate)
    }

    /// Returns the memory that pieces are lent from.
    pub(in crate::ws) fn window(&self) -> &[u8] {
        &self.window
    }

    /// Starts a new zlib stream with the earlier content as its dictionary.
    fn restart(&mut self) {
        self.stream.reset(false);
        let context = &self.window[self.at.saturating_sub(CONTEXT)..self.at];
        if !context.is_empty() {
            // Rejected only for a stream with a zlib header.
            let _ = self.stream.set_dictionary(context);
        }
    }
}

/// Maximum distance of DEFLATE (RFC 1951 §2).
const CONTEXT: usize = 32 * 1024;

/// The context, and as much new content.
const WINDOW: usize = 2 * CONTEXT;

/// Maximum number of staged bytes.
const STAGE: usize = 4 * 1024;

/// Maximum blocks with BFINAL of one call, each of which copies the context: two bytes of payload
/// cost as much as 32 KiB of content.
const MOST_RESTARTS: usize = 3;

/// Appended to the payload: the tail that the peer omitted, and the probe, an empty stored block
/// with BFINAL.
const BEHIND: [u8; 9] = {
    let [a, b, c, d] = TAIL;
    [a, b, c, d, 0x01, 0x00, 0x00, 0xff, 0xff]
};
const PROBE_LEN: usize = 5;
