//! `POST /echo`: the content of the request is the content of the response. At most the content of
//! one read is buffered.

use std::time::{Duration, Instant};

use anyport_net::copy::Interest;
use anyport_proto::http1::{Framing, media};
use http::{StatusCode, header};

use crate::session::http::answer::{Answer, Head, Length};
use crate::session::http::handler::{Event, Handler, Next, Opened, Request};
use crate::session::idle_reason;

struct Echo {
    /// Not begun: a refusal can still be sent.
    head: Option<Head>,
    begun: bool,
    idle: Duration,
}

pub(super) fn open(request: &Request<'_>) -> Opened {
    Opened::handler(Echo::new(request))
}

impl Echo {
    fn new(request: &Request<'_>) -> Self {
        let length = match request.framing {
            Framing::None => Length::Known(0),
            Framing::Length(length) => Length::Known(length),
            Framing::Chunked => Length::Unknown,
        };
        let answer = Answer::head(StatusCode::OK, length);
        let head = answer.with(header::CONTENT_TYPE, media::UNKNOWN).head;
        // On one stream of many nothing is lost with a response that was begun.
        let begun = request.asked.is_multiplexed();
        Self { head: Some(head), begun, idle: request.context.config.timeouts.idle }
    }

    fn fail(&self, status: StatusCode, reason: &str) -> Next {
        match self.head {
            Some(_) => Next::Respond(Answer::text(status, format!("{reason}\n"))),
            None => Next::Abort(reason.to_owned()),
        }
    }
}

impl Handler for Echo {
    fn interest(&self) -> Interest {
        Interest::input(self.idle)
    }

    fn head(&mut self) -> Option<Head> {
        self.head.take_if(|_| self.begun)
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Content { piece, .. } => {
                self.begun |= !piece.is_empty();
                out.extend_from_slice(piece);
            }
            Event::End => {
                self.begun = true;
                return Next::End;
            }
            Event::Idle => return self.fail(StatusCode::REQUEST_TIMEOUT, &idle_reason(self.idle)),
            Event::Incomplete(reason) => return self.fail(StatusCode::BAD_REQUEST, reason),
            Event::Spliced(_) | Event::Sent(_) | Event::Shutdown | Event::Lost(_) => {}
        }
        Next::Continue
    }
}
