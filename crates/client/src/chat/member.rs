//! The history of one member over all its connections, so that no event is missed or delivered
//! twice, and no message sent twice.
//!
//! ```text
//!   said ──► unconfirmed ──► the room tells it back with its key ──► confirmed
//!   new connection: since the last received event ──► missed events, own messages among them ──►
//!   unconfirmed is said again
//! ```
//!
//! No sockets and no clocks here.

use std::collections::VecDeque;

use anyport_proto::rooms::{Command, Event, EventId, Join, Joined, Message, MessageKey, Nickname};
use anyport_proto::transfer::refusal::RefusalCode;

/// One member's side of a room.
#[derive(Debug)]
pub(super) struct Member {
    join: Join,
    /// Prefix of the message keys, unique for each chat.
    prefix: String,
    next: u64,
    /// In the order of sending.
    unconfirmed: VecDeque<(MessageKey, String)>,
    /// Number of those that the room refused. Refusals do not name the message.
    refused: usize,
    last: Option<EventId>,
    has_been_in: bool,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Not in.
    Away,
    /// In the room; missed events follow, up to this one. `None` if the room has restarted; then
    /// the own join comes after all of them.
    CatchingUp(Option<EventId>),
    /// In, and up to date.
    Here,
}

/// The meaning of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// To be shown unchanged.
    News(Event),
    /// An own message was published.
    Own(Message),
    /// The member has rejoined under the same name; nothing to show.
    Back,
    /// The server left events out, since we were too slow: they may still be had by joining again.
    Behind,
    /// An own message was refused.
    Refused(Event),
}

impl Member {
    pub(super) fn new(join: Join, prefix: String) -> Self {
        Self {
            join,
            prefix,
            next: 1,
            unconfirmed: VecDeque::new(),
            refused: 0,
            last: None,
            has_been_in: false,
            phase: Phase::Away,
        }
    }

    /// Returns the request to join, for the first time or again.
    pub(super) const fn join(&self) -> &Join {
        &self.join
    }

    /// Returns whether messages may be sent now. `/who` only needs a joined room.
    pub(super) fn is_here(&self) -> bool {
        self.phase == Phase::Here
    }

    /// Returns whether it has joined, even if not up to date.
    pub(super) fn is_in(&self) -> bool {
        self.phase != Phase::Away
    }

    /// Returns whether another message may be sent before earlier ones are confirmed.
    pub(super) fn has_room(&self) -> bool {
        self.unconfirmed.len() < WINDOW
    }

    /// Returns the number of unconfirmed messages.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Returns whether it has ever joined.
    pub(super) const fn has_been_in(&self) -> bool {
        self.has_been_in
    }

    /// A message, with the key that it will be known by.
    pub(super) fn say(&mut self, text: String) -> Command {
        let key = format!("{}-{}", self.prefix, self.next);
        let key: MessageKey = key.parse().expect("letters, digits and a hyphen");
        self.next += 1;
        self.unconfirmed.push_back((key.clone(), text.clone()));
        Command::Say { text, key: Some(key) }
    }

    /// Returns the messages to send again, once it has joined and is up to date.
    pub(super) fn again(&self) -> impl Iterator<Item = Command> {
        let said = |(key, text): &(MessageKey, String)| Command::Say {
            text: text.clone(),
            key: Some(key.clone()),
        };
        self.unconfirmed.iter().map(said)
    }

    /// The connection is gone.
    pub(super) fn away(&mut self) {
        self.phase = Phase::Away;
        self.refused = 0;
        if self.has_been_in {
            self.join.since = self.last;
            self.join.history = None;
        }
    }

    /// Stops waiting for missed events.
    pub(super) fn stop_catching_up(&mut self) {
        if matches!(self.phase, Phase::CatchingUp(_)) {
            self.phase = Phase::Here;
        }
    }

    pub(super) fn handle(&mut self, event: Event) -> Received {
        if let Some(id) = event.id() {
            self.last = Some(id);
            let caught_up = match self.phase {
                // An older own join may be among the missed events.
                Phase::CatchingUp(Some(until)) => {
                    id.epoch == until.epoch && id.number >= until.number
                }
                Phase::CatchingUp(None) => self.is_ours(&event),
                Phase::Away | Phase::Here => false,
            };
            if caught_up {
                self.stop_catching_up();
            }
        }
        match event {
            Event::Joined(joined) => self.joined(joined),
            Event::Message(message) => match self.confirm(&message) {
                true => Received::Own(message),
                false => Received::News(Event::Message(message)),
            },
            // Only events that are lost while up to date can be requested again.
            Event::Lost { .. } if self.phase == Phase::Here => Received::Behind,
            Event::Error(refusal)
                if matches!(refusal.code, RefusalCode::TooLarge | RefusalCode::BadRequest)
                    && !self.unconfirmed.is_empty() =>
            {
                self.refused += 1;
                self.forget_refused();
                Received::Refused(Event::Error(refusal))
            }
            event => Received::News(event),
        }
    }

