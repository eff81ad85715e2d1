//! The life of one connection. The only file that knows the order of the stages:
//!
//! ```text
//!   accept ──► detect ──► session ──► (library engine | a thread of its own) ──► lingering close
//!                │  ▲    │           └──► a reactor, for what waits more than it says
//!                │  │    └► http2: a task for each stream
//!                └─► tls ── once more, never twice
//!          └─► direct ──► session ──►  where the listener serves one thing, or detection ends in a greeting
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::blocking;
use anyport_net::copy::{Next, Pumped, pump_blocking, pump_cooperative, write};
use anyport_net::keepalive;
use anyport_net::linger;
use anyport_net::prefixed::Prefixed;
use anyport_net::shared::Shared;
use anyport_proto::detect::{Allowed, Decision, Verdict};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{ListenerConfig, Service};
use crate::conversations::{Conversations, Guard};
use crate::detect::{self, Beginning, First};
use crate::direct;
use crate::layers::{Connection, STOPPED};
use crate::session::{AnySession, Context, Upgrade, http2, library};
use crate::shutdown::Stop;
use crate::tls::{self, Wire, WireParts};
use crate::undecided::Place;

/// What a connection needs beside its session.
#[derive(Clone)]
pub(crate) struct Stages {
    /// One permit a bulk transfer on a thread of its own.
    pub(crate) lanes: Arc<Semaphore>,
    pub(crate) conversations: Conversations,
    pub(crate) stop: Stop,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    mut place: Place,
    mut context: Context,
    stages: Stages,
    mut guard: Guard,
) {
    let peer = context.peer;
    let started = Instant::now();
    // While stopping, a connection that has not said what it wants is not waited for.
    let begun = tokio::select! {
        biased;
        () = stages.stop.draining.cancelled() => return,
        begun = begin(stream, &mut context, &mut place) => begun,
    };
    let (wire, detected) = match begun {
        Ok((wire, Beginning::Decided(detected))) => (wire, detected),
        Ok((_, Beginning::Silent(end))) => {
            context.counters.silent(end);
            tracing::debug!(%peer, end = end.as_str(), elapsed = ?started.elapsed(), "closed without sending data");
            return;
        }
        Ok((wire, Beginning::ToGreet)) => {
            tracing::debug!(%peer, elapsed = ?started.elapsed(), "no data within the detection timeout: sending the greeting");
            let greet = Service::Greet;
            return Box::pin(direct::serve(wire, Some(place), greet, context, stages, guard)).await;
        }
        Err(error) => {
            context
                .record
                .broken(&format!("connection lost before the protocol was detected: {error}"));
            tracing::debug!(%peer, %error, "connection lost before the protocol was detected");
            return;
        }
    };
    drop(place);
    context.counters.decided(&detected.decision);
    let Decision { verdict: protocol, reason } = detected.decision;
    guard.speaks(protocol.as_str());
    let (prefix, encryption) = (detected.first.prefix.len(), tls::encryption(&wire));
    tracing::debug!(%peer, %protocol, %reason, prefix, ?encryption, elapsed = ?started.elapsed(), "detected");
    context.record.decided(protocol.as_str(), reason.to_string());
    context.record.is_under(encryption);
    // Beginning a session may ask the file system how much is free.
    // Boxed, as what a conversation needs is far more than what waits for one, and most of a crowd waits.
    match blocking::run(|| AnySession::new(protocol, context.clone())).await {
        Some(session) => {
            let first = Some(detected.first);
            Box::pin(converse_to_end(wire, session, first, context, stages, guard)).await;
        }
        None => Box::pin(streams(wire, detected.first, context, &stages.stop, guard)).await,
    }
}

