//! New settings for a running server.
//!
//! A connection keeps the settings that it began with; later ones get the new settings. State that
//! connections share (permits, budgets, rooms, pipes) is kept, and has new limits immediately.
//!
//! All settings of a connection are replaced in one step: one that is accepted meanwhile has all
//! old or all new ones. So if a reload requires TLS and no tokens any longer, no client connects
//! with neither.

use std::sync::{Arc, PoisonError, Weak};

use anyport_net::reactor::LiveTimes;

use crate::config::{Config, ListenerConfig};
use crate::live::Live;
use crate::reactors::times;
use crate::session::live::most;
use crate::shared::Shared;

/// A handle that replaces the settings of a server, before and while it runs.
///
/// It has no effect after the server has ended.
#[derive(Debug, Clone)]
pub struct Reload(pub(crate) Weak<Replaceable>);

/// The replaceable parts of a server.
#[derive(Debug)]
pub(crate) struct Replaceable {
    pub(crate) shared: Shared,
    pub(crate) listeners: Vec<Arc<Live<ListenerConfig>>>,
    pub(crate) times: Vec<LiveTimes>,
}

impl Reload {
    /// Replaces the settings of later connections, and the limits of shared state. `listeners` are
    /// the settings of each listener, in the order in which [`crate::Server::new`] got them.
    ///
    /// [`Config::startup`], whether there is a [`Config::quota`], and the service of a listener
    /// cannot change: the server keeps its own.
    pub fn replace(&self, mut config: Config, listeners: impl IntoIterator<Item = ListenerConfig>) {
        let Some(server) = self.0.upgrade() else { return };
        let Shared {
            config: current,
            files,
            permits,
            stream_files,
            live,
            buffered,
            per_address,
            unclassified,
            rooms,
            pipes,
            // These have no settings.
            access: _,
            events: _,
            room_listeners: _,
            shares: _,
            together,
            health: _,
        } = &server.shared;
        let _writing = together.0.write().unwrap_or_else(PoisonError::into_inner);
        keep_what_needs_a_restart(&current.now(), &mut config);
        files.replace(files.now().with(&config));
        buffered.set_limit(config.max_buffered);
        per_address.set_limits(&config);
        unclassified.set_limit(config.max_unclassified);
        permits.resize(config.max_connections);
        stream_files.set_limit(config.max_stream_files as u64);
        live.set_limit(most(config.max_connections));
        rooms.set_limits(config.rooms.clone());
        pipes.set_limits(config.pipes.clone());
        server.times.iter().for_each(|live| live.set(times(&config.timeouts)));
        current.replace(config);
        for (current, mut listener) in server.listeners.iter().zip(listeners) {
            listener.service = current.now().service;
            current.replace(listener);
        }
    }
}

/// Keeps what a running server cannot change: its startup settings, and whether there is a quota.
/// Without a quota the stored files were not counted, and with one each upload has reserved space.
fn keep_what_needs_a_restart(old: &Config, new: &mut Config) {
    new.startup.clone_from(&old.startup);
    if new.quota.is_some() != old.quota.is_some() {
        new.quota = old.quota;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::Server;
    use crate::events::Quiet;

    /// Returns settings in which every number is derived from `number`.
    fn numbered(number: u64) -> (Config, ListenerConfig) {
        let mut config = Config::new(std::env::temp_dir());
        config.max_size = number;
        let detect_timeout = Duration::from_secs(number);
        (config, ListenerConfig { detect_timeout, ..ListenerConfig::default() })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_sees_all_of_the_old_or_all_of_the_new() {
        let (config, listener) = numbered(0);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = crate::Listener { config: listener, ..socket.into() };
        let server = Server::new(config, vec![listener], Quiet).unwrap();
        let (reload, done) = (server.reload_handle(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=5_000 {
                    let (config, listener) = numbered(number);
                    reload.replace(config, [listener]);
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let seen = server.shared.settings(&server.listeners[0].0.config);
                let number = seen.config.max_size;
                assert_eq!(seen.listener.detect_timeout.as_secs(), number);
                assert_eq!(seen.files.largest_possible(), number);
            }
        });
    }

    #[test]
    fn what_needs_a_restart_stays() {
        let old = Config::new("/served");
        let mut new = Config::new("/elsewhere");
        new.startup.bulk_threads = old.startup.bulk_threads + 1;
        (new.quota, new.max_connections) = (Some(1), 1);
        keep_what_needs_a_restart(&old, &mut new);
        assert_eq!((&new.startup, new.quota, new.max_connections), (&old.startup, None, 1));
        // The number of a quota may change.
        let old = Config { quota: Some(2), ..Config::new("/served") };
        let mut new = Config { quota: Some(3), ..Config::new("/served") };
        keep_what_needs_a_restart(&old, &mut new);
        assert_eq!(new.quota, Some(3));
    }
}
