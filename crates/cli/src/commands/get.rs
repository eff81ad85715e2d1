//! `anyport get`.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyport_client::{
    Destination, Error, ErrorKind, GetOptions, Got, Progress, Received, Target, get, get_into,
};
use anyport_console::{Exit, Failure, json_to_stdout, reason, stdout, to_stderr, to_stdout};
use anyport_net::dial::DialError;
use anyport_proto::transfer::download::LeftOut;
use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Outcome;
use anyport_proto::transfer::units::{format_bytes, format_rate, format_resumed};
use anyport_proto::visible::escape_json;
use serde_json::json;

use super::output_file::{Special, leads_to_stdout, open_special, special};
use super::progress;
use crate::output::{digest_text, receipt_line};
use crate::tips::{is_bare, is_port, server_in_one};
use crate::{access, flags};

pub(crate) fn run(flags: &flags::Get, verbose: bool) -> Result<Exit, Failure> {
    if let Some(key) = &flags.pipe {
        return super::pipe::get(flags, key);
    }
    let targets = targets(flags)?;
    let output = output(flags, &targets)?;
    let options = options(flags, &targets)?;
    let bar = progress::bar(flags.quiet, Some(0));
    let resume = match &output {
        Output::Stdout | Output::Special(_) => progress::STARTS_OVER,
        Output::At(_) => progress::RESUMES,
    };
    progress::on_interrupt(&bar, resume)?;
    // Received content goes to stdout, so notices must not.
    let to_stdout_too = output != Output::Stdout;
    let lost = Cell::new(None);
    let mut tell = |progress: Progress<'_>| match progress {
        Progress::Begins(name) => progress::show_name(&bar, Path::new(&name.to_string())),
        Progress::Expect(bytes) => bar.inc_length(bytes),
        Progress::Bytes(count) => bar.inc(count),
        Progress::Got(got) => bar.suspend(|| {
            if let Err(error) = print(flags, verbose, got, to_stdout_too) {
                lost.set(Some(error));
            }
        }),
        Progress::Retrying(error, delay) => bar.suspend(|| retrying(flags, error, delay)),
        Progress::Failed(name, error) => bar.suspend(|| not_received(flags, name, error)),
        Progress::LeftOut(left_out) => bar.suspend(|| not_listed(flags, left_out)),
        Progress::Links(count) => bar.suspend(|| not_followed(flags, count)),
    };
    let done = match &output {
        // The next file would be mistaken for the missing one.
        Output::Stdout => targets
            .iter()
            .try_for_each(|target| get_into(target, &mut stdout(), &options, &mut tell).map(drop)),
        Output::Special(path) => targets.iter().try_for_each(|target| {
            let opened = open_special(path, options.connect.connect_timeout);
            let mut file = opened.map_err(|source| Error::local("open", path, source))?;
            get_into(target, &mut file, &options, &mut tell)?;
            // A block device has a cache; a FIFO and a terminal have nothing to sync.
            anyport_store::disk::sync(&file)
                .map(drop)
                .map_err(|source| Error::local("finish", path, source))
        }),
        Output::At(into) => each(flags, &targets, into, &options, &mut tell),
    };
    bar.finish_and_clear();
    done.map_err(|error| {
        let failure = failed(flags, error);
        // With several hosts the failed one is unknown.
        match targets.split_first() {
            Some((first, others)) if others.iter().all(|other| other.host == first.host) => {
                failure.at(first, &options.connect)
            }
            _ => failure,
        }
    })?;
    match lost.take() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let error = anyhow::anyhow!(error).context(
                "everything was received and verified, but the results cannot be written to stdout",
            );
            Err(Failure::new(Exit::Failed, error))
        }
        _ => Ok(Exit::Done),
    }
}

