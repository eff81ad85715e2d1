//! The number of connections that the limit on open files allows.
//!
//! A server without free descriptors can neither accept a connection nor open the file of an
//! accepted transfer. So it accepts only as many connections as it can serve, and the others wait
//! in the kernel's backlog, where they cost nothing.

use anyport_console::to_stderr;
use anyport_server::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one, which is safe without `select()`; then
/// lowers the connection limits of `config` to what the limit permits, and reports that.
pub(crate) fn apply_file_limit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(limit) = limit else { return };
    let capacity = Capacity::with(limit, config.startup.bulk_threads, config.max_connections);
    config.max_stream_files = capacity.stream_files;
    let most = capacity.connections;
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
struct Capacity {
    connections: usize,
    /// Files of HTTP/2 streams beside the first of each connection.
    stream_files: usize,
}

impl Capacity {
    /// Reserves a quarter of the files, and all that `connections` do not need, for streams.
    fn with(limit: u64, bulk_threads: usize, connections: usize) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reserved = RESERVED.saturating_add(bulk_threads.saturating_mul(PER_BULK_THREAD));
        // With a very low limit, at least half of it is for clients.
        let left = limit - reserved.min(limit / 2);
        let most = ((left - left / 4) / PER_CONNECTION).max(1);
        let connections = connections.min(most);
        let stream_files = left.saturating_sub(connections.saturating_mul(PER_CONNECTION));
        Self { connections, stream_files }
    }
}

/// Descriptors per connection: the socket, and the file that is received or sent.
const PER_CONNECTION: usize = 2;

/// Descriptors per bulk thread: both ends of the pipe for `splice`.
const PER_BULK_THREAD: usize = 2;

/// Reserved descriptors: listeners, epoll and event descriptors, the directory, logs, the control
/// socket and its clients, and short uses: a directory that is listed, the checkpoints of a partial
/// file.
const RESERVED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved() {
        let capacity = |connections, stream_files| Capacity { connections, stream_files };
        assert_eq!(Capacity::with(1024, 4, 1024), capacity(357, 238));
        assert_eq!(Capacity::with(1024, 4, 100), capacity(100, 752), "what connections leave");
        assert_eq!(Capacity::with(128, 4, 1024), capacity(24, 16), "few: half of them");
        assert_eq!(Capacity::with(20_000, 4, 1024), capacity(1024, 17_880));
        assert_eq!(Capacity::with(2, 4, 1024), capacity(1, 0));
        assert_eq!(Capacity::with(u64::MAX, usize::MAX, 1024).connections, 1024);
    }
}
