//! The cookie of the page: the id of a session, which stands for a token.
//!
//! Cookies ignore ports, so its name depends on the address of the server, and it never contains
//! the token.

use anyport_proto::access::cookie;
use anyport_proto::http1::RequestHead;

use crate::session::Context;

/// Returns the id of the session whose cookie a request has.
pub(super) fn id<'a>(context: &Context, head: &'a RequestHead) -> Option<&'a str> {
    cookie(head, &name(context, head))
}

/// Returns the value of `Set-Cookie` that begins a session. It ends with the browser, or earlier.
pub(super) fn begin(context: &Context, head: &RequestHead, id: &str) -> String {
    format!("{}={id}; {}", name(context, head), attributes(context))
}

/// Returns the value of `Set-Cookie` that removes the cookie.
pub(super) fn end(context: &Context, head: &RequestHead) -> String {
    format!("{}=; Max-Age=0; {}", name(context, head), attributes(context))
}

/// Returns the name of the cookie. Under TLS its prefix keeps hosts above this one, and pages over
/// plain HTTP, from setting it (RFC 6265bis §4.1.3.2).
fn name(context: &Context, head: &RequestHead) -> String {
    let address = format!("{}{}", head.host().to_ascii_lowercase(), context.config.base_path);
    let hash = blake3::hash(address.as_bytes()).to_hex();
    let prefix = if context.is_encrypted { "__Host-" } else { "" };
    format!("{prefix}anyport-{}", &hash[..8])
}

const fn attributes(context: &Context) -> &'static str {
    match context.is_encrypted {
        true => "Path=/; HttpOnly; SameSite=Strict; Secure",
        false => "Path=/; HttpOnly; SameSite=Strict",
    }
}
