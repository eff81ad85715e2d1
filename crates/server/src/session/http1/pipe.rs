//! `/pipe/KEY` over HTTP/1.1, while one waits and while content moves.
//!
//! ```text
//!   PUT, POST   waits ──► content comes ──► all is here, and being taken ──► 200, or 502 where nobody is left
//!   GET         waits ──► content goes out ──► its end, or a break
//! ```
//!
//! Over HTTP whoever closes its side while it waits has gone: no client half-closes to wait for an answer.

use std::io;
use std::time::Duration;

use anyport_net::copy::{Interest, Placement, Wait};
use anyport_proto::http1::{BodyReader, Framing};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;

use super::content::early_end;
use super::write::{Exchange, Frame};
use super::{CONTINUE, State};
use crate::service::pipe::{Given, Giver, Taker};
use crate::session::http::{Side, piped, refuse, taken};
use crate::session::{Context, Next, Produced, idle_reason, stopping};

/// A request that gives or takes.
pub(super) struct Piping {
    context: Context,
    exchange: Exchange,
    part: Part,
}

enum Part {
    /// Content comes, or all of it is here and is being taken. `waits`: the client was not told yet that it may send.
    Giving { giver: Giver, body: BodyReader, waits: bool },
    /// Content goes out, framed like this once the head is written.
    Taking { taker: Taker, frame: Option<Frame>, in_chunk: bool },
}

/// What a request with a side of a pipe goes on with.
pub(super) enum Took {
    /// All bytes; more are to come.
    All,
    /// So many; what follows is not of this content.
    Used(usize),
    /// Nobody knows where the content ends.
    Failed,
}

impl Piping {
    /// `waits`: the client wants to be told that it may send its content.
    pub(super) fn new(
        context: Context,
        exchange: Exchange,
        framing: Framing,
        side: Side,
        waits: bool,
    ) -> Self {
        let part = match side {
            Side::Taker(taker) => Part::Taking { taker, frame: None, in_chunk: false },
            Side::Giver(giver) => Part::Giving { giver, body: BodyReader::new(framing), waits },
        };
        let mut piping = Self { context, exchange, part };
        piping.pass_if_done();
        piping
    }

    pub(super) fn interest(&self, idle: Duration) -> Interest {
        let (wait, idle, gone_below) = match &self.part {
            Part::Giving { giver, body, .. } => {
                let wait = giver.waits_for();
                let idle = if body.is_done() { idle } else { giver.patience(idle) };
                let left = if giver.has_begun() { body.left().unwrap_or(0) } else { u64::MAX };
                (wait, idle, left)
            }
            Part::Taking { taker, .. } => {
                let wait = taker.waits_for();
                // Later it may have nothing more to say, and read on: the next piece will show
                // whether it is there.
                (wait, idle, if taker.facts().is_none() { u64::MAX } else { 0 })
            }
        };
        let wait = wait.map(|wait| Wait { gone_below, ..wait });
        // An abort shuts the socket of a thread of its own, and that looks like the end where
        // nothing else marks it.
        let ends_with_fin =
            matches!(self.part, Part::Taking { frame: None | Some(Frame::UntilClose), .. });
        let place = if ends_with_fin { Placement::Runtime } else { Placement::Thread };
        Interest { produce: self.is_sending(), wait, place, ..Interest::input(idle) }
    }

    fn has_begun(&self) -> bool {
        match &self.part {
            Part::Giving { giver, .. } => giver.has_begun(),
            Part::Taking { taker, .. } => taker.facts().is_some(),
        }
    }

    /// Whether all of a content is here.
    fn is_passed(&self) -> bool {
        matches!(&self.part, Part::Giving { body, .. } if body.is_done())
    }

    /// Whether there is something to send: content, leave to send it, or how it went.
    pub(super) fn is_sending(&self) -> bool {
        match &self.part {
            Part::Giving { giver, waits, .. } => {
                giver.outcome().is_some() || (*waits && giver.has_begun())
            }
            Part::Taking { taker, .. } => taker.facts().is_some(),
        }
    }

    /// The next piece. `state` becomes what follows it.
    pub(super) fn next(
        mut self: Box<Self>,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
        state: &mut State,
    ) -> io::Result<Produced> {
        if !self.is_sending() {
            *state = State::Pipe(self);
            return Ok(Produced::Next(Next::Continue));
        }
        let outcome = match &mut self.part {
            Part::Taking { .. } => return self.take(buffer, replies, state),
            Part::Giving { giver, waits, .. } => {
                if std::mem::take(waits) && giver.outcome().is_none() {
                    replies.extend_from_slice(CONTINUE);
                }
                giver.outcome()
            }
        };
        let Some(outcome) = outcome else {
            *state = State::Pipe(self);
            return Ok(Produced::Next(Next::Continue));
        };
        // Nobody is left to read the rest for.
        self.exchange.persistent &= self.is_passed();
        match outcome {
            Ok(how) => {
                let answer = piped(&how, self.exchange.asked.form);
                self.exchange.answer(answer, replies);
            }
            Err(refusal) => self.refuse(StatusCode::BAD_GATEWAY, refusal, replies),
        }
        *state = State::after(&self.exchange);
        Ok(Produced::Next(Next::Continue))
    }

