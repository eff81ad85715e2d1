//! `/pipe/KEY`: what one client puts there others get while it comes (docs/pipe.md).
//!
//! ```text
//!   PUT, POST   waits ──► content comes ──► all is here, and being taken ──► 200, or 502 where nobody is left
//!   GET         waits ──► content goes out ──► its end, or a break
//! ```

use anyport_proto::http1::{Framing, RequestHead, media};
use anyport_proto::pipe::{Give, PipeKey, Piped, TargetError};
use anyport_proto::transfer::receipt::Protocol;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header;
use http::{Method, StatusCode};
use serde_json::json;

use super::answer::{Answer, Asked, Form, Head, Length};
use super::download::runs_in_a_browser;
use super::request::refuse;
use crate::service::pipe::{Giver, Taker};
use crate::session::Context;

/// One side of a pipe.
pub(crate) enum Side {
    Giver(Giver),
    Taker(Taker),
}

/// Finds what a request for `/pipe/` and `key` asks for; `key` is percent-encoded as it came.
pub(super) fn begin(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    key: &str,
    asked: &Asked,
) -> Result<Side, Answer> {
    let bad = |error: TargetError| {
        let refusal = Refusal::new(RefusalCode::BadRequest, error.to_string());
        refuse(context, asked, StatusCode::BAD_REQUEST, refusal)
    };
    let told = |refusal: Refusal| {
        let status = refusal.code.meaning().status;
        refuse(context, asked, status, refusal)
    };
    if head.method == Method::GET {
        let key = PipeKey::from_percent_encoded(key).map_err(bad)?;
        // hyper asks for nothing while its client has no room, so nobody else would see how long that lasts.
        let patience = (asked.protocol == Protocol::Http2).then_some(context.config.timeouts.idle);
        return context
            .pipes
            .take(context.peer.ip(), &key, patience)
            .map(Side::Taker)
            .map_err(told);
    }
    if head.content_codings().next().is_some() {
        let reason = "a pipe does not accept a content coding: its receivers would not know of it";
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        return Err(refuse(context, asked, StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
    }
    let size = match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked => None,
    };
    let give = Give::from_target(key, head.query(), size).map_err(bad)?;
    context.pipes.give(context.peer.ip(), &give, media_of(head)).map(Side::Giver).map_err(told)
}

/// What the sender says the content is, where no browser would run that.
fn media_of(head: &RequestHead) -> Option<String> {
    let media = head.fields.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    let is_harmless = media.len() <= LONGEST_MEDIA && !runs_in_a_browser(&media);
    (is_harmless && !media.contains("script")).then_some(media)
}

/// How it went, for whoever gave.
pub(crate) fn piped(piped: &Piped, form: Form) -> Answer {
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

/// The head of what comes out of a pipe.
pub(crate) fn taken(taker: &Taker) -> Head {
    let (key, facts) = (taker.key(), taker.facts().cloned().unwrap_or_default());
    // Letters of other scripts are spelled as RFC 8187 has them.
    let name = match key.as_str() {
        plain if plain.is_ascii() => format!("filename=\"{plain}\""),
        _ => format!("filename*=UTF-8''{}", key.percent_encoded()),
    };
    let length = facts.size.map_or(Length::Unknown, Length::Known);
    Answer::head(StatusCode::OK, length)
        .with(header::CONTENT_TYPE, facts.media.unwrap_or_else(|| media::UNKNOWN.to_owned()))
        .with(header::CONTENT_DISPOSITION, format!("attachment; {name}"))
        .with(header::CACHE_CONTROL, "no-store")
        .head
}

/// Bytes of a media type that is passed on, parameters included.
const LONGEST_MEDIA: usize = 128;
