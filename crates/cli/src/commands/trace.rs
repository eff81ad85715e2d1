//! `anyport trace`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use anyport_client::{CAPTURE_HINT, Capture, HEADERS, MAX_SNAPLEN};
use anyport_console::{Exit, Failure, reason, stdout, to_stderr};
use anyport_net::waiting::Waiting;
use anyport_trace::render::{self, TextOptions};
use anyport_trace::{
    Basis, Diagnosis, Ended, Header, Limit, Limits, PcapWriter, Recorder, Trace, What,
    redact_command,
};
use rustix::fs::OFlags;
use rustix::termios::tcgetwinsize;

use super::output_file::leads_to_stdout;
use super::progress;
use crate::flags::{self, Traced};

pub(crate) fn run(
    flags: &mut flags::Trace,
    verbose: bool,
    arguments: &[OsString],
) -> Result<Exit, Failure> {
    if let Some(Traced::Cat(cat)) = &flags.command
        && cat.url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("udp://"))
    {
        return Err(usage("cannot trace udp://: it has no connections", "use tcp://"));
    }
    let mut output = Output::open(flags)?;
    let (json, snaplen) = (flags.json, flags.snaplen);
    let Some(command) = &mut flags.command else {
        let Some(path) = &flags.read else {
            return Err(usage("no command to trace", "anyport trace send FILE HOST:PORT"));
        };
        output.write(&read(path)?);
        return Ok(Exit::Done);
    };
    if flags.read.is_some() {
        let error = "--read shows a saved trace and cannot be combined with a command";
        return Err(usage(error, "leave out one of them"));
    }
    if flags.payload > 0 {
        to_stderr("warning: payloads are kept unchanged: the trace may contain secrets");
    }
    let began = Instant::now();
    let limits = Limits { events: flags.events, payload: flags.payload, ..Limits::default() };
    let recorder = Recorder::new(limits);
    let mut header = header(arguments);
    let capture = match output.pcap.take() {
        None => segments(&recorder),
        Some(file) => Some(packets(&recorder, snaplen, &header.command, file)?),
    };
    header.captured = capture.is_some();
    if capture.is_some() {
        // It takes the kernel many milliseconds, which would be a gap at the begin.
        let text = "the capture of segments is open".to_owned();
        recorder.add_since(began, None, What::Note { text });
    }
    let under_way =
        UnderWay { recorder: recorder.clone(), header, output, capture: capture.clone() };
    let running = Running(Arc::new(Mutex::new(Some(under_way))));
    let interrupted = running.clone();
    progress::before_leaving(move |signal| interrupted.finish(&End::Signal(signal)));
    // Without a trace these commands do not handle Ctrl-C.
    let is_unhandled = match command {
        Traced::Send(_) => false,
        Traced::Get(get) => get.pipe.is_some(),
        Traced::Chat(_) | Traced::Cat(_) => true,
    };
    progress::on_termination(is_unhandled)?;
    let done = execute(command, json, recorder, capture, verbose);
    running.finish(&done.as_ref().map_or_else(End::Failure, |_| End::Complete));
    done
}

fn execute(
    command: &mut Traced,
    json: bool,
    recorder: Recorder,
    capture: Option<Capture>,
    verbose: bool,
) -> Result<Exit, Failure> {
    match command {
        Traced::Send(send) => {
            send.json |= json && !send.quiet;
            send.pipe.iter().for_each(|key| recorder.secret(key.as_str()));
            (send.connect.trace, send.connect.capture) = (Some(recorder), capture);
            super::send::run(send, verbose)
        }
        Traced::Get(get) => {
            get.json |= json && !get.quiet;
            get.pipe.iter().for_each(|key| recorder.secret(key.as_str()));
            let connect = &mut get.connection.connect;
            (connect.trace, connect.capture) = (Some(recorder), capture);
            super::get::run(get, verbose)
        }
        Traced::Chat(chat) => {
            (chat.connect.trace, chat.connect.capture) = (Some(recorder), capture);
            super::chat::run(chat)
        }
        Traced::Cat(cat) => {
            (cat.connect.trace, cat.connect.capture) = (Some(recorder), capture);
            super::cat::run(cat)
        }
    }
}

