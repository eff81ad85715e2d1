//! One connection, whatever it speaks.

use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::receipt::Receipt;

use super::{Engine, Options, Sent};
use crate::channel::Transport;
#[cfg(feature = "library-engine")]
use crate::channel::library::LibraryChannel;
use crate::channel::raw::RawChannel;
use crate::channel::ws::{Parts, WsChannel};
use crate::connect::{ConnectOptions, Connection, Socket, connect};
use crate::error::{Error, ErrorKind};
use crate::measure::Measuring;
use crate::spent::SoFar;
use crate::target::{Scheme, Target};

/// A connection that files go over.
pub(super) struct Channel {
    peer: Peer,
    socket: Socket,
    transport: Box<dyn Transport>,
}

impl Channel {
    pub(super) fn open(target: &Target, options: &Options) -> Result<Self, Error> {
        let Connection { stream, peer, socket } = connect(target, &options.connect)?;
        let frame_size = options.frame_size;
        let transport: Box<dyn Transport> = match (target.scheme, options.engine) {
            (Scheme::Http, _) => return Err(ErrorKind::NoChannel.into()),
            (Scheme::Tcp, _) => {
                Box::new(RawChannel::new(stream, peer, options.plain, target.token.clone()))
            }
            (Scheme::Frames, _) => Box::new(WsChannel::new(Parts::bare(stream), peer, frame_size)),
            (Scheme::Ws, Engine::Own) => {
                let parts = Parts::handshake(stream, peer, target, options.deflate)?;
                Box::new(WsChannel::new(parts, peer, frame_size))
            }
            #[cfg(feature = "library-engine")]
            (Scheme::Ws, Engine::Library) => {
                let connect = &options.connect;
                Box::new(LibraryChannel::handshake(stream, peer, target, connect, frame_size)?)
            }
        };
        socket.end_handshake(options.connect.timeout);
        Ok(Self { peer, socket, transport })
    }

    pub(super) const fn transport(&mut self) -> &mut dyn Transport {
        &mut *self.transport
    }

    /// Returns the measurement of a transfer that begins.
    pub(super) fn measure(&self, connect: &ConnectOptions, so_far: SoFar) -> Measuring {
        Measuring::begin(&self.socket).sends(connect, &self.socket, move || so_far.get())
    }

    pub(super) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Compares a receipt with the sent content.
    pub(super) fn sent(
        &self,
        bytes: u64,
        digest: Option<Digest>,
        receipt: Option<Receipt>,
    ) -> Result<Sent, Error> {
        if let Some(receipt) = &receipt {
            check(self.peer, bytes, digest, receipt)?;
        }
        let (peer, congestion, tcp) =
            (self.peer, self.socket.congestion.clone(), self.socket.seen());
        let (changed_from, diagnosis, grown) = (None, None, false);
        Ok(Sent { peer, bytes, digest, receipt, congestion, tcp, grown, changed_from, diagnosis })
    }

    pub(super) fn close(self) -> Result<(), Error> {
        self.transport.close()
    }
}

/// Compares a receipt with the sent content.
pub(super) fn check(
    peer: Peer,
    ours: u64,
    digest: Option<Digest>,
    receipt: &Receipt,
) -> Result<(), Error> {
    if receipt.bytes != ours {
        return Err(Error::at(peer, ErrorKind::BytesDiffer { ours, theirs: receipt.bytes }));
    }
    match (digest, receipt.digest) {
        // A server may use another algorithm for plain bytes; then the digests cannot be compared.
        (Some(ours), Some(theirs)) if ours.algorithm() == theirs.algorithm() && ours != theirs => {
            Err(Error::at(peer, ErrorKind::DigestDiffers { ours, theirs }))
        }
        _ => Ok(()),
    }
}
