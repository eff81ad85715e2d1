//! Addresses that the server listens on.

use anyport_console::values;
use clap::Args;

use super::listen::Listen;
use crate::setting::Restart;

/// Addresses that the server listens on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct Listening {
    /// Listen on HOST:PORT, HOST, PORT or unix:PATH [default: loopback only]
    ///
    /// Repeatable. HOST alone uses the port of --port, PORT alone stands for that port on both
    /// loopback addresses. Port 0 selects a free port. An IPv6 address with a port stands in
    /// brackets, a link-local address has its zone: fe80::1%eth0. By default, the server listens on
    /// both loopback addresses, 127.0.0.1 and ::1.
    ///
    /// unix:PATH is a Unix socket of mode 0660: only the user and the group of the server may
    /// connect. A socket that is left over from a server that was killed is replaced.
    #[arg(long, short, value_name = "ADDR", add = Restart::ToListenElsewhere)]
    pub(crate) bind: Vec<String>,

    /// Port to listen on, unless --bind names one [default: 8331]
    ///
    /// Without --bind, the port on both loopback addresses: --port 8080 and --bind 8080 mean the
    /// same. Does not apply to --listen.
    #[arg(long, short, value_name = "PORT", add = Restart::Always)]
    #[arg(value_parser = values::number(0..=u16::MAX))]
    pub(crate) port: Option<u16>,

    /// Add a listener: echo, greet, time or files (any)
    ///
    /// Repeatable; each can have its own settings. --listen replaces the default addresses: with it
    /// and without --bind and --port, the server listens on these addresses only, and only any://
    /// accepts files.
    ///
    /// any://ADDR accepts the same clients as --bind ADDR. Settings for this listener alone follow
    /// a question mark: any://ADDR?only=raw,http&detect-timeout=5s. The keys are only, detect (on
    /// or off), detect-timeout, on-timeout and tls, and mode for the permissions of a Unix socket
    /// (any://unix:PATH?mode=0666); for those not given, the flags --only,
    /// --no-detect, --detect-timeout, --on-timeout and --tls apply.
    ///
    /// Other services: echo://ADDR returns its input (RFC 862, default port 7). greet://ADDR sends
    /// the line of --greeting and prints the answer of the client (default port 9001). time://ADDR
    /// answers any HTTP GET request with the local time (default port 8080). rfc868://ADDR (default
    /// port 37) and daytime://ADDR (default port 13) send the time and close the connection. echo,
    /// rfc868 and daytime also answer UDP on the same port, with at most as many bytes as the
    /// request has: to get the time, send at least 4 bytes to rfc868 and 64 bytes to daytime. ADDR
    /// may be unix:PATH, without UDP. Each port 0 selects another free port.
    #[arg(long, value_name = "URL", add = Restart::ToListenElsewhere)]
    pub(crate) listen: Vec<Listen>,

    /// Allow --bind addresses that other machines can reach
    ///
    /// Also those of --listen and of systemd sockets. Has no effect without them: the default
    /// addresses can be reached from this machine only. Every client that reaches the address may
    /// upload to DIR, list it and download from it, unless --token-file, --read-only or
    /// --upload-only restricts that.
    #[arg(long)]
    pub(crate) open: bool,
}
