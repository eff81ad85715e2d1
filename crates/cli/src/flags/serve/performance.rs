//! Threads, buffers and congestion control.

use anyport_console::values;
use anyport_net::congestion::Congestion;
use anyport_server::Config;
use clap::Args;

use crate::setting::Restart;

/// Threads, buffers and congestion control.
#[derive(Debug, Args)]
#[command(next_help_heading = "Performance")]
pub(crate) struct Performance {
    /// Number of reactor threads [default: 1 for each 4 cores]
    ///
    /// The server has three kinds of threads. Reactor threads serve rooms, echo and idle
    /// connections. Bulk threads run one large transfer each. Worker threads, one for each core,
    /// run everything else.
    #[arg(long, alias = "conversation-threads", value_name = "COUNT")]
    #[arg(value_parser = values::number(1..=256_usize), add = Restart::Always)]
    pub(crate) reactor_threads: Option<usize>,

    /// TCP congestion control: auto, system or the name of an algorithm
    ///
    /// auto is reno on loopback connections, and the system's default on all others.
    #[arg(long, value_name = "ALGORITHM", default_value = "auto")]
    pub(crate) congestion: Congestion,

    /// Number of bulk threads [default: 2 for each core]
    ///
    /// Each runs one large transfer. Further transfers share the worker threads (see
    /// --reactor-threads).
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = values::number(0..=256_usize), add = Restart::Always)]
    pub(crate) bulk_threads: Option<usize>,

    /// Buffer size of a bulk thread
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "256KiB")]
    pub(crate) bulk_buffer: usize,
}

impl Performance {
    pub(crate) fn configure(&self, config: &mut Config) {
        let startup = &mut config.startup;
        startup.reactor_threads = self.reactor_threads.unwrap_or(startup.reactor_threads);
        startup.bulk_threads = self.bulk_threads.unwrap_or(startup.bulk_threads);
        config.congestion = self.congestion.clone();
        config.bulk_buffer = self.bulk_buffer;
    }
}