/// Captures the headers of packets where that is permitted; where it is not, the trace says so.
fn segments(recorder: &Recorder) -> Option<Capture> {
    let error = match Capture::start(recorder, HEADERS, None) {
        Ok(capture) => return Some(capture),
        Err(error) => error,
    };
    let text = format!("TCP segments are not shown: {}; {CAPTURE_HINT}", reason(&error));
    recorder.add(None, None, Basis::Observed, What::Note { text });
    None
}

/// Captures packets into a file.
fn packets(
    recorder: &Recorder,
    snaplen: Option<u32>,
    command: &str,
    file: File,
) -> Result<Capture, Failure> {
    let snaplen = snaplen.unwrap_or(MAX_SNAPLEN);
    let into = Box::new(io::BufWriter::new(file));
    let pcap = PcapWriter::new(into, command, snaplen).map_err(anyhow::Error::new)?;
    let capture = Capture::start(recorder, snaplen, Some(pcap));
    let capture =
        capture.map_err(|error| Failure::new(Exit::Failed, error).with_hint(CAPTURE_HINT))?;
    to_stderr("warning: packets are kept unchanged: the file may contain secrets");
    Ok(capture)
}

fn usage(error: &str, hint: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("{error}")).with_hint(hint)
}

fn read(path: &Path) -> Result<Trace, Failure> {
    let named = || format!("cannot read {}", path.display());
    let file = File::open(path).map_err(|error| anyhow!(error).context(named()))?;
    let trace = Trace::read_json(BufReader::new(file));
    trace.map_err(|error| Failure::from(anyhow!(error).context(named())))
}

/// How the traced command ended.
enum End<'a> {
    Complete,
    Failure(&'a Failure),
    /// By the signal of this name.
    Signal(&'static str),
}

impl End<'_> {
    /// Returns how it ended, and the reason; `None` if it is complete.
    fn described(&self) -> Option<(Ended, String)> {
        match self {
            Self::Complete => None,
            Self::Signal(name) => Some((Ended::Interrupted, format!("interrupted by {name}"))),
            Self::Failure(failure) => {
                let error = failure.error.as_ref();
                let is_timeout = |error: &(dyn std::error::Error + 'static)| {
                    let error = error.downcast_ref::<io::Error>();
                    error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
                };
                let client = failure.error.downcast_ref::<anyport_client::Error>();
                let ended = match failure.exit {
                    Exit::ConnectionLost
                        if client.is_some_and(anyport_client::Error::is_timeout)
                            || failure.error.chain().any(is_timeout) =>
                    {
                        Ended::TimedOut
                    }
                    Exit::ConnectionLost => Ended::Lost,
                    Exit::Refused => Ended::Refused,
                    Exit::Unreachable => Ended::Unreachable,
                    Exit::Untrusted => Ended::Untrusted,
                    Exit::Mismatch => Ended::Mismatch,
                    Exit::Interrupted => Ended::Interrupted,
                    Exit::Failed
                        if client.is_some_and(anyport_client::Error::is_unexpected_answer) =>
                    {
                        Ended::Unexpected
                    }
                    Exit::Done | Exit::Failed | Exit::Usage => Ended::Local,
                };
                Some((ended, reason(error)))
            }
        }
    }
}

/// A trace under way. It is finished once: after the command, or at a signal.
#[derive(Clone)]
struct Running(Arc<Mutex<Option<UnderWay>>>);

struct UnderWay {
    recorder: Recorder,
    header: Header,
    output: Output,
    capture: Option<Capture>,
}

