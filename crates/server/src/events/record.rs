//! The access log: one line at the end of each connection, collected while it is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use anyport_proto::peer::Peer;
use anyport_proto::visible::make_visible;

use super::counters::Counters;
use crate::tokens::User;
use crate::traces::{Traced, Waits};

/// The record of one connection, shared by all that serve it. The last owner that drops it writes
/// the line.
#[derive(Debug)]
pub(crate) struct Record {
    peer: Mutex<Peer>,
    accepted: Instant,
    counters: Arc<Counters>,
    received: AtomicU64,
    sent: AtomicU64,
    requests: AtomicU64,
    files: AtomicU64,
    details: Mutex<Details>,
    traced: OnceLock<Traced>,
}

#[derive(Debug, Default)]
struct Details {
    /// The protocol that was spoken last: after an upgrade, or confirmed frames.
    protocol: Option<&'static str>,
    /// The reason of the detection result.
    reason: Option<String>,
    /// When the TLS handshake was complete.
    encrypted: Option<Instant>,
    user: Option<User>,
    /// The client of the last request that a trusted proxy forwarded.
    client: Option<Peer>,
    /// Version and cipher suite.
    tls: Option<String>,
    /// Why it did not close cleanly.
    broken: Option<String>,
}

impl Record {
    /// Begins the record of a connection that was accepted.
    pub(crate) fn begin(peer: Peer, counters: Arc<Counters>) -> Arc<Self> {
        counters.opened();
        Arc::new(Self {
            peer: Mutex::new(peer),
            accepted: Instant::now(),
            counters,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            files: AtomicU64::new(0),
            details: Mutex::default(),
            traced: OnceLock::new(),
        })
    }

    /// Records the client for which a proxy connected.
    pub(crate) fn is_from(&self, client: Peer) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Records the protocol or the service of the connection.
    pub(crate) fn speaks(&self, protocol: &'static str) {
        self.lock().protocol = Some(protocol);
    }

    /// Returns when the connection was accepted.
    pub(crate) const fn accepted(&self) -> Instant {
        self.accepted
    }

    /// Returns the protocol or the service, and the reason of the detection result.
    pub(crate) fn detected(&self) -> (Option<&'static str>, Option<String>) {
        let details = self.lock();
        (details.protocol, details.reason.clone())
    }

    /// Adds a trace of the connection, from now on.
    pub(crate) fn trace(&self, traced: Traced) {
        let _ = self.traced.set(traced);
    }

    /// Returns the trace of the connection, if there is one.
    pub(crate) fn traced(&self) -> Option<&Traced> {
        self.traced.get()
    }

    /// Returns what a trace has measured so far; nothing without a trace.
    pub(crate) fn waits(&self) -> Waits {
        self.traced().map(Traced::waits).unwrap_or_default()
    }

    /// Records the detection result and its reason.
    pub(crate) fn decided(&self, protocol: &'static str, reason: String) {
        if let Some(traced) = self.traced() {
            traced.decided(protocol, &reason);
        }
        let mut details = self.lock();
        (details.protocol, details.reason) = (Some(protocol), Some(reason));
    }

    /// Records that a candidate is bare frames; unless `announced`, their text is content.
    pub(crate) fn is_frames(&self, announced: bool, reason: String) {
        if let Some(traced) = self.traced() {
            traced.frames(announced);
        }
        self.decided("frames", reason);
    }

    /// Records in the trace that all that is sent from here on is content of a client.
    pub(crate) fn sends_content(&self) {
        if let Some(traced) = self.traced() {
            traced.sends_content();
        }
    }

    /// Records TLS version and cipher suite.
    pub(crate) fn is_under(&self, encryption: Option<String>) {
        self.lock().tls = encryption;
    }

    /// Records that the TLS handshake is complete now.
    pub(crate) fn encrypted(&self) {
        self.lock().encrypted = Some(Instant::now());
    }

    /// Returns when the TLS handshake was complete.
    pub(crate) fn encrypted_at(&self) -> Option<Instant> {
        self.lock().encrypted
    }

    /// Returns TLS version and cipher suite; `None` without TLS.
    pub(crate) fn encryption(&self) -> Option<String> {
        self.lock().tls.clone()
    }

    /// Records the owner of the token that the client sent.
    pub(crate) fn is_of(&self, user: User) {
        self.lock().user = Some(user);
    }

    /// Records the client of a request that a trusted proxy forwarded.
    pub(crate) fn is_for(&self, client: Peer) {
        self.lock().client = Some(client);
    }

    /// Counts a request: of HTTP, a line, a handshake.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(traced) = self.traced() {
            traced.request();
        }
    }

    /// Counts a file that was transferred completely.
    pub(crate) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Records why the connection was interrupted; the first reason is kept.
    pub(crate) fn broken(&self, reason: &str) {
        if let Some(traced) = self.traced() {
            traced.broken(reason);
        }
        // The journal shows its fields unescaped.
        self.lock().broken.get_or_insert_with(|| make_visible(reason).into_owned());
    }

    /// Records a refusal in the trace.
    pub(crate) fn refused(&self, reason: &str) {
        if let Some(traced) = self.traced() {
            traced.refused(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.accepted.elapsed();
        self.counters.closed(elapsed);
        let details =
            std::mem::take(self.details.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Details { protocol, reason, user, client, tls, broken, .. } = details;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tracing::info!(
            peer = %self.peer.lock().unwrap_or_else(PoisonError::into_inner),
            client = client.map(tracing::field::display),
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

/// The bytes of a connection, counted without synchronization and published now and then.
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
        self.publish_if_many();
    }

    pub(crate) fn sent(&mut self, count: u64) {
        self.sent += count;
        self.publish_if_many();
    }

    fn publish_if_many(&mut self) {
        if self.received + self.sent >= PUBLISH_EVERY {
            self.publish();
        }
    }

    /// Publishes the counts.
    pub(crate) fn publish(&mut self) {
        let (received, sent) = (std::mem::take(&mut self.received), std::mem::take(&mut self.sent));
        self.record.received.fetch_add(received, Ordering::Relaxed);
        self.record.sent.fetch_add(sent, Ordering::Relaxed);
        self.record.counters.moved(received, sent);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.publish();
    }
}

/// Bytes that the counts of a server may lag behind for each connection.
const PUBLISH_EVERY: u64 = 256 * 1024;
