//! The room loop of one thread, which sends the events of rooms to members, each batch in one write
//! a member.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use anyport_net::copy::Session;
use anyport_net::reactor::{Key, Wires};
use anyport_proto::rooms::Event;
use bytes::Bytes;

use super::Rooms;
use super::form::FORMS;
use super::member::Subscription;
use super::pending::{Pending, PendingEvent};
use crate::config::{RoomLimits, SlowReader};

/// The outgoing side of the members of one thread.
pub(crate) trait Outlets {
    /// Returns the number of bytes that are queued for a member.
    fn queued(&self, key: Key) -> usize;
    /// Sends or queues `bytes`.
    fn write(&mut self, key: Key, bytes: &Bytes);
    /// Sends or queues `bytes`, then closes.
    fn finish(&mut self, key: Key, bytes: &Bytes);
}

impl<S: Session> Outlets for Wires<S> {
    fn queued(&self, key: Key) -> usize {
        Self::queued(self, key)
    }

    fn write(&mut self, key: Key, bytes: &Bytes) {
        Self::write(self, key, bytes);
    }

    fn finish(&mut self, key: Key, bytes: &Bytes) {
        Self::finish(self, key, bytes);
    }
}

/// The rooms that have members on one thread.
#[derive(Debug)]
pub(crate) struct Groups {
    rooms: Arc<Rooms>,
    shard: usize,
    /// By the number of the room.
    groups: HashMap<u64, Vec<Subscriber>>,
    /// By the index of a connection: its room and its position in the group.
    positions: Vec<Option<(u64, usize)>>,
}

/// A subscription and the connection that owns it.
#[derive(Debug)]
struct Subscriber {
    key: Key,
    subscription: Subscription,
}

impl Groups {
    pub(crate) fn new(rooms: Arc<Rooms>, shard: usize) -> Self {
        Self { rooms, shard, groups: HashMap::new(), positions: Vec::new() }
    }

    pub(crate) const fn shard(&self) -> usize {
        self.shard
    }

    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        self.rooms.clone()
    }

    /// Adds a connection, which from now on receives the events of its room.
    pub(crate) fn subscribe(&mut self, key: Key, subscription: Subscription) {
        if self.positions.len() <= key.index() {
            self.positions.resize(key.index() + 1, None);
        }
        let group = self.groups.entry(subscription.room.number).or_default();
        self.positions[key.index()] = Some((subscription.room.number, group.len()));
        group.push(Subscriber { key, subscription });
    }

    /// Removes a connection.
    pub(crate) fn unsubscribe(&mut self, key: Key) {
        let Some((room, at)) = self.positions.get_mut(key.index()).and_then(Option::take) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&room) else { return };
        group.swap_remove(at);
        match group.get(at) {
            Some(moved) => self.positions[moved.key.index()] = Some((room, at)),
            None if group.is_empty() => drop(self.groups.remove(&room)),
            None => {}
        }
    }

    /// Appends the count of missed events once a slow reader has emptied its queue.
    pub(crate) fn drained(&mut self, key: Key, out: &mut Vec<u8>) {
        let Some(Some((room, at))) = self.positions.get(key.index()) else { return };
        let Some(subscriber) = self.groups.get_mut(room).and_then(|group| group.get_mut(*at))
        else {
            return;
        };
        let count = std::mem::take(&mut subscriber.subscription.lost);
        if count > 0 {
            subscriber.subscription.form.encode(&Event::Lost { count: Some(count) }, out);
        }
    }

    /// Sends the pending events of the rooms.
    pub(crate) fn deliver(&mut self, outlets: &mut impl Outlets) {
        for room in self.rooms.take_due(self.shard) {
            let pending = room.take_pending(self.shard);
            if let Some(group) = self.groups.get_mut(&room.number) {
                Batch::new(pending).deliver(group, &room.limits, outlets);
            }
        }
    }
}

/// The events of a room since the last turn.
struct Batch {
    bytes: [Bytes; FORMS],
    events: Vec<PendingEvent>,
    /// Members that sent some of the events, sorted.
    authors: Vec<u64>,
}

