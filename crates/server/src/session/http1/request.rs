//! What a request leads to: an answer, something that is sent, or somewhere its content goes.
//!
//! A new resource is a variant of [`Resource`], and an arm of [`lead`].

use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::rooms::Join;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::handshake::{OriginPolicy, check_origin};
use http::header;
use http::{Method, StatusCode, Version};

use super::answer::{Answer, Exchange, Form, Length};
use super::content::Taker;
use super::echo::Echoing;
use super::listing::Page;
use super::pipe::{self, Side};
use super::{BodyReader, access, download, help, room, upload};
use crate::access::Means;
use crate::metrics;
use crate::observe::Why;
use crate::route::{Resource, resource};
use crate::service::time;
use crate::session::sending::Sending;
use crate::session::{Context, stopping};

/// What a request leads to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Lead {
    /// An answer that is whole.
    Answer(Answer),
    /// The head of an answer has been written; this goes out behind it.
    Send(Sending, Option<Page>),
    /// Its content goes here.
    Take(Taker),
    /// It gives to others, or takes from one.
    Pipe(Side),
    /// A room's events go out from here on.
    Listen(Join),
}

/// Whether a client waits before it sends its content (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    None,
    /// Until it is told to go on, or refused.
    Continue,
    /// For something that nobody here can do.
    Unknown,
}

impl Expectation {
    pub(super) fn of(head: &RequestHead) -> Self {
        // HTTP/1.0 knows no interim answers.
        if !head.fields.contains_key(header::EXPECT) || head.version == Version::HTTP_10 {
            return Self::None;
        }
        let is_continue = |value: &str| value.eq_ignore_ascii_case("100-continue");
        let mut values = head.fields.get_all(header::EXPECT).iter();
        if values.all(|value| value.to_str().is_ok_and(is_continue)) {
            Self::Continue
        } else {
            Self::Unknown
        }
    }
}

/// Finds what `head` asks for. Whatever is refused has been told to the observer.
pub(super) fn lead(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    exchange: &mut Exchange,
    replies: &mut Vec<u8>,
) -> Lead {
    match checked(context, head, framing, exchange) {
        Ok(resource) => serve(context, head, framing, resource, exchange, replies),
        Err(answer) => Lead::Answer(answer),
    }
}

/// What holds for every request, whatever it asks for.
fn checked<'a>(
    context: &Context,
    head: &'a RequestHead,
    framing: Framing,
    exchange: &mut Exchange,
) -> Result<Resource<'a>, Answer> {
    let mut resource = resource(head.path());
    if !context.config.metrics {
        resource = resource.without_metrics();
    }
    let (method, allow, form) = (&head.method, resource.methods(), exchange.form);
    let refuse = |status, code, reason: String| {
        let refusal = Refusal::new(code, reason);
        Err(refuse(context, form, status, refusal))
    };
    if !context.listener.allowed.http {
        let refusal = Refusal::new(RefusalCode::NotSupported, NO_HTTP).with_hint(WEBSOCKET_HINT);
        return Err(self::refuse(context, form, StatusCode::FORBIDDEN, refusal));
    }
    // Whoever looks after the server need not be one of its users.
    if resource != Resource::Health {
        access::check(context, head, Means::Http, form)?;
    }
    if Expectation::of(head) == Expectation::Unknown {
        let reason = "the only expectation that is met is 100-continue".to_owned();
        return refuse(StatusCode::EXPECTATION_FAILED, RefusalCode::NotSupported, reason);
    }
    if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
        let known = is_registered(method);
        let status =
            if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
        let reason = format!("{method} is not served at {}; {allow} are", head.path());
        return refuse(status, RefusalCode::NotSupported, reason)
            .map_err(|answer| answer.with(header::ALLOW, allow));
    }
    // Whoever listens is counted, and may be told to the others; what is taken from a pipe is gone.
    let is_shared = matches!(resource, Resource::Room | Resource::Pipe(_));
    if *method == Method::PUT || *method == Method::POST || is_shared {
        let policy = OriginPolicy::SameHostOr(&context.config.allowed_origins);
        if let Err(foreign) = check_origin(head, policy) {
            let refusal = Refusal::new(RefusalCode::NotSupported, foreign.to_string());
            let (peer, reason) = (context.peer, refusal.message.clone());
            context.files.refused_for(Why::Origin, "http", peer, reason);
            return Err(Answer::refusal(refusal, form).with_status(foreign.status()));
        }
    }
    // A room may be read by the pages that may speak there; a file may not.
    if resource == Resource::Room
        && let Some(origin) = head.fields.get(header::ORIGIN)
    {
        exchange.foreign_page = origin.to_str().ok().map(str::to_owned);
    }
    if *method == Method::PUT || *method == Method::POST {
        if framing == Framing::None {
            let reason = "the content has neither a length nor chunks".to_owned();
            return refuse(StatusCode::LENGTH_REQUIRED, RefusalCode::BadRequest, reason);
        }
    } else if !framing.is_empty() {
        // Content without a meaning is most often somebody else's next request (RFC 9110 §9.3.1).
        exchange.persistent = false;
        let reason = format!("content with {method} (RFC 9110 §9.3)");
        return refuse(StatusCode::BAD_REQUEST, RefusalCode::BadRequest, reason);
    }
    Ok(resource)
}

