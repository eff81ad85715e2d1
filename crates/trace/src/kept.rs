//! The events of a trace in bounded memory: the first ones and the latest ones.
//!
//! ```text
//!   first ────────┐  gap: counted only  ┌──────── latest
//!   half of all   │                     │   the rest
//! ```

use std::collections::VecDeque;

use crate::event::{Basis, Event, Time, TlsMessage, What};

/// The events that are kept of all that were added.
///
/// Each has a number, by which it can be changed while it is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    first: Vec<Event>,
    latest: VecDeque<Event>,
    /// Memory of both.
    first_bytes: usize,
    latest_bytes: usize,
    /// The events between both.
    gap: Option<Gap>,
}

/// How many events may be kept, and their memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Events that are left out.
#[derive(Debug, Clone, Copy)]
struct Gap {
    events: usize,
    /// From the first of them to the end of the last one.
    from: Time,
    until: Time,
}

impl Kept {
    /// Adds an event; returns its number.
    pub(crate) fn push(&mut self, event: Event, room: Room) -> usize {
        let bytes = weight(&event.what);
        let is_first = self.latest.is_empty()
            && self.gap.is_none()
            && self.first.len() < room.events / 2
            && self.first_bytes.saturating_add(bytes) <= room.bytes / 2;
        let number = self.first.len() + self.left_out() + self.latest.len();
        if is_first {
            self.first_bytes += bytes;
            self.first.push(event);
        } else {
            self.latest_bytes = self.latest_bytes.saturating_add(bytes);
            self.latest.push_back(event);
            self.leave_out(room);
        }
        number
    }

    /// Returns an event by its number, unless it is left out.
    pub(crate) fn get(&self, number: usize) -> Option<&Event> {
        match number.checked_sub(self.first.len()) {
            None => self.first.get(number),
            Some(behind) => self.latest.get(behind.checked_sub(self.left_out())?),
        }
    }

    /// Changes an event by its number, unless it is left out.
    pub(crate) fn change(&mut self, number: usize, room: Room, change: impl FnOnce(&mut Event)) {
        let gone = self.left_out();
        let (event, bytes) = match number.checked_sub(self.first.len()) {
            None => (self.first.get_mut(number), &mut self.first_bytes),
            Some(behind) => {
                let index = behind.checked_sub(gone);
                (index.and_then(|index| self.latest.get_mut(index)), &mut self.latest_bytes)
            }
        };
        let Some(event) = event else { return };
        let others = bytes.saturating_sub(weight(&event.what));
        change(event);
        *bytes = others.saturating_add(weight(&event.what));
        self.leave_out(room);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.first.iter().chain(&self.latest)
    }

    /// Returns how many events are left out.
    pub(crate) fn left_out(&self) -> usize {
        self.gap.map_or(0, |gap| gap.events)
    }

    /// Returns all kept events, and an event that stands for those between them.
    pub(crate) fn into_events(self) -> Vec<Event> {
        let Self { mut first, latest, gap, .. } = self;
        first.extend(gap.map(|Gap { events, from, until }| Event {
            at: from,
            took: Some(Time(until.0.saturating_sub(from.0))),
            connection: None,
            from: None,
            basis: Basis::Observed,
            what: What::Gap { events: events as u64 },
        }));
        first.extend(latest);
        first
    }

    /// Leaves out the oldest of the latest events until there is room; the gap is an event too.
    fn leave_out(&mut self, room: Room) {
        let bytes = room.bytes.saturating_sub(self.first_bytes);
        while self.latest_bytes > bytes
            || self.first.len() + self.latest.len() + usize::from(self.gap.is_some()) > room.events
        {
            let Some(event) = self.latest.pop_front() else { return };
            self.latest_bytes = self.latest_bytes.saturating_sub(weight(&event.what));
            let end = Time(event.at.0.saturating_add(event.took.unwrap_or_default().0));
            let gap = self.gap.get_or_insert(Gap { events: 0, from: event.at, until: end });
            gap.events += 1;
            gap.from = gap.from.min(event.at);
            gap.until = gap.until.max(end);
        }
    }
}

