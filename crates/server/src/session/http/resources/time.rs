//! `/time`: the local time.

use crate::service::time::now_line;
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};

pub(super) fn open(request: &Request<'_>) -> Opened {
    tracing::info!(peer = %request.context.peer, "time sent over HTTP");
    Opened::Answer(Answer::fresh(format!("{}\n", now_line())))
}
