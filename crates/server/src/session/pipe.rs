//! A pipe over raw TCP (docs/pipe.md): sender and receiver.
//!
//! ```text
//!   ANYPORT/1 PIPE key␊ content until FIN          ──►  ANYPORT/1 PIPED bytes=… receivers=1␊
//!   ANYPORT/1 PIPE key size=5␊ hello               ──►  ANYPORT/1 PIPED bytes=5 receivers=1␊
//!   ANYPORT/1 TAKE key␊                            ──►  content, FIN; a reset if incomplete
//!   ANYPORT/1 TAKE key head␊                       ──►  ANYPORT/1 CONTENT size=5␊ the content, FIN
//! ```

use std::io;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Session, Wait};
use anyport_proto::preface::Reply;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::{Context, Next, Produced, ServerSession, Successor, early_end, idle_reason, stopping};
use crate::service::pipe::{Idle, Output, PipeReceiver, PipeSender};

pub(crate) struct Pipe {
    context: Context,
    state: State,
}

enum State {
    /// Content is received: this many bytes more, or until FIN. Then the receivers get the
    /// rest.
    Giving(PipeSender, Option<u64>),
    /// Content is sent; before it a line, if that was requested and is not sent yet.
    Taking(PipeReceiver, bool),
    Over,
}

impl Pipe {
    /// Sends `size` bytes of the peer's content to the receivers, or all until FIN.
    pub(super) fn give(context: Context, sender: PipeSender, size: Option<u64>) -> Self {
        let mut pipe = Self { context, state: State::Giving(sender, size) };
        // The content may be empty.
        pipe.bytes(&[]);
        pipe
    }

    pub(super) fn take(context: Context, receiver: PipeReceiver, head: bool) -> Self {
        // FIN would mean the end of the content, also if this process dies.
        context.link.resets_until_the_end();
        Self { context, state: State::Taking(receiver, head) }
    }

    /// Ends a wait for the other side, and notifies the peer.
    fn stop(&mut self, replies: &mut Vec<u8>) {
        let waits = match &self.state {
            State::Giving(sender, _) => !sender.has_begun(),
            State::Taking(receiver, _) => receiver.info().is_none(),
            State::Over => false,
        };
        if waits {
            self.refuse(stopping(), replies);
        }
    }

    fn broken(&mut self, reason: &str) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Giving(sender, _) => sender.broken(reason),
            // FIN would mean the end of the content.
            State::Taking(..) => self.context.link.reset_at_end(),
            State::Over => {}
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let State::Giving(sender, left) = &mut self.state else { return };
        if sender.is_ended() {
            return;
        }
        let most = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        // Input beyond an announced size is not content.
        let content = &bytes[..bytes.len().min(most)];
        sender.write(content);
        sender.pass_on();
        if let Some(left) = left {
            *left -= content.len() as u64;
        }
        if *left == Some(0) {
            sender.end();
        }
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) {
        match &mut self.state {
            State::Giving(sender, Some(left)) if !sender.is_ended() => {
                let reason = early_end(*left);
                sender.broken(&reason);
                self.refuse(Refusal::new(RefusalCode::Interrupted, reason), replies);
            }
            State::Giving(sender, _) => sender.end(),
            State::Taking(..) | State::Over => {}
        }
    }

    fn silence(&mut self, replies: &mut Vec<u8>) {
        let idle = self.context.config.timeouts.idle;
        let refusal = match &self.state {
            State::Giving(sender, _) => match sender.idle(idle) {
                Idle::Continue => return,
                Idle::NotBegun(refusal) => refusal,
                Idle::Silent => {
                    let reason = idle_reason(idle);
                    sender.broken(&reason);
                    Refusal::new(RefusalCode::Interrupted, reason)
                }
            },
            State::Taking(receiver, _) if receiver.info().is_none() => receiver.never_began(),
            State::Taking(..) | State::Over => return,
        };
        self.refuse(refusal, replies);
    }

    fn refuse(&mut self, refusal: Refusal, replies: &mut Vec<u8>) {
        self.state = State::Over;
        self.context.link.ends_in_order();
        self.context.refused("raw", &refusal.message);
        replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
    }
}

impl ServerSession for Pipe {}

impl Session for Pipe {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let idle = self.context.config.timeouts.idle;
        match &self.state {
            State::Giving(sender, left) => {
                // A FIN alone may be the end of the content. If announced bytes do not arrive, the
                // peer has left.
                let gone_below = left.unwrap_or(0);
                let wait = sender.waits_for().map(|wait| Wait { gone_below, ..wait });
                let produce = sender.outcome().is_some();
                let (place, idle) = match sender.is_ended() {
                    true => (Placement::Runtime, idle),
                    false => (Placement::Thread, sender.idle_timeout(idle)),
                };
                Interest { produce, wait, place, ..Interest::input(idle) }
            }
            // An abort shuts the socket of a thread, which to a receiver would mean the end: so it
            // gets no thread.
            State::Taking(receiver, _) => {
                let wait = receiver.waits_for();
                Interest { produce: receiver.info().is_some(), wait, ..Interest::input(idle) }
            }
            State::Over => Interest::input(idle),
        }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(bytes) => self.bytes(bytes),
            Event::EndOfStream => self.end_of_stream(out),
            Event::Idle => self.silence(out),
            Event::Shutdown => self.stop(out),
            Event::Lost(reason) => self.broken(reason),
            Event::Spliced(_) | Event::Sent(_) | Event::Timer => {}
        }
        if matches!(self.state, State::Over) { Next::Finish } else { Next::Continue }
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Giving(sender, left) => match sender.outcome() {
                None => {
                    self.state = State::Giving(sender, left);
                    Ok(Produced::Next(Next::Continue))
                }
                Some(outcome) => {
                    match outcome {
                        Err(refusal) => self.refuse(refusal, out),
                        Ok(piped) => {
                            out.extend_from_slice(Reply::Piped(piped).to_line().as_bytes());
                        }
                    }
                    Ok(Produced::Next(Next::Finish))
                }
            },
            State::Taking(receiver, head) => {
                let Some(info) = receiver.info() else {
                    self.state = State::Taking(receiver, head);
                    return Ok(Produced::Next(Next::Continue));
                };
                if head {
                    let line = Reply::Content { size: info.size }.to_line();
                    out.extend_from_slice(line.as_bytes());
                } else {
                    self.context.record.sends_content();
                }
                let count = match receiver.next(buffer) {
                    Output::Bytes(count) => count,
                    Output::Nothing => 0,
                    Output::End => {
                        self.context.link.ends_in_order();
                        receiver.finish();
                        return Ok(Produced::Next(Next::Finish));
                    }
                    Output::Broken(reason) => {
                        self.context.link.reset_at_end();
                        return Err(io::Error::other(reason));
                    }
                };
                self.state = State::Taking(receiver, false);
                Ok(Produced::Bytes(count))
            }
            State::Over => Ok(Produced::Next(Next::Finish)),
        }
    }
}
