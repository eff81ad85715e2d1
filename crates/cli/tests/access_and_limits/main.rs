//! TLS, tokens, policies and proxies, and limits that no client exceeds.
//!
//! - `access_modes` servers that only send files, and servers that only accept them
//! - `behind_proxies` the shipped configurations of nginx, haproxy and Caddy
//! - `bursts` input beyond a limit that delays it, then silence
//! - `crowds` many silent clients, and the counters
//! - `fair_shares` totals that one address cannot use up
//! - `limits` requests that exceed a limit
//! - `memory` what no peer can make the server hold
//! - `policies` what an operator allows one peer, and all of them together
//! - `proxies` our client through HTTP and SOCKS proxies
//! - `proxy_header` the PROXY protocol from clients that must not use it
//! - `proxy_protocol` the same from listed proxies
//! - `rights` what each token permits, over each protocol
//! - `shares` links to files and drop boxes, for clients without a token
//! - `slowness` slow clients: which time out, and which may continue
//! - `tls` the same under TLS, and whom clients trust
//! - `tls_silence` what comes under TLS and says nothing
//! - `tokens` who comes in where tokens are asked for
//! - `trusted_proxy` `Forwarded` and `X-Forwarded-*` from trusted proxies
//! - `unix_sockets` listening at a path, and clients that connect to one
//! - `under_load` floods, storms and shortages
//! - `web_sessions` how a page signs in, and what its cookie permits

#![expect(clippy::unwrap_used, reason = "tests")]

mod access_modes;
mod behind_proxies;
mod bursts;
mod crowds;
mod fair_shares;
mod limits;
mod memory;
mod policies;
mod proxies;
mod proxy_header;
mod proxy_protocol;
mod rights;
mod shares;
mod slowness;
mod tls;
mod tls_silence;
mod tokens;
mod trusted_proxy;
mod under_load;
mod unix_sockets;
mod web_sessions;
