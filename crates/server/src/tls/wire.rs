//! A connection before its session, with or without TLS.

use std::io;
use std::time::Duration;

use anyport_net::linger;
use anyport_net::shared::Shared;
use anyport_tls::{MaybeTls, Parts, ServerMachine, ServerSide, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::traces::Tapped;

/// The stream of a connection, with or without TLS.
pub(crate) type Wire = MaybeTls<TcpStream, ServerSide>;

/// A [`Wire`] for a library that needs to own its stream.
pub(crate) type SharedWire = Tapped<MaybeTls<Shared, ServerSide>>;

/// The parts of a wire, for a session in a loop.
pub(crate) struct WireParts {
    pub(crate) stream: TcpStream,
    pub(crate) machine: Option<ServerMachine>,
    /// Decrypted bytes that were not read yet.
    pub(crate) plain: Vec<u8>,
}

impl WireParts {
    /// Splits a wire, which must have no unwritten output.
    pub(crate) fn of(wire: Wire) -> Self {
        match wire {
            MaybeTls::Plain(stream) => Self { stream, machine: None, plain: Vec::new() },
            MaybeTls::Tls(stream) => {
                let Parts { io: stream, machine, plain } = stream.into_parts();
                Self { stream, machine: Some(machine), plain }
            }
        }
    }
}

/// Returns the stream of a connection whose session continues in a library.
pub(crate) fn wire_of<Io: AsyncRead + AsyncWrite + Unpin>(
    stream: Io,
    machine: Option<ServerMachine>,
) -> MaybeTls<Io, ServerSide> {
    match machine {
        None => MaybeTls::Plain(stream),
        Some(machine) => {
            let parts = Parts { io: stream, machine, plain: Vec::new() };
            MaybeTls::Tls(Box::new(Stream::new(parts)))
        }
    }
}

/// Returns `TLS 1.3 TLS13_AES_128_GCM_SHA256`; `None` without TLS.
pub(crate) fn encryption(wire: &Wire) -> Option<String> {
    let (version, suite) = wire.machine()?.agreed()?;
    Some(format!("{version} {:?}", suite.suite()))
}

/// Writes all of `bytes` to a peer that accepts some within each idle timeout.
///
/// Cancel safe: no.
///
/// # Errors
/// The error of writing, or `TimedOut`.
pub(crate) async fn write(wire: &mut Wire, bytes: &[u8], idle_timeout: Duration) -> io::Result<()> {
    let write = async {
        wire.write_all(bytes).await?;
        wire.flush().await
    };
    timeout(idle_timeout, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Closes a connection so that the peer can read the final response.
pub(crate) async fn close(mut wire: Wire) {
    linger::close(&mut wire).await;
}