fn serve(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    resource: Resource<'_>,
    exchange: &mut Exchange,
    replies: &mut Vec<u8>,
) -> Lead {
    if head.method == Method::OPTIONS {
        let answer = Answer::head(StatusCode::NO_CONTENT, Length::None);
        return Lead::Answer(answer.with(header::ALLOW, resource.methods()));
    }
    let has_content = head.method == Method::PUT || head.method == Method::POST;
    match resource {
        Resource::Stored(asked) if has_content => {
            upload::begin(context, head, framing, asked, exchange)
                .map_or_else(Lead::Answer, |receiving| Lead::Take(Taker::File(receiving)))
        }
        Resource::Stored(asked) => download::lead(context, head, asked, exchange, replies),
        Resource::Echo => Lead::Take(Taker::Echo(Echoing::new(&BodyReader::new(framing)))),
        Resource::Help => Lead::Answer(text(help::text(head.host()))),
        Resource::Health if exchange.stopping => {
            Lead::Answer(Answer::refusal(stopping(), exchange.form))
        }
        Resource::Health => Lead::Answer(text("ok\n".to_owned())),
        Resource::Metrics => {
            let page = metrics::render(&context.counters, &context.rooms, &context.pipes);
            Lead::Answer(Answer::metrics(page).with(header::CACHE_CONTROL, "no-store"))
        }
        Resource::Time => {
            tracing::info!(peer = %context.peer, "told the time over HTTP");
            Lead::Answer(text(format!("{}\n", time::now_line())))
        }
        Resource::Room if has_content => room::begin(context, head, framing, exchange.form)
            .map_or_else(Lead::Answer, |posting| Lead::Take(Taker::Room(posting))),
        Resource::Room => room::lead(context, head, exchange),
        Resource::Pipe(key) => pipe::begin(context, head, framing, key, exchange.form)
            .map_or_else(Lead::Answer, Lead::Pipe),
    }
}

/// Refuses a request, and tells the observer.
pub(super) fn refuse(
    context: &Context,
    form: Form,
    status: StatusCode,
    refusal: Refusal,
) -> Answer {
    context.files.refused("http", context.peer, refusal.message.clone());
    Answer::refusal(refusal, form).with_status(status)
}

/// What is another one each time it is asked for.
fn text(content: String) -> Answer {
    Answer::text(StatusCode::OK, content).with(header::CACHE_CONTROL, "no-store")
}

/// One that is known, and only not served here.
fn is_registered(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ]
    .contains(method)
}

const NO_HTTP: &str = "plain HTTP is not taken here (--only); WebSocket is";

const WEBSOCKET_HINT: &str =
    "websocat -b ws://HOST:PORT/files/NAME < FILE, or anyport send FILE ws://HOST:PORT/";
