//! A room as server-sent events (WHATWG HTML §9.2), for EventSource and curl (docs/rooms.md). Input
//! is ignored, and its end ends the stream.

use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Read, Session};
use anyport_proto::http1::plain_response;
use anyport_proto::rooms::Join;
use anyport_proto::transfer::refusal::Refusal;
use http::StatusCode;

use super::http::HEARTBEAT;
use super::{Context, Next, ServerSession, Successor, stopping};
use crate::service::rooms::{Carrier, Entry, Form, Member, Rooms, Subscription};

pub(crate) struct Events {
    context: Context,
    join: Join,
    /// The encoded head of the response.
    head: Vec<u8>,
    /// Keeps the room's count of members.
    member: Option<Member>,
}

impl Events {
    pub(super) const fn new(context: Context, join: Join, head: Vec<u8>) -> Self {
        Self { context, join, head, member: None }
    }

    fn refuse(&self, refusal: &Refusal, replies: &mut Vec<u8>) {
        self.context.refused("http", &refusal.message);
        let line = format!("{}\n", refusal.message);
        let retry = [("Retry-After", "10")];
        let status = StatusCode::SERVICE_UNAVAILABLE;
        replies.extend(plain_response(status, &retry, &line, true));
    }

    /// Handles a shutdown. A client that has not joined yet gets a refusal.
    fn stop(&self, replies: &mut Vec<u8>) {
        if self.member.is_none() {
            self.refuse(&stopping(), replies);
        }
    }
}

impl ServerSession for Events {
    fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        replies: &mut Vec<u8>,
    ) -> (Option<Subscription>, Next) {
        let form = Form::new(Carrier::Event, self.join.json);
        let head = std::mem::take(&mut self.head);
        let head = |_: Option<&_>, out: &mut Vec<u8>| out.extend_from_slice(&head);
        let entered = self.context.participant().and_then(|participant| {
            rooms.enter(participant, &self.join, form, shard, replies, head)
        });
        match entered {
            Ok(Entry { member, subscription }) => {
                self.member = Some(member);
                (Some(subscription), Next::Continue)
            }
            Err(refusal) => {
                self.refuse(&refusal, replies);
                (None, Next::Finish)
            }
        }
    }
}

impl Session for Events {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        // Often enough that no proxy considers the connection dead.
        let idle = self.context.config.timeouts.idle / 2;
        let (read, place) = (Read::WhileProducing, Placement::Reactor);
        Interest { read, place, ..Interest::input(idle) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::EndOfStream => return Next::Finish,
            // A comment, which the client ignores and TCP must deliver.
            Event::Idle => out.extend_from_slice(HEARTBEAT),
            Event::Shutdown => {
                self.stop(out);
                return Next::Finish;
            }
            Event::Bytes(_)
            | Event::Spliced(_)
            | Event::Sent(_)
            | Event::Timer
            | Event::Lost(_) => {}
        }
        Next::Continue
    }
}
