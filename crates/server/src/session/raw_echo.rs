//! The echo service over raw TCP (RFC 862): no detection, no size limit, no state.
//!
//! The drivers write the replies to one read before the next, so a peer that does not read is not
//! read from: it costs one buffer, and is disconnected after the idle timeout without progress. An
//! idle peer may stay: keepalive detects one that is gone (`net::keepalive`).

use std::time::{Duration, Instant};

use anyport_net::copy::{Event, Interest, Placement, Session};

use super::{Next, ServerSession, Successor};

pub(crate) struct RawEcho {
    idle: Duration,
}

impl RawEcho {
    pub(crate) const fn new(idle: Duration) -> Self {
        Self { idle }
    }
}

impl ServerSession for RawEcho {}

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