    fn take(
        mut self: Box<Self>,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
        state: &mut State,
    ) -> io::Result<Produced> {
        let Self { context, exchange, part } = &mut *self;
        let Part::Taking { taker, frame, in_chunk } = part else {
            return Ok(Produced::Next(Next::Finish));
        };
        let frame = *frame.get_or_insert_with(|| {
            let frame = exchange.head(taken(taker), replies);
            if frame == Frame::UntilClose {
                // FIN would look like the end, also where it is our own death.
                context.link.resets_until_the_end();
            }
            frame
        });
        let given = taker.next(buffer);
        if std::mem::take(in_chunk) {
            replies.extend_from_slice(b"\r\n");
        }
        let count = match given {
            Given::Bytes(count) => count,
            Given::Nothing => 0,
            Given::Broken(reason) => {
                context.link.reset_at_end();
                return Err(io::Error::other(reason));
            }
            Given::End => {
                frame.end(replies);
                if frame == Frame::UntilClose {
                    context.link.ends_in_order();
                }
                *state = State::after(exchange);
                if let Part::Taking { taker, .. } = self.part {
                    taker.finish();
                }
                return Ok(Produced::Next(Next::Continue));
            }
        };
        if frame == Frame::Chunks && count > 0 {
            replies.extend_from_slice(format!("{count:x}\r\n").as_bytes());
            *in_chunk = true;
        }
        *state = State::Pipe(self);
        Ok(Produced::Bytes(count))
    }

    /// Takes what came. `replies` gets the answer to what cannot be read.
    pub(super) fn bytes(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> Took {
        let Part::Giving { giver, body, waits } = &mut self.part else { return Took::Used(0) };
        if body.is_done() {
            return Took::Used(0);
        }
        // Who sends does not wait to be told that it may.
        *waits &= bytes.is_empty();
        let mut used = 0;
        while !body.is_done() && used < bytes.len() {
            match body.read(&bytes[used..], &self.context.config.limits) {
                Ok(piece) => {
                    giver.write(piece.content);
                    used += piece.used;
                }
                Err(error) => {
                    self.give_up(error.status(), error.to_string(), replies);
                    return Took::Failed;
                }
            }
        }
        giver.pass_on();
        self.pass_if_done();
        if self.is_passed() { Took::Used(used) } else { Took::All }
    }

    fn pass_if_done(&mut self) {
        if let Part::Giving { giver, body, .. } = &mut self.part
            && body.is_done()
        {
            giver.end();
        }
    }

    /// The stream ended, or the client closed its side while it waited. Whoever only half-closed still reads why.
    pub(super) fn end_of_stream(mut self: Box<Self>, replies: &mut Vec<u8>, state: &mut State) {
        let begun = self.has_begun();
        let reason = match &self.part {
            Part::Giving { body, .. } if begun && body.is_done() => {
                *state = State::Pipe(self);
                return;
            }
            Part::Giving { body, .. } if begun => early_end(body),
            Part::Giving { .. } | Part::Taking { .. } => {
                "the client closed while it waited".to_owned()
            }
        };
        self.give_up(StatusCode::BAD_REQUEST, reason, replies);
    }

    /// The wait was too long, or nothing came.
    pub(super) fn silent(mut self: Box<Self>, replies: &mut Vec<u8>, state: &mut State) {
        if let Part::Giving { giver, .. } = &self.part
            && giver.leaves_behind()
        {
            *state = State::Pipe(self);
            return;
        }
        let idle = self.context.config.timeouts.idle;
        let in_vain = match &self.part {
            Part::Giving { giver, .. } if !giver.has_begun() => giver.in_vain(),
            Part::Taking { taker, .. } if taker.facts().is_none() => taker.in_vain(),
            Part::Giving { giver, body, .. } if !body.is_done() && giver.is_silent_for(idle) => {
                return self.give_up(StatusCode::REQUEST_TIMEOUT, idle_reason(idle), replies);
            }
            // Not for so long, or it began in the moment in which the wait was over.
            Part::Giving { .. } | Part::Taking { .. } => {
                *state = State::Pipe(self);
                return;
            }
        };
        self.refuse(StatusCode::GATEWAY_TIMEOUT, in_vain, replies);
    }

    /// The server stops: whether nobody has begun. Then the client is told.
    pub(super) fn stop(&mut self, replies: &mut Vec<u8>) -> bool {
        let waits = !self.has_begun();
        if waits {
            self.refuse(StatusCode::SERVICE_UNAVAILABLE, stopping(), replies);
        }
        waits
    }

    /// The connection broke.
    pub(super) fn broken(self, reason: &str) {
        match self.part {
            Part::Giving { giver, .. } => giver.broken(reason),
            Part::Taking { .. } => self.context.link.reset_at_end(),
        }
    }

    /// Ends what will not be whole; the connection ends with it.
    fn give_up(&mut self, status: StatusCode, reason: String, replies: &mut Vec<u8>) {
        if let Part::Giving { giver, .. } = &self.part {
            giver.broken(&reason);
        }
        self.refuse(status, Refusal::new(RefusalCode::Interrupted, reason), replies);
    }

    fn refuse(&mut self, status: StatusCode, refusal: Refusal, replies: &mut Vec<u8>) {
        self.exchange.persistent = false;
        let answer = refuse(&self.context, &self.exchange.asked, status, refusal);
        self.exchange.answer(answer, replies);
    }
}
