//! The PROXY protocol header at the beginning of a proxy's connection.
//!
//! The header is read from the socket and nothing behind it, so the connection then is as if its
//! client had connected directly, also for TLS and for splicing.

use std::io;
use std::time::Duration;

use anyport_proto::peer::Peer;
use anyport_proto::proxy_protocol::{MAX_HEADER, ProxyClient, ProxyHeader};
use anyport_proto::setting::{HANDSHAKE_TIMEOUT, PROXY_PROTOCOL_FROM};
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::events::{SilentEnd, Tally};
use crate::guard::Guard;
use crate::session::Context;
use crate::unclassified::Registration;

/// Reads the header of a proxy's connection, which from then on is that of the client. Returns
/// `None` if it has ended or has none; that has been logged and counted.
///
/// Cancel safe: no; input that was read is lost with the future.
pub(crate) async fn begin(
    stream: &TcpStream,
    mut registration: Registration,
    context: &mut Context,
    guard: &mut Guard,
) -> Option<Registration> {
    let (proxy, limit) = (context.peer, context.config.timeouts.handshake);
    let header = match read(stream, &mut registration, limit).await {
        Ok(header) => header,
        Err(Ended::Silent(end)) => {
            context.events.counters.silent(end);
            tracing::debug!(%proxy, end = end.as_str(), "closed without sending data");
            return None;
        }
        Err(Ended::Invalid(reason)) => {
            let reason = format!("{reason}; {PROXY_PROTOCOL_FROM} requires one from this address");
            context.record.broken(&reason);
            context.refused("proxy", reason);
            return None;
        }
    };
    Tally::new(context.record.clone()).received(header.len as u64);
    let client = match header.client {
        ProxyClient::Forwarded(client) => client,
        // Not the address of the socket: that could be this machine's, and the client need not be.
        ProxyClient::Unknown => Peer::Unstated { ip: proxy.ip(), port: proxy.port() },
        ProxyClient::Proxy => return Some(registration),
    };
    tracing::debug!(%proxy, peer = %client, "PROXY protocol header");
    context.peer = client;
    context.record.is_from(client);
    let is_client = matches!(header.client, ProxyClient::Forwarded(_));
    if is_client && !context.config.trusted_proxies.contains(&client) {
        guard.admit(context.per_address.admit_or_report(client, &context.events)?);
    }
    Some(registration.of(client))
}

/// Why there is no header.
enum Ended {
    /// The proxy sent nothing.
    Silent(SilentEnd),
    /// The input is no header, for this reason.
    Invalid(String),
}

/// Reads a header within `limit`.
///
/// Cancel safe: no, as [`begin`].
async fn read(
    stream: &TcpStream,
    registration: &mut Registration,
    limit: Duration,
) -> Result<ProxyHeader, Ended> {
    let mut header = Vec::new();
    let mut deadline = std::pin::pin!(tokio::time::sleep(limit));
    loop {
        let incomplete = |how: String| Ended::Invalid(format!("PROXY protocol header {how}"));
        let readable = tokio::select! {
            biased;
            () = registration.evicted() => return Err(Ended::Silent(SilentEnd::Evicted)),
            () = &mut deadline => {
                return Err(match header.is_empty() {
                    true => Ended::Silent(SilentEnd::Idle),
                    false => {
                        incomplete(format!("incomplete after {limit:?} ({HANDSHAKE_TIMEOUT})"))
                    }
                });
            }
            readable = stream.readable() => readable,
        };
        let taken =
            readable.and_then(|()| stream.try_io(Interest::READABLE, || take(stream, &mut header)));
        match taken {
            Ok(Taken::Header(result)) => {
                return result.map_err(|error| Ended::Invalid(error.to_string()));
            }
            Ok(Taken::Part) => registration.speaks(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A health check connects and closes, often with a reset.
            Ok(Taken::End) | Err(_) if header.is_empty() => {
                return Err(Ended::Silent(SilentEnd::Closed));
            }
            Ok(Taken::End) => {
                return Err(incomplete("incomplete at the end of the stream".to_owned()));
            }
            Err(error) => return Err(incomplete(format!("incomplete: {error}"))),
        }
    }
}

/// Input of a connection that begins with a header.
enum Taken {
    /// The next part of an incomplete header.
    Part,
    /// The rest of the header, or what is wrong with the input.
    Header(Result<ProxyHeader, anyport_proto::proxy_protocol::ProxyHeaderError>),
    /// The end of the stream.
    End,
}

/// Appends input to an incomplete header, at most to its end. The rest remains in the socket.
fn take(stream: &TcpStream, header: &mut Vec<u8>) -> io::Result<Taken> {
    let before = header.len();
    header.resize(MAX_HEADER, 0);
    let peeked = recv(stream, &mut header[before..], RecvFlags::PEEK);
    header.truncate(before + peeked.as_ref().map_or(0, |(count, _)| *count));
    if peeked?.0 == 0 {
        return Ok(Taken::End);
    }
    let parsed = ProxyHeader::parse(header);
    let end = match &parsed {
        Ok(Some(parsed)) => parsed.len,
        Ok(None) => header.len(),
        Err(_) => before,
    };
    if end > before {
        recv(stream, &mut header[before..end], RecvFlags::empty())?;
    }
    Ok(match parsed {
        Ok(None) => Taken::Part,
        Ok(Some(parsed)) => Taken::Header(Ok(parsed)),
        Err(error) => Taken::Header(Err(error)),
    })
}
