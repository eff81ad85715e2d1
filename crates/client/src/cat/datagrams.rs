//! `cat` over UDP: each read is sent as a datagram, and each datagram is written unchanged.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyport_net::dial::DialError;
use anyport_net::resolve::{Family, Port, Query, ResolveError, resolve};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::CatOptions;
use super::ends::{Cut, Output, Pieces, read};
use crate::error::{Error, ErrorKind, Transferred};
use crate::proxy::Proxies;
use crate::target::Target;

/// Cancel safe: no; it is never cancelled. UDP has no end: without `quit_after` it runs until it is
/// interrupted.
pub(super) async fn pipe(
    target: &Target,
    options: &CatOptions,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> Result<(), Error> {
    if matches!(options.connect.proxies, Proxies::All(_)) {
        return Err(ErrorKind::NoDatagrams.into());
    }
    let (socket, peer) = connect(target, options.connect.connect_timeout)?;
    let input = read(input, Cut::Reads(LONGEST_SENT));
    let output = Output::start(output);
    let carried = carry(&socket, peer, options, input, &output).await;
    let written = output.finish();
    carried.and(written)
}

async fn carry(
    socket: &UdpSocket,
    peer: SocketAddr,
    options: &CatOptions,
    mut input: Pieces,
    output: &Output,
) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        // The other side's word about an earlier datagram (ICMP).
        io::ErrorKind::ConnectionRefused => {
            Error::at(peer.into(), ErrorKind::NoPort).because(source)
        }
        _ => Error::lost(peer.into(), Transferred::Messages, source),
    };
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    let (mut ended, mut until) = (false, Instant::now());
    loop {
        let takes = output.pieces.capacity() > 0;
        tokio::select! {
            received = socket.recv(&mut buffer), if takes => {
                let count = received.map_err(failed)?;
                // The loop notices a closed output.
                let _ = output.pieces.send(buffer[..count].to_vec()).await;
            }
            piece = input.recv(), if !ended => match piece {
                Some(piece) => {
                    socket.send(&piece?).await.map_err(failed)?;
                }
                None => {
                    ended = true;
                    until = Instant::now() + options.quit_after.unwrap_or_default();
                }
            },
            room = output.pieces.reserve(), if !takes => drop(room),
            () = output.pieces.closed() => return Ok(()),
            () = sleep_until(until), if ended && options.quit_after.is_some() => return Ok(()),
        }
    }
}

/// Returns a socket connected to the first reachable address of the peer.
fn connect(target: &Target, wait_limit: Duration) -> Result<(UdpSocket, SocketAddr), Error> {
    let host = target.host.clone();
    let port = Port::Number(target.port);
    let query = Query { host: host.clone(), port, family: Family::Any };
    let unresolved = |source| DialError::Resolve { host: host.clone(), source };
    let found = resolve(&query, wait_limit).map_err(unresolved)?;
    let mut failure = None;
    for address in found.addresses {
        match open(address) {
            Ok(socket) => return Ok((socket, address)),
            Err(source) => {
                let host = host.clone();
                failure.get_or_insert(DialError::Connect { host, address, source });
            }
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, anyport_net::resolve::NO_ADDRESS);
    Err(failure.unwrap_or_else(|| unresolved(ResolveError::Failed(none()))).into())
}

/// Connecting sends no packet, but reports an address without a route.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Bytes of the input that become one datagram, as nc has it. Beyond loopback, more than about 1400
/// travel in parts.
const LONGEST_SENT: usize = 16 * 1024;

/// No datagram is longer, jumbograms apart.
const LONGEST_DATAGRAM: usize = 65_535;
