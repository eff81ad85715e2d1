//! The history of a room: its last events, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use anyport_proto::rooms::{Event, EventId, MessageKey, MessageView, Nickname};
use jiff::Timestamp;

/// An event of a room, which is sent to all members.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: EventId,
    pub(super) at: Timestamp,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Message { from: Arc<Nickname>, text: String, key: Option<MessageKey> },
    Join(Arc<Nickname>),
    Leave(Arc<Nickname>),
}

impl Stored {
    pub(super) fn push_text(&self, into: &mut String) {
        match &self.what {
            What::Message { .. } => self.with_message("", |message| message.push_text(into)),
            _ => self.presence().push_text(into),
        }
    }

    pub(super) fn push_json(&self, into: &mut String) {
        match &self.what {
            What::Message { .. } => {
                let time = self.time();
                self.with_message(&time, |message| message.push_json(into));
            }
            _ => self.presence().push_json(into),
        }
    }

    fn with_message(&self, time: &str, then: impl FnOnce(MessageView<'_>)) {
        if let What::Message { from, text, key } = &self.what {
            then(MessageView { id: self.id, from, text, time, key: key.as_ref() });
        }
    }

    /// A join or a leave.
    fn presence(&self) -> Event {
        let (id, time) = (self.id, self.time());
        match &self.what {
            What::Leave(nick) => Event::Leave { id, nick: Nickname::clone(nick), time },
            What::Join(nick) | What::Message { from: nick, .. } => {
                Event::Join { id, nick: Nickname::clone(nick), time }
            }
        }
    }

    /// RFC 3339 with milliseconds.
    fn time(&self) -> String {
        self.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    fn bytes(&self) -> usize {
        let text = match &self.what {
            What::Message { text, .. } => text.len(),
            What::Join(_) | What::Leave(_) => 0,
        };
        text + size_of::<Self>()
    }
}

/// The last events of a room.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Stored>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

/// The part of the history that a new member receives.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// Events that are no longer stored: their count, if it is known.
    pub(super) lost: Option<Option<u64>>,
    pub(super) events: Vec<&'a Stored>,
}

impl History {
    pub(super) const fn new(most: usize, most_bytes: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, most, most_bytes }
    }

    pub(super) fn push(&mut self, event: Stored) {
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.events.len() > self.most || self.bytes > self.most_bytes {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    /// The last `count` events, or all.
    pub(super) fn last(&self, count: Option<u32>) -> Past<'_> {
        let count = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let skipped = self.events.len().saturating_sub(count);
        Past { lost: None, events: self.events.iter().skip(skipped).collect() }
    }

    /// Returns the events after `since`, in a room whose last event was `last`.
    pub(super) fn since(&self, since: EventId, last: EventId) -> Past<'_> {
        // The room was created again, or `since` never existed.
        if since.epoch != last.epoch || since.number > last.number {
            return Past { lost: Some(None), events: self.events.iter().collect() };
        }
        let after = |event: &&Stored| event.id.number > since.number;
        let events: Vec<_> = self.events.iter().filter(after).collect();
        let missed = last.number - since.number - events.len() as u64;
        Past { lost: (missed > 0).then_some(Some(missed)), events }
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::rooms::Epoch;

    use super::*;

    fn id(epoch: u8, number: u64) -> EventId {
        EventId { epoch: Epoch::new([epoch; 6]), number }
    }

    fn history(most: usize, most_bytes: usize, count: u64) -> History {
        let from = Arc::new("alice".parse().unwrap());
        let mut history = History::new(most, most_bytes);
        for number in 1..=count {
            let what = What::Message { from: Arc::clone(&from), text: "x".repeat(100), key: None };
            history.push(Stored { id: id(1, number), at: Timestamp::UNIX_EPOCH, what });
        }
        history
    }

    fn numbers(past: &Past<'_>) -> Vec<u64> {
        past.events.iter().map(|event| event.id.number).collect()
    }

    #[test]
    fn the_oldest_go_beyond_the_number_and_beyond_the_bytes() {
        assert_eq!(numbers(&history(3, usize::MAX, 10).last(None)), [8, 9, 10]);
        let two = 2 * (100 + size_of::<Stored>());
        assert_eq!(numbers(&history(100, two, 10).last(None)), [9, 10]);
        assert!(history(100, 10, 10).events.is_empty());
        assert_eq!(numbers(&history(3, usize::MAX, 10).last(Some(2))), [9, 10]);
        assert!(history(3, usize::MAX, 10).last(Some(0)).events.is_empty());
    }

    #[test]
    fn events_after_an_id_are_sent_and_missing_ones_counted() {
        let history = history(5, usize::MAX, 10);
        for (since, lost, expected) in [
            (10, None, &[][..]),
            (8, None, &[9, 10]),
            (5, None, &[6, 7, 8, 9, 10]),
            (2, Some(Some(3)), &[6, 7, 8, 9, 10]),
            (11, Some(None), &[6, 7, 8, 9, 10]),
        ] {
            let past = history.since(id(1, since), id(1, 10));
            assert_eq!((past.lost, numbers(&past).as_slice()), (lost, expected), "since {since}");
        }
        let other = history.since(id(2, 8), id(1, 10));
        assert_eq!((other.lost, other.events.len()), (Some(None), 5));
    }
}