/// Finds out what a connection speaks, and within TLS once more.
///
/// Cancel safe: no; only a connection that is given up may drop it.
///
/// # Errors
/// What reading or writing the socket said. What went wrong within TLS has been told.
async fn begin(
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
    let shaken = tls::accept(stream, server, first, context, place).await;
    context.counters.shaken(shaken.is_ok());
    let mut wire = match shaken {
        Ok(wire) => wire,
        Err(error) => {
            context.files.refused("tls", context.peer, format!("TLS handshake failed: {error}"));
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

/// A session from the bytes that came before it, if any did, to the end of its connection.
pub(crate) async fn converse_to_end(
    wire: Wire,
    session: AnySession,
    first: Option<First>,
    context: Context,
    stages: Stages,
    guard: Guard,
) {
    let WireParts { stream, tls, plain } = WireParts::of(wire, &context.link);
    let first = first.map(|mut first| {
        first.prefix.extend_from_slice(&plain);
        first
    });
    let stream = Arc::new(stream);
    context.link.lead_to(&stream);
    let mut connection = Connection::new(session, tls, &context, guard);
    match converse(&stream, &mut connection, first, &context, &stages.stop).await {
        Ok(Pumped::Finished | Pumped::Small) => close_shared(stream).await,
        Ok(Pumped::Became(upgrade)) => {
            library(stream, connection, upgrade, context, &stages.stop).await;
        }
        Ok(Pumped::Bulk) => bulk(stream, connection, context, stages).await,
        Ok(Pumped::Conversation) => {
            let socket = alone(stream).and_then(TcpStream::into_std);
            stages.conversations.add(socket, connection);
        }
        Err(error) => blocking::run(|| connection.broken(&error)).await,
    }
}

/// The session among the tasks of the runtime, from the prefix on.
async fn converse(
    stream: &TcpStream,
    connection: &mut Connection,
    first: Option<First>,
    context: &Context,
    stop: &Stop,
) -> io::Result<Pumped<Upgrade>> {
    if let Some(first) = first {
        match hear(stream, connection, first, context).await? {
            Next::Continue => {}
            Next::Finish => return Ok(Pumped::Finished),
            Next::Become(upgrade) => return Ok(Pumped::Became(upgrade)),
        }
    }
    if connection.is_interactive() {
        return Ok(Pumped::Conversation);
    }
    let mut buffer = connection.buffer(SMALL_BUFFER.min(context.config.bulk_buffer));
    pump(stream, &mut buffer, connection, BULK_AFTER, stop).await
}

/// The first step, with what came before there was a session.
async fn hear(
    stream: &TcpStream,
    connection: &mut Connection,
    first: First,
    context: &Context,
) -> io::Result<Next<Upgrade>> {
    let First { mut prefix, first_byte, ended } = first;
    let mut replies = Vec::new();
    let begin = || connection.begin(&mut prefix, first_byte, ended, &mut replies);
    let next = blocking::run(begin).await;
    drop(prefix);
    if !replies.is_empty() {
        // What answers a prefix of a few KiB fits the socket's empty send buffer.
        write(stream, &replies, context.config.timeouts.idle).await?;
    }
    // A session that goes on after the end has something to send first; it is told again when that is done.
    Ok(next)
}

/// The cooperative loop, until the session finishes or the server gives up what still runs.
async fn pump(
    stream: &TcpStream,
    buffer: &mut [u8],
    connection: &mut Connection,
    bulk_after: u64,
    stop: &Stop,
) -> io::Result<Pumped<Upgrade>> {
    tokio::select! {
        biased;
        () = stop.aborted.cancelled() => Err(io::Error::other(STOPPED)),
        pumped = pump_cooperative(
            stream, buffer, connection, bulk_after, stop.draining.cancelled()
        ) => pumped,
    }
}

/// The rest of a bulk transfer: on a thread of its own while there is one, else among the tasks. Between two of them, where
/// a connection has more than one, the thread is somebody else's.
async fn bulk(
    mut stream: Arc<TcpStream>,
    mut connection: Connection,
    context: Context,
    stages: Stages,
) {
    loop {
        let (mut buffer, bulk_after) = match stages.lanes.clone().try_acquire_owned() {
            Ok(permit) => {
                let waiting = lane(stream, connection, &context, permit, &stages.stop).await;
                let Some(waiting) = waiting else { return };
                connection = waiting.connection;
                if matches!(waiting.pumped, Pumped::Conversation) {
                    return stages.conversations.add(waiting.socket, connection);
                }
                stream = match waiting.socket.and_then(TcpStream::from_std) {
                    Ok(stream) => Arc::new(stream),
                    Err(error) => return blocking::run(|| connection.broken(&error)).await,
                };
                context.link.lead_to(&stream);
                (connection.buffer(SMALL_BUFFER.min(context.config.bulk_buffer)), BULK_AFTER)
            }
            Err(_) => (connection.buffer(context.config.bulk_buffer), u64::MAX),
        };
        match pump(&stream, &mut buffer, &mut connection, bulk_after, &stages.stop).await {
            Ok(Pumped::Bulk) => {}
            Ok(Pumped::Conversation) => {
                let socket = alone(stream).and_then(TcpStream::into_std);
                return stages.conversations.add(socket, connection);
            }
            Ok(_) => return close_shared(stream).await,
            Err(error) => return blocking::run(|| connection.broken(&error)).await,
        }
    }
}

/// A connection that had a thread of its own, and waits.
struct Waiting {
    pumped: Pumped<Upgrade>,
    /// It does not block.
    socket: io::Result<std::net::TcpStream>,
    connection: Connection,
}

/// On a thread of its own until the connection has ended, or waits for something else.
async fn lane(
    stream: Arc<TcpStream>,
    mut connection: Connection,
    context: &Context,
    permit: OwnedSemaphorePermit,
    stop: &Stop,
) -> Option<Waiting> {
    let blocking = alone(stream).and_then(TcpStream::into_std).and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(Arc::new(stream))
    });
    let socket = match blocking {
        Ok(socket) => socket,
        Err(error) => {
            blocking::run(|| connection.broken(&error)).await;
            return None;
        }
    };
    context.link.lead_to(&socket);
    let (registered, bulk_buffer) = (stop.register(socket.clone()), context.config.bulk_buffer);
    let thread = stop.tasks.spawn_blocking(move || {
        let _permit = permit;
        let mut buffer = connection.buffer(bulk_buffer);
        match pump_blocking(&socket, &mut buffer, &mut connection) {
            Ok(Pumped::Finished) => linger::close_blocking(&socket, &mut buffer),
            Ok(pumped) => {
                drop(registered);
                let socket = Arc::into_inner(socket).ok_or_else(in_use).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                return Some(Waiting { pumped, socket, connection });
            }
            Err(error) => connection.broken(&error),
        }
        None
    });
    thread.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a transfer's thread panicked");
        None
    })
}

