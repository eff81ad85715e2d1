//! Access to all resources: token, host name, and the origin of pages.

use anyport_proto::access::{HostName, authorization, host_of, subprotocol_token};
use anyport_proto::http1::RequestHead;
use anyport_proto::setting::{ALLOW_HOST, ALLOW_ORIGIN};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::handshake::{OriginPolicy, check_origin};
use anyport_tls::server::Server;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::answer::{Answer, Asked, Form};
use crate::access::{Denied, Grant, Means};
use crate::events::Why;
use crate::session::Context;

/// Checks token and host name of a request, and returns what its client may do. A refusal has been
/// reported.
pub(crate) fn check(
    context: &Context,
    head: &RequestHead,
    means: Means,
    asked: &Asked,
) -> Result<Grant, Answer> {
    // A page of any origin can open a WebSocket with a wrong token, and after a few of them the
    // address of its browser would be refused.
    if means == Means::WebSocket && context.config.tokens.is_some() {
        check_page(context, head, false, asked)?;
    }
    let token = authorization(head)
        .or_else(|| if means == Means::WebSocket { subprotocol_token(head) } else { None });
    let form = asked.form;
    let protocol = if means == Means::WebSocket { "ws" } else { asked.protocol.as_str() };
    let grant = context.admit(protocol, token.as_ref()).map_err(|denied| {
        // An invalid token, such as one that is too short, is reported as a wrong one.
        let shows_one = head.fields.contains_key(header::AUTHORIZATION);
        let denied = if shows_one && denied == Denied::Missing { Denied::Wrong } else { denied };
        answer(denied, means, form)
    })?;
    check_host(context, head).map_err(|refusal| {
        context.events.refused(Why::Host, protocol, context.peer, &refusal.message);
        Answer::refusal(refusal, form).with_status(StatusCode::MISDIRECTED_REQUEST)
    })?;
    Ok(grant)
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