    fn joined(&mut self, joined: Joined) -> Received {
        let again = std::mem::replace(&mut self.has_been_in, true);
        let same = self.join.nick.as_ref() == Some(&joined.nick);
        let asked_since = self.join.since;
        self.phase = match joined.last {
            last if last == asked_since => Phase::Here,
            last if again || asked_since.is_some() => Phase::CatchingUp(last),
            _ => Phase::Here,
        };
        // If no event has arrived since, this is where to continue.
        if self.last.is_none() {
            self.last = asked_since.or(joined.last);
        }
        self.join.nick = Some(joined.nick.clone());
        if again && same { Received::Back } else { Received::News(Event::Joined(joined)) }
    }

    fn is_ours(&self, event: &Event) -> bool {
        let ours = |nick: &Nickname| self.join.nick.as_ref() == Some(nick);
        matches!(event, Event::Join { nick, .. } if ours(nick))
    }

    /// Returns whether a message is an own unconfirmed one. Earlier unconfirmed messages will not
    /// be published any more, because the room publishes them in order.
    fn confirm(&mut self, message: &Message) -> bool {
        let Some(key) = &message.key else { return false };
        let Some(at) = self.unconfirmed.iter().position(|(unconfirmed, _)| unconfirmed == key)
        else {
            return false;
        };
        let skipped = at.min(self.refused);
        self.refused -= skipped;
        self.unconfirmed.remove(at);
        self.unconfirmed.drain(..skipped);
        self.forget_refused();
        true
    }

    /// Drops the unconfirmed messages if as many were refused.
    fn forget_refused(&mut self) {
        if self.refused >= self.unconfirmed.len() {
            self.unconfirmed.clear();
            self.refused = 0;
        }
    }
}

/// Maximum number of unconfirmed messages. One at a time would wait for a round trip each; further
/// ones wait in their source.
const WINDOW: usize = 64;

#[cfg(test)]
mod tests {
    use anyport_proto::rooms::Members;
    use anyport_proto::transfer::refusal::Refusal;

    use super::*;

    fn id(number: u64) -> EventId {
        format!("k3f9c2-{number}").parse().unwrap()
    }

    fn member() -> Member {
        Member::new(Join::new("lobby".parse().unwrap()), "p".to_owned())
    }

    fn joined(last: Option<u64>) -> Event {
        Event::Joined(Joined {
            room: "lobby".parse().unwrap(),
            nick: "alice".parse().unwrap(),
            others: Members::default(),
            last: last.map(id),
        })
    }

    fn message(number: u64, key: Option<&str>) -> Event {
        Event::Message(Message {
            id: id(number),
            from: "alice".parse().unwrap(),
            text: "x".to_owned(),
            time: String::new(),
            key: key.map(|key| key.parse().unwrap()),
        })
    }

    fn texts(again: impl Iterator<Item = Command>) -> Vec<String> {
        again
            .map(|said| match said {
                Command::Say { text, .. } => text,
                Command::Who => panic!(),
            })
            .collect()
    }

    fn too_large() -> Event {
        Event::Error(Refusal::new(RefusalCode::TooLarge, "too large"))
    }

    #[test]
    fn a_message_is_confirmed_by_its_key_and_no_other() {
        let mut alice = member();
        assert!(matches!(alice.handle(joined(None)), Received::News(Event::Joined(_))));
        assert!(alice.is_here());
        let Command::Say { key: Some(key), .. } = alice.say("x".to_owned()) else { panic!() };
        assert_eq!(key.as_str(), "p-1");
        for other in [None, Some("p-2"), Some("q-1")] {
            assert!(matches!(alice.handle(message(1, other)), Received::News(_)), "{other:?}");
        }
        assert_eq!(alice.unconfirmed(), 1);
        assert!(matches!(alice.handle(message(2, Some("p-1"))), Received::Own(_)));
        assert_eq!(alice.unconfirmed(), 0);
        assert!(matches!(alice.handle(message(3, Some("p-1"))), Received::News(_)));
    }

    #[test]
    fn after_an_interruption_only_unconfirmed_messages_are_sent_again() {
        let mut alice = member();
        alice.handle(joined(Some(7)));
        for text in ["one", "two", "three"] {
            alice.say(text.to_owned());
        }
        alice.handle(message(8, Some("p-1")));
        alice.away();
        assert!(!alice.is_here());
        assert_eq!((alice.join().since, alice.join().history), (Some(id(8)), None));
        assert_eq!(alice.join().nick.as_ref().unwrap().as_str(), "alice");
        // While disconnected: an own message that had arrived, and one of another member.
        assert_eq!(alice.handle(joined(Some(10))), Received::Back);
        assert!(!alice.is_here(), "what was missed comes first");
        assert!(matches!(alice.handle(message(9, Some("p-2"))), Received::Own(_)));
        assert!(!alice.is_here());
        assert!(matches!(alice.handle(message(10, None)), Received::News(_)));
        assert!(alice.is_here());
        assert_eq!(texts(alice.again()), ["three"]);
    }

