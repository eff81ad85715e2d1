//! The members on one thread: what their rooms have for them goes out here, each batch in one write
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
use super::member::Seat;
use super::pending::{Pending, Told};
use crate::config::{RoomLimits, SlowReader};

/// Where what members are told goes out.
pub(crate) trait Outlets {
    /// Bytes that wait for one of them.
    fn queued(&self, key: Key) -> usize;
    /// Sends it something, or lets it wait.
    fn write(&mut self, key: Key, bytes: &Bytes);
    /// The same, and nothing more after it.
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
    groups: HashMap<u64, Vec<Taken>>,
    /// For each connection, the room and the place in its group.
    places: Vec<Option<(u64, usize)>>,
}

/// A seat, and who sits there.
#[derive(Debug)]
struct Taken {
    key: Key,
    seat: Seat,
}

impl Groups {
    pub(crate) fn new(rooms: Arc<Rooms>, shard: usize) -> Self {
        Self { rooms, shard, groups: HashMap::new(), places: Vec::new() }
    }

    pub(crate) const fn shard(&self) -> usize {
        self.shard
    }

    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        self.rooms.clone()
    }

    /// A connection takes a seat; from now on it is told.
    pub(crate) fn sit(&mut self, key: Key, seat: Seat) {
        if self.places.len() <= key.index() {
            self.places.resize(key.index() + 1, None);
        }
        let group = self.groups.entry(seat.room.number).or_default();
        self.places[key.index()] = Some((seat.room.number, group.len()));
        group.push(Taken { key, seat });
    }

    /// A connection is gone.
    pub(crate) fn rise(&mut self, key: Key) {
        let Some((room, at)) = self.places.get_mut(key.index()).and_then(Option::take) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&room) else { return };
        group.swap_remove(at);
        match group.get(at) {
            Some(moved) => self.places[moved.key.index()] = Some((room, at)),
            None if group.is_empty() => drop(self.groups.remove(&room)),
            None => {}
        }
    }

    /// A slow reader has taken all that waited: it is told what it missed.
    pub(crate) fn drained(&mut self, key: Key, out: &mut Vec<u8>) {
        let Some(Some((room, at))) = self.places.get(key.index()) else { return };
        let Some(taken) = self.groups.get_mut(room).and_then(|group| group.get_mut(*at)) else {
            return;
        };
        let count = std::mem::take(&mut taken.seat.lost);
        if count > 0 {
            taken.seat.form.spell(&Event::Lost { count: Some(count) }, out);
        }
    }

    /// Sends what the rooms have.
    pub(crate) fn deliver(&mut self, outlets: &mut impl Outlets) {
        for room in self.rooms.take_due(self.shard) {
            let pending = room.take_pending(self.shard);
            if let Some(group) = self.groups.get_mut(&room.number) {
                Batch::new(pending).deliver(group, &room.limits, outlets);
            }
        }
    }
}

/// What was said in a room since the last turn.
struct Batch {
    bytes: [Bytes; FORMS],
    events: Vec<Told>,
    /// Members that said some of it.
    authors: Vec<u64>,
}

impl Batch {
    fn new(Pending { bytes, events }: Pending) -> Self {
        let mut authors: Vec<u64> = events.iter().map(|event| event.author).collect();
        authors.sort_unstable();
        authors.dedup();
        Self { bytes: bytes.map(Bytes::from), events, authors }
    }

    fn deliver(&self, group: &mut [Taken], limits: &RoomLimits, outlets: &mut impl Outlets) {
        for events in self.pieces() {
            for Taken { key, seat } in &mut *group {
                let bytes = self.bytes_for(seat, events.clone());
                if bytes.is_empty() {
                    continue;
                }
                let count = self.count_for(seat, events.clone());
                if seat.lost > 0 {
                    seat.lost += count;
                    continue;
                }
                let waiting = outlets.queued(*key);
                if waiting == 0 || waiting + bytes.len() <= limits.queue {
                    outlets.write(*key, &bytes);
                    continue;
                }
                seat.lost += count;
                if limits.slow_reader == SlowReader::Close {
                    outlets.finish(*key, &Bytes::from(seat.form.goodbye()));
                }
            }
        }
    }

    /// Events that go out together: all of them, but for a batch that is too large to wait as a
    /// whole.
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

    fn count_for(&self, seat: &Seat, events: Range<usize>) -> u64 {
        self.events[events].iter().filter(|event| event.is_for(seat)).count() as u64
    }

    /// What a member is told of these events: shared with the others, but for one that has said
    /// some of them itself, or that came in between.
    fn bytes_for(&self, seat: &Seat, events: Range<usize>) -> Bytes {
        let form = seat.form.index();
        let (Some(first), Some(last)) =
            (self.events.get(events.start), self.events.get(events.end - 1))
        else {
            return Bytes::new();
        };
        let all = self.start(events.start, form)..last.ends[form];
        let said_some = !seat.own && self.authors.binary_search(&seat.number).is_ok();
        if !said_some && first.number > seat.after {
            return self.bytes[form].slice(all);
        }
        let mut some = Vec::new();
        for at in events {
            let told = self.events[at];
            if told.is_for(seat) {
                let ends = told.ends;
                some.extend_from_slice(&self.bytes[form][self.start(at, form)..ends[form]]);
            }
        }
        Bytes::from(some)
    }
}

impl Told {
    fn is_for(&self, seat: &Seat) -> bool {
        self.number > seat.after && (seat.own || self.author != seat.number)
    }
}

/// Bytes of a batch that are queued or lost together.
const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_at_events() {
        let told = |number: u64, end: usize| Told { number, author: 0, ends: [end, 0, 0, 0, 0, 0] };
        let batch = |ends: &[usize]| Batch {
            bytes: Default::default(),
            events: ends.iter().zip(1..).map(|(end, number)| told(number, *end)).collect(),
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
