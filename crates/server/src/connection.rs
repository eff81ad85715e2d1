//! The life of one connection. Only this file knows the order of the stages:
//!
//! ```text
//!   accept ──► opening ──────────► driving ────────────────► lingering close
//!              detection, TLS,     a session: its first input, then
//!              or a service that   the runtime, a bulk thread or a reactor
//!              sends first           └──► the WebSocket library, a live connection, HTTP/2:
//!                                         own the stream
//! ```

use std::sync::Arc;
use std::time::Instant;

use anyport_net::keepalive;
use anyport_net::prefixed::Prefixed;
use anyport_net::shared::Shared;
use anyport_tls::ServerMachine;
use tokio::net::TcpStream;

use crate::detect::First;
use crate::driving::{self, Drivers};
use crate::guard::Guard;
use crate::layers::{Connection, begin_trace};
use crate::opening::{self, Opened};
use crate::session::{Context, Detached, Successor, http2, live};
use crate::shutdown::Stop;
use crate::tls::{self, SharedWire, WireParts};
use crate::traces::Tapped;
use crate::unclassified::Registration;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    registration: Option<Registration>,
    mut context: Context,
    drivers: Drivers,
    mut guard: Guard,
) {
    // A draining server does not wait for a client that has not sent anything.
    let opened = tokio::select! {
        biased;
        () = drivers.stop.draining.cancelled() => return,
        opened = opening::open(stream, registration, &mut context, &mut guard) => opened,
    };
    let Some(Opened { wire, mut first, protocol }) = opened else { return };
    let WireParts { stream, machine, plain } = WireParts::of(wire);
    if let Some(first) = &mut first {
        first.prefix.extend_from_slice(&plain);
    }
    let stream = Arc::new(stream);
    context.link.lead_to(&stream);
    if let Some(traces) = &drivers.traces {
        begin_trace(traces, &stream, machine.as_ref(), &context);
    }
    // Boxed, because serving needs far more memory than waiting for the first bytes, which most
    // connections of a flood do.
    match protocol {
        Successor::Session { session, .. } => {
            let connection = Connection::new(session, machine, &context, guard);
            let driven = driving::run(stream, connection, first, &context, &drivers);
            let Some((stream, connection, detached)) = Box::pin(driven).await else { return };
            let (machine, _guard) = connection.into_parts();
            let wire = wire_of(&stream, machine, &context);
            // An upgrade carries the input that was read ahead.
            Box::pin(detach(stream, wire, Vec::new(), detached, context, &drivers.stop)).await;
        }
        Successor::Detached(detached) => {
            let (prefix, at) = match first {
                Some(First { prefix, first_byte, .. }) => (prefix, first_byte),
                None => (Vec::new(), Instant::now()),
            };
            if let Some(traced) = context.record.traced() {
                traced.received(at, &prefix);
            }
            let wire = wire_of(&stream, machine, &context);
            Box::pin(detach(stream, wire, prefix, detached, context, &drivers.stop)).await;
            drop(guard);
        }
    }
}

/// Returns the stream for a library, with its trace.
fn wire_of(
    stream: &Arc<TcpStream>,
    machine: Option<ServerMachine>,
    context: &Context,
) -> SharedWire {
    let wire = tls::wire_of(Shared(stream.clone()), machine);
    Tapped::new(wire, context.record.traced().cloned())
}

/// Lets a library own the stream until the connection has ended.
async fn detach(
    stream: Arc<TcpStream>,
    wire: SharedWire,
    prefix: Vec<u8>,
    detached: Detached,
    context: Context,
    stop: &Stop,
) {
    match detached {
        #[cfg(feature = "library-engine")]
        Detached::Library(upgrade) => {
            let peer = context.peer;
            drop(stream);
            tokio::select! {
                biased;
                // The transfer that is dropped with it reports that it was interrupted.
                () = stop.aborted.cancelled() => tracing::debug!(%peer, "aborted"),
                () = crate::session::library::serve(wire, *upgrade) => {}
            }
        }
        Detached::Live(opening) => {
            drop(stream);
            live::serve(wire, *opening, stop).await;
        }
        Detached::Http2 => {
            // A client may be silent for long while it waits for other clients; keepalive detects
            // one that has left.
            if let Err(error) = keepalive::watch(&stream, context.config.timeouts.idle) {
                tracing::warn!(%error, "cannot set TCP keepalive");
            }
            http2::serve(Prefixed::new([prefix], wire), context, stop).await;
            if !stop.is_aborted() {
                // So that the peer can read the final response.
                driving::close(stream).await;
            }
        }
    }
}
