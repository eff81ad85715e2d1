//! `anyport serve`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyport_console::{Exit, Failure, json_to_stdout, to_stderr};
use anyport_net::address::Address;
use anyport_net::blocking;
use anyport_proto::detect::Allowed;
use anyport_server::{Config, ListenerConfig, Server, Service, Snapshot, TlsMode, Tokens};
use anyport_tls::Fingerprint;
use serde_json::json;
use tokio::sync::mpsc;

use super::banner::{Banner, NC_NOTE, speaks_tls};
use super::running::{self, Running, Signals};
use crate::daemon::control::Control;
use crate::daemon::{self, Background, Manager, ServerHandle};
use crate::flags;
use crate::layers::{self, Parsed};
use crate::listen::{self, Listening};
use crate::output::{Printer, summary_event};
use crate::reload::Reloader;
use crate::settings;

pub(crate) fn run(flags: &flags::Serve, parsed: &Parsed) -> Result<Exit, Failure> {
    settings::refuse_address(flags)?;
    let mut config = settings::config(flags)?;
    if let Some(exit) = daemon::detach(&flags.background)? {
        return Ok(exit);
    }
    for (unknown, known) in layers::unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        let meant = known.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
        to_stderr(&format!("warning: unknown variable {unknown}{meant}"));
    }
    // It holds its pid file until the last line is written.
    let mut background = Background::begin(&flags.background)?;
    let listening = listen::listen(flags)?;
    if settings::create_directory(flags)? {
        to_stderr(&format!("created the directory {}", flags.directory.display()));
    }
    settings::check_trace(flags)?;
    daemon::apply_file_limit(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // One for each bulk transfer, and those for the disk: a runtime without a thread to spare
        // stops.
        .max_blocking_threads(blocking::threads(config.startup.bulk_threads))
        .build()
        .context("cannot start the runtime")?;
    let (printer, printed) = Printer::start(flags.json, parsed.flags.verbose > 0);
    let served =
        runtime.block_on(serve(flags, parsed, config, listening, printer, &mut background));
    let summary = served.as_ref().ok().map(|(_, summary)| summary);
    printed.finish(summary.filter(|_| flags.json).map(summary_event));
    if let Some(summary) = summary.filter(|summary| !flags.json && has_served(summary)) {
        to_stderr(&format!("served {summary}"));
    }
    // After a second signal transfers still run on bulk threads, which are not waited for.
    runtime.shutdown_background();
    served.map(|(exit, _)| exit)
}

/// Returns whether a client connected, so that the summary is worth printing.
const fn has_served(summary: &Snapshot) -> bool {
    summary.connections > 0 || !summary.datagrams.is_empty() || !summary.dropped.is_empty()
}

async fn serve(
    flags: &flags::Serve,
    parsed: &Parsed,
    config: Config,
    listening: Listening,
    printer: Printer,
    background: &mut Background,
) -> Result<(Exit, Snapshot), Failure> {
    let Listening { listeners, origins, files: _files } = listening;
    let tokens = config.tokens.as_ref().map(Tokens::len);
    let configs: Vec<_> = listeners.iter().map(|listener| listener.config.clone()).collect();
    let tls = config.tls.clone();
    let fingerprint = tls.as_ref().map(anyport_tls::server::Server::fingerprint);
    let server = Server::new(config, listeners, printer)
        .map_err(|error| settings::cannot_serve(&flags.directory, flags.access.read_only, error))?;
    let addresses = server.addresses();
    let listening: Vec<_> = addresses.into_iter().zip(configs).collect();
    let reloader = Reloader::new(server.reload_handle(), flags, parsed, origins);
    // Registered before the first line, whose reader may send a signal.
    let signals = Signals::register(background.detached.is_some())?;
    let port = listening.iter().find_map(|(address, _)| address.ip()).map_or(0, |ip| ip.port());
    let control = Control::bind(flags.background.control.as_deref(), port)?;
    background.redirect_stderr()?;
    announce(flags, tokens, &listening, tls.as_ref())?;

    let (order, orders) = mpsc::channel(1);
    let events =
        listening.iter().map(|(address, config)| listening_event(address, config, fingerprint));
    let handle = Arc::new(ServerHandle::new(server.overview(), order, events.collect()));
    if let Some(control) = &control {
        let answering = control.serve(handle.clone()).context("cannot serve the control socket")?;
        tokio::spawn(answering);
    }
    let manager = Arc::new(Manager::default());
    if let Some(detached) = background.detached.take() {
        detached.ready(&ready_line(flags, &handle))?;
    }
    manager.ready(&handle.line());
    let running = Running { server, handle, orders, manager, reloader };
    Ok(running::to_the_end(running, signals, background.log_file.as_ref()).await)
}

/// Returns the line for the process that started a daemon.
fn ready_line(flags: &flags::Serve, handle: &ServerHandle) -> String {
    let (pid, status) = (std::process::id(), handle.place());
    match flags.json {
        true => json!({ "event": "daemon", "pid": pid, "status": status }).to_string(),
        false => format!("anyport is running as process {pid}, {status}"),
    }
}

