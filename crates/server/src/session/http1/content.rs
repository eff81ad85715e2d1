//! The content of a request on its way to where it belongs.

use std::time::Instant;

use anyport_net::copy::Splice;
use anyport_proto::http1::BodyReader;
use http::StatusCode;

use super::echo::Echoing;
use super::write::Exchange;
use crate::session::Context;
use crate::session::http::{Answer, Taker};

/// A request whose content comes.
pub(super) struct Content {
    pub(super) exchange: Exchange,
    pub(super) body: BodyReader,
    pub(super) place: Place,
}

/// Where content goes.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Place {
    Taker(Taker),
    Echo(Echoing),
    /// Its request was answered; another one follows.
    PassedOver,
}

/// What became of some bytes.
pub(super) enum Taken {
    /// All of them were content, and more is to come.
    All,
    /// The content ended with so many of them.
    Done { used: usize },
    /// It cannot be taken, or nobody knows where it ends; none where no answer can be given any more.
    Failed(Option<Answer>),
}

impl Content {
    pub(super) fn may_block(&self) -> bool {
        match &self.place {
            Place::Taker(taker) => taker.may_block(),
            // The step that ends it may begin the next request, and that a file.
            Place::Echo(_) | Place::PassedOver => true,
        }
    }

    pub(super) const fn is_upload(&self) -> bool {
        matches!(&self.place, Place::Taker(taker) if taker.is_upload())
    }

    /// Only where no framing stands between the bytes, and so never a byte behind the content.
    pub(super) fn splice(&self) -> Option<Splice> {
        match &self.place {
            Place::Taker(taker) if self.body.left().is_some() => taker.splice(),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, count: u64, at: Instant) {
        self.body.pass(count);
        if let Place::Taker(taker) = &mut self.place {
            taker.put(count, at);
        }
    }

    pub(super) fn take(
        &mut self,
        context: &Context,
        bytes: &[u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Taken {
        let mut used = 0;
        while !self.body.is_done() && used < bytes.len() {
            let piece = match self.body.read(&bytes[used..], &context.config.limits) {
                Ok(piece) => piece,
                Err(error) => {
                    let reason = error.to_string();
                    if !self.is_upload() {
                        context.refused("http", &reason);
                    }
                    return Taken::Failed(self.give_up(error.status(), &reason));
                }
            };
            used += piece.used;
            match &mut self.place {
                Place::Taker(taker) => {
                    if let Err(refusal) = taker.write(piece.content, at) {
                        let place = std::mem::replace(&mut self.place, Place::PassedOver);
                        let Place::Taker(taker) = place else { continue };
                        return Taken::Failed(Some(taker.abandon(refusal, &self.exchange.asked)));
                    }
                }
                Place::Echo(echoing) => {
                    echoing.write(piece.content, &mut self.exchange, replies);
                }
                Place::PassedOver => {}
            }
        }
        if self.body.is_done() { Taken::Done { used } } else { Taken::All }
    }

    /// All of the content is here: gives the answer, or its end.
    pub(super) fn finish(self, replies: &mut Vec<u8>) -> Exchange {
        let Self { mut exchange, place, .. } = self;
        match place {
            Place::Taker(taker) => {
                let answer = taker.finish(&exchange.asked);
                exchange.answer(answer, replies);
            }
            Place::Echo(echoing) => echoing.finish(&mut exchange, replies),
            Place::PassedOver => {}
        }
        exchange
    }

    /// Ends the connection with `answer`.
    pub(super) fn fail(mut self, answer: Option<Answer>, replies: &mut Vec<u8>) {
        self.exchange.persistent = false;
        if let Some(answer) = answer {
            self.exchange.answer(answer, replies);
        }
    }

    /// The stream ended too early. Whoever only half-closed still reads why.
    pub(super) fn cut(mut self, replies: &mut Vec<u8>) {
        let reason = early_end(&self.body);
        let answer = self.give_up(StatusCode::BAD_REQUEST, &reason);
        self.fail(answer, replies);
    }

    /// Nothing comes any more.
    pub(super) fn silent(mut self, reason: &str, replies: &mut Vec<u8>) {
        let answer = self.give_up(StatusCode::REQUEST_TIMEOUT, reason);
        self.fail(answer, replies);
    }

    /// The connection broke.
    pub(super) fn interrupt(mut self, reason: &str) {
        self.give_up(StatusCode::BAD_REQUEST, reason);
    }

    /// Ends what will not be whole; gives the answer that is still owed, none where it has been given or begun.
    fn give_up(&mut self, status: StatusCode, reason: &str) -> Option<Answer> {
        match std::mem::replace(&mut self.place, Place::PassedOver) {
            Place::Taker(taker) => Some(taker.give_up(status, reason, self.exchange.asked.form)),
            Place::Echo(echoing) if !echoing.has_begun() => {
                Some(Answer::text(status, format!("{reason}\n")))
            }
            Place::Echo(_) | Place::PassedOver => None,
        }
    }
}

/// Why content is incomplete whose stream has ended.
pub(super) fn early_end(body: &BodyReader) -> String {
    match body.left() {
        Some(left) => format!("the stream ended {left} bytes before the announced length"),
        None => "the stream ended before the last chunk".to_owned(),
    }
}
