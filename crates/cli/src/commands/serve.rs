//! `anyport serve`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, anyhow};
use anyport_net::listen::{self, ListenError};
use anyport_proto::detect::Allowed;
use anyport_proto::transfer::receipt;
use anyport_server::{Config, Fsync, Server, SinkKind};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::exit::Exit;
use crate::flags;
use crate::output::{Printer, to_stderr, to_stdout};

/// Where a server listens when nobody says otherwise.
const DEFAULT_ADDRESSES: [&str; 2] = ["127.0.0.1:8331", "[::1]:8331"];

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 8331;

pub(crate) fn run(flags: &flags::Serve) -> Result<Exit, Failure> {
    if flags.keep_parts < flags.idle_timeout {
        // The part of a transfer that pauses would look like one that nobody comes back to.
        let error = anyhow!("--keep-parts must be at least --idle-timeout");
        return Err(Failure::new(Exit::Usage, error).with_hint("raise the one or lower the other"));
    }
    if flags.deflate && flags.engine == flags::Engine::Library {
        let error = anyhow!("the library does not compress");
        return Err(
            Failure::new(Exit::Usage, error).with_hint("leave out --deflate or --engine library")
        );
    }
    let listeners = listen(flags)?;
    let config = config(flags);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (printer, printed) = Printer::start(flags.json);
    let exit = runtime.block_on(serve(flags, config, listeners, printer));
    printed.wait();
    // After a second signal transfers still run on threads of their own, and nobody wants to wait for them.
    runtime.shutdown_background();
    exit
}

