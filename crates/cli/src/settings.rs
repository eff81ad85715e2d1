//! Checks of settings, and their conversion to the configuration of a server. Nothing is started
//! here, so `anyport config check` and a reload use it too.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::anyhow;
use anyport_console::choices::SINKS;
use anyport_console::values::word;
use anyport_console::{Engine, Exit, Failure, to_stderr};
use anyport_net::congestion::Congestion;
use anyport_server::{Config, SinkKind, TraceDirectoryError};
use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketType};

use crate::{flags, listen, trust};

/// Checks, as far as possible without starting it, that a server could start with these flags.
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
    check_trace(flags)?;
    if let Ok(Some(excess)) = anyport_server::quota_excess(&config) {
        to_stderr(&format!("warning: uploads will be refused until files are removed: {excess}"));
    }
    Ok(())
}

/// Returns the configuration of the server, without its listeners. Reads the files that flags name.
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
    check_congestion(&flags.performance.congestion)?;
    flags.configure()
}

/// Refuses settings that do not fit together.
fn check_together(flags: &flags::Serve) -> Result<(), Failure> {
    let usage = |error: &str, hint: &str| {
        Err(Failure::new(Exit::Usage, anyhow!("{error}")).with_hint(hint))
    };
    let (files, limits, websocket) = (&flags.files, &flags.limits, &flags.websocket);
    let is_library = websocket.engine == Engine::Library;
    let other = "raise the one or lower the other";
    if files.keep_partial < limits.idle_timeout {
        // The partial file of a paused transfer would look like an abandoned one.
        return usage("--keep-partial must be at least --idle-timeout", other);
    }
    if websocket.deflate && is_library {
        let hint = "leave out --deflate or --engine library";
        return usage("--deflate is not supported by --engine library", hint);
    }
    if files.quota.is_some() && files.sink != SinkKind::File {
        let error = format!("--quota needs --sink file, not {}", word(SINKS, files.sink));
        return usage(&error, "leave out one of them");
    }
    if limits.limit_rate.is_some() && is_library {
        let hint = "leave out --limit-rate or --engine library";
        return usage("--limit-rate is not supported by --engine library", hint);
    }
    if limits.max_unclassified.is_some_and(|count| count > limits.max_conns) {
        return usage("--max-unclassified must be at most --max-conns", other);
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
        Failure::new(Exit::Usage, error).with_hint(anyport_client::congestion_hint())
    })
}

/// Checks the served directory; one that `anyport serve` would create counts as good.
fn check_directory(flags: &flags::Serve) -> Result<(), Failure> {
    let path = &flags.directory;
    let writes = flags.files.sink == SinkKind::File && !flags.access.read_only;
    let cannot = |error: io::Error| {
        Err(Failure { exit: Exit::Usage, ..cannot_serve(path, flags.access.read_only, error) })
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => cannot(io::ErrorKind::NotADirectory.into()),
        Ok(_) if !writes => Ok(()),
        Ok(_) => check_writable(path).or_else(cannot),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !flags.access.read_only => {
            check_writable(above(path)).or_else(cannot)
        }
        Err(error) => cannot(error),
    }
}

/// Checks the directory of traces, if there is one; it need not exist.
///
/// # Errors
/// Traces cannot be written to it.
pub(crate) fn check_trace(flags: &flags::Serve) -> Result<(), Failure> {
    let Some(trace) = &flags.trace else { return Ok(()) };
    let checked = anyport_server::check_trace_directory(trace, &flags.directory);
    checked.map_err(|error| Failure { exit: Exit::Usage, ..cannot_trace(&error) })
}

fn cannot_trace(error: &TraceDirectoryError) -> Failure {
    Failure::from(anyhow!("{error}")).with_hint(error.hint())
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
    if flags.access.read_only {
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
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref()) {
        return cannot_trace(error);
    }
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Arg;

    use super::*;
    use crate::flags::Command;
    use crate::layers;
    use crate::setting::Restart;

    /// The configuration of a server with these flags, if they are valid.
    fn configured(flags: &[String]) -> Option<Config> {
        let line = ["anyport", "serve"].map(str::to_owned).into_iter().chain(flags.iter().cloned());
        let parsed = layers::parse(line.map(OsString::from).collect(), &|_| None).ok()?;
        let Command::Serve(serve) = parsed.flags.command else { panic!() };
        serve.configure().ok()
    }

    #[test]
    fn defaults_of_flags_are_those_of_the_library() {
        let without_flags = configured(&[]).unwrap();
        assert_eq!(format!("{without_flags:?}"), format!("{:?}", Config::new(".")));
    }

    #[test]
    fn settings_of_the_startup_need_a_restart() {
        let program = layers::program();
        let startup = configured(&[]).unwrap().startup;
        let changes_startup = |argument: &&Arg| {
            let possible = argument.get_possible_values();
            let words = possible.iter().map(|value| value.get_name().to_owned());
            let mut flags = words.chain(["7".to_owned()]).map(|value| match argument.get_long() {
                Some(long) if argument.get_action().takes_values() => format!("--{long}={value}"),
                Some(long) => format!("--{long}"),
                None => value,
            });
            flags.any(|flag| configured(&[flag]).is_some_and(|config| config.startup != startup))
        };
        let arguments = layers::keys(&program, "serve");
        let found: Vec<&Arg> = arguments.into_iter().filter(changes_startup).collect();
        assert!(found.iter().all(|argument| argument.get() == Some(&Restart::Always)));
        let found: Vec<String> = found.into_iter().map(layers::key).collect();
        let names = [
            "directory",
            "read-only",
            "upload-only",
            "sink",
            "reactor-threads",
            "bulk-threads",
            "trace",
        ];
        assert_eq!(found, names);
    }
}
