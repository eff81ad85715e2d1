//! The flags of `anyport resolve`.

use std::time::Duration;

use anyport_console::values;
use anyport_net::resolve::Port;
use clap::Args;

/// Resolve names to addresses and canonical names
///
/// Uses the resolver of this system (getaddrinfo), and prints addresses in the order in which
/// clients try them. HOST is a name or a numeric address, alone or with a port: HOST:80, HOST:http;
/// an IPv6 address with a port stands in brackets. A name that does not resolve does not prevent
/// the others.
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// Names to resolve
    #[arg(value_name = "HOST", required = true)]
    pub(crate) names: Vec<String>,

    /// Show only IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,

    /// Show only IPv6 addresses
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,

    /// Port or service for names without one, such as http
    ///
    /// A service is looked up for TCP.
    #[arg(long, value_name = "PORT")]
    pub(crate) service: Option<Port>,

    /// Resolve each address back to its name
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Maximum time for one answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// Print JSON on stdout, one object per name
    #[arg(long)]
    pub(crate) json: bool,
}
