//! Connections to servers, made in one place for every command.
//!
//! ```text
//!   resolve ─► dial ─► proxy ─► socket options ─► TLS and trust ─► handshake of the protocol
//!   └──────────── connect_timeout, for each address and read ──────────────┘ then timeout
//! ```

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyport_net::address::Address;
use anyport_net::congestion::Congestion;
use anyport_net::dial::{DialError, dial_observed};
use anyport_net::tcp_info::TcpInfo;
use anyport_net::unix;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::tcp_seen::TcpSeen;
use anyport_tls::{ALPN_H2, ALPN_HTTP_1_1};
use anyport_trace::Recorder;
use socket2::{SockRef, TcpKeepalive};

use crate::capture::Capture;
use crate::error::{Error, ErrorKind, Transferred};
use crate::proxy::{Proxies, ProxyError, tunnel};
use crate::stream::{Encryption, Stream};
use crate::target::{Scheme, Target};
use crate::trace::{TlsTime, Traced};

/// Options of a connection, whatever is transferred over it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Proxies to connect through.
    ///
    /// The peer of such a connection is the proxy.
    pub proxies: Proxies,
    /// The Unix socket to connect to instead of the host of the target, and instead of a proxy.
    pub unix_socket: Option<PathBuf>,
    /// Congestion control of the client's socket.
    pub congestion: Congestion,
    /// Servers to trust under TLS.
    pub encryption: Encryption,
    /// Maximum time for one address to answer, and for each read of a handshake.
    pub connect_timeout: Duration,
    /// Maximum time in which the server neither reads nor sends.
    pub timeout: Duration,
    /// Maximum time in which the server's kernel acknowledges no data, or accepts none.
    ///
    /// The system alone would retransmit for a quarter of an hour. `None` waits, for servers that
    /// read nothing until another client arrives.
    pub unacknowledged: Option<Duration>,
    /// Records what happens on each layer.
    pub trace: Option<Recorder>,
    /// Captures the packets of traced connections.
    pub capture: Option<Capture>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            proxies: Proxies::Direct,
            unix_socket: None,
            congestion: Congestion::Auto,
            encryption: Encryption::default(),
            connect_timeout: Duration::from_secs(10),
            // A receipt follows fsync, and the end of a download follows the server's hashing of
            // content that the client has: slow disks need minutes for gigabytes.
            timeout: Duration::from_secs(300),
            unacknowledged: Some(Duration::from_secs(20)),
            trace: None,
            capture: None,
        }
    }
}

/// A new connection. TLS is established if the target asks for it.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    pub(crate) socket: Socket,
}

/// A second handle of a connection's socket: its time limits and its TCP statistics.
pub(crate) struct Socket {
    handle: Option<Arc<TcpStream>>,
    /// The congestion control in use.
    pub(crate) congestion: String,
    /// When it began to be opened, until the first transfer takes it.
    began: Mutex<Option<Instant>>,
    tls: Option<TlsTime>,
}

/// What a connection counts, for as long as it is open.
#[derive(Clone)]
pub(crate) struct Counters {
    handle: Weak<TcpStream>,
    tls: Option<TlsTime>,
}

impl Counters {
    /// Returns the kernel's statistics of the connection; empty if it has none, or is closed.
    pub(crate) fn tcp(&self) -> TcpInfo {
        let handle = self.handle.upgrade();
        handle.and_then(|socket| TcpInfo::of(&*socket).ok()).unwrap_or_default()
    }

    /// Returns whether the socket ends on this machine, as that of a server or of a tunnel here.
    pub(crate) fn is_local(&self) -> bool {
        let Some(socket) = self.handle.upgrade() else { return false };
        let (Ok(peer), Ok(local)) = (socket.peer_addr(), socket.local_addr()) else {
            return false;
        };
        peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip()
    }

    /// Returns the time that TLS took so far.
    pub(crate) fn tls(&self) -> Duration {
        self.tls.as_ref().map(TlsTime::total).unwrap_or_default()
    }
}

/// Connects to `target`. Reads and writes are limited by `connect_timeout` until
/// [`Socket::end_handshake`].
pub(crate) fn connect(target: &Target, options: &ConnectOptions) -> Result<Connection, Error> {
    let traced = options.trace.as_ref();
    let capture = options.capture.clone();
    let traced = traced.map(|recorder| Traced::begin(recorder, target.scheme, capture));
    if let (Some(recorder), Some(token)) = (&options.trace, &target.token) {
        recorder.secret(token.expose());
    }
    let began = Instant::now();
    let stream = reach(target, options, traced.as_ref())?;
    let (peer, congestion) = prepare(&stream, options)?;
    if let Some(traced) = &traced {
        traced.connected(&stream, peer.to_string(), &congestion);
    }
    let handle = stream.try_clone().ok().map(Arc::new);
    let (alpn, encryption) = (alpn(target.scheme), &options.encryption);
    let stream = Stream::open(stream, peer, target, alpn, encryption, traced)?;
    let (began, tls) = (Mutex::new(Some(began)), stream.tls_time());
    let socket = Socket { handle, congestion, began, tls };
    Ok(Connection { stream, peer, socket })
}

