//! Sends files over one connection, and checks each receipt against what was sent. A connection that breaks off is
//! replaced by another one, which goes on where the server has bytes up to.

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyport_net::congestion::Congestion;
use anyport_net::dial::dial;
use anyport_net::tcp_info::TcpInfo;
use anyport_proto::limits::MAX_PASSED_OVER;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::offer::{Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Receipt};
use anyport_proto::transfer::tcp_seen::TcpSeen;
use socket2::{SockRef, TcpKeepalive};

use crate::channel::library::LibraryChannel;
use crate::channel::raw::RawChannel;
use crate::channel::ws::WsChannel;
use crate::content::{Content, Identity, Source};
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
    /// Whether to go on where an earlier attempt broke off.
    pub resume: bool,
    /// Whether the server is told when a file was last changed, and gives its copy the same time. It tells by that whether
    /// it has the file already.
    pub times: bool,
    /// Whether the copy gets the permissions of the file.
    pub permissions: bool,
    /// What happens if another file has the name; `None` leaves it to the server.
    pub on_exists: Option<OnExists>,
    /// How often in a row an attempt may bring nothing before it is given up.
    pub retries: u32,
    /// How long may be tried without a byte being brought.
    pub retry_max_time: Duration,
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
            resume: true,
            times: true,
            permissions: false,
            on_exists: None,
            retries: 10,
            retry_max_time: Duration::from_secs(600),
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
    /// What our TCP knew of the connection when the receipt had come.
    pub tcp: TcpSeen,
}

/// Hears how it goes.
pub trait Observer {
    /// Of the file that is being sent, so many bytes are there or on their way.
    fn position(&self, bytes: u64);
    /// A file is there, and its receipt has been checked.
    fn sent(&self, sent: Sent);
    /// The connection broke off; another attempt follows in `delay`.
    fn retrying(&self, error: &SendError, delay: Duration);
}

/// Sends `sources` in order over one connection (plain: one each). Where it breaks off, and the source can be read again,
/// another one goes on.
///
/// # Errors
/// The first thing that went wrong and cannot be mended by trying again; files before it have been told to `observer`.
pub fn send(
    sources: &[Source],
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(), SendError> {
    let place = target.place()?;
    let mut connection = Connection { target, options, channel: None };
    for source in sources {
        let name = place.name(source.name());
        let mut attempts = Attempts::new(options);
        let sent = loop {
            match connection.attempt(source, name.as_deref(), &mut attempts, observer) {
                Ok(sent) => break sent,
                Err(error) => {
                    connection.channel = None;
                    let Some(delay) = attempts.delay(&error) else { return Err(error) };
                    observer.retrying(&error, delay);
                    std::thread::sleep(delay);
                }
            }
        };
        observer.sent(sent);
        if let Some(open) = connection.channel.take_if(|open| !open.takes_more()) {
            open.close()?;
        }
    }
    connection.channel.map_or(Ok(()), Channel::close)
}

struct Connection<'a> {
    target: &'a Target,
    options: &'a Options,
    channel: Option<Channel>,
}

impl Connection<'_> {
    fn attempt(
        &mut self,
        source: &Source,
        name: Option<&str>,
        attempts: &mut Attempts,
        observer: &dyn Observer,
    ) -> Result<Sent, SendError> {
        let options = self.options;
        let mut content = source.open(options.digest)?;
        attempts.check(source, content.identity())?;
        let open = match &mut self.channel {
            Some(open) => open,
            none => none.insert(Channel::open(self.target, options)?),
        };
        attempts.connected = true;
        let mut offer = content.offer();
        offer.name = name.map(str::to_owned);
        offer.exists = options.on_exists;
        offer.mode = offer.mode.filter(|_| options.permissions);
        offer.mtime = offer.mtime.filter(|_| options.times);
        // A small one is sent again sooner than asked about.
        let is_long = content.size().is_some_and(|size| size > MAX_PASSED_OVER);
        offer.resume = options.resume && is_long && open.can_resume();
        let (peer, congestion) = (open.peer, open.congestion.clone());
        let progress = |bytes| {
            attempts.brought(bytes);
            observer.position(bytes);
        };
        let receipt = open.transfer(&offer, &mut content, options, &progress)?;
        let digest = content.digest()?;
        let bytes = match &receipt {
            // Nothing was read, or not from the beginning.
            Some(receipt) if receipt.end == EndKind::AlreadyHere => {
                content.size().unwrap_or_default()
            }
            _ => content.bytes(),
        };
        if let Some(receipt) = &receipt {
            check(peer, bytes, digest, receipt)?;
        }
        let tcp = open.tcp_seen();
        Ok(Sent { peer, bytes, digest, receipt, congestion, tcp })
    }
}

/// How often one file has been tried.
struct Attempts {
    left: Cell<u32>,
    retries: u32,
    max_time: Duration,
    /// When bytes last got further.
    last: Cell<Instant>,
    furthest: Cell<u64>,
    /// Whether there has been a connection: without one it is no break.
    connected: bool,
    identity: Option<Identity>,
}

impl Attempts {
    fn new(options: &Options) -> Self {
        Self {
            left: Cell::new(options.retries),
            retries: options.retries,
            max_time: options.retry_max_time,
            last: Cell::new(Instant::now()),
            furthest: Cell::new(0),
            connected: false,
            identity: None,
        }
    }

    /// Whether the source is what it was at the first attempt.
    fn check(&mut self, source: &Source, now: Option<&Identity>) -> Result<(), SendError> {
        match &self.identity {
            None => self.identity = now.cloned(),
            Some(before) if Some(before) == now => {}
            Some(_) => return Err(SendError::Changed { path: source.path().to_owned() }),
        }
        Ok(())
    }

    fn brought(&self, bytes: u64) {
        if bytes > self.furthest.get() {
            self.furthest.set(bytes);
            self.left.set(self.retries);
            self.last.set(Instant::now());
        }
    }

    /// How long to wait before the next attempt; `None` where there is none.
    fn delay(&self, error: &SendError) -> Option<Duration> {
        // What cannot be read twice cannot be sent twice; and who never was there does not come back.
        let worth = self.identity.is_some() && self.connected && error.may_pass();
        let left = self.left.get();
        if !worth || left == 0 || self.last.get().elapsed() > self.max_time {
            return None;
        }
        self.left.set(left - 1);
        let doublings = (self.retries - left).min(16);
        Some((FIRST_DELAY * 2_u32.pow(doublings)).min(LONGEST_DELAY))
    }
}

/// Before the first attempt to go on.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

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

    /// Nothing, where the kernel does not say.
    fn tcp_seen(&self) -> TcpSeen {
        let asked = match &self.kind {
            Kind::Raw(channel) => TcpInfo::of(channel.socket()),
            Kind::Ws(channel) => TcpInfo::of(channel.socket()),
            Kind::Library(channel) => TcpInfo::of(channel.socket()),
        };
        let TcpInfo { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate, .. } =
            asked.unwrap_or_default();
        TcpSeen { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate }
    }

    /// Whether a second file can follow the first.
    const fn takes_more(&self) -> bool {
        match &self.kind {
            Kind::Raw(channel) => channel.takes_more(),
            Kind::Ws(channel) => channel.takes_more(),
            Kind::Library(channel) => channel.takes_more(),
        }
    }

    /// Whether the server says where to go on.
    const fn can_resume(&self) -> bool {
        match &self.kind {
            Kind::Raw(channel) => !channel.is_plain(),
            Kind::Ws(channel) => channel.takes_more(),
            // It is there to be compared with, and sends a file in one go.
            Kind::Library(_) => false,
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
