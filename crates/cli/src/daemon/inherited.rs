//! Sockets that a service manager has opened (sd_listen_fds(3)): it may bind privileged ports, and
//! clients that connect during a restart wait in them.
//!
//! What a socket is for stands in its name (`FileDescriptorName=`): `any`, `echo`, `greet`, `time`,
//! `rfc868` or `daytime`, as in `--listen`. One without a name of its own is `any`. Datagrams are
//! for the service whose listener has the same address.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use anyhow::anyhow;
use anyport_console::{Exit, Failure};
use anyport_net::address::Address;
use anyport_net::listen::Listening;
use anyport_server::Service;
use listenfd::ListenFd;
use rustix::net::{SocketType, sockopt};

/// A listening socket, and the datagram socket of the same service.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) service: Service,
    pub(crate) address: Address,
    pub(crate) socket: Listening,
    pub(crate) datagrams: Option<UdpSocket>,
}

/// Returns whether there are any, for this process or its parent.
pub(super) fn are_there() -> bool {
    std::env::var_os("LISTEN_FDS").is_some_and(|count| count != *"0")
}

/// Takes all of them, in their order. Must be called before any thread exists, because it removes
/// the variables from the environment.
pub(crate) fn take() -> Result<Vec<Inherited>, Failure> {
    let count = std::env::var("LISTEN_FDS").unwrap_or_default();
    if count.parse::<u32>().is_ok_and(|count| count > MOST) {
        return Err(Failure::new(
            Exit::Usage,
            anyhow!("LISTEN_FDS={count} exceeds the limit of {MOST}"),
        ));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    let (mut listeners, mut datagrams) = (Vec::new(), Vec::new());
    for at in 0..sockets.len() {
        let name = names.next().unwrap_or_default();
        let number = FIRST + at;
        let refuse = |error: anyhow::Error| {
            let named = if name.is_empty() { String::new() } else { format!(" ({name})") };
            let error =
                error.context(format!("cannot use the inherited descriptor {number}{named}"));
            Failure::new(Exit::Usage, error)
        };
        let service =
            service(name).map_err(|error| refuse(anyhow!(error)).with_hint(NAMES_HINT))?;
        match socket(&mut sockets, at) {
            Ok(Socket::Stream(socket, address)) => {
                listeners.push(Inherited { service, address, socket, datagrams: None });
            }
            Ok(Socket::Datagrams(_, address)) if !service.serves_udp() => {
                let error = anyhow!(
                    "it is a datagram socket at {address}, but {} does not use datagrams",
                    service.as_str()
                );
                return Err(refuse(error).with_hint(DATAGRAMS_HINT));
            }
            Ok(Socket::Datagrams(socket, address)) => {
                datagrams.push((service, address, socket, number));
            }
            Err(error) => return Err(refuse(anyhow!(error)).with_hint(KINDS_HINT)),
        }
    }
    for (service, address, socket, number) in datagrams {
        let is_beside = |one: &&mut Inherited| {
            let is_same = one.address.ip() == Some(address);
            one.service == service && is_same && one.datagrams.is_none()
        };
        match listeners.iter_mut().find(is_beside) {
            Some(beside) => beside.datagrams = Some(socket),
            None => {
                let service = service.as_str();
                let error = anyhow!(
                    "the inherited descriptor {number} is a datagram socket at {address}, but no \
                    stream socket for {service} has this address"
                );
                return Err(Failure::new(Exit::Usage, error).with_hint(DATAGRAMS_HINT));
            }
        }
    }
    Ok(listeners)
}

enum Socket {
    Stream(Listening, Address),
    Datagrams(UdpSocket, SocketAddr),
}

fn socket(sockets: &mut ListenFd, at: usize) -> io::Result<Socket> {
    if let Ok(Some(socket)) = sockets.take_udp_socket(at) {
        let address = socket.local_addr()?;
        return Ok(Socket::Datagrams(socket, address));
    }
    let socket = match sockets.take_unix_listener(at) {
        Ok(Some(socket)) => Listening::Unix(listening(socket)?),
        _ => {
            let socket = sockets.take_tcp_listener(at)?;
            Listening::Tcp(listening(socket.ok_or(io::ErrorKind::NotFound)?)?)
        }
    };
    let address = socket.address()?;
    Ok(Socket::Stream(socket, address))
}

/// Checks that a socket listens. With `Accept=yes` it is a connection, on which the server would
/// wait for another one for ever.
fn listening<T: AsFd>(socket: T) -> io::Result<T> {
    debug_assert_eq!(sockopt::socket_type(&socket)?, SocketType::STREAM);
    if !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::other("it is not a listening socket"));
    }
    Ok(socket)
}

/// Returns the service of a socket with this name. Without a name of its own it has its unit's, or
/// `unknown`.
fn service(name: &str) -> Result<Service, String> {
    match name {
        "" | "unknown" => Ok(Service::Any),
        unit if unit.ends_with(".socket") => Ok(Service::Any),
        word => word.parse(),
    }
}

/// The descriptor of the first one (sd_listen_fds(3)).
const FIRST: usize = 3;

/// Maximum number; a larger one is considered wrong.
const MOST: u32 = 256;

const NAMES_HINT: &str = "FileDescriptorName= selects the service of a socket; without it the \
    server detects the protocol";

const DATAGRAMS_HINT: &str =
    "use ListenDatagram= with a ListenStream= of the same address, for echo, rfc868 or daytime";

const KINDS_HINT: &str = "use ListenStream= with an IP address or a path, without Accept=yes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_service_and_no_name_is_any() {
        for name in ["", "unknown", "anyport.socket", "my-files.socket", "any"] {
            assert_eq!(service(name), Ok(Service::Any), "{name}");
        }
        assert_eq!(service("echo"), Ok(Service::Echo));
        assert_eq!(service("daytime"), Ok(Service::Daytime));
        // Not a file server by a slip of the pen.
        assert!(service("ehco").unwrap_err().contains("expected one of any, echo"));
    }
}
