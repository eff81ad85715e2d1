//! A member of a room: the sending half belongs to its session, the receiving half to its
//! thread.

use std::sync::Arc;
use std::time::Instant;

use anyport_proto::rooms::{Command, Event, HELP, Join, Joined, Line, Nickname};
use anyport_proto::transfer::refusal::Refusal;

use super::form::Form;
use super::rate::Rate;
use super::room::Room;

/// The two halves of a member that has just joined.
pub(crate) struct Entry {
    pub(crate) member: Member,
    pub(crate) subscription: Subscription,
}

impl Entry {
    /// Joins `room`. Appends the first output of the member to `out`, after what `first`
    /// writes.
    pub(super) fn new(
        room: &Arc<Room>,
        join: &Join,
        form: Form,
        shard: usize,
        out: &mut Vec<u8>,
        first: impl FnOnce(Option<&Joined>, &mut Vec<u8>),
    ) -> Self {
        let (number, nick, after) = room.enter(join, form, shard, out, first);
        let (own, lost, rate) = (join.own, 0, Rate::new(room.limits.rate));
        let subscription = Subscription { room: room.clone(), number, form, own, after, lost };
        Self {
            member: Member { room: room.clone(), number, nick, form, shard, rate },
            subscription,
        }
    }
}

/// The sending half of a member. Dropping it leaves the room.
#[derive(Debug)]
pub(crate) struct Member {
    room: Arc<Room>,
    number: u64,
    /// `None` for a listener, which sends nothing.
    nick: Option<Arc<Nickname>>,
    form: Form,
    shard: usize,
    rate: Rate,
}

/// The receiving half of a member.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(super) room: Arc<Room>,
    pub(super) number: u64,
    pub(super) form: Form,
    /// Whether it receives its own events too.
    pub(super) own: bool,
    /// The last event that it received when it joined.
    pub(super) after: u64,
    /// Events that it missed because it reads too slowly.
    pub(super) lost: u64,
}

impl Member {
    /// Handles one line of input. `tell` sends text to this member only, in its form, without
    /// the framing of its carrier.
    pub(crate) fn handle(&mut self, line: Line, now: Instant, tell: &mut dyn FnMut(&str)) {
        match line {
            Line::Nothing => {}
            Line::Command(Command::Say { text, key }) => {
                self.rate.spend(now);
                if let Some(nick) = &self.nick {
                    self.room.say(self.number, nick, text, key, self.shard);
                }
            }
            Line::Command(Command::Who) => {
                self.rate.spend(now);
                tell(&self.form.text(&Event::Members(self.room.look().0)));
            }
            Line::Help => {
                self.rate.spend(now);
                HELP.iter().for_each(|line| tell(line));
            }
        }
    }

    /// Sends the reason of a refusal to this member.
    pub(crate) fn refuse(&mut self, refusal: Refusal, now: Instant, tell: &mut dyn FnMut(&str)) {
        self.rate.spend(now);
        tell(&self.form.text(&Event::Error(refusal)));
    }

    /// Charges work against the rate limit that is worth one message.
    pub(crate) fn spend(&mut self, now: Instant) {
        self.rate.spend(now);
    }

    /// Returns when the rate limit permits the next message; `None` if it does now.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        self.rate.wake(now)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.leave(self.number, self.form, self.shard);
    }
}
