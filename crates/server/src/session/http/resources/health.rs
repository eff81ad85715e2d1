//! `/healthz`: whether files can be stored and found.

use http::{StatusCode, header};

use crate::session::http::access::announce_tokens;
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};
use crate::session::stopping;

pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { context, asked, .. } = request;
    if asked.stopping {
        return Opened::Answer(Answer::refusal(stopping(), asked.form));
    }
    Opened::Answer(match context.files.check_directory() {
        Ok(()) => announce_tokens(context, Answer::fresh("ok\n")),
        Err(refusal) => Answer::refusal(refusal, asked.form)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with(header::CACHE_CONTROL, "no-store"),
    })
}