/// Dials the target, or its proxy, which then opens a tunnel to the target.
fn reach(
    target: &Target,
    options: &ConnectOptions,
    traced: Option<&Traced>,
) -> Result<TcpStream, Error> {
    let timeout = options.connect_timeout;
    if let Some(path) = options.unix_socket.as_ref().or(target.socket.as_ref()) {
        let address = || Address::Unix(path.clone()).to_string();
        if let Some(traced) = traced {
            traced.attempt(address());
        }
        let stream = unix::connect(path, timeout).map_err(|source| {
            if let Some(traced) = traced {
                traced.attempt_failed(address(), &source);
            }
            DialError::Unix { path: path.clone(), source }
        })?;
        set_timeouts(&stream, timeout);
        return Ok(stream);
    }
    let dial = |host: &str, port| {
        let began = Instant::now();
        dial_observed(host, port, timeout, &mut |step| {
            if let Some(traced) = traced {
                traced.step(host, began, step);
            }
        })
    };
    let Some(proxy) = options.proxies.of(target)? else {
        let stream = dial(&target.host, target.port)?;
        set_timeouts(&stream, timeout);
        return Ok(stream);
    };
    if let Some(traced) = traced {
        let target = target.address();
        traced.note(format!("{target} is reached through the proxy {proxy}"));
    }
    let opened = dial(&proxy.host, proxy.port).map_err(ProxyError::from);
    let opened = opened.and_then(|stream| {
        set_timeouts(&stream, timeout);
        tunnel(&stream, &proxy, target, timeout).map(|()| stream)
    });
    opened.map_err(|reason| {
        let (target, proxy, reason) = (target.address(), proxy.to_string(), Box::new(reason));
        ErrorKind::Proxy { target, proxy, reason }.into()
    })
}

impl Socket {
    /// Replaces the time limit of handshakes by `timeout`.
    pub(crate) fn end_handshake(&self, timeout: Duration) {
        // Without a second handle the short limit stays, which fails on slow disks only.
        if let Some(socket) = &self.handle {
            set_timeouts(socket, timeout);
        }
    }

    /// Returns what the connection counts.
    pub(crate) fn counters(&self) -> Counters {
        let handle = self.handle.as_ref().map(Arc::downgrade).unwrap_or_default();
        Counters { handle, tls: self.tls.clone() }
    }

    /// Returns when it began to be opened, once: its first transfer includes that time.
    pub(crate) fn take_began(&self) -> Option<Instant> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the part of the statistics that a sender reports.
    pub(crate) fn seen(&self) -> TcpSeen {
        let tcp = self.counters().tcp();
        let TcpInfo { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate, .. } = tcp;
        TcpSeen { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate }
    }
}

/// Returns the protocols to offer under TLS (RFC 7301); none for protocols without a name.
const fn alpn(scheme: Scheme) -> &'static [&'static [u8]] {
    match scheme {
        Scheme::Http => &[ALPN_H2, ALPN_HTTP_1_1],
        Scheme::Ws => &[ALPN_HTTP_1_1],
        Scheme::Tcp | Scheme::Frames => &[],
    }
}

/// Sets the socket's options; returns the peer and the congestion control in use.
fn prepare(stream: &TcpStream, options: &ConnectOptions) -> Result<(Peer, String), Error> {
    // A Unix socket has neither addresses nor the options of TCP.
    if unix::is_unix(stream) {
        return Ok((Peer::Unix, String::new()));
    }
    let no_peer = |source| Error::from(ErrorKind::Lost(Transferred::Sent(0))).because(source);
    let peer = stream.peer_addr().map_err(no_peer)?;
    let local = stream.local_addr().map_err(no_peer)?;
    let congestion = options.congestion.apply(stream, local, peer).map_err(|e| {
        Error::from(ErrorKind::Congestion(options.congestion.to_string())).because(e)
    })?;
    // A server that vanished is noticed while the client waits for its receipt. None of these
    // options may fail a transfer.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(6);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = SockRef::from(stream).set_tcp_user_timeout(options.unacknowledged);
    let _ = stream.set_nodelay(true);
    Ok((peer.into(), congestion))
}

/// Limits each read and write. A socket that accepts no limit is used without one.
fn set_timeouts(stream: &TcpStream, timeout: Duration) {
    let _ = stream.set_read_timeout(Some(timeout));
    let _ = stream.set_write_timeout(Some(timeout));
}
