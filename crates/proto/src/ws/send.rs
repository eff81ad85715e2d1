//! The sending half: messages and control frames → bytes.
//!
//! A client's sender masks each frame with a fresh key; a server's does not mask. Bulk senders use
//! only the header ([`Sender::begin`]) and append the payload themselves, without a copy; such
//! frames are never compressed.

use super::deflate::{DeflateParameters, Deflater, SMALLEST_WINDOW};
#[cfg(doc)]
use super::header::MAX_HEADER;
use super::header::{self, Encoded, Header};
use super::{CloseCode, KeySource, Kind, Mask, Opcode, close};

/// The part of its message that a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// The whole message.
    Whole,
    /// The first of several frames.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several frames.
    Last,
}

/// Why a frame cannot be sent: a Close was sent before (RFC 6455 §5.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Close has been sent; nothing may follow it")]
pub struct Closing;

/// Writes frames as one end of the connection.
pub struct Sender {
    keys: Option<Box<dyn KeySource>>,
    deflater: Option<Box<Deflater>>,
    close_sent: bool,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("masks", &self.keys.is_some())
            .field("deflates", &self.deflater.is_some())
            .field("close_sent", &self.close_sent)
            .finish()
    }
}

impl Sender {
    /// Returns the sender of a server: frames are not masked.
    pub const fn server() -> Self {
        Self { keys: None, deflater: None, close_sent: false }
    }

    /// Returns the sender of a client: each frame is masked with the next key of `keys`, which must
    /// be unpredictable (§10.3).
    pub fn client(keys: impl KeySource + 'static) -> Self {
        Self { keys: Some(Box::new(keys)), deflater: None, close_sent: false }
    }

    /// Returns the sender with permessage-deflate, after it was negotiated: messages are
    /// compressed, unless the peer requires a window that zlib does not support.
    #[must_use]
    pub fn with_deflate(mut self, agreed: &DeflateParameters) -> Self {
        let (window_bits, no_takeover) = match self.keys {
            Some(_) => (agreed.client_max_window_bits, agreed.client_no_context_takeover),
            None => (agreed.server_max_window_bits, agreed.server_no_context_takeover),
        };
        let honest = window_bits.is_none_or(|bits| bits >= SMALLEST_WINDOW);
        self.deflater = honest.then(|| Box::new(Deflater::new(window_bits, !no_takeover)));
        self
    }

    /// Returns whether [`Self::message`] compresses.
    pub const fn compresses(&self) -> bool {
        self.deflater.is_some()
    }

    /// Returns whether a Close was sent.
    pub const fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// Returns the header of a data frame with `length` bytes of payload, and the mask to apply to
    /// them if there is one.
    ///
    /// # Errors
    /// [`Closing`] after a Close.
    pub fn begin(
        &mut self,
        kind: Kind,
        fragment: Fragment,
        length: u64,
    ) -> Result<(Encoded, Option<Mask>), Closing> {
        if self.close_sent {
            return Err(Closing);
        }
        let opcode = match fragment {
            Fragment::Whole | Fragment::First => kind.opcode(),
            Fragment::Middle | Fragment::Last => Opcode::Continuation,
        };
        let fin = matches!(fragment, Fragment::Whole | Fragment::Last);
        Ok(self.header(opcode, fin, false, length))
    }

    /// Appends a complete message to `out`, compressed if that was negotiated.
    ///
    /// # Errors
    /// [`Closing`] after a Close; `out` is unchanged.
    pub fn message(
        &mut self,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Closing> {
        if self.close_sent {
            return Err(Closing);
        }
        // An empty message is shorter uncompressed.
        match self.deflater.take() {
            Some(mut deflater) if !payload.is_empty() => {
                self.frame(kind.opcode(), true, deflater.message(payload), out);
                deflater.trim();
                self.deflater = Some(deflater);
            }
            none_or_empty => {
                self.deflater = none_or_empty;
                self.frame(kind.opcode(), false, payload, out);
            }
        }
        Ok(())
    }

    /// Appends a complete message that the caller does not need any more: an uncompressed one is
    /// not copied, so a long one is in memory once.
    ///
    /// Spare capacity of [`MAX_HEADER`] bytes saves a reallocation.
    ///
    /// # Errors
    /// [`Closing`] after a Close; `out` is unchanged.
    pub fn owned_message(
        &mut self,
        kind: Kind,
        mut payload: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Closing> {
        let changed = self.keys.is_some() || self.deflater.is_some();
        if self.close_sent || changed || payload.len() <= out.len() {
            return self.message(kind, &payload, out);
        }
        let (header, _) = self.header(kind.opcode(), true, false, payload.len() as u64);
        payload.splice(..0, out.drain(..).chain(header.iter().copied()));
        *out = payload;
        Ok(())
    }

    /// Appends a ping; nothing after a Close.
    ///
    /// Payload beyond 125 bytes is cut off.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(Opcode::Ping, payload, out);
    }

    /// Appends the reply to a ping; nothing after a Close.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(Opcode::Pong, payload, out);
    }

    /// Appends a Close, once.
    ///
    /// The reason is cut to 123 bytes at a character boundary.
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
        self.control(Opcode::Close, &close::encode(code, reason), out);
        self.close_sent = true;
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        if !self.close_sent {
            self.frame(opcode, false, &payload[..payload.len().min(125)], out);
        }
    }

    fn frame(&mut self, opcode: Opcode, compressed: bool, payload: &[u8], out: &mut Vec<u8>) {
        let (header, mask) = self.header(opcode, true, compressed, payload.len() as u64);
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(mut mask) = mask {
            mask.apply(&mut out[start..]);
        }
    }

    fn header(
        &mut self,
        opcode: Opcode,
        fin: bool,
        compressed: bool,
        length: u64,
    ) -> (Encoded, Option<Mask>) {
        let key = self.keys.as_mut().map(|keys| keys.next_key());
        (header::encode(&Header { fin, compressed, opcode, key, length }), key.map(Mask::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owned_message_is_the_same_bytes() {
        for before in [&b""[..], b"a pong", &[7; 200]] {
            for length in [0, 5, 125, 126, 65_535, 65_536] {
                let payload = vec![9; length];
                let (mut copied, mut owned) = (before.to_vec(), before.to_vec());
                let mut sender = Sender::server();
                assert_eq!(sender.message(Kind::Text, &payload, &mut copied), Ok(()));
                assert_eq!(sender.owned_message(Kind::Text, payload, &mut owned), Ok(()));
                assert!(copied == owned, "{length} bytes behind {}", before.len());
            }
        }
        let mut sender = Sender::server();
        let mut out = Vec::new();
        sender.close(None, "", &mut out);
        assert_eq!(sender.owned_message(Kind::Text, vec![9], &mut out), Err(Closing));
        assert_eq!(out, [0x88, 0]);
    }
}
