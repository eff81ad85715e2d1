//! One connection, whatever it speaks.

use std::net::SocketAddr;

use anyport_net::tcp_info::TcpInfo;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Receipt;

use super::{Engine, Options, Sent};
use crate::channel::library::LibraryChannel;
use crate::channel::raw::RawChannel;
use crate::channel::ws::WsChannel;
use crate::connect::{Connection, Socket, connect};
use crate::content::Content;
use crate::error::{Error, ErrorKind};
use crate::target::{Scheme, Target};

/// A connection that files go over.
pub(super) struct Channel {
    peer: SocketAddr,
    socket: Socket,
    kind: Kind,
}

enum Kind {
    Raw(RawChannel),
    Ws(Box<WsChannel>),
    Library(Box<LibraryChannel>),
}

impl Channel {
    pub(super) fn open(target: &Target, options: &Options) -> Result<Self, Error> {
        let Connection { stream, peer, socket } = connect(target, &options.connect)?;
        let kind = match (target.scheme, options.engine) {
            (Scheme::Tcp, _) => {
                let token = target.token.clone();
                Kind::Raw(RawChannel::new(stream, peer, options.plain, token))
            }
            (Scheme::Http, _) => return Err(ErrorKind::NoChannel.into()),
            (Scheme::Frames, _) => Kind::Ws(Box::new(WsChannel::bare(stream, peer))),
            (Scheme::Ws, Engine::Own) => {
                Kind::Ws(Box::new(WsChannel::handshake(stream, peer, target, options.deflate)?))
            }
            (Scheme::Ws, Engine::Library) => Kind::Library(Box::new(LibraryChannel::handshake(
                stream,
                peer,
                target,
                options.connect.connect_timeout,
            )?)),
        };
        socket.end_handshake(options.connect.timeout);
        Ok(Self { peer, socket, kind })
    }

    pub(super) fn transfer(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        options: &Options,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, Error> {
        match &mut self.kind {
            Kind::Raw(channel) => channel.transfer(offer, content, progress),
            Kind::Ws(channel) => channel.transfer(offer, content, options.frame_size, progress),
            Kind::Library(channel) => {
                let timeout = options.connect.timeout;
                channel.transfer(offer, content, options.frame_size, timeout, progress)
            }
        }
    }

    /// Returns the kernel's statistics of the connection.
    pub(super) fn tcp(&self) -> TcpInfo {
        self.socket.tcp()
    }

    /// Checks a receipt against what was sent.
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
        let (changed_from, bottleneck, grown) = (None, None, false);
        Ok(Sent { peer, bytes, digest, receipt, congestion, tcp, grown, changed_from, bottleneck })
    }

    /// The raw channel, which takes one file behind the other without waiting.
    pub(super) const fn pipeline(&mut self) -> Option<&mut RawChannel> {
        match &mut self.kind {
            Kind::Raw(channel) if !channel.is_plain() => Some(channel),
            Kind::Raw(_) | Kind::Ws(_) | Kind::Library(_) => None,
        }
    }

    /// Whether a second file can follow the first.
    pub(super) const fn takes_more(&self) -> bool {
        match &self.kind {
            Kind::Raw(channel) => channel.takes_more(),
            Kind::Ws(channel) => channel.takes_more(),
            Kind::Library(channel) => channel.takes_more(),
        }
    }

    /// Whether the server says where to go on.
    pub(super) const fn can_resume(&self) -> bool {
        match &self.kind {
            Kind::Raw(channel) => !channel.is_plain(),
            Kind::Ws(channel) => channel.takes_more(),
            // It is there to be compared with, and sends a file in one go.
            Kind::Library(_) => false,
        }
    }

    pub(super) fn close(self) -> Result<(), Error> {
        match self.kind {
            // The end between two lines is the orderly one.
            Kind::Raw(mut channel) => {
                channel.close();
                Ok(())
            }
            Kind::Ws(channel) => channel.close(),
            Kind::Library(channel) => channel.close(),
        }
    }
}

/// Compares a receipt with what was sent.
pub(super) fn check(
    peer: SocketAddr,
    ours: u64,
    digest: Option<Digest>,
    receipt: &Receipt,
) -> Result<(), Error> {
    if receipt.bytes != ours {
        return Err(Error::at(peer, ErrorKind::BytesDiffer { ours, theirs: receipt.bytes }));
    }
    match (digest, receipt.digest) {
        // A server may be told to use another algorithm for plain bytes; then there is nothing to compare.
        (Some(ours), Some(theirs)) if ours.algorithm() == theirs.algorithm() && ours != theirs => {
            Err(Error::at(peer, ErrorKind::DigestDiffers { ours, theirs }))
        }
        _ => Ok(()),
    }
}
