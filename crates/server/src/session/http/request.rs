//! What a request leads to: an answer, something that is sent, or somewhere its content goes.
//!
//! A new resource is a variant of [`Resource`], and an arm of [`lead`].

use anyport_proto::http1::{Framing, RequestHead, language};
use anyport_proto::rooms::Join;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header;
use http::{Method, StatusCode, Version};

use super::answer::{Answer, Asked, Length};
use super::echo::Echo;
use super::resource::Resource as Served;
use super::{access, download, help, pipe, room, upload};
use crate::access::Means;
use crate::config::FileAccess;
use crate::events::metrics::{self, Gauges};
use crate::route::{Resource, resource};
use crate::service::time;
use crate::session::refusing::TLS_REQUIRED;
use crate::session::{Context, stopping};

/// What a request leads to.
pub(crate) enum Lead {
    /// An answer that is whole.
    Answer(Answer),
    /// What serves it.
    Serve(Box<dyn Served>),
    /// A room's events go out from here on.
    Listen(Join),
}

impl Lead {
    pub(super) fn serve(resource: impl Served + 'static) -> Self {
        Self::Serve(Box::new(resource))
    }
}

/// Whether a client waits before it sends its content (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    None,
    /// Until it is told to go on, or refused.
    Continue,
    /// For something that nobody here can do.
    Unknown,
}

impl Expectation {
    pub(crate) fn of(head: &RequestHead) -> Self {
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

/// Where the same is served under TLS, if it has to be; then no content is taken in the clear.
pub(crate) fn to_https(context: &Context, head: &RequestHead) -> Option<Answer> {
    if !context.must_encrypt() {
        return None;
    }
    let protocol = Asked::of(head, false).protocol;
    context.refused(protocol.as_str(), TLS_REQUIRED);
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    let (host, path) = (head.host(), head.path());
    if host.is_empty() {
        return Some(Answer::text(StatusCode::FORBIDDEN, "TLS is required: use https\n"));
    }
    let place = format!("https://{host}{path}{query}");
    let line = format!("TLS is required: use {place} (WebSocket: wss)\n");
    let answer = Answer::text(StatusCode::PERMANENT_REDIRECT, line);
    Some(answer.with(header::LOCATION, place))
}

/// Finds what `head` asks for. Whatever is refused has been told to the observer.
pub(crate) fn lead(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    asked: &mut Asked,
) -> Lead {
    let resource = match checked(context, head, asked) {
        Ok(resource) => resource,
        Err(answer) => return Lead::Answer(answer),
    };
    // A room may be read by the pages that may speak there; a file may not.
    if resource == Resource::Room
        && let Some(origin) = head.fields.get(header::ORIGIN)
    {
        asked.foreign_page = origin.to_str().ok().map(str::to_owned);
    }
    match check_content(context, head, framing, asked) {
        Ok(()) => serve(context, head, framing, resource, asked),
        Err(answer) => Lead::Answer(answer),
    }
}

/// What holds for every request, whatever it asks for.
fn checked<'a>(
    context: &Context,
    head: &'a RequestHead,
    asked: &Asked,
) -> Result<Resource<'a>, Answer> {
    let mut resource = resource(head.path());
    if !context.config.metrics {
        resource = resource.without_metrics();
    }
    let (method, allow) = (&head.method, resource.methods(context.config.file_access));
    // What the access to files refuses is answered with 403 and that reason by the service.
    let known_here = resource.methods(FileAccess::ReadWrite);
    let refuse = |status, code, reason: String| {
        let refusal = Refusal::new(code, reason);
        Err(refuse(context, asked, status, refusal))
    };
    if !context.listener.allowed.http {
        let refusal = Refusal::new(RefusalCode::NotSupported, NO_HTTP).with_hint(WEBSOCKET_HINT);
        return Err(self::refuse(context, asked, StatusCode::FORBIDDEN, refusal));
    }
    // Whoever looks after the server need not be one of its users.
    if resource != Resource::Health {
        access::check(context, head, Means::Http, asked)?;
    }
    if Expectation::of(head) == Expectation::Unknown {
        let reason = "unsupported expectation; expected 100-continue".to_owned();
        return refuse(StatusCode::EXPECTATION_FAILED, RefusalCode::NotSupported, reason);
    }
    if !known_here.split(", ").any(|known| known == method.as_str()) {
        let known = is_registered(method);
        let status =
            if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
        let path = match &resource {
            // The key is nothing for the log.
            Resource::Pipe(_) => "/pipe/KEY",
            _ => head.path(),
        };
        let reason = format!("{method} is not allowed at {path}; allowed: {allow}");
        return refuse(status, RefusalCode::NotSupported, reason)
            .map_err(|answer| answer.with(header::ALLOW, allow));
    }
    let is_shared = matches!(resource, Resource::Room | Resource::Pipe(_));
    if takes_content(method) || is_shared {
        access::check_page(context, head, is_shared, asked)?;
    }
    Ok(resource)
}

