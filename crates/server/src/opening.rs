//! Opening a connection: detects its protocol, or sends first for a service that does so.
//!
//! ```text
//!   all        the PROXY protocol header, if a proxy must send one (`proxied.rs`)
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
use anyport_proto::detect::{Allowed, Decision, DetectedProtocol};
use tokio::net::TcpStream;

use crate::config::{ListenerConfig, Service};
use crate::detect::{self, Beginning, First};
use crate::events::{SilentEnd, Tally};
use crate::guard::Guard;
use crate::proxied;
use crate::service::time;
use crate::session::greet::Greet;
use crate::session::raw_echo::RawEcho;
use crate::session::time_http::TimeHttp;
use crate::session::{AnySession, Context, Successor};
use crate::tls::{self, Wire};
use crate::unclassified::Registration;

/// A connection whose protocol is known.
pub(crate) struct Opened {
    pub(crate) wire: Wire,
    /// Input that was read to detect it.
    pub(crate) first: Option<First>,
    pub(crate) protocol: Successor,
}

/// Opens a connection. Returns `None` if it has ended; that has been logged and counted.
///
/// Cancel safe: no; input that was read is lost with the future.
pub(crate) async fn open(
    stream: TcpStream,
    registration: Option<Registration>,
    context: &mut Context,
    guard: &mut Guard,
) -> Option<Opened> {
    let registration = match registration {
        Some(registration) if context.config.proxy_protocol_from.contains(&context.peer) => {
            let begun = Box::pin(proxied::begin(&stream, registration, context, guard)).await?;
            Some(begun).filter(|_| context.listener.service.counts_idle_as_unclassified())
        }
        registration => registration,
    };
    match (registration, context.listener.service) {
        (Some(registration), Service::Any) => classify(stream, registration, context, guard).await,
        (registration, service) => {
            Box::pin(serve_one(Wire::Plain(stream), registration, service, context, guard)).await
        }
    }
}

/// Opens a connection whose protocol must be detected.
async fn classify(
    stream: TcpStream,
    mut registration: Registration,
    context: &mut Context,
    guard: &mut Guard,
) -> Option<Opened> {
    let peer = context.peer;
    let started = Instant::now();
    let (wire, detected) = match detect(stream, context, &mut registration).await {
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
            let registration = Some(registration);
            return Box::pin(serve_one(wire, registration, Service::Greet, context, guard)).await;
        }
        Err(error) => {
            context
                .record
                .broken(&format!("connection lost before the protocol was detected: {error}"));
            tracing::debug!(%peer, %error, "connection lost before the protocol was detected");
            return None;
        }
    };
    drop(registration);
    context.events.counters.decided(&detected.decision);
    let Decision { protocol, reason } = detected.decision;
    guard.speaks(protocol.as_str());
    let (prefix, encryption) = (detected.first.prefix.len(), tls::encryption(&wire));
    let elapsed = started.elapsed();
    tracing::debug!(%peer, %protocol, %reason, prefix, ?encryption, ?elapsed, "detected");
    context.record.decided(protocol.as_str(), reason.to_string());
    context.record.is_under(encryption);
    // Creating a session may ask the file system for its free space.
    let protocol = blocking::run(|| Successor::of(protocol, context.clone())).await;
    Some(Opened { wire, first: Some(detected.first), protocol })
}

/// Detects the protocol of a connection, within TLS a second time.
///
/// Cancel safe: no; input that was read is lost with the future.
///
/// # Errors
/// The error of reading or writing the socket. A failed TLS handshake has been reported.
async fn detect(
    mut stream: TcpStream,
    context: &mut Context,
    registration: &mut Registration,
) -> io::Result<(Wire, Beginning)> {
    let (config, listener) = (context.config.clone(), context.listener.clone());
    let outside = listener.allowed;
    let outer = detect::read(&mut stream, &config, &listener, outside, registration).await?;
    let (first, server) = match (outer, context.tls()) {
        (Beginning::Decided(detected), Some(server))
            if detected.decision.protocol == DetectedProtocol::Tls =>
        {
            (detected.first, server)
        }
        (outer, _) => return Ok((Wire::Plain(stream), outer)),
    };
    let accepted =
        tls::accept(stream, server, first, config.timeouts.handshake, registration).await;
    context.events.counters.handshake_ended(accepted.is_ok());
    let mut wire = match accepted {
        Ok(wire) => wire,
        Err(error) => {
            context.refused("tls", format!("TLS handshake failed: {error}"));
            return Err(error);
        }
    };
    context.is_encrypted = true;
    context.record.encrypted();
    registration.mark_silent();
    // Never TLS in TLS. On a listener that accepts only TLS, any protocol may be inside.
    let inside =
        Allowed { tls: false, ..if outside.is_only_tls() { Allowed::ALL } else { outside } };
    if outside.is_only_tls() {
        // The sessions check the listener again.
        let listener = ListenerConfig { allowed: inside, ..(*listener).clone() };
        context.listener = Arc::new(listener);
    }
    let inner = detect::read(&mut wire, &config, &listener, inside, registration).await;
    inner.map(|inner| (wire, inner))
}

/// Opens a connection of a service that needs no detection.
async fn serve_one(
    mut wire: Wire,
    registration: Option<Registration>,
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
        let protocol = Successor::first(AnySession::of(echo));
        return Some(Opened { wire, first: None, protocol });
    }
    let first = match begin(&mut wire, registration, service, context).await {
        Ok(Begun::Input(first)) => first,
        Ok(Begun::Sent) => {
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
        Service::Time => AnySession::of(TimeHttp::new(context.clone())),
        _ => AnySession::of(Greet::new(context)),
    };
    Some(Opened { wire, first: Some(first), protocol: Successor::first(session) })
}

/// The state of a connection before its session.
enum Begun {
    /// The peer sent input.
    Input(First),
    /// The service sent everything, and waits for no input.
    Sent,
    /// The peer sent nothing.
    Silent(SilentEnd),
}

/// Sends what the service sends first, and waits for the peer's input.
///
/// Cancel safe: no; input that was read is lost with the future.
async fn begin(
    wire: &mut Wire,
    registration: Option<Registration>,
    service: Service,
    context: &Context,
) -> io::Result<Begun> {
    let idle = context.config.timeouts.idle;
    match service {
        Service::Rfc868 => {
            return say(wire, &time::rfc868(), context).await.map(|()| Begun::Sent);
        }
        Service::Daytime => {
            return say(wire, time::daytime().as_bytes(), context).await.map(|()| Begun::Sent);
        }
        Service::Greet => {
            say(wire, format!("{}\n", context.config.greeting).as_bytes(), context).await?;
        }
        Service::Any | Service::Echo | Service::Time => {}
    }
    let Some(mut registration) = registration else { return Ok(Begun::Sent) };
    match detect::first_bytes(wire, &mut registration, idle).await? {
        Ok(first) => Ok(Begun::Input(first)),
        Err(end) => Ok(Begun::Silent(end)),
    }
}

/// Writes the first output of a service, and counts it.
async fn say(wire: &mut Wire, bytes: &[u8], context: &Context) -> io::Result<()> {
    tls::write(wire, bytes, context.config.timeouts.idle).await?;
    Tally::new(context.record.clone()).sent(bytes.len() as u64);
    Ok(())
}
