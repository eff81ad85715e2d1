//! `anyport send`.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyport_client::{
    Engine, Error, ErrorKind, ErrorOrigin, Found, Observer, Options, Scheme, Scope, Sent, Source,
    Target, send,
};
use anyport_console::{Exit, Failure, json_to_stdout, reason, to_stderr, to_stdout, write_stdout};
use anyport_net::dial::DialError;
use anyport_proto::setting::{ON_EXISTS, PERMS};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::{self, Outcome, Receipt};
use anyport_proto::transfer::units::{format_bytes, format_rate, format_resumed};
use anyport_proto::visible::make_visible;
use indicatif::ProgressBar;
use serde_json::json;

use super::progress;
use crate::output::{digest_text, failed_event, receipt_line};
use crate::tips::{is_bare, is_port, server_in_one};
use crate::{access, flags};

pub(crate) fn run(flags: &flags::Send, verbose: bool) -> Result<Exit, Failure> {
    refuse_separate_port(flags)?;
    refuse_swapped(flags)?;
    if let Some(key) = &flags.pipe {
        return super::pipe::send(flags, key);
    }
    let missing_url = Path::new(&flags.target).exists().then(|| {
        format!("{} is a local file; the last argument is the URL of the server", flags.target)
    });
    let hint =
        missing_url.as_deref().unwrap_or("the last argument is the URL of the server: HOST:PORT");
    let target = flags.credential.target(&flags.target, hint)?;
    let options = options(flags, &target)?;
    let Found { sources, links, failed } = collect(flags)?;
    check_names(flags, &target, &sources)?;
    for error in &failed {
        not_sent(flags, error.path(), error, None, Exit::Failed);
    }
    let reporter = Reporter::new(flags, verbose, &sources);
    progress::on_interrupt(&reporter.bar, after_interrupt(flags, &target))?;
    let done = send(&sources, &target, &options, &reporter);
    reporter.bar.finish_and_clear();
    skipped(flags, links);
    let done = with_failed(done, failed.len(), sources.len());
    done.map_err(|error: Error| {
        let hint = match error.kind() {
            ErrorKind::Dial(_) if missing_url.is_some() => missing_url.clone(),
            // `send a.txt b.txt`
            ErrorKind::Dial(DialError::Resolve { .. }) if is_bare(&flags.target) => error
                .hint()
                .map(|hint| format!("the last argument is the URL of the server; {hint}")),
            _ => error.hint(),
        };
        let exit = error.origin().into();
        if flags.json {
            let _ = json_to_stdout(&failed_event(&error, hint.clone(), exit, json!({})));
        }
        Failure { hint, ..Failure::new(exit, error) }.at(&target, &options.connect)
    })?;
    let lost = reporter.print_error.take();
    match lost {
        Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let error = anyhow::anyhow!(error);
            let error = error.context(
                "everything was sent and verified, but the receipts cannot be written to stdout",
            );
            Err(Failure::new(Exit::Failed, error))
        }
        _ => Ok(Exit::Done),
    }
}

/// Refuses a separate port argument, as in nc (`send FILE HOST PORT`) and ssh (`send -p PORT FILE
/// HOST`). A port alone means a server on this machine, so HOST would be taken for a file.
fn refuse_separate_port(flags: &flags::Send) -> Result<(), Failure> {
    let typed: Vec<_> = flags.files.iter().map(|file| file.to_string_lossy()).collect();
    let (host, port, missing) = match typed.as_slice() {
        [_, .., host] if is_port(&flags.target) => (&**host, &*flags.target, host),
        [port, _, ..] if flags.perms && is_port(port) => (&*flags.target, &**port, port),
        _ => return Ok(()),
    };
    if !is_bare(host) || &**missing == "-" || Path::new(&**missing).exists() {
        return Ok(());
    }
    let error = anyhow::anyhow!("there is no file {missing}");
    let perms = if missing == host { "" } else { "-p keeps permissions; " };
    let hint = format!("{perms}if {host} is the server, {}", server_in_one(host, port));
    Err(Failure::new(Exit::Usage, error).with_hint(hint))
}

/// Refuses `send URL FILE`.
fn refuse_swapped(flags: &flags::Send) -> Result<(), Failure> {
    let [url] = flags.files.as_slice() else { return Ok(()) };
    let url = url.to_string_lossy();
    if Path::new(&*url).exists() || !Path::new(&flags.target).exists() || is_bare(&url) {
        return Ok(());
    }
    if url.parse::<Target>().is_err() {
        return Ok(());
    }
    let error = anyhow::anyhow!("there is no file {url}");
    let hint = format!("the URL comes last: anyport send {} {url}", flags.target);
    Err(Failure::new(Exit::Usage, error).with_hint(hint))
}

