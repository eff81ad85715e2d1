//! A room with messages: plain text, or JSON of `anyport.chat.1`. Each message must be complete
//! within `Timeouts::message`, because it is buffered until then.

use std::time::Instant;

use anyport_proto::rooms::{Command, CommandError, Event, Join, Line};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::{CloseCode, Kind};

use super::{Outlet, Piece};
use crate::budget::Share;
use crate::service::files::Source;
use crate::service::rooms::{Carrier, Form, Member, Rooms, Subscription, guest};
use crate::session::Context;
use crate::session::due::Due;

pub(crate) struct MessageRoom {
    context: Context,
    source: Source,
    join: Join,
    /// `None` until it has joined.
    member: Option<Member>,
    /// Messages that arrived in the same read as the opening handshake.
    early: Vec<Result<Line, CommandError>>,
    /// An incomplete message.
    text: Vec<u8>,
    share: Share,
    /// Work of inflating that was not charged to a message yet, in bytes.
    inflated: usize,
    pub(in crate::session) due: Due,
}

impl MessageRoom {
    pub(in crate::session) fn new(context: &Context, source: Source, mut join: Join) -> Self {
        // A WebSocket client may send messages, which needs a nickname.
        join.nick.get_or_insert_with(guest);
        Self {
            context: context.clone(),
            source,
            join,
            member: None,
            early: Vec::new(),
            text: Vec::new(),
            share: context.buffer_share(),
            inflated: 0,
            due: Due::new(context.config.timeouts.message),
        }
    }

    /// Joins the room.
    ///
    /// # Errors
    /// That is refused; the refusal was reported.
    pub(in crate::session) fn enter(
        &mut self,
        rooms: &Rooms,
        shard: usize,
        out: &mut Vec<u8>,
    ) -> Result<Subscription, Refusal> {
        let form = Form::new(Carrier::Message, self.join.json);
        let entered = self.context.participant().and_then(|participant| {
            rooms.enter(participant, &self.join, form, shard, out, |_, _| {})
        });
        let protocol = self.source.protocol.as_str();
        let refused = |refusal: &Refusal| self.context.refused(protocol, &refusal.message);
        let entry = entered.inspect_err(refused)?;
        self.member = Some(entry.member);
        Ok(entry.subscription)
    }

    /// Handles the input that arrived before it joined.
    pub(in crate::session) fn catch_up(&mut self, outlet: &mut dyn Outlet) {
        for line in std::mem::take(&mut self.early) {
            self.handle(line, Instant::now(), outlet);
        }
    }

    pub(in crate::session) fn wake(&self, now: Instant) -> Option<Instant> {
        self.member.as_ref().and_then(|member| member.wake(now))
    }

    /// Charges inflating against the rate limit of the member, beyond what a message includes.
    pub(in crate::session) fn inflated(&mut self, work: usize, at: Instant) {
        self.inflated += work;
        let Some(member) = &mut self.member else { return };
        while self.inflated >= 2 * INFLATED_FOR_A_MESSAGE {
            self.inflated -= INFLATED_FOR_A_MESSAGE;
            member.spend(at);
        }
    }

    pub(in crate::session) fn data(&mut self, piece: &Piece<'_>, outlet: &mut dyn Outlet) {
        if piece.kind == Kind::Binary {
            return outlet.close(Some(CloseCode::UNSUPPORTED), "rooms accept text messages only");
        }
        if piece.end && self.text.is_empty() {
            self.due.end();
            return self.whole(piece.data, piece.at, outlet);
        }
        if !self.share.grow(piece.data.len()) {
            return outlet.close(Some(CloseCode::TRY_AGAIN_LATER), super::OUT_OF_MEMORY);
        }
        self.text.extend_from_slice(piece.data);
        if piece.end {
            self.due.end();
            let text = std::mem::take(&mut self.text);
            self.share.clear();
            self.whole(&text, piece.at, outlet);
        }
    }

    /// Records that all bytes that were read at `at` were handled.
    pub(in crate::session) fn taken(&mut self, between_messages: bool, at: Instant) {
        if between_messages {
            self.due.end();
        } else {
            self.due.begin(at);
        }
    }

    pub(in crate::session) fn late(&mut self, outlet: &mut dyn Outlet) {
        let reason = self.due.reason("a message");
        self.due.end();
        self.idle(&reason, outlet);
        let protocol = self.source.protocol.as_str();
        self.context.refused(protocol, reason);
    }

    /// Ends the membership of an idle or late peer. A client of the JSON form gets an error after
    /// which it may join again.
    pub(in crate::session) fn idle(&self, reason: &str, outlet: &mut dyn Outlet) {
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        if self.join.json {
            let event = Event::Error(refusal.clone());
            outlet.message(Kind::Text, event.to_json().as_bytes());
        }
        outlet.refuse(&refusal);
    }

    fn whole(&mut self, text: &[u8], at: Instant, outlet: &mut dyn Outlet) {
        let most = self.context.config.limits.room_message;
        let line = if self.join.json {
            // The receiver has validated UTF-8.
            let text = std::str::from_utf8(text).map_err(|_| CommandError::NotUtf8);
            text.and_then(|text| Command::from_json(text, most)).map(Line::Command)
        } else {
            // Tools that send lines include the line end.
            Command::from_line(text.strip_suffix(b"\n").unwrap_or(text), most)
        };
        if self.member.is_some() {
            self.handle(line, at, outlet);
        } else {
            self.early.push(line);
        }
    }

    fn handle(&mut self, line: Result<Line, CommandError>, now: Instant, outlet: &mut dyn Outlet) {
        let Some(member) = &mut self.member else { return };
        // The rate limit is charged by `handle`, except for an empty line.
        if line != Ok(Line::Nothing) {
            self.inflated = self.inflated.saturating_sub(INFLATED_FOR_A_MESSAGE);
        }
        let mut tell = |text: &str| outlet.message(Kind::Text, text.as_bytes());
        match line {
            Ok(line) => member.handle(line, now, &mut tell),
            Err(error) => member.refuse(error.refusal(), now, &mut tell),
        }
    }
}

/// Work of inflating that counts as one message of the rate limit, in bytes: a page of text in one
/// piece. A long message counts as several, so that a member with compression costs at most 1.6
/// MB/s of inflating and parsing.
const INFLATED_FOR_A_MESSAGE: usize = 16 * 1024;
