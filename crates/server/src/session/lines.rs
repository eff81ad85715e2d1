//! A room over raw TCP: one line for each message, so that `nc` can join (docs/rooms.md).

use std::time::{Duration, Instant};

use anyport_net::copy::{self, Interest, Placement, Read, Session};
use anyport_proto::preface::Reply;
use anyport_proto::rooms::{Command, CommandError, Event, Join, Line};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::due::Due;
use super::messages::OUT_OF_MEMORY;
use super::{Context, Next, ServerSession, Successor};
use crate::budget::Share;
use crate::service::rooms::{Carrier, Entry, Form, Member, Rooms, Subscription, guest};

pub(crate) struct Lines {
    context: Context,
    join: Join,
    /// `None` until it has joined.
    member: Option<Member>,
    /// An incomplete line; before it has joined, input that followed its request in one read.
    line: Vec<u8>,
    share: Share,
    /// Input that waits until `wake`, because the member exceeded its rate limit.
    waiting: Vec<u8>,
    /// Set if and only if input waits.
    wake: Option<Instant>,
    /// Time limit of an incomplete line, which is buffered.
    due: Due,
    /// The line is too long, which was reported to its sender: its rest is discarded.
    too_long: bool,
}

impl Lines {
    pub(super) fn new(context: Context, mut join: Join) -> Self {
        // A client that sends JOIN wants to send messages, which needs a nickname.
        join.nick.get_or_insert_with(guest);
        let share = context.buffer_share();
        let (line, waiting) = (Vec::new(), Vec::new());
        let due = Due::new(context.config.timeouts.message);
        Self { context, join, member: None, line, share, waiting, due, too_long: false, wake: None }
    }

    fn say_goodbye(&self, replies: &mut Vec<u8>) {
        let refusal = super::stopping();
        if self.join.json {
            replies.extend_from_slice(Event::Error(refusal).to_json().as_bytes());
        } else {
            replies.extend_from_slice(Event::Error(refusal).to_text().as_bytes());
        }
        replies.push(b'\n');
    }

    /// Handles an incomplete line whose time limit has passed.
    fn late(&mut self, at: Instant, replies: &mut Vec<u8>) -> Next {
        let reason = self.due.reason("a line");
        self.due.end();
        self.context.refused("raw", &reason);
        self.refuse(Refusal::new(RefusalCode::Interrupted, reason), at, replies);
        Next::Finish
    }

