//! Gives back what comes, byte by byte (RFC 862): no detection, no limit on the whole, nothing kept.
//!
//! The loops write the replies to one read before the next, so a peer that does not read is not read either: it holds
//! one buffer's worth, and is given up when it has taken nothing for the idle time. One that says nothing may stay: the
//! kernel finds out whether it is still there (`net::keepalive`).

use std::time::Duration;

use anyport_net::copy::{Flow, Input, Interest, Placement};

pub(crate) struct RawEcho {
    idle: Duration,
}

impl RawEcho {
    pub(crate) const fn new(idle: Duration) -> Self {
        Self { idle }
    }

    pub(super) fn interest(&self) -> Interest {
        Interest { place: Placement::Reactor, ..Interest::input(self.idle) }
    }

    pub(super) fn step(input: &Input<'_>, replies: &mut Vec<u8>) -> Flow {
        match input {
            Input::Bytes(bytes, _) => {
                replies.extend_from_slice(bytes);
                Flow::Continue
            }
            Input::Silence | Input::Stopping | Input::Timer(_) | Input::Unseen(..) => {
                Flow::Continue
            }
            // Our FIN follows what was given back.
            Input::EndOfStream => Flow::Finish,
        }
    }
}
