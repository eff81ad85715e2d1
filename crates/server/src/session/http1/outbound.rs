//! What goes out behind the head of an answer, piece by piece.

use std::io;

use anyport_proto::transfer::refusal::Refusal;

use super::State;
use super::write::{Exchange, Frame};
use crate::session::http::{Head, Page};
use crate::session::sending::{Say, Sending};
use crate::session::{Next, Produced};

/// A file or a listing on its way out.
pub(super) struct Outbound {
    exchange: Exchange,
    frame: Frame,
    sending: Sending,
    /// How a listing is written.
    page: Option<Page>,
}

impl Outbound {
    /// Writes the head of the answer.
    pub(super) fn begin(
        mut exchange: Exchange,
        head: Head,
        sending: Sending,
        page: Option<Page>,
        replies: &mut Vec<u8>,
    ) -> Self {
        let frame = exchange.head(head, replies);
        if let Some(page) = &page {
            frame.write(page.open().as_bytes(), replies);
        }
        Self { exchange, frame, sending, page }
    }

    /// The next piece. `state` becomes what follows it.
    pub(super) fn next(
        self: Box<Self>,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
        state: &mut State,
    ) -> io::Result<Produced> {
        let Self { exchange, frame, sending, mut page } = *self;
        let Some((say, rest)) = sending.next(buffer)? else {
            *state = State::after(&exchange);
            return Ok(Produced::Next(Next::Continue));
        };
        let produced = match (say, &mut page) {
            (Say::Content(count), _) => Produced::Bytes(count),
            (Say::Unseen(piece), _) => Produced::File(piece),
            (Say::Listed(entries, left_out), Some(page)) => {
                frame.write(page.listed(&entries, left_out).as_bytes(), replies);
                Produced::Next(Next::Continue)
            }
            (Say::ListEnd(end), Some(page)) => {
                frame.write(page.close(&end).as_bytes(), replies);
                frame.end(replies);
                Produced::Next(Next::Continue)
            }
            // Its head said that all is well, so only a break can say that it is not.
            (Say::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Say::FileEnd(_) | Say::Listed(..) | Say::ListEnd(_), _) => {
                Produced::Next(Next::Continue)
            }
        };
        *state = match rest {
            Some(sending) => State::Sending(Box::new(Self { exchange, frame, sending, page })),
            None => State::after(&exchange),
        };
        Ok(produced)
    }

    pub(super) fn sent(&mut self, count: u64) {
        self.sending.sent(count);
    }

    pub(super) fn broken(self, reason: &str) {
        self.sending.broken(reason);
    }
}
