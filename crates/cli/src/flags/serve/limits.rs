//! Limits of connections.

use std::time::Duration;

use anyport_console::values;
use anyport_server::Config;
use clap::Args;

/// Limits of connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Maximum number of connections
    ///
    /// At the limit, a new connection replaces one that has sent nothing; if there is none, it
    /// waits until a connection ends.
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    #[arg(value_parser = values::count)]
    pub(crate) max_conns: usize,

    /// Maximum number of connections from one IP address
    ///
    /// For IPv6, from one /64 network. The server closes further connections. [default: 256, or
    /// --max-conns if that is less; unlimited for loopback addresses unless given]
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = values::count)]
    pub(crate) max_conns_per_ip: Option<usize>,

    /// Maximum number of unclassified connections
    ///
    /// Unclassified: protocol not yet detected. The client has sent nothing, or too little. Beyond
    /// the limit, the server takes the IP address that has most of them, and closes the connection
    /// of it that has been silent for longest. [default: 256, or --max-conns if that is less]
    #[arg(long, alias = "max-undecided", value_name = "COUNT")]
    #[arg(value_parser = values::count)]
    pub(crate) max_unclassified: Option<usize>,

    /// Maximum number of concurrent requests on one HTTP/2 connection
    ///
    /// The server refuses further requests; the client may retry them.
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    #[arg(value_parser = values::number(1_u32..=65536))]
    pub(crate) max_streams: u32,

    /// Memory limit for incomplete messages and unclassified input
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes, default_value = "256MiB")]
    pub(crate) max_buffered: u64,

    /// Limit a connection, in and out [default: unlimited]
    ///
    /// Both directions count together, in bytes per second.
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_rate: Option<u64>,

    /// Minimum average rate of an upload [default: none]
    ///
    /// An upload that is slower after its first 10 s is interrupted, and can be resumed. Input that
    /// arrives slowly for a good reason, such as `tail -f LOG | curl -T - URL`, needs none.
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) min_upload_rate: Option<u64>,

    /// Idle time after which a connection is closed
    ///
    /// The transfer that it carries, if any, is interrupted and can be resumed.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = values::duration)]
    pub(crate) idle_timeout: Duration,

    /// Maximum time for a handshake, a preface line or an upload request
    ///
    /// Measured from its first byte.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = values::duration)]
    pub(crate) handshake_timeout: Duration,

    /// Maximum time to receive a message that is buffered whole (/echo)
    ///
    /// Measured from its first byte, even while bytes arrive. Files are not buffered and have no
    /// such limit: only --idle-timeout ends them.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = values::duration)]
    pub(crate) message_timeout: Duration,

    /// Time to accept connections after the request to stop
    ///
    /// Meanwhile /readyz and /healthz are 503, so that a load balancer sends its clients to another
    /// server before this one refuses connections. Set it to the interval of its health checks,
    /// times the number of failures that it waits for. 0s: stop accepting connections immediately.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = values::wait)]
    pub(crate) drain_delay: Duration,

    /// Maximum time to wait for running transfers when the server stops
    ///
    /// After --drain-delay.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = values::duration)]
    pub(crate) drain_timeout: Duration,

    /// Maximum number of new connections per second from one IP address
    ///
    /// Allows bursts of twice as many; the server closes further connections. For IPv6, the limit
    /// applies to one /64 network. [default: 100; unlimited for loopback addresses unless given]
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_rate_per_ip: Option<u32>,
}

impl Limits {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.max_connections = self.max_conns;
        let at_most_all = |default: usize| default.min(self.max_conns);
        config.max_per_address =
            self.max_conns_per_ip.unwrap_or_else(|| at_most_all(config.max_per_address));
        config.counts_loopback = self.max_conns_per_ip.is_some();
        config.max_unclassified =
            self.max_unclassified.unwrap_or_else(|| at_most_all(config.max_unclassified));
        config.max_streams = self.max_streams;
        config.max_buffered = self.max_buffered;
        config.limit_rate = self.limit_rate;
        config.min_upload_rate = self.min_upload_rate;
        config.timeouts.idle = self.idle_timeout;
        config.timeouts.handshake = self.handshake_timeout;
        config.timeouts.message = self.message_timeout;
        config.timeouts.drain_delay = self.drain_delay;
        config.timeouts.drain = self.drain_timeout;
        config.max_rate_per_address = self.max_rate_per_ip.or(config.max_rate_per_address);
        config.rate_counts_loopback = self.max_rate_per_ip.is_some();
    }
}
