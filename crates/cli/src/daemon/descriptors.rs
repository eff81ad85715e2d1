//! How many connections the limit on open files bears. A server that runs out of descriptors can neither accept nor open the
//! file of a transfer that it has accepted; so it takes no more connections than it can serve, and the others wait in the
//! kernel's backlog, where they cost nothing.

use anyport_proto::transfer::receipt::Engine;
use anyport_server::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::output::to_stderr;

/// Raises the soft limit to the hard one, as nothing here uses `select()`; then lowers the connections of `config` to what
/// that bears, and says so.
pub(crate) fn fit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(limit) = limit else { return };
    let each = match config.engine {
        Engine::Own => FOR_A_CONNECTION,
        // It takes the socket for itself, and ours is another one.
        Engine::Library => FOR_A_CONNECTION + 1,
    };
    let most = connections(limit, config.bulk_threads, each);
    if config.max_connections > most {
        let wanted = config.max_connections;
        to_stderr(&format!(
            "{limit} open files bear {most} connections at once, not {wanted} (--max-conns)"
        ));
        to_stderr("hint: raise the limit (ulimit -n, LimitNOFILE=), or lower --max-conns");
        config.max_connections = most;
        config.max_undecided = config.max_undecided.min(most);
        config.max_per_address = config.max_per_address.min(most);
    }
}

/// Connections that so many open files bear.
fn connections(limit: u64, bulk_threads: usize, each: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let reserved = RESERVED.saturating_add(bulk_threads.saturating_mul(FOR_A_THREAD));
    // Of very few at least half are for clients.
    let left = limit - reserved.min(limit / 2);
    (left / each).max(1)
}

/// A socket, and the file that is received or sent.
const FOR_A_CONNECTION: usize = 2;

/// Both ends of the pipe that splice needs.
const FOR_A_THREAD: usize = 2;

/// Listeners, epoll and event descriptors, the directory, logs, the control socket and who talks to it, and what is open for a
/// moment: a directory that is listed, the checkpoints of a part.
const RESERVED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_for_what_is_no_connection() {
        assert_eq!(connections(1024, 4, 2), (1024 - 64 - 8) / 2);
        assert_eq!(connections(128, 4, 2), 32, "few: half of them");
        assert_eq!(connections(20_000, 4, 2), 9964);
        assert_eq!(connections(20_000, 4, 3), 6642);
        assert_eq!(connections(2, 4, 2), 1);
        assert_eq!(connections(u64::MAX, usize::MAX, 2), usize::MAX / 4 + 1);
    }
}
