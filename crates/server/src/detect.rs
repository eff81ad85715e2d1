//! Reads the first bytes of a connection until the protocol is known (DESIGN section 5).

use std::io;
use std::time::Instant;

use anyport_proto::detect::{Detection, Verdict, detect_among, detect_at_end_among, max_prefix};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Config, ListenerConfig};

/// What the first bytes said.
pub(crate) struct Detected {
    pub(crate) verdict: Verdict,
    /// The bytes that it was found from; the session's first input.
    pub(crate) prefix: Vec<u8>,
    pub(crate) first_byte: Instant,
    /// The stream ended with the prefix.
    pub(crate) ended: bool,
}

/// Reads at most `max_prefix` bytes. `None` for a client that sent nothing until it closed or until the idle time.
///
/// Cancel safe: no; what was read is lost with the future, so only a connection that is given up may drop it.
///
/// # Errors
/// What reading the socket said.
pub(crate) async fn read(
    stream: &mut TcpStream,
    config: &Config,
    listener: &ListenerConfig,
) -> io::Result<Option<Detected>> {
    let limits = &config.limits;
    let mut prefix = Vec::with_capacity(FIRST_READ);
    // A client without a byte is no transfer and no error: a port scan, a health check, a browser's spare connection.
    match timeout(config.timeouts.idle, stream.readable()).await {
        Err(_) => return Ok(None),
        Ok(ready) => ready?,
    }
    if stream.read_buf(&mut prefix).await? == 0 {
        return Ok(None);
    }
    let first_byte = Instant::now();
    let deadline = tokio::time::Instant::now() + listener.detect_timeout;
    loop {
        if let Detection::Known(verdict) = detect_among(&prefix, limits, listener.allowed) {
            return Ok(Some(Detected { verdict, prefix, first_byte, ended: false }));
        }
        if prefix.len() == prefix.capacity() {
            prefix.reserve_exact((max_prefix(limits) - prefix.len()).min(prefix.len()));
        }
        let ended = match tokio::time::timeout_at(deadline, stream.read_buf(&mut prefix)).await {
            Ok(read) => read? == 0,
            Err(_) => false,
        };
        if ended || tokio::time::Instant::now() >= deadline {
            let verdict = detect_at_end_among(&prefix, limits, listener.allowed);
            return Ok(Some(Detected { verdict, prefix, first_byte, ended }));
        }
    }
}

/// Bytes of the first read. Most clients say who they are within it.
const FIRST_READ: usize = 4 * 1024;