impl Running {
    fn finish(&self, end: &End<'_>) {
        // Held while it is written: the process may end only after that.
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(UnderWay { recorder, header, output, capture }) = running.take() else { return };
        // A mistake in the command line, or a file that is missing: there is nothing to show.
        let is_nothing = matches!(end, End::Failure(_)) && recorder.connections() == 0;
        // The capture waits for late packets, and the end was before.
        if let Some((ended, text)) = end.described()
            && !is_nothing
        {
            recorder.ended(ended, &text);
        }
        if let Some(Err(error)) = capture.map(|capture| capture.finish()) {
            to_stderr(&format!("error: cannot write the packets: {error}"));
        }
        if is_nothing {
            return;
        }
        let mut trace = Trace { header, ..recorder.finish() };
        // The last line of JSON is always one.
        trace.diagnosis.get_or_insert_with(|| Diagnosis {
            main: Limit::Unknown,
            ended: None,
            share: None,
            direction: None,
            evidence: vec!["no content was transferred".to_owned()],
            advice: None,
        });
        // As precise as it is shown, so that a saved trace is read as it was.
        let share = trace.diagnosis.as_mut().and_then(|diagnosis| diagnosis.share.as_mut());
        if let Some(share) = share {
            *share = (*share * 1000.0).round() / 1000.0;
        }
        output.write(&trace);
    }
}

/// The outputs of a trace, opened before the command begins.
struct Output {
    json: bool,
    /// Whether stdout belongs to the data of the command.
    to_stderr: bool,
    text: TextOptions,
    files: Vec<(Format, PathBuf, File)>,
    pcap: Option<File>,
    created: Created,
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Svg,
    Html,
}

impl Output {
    fn open(flags: &flags::Trace) -> Result<Self, Failure> {
        let to_stderr = match &flags.command {
            Some(Traced::Cat(_) | Traced::Chat(_)) => true,
            Some(Traced::Get(get)) => get.output.as_deref().is_some_and(leads_to_stdout),
            Some(Traced::Send(_)) | None => false,
        };
        let is_terminal =
            if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let text = TextOptions { width: width(to_stderr), color, explain: flags.explain };
        let named =
            [(Format::Json, &flags.save), (Format::Svg, &flags.svg), (Format::Html, &flags.html)];
        let outputs = [&flags.save, &flags.svg, &flags.html, &flags.pcap];
        if outputs.into_iter().flatten().any(|path| path.as_os_str() == "-") {
            return Err(usage(
                "cannot write to -: name a file",
                "anyport trace --html trace.html …",
            ));
        }
        let mut created = Created::default();
        let mut create = |path: &PathBuf| {
            let named = || format!("cannot write to {}", path.display());
            let (file, is_new) = create(path).map_err(|error| anyhow!(error).context(named()))?;
            created.0.extend(is_new.then(|| path.clone()));
            Ok::<_, anyhow::Error>(file)
        };
        let mut files = Vec::new();
        for (format, path) in named {
            let Some(path) = path else { continue };
            files.push((format, path.clone(), create(path)?));
        }
        let pcap = flags.pcap.as_ref().map(&mut create).transpose()?;
        let sent = match &flags.command {
            Some(Traced::Send(send)) => &send.files[..],
            _ => flags.read.as_slice(),
        };
        let outputs = files.iter().map(|(.., file)| file).chain(&pcap);
        differ(outputs.clone(), sent)?;
        for file in outputs {
            file.set_permissions(PermissionsExt::from_mode(MODE)).map_err(anyhow::Error::new)?;
        }
        if let Some(pcap) = &pcap {
            // It is written during the transfer.
            pcap.set_len(0).map_err(anyhow::Error::new)?;
        }
        Ok(Self { json: flags.json, to_stderr, text, files, pcap, created })
    }

    /// Writes all outputs. The exit code remains that of the command.
    fn write(mut self, trace: &Trace) {
        self.created.0.clear();
        for (format, path, mut file) in self.files {
            let written = file.set_len(0).and_then(|()| match format {
                Format::Json => {
                    let mut file = io::BufWriter::new(&file);
                    trace.write_json(&mut file).and_then(|()| file.flush())
                }
                Format::Svg => file.write_all(render::svg(trace).as_bytes()),
                Format::Html => file.write_all(render::html(trace).as_bytes()),
            });
            if let Err(error) = written {
                to_stderr(&format!("error: cannot write to {}: {error}", path.display()));
            }
        }
        let mut text = Vec::new();
        if self.json {
            // Memory accepts all.
            let _ = trace.write_json(&mut text);
        } else {
            text = render::text(trace, &self.text).into_bytes();
        }
        // A reader of the output may have closed it.
        let _ = match self.to_stderr {
            true => Waiting(io::stderr().lock()).write_all(&text),
            false => stdout().write_all(&text),
        };
    }
}

