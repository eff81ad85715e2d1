//! From flags to what a server is told. Nothing is begun here, so that `anyport config check` and a
//! reload may ask too.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::anyhow;
use anyport_console::{Exit, Failure, to_stderr};
use anyport_net::congestion::Congestion;
use anyport_proto::transfer::receipt;
use anyport_server::{Config, Fsync, SinkKind, SlowReader};
use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketType};

use crate::{flags, listen, trust};

/// Whether a server could start with these flags, as far as that can be said without starting it.
///
/// # Errors
/// The first thing that is in the way.
pub(crate) fn check(flags: &flags::Serve) -> Result<(), Failure> {
    let config = without_identity(flags)?;
    flags.background.check()?;
    trust::check(&flags.tls)?;
    listen::check(flags, &[])?;
    refuse_address(flags)?;
    check_directory(flags)?;
    if let Ok(Some(excess)) = anyport_server::quota_excess(&config) {
        to_stderr(&format!("warning: uploads will be refused until files are removed: {excess}"));
    }
    Ok(())
}

/// What a server is told, apart from its listeners. Reads what flags name: a reload asks again.
///
/// # Errors
/// Flags that do not go together.
pub(crate) fn config(flags: &flags::Serve) -> Result<Config, Failure> {
    let mut config = without_identity(flags)?;
    config.tls = trust::server(&flags.tls)?;
    Ok(config)
}

fn without_identity(flags: &flags::Serve) -> Result<Config, Failure> {
    check_together(flags)?;
    check_congestion(&flags.congestion)?;
    let mut config = Config::new(&flags.directory);
    config.file_access = flags.file_access();
    config.sink = match flags.sink {
        anyport_console::Sink::File => SinkKind::File,
        anyport_console::Sink::Memory => SinkKind::Memory,
        anyport_console::Sink::Discard => SinkKind::Discard,
    };
    config.fsync = match flags.fsync {
        anyport_console::Fsync::File => Fsync::File,
        anyport_console::Fsync::None => Fsync::None,
    };
    config.engine = match flags.engine {
        anyport_console::Engine::Own => receipt::Engine::Own,
        anyport_console::Engine::Library => receipt::Engine::Library,
    };
    config.deflate = flags.deflate;
    config.allowed_origins.clone_from(&flags.allow_origin);
    config.digest = flags.digest;
    config.on_exists = flags.on_exists;
    config.max_size = flags.max_size.unwrap_or(config.max_size);
    config.quota = flags.quota;
    config.max_entries = flags.max_entries;
    config.max_partial = usize::try_from(flags.max_partial).unwrap_or(usize::MAX);
    config.max_partial_bytes = flags.max_partial_bytes;
    config.perms = flags.perms;
    config.limit_rate = flags.limit_rate;
    config.max_memory = flags.max_memory;
    config.max_buffered = flags.max_buffered;
    if let Some(greeting) = &flags.greeting {
        config.greeting = greeting.clone();
    }
    config.keep_partial = flags.keep_partial;
    config.max_connections = usize::try_from(flags.max_conns).unwrap_or(usize::MAX);
    config.max_per_address = match flags.max_conns_per_ip {
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => config.max_per_address.min(config.max_connections),
    };
    config.counts_loopback = flags.max_conns_per_ip.is_some();
    config.max_unclassified = match flags.max_unclassified {
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => config.max_unclassified.min(config.max_connections),
    };
    config.max_streams = flags.max_streams;
    config.congestion = flags.congestion.clone();
    config.bulk_threads = flags.bulk_threads.map_or(config.bulk_threads, usize::from);
    config.bulk_buffer = flags.bulk_buffer;
    config.reactor_threads = flags.reactor_threads.map_or(config.reactor_threads, usize::from);
    config.rooms.rooms = usize::try_from(flags.max_rooms).unwrap_or(usize::MAX);
    config.rooms.rate = Some(flags.room_rate).filter(|rate| *rate > 0);
    config.rooms.history = usize::try_from(flags.room_history).unwrap_or(usize::MAX);
    config.rooms.queue = flags.room_queue;
    config.rooms.slow_reader = match flags.slow_reader {
        flags::SlowReader::Drop => SlowReader::Drop,
        flags::SlowReader::Close => SlowReader::Close,
    };
    config.pipes.pipes = usize::try_from(flags.max_pipes).unwrap_or(usize::MAX);
    config.pipes.wait = flags.pipe_wait;
    config.limits.room_message = flags.room_message;
    config.timeouts.handshake = flags.handshake_timeout;
    config.timeouts.message = flags.message_timeout;
    config.timeouts.idle = flags.idle_timeout;
    config.timeouts.drain = flags.drain_timeout;
    flags.access.configure(&mut config)?;
    Ok(config)
}

