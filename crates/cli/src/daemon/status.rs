//! The status of a running server, for its control socket and a service manager.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_server::{Config, Overview, Transfer};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::output::summary_json;

/// A handle to a running server: status and requests.
#[derive(Debug)]
pub(crate) struct ServerHandle {
    overview: Overview,
    orders: mpsc::Sender<Order>,
    listening: Vec<Value>,
    directory: PathBuf,
    started: Instant,
    stopping: AtomicBool,
    last_reload: Mutex<Option<Value>>,
}

/// A request to the server.
#[derive(Debug)]
pub(crate) enum Order {
    /// Reload the settings, and send the result.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Stop, as by a first signal, or as by a second one.
    Stop { now: bool },
}

impl ServerHandle {
    pub(crate) fn new(
        overview: Overview,
        orders: mpsc::Sender<Order>,
        listening: Vec<Value>,
    ) -> Self {
        let served = &overview.config().startup.directory;
        let directory = std::path::absolute(served).unwrap_or_else(|_| served.clone());
        Self {
            overview,
            orders,
            listening,
            directory,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            last_reload: Mutex::default(),
        }
    }

    /// Hands an order over; false where the server has ended.
    pub(super) async fn order(&self, order: Order) -> bool {
        self.orders.send(order).await.is_ok()
    }

    pub(crate) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Settings were read anew.
    pub(crate) fn reloaded(&self, outcome: &Result<String, String>) {
        let line = match outcome {
            Ok(line) | Err(line) => line,
        };
        let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let reloaded = json!({ "at": at, "ok": outcome.is_ok(), "line": line });
        *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reloaded);
    }

    /// Returns the status as one line.
    pub(crate) fn line(&self) -> String {
        let open: usize = self.overview.connections().iter().map(|(_, count)| count).sum();
        let (transfers, _) = self.overview.transfers(0);
        let rooms = self.overview.rooms();
        let place = self.place();
        format!("{place}: connections {open}, transfers {transfers}, rooms {rooms}")
    }

    /// Returns addresses and directory, in words.
    pub(crate) fn place(&self) -> String {
        let verb = if self.stopping.load(Ordering::Relaxed) { "stopping" } else { "serving" };
        let at = self.listening.iter().filter_map(|one| one["addr"].as_str());
        format!("{verb} {}", at.collect::<Vec<_>>().join(", "))
    }

    /// Returns the number of running transfers.
    pub(crate) fn transfers(&self) -> usize {
        self.overview.transfers(0).0
    }

    /// Returns the time before the drain, and the time for running transfers to finish.
    pub(crate) fn drain_times(&self) -> (Duration, Duration) {
        let timeouts = self.overview.config().timeouts;
        (timeouts.drain_delay, timeouts.drain)
    }

    /// All of it.
    pub(super) fn status(&self) -> Value {
        let (count, first) = self.overview.transfers(MOST_LISTED);
        let mut open = json!({});
        for (speaks, count) in self.overview.connections() {
            open[speaks] = json!(count);
        }
        let stopping = self.stopping.load(Ordering::Relaxed);
        json!({
            "event": "status",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime": self.started.elapsed().as_secs(),
            "state": if stopping { "stopping" } else { "serving" },
            "directory": self.directory,
            "storage_error": self.overview.storage_error(),
            "listening": self.listening,
            "open": open,
            "since_start": summary_json(&self.overview.counted()),
            "transfers": count,
            "first_transfers": first.iter().map(transfer).collect::<Vec<_>>(),
            "rooms": self.overview.rooms(),
            "limits": limits(&self.overview.config()),
            "last_reload": *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }
}

fn transfer(transfer: &Transfer) -> Value {
    let Transfer { direction, protocol, peer, name, size, bytes, elapsed, .. } = transfer;
    let direction = direction.as_str();
    json!({
        "direction": direction, "protocol": protocol, "peer": peer, "name": name, "size": size,
        "bytes": bytes, "seconds": elapsed.as_secs(),
    })
}

/// Returns the limits of one peer, and of all together.
pub(crate) fn limits(config: &Config) -> Value {
    let some = |limit: u64| (limit != u64::MAX).then_some(limit);
    json!({
        "max_conns": config.max_connections,
        "max_conns_per_ip": config.max_per_address,
        "max_undecided": config.max_unclassified,
        "max_size": some(config.max_size),
        "quota": config.quota,
        "limit_rate": config.limit_rate,
        "max_rooms": config.rooms.rooms,
        "max_pipes": config.pipes.pipes,
        "idle_timeout": config.timeouts.idle.as_secs_f64(),
        "handshake_timeout": config.timeouts.handshake.as_secs_f64(),
        "drain_delay": config.timeouts.drain_delay.as_secs_f64(),
        "drain_timeout": config.timeouts.drain.as_secs_f64(),
    })
}

/// Maximum number of transfers with details; the others are counted.
const MOST_LISTED: usize = 100;
