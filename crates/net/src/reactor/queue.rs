//! Output that a socket has not accepted yet: shared pieces, in order.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Queued output of one connection; exists only while there is some.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// Returns the number of queued bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Returns the next output, in as many slices as one call accepts.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.pieces.iter().take(MOST_SLICES).map(|piece| IoSlice::new(piece)).collect()
    }

    /// Removes `count` bytes that were sent.
    pub(super) fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(first) = self.pieces.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

/// Maximum number of slices of one call; more do not help. The kernel accepts 1024.
const MOST_SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_out_in_order_and_cut_anywhere() {
        let mut queue = Queue::default();
        for piece in ["one", "", "two", "three"] {
            queue.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut out = Vec::new();
        for count in [1, 4, 0, 2, 4] {
            let waiting: Vec<u8> = queue.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(waiting.len(), queue.bytes());
            out.extend_from_slice(&waiting[..count]);
            queue.advance(count);
        }
        assert_eq!((out.as_slice(), queue.bytes()), (&b"onetwothree"[..], 0));
        assert!(queue.slices().is_empty());
    }
}
