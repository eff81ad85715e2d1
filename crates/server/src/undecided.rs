//! Connections whose protocol is not known yet, bounded in number.
//!
//! Whoever merely connects costs a peer nothing and the server a place, so places must not be what
//! a crowd of silent peers can use up. When all are taken a newcomer gets the one of the connection
//! that has been silent for longest: refusing the newcomer instead would let that crowd lock out
//! everybody who has something to say, and those who have say it at once. Of those it is one of the
//! address (IPv6: /64) that has most of them, so that a flood from one address evicts itself. Where
//! none is silent, the one that has been undecided for longest is judged by what it said, as at its
//! deadline: its bytes are not lost, and it would have had at most the detection time anyway.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::address::counted_as;

/// The places of a server.
#[derive(Debug)]
pub(crate) struct Undecided {
    limit: AtomicUsize,
    places: Mutex<Places>,
}

/// By age, oldest first. Dropping a sender tells its connection to give way.
#[derive(Debug, Default)]
struct Places {
    next: u64,
    silent: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    /// How many silent ones each address has.
    of_address: HashMap<IpAddr, usize>,
    speaking: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place, until it is decided or closed: given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    address: IpAddr,
    undecided: Arc<Undecided>,
    given_away: oneshot::Receiver<()>,
}

impl Undecided {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), places: Mutex::default() }
    }

    /// From now on; of those that are more than that each newcomer sends one away.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A place for a new connection of `peer`, if need be another's.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Place {
        let address = counted_as(peer);
        let (held, given_away) = oneshot::channel();
        let mut places = self.lock();
        if places.silent.len() + places.speaking.len() >= self.limit.load(Ordering::Relaxed)
            && !places.evict_silent()
        {
            places.speaking.pop_first();
        }
        let id = places.next;
        places.next += 1;
        places.add_silent(id, address, held);
        drop(places);
        Place { id, address, undecided: self.clone(), given_away }
    }

    /// Closes a silent connection, if there is one: another connection needs what it holds beside
    /// its place.
    pub(crate) fn evict_silent(&self) {
        self.lock().evict_silent();
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn add_silent(&mut self, id: u64, address: IpAddr, held: oneshot::Sender<()>) {
        self.silent.insert(id, (address, held));
        *self.of_address.entry(address).or_default() += 1;
    }

    fn remove_silent(&mut self, id: u64) -> Option<oneshot::Sender<()>> {
        let (address, held) = self.silent.remove(&id)?;
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        Some(held)
    }

    /// Evicts the connection that has been silent for longest of the address that has most of them.
    fn evict_silent(&mut self) -> bool {
        let most = self.of_address.values().max().copied().unwrap_or(0);
        let oldest = self.silent.iter().find(|(_, (address, _))| self.of_address[address] == most);
        let oldest = oldest.map(|(id, _)| *id);
        oldest.and_then(|id| self.remove_silent(id)).is_some()
    }
}

impl Place {
    /// The first byte came.
    pub(crate) fn speaks(&self) {
        let mut places = self.undecided.lock();
        if let Some(held) = places.remove_silent(self.id) {
            places.speaking.insert(self.id, held);
        }
    }

    /// What was said was TLS, and within it nothing has been said yet.
    pub(crate) fn falls_silent(&self) {
        let mut places = self.undecided.lock();
        if let Some(held) = places.speaking.remove(&self.id) {
            places.add_silent(self.id, self.address, held);
        }
    }

    /// Ready when another has the place.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn given_away(&mut self) {
        // An error, always: nothing is ever sent.
        let _ = (&mut self.given_away).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.undecided.lock();
        places.remove_silent(self.id);
        places.speaking.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::tests::peer;

    fn is_given_away(place: &mut Place) -> bool {
        place.given_away.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    fn given_away(places: &mut [Place]) -> Vec<bool> {
        places.iter_mut().map(is_given_away).collect()
    }

    #[test]
    fn the_oldest_silent_connection_gives_way_at_the_limit_and_not_before() {
        let undecided = Arc::new(Undecided::new(3));
        let mut places: Vec<Place> = (0..3).map(|_| undecided.enter(peer(1))).collect();
        assert_eq!(given_away(&mut places), [false, false, false]);
        places[0].speaks();
        places.push(undecided.enter(peer(1)));
        assert_eq!(given_away(&mut places), [false, true, false, false]);
        places.push(undecided.enter(peer(1)));
        assert_eq!(given_away(&mut places), [false, true, true, false, false]);
    }

    #[test]
    fn where_none_is_silent_the_oldest_gives_way() {
        let undecided = Arc::new(Undecided::new(2));
        let mut places: Vec<Place> = (0..2).map(|_| undecided.enter(peer(1))).collect();
        places.iter().for_each(Place::speaks);
        places.push(undecided.enter(peer(1)));
        assert_eq!(given_away(&mut places), [true, false, false]);
        // Of one that gave way nothing comes back.
        places[0].speaks();
        assert_eq!(undecided.lock().speaking.len(), 1);
    }

    /// A finished TLS handshake is no word: a newcomer gets the place of one that says nothing
    /// within it.
    #[test]
    fn one_that_falls_silent_gives_way_before_those_that_came_later() {
        let undecided = Arc::new(Undecided::new(2));
        let mut places: Vec<Place> = (0..2).map(|_| undecided.enter(peer(1))).collect();
        places[0].speaks();
        places[0].falls_silent();
        places.push(undecided.enter(peer(1)));
        assert_eq!(given_away(&mut places), [true, false, false]);
    }

    #[test]
    fn a_decided_connection_leaves_its_place() {
        let undecided = Arc::new(Undecided::new(1));
        let first = undecided.enter(peer(1));
        first.speaks();
        drop(first);
        let mut second = undecided.enter(peer(1));
        assert!(!is_given_away(&mut second));
        undecided.evict_silent();
        assert!(is_given_away(&mut second));
        undecided.evict_silent();
    }

    #[test]
    fn an_address_with_many_silent_connections_evicts_its_own() {
        let undecided = Arc::new(Undecided::new(4));
        let mut places: Vec<Place> =
            [2, 1, 1, 1].map(|number| undecided.enter(peer(number))).into();
        // The oldest is of another address.
        places.push(undecided.enter(peer(1)));
        assert_eq!(given_away(&mut places), [false, true, false, false, false]);
        places.push(undecided.enter(peer(3)));
        assert_eq!(given_away(&mut places), [false, true, true, false, false, false]);
        drop(places);
        assert!(undecided.lock().of_address.is_empty());
    }
}
