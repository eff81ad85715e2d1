//! Receives the lines that a peer sends after the greeting; sends nothing more.

use std::time::{Duration, Instant};

use anyport_net::copy::{Event, Interest, Session};

use super::due::Due;
use super::{Context, Next, ServerSession, Successor};
use crate::service::greet::Answers;

pub(crate) struct Greet {
    answers: Answers,
    idle: Duration,
    /// Time limit of a line that has begun.
    due: Due,
}

impl Greet {
    pub(crate) fn new(context: &Context) -> Self {
        let answers = Answers::new(context.events.clone(), context.peer);
        let timeouts = &context.config.timeouts;
        Self { answers, idle: timeouts.idle, due: Due::new(timeouts.message) }
    }
}

impl ServerSession for Greet {}

impl Session for Greet {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        Interest::input(self.due.idle_timeout(self.idle))
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(bytes) if !self.due.is_late(now) => {
                let wanted = self.answers.data(bytes);
                if !self.answers.is_in_line() {
                    self.due.end();
                } else if bytes.contains(&b'\n') {
                    // Another line than the one that was in progress.
                    self.due.end();
                    self.due.begin(now);
                } else {
                    self.due.begin(now);
                }
                if wanted { Next::Continue } else { Next::Finish }
            }
            // The beginning of a late line is reported.
            Event::Bytes(_)
            | Event::EndOfStream
            | Event::Idle
            | Event::Shutdown
            | Event::Lost(_) => {
                self.answers.end();
                Next::Finish
            }
            Event::Timer | Event::Spliced(_) | Event::Sent(_) => Next::Continue,
        }
    }
}
