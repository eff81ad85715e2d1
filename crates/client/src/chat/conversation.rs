//! What one member has heard and said, over all its connections: nothing is heard twice, and
//! nothing is said twice.
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
pub(super) struct Conversation {
    join: Join,
    /// Before each number of a message: no two conversations say with the same keys.
    prefix: String,
    next: u64,
    /// In the order in which it was said.
    unconfirmed: VecDeque<(MessageKey, String)>,
    /// How many of those the room has refused. It tells so without saying which.
    refused: usize,
    last: Option<EventId>,
    has_been_in: bool,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Not in.
    Away,
    /// In; what was missed comes, up to this event. Where the room has begun anew there is none,
    /// and our own join is told behind all.
    CatchingUp(Option<EventId>),
    /// In, and up to date.
    Here,
}

/// What an event means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// To be told as it is.
    News(Event),
    /// A message of ours is in the room.
    Own(Message),
    /// It is in again under the same name; nothing to tell.
    Back,
    /// The server left events out, since we were too slow: they may still be had by joining again.
    Behind,
    /// A message of ours was not taken.
    Refused(Event),
}

impl Conversation {
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

    /// How to enter, for the first time or again.
    pub(super) const fn join(&self) -> &Join {
        &self.join
    }

    /// Whether messages may be said now. `/who` needs no more than being in.
    pub(super) fn is_here(&self) -> bool {
        self.phase == Phase::Here
    }

    /// Whether it is in the room, if not up to date.
    pub(super) fn is_in(&self) -> bool {
        self.phase != Phase::Away
    }

    /// Whether the room may take one more, before it has told those back that it was given.
    pub(super) fn has_room(&self) -> bool {
        self.unconfirmed.len() < WINDOW
    }

    /// How many messages nobody has confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Whether it has been in at all.
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

    /// What has to be said again, once it is in and up to date.
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

    /// What was missed has had its time to come.
    pub(super) fn stop_catching_up(&mut self) {
        if matches!(self.phase, Phase::CatchingUp(_)) {
            self.phase = Phase::Here;
        }
    }

    pub(super) fn hear(&mut self, event: Event) -> Heard {
        if let Some(id) = event.id() {
            self.last = Some(id);
            let caught_up = match self.phase {
                // An older join of ours may be among what was missed.
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
                true => Heard::Own(message),
                false => Heard::News(Event::Message(message)),
            },
            // Only what we are told while up to date can be had again.
            Event::Lost { .. } if self.phase == Phase::Here => Heard::Behind,
            Event::Error(refusal)
                if matches!(refusal.code, RefusalCode::TooLarge | RefusalCode::BadRequest)
                    && !self.unconfirmed.is_empty() =>
            {
                self.refused += 1;
                self.forget_refused();
                Heard::Refused(Event::Error(refusal))
            }
            event => Heard::News(event),
        }
    }

    fn joined(&mut self, joined: Joined) -> Heard {
        let again = std::mem::replace(&mut self.has_been_in, true);
        let same = self.join.nick.as_ref() == Some(&joined.nick);
        let asked_since = self.join.since;
        self.phase = match joined.last {
            last if last == asked_since => Phase::Here,
            last if again || asked_since.is_some() => Phase::CatchingUp(last),
            _ => Phase::Here,
        };
        // Where nothing has been heard since, this is where to go on.
        if self.last.is_none() {
            self.last = asked_since.or(joined.last);
        }
        self.join.nick = Some(joined.nick.clone());
        if again && same { Heard::Back } else { Heard::News(Event::Joined(joined)) }
    }

    fn is_ours(&self, event: &Event) -> bool {
        let ours = |nick: &Nickname| self.join.nick.as_ref() == Some(nick);
        matches!(event, Event::Join { nick, .. } if ours(nick))
    }

    /// Whether it is one of ours that was not confirmed. What was said before it and is not told
    /// before it never will be: the room takes what a member says in its order.
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

