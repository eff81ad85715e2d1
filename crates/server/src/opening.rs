//! What happens on a connection before its session: its protocol is found, or a service that speaks
//! first does so.
//!
//! ```text
//!   any        first bytes ──► protocol ──► TLS ──► first bytes ──► protocol    once, never twice
//!   echo       ────────────────────────────────────────────────────► session
//!   greet      a line out ──► first bytes ────────────────► session    also after the deadline
//!   time       first bytes ────────────────────────────────────────► session
//!   rfc868, daytime   the time out ──► lingering close
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::blocking;
use anyport_proto::detect::{Allowed, Decision, Verdict};
use tokio::net::TcpStream;

use crate::config::{ListenerConfig, Service};
use crate::detect::{self, Beginning, First};
use crate::events::{SilentEnd, Tally};
use crate::guard::Guard;
use crate::service::time;
use crate::session::greet::Greet;
use crate::session::raw_echo::RawEcho;
use crate::session::time_http::TimeHttp;
use crate::session::{AnySession, Context, Successor};
use crate::tls::{self, Wire};
use crate::undecided::Place;

/// A connection whose protocol is known.
pub(crate) struct Opened {
    pub(crate) wire: Wire,
    /// Input that was read to find it.
    pub(crate) first: Option<First>,
    pub(crate) protocol: Successor,
}

/// Opens a connection. Returns `None` if it has ended; that has been logged and counted.
///
/// Cancel safe: no; input that was read is lost with the future, so only a connection that is given
/// up may drop it.
pub(crate) async fn open(
    stream: TcpStream,
    place: Option<Place>,
    context: &mut Context,
    guard: &mut Guard,
) -> Option<Opened> {
    match (place, context.listener.service) {
        (Some(place), Service::Any) => classify(stream, place, context, guard).await,
        (place, service) => {
            Box::pin(serve_one(Wire::Plain(stream), place, service, context, guard)).await
        }
    }
}

/// Opens a connection whose protocol must be found.
async fn classify(
    stream: TcpStream,
    mut place: Place,
    context: &mut Context,
    guard: &mut Guard,
) -> Option<Opened> {
    let peer = context.peer;
    let started = Instant::now();
    let (wire, detected) = match detect(stream, context, &mut place).await {
        Ok((wire, Beginning::Decided(detected))) => (wire, detected),
        Ok((_, Beginning::Silent(end))) => {
            context.events.counters.silent(end);
            let elapsed = started.elapsed();
            tracing::debug!(%peer, end = end.as_str(), ?elapsed, "closed without sending data");
            return None;
        }
        Ok((wire, Beginning::ToGreet)) => {
            let elapsed = started.elapsed();
            tracing::debug!(%peer, ?elapsed, "no data within the detection timeout: \
                sending the greeting");
            let place = Some(place);
            return Box::pin(serve_one(wire, place, Service::Greet, context, guard)).await;
        }
        Err(error) => {
            context
                .record
                .broken(&format!("connection lost before the protocol was detected: {error}"));
            tracing::debug!(%peer, %error, "connection lost before the protocol was detected");
            return None;
        }
    };
    drop(place);
    context.events.counters.decided(&detected.decision);
    let Decision { verdict: protocol, reason } = detected.decision;
    guard.speaks(protocol.as_str());
    let (prefix, encryption) = (detected.first.prefix.len(), tls::encryption(&wire));
    let elapsed = started.elapsed();
    tracing::debug!(%peer, %protocol, %reason, prefix, ?encryption, ?elapsed, "detected");
    context.record.decided(protocol.as_str(), reason.to_string());
    context.record.is_under(encryption);
    // Beginning a session may ask the file system how much is free.
    let protocol = blocking::run(|| Successor::of(protocol, context.clone())).await;
    Some(Opened { wire, first: Some(detected.first), protocol })
}

/// Finds the protocol of a connection, and within TLS once more.
///
/// Cancel safe: no; only a connection that is given up may drop it.
///
/// # Errors
/// What reading or writing the socket returned. A failed TLS handshake has been reported.
async fn detect(
    mut stream: TcpStream,
    context: &mut Context,
    place: &mut Place,
) -> io::Result<(Wire, Beginning)> {
    let (config, listener) = (context.config.clone(), context.listener.clone());
    let outside = listener.allowed;
    let outer = detect::read(&mut stream, &config, &listener, outside, place).await?;
    let (first, server) = match (outer, context.tls()) {
        (Beginning::Decided(detected), Some(server))
            if detected.decision.verdict == Verdict::Tls =>
        {
            (detected.first, server)
        }
        (outer, _) => return Ok((Wire::Plain(stream), outer)),
    };
    let shaken = tls::accept(stream, server, first, config.timeouts.handshake, place).await;
    context.events.counters.shaken(shaken.is_ok());
    let mut wire = match shaken {
        Ok(wire) => wire,
        Err(error) => {
            context.refused("tls", format!("TLS handshake failed: {error}"));
            return Err(error);
        }
    };
    context.is_encrypted = true;
    place.falls_silent();
    // Never TLS in TLS. Where nothing but TLS is taken, anything may be in it.
    let inside =
        Allowed { tls: false, ..if outside.is_only_tls() { Allowed::ALL } else { outside } };
    if outside.is_only_tls() {
        // The sessions ask the listener again.
        let listener = ListenerConfig { allowed: inside, ..(*listener).clone() };
        context.listener = Arc::new(listener);
    }
    let inner = detect::read(&mut wire, &config, &listener, inside, place).await;
    inner.map(|inner| (wire, inner))
}

/// Opens a connection of a service that needs no detection.
async fn serve_one(
    mut wire: Wire,
    place: Option<Place>,
    service: Service,
    context: &Context,
    guard: &mut Guard,
) -> Option<Opened> {
    let peer = context.peer;
    context.events.counters.served(service);
    guard.speaks(service.as_str());
    context.record.speaks(service.as_str());
    if service == Service::Echo {
        let echo = RawEcho::new(context.config.timeouts.idle);
        let protocol = Successor::first(AnySession::Echo(Box::new(echo)));
        return Some(Opened { wire, first: None, protocol });
    }
    let first = match begin(&mut wire, place, service, context).await {
        Ok(Begun::Spoke(first)) => first,
        Ok(Begun::Told) => {
            tls::close(wire).await;
            return None;
        }
        Ok(Begun::Silent(end)) => {
            context.events.counters.silent(end);
            let service = service.as_str();
            tracing::debug!(%peer, service, end = end.as_str(), "closed without sending data");
            tls::close(wire).await;
            return None;
        }
        Err(error) => {
            let service = service.as_str();
            tracing::debug!(%peer, service, %error, "connection lost before the first byte");
            return None;
        }
    };
    let session = match service {
        Service::Time => AnySession::Time(Box::new(TimeHttp::new(context.clone()))),
        _ => AnySession::Greet(Box::new(Greet::new(context))),
    };
    Some(Opened { wire, first: Some(first), protocol: Successor::first(session) })
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
/// Cancel safe: no; what was read is lost with the future, so only a connection that is given up
/// may drop it.
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
