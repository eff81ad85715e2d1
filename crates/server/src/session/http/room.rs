//! Rooms by plain requests: a message by POST, who is there by GET, and what happens as a stream (docs/rooms.md).

use std::time::Instant;

use anyport_net::copy::Interest;
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::rooms::{
    EventId, Join, Members, Nickname, RoomName, Said, SaidError, TargetError,
};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::HeaderName;
use http::{Method, StatusCode, header};
use serde_json::json;

use super::answer::{Answer, Asked, Form, Head, Length};
use super::request::{Lead, refuse};
use super::resource::{Event, Next, Resource};
use crate::session::{Context, idle_reason, stopping};

/// A message that is received.
pub(super) struct Posting {
    context: Context,
    asked: Asked,
    room: RoomName,
    nick: Option<Nickname>,
    text: Vec<u8>,
}

/// Finds what a GET of a room asks for.
pub(super) fn lead(context: &Context, head: &RequestHead, asked: &Asked) -> Lead {
    let join = match join(context, head, asked) {
        Ok(join) => join,
        Err(answer) => return Lead::Answer(answer),
    };
    if asked.form == Form::Json {
        return Lead::Answer(who(context, &join.room));
    }
    if head.method == Method::HEAD {
        let answer = Answer::head(StatusCode::OK, Length::None);
        return Lead::Answer(answer.with(header::CONTENT_TYPE, EVENTS));
    }
    if asked.stopping {
        let refusal = stopping();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Lead::Answer(refuse(context, asked, status, refusal));
    }
    Lead::Listen(join)
}

/// The head of a room's events. Nobody may keep them, and no proxy hold them back.
pub(crate) fn events() -> Head {
    Answer::head(StatusCode::OK, Length::Unknown)
        .with(header::CONTENT_TYPE, EVENTS)
        .with(header::CACHE_CONTROL, "no-store")
        .with(HeaderName::from_static("x-accel-buffering"), "no")
        .head
}

/// Begins to take a message.
pub(super) fn begin(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    asked: &Asked,
) -> Result<Posting, Answer> {
    let Join { room, nick, .. } = join(context, head, asked)?;
    if let Framing::Length(length) = framing
        // And a line end, which is not said.
        && length > context.config.limits.room_message as u64 + 1
    {
        return Err(refuse(context, asked, StatusCode::PAYLOAD_TOO_LARGE, too_long(context)));
    }
    let (context, asked) = (context.clone(), asked.clone());
    Ok(Posting { context, asked, room, nick, text: Vec::new() })
}

impl Posting {
    /// Sends the message, and returns the response.
    fn finish(&mut self) -> Answer {
        let Self { context, asked, room, nick, text } = self;
        let most = context.config.limits.room_message;
        // Tools that send lines send their ends too.
        let text = String::from_utf8(std::mem::take(text)).map_err(|_| SaidError::NotUtf8);
        let said = text.and_then(|mut text| {
            text.truncate(text.strip_suffix('\n').unwrap_or(&text).len());
            Said::say(text, None, most)
        });
        let text = match said {
            Ok(Said::Say { text, .. }) => text,
            Ok(Said::Who) => String::new(),
            Err(error @ SaidError::TooLong { .. }) => {
                return refuse(context, asked, StatusCode::PAYLOAD_TOO_LARGE, error.refusal());
            }
            Err(error) => {
                return refuse(context, asked, StatusCode::BAD_REQUEST, error.refusal());
            }
        };
        match context.rooms.post(context.peer.ip(), room, nick.take(), text) {
            Ok(id) if asked.form == Form::Json => {
                Answer::json(StatusCode::OK, json!({ "id": id.to_string() }).to_string())
            }
            Ok(id) => Answer::text(StatusCode::OK, format!("{id}\n")),
            Err(refused) => {
                let status = match refused.too_often {
                    true => StatusCode::TOO_MANY_REQUESTS,
                    false => refused.refusal.code.meaning().status,
                };
                refuse(context, asked, status, refused.refusal)
            }
        }
    }

    fn lost(&self, status: StatusCode, reason: impl Into<String>) -> Answer {
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        Answer::refusal(refusal, self.asked.form).with_status(status)
    }
}

impl Resource for Posting {
    fn interest(&self) -> Interest {
        Interest { may_block: true, ..Interest::input(self.context.config.timeouts.idle) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        let (context, asked) = (&self.context, &self.asked);
        let answer = match event {
            Event::Content { piece, .. } => {
                if self.text.len() + piece.len() <= context.config.limits.room_message + 1 {
                    self.text.extend_from_slice(piece);
                    return Next::Continue;
                }
                refuse(context, asked, StatusCode::PAYLOAD_TOO_LARGE, too_long(context))
            }
            Event::End => self.finish(),
            Event::Idle => {
                let reason = idle_reason(context.config.timeouts.idle);
                self.lost(StatusCode::REQUEST_TIMEOUT, reason)
            }
            Event::Incomplete(reason) => self.lost(StatusCode::BAD_REQUEST, reason),
            Event::Spliced(_) | Event::Sent(_) | Event::Shutdown | Event::Lost(_) => {
                return Next::Continue;
            }
        };
        Next::Respond(answer)
    }
}

/// The room and who comes: of the query, and of a field that browsers send when they come back.
fn join(context: &Context, head: &RequestHead, asked: &Asked) -> Result<Join, Answer> {
    let bad = |reason: &dyn std::fmt::Display| {
        let refusal = Refusal::new(RefusalCode::BadRequest, reason.to_string());
        refuse(context, asked, StatusCode::BAD_REQUEST, refusal)
    };
    let mut join = Join::from_target(head.path(), head.query()).map_err(|error| match error {
        TargetError::NoRoom => {
            let refusal = Refusal::new(RefusalCode::NotFound, error.to_string())
                .with_hint("to listen to the room lobby: curl -N http://HOST:PORT/rooms/lobby");
            refuse(context, asked, StatusCode::NOT_FOUND, refusal)
        }
        other => bad(&other),
    })?;
    // A browser that reconnects requests the same URL again, so the field is newer. An error would end its EventSource for
    // good, so a value from another server is an unknown id.
    if let Some(last) = head.fields.get(LAST_EVENT_ID) {
        let last = last.to_str().ok().and_then(|last| last.parse().ok());
        join.since = Some(last.unwrap_or(EventId::UNKNOWN));
    }
    Ok(join)
}

fn who(context: &Context, room: &RoomName) -> Answer {
    let (Members { members, listeners }, last) = context.rooms.look(room).unwrap_or_default();
    let members: Vec<_> = members.iter().map(Nickname::as_str).collect();
    let mut json = json!({ "room": room.as_str(), "members": members, "listeners": listeners });
    if let Some(last) = last {
        json["last"] = json!(last.to_string());
    }
    Answer::json(StatusCode::OK, json.to_string()).with(header::CACHE_CONTROL, "no-store")
}

fn too_long(context: &Context) -> Refusal {
    SaidError::TooLong { most: context.config.limits.room_message }.refusal()
}

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What EventSource sends when it comes back (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