/// Whether there is content where there should be some, and only there.
fn check_content(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    asked: &Asked,
) -> Result<(), Answer> {
    let method = &head.method;
    let refuse = |status, reason| {
        let refusal = Refusal::new(RefusalCode::BadRequest, reason);
        Err(refuse(context, asked, status, refusal))
    };
    if takes_content(method) {
        if framing == Framing::None {
            let reason = "the content has neither a length nor chunked transfer coding".to_owned();
            return refuse(StatusCode::LENGTH_REQUIRED, reason);
        }
    } else if !framing.is_empty() {
        // Content without a meaning is most often somebody else's next request (RFC 9110 §9.3.1).
        let reason = format!("content is not allowed with {method} (RFC 9110 §9.3)");
        return refuse(StatusCode::BAD_REQUEST, reason).map_err(Answer::and_end);
    }
    Ok(())
}

fn serve(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    resource: Resource<'_>,
    asked: &Asked,
) -> Lead {
    if head.method == Method::OPTIONS {
        let answer = Answer::head(StatusCode::NO_CONTENT, Length::None);
        return Lead::Answer(
            answer.with(header::ALLOW, resource.methods(context.config.file_access)),
        );
    }
    let has_content = takes_content(&head.method);
    match resource {
        Resource::Stored(path) if has_content => upload::begin(context, head, framing, path, asked)
            .map_or_else(Lead::Answer, Lead::serve),
        Resource::Stored(path) => download::lead(context, head, path, asked),
        Resource::Echo => Lead::serve(Echo::new(framing, asked, context.config.timeouts.idle)),
        Resource::Help => Lead::Answer(help(context, head)),
        Resource::Health if asked.stopping => Lead::Answer(Answer::refusal(stopping(), asked.form)),
        Resource::Health => Lead::Answer(health(context, asked)),
        Resource::Metrics => {
            let (rooms, members, messages) = context.rooms.counts();
            let gauges = Gauges { rooms, members, messages, pipes: context.pipes.count() };
            let page = metrics::render(&context.events.counters, &gauges);
            Lead::Answer(Answer::metrics(page).with(header::CACHE_CONTROL, "no-store"))
        }
        Resource::Time => {
            tracing::info!(peer = %context.peer, "time sent over HTTP");
            Lead::Answer(text(format!("{}\n", time::now_line())))
        }
        Resource::Room if has_content => {
            room::begin(context, head, framing, asked).map_or_else(Lead::Answer, Lead::serve)
        }
        Resource::Room => room::lead(context, head, asked),
        Resource::Pipe(key) => {
            pipe::begin(context, head, framing, key, asked).unwrap_or_else(Lead::Answer)
        }
    }
}

/// Whether files can be stored and found.
fn health(context: &Context, asked: &Asked) -> Answer {
    match context.files.check_directory() {
        Ok(()) => access::told_of_tokens(context, text("ok\n".to_owned())),
        Err(refusal) => Answer::refusal(refusal, asked.form)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with(header::CACHE_CONTROL, "no-store"),
    }
}

/// Refuses a request, and tells the observer.
pub(crate) fn refuse(
    context: &Context,
    asked: &Asked,
    status: StatusCode,
    refusal: Refusal,
) -> Answer {
    context.refused(asked.protocol.as_str(), &refusal.message);
    Answer::refusal(refusal, asked.form).with_status(status)
}

/// The lines to type, in the language that the client prefers.
fn help(context: &Context, head: &RequestHead) -> Answer {
    let language = language::preferred(head, &help::LANGUAGES);
    text(help::text(head.host(), language, context.config.file_access))
        .with(header::CONTENT_LANGUAGE, language)
        .with(header::VARY, header::ACCEPT_LANGUAGE.as_str())
}

/// What is another one each time it is asked for.
fn text(content: String) -> Answer {
    Answer::text(StatusCode::OK, content).with(header::CACHE_CONTROL, "no-store")
}

fn takes_content(method: &Method) -> bool {
    *method == Method::PUT || *method == Method::POST
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

const NO_HTTP: &str = "plain HTTP is not accepted (--only), but WebSocket is";

const WEBSOCKET_HINT: &str =
    "websocat -b ws://HOST:PORT/files/NAME < FILE, or anyport send FILE ws://HOST:PORT/";
