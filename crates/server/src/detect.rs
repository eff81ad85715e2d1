//! Reads the first bytes of a connection until the protocol is known (DESIGN section 5).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use anyport_proto::detect::{Allowed, Decision, End, decide, max_prefix};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::config::{Config, ListenerConfig, OnTimeout};
use crate::events::SilentEnd;
use crate::undecided::Place;

/// What became of a connection before its session.
pub(crate) enum Beginning {
    Decided(Detected),
    /// No byte came.
    Silent(SilentEnd),
    /// No byte came by the detection deadline, and such a client is greeted here.
    ToGreet,
}

/// What the first bytes said.
pub(crate) struct Detected {
    pub(crate) decision: Decision,
    /// What it was found from.
    pub(crate) first: First,
}

/// The bytes that were read before there was a session: its first input.
pub(crate) struct First {
    pub(crate) prefix: Vec<u8>,
    pub(crate) first_byte: Instant,
    /// The stream ended with the prefix.
    pub(crate) ended: bool,
}

/// Reads at most `max_prefix` bytes, and finds one of the `allowed` protocols in them.
///
/// Cancel safe: no; what was read is lost with the future, so only a connection that is given up
/// may drop it.
///
/// # Errors
/// What reading the socket said.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    config: &Config,
    listener: &ListenerConfig,
    allowed: Allowed,
    place: &mut Place,
) -> io::Result<Beginning> {
    let ListenerConfig { detect_timeout, on_timeout, .. } = *listener;
    let limits = &config.limits;
    let idle = config.timeouts.idle;
    let greets = on_timeout == OnTimeout::Greet && detect_timeout < idle;
    let patience = if greets { detect_timeout } else { idle };
    let First { mut prefix, first_byte, .. } = match first_bytes(stream, place, patience).await? {
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
        // The deadline first, or a client that trickles would always be read instead.
        tokio::select! {
            biased;
            () = &mut deadline => end = Some(End::Deadline),
            () = place.given_away() => end = Some(End::NoPlace),
            read = stream.read_buf(&mut prefix) => {
                if read? == 0 {
                    end = Some(End::OfStream);
                }
            }
        }
    }
}

/// What a peer says first, or how it ended without a word.
///
/// Cancel safe: no, as [`read`].
///
/// # Errors
/// What reading the socket said.
pub(crate) async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    place: &mut Place,
    patience: Duration,
) -> io::Result<Result<First, SilentEnd>> {
    let mut prefix = Vec::new();
    // A client without a byte is no transfer and no error: a port scan, a health check, a browser's
    // spare connection.
    let first = tokio::select! {
        biased;
        // What came in the last moment is heard.
        read = read_when_there(stream, &mut prefix) => read?,
        () = place.given_away() => return Ok(Err(SilentEnd::GaveWay)),
        () = tokio::time::sleep(patience) => return Ok(Err(SilentEnd::Idle)),
    };
    if first == 0 {
        return Ok(Err(SilentEnd::Closed));
    }
    place.speaks();
    Ok(Ok(First { prefix, first_byte: Instant::now(), ended: false }))
}

/// Whoever says nothing costs no buffer.
async fn read_when_there(
    stream: &mut (impl AsyncRead + Unpin),
    prefix: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|context| {
        // On the stack of whoever polls.
        let mut room = [0; FIRST_READ];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        prefix.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// Bytes of the first read. Most clients say who they are within it.
const FIRST_READ: usize = 4 * 1024;
