//! Access to all resources: token, host name, and the origin of pages.

use anyport_proto::access::{HostName, authorization, host_of, subprotocol_token};
use anyport_proto::http1::RequestHead;
use anyport_proto::setting::{ALLOW_HOST, ALLOW_ORIGIN};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::handshake::{OriginPolicy, check_origin};
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::answer::{Answer, Asked, Form};
use crate::access::{Denied, Means};
use crate::events::Why;
use crate::session::Context;
use crate::tokens::User;

/// Checks token and host name of a request, and returns the owner of the token. A refusal has been
/// reported.
pub(crate) fn check(
    context: &Context,
    head: &RequestHead,
    means: Means,
    asked: &Asked,
) -> Result<Option<User>, Answer> {
    let token = authorization(head)
        .or_else(|| if means == Means::WebSocket { subprotocol_token(head) } else { None });
    let form = asked.form;
    let protocol = if means == Means::WebSocket { "ws" } else { asked.protocol.as_str() };
    let user = context.admit(protocol, token.as_ref()).map_err(|denied| {
        // An invalid token, such as one that is too short, is reported as a wrong one.
        let shows_one = head.fields.contains_key(header::AUTHORIZATION);
        let denied = if shows_one && denied == Denied::Missing { Denied::Wrong } else { denied };
        answer(denied, means, form)
    })?;
    check_host(context, head).map_err(|reason| {
        context.events.refused(Why::Host, protocol, context.peer, reason.clone());
        let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(format!(
            "use the address or localhost; the server's owner can add {ALLOW_HOST} NAME",
        ));
        Answer::refusal(refusal, form).with_status(StatusCode::MISDIRECTED_REQUEST)
    })?;
    Ok(user)
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
        context.events.refused(Why::Origin, protocol, context.peer, reason);
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
/// its origin in a browser (DNS rebinding). If tokens are required, such a page has none; for
/// clients on other machines, names are checked only if some are configured.
fn check_host(context: &Context, head: &RequestHead) -> Result<(), String> {
    let (config, host) = (&context.config, head.host());
    let from_here = context.peer.is_this_machine();
    if config.tokens.is_some() || (config.allowed_hosts.is_empty() && !from_here) {
        return Ok(());
    }
    let is_allowed = |name: HostName| name.is_local() || config.allowed_hosts.contains(&name);
    match host_of(host) {
        None => Ok(()),
        Some(Ok(name)) if is_allowed(name.clone()) => Ok(()),
        Some(_) => Err(format!("{host:?} is not a name of this server (RFC 9110 §7.4)")),
    }
}

/// Returns the response to a client without access. Browsers use the first challenge, and programs
/// the one that they know (RFC 9110 §11.6.1).
fn answer(denied: Denied, means: Means, form: Form) -> Answer {
    let status = denied.status();
    let answer = Answer::refusal(denied.refusal(means), form).with_status(status);
    if status == StatusCode::UNAUTHORIZED { challenging(answer) } else { answer }
}

/// Adds the challenges to a public response: a client requests it before it sends its token to a
/// server that may be another one.
pub(super) fn announce_tokens(context: &Context, answer: Answer) -> Answer {
    if context.config.tokens.is_some() { challenging(answer) } else { answer }
}

fn challenging(answer: Answer) -> Answer {
    answer
        .with(header::WWW_AUTHENTICATE, r#"Basic realm="anyport", charset="UTF-8""#)
        .with(header::WWW_AUTHENTICATE, r#"Bearer realm="anyport""#)
}
