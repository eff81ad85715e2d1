//! `/metrics`, in the text format of Prometheus, for clients with the right `admin`.

use http::{StatusCode, header};

use crate::access::Operation;
use crate::events::metrics::{self, Gauges};
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};

pub(super) fn open(request: &Request<'_>) -> Opened {
    let context = request.context;
    if let Err(refusal) = context.grant.check(Operation::Metrics, None) {
        return Opened::Answer(request.refuse(StatusCode::FORBIDDEN, refusal));
    }
    let (rooms, members, messages) = context.rooms.counts();
    let gauges = Gauges { rooms, members, messages, pipes: context.pipes.count() };
    let page = metrics::render(&context.events.counters, &gauges);
    let answer = Answer::content(StatusCode::OK, metrics::MEDIA_TYPE, page);
    Opened::Answer(answer.with(header::CACHE_CONTROL, "no-store"))
}
