//! `/pipe/KEY`: forwards content from one client to others while it arrives (docs/pipe.md).
//!
//! ```text
//!   PUT, POST   waits ──► content ──► complete ──► 200; 502 without receivers
//!   GET         waits ──► content ──► its end, or a broken response
//! ```

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement, Wait};
use anyport_proto::http1::{Framing, RequestHead, media};
use anyport_proto::pipe::{Give, PipeKey, Piped, TargetError};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header;
use http::{Method, StatusCode};
use serde_json::json;

use super::representation::runs_in_a_browser;
use crate::session::http::answer::{Answer, Asked, Form, Head, Length};
use crate::session::http::handler::{Event, Handler, Next, Opened, Produced, Request, refuse};

use crate::service::pipe::{Idle, Output, PipeReceiver, PipeSender};
use crate::session::{Context, idle_reason, stopping};

/// Opens one side of a pipe.
pub(super) fn open(request: &Request<'_>) -> Opened {
    begin(request).unwrap_or_else(Opened::Answer)
}

fn begin(request: &Request<'_>) -> Result<Opened, Answer> {
    let Request { context, head, framing, rest: key, asked } = *request;
    let bad = |error: TargetError| {
        let refusal = Refusal::new(RefusalCode::BadRequest, error.to_string());
        request.refuse(StatusCode::BAD_REQUEST, refusal)
    };
    let refused = |refusal: Refusal| {
        let status = refusal.code.meaning().status;
        request.refuse(status, refusal)
    };
    let participant = context.participant().map_err(refused)?;
    let side = Side { context: context.clone(), asked: asked.clone() };
    if head.method == Method::GET {
        let key = PipeKey::from_percent_encoded(key).map_err(bad)?;
        // The session does not see an HTTP/2 stream whose flow-control window stays empty.
        let idle_timeout = asked.is_multiplexed().then_some(context.config.timeouts.idle);
        let receiver = context.pipes.take(participant, &key, idle_timeout).map_err(refused)?;
        return Ok(Opened::handler(Receiver {
            side,
            receiver: Some(receiver),
            begun: false,
            is_empty: true,
        }));
    }
    if head.content_codings().next().is_some() {
        let reason = "content codings are not supported: a pipe does not forward them to receivers";
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        return Err(request.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
    }
    let size = match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked => None,
    };
    let give = Give::from_target(key, head.query(), size).map_err(bad)?;
    let sender = context.pipes.give(participant, &give, media_of(head)).map_err(refused)?;
    Ok(Opened::handler(Sender { side, sender }))
}

/// A request for one side of a pipe.
struct Side {
    context: Context,
    asked: Asked,
}

impl Side {
    fn idle(&self) -> Duration {
        self.context.config.timeouts.idle
    }

    /// Refuses the request, and closes the connection after the response.
    fn refuse(&self, status: StatusCode, refusal: Refusal) -> Next {
        Next::Respond(refuse(&self.context, &self.asked, status, refusal).and_end())
    }

    fn interrupted(&self, status: StatusCode, reason: &str) -> Next {
        self.refuse(status, Refusal::new(RefusalCode::Interrupted, reason))
    }

    fn stopping(&self) -> Next {
        self.refuse(StatusCode::SERVICE_UNAVAILABLE, stopping())
    }
}

/// Returns the value of [`Wait::gone_below`].
///
/// Before the pipe begins, a FIN means that the client has left, because no HTTP client half-closes
/// while it waits for a response.
const fn gone_below(begun: bool) -> u64 {
    if begun { 0 } else { u64::MAX }
}

/// The sender of a pipe.
struct Sender {
    side: Side,
    sender: PipeSender,
}

impl Sender {
    fn idle(&self) -> Next {
        let (side, idle) = (&self.side, self.side.idle());
        match self.sender.idle(idle) {
            Idle::Continue => Next::Continue,
            Idle::NotBegun(refusal) => side.refuse(StatusCode::GATEWAY_TIMEOUT, refusal),
            Idle::Silent => self.interrupt(StatusCode::REQUEST_TIMEOUT, &idle_reason(idle)),
        }
    }

    fn interrupt(&self, status: StatusCode, reason: &str) -> Next {
        self.sender.broken(reason);
        self.side.interrupted(status, reason)
    }
}

impl Handler for Sender {
    fn interest(&self) -> Interest {
        let (sender, place) = (&self.sender, Placement::Thread);
        let wait = sender.waits_for();
        let wait = wait.map(|wait| Wait { gone_below: gone_below(sender.has_begun()), ..wait });
        let produce = wait.is_none() && sender.outcome().is_some();
        Interest { produce, wait, place, ..Interest::input(sender.idle_timeout(self.side.idle())) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::Content { piece, more } => {
                self.sender.write(piece);
                if !more {
                    self.sender.pass_on();
                }
            }
            Event::End => self.sender.end(),
            Event::Idle => return self.idle(),
            Event::Shutdown if !self.sender.has_begun() => return self.side.stopping(),
            // The content is complete: the receivers still receive the rest of it.
            Event::Incomplete(_) if self.sender.is_ended() && self.sender.has_begun() => {}
            Event::Incomplete(reason) => return self.interrupt(StatusCode::BAD_REQUEST, reason),
            Event::Lost(reason) => self.sender.broken(reason),
            Event::Shutdown | Event::Spliced(_) | Event::Sent(_) => {}
        }
        Next::Continue
    }

