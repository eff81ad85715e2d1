//! `/metrics`, in the text format of Prometheus.

use http::{StatusCode, header};

use crate::events::metrics::{self, Gauges};
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};

pub(super) fn open(request: &Request<'_>) -> Opened {
    let context = request.context;
    let (rooms, members, messages) = context.rooms.counts();
    let gauges = Gauges { rooms, members, messages, pipes: context.pipes.count() };
    let page = metrics::render(&context.events.counters, &gauges);
    let answer = Answer::content(StatusCode::OK, metrics::MEDIA_TYPE, page);
    Opened::Answer(answer.with(header::CACHE_CONTROL, "no-store"))
}