/// Returns the message for a user who pressed Ctrl-C.
fn after_interrupt(flags: &flags::Send, target: &Target) -> &'static str {
    let is_stdin = flags.files.iter().any(|file| file == Path::new("-"));
    if flags.plain || flags.no_resume || is_stdin {
        progress::STARTS_OVER
    } else if target.scheme == Scheme::Http {
        progress::MAY_RESUME
    } else {
        progress::RESUMES
    }
}

/// Collects the files to send from the arguments, directories included.
fn collect(flags: &flags::Send) -> Result<Found, Failure> {
    let links = flags.links;
    let mut all = Found::default();
    for file in &flags.files {
        all.add(file, links);
    }
    // A single file fails with its own error.
    if all.sources.is_empty()
        && all.links == 0
        && let [error] = &all.failed[..]
    {
        if flags.json {
            let _ = json_to_stdout(&failed_event(error, None, Exit::Failed, json!({})));
        }
        return Err(Failure::new(Exit::Failed, all.failed.remove(0)));
    }
    if flags.plain && all.sources.iter().any(|source| source.name().is_some_and(has_directory)) {
        let error = anyhow::anyhow!("--plain sends no names, so it cannot send directories");
        return Err(Failure::new(Exit::Usage, error).with_hint("leave out --plain"));
    }
    Ok(all)
}

/// Returns the result of the command: `failed` files were unreadable, `of` were to be sent.
fn with_failed(done: Result<(), Error>, failed: usize, of: usize) -> Result<(), Error> {
    let (more, origin) = match done.as_ref().map_err(Error::kind) {
        Ok(()) => (0, ErrorOrigin::Local),
        Err(&ErrorKind::Some { failed, origin, .. }) => (failed, origin),
        Err(_) => return done,
    };
    if failed + more == 0 {
        return Ok(());
    }
    let origin = if failed > 0 { ErrorOrigin::Local } else { origin };
    let what = "files were not sent";
    Err(ErrorKind::Some { failed: failed + more, of: of + failed, what, origin }.into())
}

fn skipped(flags: &flags::Send, links: u64) {
    if links > 0 && !flags.quiet {
        let words = if links == 1 { "link was" } else { "links were" };
        to_stderr(&format!("{links} symbolic {words} skipped"));
        to_stderr("hint: use --links follow to send their targets");
    }
}

fn not_sent(
    flags: &flags::Send,
    path: &Path,
    error: &dyn std::error::Error,
    hint: Option<String>,
    exit: Exit,
) {
    let file = escaped(path.as_os_str().as_encoded_bytes());
    to_stderr(&format!("not sent: {file}: {}", reason(error)));
    if let Some(hint) = &hint {
        to_stderr(&format!("hint: {hint}"));
    }
    if flags.json {
        let _ = json_to_stdout(&failed_event(error, hint, exit, json!({ "file": file })));
    }
}

/// Returns whether a name has directories.
fn has_directory(name: &OsStr) -> bool {
    name.as_encoded_bytes().contains(&b'/')
}

fn check_names(flags: &flags::Send, target: &Target, sources: &[Source]) -> Result<(), Failure> {
    let scope = access::scope(target)?;
    let is_one = |source: &Source| !source.name().is_some_and(has_directory);
    let one = flags.files.len() == 1 && sources.iter().all(is_one);
    if matches!(scope, Scope::File(_)) && !one {
        let error = match flags.files.as_slice() {
            [only] => {
                anyhow::anyhow!("{} is a directory, but the URL names a file", only.display())
            }
            _ => anyhow::anyhow!("the URL names one file, but several are given"),
        };
        let hint = format!("end the URL with /: {target}/");
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    Ok(())
}

/// Reports progress: a bar on stderr, receipts on stdout.
struct Reporter<'a> {
    flags: &'a flags::Send,
    verbose: bool,
    bar: ProgressBar,
    /// Total size of the files that were sent.
    before: Cell<u64>,
    /// Whether the hint for a server that does not answer was printed.
    hinted: Cell<bool>,
    /// The first error of printing a receipt.
    print_error: Cell<Option<std::io::Error>>,
}

