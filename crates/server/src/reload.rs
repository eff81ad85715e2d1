//! New settings for a server that runs.
//!
//! A connection keeps the settings that it began with; those that come later get the new ones. What
//! connections share (places, budgets, rooms, pipes) stays where it is, with everybody in it, and
//! has new limits at once. A few settings are about what is made once, when the server starts:
//! these stay as they are, and are named.
//!
//! All that a connection is given is replaced in one step: one that is accepted meanwhile has all
//! of the old or all of the new. Where TLS is required now and tokens are asked for no more, nobody
//! comes in who shows neither.

use std::sync::{Arc, PoisonError, Weak};

use anyport_net::reactor::LiveTimes;

use crate::config::{Config, FileAccess, ListenerConfig};
use crate::live::Live;
use crate::reactors::times;
use crate::shared::Shared;

/// Replaces the settings of a server, before it runs and while it does. Once it has ended there is
/// nothing to replace.
#[derive(Debug, Clone)]
pub struct Reload(pub(crate) Weak<Replaceable>);

/// All of a server that can be replaced.
#[derive(Debug)]
pub(crate) struct Replaceable {
    pub(crate) shared: Shared,
    pub(crate) listeners: Vec<Arc<Live<ListenerConfig>>>,
    pub(crate) times: Vec<LiveTimes>,
}

impl Reload {
    /// What connections are served by that come from now on; `listeners`: what is set for one
    /// listener alone, in the order in which the server was given them. Gives the settings that
    /// differ and need a restart, by the names that `anyport serve` has for them; they stay as they
    /// are, and so does what a listener serves.
    pub fn replace(
        &self,
        mut config: Config,
        listeners: impl IntoIterator<Item = ListenerConfig>,
    ) -> Vec<&'static str> {
        let Some(server) = self.0.upgrade() else { return Vec::new() };
        let _writing = server.shared.together.0.write().unwrap_or_else(PoisonError::into_inner);
        let Shared {
            config: live,
            files,
            permits,
            stream_files,
            buffered,
            per_address,
            unclassified,
            rooms,
            pipes,
            ..
        } = &server.shared;
        let kept = keep_what_needs_a_restart(&live.now(), &mut config);
        files.replace(files.now().with(&config));
        buffered.set_limit(config.max_buffered);
        per_address.set_limits(&config);
        unclassified.set_limit(config.max_unclassified);
        permits.resize(config.max_connections);
        stream_files.set_limit(config.max_stream_files as u64);
        rooms.set_limits(config.rooms.clone());
        pipes.set_limits(config.pipes.clone());
        server.times.iter().for_each(|live| live.set(times(&config.timeouts)));
        live.replace(config);
        for (live, mut config) in server.listeners.iter().zip(listeners) {
            config.service = live.now().service;
            live.replace(config);
        }
        kept
    }
}

impl Replaceable {
    pub(crate) fn new(
        shared: Shared,
        listeners: Vec<Arc<Live<ListenerConfig>>>,
        times: Vec<LiveTimes>,
    ) -> Self {
        Self { shared, listeners, times }
    }
}

/// Gives `new` what cannot change from `old`, and the names of what would have. Each field stands
/// here, so that for a new one somebody has to say which kind it is.
fn keep_what_needs_a_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let Config {
        directory,
        file_access,
        sink,
        quota,
        bulk_threads,
        reactor_threads,
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
        max_stream_files: _,
        counts_loopback: _,
        max_rate_per_address: _,
        rate_counts_loopback: _,
        max_unclassified: _,
        max_size: _,
        max_memory: _,
        limit_rate: _,
        max_buffered: _,
        greeting: _,
        tls: _,
        keep_partial: _,
        max_entries: _,
        max_partial: _,
        max_partial_bytes: _,
        perms: _,
        rooms: _,
        pipes: _,
        limits: _,
        timeouts: _,
    } = new;
    let mut kept = Vec::new();
    keep("directory", &old.directory, directory, &mut kept);
    // The directory is checked, and its old partial files are removed, when the server starts.
    let flag = match (old.file_access, &*file_access) {
        (FileAccess::ReadOnly, _) | (_, FileAccess::ReadOnly) => "read-only",
        _ => "upload-only",
    };
    keep(flag, &old.file_access, file_access, &mut kept);
    keep("sink", &old.sink, sink, &mut kept);
    // Without one nothing has been counted, and with one all that comes in has a claim.
    if quota.is_some() != old.quota.is_some() {
        keep("quota", &old.quota, quota, &mut kept);
    }
    keep("bulk-threads", &old.bulk_threads, bulk_threads, &mut kept);
    keep("reactor-threads", &old.reactor_threads, reactor_threads, &mut kept);
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
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::Server;
    use crate::events::Quiet;

    /// Settings of one number, and a listener's of the same.
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
