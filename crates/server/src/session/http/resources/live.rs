//! `/.anyport/live`: a live connection, which is a WebSocket (docs/live.md).

use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::{StatusCode, header};

use crate::session::http::handler::{Opened, Request};

/// Its path.
pub(crate) const LIVE: &str = "/.anyport/live";

/// Refuses a request that is no opening handshake (RFC 9110 §15.5.22).
pub(super) fn open(request: &Request<'_>) -> Opened {
    let refusal = Refusal::new(RefusalCode::NotSupported, "a live connection is a WebSocket");
    let refusal = refusal.with_hint("new WebSocket('ws://HOST:PORT/.anyport/live')");
    let answer = request.refuse(StatusCode::UPGRADE_REQUIRED, refusal);
    Opened::Answer(answer.with(header::UPGRADE, "websocket"))
}
