//! Reads the first bytes of a connection until the protocol is known (DESIGN section 5).

use std::io;
use std::time::Instant;

use anyport_proto::detect::{Decision, End, decide, max_prefix};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::{Config, ListenerConfig};
use crate::counters::SilentEnd;
use crate::undecided::Place;

/// What became of a connection before its session.
pub(crate) enum Beginning {
    Decided(Detected),
    /// No byte came.
    Silent(SilentEnd),
}

/// What the first bytes said.
pub(crate) struct Detected {
    pub(crate) decision: Decision,
    /// The bytes that it was found from; the session's first input.
    pub(crate) prefix: Vec<u8>,
    pub(crate) first_byte: Instant,
    /// The stream ended with the prefix.
    pub(crate) ended: bool,
}

/// Reads at most `max_prefix` bytes.
///
/// Cancel safe: no; what was read is lost with the future, so only a connection that is given up may drop it.
///
/// # Errors
/// What reading the socket said.
pub(crate) async fn read(
    stream: &mut TcpStream,
    config: &Config,
    listener: &ListenerConfig,
    place: &mut Place,
) -> io::Result<Beginning> {
    let ListenerConfig { allowed, detect_timeout, .. } = *listener;
    let limits = &config.limits;
    let mut prefix = Vec::with_capacity(FIRST_READ);
    // A client without a byte is no transfer and no error: a port scan, a health check, a browser's spare connection.
    let first = tokio::select! {
        biased;
        // What came in the last moment is heard.
        read = stream.read_buf(&mut prefix) => read?,
        () = place.given_away() => return Ok(Beginning::Silent(SilentEnd::GaveWay)),
        () = tokio::time::sleep(config.timeouts.idle) => return Ok(Beginning::Silent(SilentEnd::Idle)),
    };
    if first == 0 {
        return Ok(Beginning::Silent(SilentEnd::Closed));
    }
    place.speaks();
    let first_byte = Instant::now();
    let mut deadline = std::pin::pin!(tokio::time::sleep(detect_timeout));
    let mut end = None;
    loop {
        if let Some(decision) = decide(&prefix, limits, allowed, end) {
            let ended = end == Some(End::OfStream);
            return Ok(Beginning::Decided(Detected { decision, prefix, first_byte, ended }));
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

/// Bytes of the first read. Most clients say who they are within it.
const FIRST_READ: usize = 4 * 1024;
