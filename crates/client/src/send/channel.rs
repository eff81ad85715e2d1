//! One connection, whatever it speaks.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyport_net::dial::dial;
use anyport_net::tcp_info::TcpInfo;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::tcp_seen::TcpSeen;
use anyport_tls::ALPN_HTTP_1_1;
use socket2::{SockRef, TcpKeepalive};

use super::{Engine, Options, Sent};
use crate::channel::library::LibraryChannel;
use crate::channel::raw::RawChannel;
use crate::channel::ws::WsChannel;
use crate::content::Content;
use crate::error::SendError;
use crate::stream::Stream;
use crate::target::{Scheme, Target};

/// A connection that files go over.
pub(super) struct Channel {
    peer: SocketAddr,
    congestion: String,
    kind: Kind,
}

enum Kind {
    Raw(RawChannel),
    Ws(Box<WsChannel>),
    Library(Box<LibraryChannel>),
}

impl Channel {
    pub(super) fn open(target: &Target, options: &Options) -> Result<Self, SendError> {
        let stream = dial(&target.host, target.port, options.connect_timeout)?;
        let (peer, congestion) = prepare(&stream, options)?;
        // Handshakes are short; then the longer patience of a transfer holds.
        set_patience(&stream, options.connect_timeout);
        let patient = stream.try_clone();
        let stream = Stream::open(stream, peer, target, alpn(target), &options.encryption)?;
        let kind =
            match (target.scheme, options.engine) {
                (Scheme::Tcp, _) => {
                    let token = target.token.clone();
                    Kind::Raw(RawChannel::new(stream, peer, options.plain, token))
                }
                (Scheme::Http, _) => return Err(SendError::NoChannel),
                (Scheme::Frames, _) => Kind::Ws(Box::new(WsChannel::bare(stream, peer))),
                (Scheme::Ws, Engine::Own) => {
                    Kind::Ws(Box::new(WsChannel::handshake(stream, peer, target, options.deflate)?))
                }
                (Scheme::Ws, Engine::Library) => Kind::Library(Box::new(
                    LibraryChannel::handshake(stream, peer, target, options.connect_timeout)?,
                )),
            };
        // Without a second handle the short patience stays, which is worse for a slow disk and no error.
        if let Ok(stream) = patient {
            set_patience(&stream, options.timeout);
        }
        Ok(Self { peer, congestion, kind })
    }

    pub(super) fn transfer(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        options: &Options,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, SendError> {
        match &mut self.kind {
            Kind::Raw(channel) => channel.transfer(offer, content, progress),
            Kind::Ws(channel) => channel.transfer(offer, content, options.frame_size, progress),
            Kind::Library(channel) => channel.transfer(offer, content, options, progress),
        }
    }

    /// Nothing, where the kernel does not say.
    pub(super) fn tcp(&self) -> TcpInfo {
        let asked = match &self.kind {
            Kind::Raw(channel) => TcpInfo::of(channel.socket()),
            Kind::Ws(channel) => TcpInfo::of(channel.socket()),
            Kind::Library(channel) => TcpInfo::of(channel.socket()),
        };
        asked.unwrap_or_default()
    }

    /// Checks a receipt against what was sent.
    pub(super) fn sent(
        &self,
        bytes: u64,
        digest: Option<Digest>,
        receipt: Option<Receipt>,
    ) -> Result<Sent, SendError> {
        if let Some(receipt) = &receipt {
            check(self.peer, bytes, digest, receipt)?;
        }
        let TcpInfo { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate, .. } = self.tcp();
        let tcp = TcpSeen { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate };
        let (peer, congestion) = (self.peer, self.congestion.clone());
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

    pub(super) fn close(self) -> Result<(), SendError> {
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

/// What is told to be spoken under TLS (RFC 7301): nothing, where that has no name.
pub(crate) const fn alpn(target: &Target) -> &'static [&'static [u8]] {
    match target.scheme {
        Scheme::Ws => &[ALPN_HTTP_1_1],
        // What HTTP says it says itself.
        Scheme::Tcp | Scheme::Frames | Scheme::Http => &[],
    }
}

pub(crate) fn prepare(
    stream: &TcpStream,
    options: &Options,
) -> Result<(SocketAddr, String), SendError> {
    let no_peer = |source| SendError::BrokenOff { peer: UNKNOWN_PEER, sent: 0, source };
    let peer = stream.peer_addr().map_err(no_peer)?;
    let local = stream.local_addr().map_err(no_peer)?;
    let congestion = options
        .congestion
        .apply(stream, local, peer)
        .map_err(|source| SendError::Congestion { name: options.congestion.to_string(), source })?;
    // A server that vanished without a word is found while we wait for its receipt. Neither option may fail a transfer.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(6);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    // And one that vanished while we send: the kernel alone would try for a quarter of an hour, ever more seldom.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let _ = stream.set_nodelay(true);
    Ok((peer, congestion))
}

/// How long a read or write may wait. A socket that takes no time-out is used without one.
pub(crate) fn set_patience(stream: &TcpStream, patience: Duration) {
    let _ = stream.set_read_timeout(Some(patience));
    let _ = stream.set_write_timeout(Some(patience));
}

/// How long bytes of ours may stay unacknowledged, or the peer's window shut. Then another connection is worth a try.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Only for a socket that has lost its peer between connect and the first question.
pub(super) const UNKNOWN_PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

pub(crate) fn check(
    peer: SocketAddr,
    ours: u64,
    digest: Option<Digest>,
    receipt: &Receipt,
) -> Result<(), SendError> {
    if receipt.bytes != ours {
        return Err(SendError::BytesDiffer { peer, ours, theirs: receipt.bytes });
    }
    match (digest, receipt.digest) {
        // A server may be told to use another algorithm for plain bytes; then there is nothing to compare.
        (Some(ours), Some(theirs)) if ours.algorithm() == theirs.algorithm() && ours != theirs => {
            Err(SendError::DigestDiffers { peer, ours, theirs })
        }
        _ => Ok(()),
    }
}
