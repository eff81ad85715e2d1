//! The accept loop, which waits only for accept and for a permit, so that no client can delay
//! another.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::address::Address;
use anyport_net::unix::is_unix;
use rustix::io::Errno;
use tokio::net::TcpStream;

use crate::access::Grant;
use crate::config::{Config, ListenerConfig};
use crate::connection;
use crate::driving::Drivers;
use crate::events::Record;
use crate::guard::Guard;
use crate::health::{Probes, answer_probes};
use crate::link::Link;
use crate::live::Live;
use crate::per_address::Admitted;
use crate::session::Context;
use crate::shared::{Settings, Shared};
use crate::socket::Socket;

/// A listening socket and its settings.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Socket,
    pub(crate) address: Address,
    pub(crate) config: Arc<Live<ListenerConfig>>,
}

/// Accepts until draining.
pub(crate) async fn run(listener: Bound, mut probes: Probes, shared: Shared, drivers: Drivers) {
    let mut exhausted = Exhausted::default();
    let draining = drivers.stop.draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            accepted = answer_probes(&mut probes, listener.socket.accept()) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                shared.events.counters.accepted();
                // Before anything else, so that a flood from one address affects no other client.
                let config = shared.config.now();
                let is_proxy = config.proxy_protocol_from.contains(&peer)
                    || config.trusted_proxies.contains(&peer);
                let admitted = match is_proxy {
                    // Counted for the addresses of its clients, once they are known.
                    true => Some(Admitted::uncounted()),
                    false => shared.per_address.admit_or_report(peer, &shared.events),
                };
                let Some(admitted) = admitted else { continue };
                if shared.permits.are_all_out() {
                    // Many silent connections must not keep this one waiting.
                    shared.unclassified.evict_silent();
                }
                // After accept, not before: a listener that waits for clients must not hold a
                // permit that another listener's client needs.
                let permit = tokio::select! {
                    biased;
                    () = draining.cancelled() => return,
                    permit = answer_probes(&mut probes, shared.permits.acquire()) => permit,
                };
                let Settings { config, files, listener } = shared.settings(&listener.config);
                prepare(&stream, &config);
                let record = Record::begin(peer, shared.events.counters.clone());
                let Shared { buffered, unclassified, events, access, .. } = shared.clone();
                let Shared {
                    rooms, room_listeners, pipes, shares, stream_files, live, health, ..
                } = shared.clone();
                let link = Link::new();
                let grant = Grant::without_token(&config);
                let context = Context {
                    config,
                    grant,
                    listener,
                    files,
                    buffered,
                    events,
                    access,
                    record,
                    rooms,
                    room_listeners,
                    shares,
                    pipes,
                    stream_files,
                    live,
                    health,
                    per_address: shared.per_address.clone(),
                    peer,
                    admitted: None,
                    link,
                    stage: drivers.stop.stage.clone(),
                    is_encrypted: false,
                };
                let is_unclassified = context.listener.service.counts_idle_as_unclassified()
                    || context.config.proxy_protocol_from.contains(&peer);
                let unclassified = is_unclassified.then(|| unclassified.register(peer));
                let guard =
                    Guard::new(permit, admitted, shared.events.running.open(), &drivers.stop);
                let own_drivers = drivers.clone();
                drivers.stop.tasks.spawn(async move {
                    connection::serve(stream, unclassified, context, own_drivers, guard).await;
                });
            }
            Err(error) => answer_probes(&mut probes, exhausted.pause_after(&error)).await,
        }
    }
}

fn prepare(stream: &TcpStream, config: &Config) {
    // The options are those of TCP.
    if is_unix(stream) {
        return;
    }
    // A client waits for receipts and echoes.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    if let Err(error) = config.congestion.apply(stream, local, peer) {
        tracing::warn!(algorithm = %config.congestion, %error, "cannot set the congestion control");
    }
}

/// The back-off of an accept loop when the system has no more file descriptors or memory.
#[derive(Debug, Default)]
struct Exhausted {
    reported_at: Option<Instant>,
}

impl Exhausted {
    /// Pauses if the system has no file descriptors or memory left. Other errors concern only one
    /// connection.
    async fn pause_after(&mut self, error: &io::Error) {
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if !exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            tracing::debug!(%error, "connection closed before it was accepted");
            return;
        }
        // The shortage may last, and a line for each attempt would fill the disk too.
        if self.reported_at.is_none_or(|reported_at| reported_at.elapsed() >= REPORT_EVERY) {
            self.reported_at = Some(Instant::now());
            tracing::error!(%error, "cannot accept connections; waiting for open ones to end");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Pause between two attempts: short enough to notice closed connections, long enough to save CPU
/// time.
const PAUSE: Duration = Duration::from_millis(200);

const REPORT_EVERY: Duration = Duration::from_secs(5);
