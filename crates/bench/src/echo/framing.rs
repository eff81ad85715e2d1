//! Framing of the messages of an echo: WebSocket, or none.

use anyhow::{Context, Result, bail};
use anyport_proto::ws::{Event, Kind, Receiver, Sender};

/// One connection's two halves.
pub(super) enum Framing {
    /// WebSocket frames, which mark the end of a message.
    WebSocket { receiver: Box<Receiver>, sender: Sender },
    /// Raw bytes: a message has `size` bytes; `received` bytes of the current one were received.
    Plain { size: usize, received: usize },
}

/// A piece of an answer.
pub(super) struct Piece<'a> {
    pub(super) data: &'a [u8],
    /// Whether it is the last piece of the answer.
    pub(super) end: bool,
}

impl Framing {
    /// Appends `message` to `out`.
    pub(super) fn encode(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::WebSocket { sender, .. } => Ok(sender.message(Kind::Binary, message, out)?),
            Self::Plain { .. } => {
                out.extend_from_slice(message);
                Ok(())
            }
        }
    }

    /// Returns how many of the bytes were used, and the piece of payload in them, if any.
    pub(super) fn receive<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Piece<'a>>)> {
        match self {
            Self::WebSocket { receiver, sender } => {
                let (used, event) =
                    receiver.feed(bytes).context("invalid frame from the server")?;
                match event {
                    Some(Event::Data { data, end, .. }) => Ok((used, Some(Piece { data, end }))),
                    Some(Event::Ping(payload)) => {
                        sender.pong(payload, out);
                        Ok((used, None))
                    }
                    Some(Event::Close { .. }) => bail!("the server closed a connection"),
                    Some(Event::Pong(_)) | None => Ok((used, None)),
                }
            }
            Self::Plain { size, received } => {
                let used = bytes.len().min(*size - *received);
                *received += used;
                let end = *received == *size;
                if end {
                    *received = 0;
                }
                Ok((used, Some(Piece { data: &bytes[..used], end })))
            }
        }
    }

    /// Appends a Close frame to `out`; nothing without WebSocket.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if let Self::WebSocket { sender, .. } = self {
            sender.close(None, "", out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_messages_end_after_their_size_in_every_segmentation() {
        let stream = b"abcdefghij";
        for step in 1..=stream.len() {
            let mut framing = Framing::Plain { size: 5, received: 0 };
            let (mut messages, mut message) = (Vec::new(), Vec::new());
            for piece in stream.chunks(step) {
                let mut piece = piece.to_vec();
                let mut rest = &mut piece[..];
                while !rest.is_empty() {
                    let (used, piece) = framing.receive(rest, &mut Vec::new()).unwrap();
                    let Piece { data, end } = piece.unwrap();
                    message.extend_from_slice(data);
                    if end {
                        messages.push(std::mem::take(&mut message));
                    }
                    rest = &mut std::mem::take(&mut rest)[used..];
                }
            }
            assert_eq!(messages, [b"abcde", b"fghij"], "step {step}");
        }
    }
}
