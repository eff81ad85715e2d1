//! The report about a listener, which every client may read: `OPTIONS *` with `Accept:
//! application/json`.

use anyport_proto::about::{About, AboutLimits};

use super::Context;
use crate::config::{Service, TlsMode};

/// The product and its version, as `Server` lists them (RFC 9110 §10.2.4).
pub(super) const SERVER: &str = concat!("anyport/", env!("CARGO_PKG_VERSION"));

/// Returns the report about the listener of a connection. It has nothing that depends on a token.
pub(super) fn about(context: &Context) -> About {
    let (config, listener) = (&context.config, &context.listener);
    let has_tls = context.tls().is_some();
    let is_any = listener.service == Service::Any;
    let names = listener.allowed.names().filter(|name| *name != "tls" || has_tls);
    let protocols = if is_any { names.collect() } else { vec!["http"] };
    let token = is_any && config.tokens.is_some();
    // Without a token a client can read it from the announcement of resumable uploads.
    let is_reported = is_any && !token && config.max_size < u64::MAX;
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        service: listener.service.as_str().to_owned(),
        protocols: protocols.into_iter().map(str::to_owned).collect(),
        tls: match listener.tls {
            _ if !has_tls || !is_any => "off",
            TlsMode::Required => "required",
            _ => "optional",
        }
        .to_owned(),
        token,
        limits: AboutLimits {
            max_size: is_reported.then_some(config.max_size),
            max_head: Some(config.limits.head as u64),
            idle_timeout: Some(config.timeouts.idle.as_secs()),
        },
    }
}
