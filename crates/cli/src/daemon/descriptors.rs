//! How many connections the limit on open files bears. A server that runs out of descriptors can
//! neither accept nor open the file of a transfer that it has accepted; so it takes no more
//! connections than it can serve, and the others wait in the kernel's backlog, where they cost
//! nothing.

use anyport_console::to_stderr;
use anyport_server::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, because `select()` is not used; then lowers the
/// connections of `config` to what that permits, and reports it.
pub(crate) fn fit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(limit) = limit else { return };
    let bears = Bears::with(limit, config.startup.bulk_threads, config.max_connections);
    config.max_stream_files = bears.stream_files;
    let most = bears.connections;
    if config.max_connections > most {
        let wanted = config.max_connections;
        to_stderr(&format!(
            "warning: --max-conns lowered from {wanted} to {most}: the limit is {limit} open files"
        ));
        to_stderr(
            "hint: raise the limit of open files (ulimit -n, LimitNOFILE=), or lower --max-conns",
        );
        config.max_connections = most;
        config.max_unclassified = config.max_unclassified.min(most);
        config.max_per_address = config.max_per_address.min(most);
    }
}

/// The connections that a limit on open files permits.
#[derive(Debug, PartialEq, Eq)]
struct Bears {
    connections: usize,
    /// Files of HTTP/2 streams beside the first of each connection.
    stream_files: usize,
}

impl Bears {
    /// A quarter of the open files, and what `connections` leave, is for streams.
    fn with(limit: u64, bulk_threads: usize, connections: usize) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reserved = RESERVED.saturating_add(bulk_threads.saturating_mul(FOR_A_THREAD));
        // Of very few at least half are for clients.
        let left = limit - reserved.min(limit / 2);
        let most = ((left - left / 4) / FOR_A_CONNECTION).max(1);
        let connections = connections.min(most);
        let stream_files = left.saturating_sub(connections.saturating_mul(FOR_A_CONNECTION));
        Self { connections, stream_files }
    }
}

/// A socket, and the file that is received or sent.
const FOR_A_CONNECTION: usize = 2;

/// Both ends of the pipe that splice needs.
const FOR_A_THREAD: usize = 2;

/// Reserved descriptors: listeners, epoll and event descriptors, the directory, logs, the control
/// socket and its clients, and short uses: a directory that is listed, the checkpoints of a partial
/// file.
const RESERVED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved() {
        let bears = |connections, stream_files| Bears { connections, stream_files };
        assert_eq!(Bears::with(1024, 4, 1024), bears(357, 238));
        assert_eq!(Bears::with(1024, 4, 100), bears(100, 752), "what connections leave");
        assert_eq!(Bears::with(128, 4, 1024), bears(24, 16), "few: half of them");
        assert_eq!(Bears::with(20_000, 4, 1024), bears(1024, 17_880));
        assert_eq!(Bears::with(2, 4, 1024), bears(1, 0));
        assert_eq!(Bears::with(u64::MAX, usize::MAX, 1024).connections, 1024);
    }
}