async fn library(
    stream: Arc<TcpStream>,
    connection: Connection,
    upgrade: Upgrade,
    context: Context,
    stop: &Stop,
) {
    let (tls, _guard) = connection.into_parts();
    let peer = context.peer;
    tokio::select! {
        biased;
        // The transfer that is dropped with it says that it was given up.
        () = stop.aborted.cancelled() => tracing::debug!(%peer, "aborted"),
        () = library::serve(tls::wire_of(Shared(stream), tls), upgrade, context) => {}
    }
}

/// Streams of HTTP/2, each a task of its own; until the last of them has ended.
async fn streams(wire: Wire, first: First, context: Context, stop: &Stop, _guard: Guard) {
    let WireParts { stream, tls, plain } = WireParts::of(wire, &context.link);
    // A client that waits for others may be silent for long, and one that is gone is not waited for.
    if let Err(error) = keepalive::watch(&stream, context.config.timeouts.idle) {
        tracing::warn!(%error, "cannot set TCP keepalive");
    }
    let stream = Arc::new(stream);
    context.link.lead_to(&stream);
    let wire = tls::wire_of(Shared(stream.clone()), tls);
    http2::serve(Prefixed::new([first.prefix, plain], wire), context, stop).await;
    if let Some(mut stream) = Arc::into_inner(stream)
        && !stop.is_aborted()
    {
        // So that the peer reads why it ended.
        linger::close(&mut stream).await;
    }
}

/// The stream of a connection, which only sessions' links share, and those do not keep it.
fn alone(stream: Arc<TcpStream>) -> io::Result<TcpStream> {
    Arc::into_inner(stream).ok_or_else(in_use)
}

fn in_use() -> io::Error {
    io::Error::other("internal error: the socket is still in use")
}

async fn close_shared(stream: Arc<TcpStream>) {
    if let Ok(stream) = alone(stream) {
        // Where there is TLS, close_notify is on its way.
        close(Wire::Plain(stream)).await;
    }
}

/// So that the peer reads our last words.
pub(crate) async fn close(mut wire: Wire) {
    linger::close(&mut wire).await;
}

/// Bytes that a transfer must have brought before it gets a thread of its own: below, the hop costs more than it saves.
const BULK_AFTER: u64 = 512 * 1024;

/// The buffer of a connection that has not shown a bulk transfer.
const SMALL_BUFFER: usize = 64 * 1024;