/// Whether flags go together.
fn check_together(flags: &flags::Serve) -> Result<(), Failure> {
    if flags.keep_partial < flags.idle_timeout {
        // The part of a transfer that pauses would look like one that nobody comes back to.
        let error = anyhow!("--keep-partial must be at least --idle-timeout");
        return Err(Failure::new(Exit::Usage, error).with_hint("raise the one or lower the other"));
    }
    if flags.deflate && flags.engine == anyport_console::Engine::Library {
        let error = anyhow!("--deflate is not supported by --engine library");
        return Err(
            Failure::new(Exit::Usage, error).with_hint("leave out --deflate or --engine library")
        );
    }
    if flags.quota.is_some() && flags.sink != anyport_console::Sink::File {
        let error = anyhow!("--quota needs --sink file, not {}", flags.sink.as_str());
        return Err(Failure::new(Exit::Usage, error).with_hint("leave out one of them"));
    }
    if flags.limit_rate.is_some() && flags.engine == anyport_console::Engine::Library {
        let error = anyhow!("--limit-rate is not supported by --engine library");
        return Err(Failure::new(Exit::Usage, error)
            .with_hint("leave out --limit-rate or --engine library"));
    }
    if flags.max_unclassified.is_some_and(|undecided| undecided > flags.max_conns) {
        let error = anyhow!("--max-unclassified must be at most --max-conns");
        return Err(Failure::new(Exit::Usage, error).with_hint("raise the one or lower the other"));
    }
    Ok(())
}

/// Asked with a socket that is connected to nothing.
fn check_congestion(congestion: &Congestion) -> Result<(), Failure> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let socket =
        socket.map_err(|error| Failure::from(anyhow!("cannot create a socket: {error}")))?;
    congestion.check(&socket).map_err(|error| {
        let error = anyhow!(error).context(format!("cannot use congestion control {congestion}"));
        Failure::new(Exit::Usage, error).with_hint(anyport_net::congestion::HINT)
    })
}

/// Checks the served directory; one that `anyport serve` would create counts as good.
fn check_directory(flags: &flags::Serve) -> Result<(), Failure> {
    let path = &flags.directory;
    let writes = flags.sink == anyport_console::Sink::File && !flags.read_only;
    let cannot = |error: io::Error| {
        Err(Failure { exit: Exit::Usage, ..cannot_serve(path, flags.read_only, error) })
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => cannot(io::ErrorKind::NotADirectory.into()),
        Ok(_) if !writes => Ok(()),
        Ok(_) => check_writable(path).or_else(cannot),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !flags.read_only => {
            check_writable(above(path)).or_else(cannot)
        }
        Err(error) => cannot(error),
    }
}

fn check_writable(path: &Path) -> io::Result<()> {
    rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

/// The directory that holds `path`.
fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Refuses a directory that does not exist and has the form of an address, as `serve 8080` would
/// create it and listen elsewhere.
pub(crate) fn refuse_address(flags: &flags::Serve) -> Result<(), Failure> {
    let path = &flags.directory;
    let Some(name) = path.to_str().filter(|_| !path.exists()) else { return Ok(()) };
    let bind = name.trim_start_matches(':');
    let port = bind.strip_prefix("localhost:").unwrap_or(bind);
    if port.parse::<u16>().is_err() && name.parse::<SocketAddr>().is_err() {
        return Ok(());
    }
    let error = anyhow!("{name} is not a directory, it looks like an address");
    let failure = Failure::new(Exit::Usage, error);
    Err(failure.with_hint(format!("to listen there: --bind {bind}; for a directory: ./{name}")))
}

/// Creates the served directory if only its last component is missing. Returns whether it did.
///
/// # Errors
/// The directory cannot be created.
pub(crate) fn create_directory(flags: &flags::Serve) -> Result<bool, Failure> {
    let path = &flags.directory;
    // A reader of a directory that does not exist has mistyped its name.
    if flags.read_only {
        return Ok(false);
    }
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) if path.exists() => Ok(false),
        Err(error) => {
            let what = format!("cannot create {}", path.display());
            let failure = Failure::from(anyhow::Error::new(error).context(what));
            Err(failure.with_hint("the parent directory of DIR must exist and be writable"))
        }
    }
}

/// The error for a directory that cannot be served.
pub(crate) fn cannot_serve(path: &Path, read_only: bool, error: io::Error) -> Failure {
    let unwritable =
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    if path.is_file() {
        let error = anyhow!("{} is a file, DIR must be a directory", path.display());
        let hint = format!("to send it: anyport send {} HOST", path.display());
        return Failure::from(error).with_hint(hint);
    }
    let hint = match (unwritable, read_only) {
        (true, false) => "DIR is not writable; --read-only serves it without uploads",
        (false, true) => "--read-only does not create DIR: it must be an existing directory",
        _ => "DIR must be an existing directory",
    };
    let what = format!("cannot serve {}", path.display());
    Failure::from(anyhow::Error::new(error).context(what)).with_hint(hint)
}