impl<'a> Reporter<'a> {
    fn new(flags: &'a flags::Send, verbose: bool, sources: &[Source]) -> Self {
        let bar = progress::bar(flags.quiet, sources.iter().map(Source::size).sum());
        Self {
            flags,
            verbose,
            bar,
            before: Cell::new(0),
            hinted: Cell::new(false),
            print_error: Cell::new(None),
        }
    }
}

impl Observer for Reporter<'_> {
    fn begins(&self, source: &Source) {
        progress::show_name(&self.bar, source.path());
    }

    fn position(&self, bytes: u64) {
        self.bar.set_position(self.before.get() + bytes);
    }

    fn sent(&self, sent: Sent) {
        self.before.set(self.before.get() + sent.bytes);
        self.bar.set_position(self.before.get());
        // Hide the bar while a receipt is printed.
        self.bar.suspend(|| {
            note_new_name(self.flags, &sent);
            if let Err(error) = print(self.flags, self.verbose, &sent) {
                let first = self.print_error.take().unwrap_or(error);
                self.print_error.set(Some(first));
            }
        });
    }

    fn failed(&self, source: &Source, error: &Error) {
        let exit = error.origin().into();
        self.bar.suspend(|| not_sent(self.flags, source.path(), error, error.hint(), exit));
    }

    fn retrying(&self, error: &Error, delay: Duration) {
        if self.flags.quiet {
            return;
        }
        let reason = reason(error);
        // A server of another protocol never answers, so the hint does not wait for the last retry.
        let hint = error.hint().filter(|_| error.is_timeout() && !self.hinted.replace(true));
        self.bar.suspend(|| {
            to_stderr(&format!("{reason}; retrying in {delay:?}"));
            if let Some(hint) = hint {
                to_stderr(&format!("hint: {hint}"));
            }
        });
    }
}

fn options(flags: &flags::Send, target: &Target) -> Result<Options, Failure> {
    let usage = |message: &str, hint: &str| {
        Err(Failure::new(Exit::Usage, anyhow::anyhow!("{message}")).with_hint(hint))
    };
    if flags.plain && target.scheme != Scheme::Tcp {
        return usage("--plain is supported over tcp:// only", "leave out --plain");
    }
    if flags.plain && target.scope().is_ok_and(|scope| scope != Scope::Top) {
        return usage("--plain sends no name, but the target has one", "use tcp://HOST:PORT/");
    }
    if flags.plain && flags.files.iter().any(|file| is_empty(file)) {
        return usage("--plain cannot send an empty file", "leave out --plain");
    }
    if flags.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return usage("standard input (-) is given more than once", "leave out the second -");
    }
    if flags.engine == receipt::Engine::Library && target.scheme != Scheme::Ws {
        return usage("--engine library supports ws:// and wss:// only", "use ws://HOST:PORT/");
    }
    if flags.deflate && target.scheme != Scheme::Ws {
        return usage("--deflate is supported over ws:// and wss:// only", "use ws://HOST:PORT/");
    }
    if flags.deflate && flags.engine == receipt::Engine::Library {
        return usage(
            "--deflate is not supported by --engine library",
            "leave out --deflate or --engine library",
        );
    }
    if flags.checksum && flags.digest == Algorithm::None {
        return usage("--checksum needs a digest, but --digest is none", "leave out --digest none");
    }
    if target.scheme == Scheme::Http {
        let unsupported = match flags.on_exists {
            Some(policy @ (OnExists::Rename | OnExists::Overwrite)) => {
                Some(ErrorKind::NoWords(ON_EXISTS, Some(policy.as_str())))
            }
            _ if flags.perms => Some(ErrorKind::NoWords(PERMS, None)),
            _ => None,
        };
        if let Some(kind) = unsupported {
            let error = Error::from(kind);
            return usage(&error.to_string(), &error.hint().unwrap_or_default());
        }
    }
    let mut options = Options::default();
    options.plain = flags.plain;
    options.engine = match flags.engine {
        #[cfg(feature = "library-engine")]
        receipt::Engine::Library => Engine::Library,
        _ => Engine::Own,
    };
    options.frame_size = flags.frame_size;
    options.deflate = flags.deflate;
    options.digest = flags.digest;
    options.resume = !flags.no_resume;
    options.times = !flags.no_times;
    options.checksum = flags.checksum;
    options.permissions = flags.perms;
    options.on_exists = flags.on_exists;
    options.limit_rate = flags.limit_rate;
    options.retries = flags.retry;
    options.retry_max_time = flags.retry_max_time;
    options.connect = super::connecting_to_send(flags, target)?;
    Ok(options)
}

