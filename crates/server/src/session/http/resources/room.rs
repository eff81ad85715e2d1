//! `/rooms/NAME`: POST sends a message, GET returns the members or the events (docs/rooms.md).

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement, Wait};
use anyport_proto::http1::Framing;
use anyport_proto::rooms::{
    Command, CommandError, EventId, Join, Members, Nickname, RoomName, TargetError,
};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::HeaderName;
use http::{Method, StatusCode, header};
use serde_json::json;

use crate::session::http::answer::{Answer, Asked, Form, Head, Length};
use crate::session::http::handler::{Event, Handler, Next, Opened, Produced, Request, refuse};

use crate::access::Participant;
use crate::service::rooms::{Carrier, Listener};
use crate::session::route::{Route, RouteError};
use crate::session::{Context, idle_reason, stopping};

/// A message that is received.
struct Posting {
    context: Context,
    asked: Asked,
    participant: Participant,
    room: RoomName,
    nick: Option<Nickname>,
    text: Vec<u8>,
}

/// Accepts a message for a room, or sends its members or its events.
pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { context, head, asked, .. } = *request;
    let participant = match context.participant() {
        Ok(participant) => participant,
        Err(refusal) => return Opened::Answer(request.refuse(StatusCode::FORBIDDEN, refusal)),
    };
    if request.has_content() {
        return begin(request, participant).map_or_else(Opened::Answer, Opened::handler);
    }
    let join = match join(request) {
        Ok(join) => join,
        Err(answer) => return Opened::Answer(answer),
    };
    if asked.form == Form::Json {
        return Opened::Answer(who(context, participant, &join.room));
    }
    if head.method == Method::HEAD {
        let answer = Answer::head(StatusCode::OK, Length::None);
        return Opened::Answer(answer.with(header::CONTENT_TYPE, EVENTS));
    }
    if asked.stopping {
        let refusal = stopping();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Opened::Answer(request.refuse(status, refusal));
    }
    Opened::Events(Box::new((context.clone(), join)))
}

/// Returns the head of a room's events, which no cache stores and no proxy buffers.
pub(crate) fn events() -> Head {
    Answer::head(StatusCode::OK, Length::Unknown)
        .with(header::CONTENT_TYPE, EVENTS)
        .with(header::CACHE_CONTROL, "no-store")
        .with(HeaderName::from_static("x-accel-buffering"), "no")
        .head
}

/// Returns the WebSocket service of a room.
pub(super) fn service(_: &str, path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    Ok(Route::Room(Join::from_target(path, query)?))
}

fn begin(request: &Request<'_>, participant: Participant) -> Result<Posting, Answer> {
    let Request { context, framing, asked, .. } = *request;
    let Join { room, nick, .. } = join(request)?;
    if let Framing::Length(length) = framing
        // And a line end, which is no part of the message.
        && length > context.config.limits.room_message as u64 + 1
    {
        return Err(request.refuse(StatusCode::PAYLOAD_TOO_LARGE, too_long(context)));
    }
    let (context, asked) = (context.clone(), asked.clone());
    Ok(Posting { context, asked, participant, room, nick, text: Vec::new() })
}

