//! Stopping: take nothing new, let transfers finish for a grace period, then abort what is left.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every running connection, and the two stages of stopping them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Nothing new is taken.
    pub(crate) draining: CancellationToken,
    /// What still runs is given up.
    pub(crate) aborted: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) stage: Stage,
    lanes: Arc<Lanes>,
}

/// How far the server has stopped, for callers that ask at each event: a token takes a lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage(Arc<AtomicU8>);

impl Stage {
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

/// Sockets of transfers on threads of their own, which no token reaches.
#[derive(Debug, Default)]
struct Lanes {
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

    /// Nothing new is taken from now on.
    pub(crate) fn drain(&self) {
        self.stage.reach(DRAINING);
        self.draining.cancel();
    }

    /// Registers a lane's socket until the guard is dropped.
    pub(crate) fn register(&self, socket: Arc<TcpStream>) -> Registered {
        let id = self.lanes.next.fetch_add(1, Ordering::Relaxed);
        self.lanes.sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(id, socket);
        // An abort that ran before the insertion did not see this socket.
        if self.is_aborted() {
            self.shut_lanes();
        }
        Registered { id, lanes: self.lanes.clone() }
    }

    /// Gives up what still runs.
    pub(crate) fn abort(&self) {
        self.stage.reach(ABORTED);
        self.aborted.cancel();
        self.shut_lanes();
    }

    fn shut_lanes(&self) {
        let sockets = self.lanes.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.values() {
            // Already gone is fine: that is what we want.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

const DRAINING: u8 = 1;
const ABORTED: u8 = 2;

/// A lane's place in the registry.
#[derive(Debug)]
pub(crate) struct Registered {
    id: u64,
    lanes: Arc<Lanes>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.lanes.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Why a connection ended that an abort interrupted.
pub(crate) const STOPPED: &str = "the server stopped";
