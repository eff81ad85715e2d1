//! Checks of every request, before its resource serves it.

use anyport_proto::access::Rights;
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::resumable;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header;
use http::{Method, StatusCode, Version};

use super::access::{self, Admission, Effect};
use super::answer::{Answer, Asked, Form, Length};
use super::cors;
use super::handler::{Opened, Request, has_content, refuse};
use super::resources::{Resource, find};
use crate::access::{Grant, Means};
use crate::session::Context;
use crate::session::about::{SERVER, about};
use crate::session::refusing::{not_accepted, tls_required};

/// Whether a client waits before it sends its content (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    None,
    /// For `100 Continue`, or a refusal.
    Continue,
    /// For something that this server does not support.
    Unknown,
}

impl Expectation {
    pub(crate) fn of(head: &RequestHead) -> Self {
        // HTTP/1.0 has no interim responses.
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

/// Returns the redirect to TLS, if this listener requires it.
pub(crate) fn to_https(context: &Context, head: &RequestHead) -> Option<Answer> {
    if !context.must_encrypt() {
        return None;
    }
    let base_path = &context.config.base_path;
    let protocol = Asked::of(head, &context.config, false).protocol;
    context.refused(protocol.as_str(), tls_required());
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    let (host, path) = (head.host(), base_path.public(head.path()));
    if host.is_empty() {
        return Some(Answer::text(StatusCode::FORBIDDEN, "TLS is required: use https\n"));
    }
    let place = format!("https://{host}{path}{query}");
    let line = format!("TLS is required: use {place} (WebSocket: wss)\n");
    let answer = Answer::text(StatusCode::PERMANENT_REDIRECT, line);
    Some(answer.with(header::LOCATION, place))
}

/// Opens the resource that `head` names. A refusal has been reported.
pub(crate) fn open(
    context: &Context,
    head: &RequestHead,
    framing: Framing,
    asked: &Asked,
) -> Opened {
    // The links and the form of a page at the base path itself would lead elsewhere.
    let is_base = !context.config.base_path.as_str().is_empty() && head.is_without_path();
    let is_get = [Method::GET, Method::HEAD].contains(&head.method);
    if is_base && is_get && context.listener.allowed.http {
        let answer = Answer::text(StatusCode::FOUND, "append a slash\n");
        return Opened::Answer(answer.with(header::LOCATION, "/"));
    }
    let (resource, rest) = find(head.path(), &context.config);
    let grant = match check(context, head, (resource, rest), asked) {
        Ok(grant) => grant,
        Err(answer) => return Opened::Answer(answer),
    };
    let needs_no_token =
        resource.is_public || resource.is_token_optional || cors::is_preflight(head);
    if let Some(syn) = asked.syn.as_ref().filter(|_| !needs_no_token) {
        syn.get_or_init(|| context.reported_syn().to_string());
    }
    // Each request has its own token.
    let context = &Context { grant, ..context.clone() };
    if let Err(answer) = check_content(context, head, framing, asked) {
        return Opened::Answer(answer);
    }
    if head.method == Method::OPTIONS {
        let fields = if cors::is_preflight(head) {
            // The rights of the token are not known yet.
            cors::preflight(head, (resource.methods)(Rights::ALL))
        } else {
            let allow = (resource.methods)(context.grant.rights()).to_owned();
            let announced = (resource.announced)(context).into_iter();
            std::iter::once((header::ALLOW, allow)).chain(announced).collect()
        };
        let is_server = resource.is_server_itself();
        let answer = match is_server && asked.form == Form::Json {
            true => Answer::json(StatusCode::OK, about(context).to_json()),
            false => Answer::head(StatusCode::NO_CONTENT, Length::None),
        };
        let answer = if is_server { answer.with(header::SERVER, SERVER) } else { answer };
        let answer =
            fields.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value));
        return Opened::Answer(answer);
    }
    (resource.open)(&Request { context, head, framing, rest, asked })
}