    /// Handles the waiting input, then `bytes`. Input beyond the rate limit waits: at most the rest
    /// of one read, because nothing is read until then.
    fn bytes(&mut self, bytes: &[u8], at: Instant, replies: &mut Vec<u8>) {
        self.wake = None;
        if self.waiting.is_empty() {
            return self.lines(bytes, at, replies);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend_from_slice(bytes);
        self.lines(&waiting, at, replies);
    }

    fn lines(&mut self, mut bytes: &[u8], at: Instant, replies: &mut Vec<u8>) {
        let most = if self.join.json {
            self.context.config.limits.said_json()
        } else {
            // One slash of two, and a carriage return.
            self.context.config.limits.room_message + 2
        };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.wake = self.member.as_ref().and_then(|member| member.wake(at));
            if self.wake.is_some() {
                self.waiting = bytes.to_vec();
                return;
            }
            let (piece, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            self.due.end();
            let too_long = std::mem::take(&mut self.too_long);
            if too_long {
                continue;
            }
            if self.line.len() + piece.len() > most {
                self.line.clear();
                self.handle(Err(self.exceeds()), at, replies);
            } else if self.line.is_empty() {
                self.whole(piece, at, replies);
            } else {
                self.line.extend_from_slice(piece);
                let line = std::mem::take(&mut self.line);
                self.whole(&line, at, replies);
            }
            self.share.clear();
        }
        if self.too_long || bytes.is_empty() {
            return;
        }
        let fits = self.line.len() + bytes.len() <= most;
        if fits && self.share.grow(bytes.len()) {
            self.due.begin(at);
            self.line.extend_from_slice(bytes);
            return;
        }
        self.line = Vec::new();
        self.share.clear();
        self.due.end();
        self.too_long = true;
        let refusal = match fits {
            true => Refusal::new(RefusalCode::Busy, OUT_OF_MEMORY),
            false => self.exceeds().refusal(),
        };
        self.refuse(refusal, at, replies);
    }

    fn exceeds(&self) -> CommandError {
        CommandError::TooLong { most: self.context.config.limits.room_message }
    }

    fn whole(&mut self, line: &[u8], at: Instant, replies: &mut Vec<u8>) {
        let most = self.context.config.limits.room_message;
        let said = if self.join.json {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let text = std::str::from_utf8(line).map_err(|_| CommandError::NotUtf8);
            match text {
                Ok("") => Ok(Line::Nothing),
                text => text.and_then(|text| Command::from_json(text, most)).map(Line::Command),
            }
        } else {
            Command::from_line(line, most)
        };
        self.handle(said, at, replies);
    }

    fn handle(&mut self, line: Result<Line, CommandError>, at: Instant, replies: &mut Vec<u8>) {
        match (line, &mut self.member) {
            (Ok(line), Some(member)) => member.handle(line, at, &mut |text| tell(text, replies)),
            (Err(error), _) => self.refuse(error.refusal(), at, replies),
            (Ok(_), None) => {}
        }
    }

    fn refuse(&mut self, refusal: Refusal, at: Instant, replies: &mut Vec<u8>) {
        if let Some(member) = &mut self.member {
            member.refuse(refusal, at, &mut |text| tell(text, replies));
        }
    }
}

impl ServerSession for Lines {
    fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        replies: &mut Vec<u8>,
    ) -> (Option<Subscription>, Next) {
        let form = Form::new(Carrier::Line, self.join.json);
        let welcome = |joined: Option<&anyport_proto::rooms::Joined>, out: &mut Vec<u8>| {
            let Some(joined) = joined else { return };
            let reply = Reply::Joined {
                room: joined.room.clone(),
                nick: joined.nick.clone(),
                members: joined.others.members.len() as u64 + 1,
                last: joined.last,
            };
            out.extend_from_slice(reply.to_line().as_bytes());
        };
        let entered = self.context.participant().and_then(|participant| {
            rooms.enter(participant, &self.join, form, shard, replies, welcome)
        });
        match entered {
            Ok(Entry { member, subscription }) => {
                self.member = Some(member);
                let early = std::mem::take(&mut self.line);
                self.bytes(&early, Instant::now(), replies);
                (Some(subscription), Next::Continue)
            }
            Err(refusal) => {
                self.context.refused("raw", &refusal.message);
                replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
                (None, Next::Finish)
            }
        }
    }
}

impl Session for Lines {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        // Between two lines a person may think for any time; TCP keepalive finds out whether the
        // peer is still there.
        let idle = self.due.idle_timeout(Duration::MAX);
        let (read, place) = (Read::WhileProducing, Placement::Reactor);
        Interest { read, wake: self.wake, place, ..Interest::input(idle) }
    }

    fn handle(&mut self, event: copy::Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            // It has not joined the room yet.
            copy::Event::Bytes(bytes) if self.member.is_none() => {
                self.line.extend_from_slice(bytes)
            }
            copy::Event::Bytes(_) if self.due.is_late(now) => return self.late(now, out),
            copy::Event::Idle if self.due.is_late_when_idle(now) => return self.late(now, out),
            copy::Event::Bytes(bytes) => self.bytes(bytes, now, out),
            copy::Event::Timer => self.bytes(&[], now, out),
            // A line without an end was not meant to be sent.
            copy::Event::EndOfStream => return Next::Finish,
            copy::Event::Shutdown => {
                self.say_goodbye(out);
                return Next::Finish;
            }
            copy::Event::Idle
            | copy::Event::Spliced(_)
            | copy::Event::Sent(_)
            | copy::Event::Lost(_) => {}
        }
        Next::Continue
    }
}

fn tell(text: &str, replies: &mut Vec<u8>) {
    replies.extend_from_slice(text.as_bytes());
    replies.push(b'\n');
}
