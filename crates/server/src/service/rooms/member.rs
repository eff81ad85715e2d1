//! Somebody in a room: the half that speaks, which is its session's, and the half that is told,
//! which is its thread's.

use std::sync::Arc;
use std::time::Instant;

use anyport_proto::rooms::{Event, HELP, Join, Joined, Line, Nickname, Said};
use anyport_proto::transfer::refusal::Refusal;

use super::form::Form;
use super::rate::Rate;
use super::room::Room;

/// Who has just entered.
pub(crate) struct Entry {
    pub(crate) member: Member,
    pub(crate) seat: Seat,
}

impl Entry {
    /// Enters `room`; `out` gets what the member is sent first, behind what `first` writes.
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
        let seat = Seat { room: room.clone(), number, form, own, after, lost };
        Self { member: Member { room: room.clone(), number, nick, form, shard, rate }, seat }
    }
}

/// The half that speaks. Dropped, it leaves.
#[derive(Debug)]
pub(crate) struct Member {
    room: Arc<Room>,
    number: u64,
    /// A listener has none, and says nothing.
    nick: Option<Arc<Nickname>>,
    form: Form,
    shard: usize,
    rate: Rate,
}

/// The half that is told.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) room: Arc<Room>,
    pub(super) number: u64,
    pub(super) form: Form,
    /// It wants its own events too.
    pub(super) own: bool,
    /// The last event that it was told of when it came.
    pub(super) after: u64,
    /// Events that it was not told, since it is too slow.
    pub(super) lost: u64,
}

impl Member {
    /// Does what was said. `tell` gets what only this member is told, in its form, without what its
    /// carrier adds.
    pub(crate) fn hear(&mut self, line: Line, now: Instant, tell: &mut dyn FnMut(&str)) {
        match line {
            Line::Nothing => {}
            Line::Said(Said::Say { text, key }) => {
                self.rate.spend(now);
                if let Some(nick) = &self.nick {
                    self.room.say(self.number, nick, text, key, self.shard);
                }
            }
            Line::Said(Said::Who) => {
                self.rate.spend(now);
                tell(&self.form.text(&Event::Members(self.room.look().0)));
            }
            Line::Help => {
                self.rate.spend(now);
                HELP.iter().for_each(|line| tell(line));
            }
        }
    }

    /// Says why something was not taken.
    pub(crate) fn refuse(&mut self, refusal: Refusal, now: Instant, tell: &mut dyn FnMut(&str)) {
        self.rate.spend(now);
        tell(&self.form.text(&Event::Error(refusal)));
    }

    /// Counts something against the rate that was as much work as a message.
    pub(crate) fn spend(&mut self, now: Instant) {
        self.rate.spend(now);
    }

    /// Returns when it may speak again; none if it may speak at `now`.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        self.rate.wake(now)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.leave(self.number, self.form, self.shard);
    }
}