fn announce(
    flags: &flags::Serve,
    tokens: Option<usize>,
    listening: &[(Address, ListenerConfig)],
    tls: Option<&anyport_tls::server::Server>,
) -> Result<(), Failure> {
    warn_of_clear_text(tokens, listening);
    if flags.listening.open && listening.iter().all(|(address, _)| address.is_loopback()) {
        to_stderr("warning: --open has no effect: all addresses are loopback");
        to_stderr("hint: add --bind 0.0.0.0");
    }
    let fingerprint = tls.map(anyport_tls::server::Server::fingerprint);
    if flags.json {
        for (address, config) in listening {
            let event = listening_event(address, config, fingerprint);
            json_to_stdout(&event).context("cannot write to stdout")?;
        }
        return Ok(());
    }
    let directory =
        std::path::absolute(&flags.directory).unwrap_or_else(|_| flags.directory.clone());
    let mut files = listening.iter().filter(|(_, config)| config.service == Service::Any);
    let version = env!("CARGO_PKG_VERSION");
    match files.clone().next() {
        Some(_) => {
            let what = match (flags.access.read_only, flags.access.upload_only) {
                (true, _) => "serves (read-only) the files in",
                (false, true) => "accepts uploads only, into",
                (false, false) => "accepts and serves files in",
            };
            to_stderr(&format!("anyport {version} {what} {}", show(&directory)));
        }
        None => to_stderr(&format!("anyport {version} accepts no files")),
    }
    for (address, config) in listening {
        let restriction = restriction(address, config);
        to_stderr(&format!("  listening on {}{restriction}", address.text()));
    }
    if let Some(fingerprint) = fingerprint
        && listening.iter().any(|(_, config)| speaks_tls(config))
    {
        let optional = listening.iter().any(|(_, config)| {
            speaks_tls(config) && config.tls != TlsMode::Required && !config.allowed.is_only_tls()
        });
        let ports = if optional { " on the same ports," } else { "" };
        to_stderr(&format!("  TLS{ports} certificate {fingerprint}"));
    }
    let client_certificate = flags.tls.tls_client_ca.is_some();
    let (tokens_needed, withheld) = (tokens.is_some(), flags.access.withheld());
    let banner = Banner { listening, withheld, tokens: tokens_needed, tls, client_certificate };
    let lines = banner.lines();
    if !lines.is_empty() {
        to_stderr("try, from another terminal:");
    }
    lines.iter().for_each(|line| to_stderr(&format!("  {line}")));
    if lines.iter().any(|line| line.starts_with("nc ")) {
        to_stderr(NC_NOTE);
    }
    if let Some(url) = banner.browser() {
        to_stderr(&format!("or open {url} in a browser"));
    }
    if let Some(count) = tokens {
        let token = match count {
            1 => "the token".to_owned(),
            count => format!("one of {count} tokens"),
        };
        to_stderr(&format!("TOKENS: clients must send {token}, except for {ASKED_FOR_NONE}"));
        return Ok(());
    }
    match listening.first() {
        Some((_, config)) if listening.iter().all(|(address, _)| address.is_loopback()) => {
            let port =
                |(address, _): &(Address, _)| address.ip().map(|ip| format!(":{}", ip.port()));
            let first = listening.iter().find_map(port).unwrap_or_default();
            let wider = match files.next() {
                Some(first_of_files) => {
                    let port = port(first_of_files).or_else(|| files.find_map(port));
                    format!("--bind 0.0.0.0{}", port.unwrap_or_default())
                }
                None => format!("--listen {}://0.0.0.0{first}", config.service.as_str()),
            };
            to_stderr(&format!(
                "reachable from this machine only; to let other machines \
                connect, add --open {wider}"
            ));
        }
        _ if files.all(|(address, _)| address.is_loopback()) => {
            to_stderr("OPEN: every client that reaches these addresses is served");
        }
        _ => {
            let may = flags.access.open_words();
            to_stderr(&format!("OPEN: every client that reaches these addresses may {may}"));
        }
    }
    Ok(())
}

/// Warns that a token in clear text can be intercepted and used.
fn warn_of_clear_text(tokens: Option<usize>, listening: &[(Address, ListenerConfig)]) {
    let mut wide = listening.iter().filter(|(address, config)| {
        config.service == Service::Any && config.tls != TlsMode::Required && !address.is_loopback()
    });
    if let (Some(_), Some((address, _))) = (tokens, wide.next()) {
        to_stderr(&format!(
            "warning: tokens sent to {address} without TLS can be read by others on the \
            network: use --tls required"
        ));
    }
}

/// Services that need no token.
const ASKED_FOR_NONE: &str = "/livez, /readyz and listeners for a single service";

fn listening_event(
    address: &Address,
    config: &ListenerConfig,
    fingerprint: Option<Fingerprint>,
) -> serde_json::Value {
    let ListenerConfig { service, allowed, .. } = *config;
    let mut event = json!({ "event": "listening", "addr": address.to_string() });
    if service != Service::Any {
        event["service"] = json!(service.as_str());
        event["udp"] = json!(service.serves_udp() && address.ip().is_some());
        return event;
    }
    if !allowed.detect {
        event["detect"] = json!(false);
    } else if allowed != Allowed::ALL {
        event["only"] = json!(allowed.names().collect::<Vec<_>>());
    }
    if let Some(fingerprint) = fingerprint.filter(|_| speaks_tls(config)) {
        event["fingerprint"] = json!(fingerprint.to_string());
        event["tls"] = json!(match config.tls {
            TlsMode::Required => "required",
            _ => "optional",
        });
    }
    event
}

/// Returns the restrictions of a listener, if any.
fn restriction(address: &Address, config: &ListenerConfig) -> String {
    if config.service != Service::Any {
        let serves_udp = config.service.serves_udp() && address.ip().is_some();
        let udp = if serves_udp { ", TCP and UDP" } else { "" };
        return format!(", {}{udp}", config.service.as_str());
    }
    let allowed = config.allowed;
    if config.tls == TlsMode::Required && speaks_tls(config) {
        return ", TLS only".to_owned();
    }
    match allowed {
        Allowed::ALL => String::new(),
        _ if !allowed.detect => ", raw bytes only (no detection)".to_owned(),
        some => format!(", only {some}"),
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
