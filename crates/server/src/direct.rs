//! A connection of a listener that serves one thing: nothing is found out, and some services speak first.
//!
//! ```text
//!   echo                  ──────────────────────────────────────────► session
//!   greet      a line out ──► a place among the silent ──► first bytes ──► session
//!   time                      a place among the silent ──► first bytes ──► session
//!   rfc868, daytime           the time out ──────────────────────────► lingering close
//! ```

use std::io;

use crate::config::Service;
use crate::connection::{self, Stages};
use crate::conversations::Guard;
use crate::counters::SilentEnd;
use crate::detect::{self, First};
use crate::record::Tally;
use crate::service::time;
use crate::session::greet::Greet;
use crate::session::raw_echo::RawEcho;
use crate::session::time_http::TimeHttp;
use crate::session::{AnySession, Context};
use crate::tls::{self, Wire};
use crate::undecided::Place;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    mut wire: Wire,
    place: Option<Place>,
    service: Service,
    context: Context,
    stages: Stages,
    mut guard: Guard,
) {
    let peer = context.peer;
    context.counters.served(service);
    guard.speaks(service.as_str());
    context.record.speaks(service.as_str());
    if service == Service::Echo {
        let echo = AnySession::Echo(Box::new(RawEcho::new(context.config.timeouts.idle)));
        let conversed = connection::converse_to_end(wire, echo, None, context, stages, guard);
        return Box::pin(conversed).await;
    }
    // While stopping, a connection that has said nothing is not waited for.
    let begun = tokio::select! {
        biased;
        () = stages.stop.draining.cancelled() => return,
        begun = begin(&mut wire, place, service, &context) => begun,
    };
    let first = match begun {
        Ok(Begun::Spoke(first)) => first,
        Ok(Begun::Told) => return connection::close(wire).await,
        Ok(Begun::Silent(end)) => {
            context.counters.silent(end);
            tracing::debug!(%peer, service = service.as_str(), end = end.as_str(), "closed without sending data");
            return connection::close(wire).await;
        }
        Err(error) => {
            tracing::debug!(%peer, service = service.as_str(), %error, "connection lost before the first byte");
            return;
        }
    };
    let session = match service {
        Service::Time => AnySession::Time(Box::new(TimeHttp::new(context.clone()))),
        _ => AnySession::Greet(Box::new(Greet::new(&context))),
    };
    let conversed = connection::converse_to_end(wire, session, Some(first), context, stages, guard);
    Box::pin(conversed).await;
}

/// How far a connection came before its session.
enum Begun {
    /// The peer has said something.
    Spoke(First),
    /// All has been said, by us.
    Told,
    /// The peer said nothing.
    Silent(SilentEnd),
}

/// Says what the service says first, and waits for what the peer says to it.
///
/// Cancel safe: no; what was read is lost with the future, so only a connection that is given up may drop it.
async fn begin(
    wire: &mut Wire,
    place: Option<Place>,
    service: Service,
    context: &Context,
) -> io::Result<Begun> {
    let idle = context.config.timeouts.idle;
    match service {
        Service::Rfc868 => {
            return say(wire, &time::rfc868(), context).await.map(|()| Begun::Told);
        }
        Service::Daytime => {
            return say(wire, time::daytime().as_bytes(), context).await.map(|()| Begun::Told);
        }
        Service::Greet => {
            say(wire, format!("{}\n", context.config.greeting).as_bytes(), context).await?;
        }
        Service::Any | Service::Echo | Service::Time => {}
    }
    let Some(mut place) = place else { return Ok(Begun::Told) };
    match detect::first_bytes(wire, &mut place, idle).await? {
        Ok(first) => Ok(Begun::Spoke(first)),
        Err(end) => Ok(Begun::Silent(end)),
    }
}

/// Writes what a service sends before it has read anything, and counts it.
async fn say(wire: &mut Wire, bytes: &[u8], context: &Context) -> io::Result<()> {
    tls::write(wire, bytes, context.config.timeouts.idle).await?;
    Tally::new(context.record.clone()).sent(bytes.len() as u64);
    Ok(())
}