impl Posting {
    /// Sends the message, and returns the response.
    fn finish(&mut self) -> Answer {
        let Self { context, asked, participant, room, nick, text } = self;
        let most = context.config.limits.room_message;
        // Tools that send lines send their ends too.
        let text = String::from_utf8(std::mem::take(text)).map_err(|_| CommandError::NotUtf8);
        let said = text.and_then(|mut text| {
            text.truncate(text.strip_suffix('\n').unwrap_or(&text).len());
            Command::say(text, None, most)
        });
        let text = match said {
            Ok(Command::Say { text, .. }) => text,
            Ok(Command::Who) => String::new(),
            Err(error @ CommandError::TooLong { .. }) => {
                return refuse(context, asked, StatusCode::PAYLOAD_TOO_LARGE, error.refusal());
            }
            Err(error) => {
                return refuse(context, asked, StatusCode::BAD_REQUEST, error.refusal());
            }
        };
        match context.rooms.post(*participant, room, nick.take(), text) {
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

impl Handler for Posting {
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
            _ => return Next::Continue,
        };
        Next::Respond(answer)
    }
}

/// The events of a room on one stream of many.
struct Subscription {
    head: Option<Head>,
    listener: Listener,
    idle: Duration,
    /// When a heartbeat is sent.
    due: Instant,
}

/// Subscribes a stream to the events of a room.
pub(crate) fn subscribe(
    context: &Context,
    join: &Join,
    asked: &Asked,
) -> Result<Box<dyn Handler>, Answer> {
    let listener = context
        .participant()
        .and_then(|participant| context.room_listeners.listen(participant, join, Carrier::Event));
    let listener = listener
        .map_err(|refusal| refuse(context, asked, StatusCode::SERVICE_UNAVAILABLE, refusal))?;
    // Often enough that no proxy considers the stream dead.
    let idle = context.config.timeouts.idle / 2;
    let due = Instant::now() + idle;
    Ok(Box::new(Subscription { head: Some(events()), listener, idle, due }))
}

impl Handler for Subscription {
    fn interest(&self) -> Interest {
        let (gate, until) = (self.listener.gate(), Some(self.due));
        let wait = || Wait { gate: gate.clone(), until, gone_below: 0 };
        let (wait, place) = ((!gate.is_open()).then(wait), Placement::Reactor);
        Interest { produce: true, wait, place, ..Interest::input(self.idle) }
    }

    fn head(&mut self) -> Option<Head> {
        self.head.take()
    }

    fn handle(&mut self, event: Event<'_>, at: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Shutdown => return Next::End,
            Event::Idle => {
                out.extend_from_slice(HEARTBEAT);
                self.due = at + self.idle;
            }
            _ => {}
        }
        Next::Continue
    }

    fn produce(&mut self, _: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        Ok(Produced::Next(match self.listener.poll() {
            Poll::Pending => Next::Continue,
            Poll::Ready(None) => Next::End,
            Poll::Ready(Some(piece)) => {
                out.extend_from_slice(&piece);
                self.due = Instant::now() + self.idle;
                Next::Continue
            }
        }))
    }
}

/// Returns the room and the member: of the query, and of a field that browsers send when they
/// reconnect.
fn join(request: &Request<'_>) -> Result<Join, Answer> {
    let head = request.head;
    let bad = |reason: &dyn std::fmt::Display| {
        let refusal = Refusal::new(RefusalCode::BadRequest, reason.to_string());
        request.refuse(StatusCode::BAD_REQUEST, refusal)
    };
    let mut join = Join::from_target(head.path(), head.query()).map_err(|error| match error {
        TargetError::NoRoom => {
            let refusal = Refusal::new(RefusalCode::NotFound, error.to_string())
                .with_hint("to listen to the room lobby: curl -N http://HOST:PORT/rooms/lobby");
            request.refuse(StatusCode::NOT_FOUND, refusal)
        }
        other => bad(&other),
    })?;
    // A browser that reconnects requests the same URL again, so the field is newer. An error would
    // end its EventSource for good, so a value from another server is an unknown id.
    if let Some(last) = head.fields.get(LAST_EVENT_ID) {
        let last = last.to_str().ok().and_then(|last| last.parse().ok());
        join.since = Some(last.unwrap_or(EventId::UNKNOWN));
    }
    Ok(join)
}

fn who(context: &Context, participant: Participant, room: &RoomName) -> Answer {
    let (Members { members, listeners }, last) =
        context.rooms.look(participant, room).unwrap_or_default();
    let members: Vec<_> = members.iter().map(Nickname::as_str).collect();
    let mut json = json!({ "room": room.as_str(), "members": members, "listeners": listeners });
    if let Some(last) = last {
        json["last"] = json!(last.to_string());
    }
    Answer::json(StatusCode::OK, json.to_string()).with(header::CACHE_CONTROL, "no-store")
}

fn too_long(context: &Context) -> Refusal {
    CommandError::TooLong { most: context.config.limits.room_message }.refusal()
}

/// A comment (WHATWG HTML §9.2.5): nothing to a client, and that it is accepted shows that there is
/// one.
pub(crate) const HEARTBEAT: &[u8] = b":\n\n";

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// The field that EventSource sends when it reconnects (WHATWG HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
