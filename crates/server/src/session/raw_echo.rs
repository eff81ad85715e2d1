//! Gives back what comes, byte by byte (RFC 862): no detection, no limit on the whole, nothing
//! kept.
//!
//! The loops write the replies to one read before the next, so a peer that does not read is not
//! read either: it holds one buffer's worth, and is given up when it has taken nothing for the idle
//! time. One that says nothing may stay: the kernel finds out whether it is still there
//! (`net::keepalive`).

use std::time::{Duration, Instant};

use anyport_net::copy::{Event, Interest, Placement, Session};

use super::{Next, Successor};

pub(crate) struct RawEcho {
    idle: Duration,
}

impl RawEcho {
    pub(crate) const fn new(idle: Duration) -> Self {
        Self { idle }
    }
}

impl Session for RawEcho {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        Interest { place: Placement::Reactor, ..Interest::input(self.idle) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(bytes) => out.extend_from_slice(bytes),
            // FIN follows the echoed bytes.
            Event::EndOfStream | Event::Shutdown => return Next::Finish,
            Event::Idle | Event::Timer | Event::Spliced(_) | Event::Sent(_) | Event::Lost(_) => {}
        }
        Next::Continue
    }
}