    #[test]
    fn where_nothing_was_missed_nothing_is_waited_for() {
        let mut alice = member();
        alice.handle(joined(None));
        alice.handle(message(1, None));
        alice.away();
        alice.handle(joined(Some(1)));
        assert!(alice.is_here());
    }

    /// An interruption before the first event of the room: the sent message may have been it.
    #[test]
    fn an_interruption_in_an_empty_room_sends_no_message_twice() {
        let mut alice = member();
        alice.join.history = Some(0);
        alice.handle(joined(None));
        alice.say("first".to_owned());
        alice.away();
        assert_eq!((alice.join().since, alice.join().history), (None, None));
        alice.handle(joined(Some(1)));
        assert!(!alice.is_here());
        assert!(matches!(alice.handle(message(1, Some("p-1"))), Received::Own(_)));
        assert!(alice.is_here());
        assert_eq!(texts(alice.again()), [""; 0]);
    }

    #[test]
    fn the_own_join_ends_the_missed_events_even_if_the_last_one_is_lost() {
        let mut alice = member();
        alice.handle(joined(Some(1)));
        alice.away();
        alice.handle(joined(Some(5)));
        assert!(matches!(alice.handle(Event::Lost { count: Some(4) }), Received::News(_)));
        assert!(!alice.is_here());
        let nick = "alice".parse().unwrap();
        alice.handle(Event::Join { id: id(6), nick, time: String::new() });
        assert!(alice.is_here());
    }

    /// Events lost before joining are reported, and are no reason to rejoin.
    #[test]
    fn lost_events_are_reported_on_explicit_requests_and_after_a_restart() {
        let mut alice = member();
        alice.join.since = Some(id(5));
        alice.handle(joined(Some(90)));
        assert!(!alice.is_here());
        assert!(matches!(alice.handle(Event::Lost { count: Some(80) }), Received::News(_)));
        alice.away();
        assert_eq!(alice.join().since, Some(id(5)), "nothing of it has been received");
        alice.handle(joined(Some(90)));
        alice.handle(message(90, None));
        assert!(alice.is_here());

        alice.away();
        alice.handle(joined(None));
        assert!(!alice.is_here());
        assert!(matches!(alice.handle(Event::Lost { count: None }), Received::News(_)));
        let nick = "alice".parse().unwrap();
        let first = "zzzzzz-1".parse().unwrap();
        alice.handle(Event::Join { id: first, nick, time: String::new() });
        assert!(alice.is_here());
    }

    #[test]
    fn an_older_own_join_is_among_the_missed_events() {
        let mut alice = member();
        alice.handle(joined(Some(50)));
        alice.say("one".to_owned());
        alice.away();
        alice.handle(joined(Some(53)));
        let nick = "alice".parse().unwrap();
        alice.handle(Event::Join { id: id(51), nick, time: String::new() });
        assert!(!alice.is_here());
        assert!(matches!(alice.handle(message(52, Some("p-1"))), Received::Own(_)));
        alice.handle(message(53, None));
        assert_eq!((alice.is_here(), alice.unconfirmed()), (true, 0));
    }

    #[test]
    fn events_lost_while_up_to_date_are_requested_again() {
        let mut alice = member();
        alice.handle(joined(Some(1)));
        alice.handle(message(2, None));
        assert_eq!(alice.handle(Event::Lost { count: Some(4) }), Received::Behind);
        alice.away();
        assert_eq!(alice.join().since, Some(id(2)));
    }

    #[test]
    fn refusals_are_counted_until_it_is_known_whose_they_are() {
        let mut alice = member();
        alice.handle(joined(None));
        for text in ["good", "long", "good too", "long too"] {
            alice.say(text.to_owned());
        }
        // The room refuses immediately, and publishes messages a little later.
        assert!(matches!(alice.handle(too_large()), Received::Refused(_)));
        assert!(matches!(alice.handle(too_large()), Received::Refused(_)));
        assert_eq!(alice.unconfirmed(), 4);
        alice.handle(message(1, Some("p-1")));
        assert_eq!(texts(alice.again()), ["long", "good too", "long too"]);
        alice.handle(message(2, Some("p-3")));
        assert_eq!((alice.unconfirmed(), alice.refused), (0, 0));
    }

    #[test]
    fn a_refusal_of_the_only_message_leaves_nothing_to_wait_for() {
        let mut alice = member();
        alice.handle(joined(None));
        alice.say("long".to_owned());
        alice.handle(too_large());
        assert_eq!(alice.unconfirmed(), 0);
        // Nothing was sent: the error is about something else.
        assert!(matches!(alice.handle(too_large()), Received::News(_)));
    }

    #[test]
    fn a_room_that_confirms_nothing_is_given_no_more_than_a_window() {
        let mut alice = member();
        alice.handle(joined(None));
        for _ in 0..WINDOW {
            assert!(alice.has_room());
            alice.say("x".to_owned());
        }
        assert!(!alice.has_room());
    }
}
