//! `/livez`: whether the process responds; `/readyz`, `/healthz`: whether clients should come here.
//!
//! An orchestrator restarts what is not live, and sends no clients to what is not ready. So
//! `/livez` depends on nothing that a restart does not repair: not on the disk, not on a stop.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::copy::{Interest, Placement, Wait};
use http::{StatusCode, header};

use crate::health::Probed;
use crate::session::http::access::announce_tokens;
use crate::session::http::answer::Answer;
use crate::session::http::handler::{Event, Handler, Next, Opened, Produced, Request};
use crate::session::{Context, stopping};

/// Reports whether files can be stored and found, and no stop was requested.
pub(super) fn ready(request: &Request<'_>) -> Opened {
    let Request { context, asked, .. } = request;
    let check = match context.stage.is_stopping() {
        true => Err(stopping()),
        false => context.files.check_directory(),
    };
    Opened::Answer(match check {
        Ok(()) => healthy(context),
        Err(refusal) => Answer::refusal(refusal, asked.form)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with(header::CACHE_CONTROL, "no-store"),
    })
}

/// Reports whether each accept loop and each reactor thread responds.
pub(super) fn live(request: &Request<'_>) -> Opened {
    let context = request.context;
    // The accept loops of a draining server have ended.
    if request.asked.stopping {
        return Opened::Answer(healthy(context));
    }
    let probed = context.health.clone().probe();
    Opened::handler(Live { probed, context: context.clone() })
}

fn healthy(context: &Context) -> Answer {
    announce_tokens(context, Answer::fresh("ok\n"))
}

/// A request that waits for the answers of all loops.
struct Live {
    probed: Arc<Probed>,
    context: Context,
}

impl Live {
    fn answer(&self) -> Answer {
        match self.probed.unresponsive() {
            // The accept loops may have ended meanwhile.
            Some(unresponsive) if !self.context.stage.is_draining() => {
                let text = format!("{unresponsive} does not respond\n");
                Answer::text(StatusCode::SERVICE_UNAVAILABLE, text)
                    .with(header::CACHE_CONTROL, "no-store")
            }
            _ => healthy(&self.context),
        }
    }
}

impl Handler for Live {
    fn interest(&self) -> Interest {
        let (gate, place) = (self.probed.gate.clone(), Placement::Runtime);
        let produce = gate.is_open();
        let wait = (!produce).then_some(Wait { gate, until: None, gone_below: u64::MAX });
        Interest { produce, wait, place, ..Interest::input(self.context.config.timeouts.idle) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::Shutdown => Next::Respond(self.answer()),
            Event::Incomplete(reason) => Next::Abort(reason.to_owned()),
            _ => Next::Continue,
        }
    }

    fn produce(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced> {
        Ok(Produced::Next(Next::Respond(self.answer())))
    }
}
