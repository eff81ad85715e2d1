//! The status of a running server.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::events::{Events, Snapshot, Transfer};
use crate::health::Health;
use crate::live::Live;
use crate::service::files::Files;
use crate::service::rooms::Rooms;

/// A handle to the status of a server, which remains valid after it has ended.
#[derive(Debug, Clone)]
pub struct Overview {
    pub(crate) config: Arc<Live<Config>>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) files: Arc<Live<Files>>,
    pub(crate) health: Arc<Health>,
}

impl Overview {
    /// Returns the current settings, which apply to new connections.
    pub fn config(&self) -> Arc<Config> {
        self.config.now()
    }

    /// Returns the counters since the start.
    pub fn counted(&self) -> Snapshot {
        self.events.counters.snapshot()
    }

    /// Returns the open connections by protocol; without zeros.
    pub fn connections(&self) -> Vec<(&'static str, usize)> {
        self.events.running.connections()
    }

    /// Returns the number of running transfers, and the `most` oldest.
    pub fn transfers(&self, most: usize) -> (usize, Vec<Transfer>) {
        self.events.running.transfers(most)
    }

    /// Returns the number of rooms that have members or had some a short time ago.
    pub fn rooms(&self) -> usize {
        self.rooms.count()
    }

    /// Returns why the served directory cannot be used: removed, not mounted, unreadable.
    pub fn storage_error(&self) -> Option<String> {
        self.files.now().check_directory().err().map(|refusal| refusal.message)
    }

    /// Probes the accept loops and reactor threads, and returns the name of the first that does not
    /// answer within `limit`.
    ///
    /// Not while draining: the accept loops have ended then.
    ///
    /// Cancel safe: yes.
    pub async fn unresponsive(&self, limit: Duration) -> Option<String> {
        self.health.unresponsive(limit).await
    }
}
