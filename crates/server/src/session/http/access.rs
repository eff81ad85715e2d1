//! Access to all resources: token, cookie of the page, host name, and the origin of pages.

use anyport_proto::access::{HostName, Token, authorization, host_of, subprotocol_token};
use anyport_proto::http1::RequestHead;
use anyport_proto::setting::{ALLOW_HOST, ALLOW_ORIGIN, TRUSTED_PROXY};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::handshake::{OriginPolicy, check_origin, is_own_origin};
use anyport_tls::server::Server;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::answer::{Answer, Asked, Form};
use super::cookie;
use super::page;
use crate::access::{Denied, Grant, Means};
use crate::events::Why;
use crate::session::Context;

/// The properties of a request that its admission depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) means: Means,
    pub(crate) effect: Effect,
    /// A client that sends no token is admitted too, without rights if tokens are required.
    pub(crate) is_token_optional: bool,
    /// Its client acts: an unused session ends after a while.
    pub(crate) is_use: bool,
}

impl Admission {
    /// That of an opening handshake.
    pub(crate) const WEB_SOCKET: Self = Self {
        means: Means::WebSocket,
        effect: Effect::Change,
        is_token_optional: false,
        is_use: true,
    };
}

/// What a request does, which decides how a page proves that it is of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing.
    None,
    /// Other clients notice it: it takes content from a pipe, or is counted in a room.
    Noticed,
    /// It changes something, or opens a WebSocket.
    Change,
}

/// Checks token and host name of a request, and returns what its client may do. A refusal has been
/// reported.
pub(crate) fn check(
    context: &Context,
    head: &RequestHead,
    admission: Admission,
    asked: &Asked,
) -> Result<Grant, Answer> {
    let Admission { means, effect, is_token_optional, is_use } = admission;
    // A page of any origin can open a WebSocket with a wrong token, and after a few of them the
    // address of its browser would be refused.
    if means == Means::WebSocket && context.config.tokens.is_some() {
        check_page(context, head, false, asked)?;
    }
    let shows_one = head.fields.contains_key(header::AUTHORIZATION);
    let mut token = authorization(head)
        .or_else(|| if means == Means::WebSocket { subprotocol_token(head) } else { None });
    if token.is_none() && !shows_one {
        token = session_token(context, head, is_use);
        // A browser sends the cookie whichever page makes it send a request.
        if token.is_some() && !proves_own_page(context, head, effect) {
            return Err(refuse_other_page(context, head, asked));
        }
    }
    let form = asked.form;
    let protocol = if means == Means::WebSocket { "ws" } else { asked.protocol.as_str() };
    let grant = match &token {
        None if is_token_optional && !shows_one => {
            context.access.admit(context.peer, None).unwrap_or_default()
        }
        token => context.admit(protocol, token.as_ref()).map_err(|denied| {
            // An invalid token, such as one that is too short, is reported as a wrong one.
            let is_wrong = shows_one && denied == Denied::Missing;
            let denied = if is_wrong { Denied::Wrong } else { denied };
            answer(context, head, denied, means, asked)
        })?,
    };
    check_host(context, head).map_err(|refusal| {
        context.refused_as(Why::Host, protocol, &refusal.message);
        Answer::refusal(refusal, form).with_status(StatusCode::MISDIRECTED_REQUEST)
    })?;
    Ok(grant)
}

/// Returns the token that the cookie of the page stands for; `None` for the cookie of a session
/// that has ended, which is no wrong guess.
pub(super) fn session_token(context: &Context, head: &RequestHead, is_use: bool) -> Option<Token> {
    context.access.session_token(cookie::id(context, head)?, is_use)
}

/// Checks that a page of this server sends a request, which no setting replaces.
pub(super) fn check_own_page(
    context: &Context,
    head: &RequestHead,
    asked: &Asked,
) -> Result<(), Answer> {
    match proves_own_page(context, head, Effect::Change) {
        true => Ok(()),
        false => Err(refuse_other_page(context, head, asked)),
    }
}

