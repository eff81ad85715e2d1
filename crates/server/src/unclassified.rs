//! Connections whose protocol is not known yet, bounded in number.
//!
//! A connection costs a peer nothing and the server one of its permits (`permits.rs`), therefore
//! silent peers must not be able to use up all permits. At the limit a new connection therefore
//! evicts the one that has been silent longest: refusing the new one would lock out every client
//! with something to send, and such clients send immediately. The evicted connection is one of the
//! address (IPv6: /64) that has the most silent ones, so a flood from one address evicts its own.
//!
//! If none is silent, the connection that has been unclassified longest is classified by its input
//! so far, as at its deadline. No byte is lost, and it would have had at most the detection time
//! anyway.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyport_proto::peer::Peer;
use tokio::sync::oneshot;

use crate::address::counted_as;

/// The unclassified connections of a server.
#[derive(Debug)]
pub(crate) struct Unclassified {
    limit: AtomicUsize,
    queues: Mutex<Queues>,
}

/// By age, oldest first. Dropping a sender evicts its connection.
#[derive(Debug, Default)]
struct Queues {
    next: u64,
    silent: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    /// Number of silent connections of each address.
    silent_of_address: HashMap<IpAddr, usize>,
    speaking: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The registration of one connection, until it is classified or closed; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Registration {
    id: u64,
    address: IpAddr,
    unclassified: Arc<Unclassified>,
    evicted: oneshot::Receiver<()>,
}

impl Unclassified {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), queues: Mutex::default() }
    }

    /// Changes the limit, and evicts the connections beyond it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.lock().shrink_to(limit);
    }

    /// Registers a new connection of `peer`; at the limit, evicts another one.
    pub(crate) fn register(self: &Arc<Self>, peer: Peer) -> Registration {
        let address = counted_as(peer);
        let (evict, evicted) = oneshot::channel();
        let mut queues = self.lock();
        queues.shrink_to(self.limit.load(Ordering::Relaxed).saturating_sub(1));
        let id = queues.next;
        queues.next += 1;
        queues.add_silent(id, address, evict);
        drop(queues);
        Registration { id, address, unclassified: self.clone(), evicted }
    }

    /// Evicts a silent connection, if there is one. Also called when all permits for connections
    /// are in use.
    pub(crate) fn evict_silent(&self) {
        self.lock().evict_silent();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn add_silent(&mut self, id: u64, address: IpAddr, evict: oneshot::Sender<()>) {
        self.silent.insert(id, (address, evict));
        *self.silent_of_address.entry(address).or_default() += 1;
    }

    fn remove_silent(&mut self, id: u64) -> Option<oneshot::Sender<()>> {
        let (address, evict) = self.silent.remove(&id)?;
        if let Some(count) = self.silent_of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.silent_of_address.remove(&address);
            }
        }
        Some(evict)
    }

    /// Evicts connections until at most `limit` are left.
    fn shrink_to(&mut self, limit: usize) {
        while self.silent.len() + self.speaking.len() > limit {
            if !self.evict_silent() {
                self.speaking.pop_first();
            }
        }
    }

    /// Evicts the longest silent connection of the address that has the most of them.
    fn evict_silent(&mut self) -> bool {
        let most = self.silent_of_address.values().max().copied().unwrap_or(0);
        let oldest =
            self.silent.iter().find(|(_, (address, _))| self.silent_of_address[address] == most);
        let oldest = oldest.map(|(id, _)| *id);
        oldest.and_then(|id| self.remove_silent(id)).is_some()
    }
}

impl Registration {
    /// Registers the connection for another client; what arrived so far is no input of that.
    pub(crate) fn of(self, client: Peer) -> Self {
        let unclassified = self.unclassified.clone();
        drop(self);
        unclassified.register(client)
    }

    /// Records that the first byte arrived.
    pub(crate) fn speaks(&self) {
        let mut queues = self.unclassified.lock();
        if let Some(evict) = queues.remove_silent(self.id) {
            queues.speaking.insert(self.id, evict);
        }
    }

