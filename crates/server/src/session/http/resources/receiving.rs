//! Content that a request writes to an upload: what all resources that store files have in common.
//!
//! ```text
//!   Waiting ──gate opens, or 2 s──► Receiving ──end──► response
//!      └ another request writes to the upload, and is asked to let go
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{Gate, Interest, Placement, Read};
use anyport_proto::resumable::ietf::Fields;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;

use crate::service::files::{Complete, Continued, Files, Upload, Waiting};
use crate::session::Context;
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Event, Handler, Next, Opened, Produced};
use crate::session::idle_reason;

/// The part of a request to an upload that depends on its protocol.
pub(super) trait Purpose: Send + 'static {
    /// Tries again what waited for another request.
    fn retry(&self, files: &Arc<Files>, waiting: Box<Waiting>) -> Result<Continued, Refusal>;

    /// Checks the upload before any content. An answer ends the request, and keeps the upload.
    fn begin(&mut self, upload: Box<Upload>) -> Result<Box<Upload>, Answer>;

    /// Checks content before it is stored. An answer ends the request, and keeps the upload.
    fn check(&mut self, piece: &[u8]) -> Result<(), Answer> {
        let _ = piece;
        Ok(())
    }

    /// Returns whether content may be stored without [`Self::check`].
    fn may_splice(&self) -> bool {
        true
    }

    /// Ends the request, whose content is complete.
    fn finish(&mut self, upload: Box<Upload>) -> Answer;

    /// Returns the response for an upload that an earlier request completed.
    fn complete(&self, complete: &Complete) -> Answer;

    /// Returns the response for a refusal, which has been reported.
    fn refusal(&self, refusal: Refusal) -> Answer;

    /// Returns the fields of an interim response 104.
    fn interim(&self) -> Option<Fields> {
        None
    }
}

/// A request that writes to an upload, or waits for it.
pub(super) struct Receiving<P> {
    context: Context,
    purpose: P,
    state: State,
    /// Content that was read before the upload began: at most one read of the driver.
    early: Vec<u8>,
    /// The content ended before the upload began.
    is_ended: bool,
    /// An interim response was or cannot be sent.
    is_announced: bool,
}

enum State {
    Waiting(Box<Waiting>),
    Receiving(Box<Upload>),
    Ended,
}

/// Serves a request whose upload was begun, continued or refused.
pub(super) fn open<P: Purpose>(
    context: &Context,
    purpose: P,
    begun: Result<Continued, Refusal>,
) -> Opened {
    let mut receiving = Receiving {
        context: context.clone(),
        purpose,
        state: State::Ended,
        early: Vec::new(),
        is_ended: false,
        is_announced: false,
    };
    match receiving.begun(begun) {
        Some(answer) => Opened::Answer(answer),
        None => Opened::handler(receiving),
    }
}

impl<P: Purpose> Receiving<P> {
    fn begun(&mut self, begun: Result<Continued, Refusal>) -> Option<Answer> {
        match begun {
            Ok(Continued::Waiting(waiting)) => self.state = State::Waiting(waiting),
            Ok(Continued::Upload(upload)) => match self.purpose.begin(upload) {
                Ok(upload) => self.state = State::Receiving(upload),
                Err(answer) => return Some(answer),
            },
            Ok(Continued::Complete(complete)) => return Some(self.purpose.complete(&complete)),
            Err(refusal) => return Some(self.purpose.refusal(refusal)),
        }
        None
    }

    /// Tries again once the other request has ended, or for the last time.
    fn retry(&mut self) -> Option<Answer> {
        let State::Waiting(waiting) = self.take() else { return None };
        let begun = self.purpose.retry(&self.context.files, waiting);
        if let Some(answer) = self.begun(begun) {
            return Some(answer);
        }
        if matches!(self.state, State::Receiving(_)) {
            let early = std::mem::take(&mut self.early);
            return self
                .write(&early, Instant::now())
                .or_else(|| if self.is_ended { self.finish() } else { None });
        }
        None
    }

    fn write(&mut self, piece: &[u8], at: Instant) -> Option<Answer> {
        match &mut self.state {
            State::Waiting(_) => self.early.extend_from_slice(piece),
            State::Receiving(upload) => {
                if let Err(answer) = self.purpose.check(piece) {
                    let State::Receiving(upload) = self.take() else { return Some(answer) };
                    return upload
                        .pause()
                        .err()
                        .map(|refusal| self.purpose.refusal(refusal))
                        .or(Some(answer));
                }
                let refusal = upload.write(piece, at).err()?;
                if let State::Receiving(upload) = self.take() {
                    return Some(self.purpose.refusal(upload.abandon(refusal)));
                }
            }
            State::Ended => {}
        }
        None
    }

    fn finish(&mut self) -> Option<Answer> {
        match self.take() {
            State::Receiving(upload) => return Some(self.purpose.finish(upload)),
            waiting @ State::Waiting(_) => {
                self.is_ended = true;
                self.state = waiting;
            }
            State::Ended => {}
        }
        None
    }

    fn interrupt(&mut self, status: StatusCode, reason: &str) -> Option<Answer> {
        match self.take() {
            State::Receiving(upload) => upload.interrupt(reason),
            State::Waiting(_) => {}
            State::Ended => return None,
        }
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        Some(self.purpose.refusal(refusal).with_status(status))
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Ended)
    }

    fn idle(&self) -> Duration {
        self.context.config.timeouts.idle
    }
}

impl<P: Purpose> Handler for Receiving<P> {
    fn interest(&self) -> Interest {
        let input = Interest::input(self.idle());
        match &self.state {
            State::Waiting(waiting) => {
                // Before deciding what to produce: the gate may open in between.
                let wait = waiting.wait();
                Interest { produce: wait.is_none(), wait, may_block: true, ..input }
            }
            State::Receiving(upload) => {
                let splice = upload.splice().filter(|_| self.purpose.may_splice());
                let read = splice.map_or(Read::Bytes, Read::Splice);
                let may_block = upload.may_block();
                Interest { read, may_block, place: Placement::Thread, ..input }
            }
            State::Ended => input,
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Instant, _: &mut Vec<u8>) -> Next {
        let answer = match event {
            Event::Content { piece, .. } => self.write(piece, at),
            Event::Spliced(count) => {
                if let State::Receiving(upload) = &mut self.state {
                    upload.put(count, at);
                }
                None
            }
            Event::End => self.finish(),
            // The other request has not let go in time: this is the last attempt.
            Event::Idle if matches!(self.state, State::Waiting(_)) => self.retry(),
            Event::Idle => {
                let reason = idle_reason(self.idle());
                self.interrupt(StatusCode::REQUEST_TIMEOUT, &reason)
            }
            Event::Incomplete(reason) | Event::Lost(reason) => {
                self.interrupt(StatusCode::BAD_REQUEST, reason)
            }
            Event::Sent(_) | Event::Shutdown => None,
        };
        answer.map_or(Next::Continue, Next::Respond)
    }

    fn produce(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced> {
        Ok(Produced::Next(self.retry().map_or(Next::Continue, Next::Respond)))
    }

    fn interim(&mut self) -> Option<Fields> {
        if self.is_announced || !matches!(self.state, State::Receiving(_)) {
            return None;
        }
        self.is_announced = true;
        self.purpose.interim()
    }

    fn evicted(&self) -> Option<Arc<Gate>> {
        match &self.state {
            State::Receiving(upload) => upload.evicted(),
            State::Waiting(_) | State::Ended => None,
        }
    }

    fn reports(&self) -> bool {
        true
    }
}