/// The files that were created for a trace. Dropping removes them.
#[derive(Default)]
struct Created(Vec<PathBuf>);

impl Drop for Created {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                to_stderr(&format!("error: cannot remove {}: {error}", path.display()));
            }
        }
    }
}

/// Opens an output file that only its owner can read, through no symbolic link. Its content is
/// replaced later, so that a command that cannot start leaves it unchanged. Returns whether it did
/// not exist before.
fn create(path: &Path) -> io::Result<(File, bool)> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(flags);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return Ok((created?, true)),
    }
    let file = options.create(true).truncate(false).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, false))
}

/// Refuses two outputs in one file, and an output in a file that is sent or read.
fn differ<'a>(outputs: impl Iterator<Item = &'a File>, sent: &[PathBuf]) -> Result<(), Failure> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let sent = sent.iter().filter_map(|path| path.metadata().ok());
    let mut known: HashSet<_> = sent.map(identity).collect();
    for output in outputs {
        if !known.insert(identity(output.metadata().map_err(anyhow::Error::new)?)) {
            let error = "an output of the trace is a file that is sent or read, or another output";
            return Err(usage(error, "name another file"));
        }
    }
    Ok(())
}

/// Mode of output files: they may contain names of files and messages of others.
const MODE: u32 = 0o600;

/// Returns the columns of the terminal, or those of a page.
fn width(to_stderr: bool) -> usize {
    let size = if to_stderr { tcgetwinsize(io::stderr()) } else { tcgetwinsize(io::stdout()) };
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { PAGE } else { columns.max(NARROWEST) }
}

/// Width of the text in a file, in columns.
const PAGE: usize = 100;

/// Width of the text on a narrow terminal, in columns.
const NARROWEST: usize = 60;

fn header(arguments: &[OsString]) -> Header {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let began = began.as_millis() as f64 / 1000.0;
    Header { version: 1, command: command(arguments), began, ..Header::default() }
}

/// Returns the command line without secrets, also without the password of a proxy.
fn command(arguments: &[OsString]) -> String {
    let words = arguments.iter().skip(1).map(|word| without_password(&word.to_string_lossy()));
    redact_command(["anyport".to_owned()].into_iter().chain(words))
}

/// Returns a word without the password of a URL, whose scheme may be left out (`-xUSER:…@HOST`).
fn without_password(word: &str) -> String {
    let begin = match (word.find("://"), word.find('=')) {
        (Some(at), _) => at + 3,
        (None, Some(at)) if word.starts_with("--") => at + 1,
        _ if word.starts_with('-') && !word.starts_with("--") => 2,
        _ => 0,
    };
    match word.get(begin..).and_then(|value| value.rsplit_once('@')) {
        Some((user, host)) if user.contains(':') => {
            format!("{}[redacted]@{host}", &word[..begin])
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_trace_contains_no_secret() {
        for (words, secret) in [
            ("trace send f h:1 --pipe secret", "secret"),
            ("trace send f h:1 --pipe=secret", "secret"),
            ("trace get -xhttp://user:secret@h x", "secret"),
            ("trace get -x user:secret@h:3128 x", "secret"),
            ("trace get -xuser:secret@h x", "secret"),
            ("trace get -kxuser:secret@h x", "secret"),
            ("trace get --proxy user:s@secret@h x", "secret"),
            ("trace get --proxy=user:secret@h x", "secret"),
            ("trace get http://user:secret@h/x", "secret"),
            ("trace cat ws://h/a?token=secret&b=1", "secret"),
            ("trace get http://h/pipe/secret", "secret"),
            ("trace get http://h/.anyport/s/secret/f", "secret"),
        ] {
            let words: Vec<_> = "anyport ".split(' ').take(1).chain(words.split(' ')).collect();
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let command = command(&words);
            assert!(
                !command.contains(secret) && command.starts_with("anyport trace "),
                "{command}"
            );
        }
    }
}
