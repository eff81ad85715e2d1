//! The socket of a session, for statistics and for the way it closes: sessions and services
//! have no socket, but a receipt has socket statistics.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyport_net::congestion;
use anyport_net::saved_syn::saved_syn;
use anyport_net::tcp_info::{Delivery, TcpInfo};
use anyport_proto::transfer::tcp_seen::TcpSeen;

/// A weak link to the socket of a connection. It does not keep the socket open, because the peer
/// must see the close of its last owner.
#[derive(Clone)]
pub(crate) struct Link(Arc<Mutex<Inner>>);

struct Inner {
    socket: Weak<Socket>,
    /// The SYN, which the kernel returns only once, after [`Link::peeked_syn`].
    syn: Option<Box<[u8]>>,
    /// Whether the connection ends in a reset.
    resets: bool,
    /// Whether this end shut the socket.
    is_shut: bool,
}

pub(crate) type Socket = dyn AsFd + Send + Sync;

impl Link {
    /// Returns a link without a socket.
    pub(crate) fn new() -> Self {
        let socket = Weak::<std::net::TcpStream>::new();
        Self(Arc::new(Mutex::new(Inner { socket, syn: None, resets: false, is_shut: false })))
    }

    /// Links `socket`.
    pub(crate) fn lead_to(&self, socket: &Arc<impl AsFd + Send + Sync + 'static>) {
        let socket: Weak<Socket> = Arc::downgrade(socket) as Weak<Socket>;
        self.state().socket = socket;
    }

    /// Shuts the socket down in both directions.
    pub(crate) fn shut(&self) {
        let socket = {
            let mut state = self.state();
            state.is_shut = true;
            state.socket.upgrade()
        };
        if let Some(socket) = socket {
            // An error means that it is closed already.
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        }
    }

    /// Returns whether the peer is gone: it reset or closed the connection. With `half_close`
    /// its FIN alone is enough. Costs a system call.
    pub(crate) fn is_gone(&self, half_close: bool) -> bool {
        let socket = self.state().socket.upgrade();
        socket.is_some_and(|socket| anyport_net::linger::is_over(&*socket, half_close))
    }

    /// Makes the end of the connection a reset: FIN would mean that the content is complete.
    pub(crate) fn reset_at_end(&self) {
        self.state().resets = true;
        self.linger(Some(Duration::ZERO));
    }

    /// Until [`Self::ends_in_order`], any end of the connection, also the death of this
    /// process, is a reset to the peer: for content that only FIN ends.
    pub(crate) fn resets_until_the_end(&self) {
        self.linger(Some(Duration::ZERO));
    }

    /// Records that all output is with the kernel, so that FIN may follow.
    pub(crate) fn ends_in_order(&self) {
        if !self.resets() {
            self.linger(None);
        }
    }

    /// Returns whether [`Self::shut`] ended the connection.
    pub(crate) fn is_shut(&self) -> bool {
        self.state().is_shut
    }

    fn linger(&self, linger: Option<Duration>) {
        let socket = self.state().socket.upgrade();
        if let Some(socket) = socket {
            // An error means that the connection is closed already.
            let _ = rustix::net::sockopt::set_socket_linger(&*socket, linger);
        }
    }

    /// Returns whether the connection ends in a reset.
    pub(crate) fn resets(&self) -> bool {
        self.state().resets
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many of the written bytes were delivered; `None` where there is no TCP
    /// socket.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        let socket = self.state().socket.upgrade()?;
        Delivery::of(&*socket).ok()
    }

    /// Returns the SYN with which the connection began, once.
    pub(crate) fn saved_syn(&self) -> Option<Vec<u8>> {
        if let Some(syn) = self.state().syn.take() {
            return Some(syn.into_vec());
        }
        self.with_socket(|socket| saved_syn(socket))
    }

    /// Returns the SYN with which the connection began, and leaves it for [`Self::saved_syn`].
    pub(crate) fn peeked_syn(&self) -> Option<Vec<u8>> {
        let syn = self.saved_syn()?;
        self.state().syn = Some(syn.clone().into_boxed_slice());
        Some(syn)
    }

    /// Calls `ask` with the socket, if it is open and not on a reactor thread.
    pub(crate) fn with_socket<T>(&self, ask: impl FnOnce(&Socket) -> Option<T>) -> Option<T> {
        let socket = self.state().socket.upgrade()?;
        ask(&*socket)
    }

    /// Returns the name of its congestion control, and its TCP statistics; empty without a TCP
    /// socket.
    pub(crate) fn seen(&self) -> (Option<String>, TcpSeen) {
        let socket = self.state().socket.upgrade();
        let Some(socket) = socket else { return Default::default() };
        let TcpInfo { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate, .. } =
            TcpInfo::of(&*socket).unwrap_or_default();
        let tcp = TcpSeen { rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate };
        (congestion::in_use(&*socket).ok(), tcp)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}
