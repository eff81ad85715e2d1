//! TLS: the handshake, before the same sessions over plaintext.
//!
//! ```text
//!   ClientHello ──► handshake, with a deadline ──► Wire: detection again, HTTP/2, library
//!                                                   └──► a layer of any session, in any driver
//! ```
//!
//! A session under TLS is the same as without: [`crate::layers`] decrypts its input and encrypts
//! its output, so the drivers are not involved.

mod wire;

pub(crate) use wire::{SharedWire, Wire, WireParts, close, encryption, wire_of, write};

use std::io;
use std::time::{Duration, Instant};

use anyport_net::linger;
use anyport_proto::setting::MAX_UNCLASSIFIED;
use anyport_tls::{MaybeTls, Parts, ServerMachine, Stream, handshake};
use tokio::net::TcpStream;

use crate::detect::First;
use crate::unclassified::Registration;

/// Performs the handshake with a client whose ClientHello has begun. It must be complete within the
/// time `allowed`, counted from the first byte.
///
/// Cancel safe: no; the connection must then be closed.
///
/// # Errors
/// The client violated TLS, took too long, or was evicted; an alert was sent.
pub(crate) async fn accept(
    mut stream: TcpStream,
    server: &anyport_tls::server::Server,
    first: First,
    allowed: Duration,
    registration: &mut Registration,
) -> io::Result<Wire> {
    let First { mut prefix, first_byte, ended } = first;
    if ended {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "connection closed during the handshake",
        ));
    }
    let mut machine = ServerMachine::server(server.config())?;
    let left = allowed.saturating_sub(Instant::now().saturating_duration_since(first_byte));
    let plain = tokio::select! {
        biased;
        () = registration.evicted() => {
            Err(io::Error::other(format!(
                "evicted: too many unclassified connections ({MAX_UNCLASSIFIED})"
            )))
        }
        () = tokio::time::sleep(left) => {
            let reason = format!("not complete within {allowed:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        }
        plain = handshake(&mut stream, &mut machine, &mut prefix) => plain,
    };
    match plain {
        Ok(plain) => {
            let parts = Parts { io: stream, machine, plain };
            Ok(MaybeTls::Tls(Box::new(Stream::new(parts))))
        }
        Err(error) => {
            // The client can read the alert, even if it has sent more already.
            linger::close(&mut stream).await;
            Err(error)
        }
    }
}