/// Returns whether a page proves that it is of this server, as far as `effect` requires. Browsers
/// state no origin in a GET of their own page, so other proofs count for that: a page of another
/// origin can set neither field.
fn proves_own_page(context: &Context, head: &RequestHead, effect: Effect) -> bool {
    let is_own = || is_own_origin(head, context.is_encrypted);
    match effect {
        Effect::None => true,
        Effect::Change => is_own(),
        Effect::Noticed if head.fields.contains_key(header::ORIGIN) => is_own(),
        Effect::Noticed => {
            let site = head.fields.get("sec-fetch-site").map(HeaderValue::as_bytes);
            matches!(site, Some(b"same-origin" | b"none")) || is_script(head)
        }
    }
}

/// Returns whether the script of a page sends the request: a field that a page of another origin
/// can send only after a preflight.
fn is_script(head: &RequestHead) -> bool {
    let value = head.fields.get(REQUESTED_WITH);
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest"))
}

fn refuse_other_page(context: &Context, head: &RequestHead, asked: &Asked) -> Answer {
    let origin = head.fields.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let stated =
        origin.map_or_else(|| "no Origin".to_owned(), |origin| format!("the origin {origin}"));
    let reason = format!("the page's cookie counts only with the origin of {:?}", head.host());
    let reason = format!("{reason}, and the request has {stated}");
    context.refused_as(Why::Origin, asked.protocol.as_str(), &reason);
    let hint = format!("send the token in Authorization; behind a reverse proxy: {TRUSTED_PROXY}");
    let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(hint);
    Answer::refusal(refusal, asked.form).with_status(StatusCode::FORBIDDEN)
}

/// Checks the link of a request, whose path below the resource begins with its id. No host name is
/// checked: a page of another name has no link.
pub(super) fn check_link(context: &Context, rest: &str, asked: &Asked) -> Result<Grant, Answer> {
    let id = rest.split('/').next().unwrap_or_default();
    let admitted = context.admit_by_link(asked.protocol.as_str(), id);
    admitted.map_err(|denied| {
        Answer::refusal(denied.refusal(Means::Http), asked.form).with_status(denied.status())
    })
}

/// Checks the origin of the page that sends a request, as its browser states it (`Origin`). Members
/// of a room are counted and shown, and content that left a pipe is gone, so pages that do not
/// state their origin may neither embed nor fetch those.
pub(super) fn check_page(
    context: &Context,
    head: &RequestHead,
    is_shared: bool,
    asked: &Asked,
) -> Result<(), Answer> {
    let policy = OriginPolicy::SameHostOr(&context.config.allowed_origins);
    let refuse = |refusal: Refusal, status| {
        let (protocol, reason) = (asked.protocol.as_str(), refusal.message.clone());
        context.refused_as(Why::Origin, protocol, reason);
        Err(Answer::refusal(refusal, asked.form).with_status(status))
    };
    if let Err(other_origin) = check_origin(head, policy) {
        let refusal = Refusal::new(RefusalCode::NotSupported, other_origin.to_string());
        return refuse(refusal, other_origin.status());
    }
    if is_shared && !head.fields.contains_key(header::ORIGIN) && is_of_another_page(head) {
        let reason =
            "a page of another origin may link to a room or a pipe, but not embed or load it";
        let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(format!(
            "use fetch() or EventSource; the server's owner can add {ALLOW_ORIGIN} ORIGIN",
        ));
        return refuse(refusal, StatusCode::FORBIDDEN);
    }
    Ok(())
}

/// Returns whether a browser states that a page of another origin sends the request, and not a
/// person who followed a link (Fetch Metadata, `Sec-Fetch-*`). Another port or name of the same
/// site is another origin, and a prefetch is no visit.
fn is_of_another_page(head: &RequestHead) -> bool {
    let said = |name: &str| head.fields.get(name).map(HeaderValue::as_bytes);
    let is_ours = matches!(said("sec-fetch-site"), None | Some(b"same-origin" | b"none"));
    let is_visit = said("sec-fetch-mode") == Some(b"navigate")
        && said("sec-fetch-dest") == Some(b"document")
        && said("sec-purpose").is_none();
    !is_ours && !is_visit
}

