//! `anyport probe`.

mod conclusion;
mod json;
mod words;

use std::env;
use std::io::ErrorKind;

use anyhow::Context;
use anyport_client::{ProbeOptions, Proxies, Target, probe, without_secrets};
use anyport_console::{Exit, Failure, json_to_stdout, lines_to_stdout, reason, to_stderr};

use self::conclusion::Conclusion;
use self::words::Words;
use crate::{access, flags, trust};

pub(crate) fn run(flags: &flags::Probe) -> Result<Exit, Failure> {
    let hint = "use HOST:PORT, or a URL such as https://HOST/";
    let mut target: Target = flags.url.parse().map_err(|error| access::bad_target(error, hint))?;
    if flags.unix_socket.is_some() {
        target.socket.clone_from(&flags.unix_socket);
    }
    let given = target;
    let target = without_secrets(&given);
    if given.path.contains('?') || (target.path == "/" && given.path != "/") {
        to_stderr("note: a query, and a path that is a secret, are not sent");
    }
    let mut options = ProbeOptions::default();
    // Without a scheme the port is probed with TLS too, so the flags of TLS have an effect.
    options.encryption = trust::client(&flags.tls, &[])?;
    options.connect_timeout = flags.connect_timeout;
    options.timeout = flags.timeout;
    options.greeting_timeout = flags.greeting_timeout;
    options.mqtt = flags.mqtt;
    if let Some(proxy) = proxy(&target) {
        to_stderr(&format!("note: probe connects directly, not through the proxy {proxy}"));
    }
    let mut printed = Ok(());
    let mut words = Words { target: &target, options: &options, has_probes: false, shown: None };
    let found = probe(&target, &options, &mut |finding| {
        if printed.is_err() {
            return;
        }
        printed = if flags.json {
            json_to_stdout(&json::finding(&finding))
        } else {
            let text = words.finding(&finding);
            lines_to_stdout(text.trim_end_matches('\n'))
        };
    });
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let (exit, hint) = (Exit::from(error.origin()), error.hint());
            if flags.json {
                let event = json::unresolved(&reason(&error), hint.as_deref(), exit as u8);
                json_to_stdout(&event).context("cannot write to stdout")?;
            }
            return Err(Failure { hint, ..Failure::new(exit, error) });
        }
    };
    let conclusion = Conclusion::of(&found, &target, flags.url.contains("://"));
    let written = printed.and_then(|()| match flags.json {
        true => json_to_stdout(&json::result(&found, &conclusion)),
        false => lines_to_stdout(&conclusion.text()),
    });
    match written {
        // In `anyport probe … | head`, head exits first.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to stdout")?,
    }
    Ok(conclusion.exit)
}

/// Returns the proxy of the environment that the other commands would use.
fn proxy(target: &Target) -> Option<String> {
    if target.socket.is_some() {
        return None;
    }
    let proxies = Proxies::from_environment(|name| env::var(name).ok());
    match proxies.of(target) {
        Ok(proxy) => proxy.map(|proxy| proxy.to_string()),
        Err(error) => Some(error.to_string()),
    }
}