/// The memory of an event: that of its text, which a peer determines.
fn weight(what: &What) -> usize {
    let of_texts = |texts: &[String]| texts.iter().map(|text| TEXT + text.len()).sum();
    let of_fields = |fields: &[(String, String)]| -> usize {
        fields.iter().map(|(name, value)| 2 * TEXT + name.len() + value.len()).sum()
    };
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let text: usize = match what {
        What::Resolved { host, addresses } => host.len() + of_texts(addresses),
        What::TlsMessage(message) => {
            let TlsMessage { name, server_name, alpn, suites, .. } = message;
            name.len() + of(server_name) + of_texts(alpn) + of_texts(suites)
        }
        What::TlsDone { certificate, .. } => {
            certificate.as_ref().map_or(0, |certificate| of_texts(&certificate.names))
        }
        What::Head { start, fields } => start.len() + of_fields(fields),
        What::WebSocketAccept { received, .. } => received.len(),
        What::Frame(frame) => of(&frame.text) + of(&frame.payload),
        What::Http2(frame) => of_fields(&frame.values) + of(&frame.payload),
        What::Line { text } | What::Failed { text } | What::Note { text } => text.len(),
        What::Content { payload, .. } => of(payload),
        _ => 0,
    };
    size_of::<Event>() + text
}

/// Memory of a text beside its bytes.
const TEXT: usize = size_of::<String>();

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(at: u64, text: usize) -> Event {
        let at = Time(Duration::from_millis(at));
        let what = What::Line { text: "x".repeat(text) };
        let took = Some(Time(Duration::from_micros(500)));
        Event { at, took, connection: None, from: None, basis: Basis::Observed, what }
    }

    #[test]
    fn the_first_and_the_latest_events_are_kept_with_one_gap_between_them() {
        let room = Room { events: 11, bytes: usize::MAX };
        for count in [0, 1, 5, 11, 12, 100] {
            let mut kept = Kept::default();
            for at in 0..count {
                assert_eq!(kept.push(event(at, 0), room), at as usize);
            }
            // Each that is kept can be found by its number, and no other one.
            let found = (0..count).filter(|at| {
                let found = kept.get(*at as usize);
                assert!(found.is_none_or(|event| event.at.0 == Duration::from_millis(*at)));
                found.is_some()
            });
            assert_eq!(found.count(), kept.iter().count());
            kept.change(count as usize, room, |_| panic!("no such event"));
            let events = kept.into_events();
            assert_eq!(events.len(), 11.min(count as usize));
            if count <= 11 {
                assert!(events.iter().all(|event| matches!(event.what, What::Line { .. })));
                continue;
            }
            let gap = &events[5];
            assert_eq!(gap.what, What::Gap { events: count - 10 });
            assert_eq!(gap.at.0, Duration::from_millis(5));
            let last = Duration::from_millis(count - 6) + Duration::from_micros(500);
            assert_eq!(gap.at.0 + gap.took.unwrap().0, last);
            assert_eq!(events[6].at.0, Duration::from_millis(count - 5));
        }
    }

    #[test]
    fn long_texts_leave_room_for_the_latest_events_too() {
        let room = Room { events: 100, bytes: 100_000 };
        let mut kept = Kept::default();
        for at in 0..1000 {
            kept.push(event(at, 10_000), room);
        }
        let memory = kept.first_bytes + kept.latest_bytes;
        assert!((80_000..=room.bytes).contains(&memory), "{memory}");
        assert_eq!(kept.iter().map(|event| weight(&event.what)).sum::<usize>(), memory);
        // An event that grows displaces others, and in the end itself.
        let latest = kept.first.len() + kept.left_out() + kept.latest.len() - 1;
        let grow = |event: &mut Event| event.what = What::Line { text: "x".repeat(50_000) };
        kept.change(latest, room, grow);
        assert_eq!(kept.latest.len(), 1);
        kept.change(latest, room, |event| event.what = What::Line { text: "x".repeat(100_000) });
        assert_eq!((kept.latest.len(), kept.latest_bytes), (0, 0));
        let events = kept.into_events();
        assert!(
            events[0].at.0.is_zero() && matches!(events.last().unwrap().what, What::Gap { .. })
        );
    }

    #[test]
    fn without_room_everything_is_counted() {
        let mut kept = Kept::default();
        for at in 0..3 {
            kept.push(event(at, 0), Room { events: 1, bytes: 1 << 20 });
        }
        assert_eq!(kept.left_out(), 3);
        assert_eq!(kept.into_events().len(), 1);
    }
}
