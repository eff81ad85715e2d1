//! Gives back each message as it came.

/// Collects one message at a time. The session's receiver bounds its length before a byte of it is kept.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    message: Vec<u8>,
}

impl Echo {
    /// Takes a piece; at the end of the message, gives the message back.
    pub(crate) fn data(&mut self, piece: &[u8], end: bool) -> Option<Vec<u8>> {
        self.message.extend_from_slice(piece);
        end.then(|| std::mem::take(&mut self.message))
    }
}
