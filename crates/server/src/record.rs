//! What is said of a connection at its end, in one line, gathered while it lasts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyport_proto::visible::make_visible;

use crate::access::User;
use crate::counters::Counters;

/// The facts of one connection. Whoever serves it holds it; when the last of them lets go, it is told.
#[derive(Debug)]
pub(crate) struct Record {
    peer: SocketAddr,
    accepted: Instant,
    counters: Arc<Counters>,
    received: AtomicU64,
    sent: AtomicU64,
    requests: AtomicU64,
    files: AtomicU64,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// What was spoken last, as an upgrade or a proof is what it was about.
    protocol: Option<&'static str>,
    /// Why it was taken for that.
    reason: Option<String>,
    user: Option<User>,
    /// Version and cipher suite.
    tls: Option<String>,
    /// Why it did not end in order.
    broken: Option<String>,
}

impl Record {
    /// A connection was accepted, and is open from here on.
    pub(crate) fn begin(peer: SocketAddr, counters: Arc<Counters>) -> Arc<Self> {
        counters.opened();
        Arc::new(Self {
            peer,
            accepted: Instant::now(),
            counters,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            files: AtomicU64::new(0),
            facts: Mutex::default(),
        })
    }

    /// What it speaks, or gets, from here on.
    pub(crate) fn speaks(&self, protocol: &'static str) {
        self.lock().protocol = Some(protocol);
    }

    /// The same, and why.
    pub(crate) fn decided(&self, protocol: &'static str, reason: String) {
        let mut facts = self.lock();
        (facts.protocol, facts.reason) = (Some(protocol), Some(reason));
    }

    /// Which encryption it is under, if it is.
    pub(crate) fn is_under(&self, encryption: Option<String>) {
        self.lock().tls = encryption;
    }

    /// Whose token it showed.
    pub(crate) fn is_of(&self, user: User) {
        self.lock().user = Some(user);
    }

    /// Returns the owner of the token that the client showed.
    pub(crate) fn user(&self) -> Option<User> {
        self.lock().user.clone()
    }

    /// It asked for something: a request, a line, a handshake.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A file went through it, whole.
    pub(crate) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// It broke; the first reason stands.
    pub(crate) fn broken(&self, reason: &str) {
        // The journal shows its fields as they are.
        self.lock().broken.get_or_insert_with(|| make_visible(reason).into_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.accepted.elapsed();
        self.counters.closed(elapsed);
        let facts = std::mem::take(self.facts.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Facts { protocol, reason, user, tls, broken } = facts;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tracing::info!(
            peer = %self.peer,
            protocol = protocol.unwrap_or("none"),
            reason,
            tls,
            user = user.as_deref(),
            bytes_in = load(&self.received),
            bytes_out = load(&self.sent),
            requests = load(&self.requests),
            files = load(&self.files),
            seconds = elapsed.as_secs_f64(),
            close = broken.as_deref().unwrap_or("clean"),
            "connection ended"
        );
    }
}

/// Bytes of a connection, counted where they pass and told now and then, as each telling costs more than a count.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) record: Arc<Record>,
    received: u64,
    sent: u64,
}

impl Tally {
    pub(crate) const fn new(record: Arc<Record>) -> Self {
        Self { record, received: 0, sent: 0 }
    }

    pub(crate) fn received(&mut self, count: u64) {
        self.received += count;
        self.tell_if_many();
    }

    pub(crate) fn sent(&mut self, count: u64) {
        self.sent += count;
        self.tell_if_many();
    }

    fn tell_if_many(&mut self) {
        if self.received + self.sent >= TELL_EVERY {
            self.tell();
        }
    }

    /// Whoever asks for the counts sees these from now on.
    pub(crate) fn tell(&mut self) {
        let (received, sent) = (std::mem::take(&mut self.received), std::mem::take(&mut self.sent));
        self.record.received.fetch_add(received, Ordering::Relaxed);
        self.record.sent.fetch_add(sent, Ordering::Relaxed);
        self.record.counters.moved(received, sent);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Bytes that the counts of a server may lag behind for each connection.
const TELL_EVERY: u64 = 256 * 1024;
