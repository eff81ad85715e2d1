//! The beginning of a connection's trace: the events before its session.

use std::sync::Arc;

use anyport_net::congestion;
use anyport_net::unix::is_unix;
use anyport_tls::ServerMachine;
use anyport_trace::{Basis, Side, Syn, What};
use tokio::net::TcpStream;

use crate::session::Context;
use crate::traces::{Start, Traces};

/// Begins the trace of a connection whose protocol is known, unless there are too many.
///
/// One whose protocol was not detected has none: the log has the reason, and of a connection flood
/// nothing must reach the disk.
pub(crate) fn begin(
    traces: &Arc<Traces>,
    stream: &TcpStream,
    machine: Option<&ServerMachine>,
    context: &Context,
) {
    let record = &context.record;
    let (protocol, reason) = record.detected();
    let protocol = protocol.unwrap_or("none");
    let start = Start {
        accepted: record.accepted(),
        protocol,
        peer: context.peer,
        link: context.link.clone(),
        stage: context.stage.clone(),
        has_rate_limit: context.config.limit_rate.is_some(),
        is_encrypted: machine.is_some(),
    };
    let accepted = start.accepted;
    let Some(traced) = traces.begin(start) else {
        context.events.counters.untraced();
        tracing::debug!(peer = %context.peer, "served without a trace: too many connections");
        return;
    };
    if let Some(syn) = context.link.peeked_syn().and_then(|bytes| Syn::decode(&bytes)) {
        traced.add_at(accepted, Side::Client, Basis::Observed, What::Syn(syn));
    }
    let (local, peer) = (address(stream.peer_addr()), address(stream.local_addr()));
    let congestion = congestion::in_use(stream).ok().filter(|_| !is_unix(stream));
    let connected = What::Connected { local, peer, congestion };
    traced.add_at(accepted, Side::Server, Basis::Observed, connected);
    if context.peer.is_forwarded() {
        traced
            .note(format!("a proxy connected for {}: the SYN is that of the proxy", context.peer));
    }
    if let (Some(machine), Some(at)) = (machine, record.encrypted_at()) {
        traced.add_at(at, Side::Server, Basis::Observed, tls_done(machine));
    }
    match reason {
        Some(reason) => traced.decided(protocol, &reason),
        None => traced.note(format!("service {protocol}")),
    }
    traced.sample();
    record.trace(traced);
}

fn address(address: std::io::Result<std::net::SocketAddr>) -> String {
    address.map_or_else(|_| "unix".to_owned(), |address| address.to_string())
}

fn tls_done(machine: &ServerMachine) -> What {
    let (version, suite) = match machine.agreed() {
        Some((version, suite)) => (version.to_owned(), format!("{:?}", suite.suite())),
        None => Default::default(),
    };
    let alpn = machine.alpn().map(|name| String::from_utf8_lossy(name).into_owned());
    What::TlsDone { version, suite, group: machine.group(), alpn, certificate: None }
}
