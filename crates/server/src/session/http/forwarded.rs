//! The client of a request that a trusted proxy forwards. Each request of a connection has its own.

use std::sync::Arc;

use anyport_proto::http1::RequestHead;
use anyport_proto::http1::forwarded::Forwarding;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;

use super::answer::{Answer, Asked};
use crate::per_address::Admitted;
use crate::session::Context;

/// The client of one request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) peer: Peer,
    pub(crate) is_encrypted: bool,
    /// Counts the request for the address of its client.
    pub(crate) admitted: Option<Arc<Admitted>>,
}

impl Client {
    /// Returns the client of the connection itself.
    pub(crate) fn of(context: &Context) -> Self {
        let Context { peer, is_encrypted, .. } = *context;
        Self { peer, is_encrypted, admitted: context.admitted.clone() }
    }

    /// Applies it to the context of its request.
    pub(crate) fn apply(self, context: &mut Context) {
        (context.peer, context.is_encrypted) = (self.peer, self.is_encrypted);
        context.admitted = self.admitted;
    }
}

/// Returns the client that a proxy states, and sets host and scheme of the head as it states them;
/// `None` if the client of the connection is that of the request.
///
/// A refusal because of a limit has been reported.
pub(crate) fn client(context: &Context, head: &mut RequestHead) -> Result<Option<Client>, Answer> {
    if !Forwarding::is_stated(&head.fields) {
        return Ok(None);
    }
    let proxies = &context.config.trusted_proxies;
    if !proxies.contains(&context.peer) {
        context.events.forwarding_ignored(context.peer);
        return Ok(None);
    }
    let stated = Forwarding::of(&head.fields, |ip| proxies.contains_ip(ip));
    // The client is not the proxy, so it is not this machine even if its address is unknown.
    let (ip, port) = (context.peer.ip(), context.peer.port());
    let peer = stated.client.unwrap_or(Peer::Unstated { ip, port });
    head.set_forwarded(stated.host, stated.is_https);
    context.record.is_for(peer);
    let admitted = match head.is_websocket_upgrade() {
        true => context.per_address.admit(peer),
        false => context.per_address.admit_request(peer),
    };
    let admitted = admitted.map_err(|excess| {
        let asked = Asked::of(head, &context.config, false);
        context.record.refused(excess.reason().as_ref());
        context.events.refused(excess.why(), asked.protocol.as_str(), peer, excess.reason());
        let refusal = Refusal::new(RefusalCode::Busy, excess.reason());
        Answer::refusal(refusal, asked.form).with_status(StatusCode::TOO_MANY_REQUESTS)
    })?;
    let is_encrypted = stated.is_https.unwrap_or(context.is_encrypted);
    Ok(Some(Client { peer, is_encrypted, admitted: Some(Arc::new(admitted)) }))
}