    fn produce(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced> {
        Ok(Produced::Next(match self.sender.outcome() {
            None => Next::Continue,
            Some(Ok(piped)) => Next::Respond(answer(&piped, self.side.asked.form)),
            Some(Err(refusal)) => self.side.refuse(StatusCode::BAD_GATEWAY, refusal),
        }))
    }

    fn reports(&self) -> bool {
        true
    }
}

/// A receiver of a pipe.
struct Receiver {
    side: Side,
    /// `None` after the last byte.
    receiver: Option<PipeReceiver>,
    /// Whether the head was sent.
    begun: bool,
    /// Whether the last read found no content, so that the gate must open before the next.
    is_empty: bool,
}

impl Handler for Receiver {
    fn interest(&self) -> Interest {
        let produce = self.receiver.as_ref().is_none_or(|receiver| receiver.info().is_some());
        let gone_below = gone_below(produce);
        let wait =
            self.receiver.as_ref().filter(|_| self.is_empty).and_then(PipeReceiver::waits_for);
        let wait = wait.map(|wait| Wait { gone_below, ..wait });
        let place = if produce { Placement::Thread } else { Placement::Runtime };
        Interest { produce, wait, place, ..Interest::input(self.side.idle()) }
    }

    fn head(&mut self) -> Option<Head> {
        let receiver =
            self.receiver.as_ref().filter(|receiver| !self.begun && receiver.info().is_some())?;
        self.begun = true;
        Some(head_of(receiver))
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        let waiting = self.receiver.as_ref().filter(|receiver| receiver.info().is_none());
        match (event, waiting) {
            (Event::Idle, Some(receiver)) => {
                self.side.refuse(StatusCode::GATEWAY_TIMEOUT, receiver.never_began())
            }
            (Event::Shutdown, Some(_)) => self.side.stopping(),
            (Event::Incomplete(reason), Some(_)) => {
                self.side.interrupted(StatusCode::BAD_REQUEST, reason)
            }
            _ => Next::Continue,
        }
    }

    fn produce(&mut self, buffer: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced> {
        let Some(receiver) = &self.receiver else { return Ok(Produced::Next(Next::End)) };
        let output = receiver.next(buffer);
        self.is_empty = matches!(output, Output::Nothing);
        match output {
            Output::Bytes(count) => Ok(Produced::Bytes(count)),
            Output::Nothing => Ok(Produced::Next(Next::Continue)),
            // An aborted response, so that the receiver does not take the content for complete.
            Output::Broken(reason) => Err(io::Error::new(ErrorKind::ConnectionReset, reason)),
            Output::End => {
                self.receiver.take().into_iter().for_each(PipeReceiver::finish);
                Ok(Produced::Next(Next::End))
            }
        }
    }

    fn reports(&self) -> bool {
        true
    }
}

/// Returns the sender's media type, unless a browser would execute such content. Parameters keep
/// their case: a boundary depends on it.
fn media_of(head: &RequestHead) -> Option<String> {
    let media = head.fields.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let lower = media.to_ascii_lowercase();
    let is_harmless = media.len() <= LONGEST_MEDIA && !runs_in_a_browser(&lower);
    (is_harmless && !lower.contains("script")).then(|| media.to_owned())
}

/// Returns the response for the sender.
fn answer(piped: &Piped, form: Form) -> Answer {
    let Piped { bytes, seconds, receivers, gone } = piped;
    match form {
        Form::Json => {
            let piped =
                json!({ "bytes": bytes, "seconds": seconds, "receivers": receivers, "gone": gone });
            Answer::json(StatusCode::OK, json!({ "piped": piped }).to_string())
        }
        Form::Text | Form::Html => {
            Answer::text(StatusCode::OK, format!("{}\n", piped.human_line()))
        }
    }
}

/// Returns the head of the response for a receiver.
fn head_of(receiver: &PipeReceiver) -> Head {
    let (key, info) = (receiver.key(), receiver.info().cloned().unwrap_or_default());
    // Letters of other scripts are encoded as in RFC 8187.
    let name = match key.as_str() {
        plain if plain.is_ascii() => format!("filename=\"{plain}\""),
        _ => format!("filename*=UTF-8''{}", key.percent_encoded()),
    };
    let length = info.size.map_or(Length::Unknown, Length::Known);
    Answer::head(StatusCode::OK, length)
        .with(header::CONTENT_TYPE, info.media.unwrap_or_else(|| media::UNKNOWN.to_owned()))
        .with(header::CONTENT_DISPOSITION, format!("attachment; {name}"))
        .with(header::CACHE_CONTROL, "no-store")
        .head
}

/// Maximum length of a forwarded media type in bytes, parameters included.
const LONGEST_MEDIA: usize = 128;
