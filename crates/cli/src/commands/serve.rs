//! `anyport serve`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use anyport_proto::detect::Allowed;
use anyport_server::{Config, Listener, ListenerConfig, Server, Service, Snapshot};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::exit::Exit;
use crate::flags;
use crate::layers::Parsed;
use crate::listen::{self, is_loopback};
use crate::output::{Printer, summary_event, to_stderr, to_stdout};
use crate::reload::Reloader;
use crate::settings;

pub(crate) fn run(flags: &flags::Serve, parsed: &Parsed) -> Result<Exit, Failure> {
    let config = settings::config(flags)?;
    let listeners = listen::listen(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (printer, printed) = Printer::start(flags.json);
    let served = runtime.block_on(serve(flags, parsed, config, listeners, printer));
    let summary = served.as_ref().ok().map(|(_, summary)| summary);
    printed.finish(summary.filter(|_| flags.json).map(summary_event));
    if let Some(summary) = summary.filter(|summary| !flags.json && has_served(summary)) {
        to_stderr(&format!("served: {summary}"));
    }
    // After a second signal transfers still run on threads of their own, and nobody wants to wait for them.
    runtime.shutdown_background();
    served.map(|(exit, _)| exit)
}

/// Whether somebody came, so that the summary says something.
const fn has_served(summary: &Snapshot) -> bool {
    summary.connections > 0 || !summary.datagrams.is_empty() || !summary.dropped.is_empty()
}

async fn serve(
    flags: &flags::Serve,
    parsed: &Parsed,
    config: Config,
    listeners: Vec<(usize, Listener)>,
    printer: Printer,
) -> Result<(Exit, Snapshot), Failure> {
    let directory = flags.directory.display().to_string();
    let (groups, listeners): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
    let configs: Vec<_> = listeners.iter().map(|listener| listener.config.clone()).collect();
    let server = Server::new(config, listeners, printer)
        .with_context(|| format!("cannot serve {directory}"))
        .map_err(|error| Failure::from(error).with_hint("DIR must be a directory that exists"))?;
    let addresses = server.addresses().context("cannot ask for our own addresses")?;
    let listening: Vec<_> = addresses.into_iter().zip(configs).collect();
    // Signals are heard from before the first line, as whoever reads it may send one.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot hear SIGHUP")?;
    announce(flags, &listening)?;
    let counters = server.counters();
    let reloader = Reloader::new(server.reload_handle(), flags, parsed, groups);

    let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
    let server = server.run(drain.clone().cancelled_owned(), abort.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    let mut exit = Exit::Done;
    loop {
        exit = tokio::select! {
            () = &mut server => return Ok((exit, counters.snapshot())),
            _ = hang_up.recv() => {
                match block_in_place(|| reloader.reload()) {
                    Ok(changed) => to_stderr(&format!("reloaded: {changed}")),
                    Err(why) => to_stderr(&format!("not reloaded: {why}")),
                }
                continue;
            }
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Done,
        };
        if drain.is_cancelled() {
            to_stderr("stopping at once: transfers that run are interrupted");
            abort.cancel();
        } else {
            to_stderr("stopping: running transfers may finish; once more stops at once");
            drain.cancel();
        }
    }
}

fn announce(
    flags: &flags::Serve,
    listening: &[(SocketAddr, ListenerConfig)],
) -> Result<(), Failure> {
    if flags.json {
        for (address, config) in listening {
            let event = listening_event(*address, config);
            to_stdout(&event.to_string()).context("cannot write to stdout")?;
        }
        return Ok(());
    }
    let directory =
        std::path::absolute(&flags.directory).unwrap_or_else(|_| flags.directory.clone());
    let mut files = listening.iter().filter(|(_, config)| config.service == Service::Any);
    let version = env!("CARGO_PKG_VERSION");
    match files.clone().next() {
        Some(_) => to_stderr(&format!("anyport {version} takes files into {}", show(&directory))),
        None => to_stderr(&format!("anyport {version} takes no files")),
    }
    for (address, config) in listening {
        to_stderr(&format!("  listening on {address}{}", restriction(config)));
    }
    let examples = examples(listening);
    if !examples.is_empty() {
        to_stderr("try, from another terminal:");
    }
    examples.iter().for_each(|example| to_stderr(&format!("  {example}")));
    match listening.first() {
        Some((first, config)) if listening.iter().all(|(address, _)| is_loopback(address)) => {
            let wider = match files.next() {
                Some((first, _)) => format!("--bind 0.0.0.0:{}", first.port()),
                None => {
                    format!("--listen {}://0.0.0.0:{}", config.service.as_str(), first.port())
                }
            };
            to_stderr(&format!(
                "only this machine reaches it; wider: anyport serve --open {wider}"
            ));
        }
        _ if files.all(|(address, _)| is_loopback(address)) => {
            to_stderr("OPEN: whoever reaches these addresses is served");
        }
        _ => to_stderr("OPEN: whoever reaches these addresses may upload, and get what is there"),
    }
    Ok(())
}

fn listening_event(address: SocketAddr, config: &ListenerConfig) -> serde_json::Value {
    let ListenerConfig { service, allowed, .. } = *config;
    let mut event = json!({ "event": "listening", "addr": address.to_string() });
    if service != Service::Any {
        event["service"] = json!(service.as_str());
        event["udp"] = json!(service.takes_datagrams());
        return event;
    }
    if !allowed.detect {
        event["detect"] = json!(false);
    } else if allowed != Allowed::ALL {
        event["only"] = json!(allowed.names().collect::<Vec<_>>());
    }
    event
}

/// What a listener takes or serves, where that is not everything.
fn restriction(config: &ListenerConfig) -> String {
    if config.service != Service::Any {
        let udp = if config.service.takes_datagrams() { ", TCP and UDP" } else { "" };
        return format!(", {}{udp}", config.service.as_str());
    }
    let allowed = config.allowed;
    match allowed {
        Allowed::ALL => String::new(),
        _ if !allowed.detect => ", every byte is raw".to_owned(),
        some => format!(", only {some}"),
    }
}

/// A command for each way in, to the first listener that takes it.
fn examples(listening: &[(SocketAddr, ListenerConfig)]) -> Vec<String> {
    let first = |takes: fn(Allowed) -> bool| {
        let any = listening.iter().filter(|(_, config)| config.service == Service::Any);
        any.clone().find(|(_, config)| takes(config.allowed)).map(|(address, _)| *address)
    };
    let nc = first(|allowed| allowed.raw)
        .map(|address| format!("nc -N {} {} < FILE", reachable_ip(address), address.port()));
    let http = first(|allowed| allowed.http)
        .map(|address| format!("curl -T FILE http://{}/", reachable(address)));
    let ws = first(|allowed| allowed.ws).map(|address| {
        format!("websocat -b -B 1048576 ws://{}/files/NAME < FILE", reachable(address))
    });
    let preface = first(|allowed| allowed.raw && allowed.detect)
        .map(|address| format!("anyport send FILE tcp://{}/", reachable(address)));
    [nc, http, ws, preface].into_iter().flatten().collect()
}

/// `HOST:PORT` as a URL writes it.
fn reachable(address: SocketAddr) -> String {
    let ip = reachable_ip(address);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
    format!("{host}:{}", address.port())
}

/// What to dial: the any-address stands for every name and address of this machine.
fn reachable_ip(address: SocketAddr) -> String {
    match address {
        any if any.ip().is_unspecified() => "HOST".to_owned(),
        other => other.ip().to_string(),
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
