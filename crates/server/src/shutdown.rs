//! Stopping: report that the server is not ready, accept nothing new, let transfers finish for a
//! grace period, then abort the rest.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All running connections, and the stages of stopping them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Cancelled when nothing new is accepted any more.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the remaining transfers are aborted.
    pub(crate) aborted: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) stage: Stage,
    bulk_threads: Arc<BulkSockets>,
}

/// The stage of stopping, for callers that check it at each event: a token takes a lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage(Arc<AtomicU8>);

impl Stage {
    /// Returns whether a stop was requested. Until it drains, the server still serves new clients.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) >= STOPPING
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) >= DRAINING
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Acquire) >= ABORTED
    }

    fn reach(&self, stage: u8) {
        self.0.fetch_max(stage, Ordering::AcqRel);
    }
}

/// Sockets of bulk threads, which no token reaches.
#[derive(Debug, Default)]
struct BulkSockets {
    next: AtomicU64,
    sockets: Mutex<HashMap<u64, Arc<TcpStream>>>,
}

impl Stop {
    pub(crate) fn is_draining(&self) -> bool {
        self.stage.is_draining()
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.stage.is_aborted()
    }

    /// Announces the stop: from now on the server is not ready.
    pub(crate) fn announce(&self) {
        self.stage.reach(STOPPING);
    }

    /// Begins to drain: nothing new is accepted.
    pub(crate) fn drain(&self) {
        self.stage.reach(DRAINING);
        self.draining.cancel();
    }

    /// Registers the socket of a bulk thread until the guard is dropped.
    pub(crate) fn register(&self, socket: Arc<TcpStream>) -> Registered {
        let id = self.bulk_threads.next.fetch_add(1, Ordering::Relaxed);
        self.bulk_threads.sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(id, socket);
        // An abort before the insertion did not see this socket.
        if self.is_aborted() {
            self.shut_bulk_sockets();
        }
        Registered { id, bulk_threads: self.bulk_threads.clone() }
    }

    /// Aborts the remaining transfers.
    pub(crate) fn abort(&self) {
        self.stage.reach(ABORTED);
        self.aborted.cancel();
        self.shut_bulk_sockets();
    }

    fn shut_bulk_sockets(&self) {
        let sockets = self.bulk_threads.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.values() {
            // An error means that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

const STOPPING: u8 = 1;
const DRAINING: u8 = 2;
const ABORTED: u8 = 3;

/// The registration of a bulk thread's socket.
#[derive(Debug)]
pub(crate) struct Registered {
    id: u64,
    bulk_threads: Arc<BulkSockets>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.bulk_threads.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The reason of a connection that an abort interrupted.
pub(crate) const STOPPED: &str = "the server stopped";
