//! Listening sockets of the runtime, of TCP and of the file system.

use std::io;
use std::os::fd::OwnedFd;

use anyport_net::listen::Listening;
use anyport_net::saved_syn::save_syn;
use anyport_proto::peer::Peer;
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// A listening socket of the runtime.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    pub(crate) fn of(socket: Listening) -> io::Result<Self> {
        match socket {
            Listening::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                // Clients may ask for their SYN; without this option they get none.
                let _ = save_syn(&socket);
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            Listening::Unix(socket) => {
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket).map(Self::Unix)
            }
        }
    }

    /// Accepts a connection. That of a Unix socket is a `TcpStream` too, as in `anyport_net::unix`.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, peer)| (stream, peer.into())),
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let stream: std::net::TcpStream = OwnedFd::from(stream.into_std()?).into();
                Ok((TcpStream::from_std(stream)?, Peer::Unix))
            }
        }
    }
}
