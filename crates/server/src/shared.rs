//! The state that all connections of a server share.

use std::sync::{Arc, PoisonError, RwLock};

use crate::access::Access;
use crate::budget::Budget;
use crate::config::{Config, ListenerConfig};
use crate::events::Events;
use crate::health::Health;
use crate::live::Live;
use crate::per_address::PerAddress;
use crate::permits::Permits;
use crate::service::files::Files;
use crate::service::pipe::Pipes;
use crate::service::rooms::{Listeners, Rooms};
use crate::share::Shares;
use crate::unclassified::Unclassified;

/// State of all connections. A reload replaces the live values, and the limits of the others.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Live<Config>>,
    pub(crate) files: Arc<Live<Files>>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) stream_files: Arc<Budget>,
    pub(crate) live: Arc<Budget>,
    pub(crate) buffered: Arc<Budget>,
    pub(crate) per_address: Arc<PerAddress>,
    pub(crate) access: Arc<Access>,
    pub(crate) unclassified: Arc<Unclassified>,
    pub(crate) events: Arc<Events>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) room_listeners: Arc<Listeners>,
    pub(crate) pipes: Arc<Pipes>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) health: Arc<Health>,
    pub(crate) together: Arc<Together>,
}

/// The settings of one accepted connection, which were all set together.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) files: Arc<Files>,
    pub(crate) listener: Arc<ListenerConfig>,
}

/// A lock, held for reading while related settings are read, and for writing while they are
/// replaced.
#[derive(Debug, Default)]
pub(crate) struct Together(pub(crate) RwLock<()>);

impl Shared {
    /// Returns the settings of a connection of `listener` that is accepted now.
    pub(crate) fn settings(&self, listener: &Live<ListenerConfig>) -> Settings {
        let _reading = self.together.0.read().unwrap_or_else(PoisonError::into_inner);
        Settings { config: self.config.now(), files: self.files.now(), listener: listener.now() }
    }
}
