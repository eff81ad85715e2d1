//! Which congestion control a socket uses (DESIGN decision 10).
//!
//! The sender's socket decides how fast a transfer may go. On a path that never leaves the machine
//! pacing helps nobody: `bbr` caps a loopback stream well below what `reno` reaches
//! (bench/records/). So `auto` picks `reno` there, if the system lets us, and leaves every real
//! network to the system's own choice.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use rustix::fd::AsFd;
use rustix::net::sockopt;

/// The hint for an algorithm that the system does not allow.
pub const HINT: &str =
    "see sysctl net.ipv4.tcp_allowed_congestion_control, or use --congestion auto";

/// What a user asks for.
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
    /// Whether the system takes a named algorithm, asked with a listening socket, which hands it on
    /// to those it accepts.
    ///
    /// # Errors
    /// What the system says against it.
    pub fn check(&self, listener: impl AsFd) -> io::Result<()> {
        match self {
            Self::Named(name) => Ok(sockopt::set_tcp_congestion(listener, name)?),
            Self::Auto | Self::System => Ok(()),
        }
    }

    /// Sets a connected socket as asked, and gives the name of the algorithm it now uses.
    ///
    /// # Errors
    /// A named algorithm that the system does not know or does not allow us. `Auto` and `System`
    /// never fail for that.
    pub fn apply(
        &self,
        socket: impl AsFd,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<String> {
        match self {
            Self::System => {}
            Self::Auto if peer.ip().is_loopback() || peer.ip() == local.ip() => {
                // Not allowed, or not built in: the system's own is good too.
                let _ = sockopt::set_tcp_congestion(&socket, LOCAL_CHOICE);
            }
            Self::Auto => {}
            Self::Named(name) => sockopt::set_tcp_congestion(&socket, name)?,
        }
        in_use(socket)
    }
}

/// The name of the algorithm that a socket uses.
///
/// # Errors
/// A socket that is not TCP's.
pub fn in_use(socket: impl AsFd) -> io::Result<String> {
    Ok(sockopt::tcp_congestion(socket)?)
}

/// Open to every user, built into every kernel, and not paced.
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
