//! Sends files over one connection, and checks each receipt against what was sent.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_net::dial::dial;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Receipt;
use socket2::{SockRef, TcpKeepalive};

use crate::channel::library::LibraryChannel;
use crate::channel::raw::RawChannel;
use crate::channel::ws::WsChannel;
use crate::content::{Content, Source};
use crate::error::SendError;
use crate::target::{Scheme, Target};

/// Who speaks WebSocket on our side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Engine {
    /// The project's own.
    #[default]
    Own,
    /// tokio-tungstenite; `ws://` only.
    Library,
}

/// How to send.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Nothing but the bytes on `tcp://`: no preface, no name, the end is a half-close.
    pub plain: bool,
    /// Who speaks WebSocket.
    pub engine: Engine,
    /// Payload bytes of one frame.
    pub frame_size: usize,
    /// Whether to offer permessage-deflate; `ws://` and the own engine only.
    pub deflate: bool,
    /// The digest that both sides compute.
    pub digest: Algorithm,
    /// Congestion control of our socket.
    pub congestion: Congestion,
    /// How long one address may take to answer, and a handshake.
    pub connect_timeout: Duration,
    /// How long the server may neither take bytes nor answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain: false,
            engine: Engine::Own,
            frame_size: DEFAULT_FRAME_SIZE,
            deflate: false,
            digest: Algorithm::default(),
            congestion: Congestion::Auto,
            connect_timeout: Duration::from_secs(10),
            // A receipt comes after fsync, and a slow disk may have gigabytes to write.
            timeout: Duration::from_secs(300),
        }
    }
}

/// Frames of this size cost nothing to frame, and a ping waits for at most one of them.
const DEFAULT_FRAME_SIZE: usize = 256 * 1024;

/// A file that was sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sent {
    /// The server.
    pub peer: SocketAddr,
    /// Bytes sent.
    pub bytes: u64,
    /// Their digest.
    pub digest: Option<Digest>,
    /// What the server says it received; already compared. `None` from a peer that gives no receipts.
    pub receipt: Option<Receipt>,
    /// The congestion control that our socket used.
    pub congestion: String,
}

/// Sends `sources` in order over one connection (plain: one each), telling `progress` of every count of bytes as it
/// goes out, and `sent` of every file as its receipt comes.
///
/// # Errors
/// The first thing that went wrong; files before it have been told to `sent`.
pub fn send(
    sources: Vec<Source>,
    target: &Target,
    options: &Options,
    progress: &dyn Fn(u64),
    sent: &mut dyn FnMut(Sent),
) -> Result<(), SendError> {
    // A path names one file; of several each keeps its own name.
    let name = target.file_name()?.filter(|_| sources.len() == 1);
    let mut channel = None;
    for source in sources {
        let name = name.clone().or_else(|| source.name());
        let mut content = source.open(options.digest)?;
        let digest = Some(options.digest);
        let offer = Offer { name, size: content.size(), digest, ..Offer::default() };
        let open = match &mut channel {
            Some(open) => open,
            none => none.insert(Channel::open(target, options)?),
        };
        let (peer, congestion) = (open.peer, open.congestion.clone());
        let receipt = open.transfer(&offer, &mut content, options, progress)?;
        let (bytes, digest) = content.finish();
        if let Some(receipt) = &receipt {
            check(peer, bytes, digest, receipt)?;
        }
        sent(Sent { peer, bytes, digest, receipt, congestion });
        if let Some(open) = channel.take_if(|open| !open.takes_more()) {
            open.close()?;
        }
    }
    channel.map_or(Ok(()), Channel::close)
}

fn check(
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

/// A connection that files go over.
struct Channel {
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
    fn open(target: &Target, options: &Options) -> Result<Self, SendError> {
        let stream = dial(&target.host, target.port, options.connect_timeout)?;
        let (peer, congestion) = prepare(&stream, options)?;
        // Handshakes are short; then the longer patience of a transfer holds.
        set_patience(&stream, options.connect_timeout);
        let patient = stream.try_clone();
        let kind =
            match (target.scheme, options.engine) {
                (Scheme::Tcp, _) => Kind::Raw(RawChannel::new(stream, peer, options.plain)),
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

    fn transfer(
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

    /// Whether a second file can follow the first.
    const fn takes_more(&self) -> bool {
        match &self.kind {
            Kind::Raw(channel) => channel.takes_more(),
            Kind::Ws(channel) => channel.takes_more(),
            Kind::Library(channel) => channel.takes_more(),
        }
    }

    fn close(self) -> Result<(), SendError> {
        match self.kind {
            // FIN between two lines is the orderly end of raw TCP.
            Kind::Raw(_) => Ok(()),
            Kind::Ws(channel) => channel.close(),
            Kind::Library(channel) => channel.close(),
        }
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
    let _ = stream.set_nodelay(true);
    Ok((peer, congestion))
}

/// How long a read or write may wait. A socket that takes no time-out is used without one.
pub(crate) fn set_patience(stream: &TcpStream, patience: Duration) {
    let _ = stream.set_read_timeout(Some(patience));
    let _ = stream.set_write_timeout(Some(patience));
}

/// Only for a socket that has lost its peer between connect and the first question.
const UNKNOWN_PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
