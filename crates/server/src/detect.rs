//! Reads the first bytes of a connection until the protocol is known (docs/PROTOCOLS.md).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use anyport_proto::detect::{Allowed, Decision, End, decide, max_prefix};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::config::{Config, ListenerConfig, OnTimeout};
use crate::events::SilentEnd;
use crate::unclassified::Registration;

/// The result of reading a connection before its session begins.
pub(crate) enum Beginning {
    Decided(Detected),
    /// No byte arrived.
    Silent(SilentEnd),
    /// No byte arrived by the detection deadline, and this listener greets such a client.
    ToGreet,
}

/// The detection result.
pub(crate) struct Detected {
    pub(crate) decision: Decision,
    /// The input that it was detected from.
    pub(crate) first: First,
}

/// The bytes that were read before the session, which are its first input.
pub(crate) struct First {
    pub(crate) prefix: Vec<u8>,
    pub(crate) first_byte: Instant,
    /// Whether a FIN followed the prefix.
    pub(crate) ended: bool,
}

/// Reads at most `max_prefix` bytes, and detects one of the `allowed` protocols.
///
/// Cancel safe: no; input that was read is lost with the future.
///
/// # Errors
/// The error of reading the socket.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    config: &Config,
    listener: &ListenerConfig,
    allowed: Allowed,
    registration: &mut Registration,
) -> io::Result<Beginning> {
    let ListenerConfig { detect_timeout, on_timeout, .. } = *listener;
    let limits = &config.limits;
    let idle = config.timeouts.idle;
    let greets = on_timeout == OnTimeout::Greet && detect_timeout < idle;
    let limit = if greets { detect_timeout } else { idle };
    let First { mut prefix, first_byte, .. } =
        match first_bytes(stream, registration, limit).await? {
            Ok(first) => first,
            Err(SilentEnd::Idle) if greets => return Ok(Beginning::ToGreet),
            Err(end) => return Ok(Beginning::Silent(end)),
        };
    let mut deadline = std::pin::pin!(tokio::time::sleep(detect_timeout));
    let mut end = None;
    loop {
        if let Some(decision) = decide(&prefix, limits, allowed, end) {
            let ended = end == Some(End::OfStream);
            let first = First { prefix, first_byte, ended };
            return Ok(Beginning::Decided(Detected { decision, first }));
        }
        if prefix.len() == prefix.capacity() {
            prefix.reserve_exact((max_prefix(limits) - prefix.len()).min(prefix.len()));
        }
        // The deadline first: otherwise a client that sends slowly would always be read instead.
        tokio::select! {
            biased;
            () = &mut deadline => end = Some(End::Deadline),
            () = registration.evicted() => end = Some(End::Evicted),
            read = stream.read_buf(&mut prefix) => {
                if read? == 0 {
                    end = Some(End::OfStream);
                }
            }
        }
    }
}

/// Reads the first input of a peer, or returns how the connection ended without any.
///
/// Cancel safe: no, as [`read`].
///
/// # Errors
/// The error of reading the socket.
pub(crate) async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    registration: &mut Registration,
    limit: Duration,
) -> io::Result<Result<First, SilentEnd>> {
    let mut prefix = Vec::new();
    // A client that sends no byte is no transfer and no error: a port scan, a health check, a
    // browser's spare connection.
    let first = tokio::select! {
        biased;
        // Input that arrived just before the deadline counts.
        read = read_when_readable(stream, &mut prefix) => read?,
        () = registration.evicted() => return Ok(Err(SilentEnd::Evicted)),
        () = tokio::time::sleep(limit) => return Ok(Err(SilentEnd::Idle)),
    };
    if first == 0 {
        return Ok(Err(SilentEnd::Closed));
    }
    registration.speaks();
    Ok(Ok(First { prefix, first_byte: Instant::now(), ended: false }))
}

/// Reads when the socket is readable, so that an idle client has no buffer.
async fn read_when_readable(
    stream: &mut (impl AsyncRead + Unpin),
    prefix: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|context| {
        // On the stack, and only while it is polled.
        let mut room = [0; FIRST_READ];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        prefix.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// Size of the first read. Most clients can be classified by it.
const FIRST_READ: usize = 4 * 1024;