    /// Where as many were refused as nobody confirmed, it is known which.
    fn forget_refused(&mut self) {
        if self.refused >= self.unconfirmed.len() {
            self.unconfirmed.clear();
            self.refused = 0;
        }
    }
}

/// Messages that may be unconfirmed at once. One at a time would wait for the network each time;
/// what is beyond stays with whoever says it.
const WINDOW: usize = 64;

#[cfg(test)]
mod tests {
    use anyport_proto::rooms::Members;
    use anyport_proto::transfer::refusal::Refusal;

    use super::*;

    fn id(number: u64) -> EventId {
        format!("k3f9c2-{number}").parse().unwrap()
    }

    fn conversation() -> Conversation {
        Conversation::new(Join::new("lobby".parse().unwrap()), "p".to_owned())
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
        let mut alice = conversation();
        assert!(matches!(alice.hear(joined(None)), Heard::News(Event::Joined(_))));
        assert!(alice.is_here());
        let Command::Say { key: Some(key), .. } = alice.say("x".to_owned()) else { panic!() };
        assert_eq!(key.as_str(), "p-1");
        for other in [None, Some("p-2"), Some("q-1")] {
            assert!(matches!(alice.hear(message(1, other)), Heard::News(_)), "{other:?}");
        }
        assert_eq!(alice.unconfirmed(), 1);
        assert!(matches!(alice.hear(message(2, Some("p-1"))), Heard::Own(_)));
        assert_eq!(alice.unconfirmed(), 0);
        assert!(matches!(alice.hear(message(3, Some("p-1"))), Heard::News(_)));
    }

    #[test]
    fn after_a_break_what_was_taken_is_found_and_the_rest_is_said_again() {
        let mut alice = conversation();
        alice.hear(joined(Some(7)));
        for text in ["one", "two", "three"] {
            alice.say(text.to_owned());
        }
        alice.hear(message(8, Some("p-1")));
        alice.away();
        assert!(!alice.is_here());
        assert_eq!((alice.join().since, alice.join().history), (Some(id(8)), None));
        assert_eq!(alice.join().nick.as_ref().unwrap().as_str(), "alice");
        // While nobody was connected: a message of ours that had arrived, and one of somebody else.
        assert_eq!(alice.hear(joined(Some(10))), Heard::Back);
        assert!(!alice.is_here(), "what was missed comes first");
        assert!(matches!(alice.hear(message(9, Some("p-2"))), Heard::Own(_)));
        assert!(!alice.is_here());
        assert!(matches!(alice.hear(message(10, None)), Heard::News(_)));
        assert!(alice.is_here());
        assert_eq!(texts(alice.again()), ["three"]);
    }

    #[test]
    fn where_nothing_was_missed_nothing_is_waited_for() {
        let mut alice = conversation();
        alice.hear(joined(None));
        alice.hear(message(1, None));
        alice.away();
        alice.hear(joined(Some(1)));
        assert!(alice.is_here());
    }

    /// A break before anything happened in the room: what was said may have been the first event.
    #[test]
    fn a_break_in_an_empty_room_says_nothing_twice() {
        let mut alice = conversation();
        alice.join.history = Some(0);
        alice.hear(joined(None));
        alice.say("first".to_owned());
        alice.away();
        assert_eq!((alice.join().since, alice.join().history), (None, None));
        alice.hear(joined(Some(1)));
        assert!(!alice.is_here());
        assert!(matches!(alice.hear(message(1, Some("p-1"))), Heard::Own(_)));
        assert!(alice.is_here());
        assert_eq!(texts(alice.again()), [""; 0]);
    }

