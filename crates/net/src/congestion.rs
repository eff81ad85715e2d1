//! Congestion control of sockets.
//!
//! The sender's socket decides how fast a transfer may be. Pacing does not help on a path within
//! one machine: `bbr` limits a loopback stream to much less than `reno` reaches (bench/records/).
//! So `auto` selects `reno` there, if the system permits it, and keeps the system's default for
//! every other path.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use rustix::fd::AsFd;
use rustix::net::sockopt;
use socket2::SockRef;

/// The requested congestion control.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Congestion {
    /// `reno` where the peer is this machine, the system's default elsewhere.
    #[default]
    Auto,
    /// The system's default, always.
    System,
    /// This algorithm, or an error.
    Named(String),
}

impl FromStr for Congestion {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "system" => Self::System,
            name => Self::Named(name.to_owned()),
        })
    }
}

impl std::fmt::Display for Congestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::System => "system",
            Self::Named(name) => name,
        })
    }
}

impl Congestion {
    /// Checks that the system accepts a named algorithm, with a listening socket, whose accepted
    /// sockets inherit it.
    ///
    /// # Errors
    /// The error of the system.
    pub fn check(&self, listener: impl AsFd) -> io::Result<()> {
        match self {
            Self::Named(name) => Ok(sockopt::set_tcp_congestion(listener, name)?),
            Self::Auto | Self::System => Ok(()),
        }
    }

    /// Applies the setting to a connected socket, and returns the name of the algorithm that it now
    /// uses.
    ///
    /// # Errors
    /// The system does not know a named algorithm or does not permit it. `Auto` and `System` never
    /// fail for that.
    pub fn apply(
        &self,
        socket: impl AsFd,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<String> {
        match self {
            Self::System => {}
            Self::Auto if peer.ip().is_loopback() || peer.ip() == local.ip() => {
                // Without permission or support, the system's default remains.
                let _ = sockopt::set_tcp_congestion(&socket, LOCAL_CHOICE);
            }
            Self::Auto => {}
            Self::Named(name) => sockopt::set_tcp_congestion(&socket, name)?,
        }
        in_use(socket)
    }
}

/// Returns the name of the algorithm that a socket uses.
///
/// # Errors
/// The socket is not a TCP socket.
pub fn in_use(socket: impl AsFd) -> io::Result<String> {
    // rustix panics if the name has no zero at its end, as in emulators of Linux.
    let mut name = SockRef::from(&socket).tcp_congestion()?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Permitted to every user, part of every kernel, and without pacing.
const LOCAL_CHOICE: &str = "reno";

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn apply(congestion: &str) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        let congestion: Congestion = congestion.parse().unwrap();
        congestion.apply(&socket, socket.local_addr()?, socket.peer_addr()?)
    }

    #[test]
    fn auto_is_reno_on_loopback_and_an_unknown_name_an_error() {
        assert_eq!(apply("auto").unwrap(), "reno");
        assert_eq!(apply("reno").unwrap(), "reno");
        assert!(!apply("system").unwrap().is_empty());
        assert!(apply("no-such-algorithm").is_err());
    }
}
