//! What a server says of itself while it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::events::{Events, Snapshot, Transfer};
use crate::health::Health;
use crate::live::Live;
use crate::service::files::Files;
use crate::service::rooms::Rooms;

/// Asked at any time, from anywhere; also after the server has ended.
#[derive(Debug, Clone)]
pub struct Overview {
    pub(crate) config: Arc<Live<Config>>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) files: Arc<Live<Files>>,
    pub(crate) health: Health,
}

impl Overview {
    /// The settings in force: those of connections that come now.
    pub fn config(&self) -> Arc<Config> {
        self.config.now()
    }

    /// What has been counted since the start.
    pub fn counted(&self) -> Snapshot {
        self.events.counters.snapshot()
    }

    /// Open connections by what they speak; only those that are not 0.
    pub fn connections(&self) -> Vec<(&'static str, usize)> {
        self.events.running.connections()
    }

    /// How many files are on their way, and the `most` that began first.
    pub fn transfers(&self, most: usize) -> (usize, Vec<Transfer>) {
        self.events.running.transfers(most)
    }

    /// Rooms that somebody is in, or has just left.
    pub fn rooms(&self) -> usize {
        self.rooms.count()
    }

    /// Why the served directory cannot be used now: removed, not mounted, unreadable.
    pub fn storage_error(&self) -> Option<String> {
        self.files.now().check_directory().err().map(|refusal| refusal.message)
    }

    /// Asks each part that must turn for others to be served, and gives the first that does not
    /// answer within `limit`. Not while draining: those that accept have ended then.
    pub async fn unresponsive(&self, limit: Duration) -> Option<String> {
        self.health.unresponsive(limit).await
    }
}
