//! Proxies in front of the server.

use anyport_server::{Config, Proxies, ProxyAddress};
use clap::Args;

/// Proxies in front of the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Behind a proxy")]
pub(crate) struct BehindProxy {
    /// Require a PROXY protocol header from ADDR; repeatable
    ///
    /// ADDR is an address, a network such as 10.0.0.0/8, or unix for Unix sockets. A connection
    /// from there must begin with a header of version 1 or 2 (haproxy: send-proxy, send-proxy-v2;
    /// nginx: proxy_protocol on), before TLS, or the server closes it. Logs, receipts and limits
    /// then have the address of the client that the header states. From other addresses a header
    /// is refused, because any client can send one. Applies to all listeners, not to UDP.
    #[arg(long, value_name = "ADDR")]
    pub(crate) proxy_protocol_from: Vec<ProxyAddress>,

    /// Accept Forwarded and X-Forwarded-* from ADDR; repeatable
    ///
    /// ADDR is an address, a network such as 10.0.0.0/8, or unix for Unix sockets. The client of a
    /// request from there is the last address in Forwarded (RFC 7239) or X-Forwarded-For that is
    /// not itself listed; proto and host, or X-Forwarded-Proto and X-Forwarded-Host, are those of
    /// the client's URL. The proxy must set or remove each of these fields: it can state any
    /// client. Fields from other addresses are ignored.
    #[arg(long, value_name = "ADDR")]
    pub(crate) trusted_proxy: Vec<ProxyAddress>,
}

impl BehindProxy {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.proxy_protocol_from = Proxies(self.proxy_protocol_from.clone());
        config.trusted_proxies = Proxies(self.trusted_proxy.clone());
    }
}
