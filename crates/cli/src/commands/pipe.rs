//! `anyport send --pipe` and `anyport get --pipe`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::Context;
use anyport_client::{Error, ErrorKind, Scheme, Scope, Source, Target, give, take, take_into};
use anyport_console::{Exit, Failure, json_to_stdout, stdout, to_stderr, to_stdout};
use anyport_proto::pipe::{Give, PipeKey};
use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::escape_json;
use serde_json::json;

use super::output_file::{Special, leads_to_stdout, open_special, special};
use super::progress;
use crate::access::Credential;
use crate::flags;

/// Sends one file into a pipe.
pub(crate) fn send(flags: &flags::Send, key: &PipeKey) -> Result<Exit, Failure> {
    let target = target(&flags.target, &flags.credential)?;
    let [file] = flags.files.as_slice() else {
        return Err(usage(
            "--pipe sends exactly one file",
            "tar c FILE… | anyport send - TARGET --pipe KEY",
        ));
    };
    if file.is_dir() {
        let file = file.display();
        let hint = format!("tar c {file} | anyport send - {} --pipe {key}", flags.target);
        return Err(usage(&format!("--pipe sends one file, {file} is a directory"), &hint));
    }
    let source = Source::new(file).map_err(|error| Failure::new(Exit::Failed, error))?;
    let options = super::connecting_to_send(flags, &target)?;
    let receivers = usize::from(flags.receivers);
    let wanted = Give { key: key.clone(), size: None, receivers };
    let bar = progress::bar(flags.quiet, source.size());
    progress::show_name(&bar, source.path());
    progress::on_interrupt(&bar, AGAIN)?;
    note_wait(flags.quiet, "receiver", key);
    let given = give(&target, &wanted, &source, &options, &|bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let (peer, piped) = given.map_err(|error| {
        let hint = hint_of(&error);
        Failure { hint, ..Failure::new(error.origin().into(), error) }.at(&target, &options)
    })?;
    if flags.json {
        let event = json!({
            "event": "piped", "peer": peer, "key": key.as_str(), "bytes": piped.bytes,
            "seconds": piped.seconds, "receivers": piped.receivers, "gone": piped.gone,
        });
        unless_closed(json_to_stdout(&event))?;
    } else if !flags.quiet {
        unless_closed(to_stdout(&format!("{}, no digest", piped.human_line())))?;
    }
    Ok(Exit::Done)
}

/// Receives from a pipe.
pub(crate) fn get(flags: &flags::Get, key: &PipeKey) -> Result<Exit, Failure> {
    let [url] = flags.urls.as_slice() else {
        return Err(usage(
            "--pipe needs exactly one server",
            "anyport get HOST:PORT --pipe KEY -o FILE",
        ));
    };
    let target = target(url, &flags.connection.credential)?;
    let options = super::receiving(&flags.connection, slice::from_ref(&target))?;
    let is_stdout = flags.output.as_deref().is_some_and(leads_to_stdout);
    let special = flags.output.as_deref().filter(|path| special(path) == Some(Special::Stream));
    note_wait(flags.quiet, "sender", key);
    let taken = if is_stdout {
        take_into(&target, key, &mut stdout(), &options)
    } else if let Some(path) = special {
        let file = open_special(path, options.connect_timeout);
        let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
        take_into(&target, key, &mut file, &options)
    } else {
        take(&target, key, &path(flags.output.as_deref(), key), flags.on_exists, &options)
    };
    let taken = taken.map_err(|error| {
        let hint = hint_of(&error);
        Failure { hint, ..Failure::new(error.origin().into(), error) }.at(&target, &options)
    })?;
    let path = taken.path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let line = if flags.json {
        let event = json!({
            "event": "taken", "peer": taken.peer, "key": key.as_str(), "path": path,
            "bytes": taken.bytes, "seconds": taken.seconds,
        });
        escape_json(&event.to_string()).into_owned()
    } else {
        let path = path.as_deref().unwrap_or("-");
        let (bytes, seconds) = (format_bytes(taken.bytes), taken.seconds);
        format!("received {path}: {bytes} in {seconds:.3} s, no digest")
    };
    if flags.quiet {
        return Ok(Exit::Done);
    }
    if is_stdout {
        to_stderr(&line);
    } else {
        unless_closed(to_stdout(&line))?;
    }
    Ok(Exit::Done)
}

/// Prints on a terminal that the command waits for the other side.
fn note_wait(quiet: bool, other: &str, key: &PipeKey) {
    if !quiet && io::stderr().is_terminal() {
        to_stderr(&format!("waiting for the {other} of pipe {key}"));
    }
}

/// Returns the server of `url`, which must have no path.
fn target(url: &str, credential: &Credential) -> Result<Target, Failure> {
    let target = credential.target(url, "a server is HOST:PORT")?;
    if target.scheme != Scheme::Tcp {
        let error = format!("pipes are not supported over {}://", target.scheme_name());
        let tcp = Target { scheme: Scheme::Tcp, path: "/".to_owned(), ..target };
        return Err(usage(&error, &format!("use {tcp}")));
    }
    if target.scope() != Ok(Scope::Top) {
        return Err(usage("with --pipe the target is HOST:PORT, without a path", "HOST:PORT"));
    }
    Ok(target)
}

/// Returns the path for the received file; its default name is the key.
fn path(output: Option<&Path>, key: &PipeKey) -> PathBuf {
    match output {
        None => PathBuf::from(key.as_str()),
        Some(path) if path.is_dir() => path.join(key.as_str()),
        Some(path) => path.to_owned(),
    }
}

/// Returns the error of an output, except that its reader has closed it.
fn unless_closed(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let error = anyhow::anyhow!(error)
                .context("the transfer is complete, but the result cannot be written to stdout");
            Err(Failure::new(Exit::Failed, error))
        }
        _ => Ok(()),
    }
}

fn usage(message: &str, hint: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow::anyhow!("{message}")).with_hint(hint)
}

/// Returns the hint for an error, where pipes differ from files.
fn hint_of(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::Lost(_) => Some(AGAIN.to_owned()),
        _ => error.hint(),
    }
}

const AGAIN: &str = "pipes cannot resume: run both commands again";