/// Receives all targets; of several one that cannot be received does not stop the others.
fn each(
    flags: &flags::Get,
    targets: &[Target],
    into: &Destination,
    options: &GetOptions,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    let mut received = Received::default();
    let (mut failures, mut count, mut first) = (0, 0, None);
    for (url, target) in flags.urls.iter().zip(targets) {
        let error = match get(target, into, options, &mut received, tell) {
            Ok(files) => {
                count += usize::try_from(files).unwrap_or(usize::MAX);
                continue;
            }
            Err(error) => error,
        };
        if let &ErrorKind::Some { failed, of, origin, .. } = error.kind() {
            (failures, count) = (failures + failed, count + of);
            first.get_or_insert(origin);
            continue;
        }
        if targets.len() == 1 {
            return Err(error);
        }
        (failures, count) = (failures + 1, count + 1);
        first.get_or_insert_with(|| error.origin());
        to_stderr(&format!("not received: {target}: {}", reason(&error)));
        if let ErrorKind::Dial(DialError::Resolve { .. }) = error.kind()
            && is_bare(url)
        {
            to_stderr(&format!("hint: to write to {url} use -o {url}"));
        }
        if flags.json {
            let _ = json_to_stdout(&failed_event(&error, json!({ "url": target.to_string() })));
        }
    }
    match first {
        Some(origin) => {
            let what = "entries were not received";
            Err(ErrorKind::Some { failed: failures, of: count, what, origin }.into())
        }
        None => Ok(()),
    }
}

fn not_received(flags: &flags::Get, name: &FilePath, error: &Error) {
    to_stderr(&format!("not received: {name}: {}", reason(error)));
    if flags.json {
        let mut about = json!({ "name": name });
        if let Some(raw) = name.raw() {
            about["name_raw"] = raw.into();
        }
        let _ = json_to_stdout(&failed_event(error, about));
    }
}

fn not_listed(flags: &flags::Get, left_out: &LeftOut) {
    let (path, why) = (left_out.shown(), left_out.reason.words());
    to_stderr(&format!("not received: {path}: {why}"));
    if flags.json {
        let _ = json_to_stdout(&left_out_event(left_out));
    }
}

/// An entry that a listing left out, for machines.
pub(super) fn left_out_event(left_out: &LeftOut) -> String {
    let LeftOut { name_raw, reason } = left_out;
    json!({ "event": "left_out", "name_raw": name_raw, "reason": reason }).to_string()
}

fn not_followed(flags: &flags::Get, count: u64) {
    if !flags.quiet {
        let links = if count == 1 { "link was" } else { "links were" };
        to_stderr(&format!(
            "{count} symbolic {links} skipped: the server follows links to files only"
        ));
        to_stderr("hint: anyport send --links follow sends the targets of links");
    }
}

fn failed_event(error: &Error, about: serde_json::Value) -> serde_json::Value {
    crate::output::failed_event(error, error.hint(), error.origin().into(), about)
}

fn retrying(flags: &flags::Get, error: &Error, delay: Duration) {
    if !flags.quiet {
        to_stderr(&format!("{}; retrying in {delay:?}", reason(error)));
    }
}

/// The destination of all files.
#[derive(Debug, PartialEq, Eq)]
enum Output {
    Stdout,
    /// A FIFO or a device, which is written to and never replaced.
    Special(PathBuf),
    At(Destination),
}

/// The failure that `error` is; with `--json` it is an event on stdout too.
fn failed(flags: &flags::Get, error: Error) -> Failure {
    let (exit, hint) = (Exit::from(error.origin()), error.hint());
    if flags.json && !is_stdout(flags) {
        // If the output is closed, the exit code remains.
        let _ = json_to_stdout(&failed_event(&error, json!({})));
    }
    Failure { hint, ..Failure::new(exit, error) }
}

fn targets(flags: &flags::Get) -> Result<Vec<Target>, Failure> {
    // Each alone is a server, the port one of this machine; together they are meant as one.
    if let [host, port] = flags.urls.as_slice()
        && is_bare(host)
        && is_port(port)
    {
        let error = anyhow::anyhow!("{host} and {port} are two servers");
        let failure = Failure::new(Exit::Usage, error);
        return Err(failure.with_hint(format!(
            "{}; a port of this machine is :{port}",
            server_in_one(host, port)
        )));
    }
    let parse = |url: &String| {
        let hint = match url.starts_with(['/', '.']) {
            true => format!("to write to {url} use -o {url}"),
            false => "use a URL such as tcp://HOST:PORT/NAME".to_owned(),
        };
        let target = flags.connection.credential.target(url, &hint)?;
        access::scope(&target)?;
        Ok(target)
    };
    flags.urls.iter().map(parse).collect()
}