impl Batch {
    fn new(Pending { bytes, events }: Pending) -> Self {
        let mut authors: Vec<u64> = events.iter().map(|event| event.author).collect();
        authors.sort_unstable();
        authors.dedup();
        Self { bytes: bytes.map(Bytes::from), events, authors }
    }

    fn deliver(&self, group: &mut [Subscriber], limits: &RoomLimits, outlets: &mut impl Outlets) {
        for events in self.pieces() {
            for Subscriber { key, subscription } in &mut *group {
                let bytes = self.bytes_for(subscription, events.clone());
                if bytes.is_empty() {
                    continue;
                }
                let count = self.count_for(subscription, events.clone());
                if subscription.lost > 0 {
                    subscription.lost += count;
                    continue;
                }
                let waiting = outlets.queued(*key);
                if waiting == 0 || waiting + bytes.len() <= limits.queue {
                    outlets.write(*key, &bytes);
                    continue;
                }
                subscription.lost += count;
                if limits.slow_reader == SlowReader::Close {
                    outlets.finish(*key, &Bytes::from(subscription.form.goodbye()));
                }
            }
        }
    }

    /// Splits the events into pieces that are queued or lost together: one, unless the batch is
    /// large.
    fn pieces(&self) -> Vec<Range<usize>> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        for at in 0..self.events.len() {
            let end = |form: usize| self.events[at].ends[form] - self.start(from, form);
            if at > from && (0..FORMS).any(|form| end(form) > PIECE) {
                pieces.push(from..at);
                from = at;
            }
        }
        pieces.push(from..self.events.len());
        pieces
    }

    fn start(&self, event: usize, form: usize) -> usize {
        event.checked_sub(1).map_or(0, |before| self.events[before].ends[form])
    }

    fn count_for(&self, subscription: &Subscription, events: Range<usize>) -> u64 {
        self.events[events].iter().filter(|event| event.is_for(subscription)).count() as u64
    }

    /// Returns the bytes of these events for one member. All members of a form share them,
    /// except one that sent some of the events itself or that joined in between.
    fn bytes_for(&self, subscription: &Subscription, events: Range<usize>) -> Bytes {
        let form = subscription.form.index();
        let (Some(first), Some(last)) =
            (self.events.get(events.start), self.events.get(events.end - 1))
        else {
            return Bytes::new();
        };
        let all = self.start(events.start, form)..last.ends[form];
        let said_some =
            !subscription.own && self.authors.binary_search(&subscription.number).is_ok();
        if !said_some && first.number > subscription.after {
            return self.bytes[form].slice(all);
        }
        let mut some = Vec::new();
        for at in events {
            let event = self.events[at];
            if event.is_for(subscription) {
                let ends = event.ends;
                some.extend_from_slice(&self.bytes[form][self.start(at, form)..ends[form]]);
            }
        }
        Bytes::from(some)
    }
}

impl PendingEvent {
    fn is_for(&self, subscription: &Subscription) -> bool {
        self.number > subscription.after && (subscription.own || self.author != subscription.number)
    }
}

/// Maximum size of a piece with more than one event.
const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_at_events() {
        let event = |number: u64, end: usize| PendingEvent {
            number,
            author: 0,
            ends: [end, 0, 0, 0, 0, 0],
        };
        let batch = |ends: &[usize]| Batch {
            bytes: Default::default(),
            events: ends.iter().zip(1..).map(|(end, number)| event(number, *end)).collect(),
            authors: Vec::new(),
        };
        let starts = |ends: &[usize]| -> Vec<usize> {
            batch(ends).pieces().iter().map(|piece| piece.start).collect()
        };
        assert_eq!(starts(&[100]), [0]);
        assert_eq!(starts(&[100, 200, PIECE]), [0]);
        assert_eq!(starts(&[100, PIECE + 1, PIECE + 2]), [0, 1]);
        assert_eq!(starts(&[PIECE + 1, 2 * PIECE, 3 * PIECE]), [0, 1, 2]);
    }
}