/// Checks the host name (RFC 9110 §7.4). A page under a name that then resolves to this server has
/// its origin in a browser (DNS rebinding). If tokens are required, such a page has none.
pub(in crate::session) fn check_host(context: &Context, head: &RequestHead) -> Result<(), Refusal> {
    let (config, host) = (&context.config, head.host());
    let is_ours = match host_of(host) {
        _ if config.tokens.is_some() => true,
        None => true,
        Some(Err(_)) => false,
        Some(Ok(name)) => {
            let names = config.tls.as_ref().map(Server::names).unwrap_or_default();
            name.is_local()
                || config.allowed_hosts.contains(&name)
                || names.iter().any(|named| name.is_named_by(named))
                || own_name().as_ref() == Some(&name)
        }
    };
    if is_ours {
        return Ok(());
    }
    let reason = format!("{host:?} is not a name of this server (RFC 9110 §7.4)");
    Err(Refusal::new(RefusalCode::NotSupported, reason).with_hint(format!(
        "use the address or localhost; the server's owner can add {ALLOW_HOST} NAME",
    )))
}

/// Returns the name of this machine, read each time, as it may change.
fn own_name() -> Option<HostName> {
    rustix::system::uname().nodename().to_str().ok()?.parse().ok()
}

/// Returns the response to a client without access. A browser gets a page that asks for the token.
pub(super) fn answer(
    context: &Context,
    head: &RequestHead,
    denied: Denied,
    means: Means,
    asked: &Asked,
) -> Answer {
    let status = denied.status();
    let is_browser = asked.form == Form::Html && uses_forms(head);
    if status != StatusCode::UNAUTHORIZED {
        return Answer::refusal(denied.refusal(means), asked.form).with_status(status);
    }
    if is_browser {
        let (is_wrong, is_readable) = (denied == Denied::Wrong, is_readable(context, head));
        let page = page::of_sign_in(&asked.page, is_wrong, is_readable);
        return bearer(Answer::page(status, &asked.page, page));
    }
    let answer = Answer::refusal(denied.refusal(means), asked.form).with_status(status);
    // The page has its own form, and a browser must not cover it with a dialog. Pages open
    // WebSockets with their origin.
    let is_of_page =
        is_script(head) || (means == Means::WebSocket && head.fields.contains_key(header::ORIGIN));
    if is_of_page { bearer(answer) } else { challenging(answer) }
}

/// Returns whether a client that prefers pages can use the form: programs cannot, and browsers for
/// terminals state no origin.
fn uses_forms(head: &RequestHead) -> bool {
    let agent = head.fields.get(header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    !WITHOUT_FORM.iter().any(|name| agent.starts_with(name.as_bytes()))
}

/// Returns whether others on the network can read what the client sends. Browsers send Fetch
/// Metadata only over TLS and to their own machine, so with it a proxy has terminated TLS.
fn is_readable(context: &Context, head: &RequestHead) -> bool {
    let is_loopback = match host_of(head.host()) {
        None => head.host().starts_with("127.") || head.host().starts_with("[::1]"),
        Some(name) => name.is_ok_and(|name| name.is_loopback()),
    };
    !context.is_encrypted && !is_loopback && !head.fields.contains_key("sec-fetch-mode")
}

/// Adds the challenges to a public response: a client requests it before it sends its token to a
/// server that may be another one.
pub(super) fn announce_tokens(context: &Context, answer: Answer) -> Answer {
    if context.config.tokens.is_some() { challenging(answer) } else { answer }
}

/// Adds the challenges. Browsers use the first one, and programs the one that they know (RFC 9110
/// §11.6.1).
fn challenging(answer: Answer) -> Answer {
    bearer(answer.with(header::WWW_AUTHENTICATE, r#"Basic realm="anyport", charset="UTF-8""#))
}

/// Adds the challenge that no browser asks a person for. A 401 has at least one (RFC 9110 §15.5.2).
fn bearer(answer: Answer) -> Answer {
    answer.with(header::WWW_AUTHENTICATE, r#"Bearer realm="anyport""#)
}

/// The beginnings of the names of clients that use the dialog or a flag instead of the form.
const WITHOUT_FORM: [&str; 6] = ["Wget", "curl/", "Lynx/", "w3m/", "Links ", "ELinks/"];

/// The field by which scripts of pages are known.
const REQUESTED_WITH: &str = "x-requested-with";