fn output(flags: &flags::Get, targets: &[Target]) -> Result<Output, Failure> {
    let usage = |message: &str, hint: &str| {
        Err(Failure::new(Exit::Usage, anyhow::anyhow!("{message}")).with_hint(hint))
    };
    let is_directory = |target: &Target| target.scope().is_ok_and(|scope| scope.is_directory());
    let Some(path) = &flags.output else {
        return Ok(Output::At(Destination::Directory(PathBuf::new())));
    };
    if is_stdout(flags) {
        if targets.iter().any(is_directory) {
            return usage("cannot write a directory to standard output", "use -o DIR/");
        }
        return Ok(Output::Stdout);
    }
    if let Some(what) = special(path) {
        if targets.iter().any(is_directory) {
            return usage("cannot write a directory to a FIFO or device", "use -o DIR/");
        }
        if what == Special::BlockDevice && flags.on_exists != OnExists::Overwrite {
            let error = anyhow::anyhow!("{} is a block device", path.display());
            return Err(Failure::from(error).with_hint("use --on-exists overwrite to write to it"));
        }
        return Ok(Output::Special(path.clone()));
    }
    // As people write directories, whether they are there already or not.
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
        return Ok(Output::At(Destination::Directory(path.clone())));
    }
    if targets.len() > 1 || targets.iter().any(is_directory) {
        return usage(
            "-o names one file, but several may be received",
            "end it with / to name a directory: -o DIR/",
        );
    }
    Ok(Output::At(Destination::File(path.clone())))
}

fn is_stdout(flags: &flags::Get) -> bool {
    flags.output.as_deref().is_some_and(leads_to_stdout)
}

fn options(flags: &flags::Get, targets: &[Target]) -> Result<GetOptions, Failure> {
    let mut options = GetOptions::default();
    options.connect = super::receiving(&flags.connection, targets)?;
    options.digest = flags.digest;
    options.checksum = flags.checksum;
    options.on_exists = flags.on_exists;
    options.permissions = flags.perms;
    options.limit_rate = flags.limit_rate;
    options.retries = flags.retry;
    options.retry_max_time = flags.retry_max_time;
    Ok(options)
}

fn print(flags: &flags::Get, verbose: bool, got: &Got, to_stdout_too: bool) -> io::Result<()> {
    if flags.quiet {
        return Ok(());
    }
    let line = match flags.json {
        true => escape_json(&event(got)).into_owned(),
        false => human(got, verbose),
    };
    if to_stdout_too {
        return to_stdout(&line);
    }
    to_stderr(&line);
    Ok(())
}

fn event(got: &Got) -> String {
    let path = got.path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let mut event = json!({
        "event": "received", "peer": got.peer, "name": got.name, "path": path, "size": got.size,
        "offset": got.offset, "bytes": got.received(), "seconds": rounded(got.seconds),
        "rate": got.rate().map(f64::round), "digest": got.digest,
        "verified": got.verified, "size_told": got.size_announced,
        "already_here": got.outcome != Outcome::Stored, "outcome": got.outcome,
    });
    if let Some(raw) = got.name.raw() {
        event["name_raw"] = raw.into();
    }
    event.to_string()
}

fn human(got: &Got, verbose: bool) -> String {
    let shown = |path: &PathBuf| escaped(path.as_os_str().as_encoded_bytes());
    let path = got.path.as_ref().map_or_else(|| "-".to_owned(), shown);
    if got.outcome != Outcome::Stored {
        let what = format!(" {}: {}", got.outcome.in_words(), format_bytes(got.size));
        return receipt_line(verbose, &path, &what, &[]);
    }
    let (bytes, seconds) = (format_resumed(got.size, got.received()), got.seconds);
    let verified = if got.verified { " and verified" } else { "" };
    let digest = got.digest.map(|digest| digest_text(verbose, &digest));
    let digest = digest.map(|digest| format!(", {digest}")).unwrap_or_default();
    let untold = if got.size_announced { "" } else { ", size not announced" };
    let what = format!(" received{verified}: {bytes} in {seconds:.3} s{untold}{digest}");
    let details: Vec<String> = got.rate().map(format_rate).into_iter().collect();
    receipt_line(verbose, &path, &what, &details)
}

/// As precise as receipts are written.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