    /// Records that the input was TLS, and that no decrypted byte has arrived yet.
    pub(crate) fn mark_silent(&self) {
        let mut queues = self.unclassified.lock();
        if let Some(evict) = queues.speaking.remove(&self.id) {
            queues.add_silent(self.id, self.address, evict);
        }
    }

    /// Completes when the connection is evicted.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn evicted(&mut self) {
        // Always an error, because nothing is ever sent.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut queues = self.unclassified.lock();
        queues.remove_silent(self.id);
        queues.speaking.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::tests::peer;

    fn is_evicted(registration: &mut Registration) -> bool {
        registration.evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    fn evicted(registrations: &mut [Registration]) -> Vec<bool> {
        registrations.iter_mut().map(is_evicted).collect()
    }

    #[test]
    fn at_the_limit_the_oldest_silent_connection_is_evicted() {
        let unclassified = Arc::new(Unclassified::new(3));
        let mut registrations: Vec<Registration> =
            (0..3).map(|_| unclassified.register(peer(1))).collect();
        assert_eq!(evicted(&mut registrations), [false, false, false]);
        registrations[0].speaks();
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [false, true, false, false]);
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [false, true, true, false, false]);
    }

    #[test]
    fn if_none_is_silent_the_oldest_connection_is_evicted() {
        let unclassified = Arc::new(Unclassified::new(2));
        let mut registrations: Vec<Registration> =
            (0..2).map(|_| unclassified.register(peer(1))).collect();
        registrations.iter().for_each(Registration::speaks);
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [true, false, false]);
        // An evicted connection does not return.
        registrations[0].speaks();
        assert_eq!(unclassified.lock().speaking.len(), 1);
    }

    #[test]
    fn a_lower_limit_evicts_the_connections_beyond_it() {
        let unclassified = Arc::new(Unclassified::new(4));
        let mut registrations: Vec<Registration> =
            (0..4).map(|_| unclassified.register(peer(1))).collect();
        registrations[0].speaks();
        unclassified.set_limit(2);
        assert_eq!(evicted(&mut registrations), [false, true, true, false]);
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [false, true, true, true, false]);
        unclassified.set_limit(1);
        assert_eq!(evicted(&mut registrations), [false, true, true, true, true]);
    }

    /// A finished TLS handshake is no input: a client that then sends nothing can be evicted.
    #[test]
    fn a_connection_that_is_silent_within_tls_is_evicted_before_newer_ones() {
        let unclassified = Arc::new(Unclassified::new(2));
        let mut registrations: Vec<Registration> =
            (0..2).map(|_| unclassified.register(peer(1))).collect();
        registrations[0].speaks();
        registrations[0].mark_silent();
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [true, false, false]);
    }

    #[test]
    fn a_classified_connection_returns_its_permit() {
        let unclassified = Arc::new(Unclassified::new(1));
        let first = unclassified.register(peer(1));
        first.speaks();
        drop(first);
        let mut second = unclassified.register(peer(1));
        assert!(!is_evicted(&mut second));
        unclassified.evict_silent();
        assert!(is_evicted(&mut second));
        unclassified.evict_silent();
    }

    #[test]
    fn an_address_with_many_silent_connections_evicts_its_own() {
        let unclassified = Arc::new(Unclassified::new(4));
        let mut registrations: Vec<Registration> =
            [2, 1, 1, 1].map(|number| unclassified.register(peer(number))).into();
        // The oldest is of another address.
        registrations.push(unclassified.register(peer(1)));
        assert_eq!(evicted(&mut registrations), [false, true, false, false, false]);
        registrations.push(unclassified.register(peer(3)));
        assert_eq!(evicted(&mut registrations), [false, true, true, false, false, false]);
        drop(registrations);
        assert!(unclassified.lock().silent_of_address.is_empty());
    }
}
