//! The flags of `anyport resolve`.

use std::time::Duration;

use anyport_net::resolve::Port;
use clap::Args;

use crate::values;

/// What names stand for: their addresses and canonical names, as this system resolves them.
///
/// NAME is a name or a numeric address, alone or with a port: NAME:80, NAME:http; an IPv6 address with a port stands in
/// brackets. Addresses come in the order in which clients try them (getaddrinfo). A name that does not resolve stops none of
/// the others.
///
/// Exit codes: 0 all resolved, 2 wrong usage, 3 one or more did not.
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// Names to resolve
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,

    /// Only IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,

    /// Only IPv6 addresses
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,

    /// Port of those that name none: a number, or a service over TCP such as http
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<Port>,

    /// Ask for the name of each address too
    #[arg(long)]
    pub(crate) reverse: bool,

    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// One JSON object a name on stdout
    #[arg(long)]
    pub(crate) json: bool,
}