    #[test]
    fn our_own_join_ends_what_was_missed_even_if_its_last_event_is_lost() {
        let mut alice = conversation();
        alice.hear(joined(Some(1)));
        alice.away();
        alice.hear(joined(Some(5)));
        assert!(matches!(alice.hear(Event::Lost { count: Some(4) }), Heard::News(_)));
        assert!(!alice.is_here());
        let nick = "alice".parse().unwrap();
        alice.hear(Event::Join { id: id(6), nick, time: String::new() });
        assert!(alice.is_here());
    }

    /// What was lost before we came is told, and is no reason to come again.
    #[test]
    fn what_is_gone_is_told_where_it_was_asked_for_by_hand_or_the_room_began_anew() {
        let mut alice = conversation();
        alice.join.since = Some(id(5));
        alice.hear(joined(Some(90)));
        assert!(!alice.is_here());
        assert!(matches!(alice.hear(Event::Lost { count: Some(80) }), Heard::News(_)));
        alice.away();
        assert_eq!(alice.join().since, Some(id(5)), "nothing of it has been heard");
        alice.hear(joined(Some(90)));
        alice.hear(message(90, None));
        assert!(alice.is_here());

        alice.away();
        alice.hear(joined(None));
        assert!(!alice.is_here());
        assert!(matches!(alice.hear(Event::Lost { count: None }), Heard::News(_)));
        let nick = "alice".parse().unwrap();
        let first = "zzzzzz-1".parse().unwrap();
        alice.hear(Event::Join { id: first, nick, time: String::new() });
        assert!(alice.is_here());
    }

    #[test]
    fn an_older_join_of_ours_is_only_a_part_of_what_was_missed() {
        let mut alice = conversation();
        alice.hear(joined(Some(50)));
        alice.say("one".to_owned());
        alice.away();
        alice.hear(joined(Some(53)));
        let nick = "alice".parse().unwrap();
        alice.hear(Event::Join { id: id(51), nick, time: String::new() });
        assert!(!alice.is_here());
        assert!(matches!(alice.hear(message(52, Some("p-1"))), Heard::Own(_)));
        alice.hear(message(53, None));
        assert_eq!((alice.is_here(), alice.unconfirmed()), (true, 0));
    }

    #[test]
    fn what_was_left_out_while_up_to_date_is_asked_for_again() {
        let mut alice = conversation();
        alice.hear(joined(Some(1)));
        alice.hear(message(2, None));
        assert_eq!(alice.hear(Event::Lost { count: Some(4) }), Heard::Behind);
        alice.away();
        assert_eq!(alice.join().since, Some(id(2)));
    }

    #[test]
    fn refusals_are_counted_until_it_is_known_whose_they_are() {
        let mut alice = conversation();
        alice.hear(joined(None));
        for text in ["good", "long", "good too", "long too"] {
            alice.say(text.to_owned());
        }
        // The room refuses at once, and tells messages a little later.
        assert!(matches!(alice.hear(too_large()), Heard::Refused(_)));
        assert!(matches!(alice.hear(too_large()), Heard::Refused(_)));
        assert_eq!(alice.unconfirmed(), 4);
        alice.hear(message(1, Some("p-1")));
        assert_eq!(texts(alice.again()), ["long", "good too", "long too"]);
        alice.hear(message(2, Some("p-3")));
        assert_eq!((alice.unconfirmed(), alice.refused), (0, 0));
    }

    #[test]
    fn a_refusal_of_the_only_message_leaves_nothing_to_wait_for() {
        let mut alice = conversation();
        alice.hear(joined(None));
        alice.say("long".to_owned());
        alice.hear(too_large());
        assert_eq!(alice.unconfirmed(), 0);
        // Nothing was said: the error is about something else.
        assert!(matches!(alice.hear(too_large()), Heard::News(_)));
    }

    #[test]
    fn a_room_that_confirms_nothing_is_given_no_more_than_a_window() {
        let mut alice = conversation();
        alice.hear(joined(None));
        for _ in 0..WINDOW {
            assert!(alice.has_room());
            alice.say("x".to_owned());
        }
        assert!(!alice.has_room());
    }
}