/// Checks what holds for every resource; returns what the client may do.
fn check(
    context: &Context,
    head: &RequestHead,
    (resource, rest): (&Resource, &str),
    asked: &Asked,
) -> Result<Grant, Answer> {
    let method = &head.method;
    // A method that only a missing right forbids is refused by the service, with 403 and the
    // reason.
    let known_here = (resource.methods)(Rights::ALL);
    let refuse = |status, code, reason: String| {
        let refusal = Refusal::new(code, reason);
        Err(refuse(context, asked, status, refusal))
    };
    if !context.listener.allowed.http && !resource.is_server_itself() {
        let reason = not_accepted(context.listener.allowed);
        let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(WEBSOCKET_HINT);
        return Err(self::refuse(context, asked, StatusCode::FORBIDDEN, refusal));
    }
    let is_preflight = cors::is_preflight(head);
    // A monitor needs no token, and a browser that asks for a page sends none.
    let grant = match resource.is_link {
        _ if resource.is_public || is_preflight => Grant::default(),
        true => access::check_link(context, rest, asked)?,
        false => {
            let effect = match is_safe(method) {
                false => Effect::Change,
                true if resource.is_shared => Effect::Noticed,
                true => Effect::None,
            };
            let is_token_optional = resource.is_token_optional;
            let admission =
                Admission { means: Means::Http, effect, is_token_optional, is_use: true };
            access::check(context, head, admission, asked)?
        }
    };
    if Expectation::of(head) == Expectation::Unknown {
        let reason = "unsupported expectation; expected 100-continue".to_owned();
        return refuse(StatusCode::EXPECTATION_FAILED, RefusalCode::NotSupported, reason);
    }
    if !known_here.split(", ").any(|known| known == method.as_str()) {
        let known = is_registered(method);
        let status =
            if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
        let path = resource.shown_as.unwrap_or_else(|| head.path());
        let allow = (resource.methods)(grant.rights());
        let reason = format!("{method} is not allowed at {path}; allowed: {allow}");
        return refuse(status, RefusalCode::NotSupported, reason)
            .map_err(|answer| answer.with(header::ALLOW, allow));
    }
    if is_service_worker(head) {
        let reason = "a stored file cannot be a service worker".to_owned();
        return refuse(StatusCode::FORBIDDEN, RefusalCode::NotSupported, reason);
    }
    if !is_safe(method) || resource.is_shared || is_preflight {
        access::check_page(context, head, resource.is_shared, asked)?;
    }
    Ok(grant)
}

/// Returns whether a browser requests the script of a service worker (Service Workers, §4.6), which
/// would answer all later requests of pages for this origin.
fn is_service_worker(head: &RequestHead) -> bool {
    let field = header::HeaderName::from_static("service-worker");
    head.fields.get(field).is_some_and(|value| value == "script")
}

/// Checks that content is there if the method has some, and only then.
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
    if has_content(method) {
        // A request for a resumable upload may be without content.
        if framing == Framing::None && *method != Method::PATCH && !resumable::is_named(head) {
            let reason = "the content has neither a length nor chunked transfer coding".to_owned();
            return refuse(StatusCode::LENGTH_REQUIRED, reason);
        }
    } else if !framing.is_empty() {
        // Content without a meaning is often a smuggled request (RFC 9110 §9.3.1).
        let reason = format!("content is not allowed with {method} (RFC 9110 §9.3)");
        // A media type that describes the new directory is none that is supported (RFC 4918 §9.3).
        let status = match method.as_str() {
            "MKCOL" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        return refuse(status, reason).map_err(Answer::and_end);
    }
    Ok(())
}

/// Returns whether a method changes nothing (RFC 9110 §9.2.1).
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Returns whether the method is registered, only not served here.
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
        || WEBDAV.contains(&method.as_str())
}

/// Methods of RFC 4918. Files have only the last two of them.
const WEBDAV: [&str; 7] = ["PROPFIND", "PROPPATCH", "COPY", "LOCK", "UNLOCK", "MOVE", "MKCOL"];

const WEBSOCKET_HINT: &str =
    "websocat -b ws://HOST:PORT/files/NAME < FILE, or anyport send FILE ws://HOST:PORT/";
