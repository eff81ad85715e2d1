//! The echo service: returns each message unchanged.

use anyport_proto::ws::header::MAX_HEADER;

use crate::budget::Share;

/// Collects one message at a time. The session's receiver limits its length beforehand, and the
/// server's budget limits all of them together.
#[derive(Debug)]
pub(crate) struct Echo {
    message: Vec<u8>,
    share: Share,
}

/// The budget of all connections is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

impl Echo {
    pub(crate) const fn new(share: Share) -> Self {
        Self { message: Vec::new(), share }
    }

    /// Returns whether no message has begun.
    pub(crate) const fn is_idle(&self) -> bool {
        self.message.is_empty()
    }

    /// Records that all replies were written, so that only an unfinished message needs memory.
    pub(crate) fn replied(&mut self) {
        self.share.shrink_to(self.message.len());
    }

    /// Accepts a piece; at the end of the message, returns the message. It counts against the
    /// budget until [`Self::replied`], because a peer that does not read leaves it in memory.
    ///
    /// # Errors
    /// The budget has no room for the piece; the message is dropped.
    pub(crate) fn data(&mut self, piece: &[u8], end: bool) -> Result<Option<Vec<u8>>, OutOfMemory> {
        if !self.share.grow(piece.len()) {
            self.message = Vec::new();
            return Err(OutOfMemory);
        }
        // With room for a header, so that it can be sent without a copy.
        self.message.reserve(piece.len() + MAX_HEADER);
        self.message.extend_from_slice(piece);
        if !end {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::budget::tests::peer;
    use std::sync::Arc;

    #[test]
    fn messages_come_back_whole_within_the_budget_of_all() {
        let budget = Arc::new(Budget::new(10));
        let (mut one, mut two) =
            (Echo::new(budget.share(peer(1))), Echo::new(budget.share(peer(2))));
        assert_eq!(one.data(b"12345", false), Ok(None));
        assert_eq!(two.data(b"123456", false), Err(OutOfMemory));
        assert_eq!(one.data(b"678", true), Ok(Some(b"12345678".to_vec())));
        // Returned and not yet written, it still counts.
        assert_eq!(two.data(b"123", false), Err(OutOfMemory));
        one.replied();
        assert_eq!(two.data(b"12345678", true), Ok(Some(b"12345678".to_vec())));
    }
}