/// Returns whether a regular file is empty, which its size alone does not show: files of `/proc`
/// have size 0.
fn is_empty(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
        && File::open(file).is_ok_and(is_at_end)
}

/// Returns whether nothing can be read from `input`. One read suffices, as the file may be endless.
fn is_at_end(mut input: impl Read) -> bool {
    input.read(&mut [0; PAGE]).is_ok_and(|count| count == 0)
}

/// Size of that read: `/proc/PID/pagemap` and others can be read in whole records only.
const PAGE: usize = 4096;

/// Reports that a file has another name on the server.
fn note_new_name(flags: &flags::Send, sent: &Sent) {
    let stored = sent.receipt.as_ref().and_then(Receipt::stored);
    if let (Some(asked), Some(stored), false) = (&sent.changed_from, stored, flags.quiet) {
        to_stderr(&format!("note: {asked} is stored under another name: {stored}"));
    }
}

fn print(flags: &flags::Send, verbose: bool, sent: &Sent) -> std::io::Result<()> {
    if flags.quiet {
        return Ok(());
    }
    if let Some(template) = &flags.write_out {
        return write_stdout(&template.fill(sent));
    }
    let Some(receipt) = &sent.receipt else {
        let (bytes, peer) = (sent.bytes, sent.peer);
        to_stderr(&format!("sent {bytes} bytes to {peer}; it sends no receipt"));
        return Ok(());
    };
    if flags.json {
        return json_to_stdout(&event(receipt, sent));
    }
    // The size was compared, and the digest if both sides computed the same one.
    let ours = sent.digest.map(|digest| digest.algorithm());
    let theirs = receipt.digest.map(|digest| digest.algorithm());
    let verified = if ours.is_some() && ours == theirs { " and verified" } else { "" };
    let (bytes, seconds) = (receipt.bytes, receipt.seconds);
    let outcome = receipt.outcome();
    let path = receipt.path.clone();
    let path = path.map(|path| receipt.stored().map_or(path, |path| path.to_string()));
    let (name, done) = match &path {
        Some(path) => (make_visible(path), outcome.in_words()),
        None => (Cow::Borrowed("content"), "received and not stored"),
    };
    if receipt.path.is_some() && outcome != Outcome::Stored {
        let what = format!(" {done}: {}", format_bytes(bytes));
        return to_stdout(&receipt_line(verbose, &name, &what, &[]));
    }
    let bytes = match sent.grown {
        true => format!("first {} (the file has grown)", format_bytes(bytes)),
        false => format_resumed(bytes, bytes.saturating_sub(receipt.resumed)),
    };
    let digest = receipt.digest.map(|digest| digest_text(verbose, &digest));
    let digest = digest.map(|digest| format!(", {digest}")).unwrap_or_default();
    let what = format!(" {done}{verified}: {bytes} in {seconds:.3} s{digest}");
    if ours.is_some() && theirs.is_some() && ours != theirs {
        to_stderr("note: digests not compared: the server used another algorithm");
    }
    let details: Vec<String> = receipt.rate().map(format_rate).into_iter().collect();
    to_stdout(&receipt_line(verbose, &name, &what, &details))?;
    if let Some(found) = &sent.diagnosis {
        let percent = found.share.unwrap_or_default() * 100.0;
        to_stderr(&format!("bottleneck: {}, {percent:.0} % of the time", found.main));
    }
    Ok(())
}

/// Returns the receipt as JSON, with the sender's TCP statistics.
fn event(receipt: &Receipt, sent: &Sent) -> serde_json::Value {
    let mut event = json!({ "event": "receipt" });
    if let (Some(event), Ok(serde_json::Value::Object(receipt))) =
        (event.as_object_mut(), serde_json::to_value(receipt))
    {
        event.extend(receipt);
    }
    event["sender"] = json!({ "congestion": sent.congestion, "tcp": sent.tcp });
    if sent.grown {
        event["grown"] = true.into();
    }
    if let Some(found) = &sent.diagnosis {
        event["bottleneck"] = sent.bottleneck().into();
        let share = found.share.unwrap_or_default();
        event["bottleneck_share"] = ((share * 1000.0).round() / 1000.0).into();
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_shows_whether_an_endless_file_is_empty() {
        assert!(!is_at_end(std::io::repeat(0)));
        assert!(is_at_end(std::io::empty()));
    }
}
