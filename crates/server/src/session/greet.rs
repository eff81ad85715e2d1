//! Takes what a peer answers to the greeting, which has gone out before; answers nothing more.

use std::time::Duration;

use anyport_net::copy::{Flow, Input, Interest};

use super::Context;
use super::due::Due;
use crate::service::greet::Answers;

pub(crate) struct Greet {
    answers: Answers,
    idle: Duration,
    /// When a line that has begun must be whole.
    due: Due,
}

impl Greet {
    pub(crate) fn new(context: &Context) -> Self {
        let answers = Answers::new(context.files.clone(), context.peer);
        let timeouts = &context.config.timeouts;
        Self { answers, idle: timeouts.idle, due: Due::new(timeouts.message) }
    }

    pub(super) fn interest(&self) -> Interest {
        Interest::input(self.due.patience(self.idle))
    }

    pub(super) fn step(&mut self, input: Input<'_>) -> Flow {
        match input {
            Input::Bytes(bytes, at) if !self.due.is_late(at) => {
                let wanted = self.answers.data(bytes);
                if !self.answers.is_in_line() {
                    self.due.end();
                } else if bytes.contains(&b'\n') {
                    // Another line than the one that was under way.
                    self.due.end();
                    self.due.begin(at);
                } else {
                    self.due.begin(at);
                }
                if wanted { Flow::Continue } else { Flow::Finish }
            }
            Input::Stopping | Input::Timer(_) | Input::Unseen(..) => Flow::Continue,
            // What trickles is told as far as it came.
            Input::Bytes(..) | Input::EndOfStream | Input::Silence => {
                self.end();
                Flow::Finish
            }
        }
    }

    pub(super) fn end(&mut self) {
        self.answers.end();
    }
}