async fn serve(
    flags: &flags::Serve,
    config: Config,
    listeners: Vec<TcpListener>,
    printer: Printer,
) -> Result<Exit, Failure> {
    let directory = flags.directory.display().to_string();
    let server = Server::new(config, listeners, printer)
        .with_context(|| format!("cannot serve {directory}"))
        .map_err(|error| Failure::from(error).with_hint("DIR must be a directory that exists"))?;
    let addresses = server.addresses().context("cannot ask for our own addresses")?;
    // Signals are heard from before the first line, as whoever reads it may send one.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    announce(flags, &addresses)?;

    let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
    let server = server.run(drain.clone().cancelled_owned(), abort.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    let mut exit = Exit::Done;
    loop {
        exit = tokio::select! {
            () = &mut server => return Ok(exit),
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

fn listen(flags: &flags::Serve) -> Result<Vec<TcpListener>, Failure> {
    let wanted: Vec<String> = if flags.bind.is_empty() {
        DEFAULT_ADDRESSES.map(str::to_owned).to_vec()
    } else {
        flags.bind.iter().map(|address| with_port(address)).collect()
    };
    let mut addresses = Vec::new();
    for wanted in &wanted {
        let found = listen::resolve(wanted).map_err(|error| {
            Failure::new(Exit::Failed, error).with_hint("write --bind HOST:PORT")
        })?;
        addresses.extend(found);
    }
    if let Some(wide) = addresses.iter().find(|address| !is_loopback(address))
        && !flags.open
    {
        return Err(Failure::new(Exit::Usage, anyhow!("{wide} reaches beyond this machine"))
            .with_hint("add --open if whoever reaches it may upload into DIR"));
    }
    let listeners = listen::listen(&addresses).map_err(|error| {
        let hint = match &error {
            ListenError::Bind { address, source } => bind_hint(*address, source),
            _ => None,
        };
        Failure { hint, ..Failure::new(Exit::Failed, error) }
    })?;
    for listener in &listeners {
        flags.congestion.check(listener).map_err(|error| {
            let error = anyhow!(error)
                .context(format!("cannot use congestion control {}", flags.congestion));
            Failure::new(Exit::Usage, error)
                .with_hint("see net.ipv4.tcp_allowed_congestion_control, or use auto")
        })?;
    }
    Ok(listeners)
}

fn bind_hint(address: SocketAddr, error: &std::io::Error) -> Option<String> {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Some(format!("another program listens there; try --bind {}:0", bracketed(address)))
        }
        std::io::ErrorKind::PermissionDenied => {
            Some(format!("ports below 1024 need a right; try --bind {}:8331", bracketed(address)))
        }
        _ => None,
    }
}

fn bracketed(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// `HOST` alone gets the default port; `:PORT` alone is this machine.
fn with_port(address: &str) -> String {
    if let Some(port) = address.strip_prefix(':')
        && port.parse::<u16>().is_ok()
    {
        return format!("localhost:{port}");
    }
    let bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = match address.rsplit_once(']') {
        Some((_, rest)) => rest.starts_with(':'),
        None => address.contains(':'),
    };
    match (bare_v6, has_port) {
        (true, _) => format!("[{address}]:{DEFAULT_PORT}"),
        (false, true) => address.to_owned(),
        (false, false) => format!("{address}:{DEFAULT_PORT}"),
    }
}

fn config(flags: &flags::Serve) -> Config {
    let mut config = Config::new(&flags.directory);
    config.sink = match flags.sink {
        flags::Sink::File => SinkKind::File,
        flags::Sink::Memory => SinkKind::Memory,
        flags::Sink::Discard => SinkKind::Discard,
    };
    config.fsync = match flags.fsync {
        flags::Fsync::File => Fsync::File,
        flags::Fsync::None => Fsync::None,
    };
    config.engine = match flags.engine {
        flags::Engine::Own => receipt::Engine::Own,
        flags::Engine::Library => receipt::Engine::Library,
    };
    config.allowed = match flags.only.as_slice() {
        _ if flags.no_detect => Allowed::UNDETECTED,
        [] => Allowed::ALL,
        only => only.iter().fold(Allowed::NONE, |allowed, name| allowed.allow(*name)),
    };
    config.deflate = flags.deflate;
    config.digest = flags.digest;
    config.max_size = flags.max_size.unwrap_or(config.max_size);
    config.max_memory = flags.max_memory;
    config.max_buffered = flags.max_buffered;
    config.keep_parts = flags.keep_parts;
    config.max_connections = usize::try_from(flags.max_conns).unwrap_or(usize::MAX);
    config.congestion = flags.congestion.clone();
    config.bulk_threads = flags.bulk_threads.map_or(config.bulk_threads, usize::from);
    config.bulk_buffer = flags.bulk_buffer;
    config.timeouts.detect = flags.detect_timeout;
    config.timeouts.handshake = flags.handshake_timeout;
    config.timeouts.idle = flags.idle_timeout;
    config.timeouts.drain = flags.drain_timeout;
    config
}

fn announce(flags: &flags::Serve, addresses: &[SocketAddr]) -> Result<(), Failure> {
    if flags.json {
        for address in addresses {
            let event = json!({ "event": "listening", "addr": address.to_string() });
            to_stdout(&event.to_string()).context("cannot write to stdout")?;
        }
        return Ok(());
    }
    let Some(first) = addresses.first() else { return Ok(()) };
    let (ip, port) = (reachable_ip(*first), first.port());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let directory =
        std::path::absolute(&flags.directory).unwrap_or_else(|_| flags.directory.clone());
    to_stderr(&format!(
        "anyport {} takes files into {}",
        env!("CARGO_PKG_VERSION"),
        show(&directory)
    ));
    for address in addresses {
        to_stderr(&format!("  listening on {address}"));
    }
    to_stderr("try, from another terminal:");
    to_stderr(&format!("  nc -N {ip} {port} < FILE"));
    to_stderr(&format!("  websocat -b -B 1048576 ws://{host}:{port}/files/NAME < FILE"));
    to_stderr(&format!("  anyport send FILE tcp://{host}:{port}/"));
    if addresses.iter().all(is_loopback) {
        to_stderr(&format!(
            "only this machine reaches it; wider: anyport serve --open --bind 0.0.0.0:{port}"
        ));
    } else {
        to_stderr("OPEN: whoever reaches these addresses may upload");
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_default_port() {
        for (written, meant) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost", "localhost:8331"),
            (":9000", "localhost:9000"),
            ("::1", "[::1]:8331"),
            ("[::1]", "[::1]:8331"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(with_port(written), meant);
        }
    }

    #[test]
    fn loopback_is_told_from_the_world() {
        for (address, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(is_loopback(&address.parse().unwrap()), loopback, "{address}");
        }
    }
}
