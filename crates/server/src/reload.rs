//! New settings for a server that runs.
//!
//! A connection keeps the settings that it began with; those that come later get the new ones. What connections share (places,
//! budgets, rooms, pipes) stays where it is, with everybody in it, and has new limits at once. A few settings are about what is
//! made once, when the server starts: these stay as they are, and are named.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyport_net::reactor::LiveTimes;

use crate::accept::Shared;
use crate::config::{Config, ListenerConfig};
use crate::conversations::times;
use crate::live::Live;

/// Replaces the settings of a server, before it runs and while it does. Once it has ended there is nothing to replace.
#[derive(Debug, Clone)]
pub struct Reload(pub(crate) Weak<Replaceable>);

/// All of a server that can be replaced.
#[derive(Debug)]
pub(crate) struct Replaceable {
    pub(crate) shared: Shared,
    pub(crate) listeners: Vec<Arc<Live<ListenerConfig>>>,
    pub(crate) times: Vec<LiveTimes>,
    /// Held by who replaces them.
    turn: Mutex<()>,
}

impl Reload {
    /// What connections are served by that come from now on. Gives the settings that differ and need a restart, by the names
    /// that `anyport serve` has for them; they stay as they are.
    pub fn replace(&self, mut config: Config) -> Vec<&'static str> {
        let Some(server) = self.0.upgrade() else { return Vec::new() };
        let _turn = server.turn();
        let Shared {
            config: live,
            files,
            permits,
            buffered,
            per_address,
            undecided,
            rooms,
            pipes,
            ..
        } = &server.shared;
        let kept = keep_what_needs_a_restart(&live.now(), &mut config);
        files.replace(files.now().with(&config));
        buffered.set_limit(config.max_buffered);
        per_address.set_limits(&config);
        undecided.set_limit(config.max_undecided);
        permits.resize(config.max_connections);
        rooms.set_limits(config.rooms.clone());
        pipes.set_limits(config.pipes.clone());
        server.times.iter().for_each(|live| live.set(times(&config.timeouts)));
        live.replace(config);
        kept
    }

    /// The same for what is set for one listener alone, in the order in which the server was given its listeners. What they
    /// serve stays.
    pub fn replace_listeners(&self, configs: impl IntoIterator<Item = ListenerConfig>) {
        let Some(server) = self.0.upgrade() else { return };
        let _turn = server.turn();
        for (live, mut config) in server.listeners.iter().zip(configs) {
            config.service = live.now().service;
            live.replace(config);
        }
    }
}

impl Replaceable {
    pub(crate) fn new(
        shared: Shared,
        listeners: Vec<Arc<Live<ListenerConfig>>>,
        times: Vec<LiveTimes>,
    ) -> Self {
        Self { shared, listeners, times, turn: Mutex::default() }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives `new` what cannot change from `old`, and the names of what would have. Each field stands here, so that for a new one
/// somebody has to say which kind it is.
fn keep_what_needs_a_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let Config {
        directory,
        sink,
        quota,
        bulk_threads,
        conversation_threads,
        fsync: _,
        digest: _,
        on_exists: _,
        allowed_origins: _,
        tokens: _,
        allowed_hosts: _,
        metrics: _,
        engine: _,
        deflate: _,
        congestion: _,
        bulk_buffer: _,
        max_connections: _,
        max_per_address: _,
        max_streams: _,
        counts_loopback: _,
        max_rate_per_address: _,
        rate_counts_loopback: _,
        max_undecided: _,
        max_size: _,
        max_memory: _,
        limit_rate: _,
        max_buffered: _,
        greeting: _,
        tls: _,
        keep_parts: _,
        rooms: _,
        pipes: _,
        limits: _,
        timeouts: _,
    } = new;
    let mut kept = Vec::new();
    keep("directory", &old.directory, directory, &mut kept);
    keep("sink", &old.sink, sink, &mut kept);
    // Without one nothing has been counted, and with one all that comes in has a claim.
    if quota.is_some() != old.quota.is_some() {
        keep("quota", &old.quota, quota, &mut kept);
    }
    keep("bulk-threads", &old.bulk_threads, bulk_threads, &mut kept);
    keep("conversation-threads", &old.conversation_threads, conversation_threads, &mut kept);
    kept
}

fn keep<T: Clone + PartialEq>(
    name: &'static str,
    old: &T,
    new: &mut T,
    kept: &mut Vec<&'static str>,
) {
    if old != new {
        new.clone_from(old);
        kept.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_stays() {
        let old = Config::new("/served");
        let mut new = Config::new("/elsewhere");
        new.bulk_threads = old.bulk_threads + 1;
        new.quota = Some(1);
        new.max_connections = 1;
        let named = keep_what_needs_a_restart(&old, &mut new);
        assert_eq!(named, ["directory", "quota", "bulk-threads"]);
        assert_eq!((new.directory.to_str(), new.quota), (Some("/served"), None));
        assert_eq!(new.max_connections, 1);
        // The number of a quota may change.
        let old = Config { quota: Some(2), ..Config::new("/served") };
        let mut new = Config { quota: Some(3), ..Config::new("/served") };
        assert!(keep_what_needs_a_restart(&old, &mut new).is_empty());
        assert_eq!(new.quota, Some(3));
    }
}
