//! Output for the user: receipts on stdout, everything else on stderr.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyport_console::{Exit, reason, write_stdout};
use anyport_proto::counted::counted;
use anyport_proto::one_line::{COLUMNS, one_line};
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::units::{format_rate, format_resumed};
use anyport_proto::visible::{escape_json, make_visible};
use anyport_server::{
    Answered, Change, Changed, Interrupted, Observer, Refused, Sent, Snapshot, Why,
};
use serde_json::json;

/// The event of an entry, described by `about`, that was not sent or received; without one, of the
/// whole command.
pub(crate) fn failed_event(
    error: &dyn std::error::Error,
    hint: Option<String>,
    exit: Exit,
    about: serde_json::Value,
) -> serde_json::Value {
    let mut event = json!({
        "event": "failed", "error": reason(error), "hint": hint, "exit": exit as u8,
        "resumable": exit == Exit::ConnectionLost,
    });
    if let (Some(event), serde_json::Value::Object(about)) = (event.as_object_mut(), about) {
        event.extend(about);
    }
    event
}

/// A receipt for people: one line that fits a page, or with `verbose` all of it.
pub(crate) fn receipt_line(verbose: bool, name: &str, what: &str, details: &[String]) -> String {
    match verbose {
        true => format!("{name}{what}, {}", details.join(", ")).trim_end_matches(", ").to_owned(),
        false => one_line(name, what, details, columns()),
    }
}

/// The width of such a line: programs that read stdout get whole names.
fn columns() -> usize {
    if io::stdout().is_terminal() { COLUMNS } else { usize::MAX }
}

/// A digest in such a line.
pub(crate) fn digest_text(verbose: bool, digest: &Digest) -> String {
    if verbose { digest.to_string() } else { digest.short() }
}

/// Prints a server's events, for people or for machines. A thread of its own writes them, so that a
/// paused reader of stdout delays no transfer.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    /// Whether receipts are printed with all details.
    verbose: bool,
    lines: SyncSender<String>,
    /// Lines that found the queue full since the last one that did not.
    lost: AtomicU64,
}

/// The handle that remains after a printer was passed on.
#[derive(Debug)]
pub(crate) struct Printed {
    lines: SyncSender<String>,
    done: Receiver<()>,
}

/// Lines that wait for a reader of stdout; further ones are counted and lost.
const QUEUE: usize = 4096;

/// How long lines are collected before they are written together.
const COLLECT_FOR: Duration = Duration::from_millis(2);

/// Maximum time to write the last lines when the server ends.
const LAST_LINES: Duration = Duration::from_secs(2);

impl Printer {
    pub(crate) fn start(json: bool, verbose: bool) -> (Self, Printed) {
        let (lines, queue) = sync_channel::<String>(QUEUE);
        let (done, printed) = sync_channel(1);
        std::thread::spawn(move || {
            let mut failed = false;
            while let Ok(mut lines) = queue.recv() {
                lines.push('\n');
                let mut count = 1;
                for line in queue.try_iter().take(QUEUE) {
                    lines.push_str(&line);
                    lines.push('\n');
                    count += 1;
                }
                // A server continues if its stdout is closed: its senders still get receipts.
                if let Err(error) = write_stdout(&lines)
                    && !std::mem::replace(&mut failed, true)
                {
                    tracing::warn!(%error, "cannot print receipts");
                }
                if count > 1 {
                    // They arrive in bursts, and waking up for each costs more than the line.
                    std::thread::sleep(COLLECT_FOR);
                }
            }
            let _ = done.send(());
        });
        let printed = Printed { lines: lines.clone(), done: printed };
        (Self { json, verbose, lines, lost: AtomicU64::new(0) }, printed)
    }

    fn print(&self, line: String) {
        let line = match self.json {
            true => escape_json(&line),
            false => make_visible(&line),
        };
        let line = line.into_owned();
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.lines.try_send(self.loss(lost)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        } else if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn loss(&self, lost: u64) -> String {
        if self.json {
            json!({ "event": "lost", "lines": lost }).to_string()
        } else {
            let lines = counted(lost, "line");
            format!("stdout was not read in time: {lines} of output lost")
        }
    }
}

impl Printed {
    /// Prints `last` and waits until everything is written, within a time limit.
    pub(crate) fn finish(self, last: Option<String>) {
        let Self { lines, done } = self;
        if let Some(last) = last {
            // A paused reader loses this line too.
            let _ = lines.try_send(last);
        }
        drop(lines);
        let _ = done.recv_timeout(LAST_LINES);
    }
}

/// Returns the summary of a server, for machines.
pub(crate) fn summary_event(summary: &Snapshot) -> String {
    summary_json(summary).to_string()
}

/// Returns the summary as an object.
pub(crate) fn summary_json(summary: &Snapshot) -> serde_json::Value {
    let mut silent = json!({});
    for (end, count) in &summary.silent {
        silent[end.as_str()] = json!(count);
    }
    let mut decisions = json!({});
    for (decided, class, count) in &summary.decisions {
        decisions[decided.as_str()][class.as_str()] = json!(count);
    }
    let Snapshot { connections, receipts, bytes, interrupted, refused, .. } = summary;
    let Snapshot { already_there, already_there_bytes, .. } = summary;
    let Snapshot { sent, bytes_sent, unsent, .. } = summary;
    let mut event = json!({
        "event": "summary", "connections": connections, "receipts": receipts, "bytes": bytes,
        "already_there": already_there, "already_there_bytes": already_there_bytes,
        "interrupted": interrupted, "refused": refused,
        "sent": sent, "bytes_sent": bytes_sent, "unsent": unsent, "decisions": decisions,
        "silent": silent,
    });
    let Snapshot { served, datagrams, dropped, .. } = summary;
    for (service, count) in served {
        event["served"][service.as_str()] = json!(count);
    }
    for (service, count) in datagrams {
        event["datagrams"][service.as_str()] = json!(count);
    }
    for (why, count) in dropped {
        event["dropped"][why.as_str()] = json!(count);
    }
    event
}

impl Observer for Printer {
    fn receipt(&self, receipt: &Receipt) {
        self.print(match (self.json, self.verbose) {
            (true, _) => receipt.event_json(),
            (false, true) => receipt.human_line(),
            (false, false) => receipt.summary(columns()),
        });
    }

    fn interrupted(&self, transfer: &Interrupted) {
        let Interrupted { protocol, engine, peer, bytes, name, reason, part, refused, .. } =
            transfer;
        if self.json {
            let event = json!({
                "event": "interrupted", "protocol": protocol, "engine": engine, "peer": peer,
                "bytes": bytes, "name": name, "reason": reason, "part": part,
            });
            return self.print(event.to_string());
        }
        let name = name.as_ref().map(|name| format!(" of {name:?}")).unwrap_or_default();
        let part = part.as_ref().map(|part| format!(", kept as {part}")).unwrap_or_default();
        // Bytes that exceed a limit are not counted.
        let end = match (*refused, *bytes) {
            (true, 0) => "refused".to_owned(),
            (true, bytes) => format!("refused after {}", counted(bytes, "byte")),
            (false, bytes) => format!("interrupted after {}", counted(bytes, "byte")),
        };
        self.print(format!("{protocol}/{engine} {peer} {end}{name}: {reason}{part}"));
    }

    fn refused(&self, refused: &Refused) {
        let Refused { protocol, peer, reason, why, .. } = refused;
        if self.json {
            let event =
                json!({ "event": "refused", "protocol": protocol, "peer": peer, "reason": reason });
            return self.print(event.to_string());
        }
        let repeats = match why {
            Why::WrongToken => " (of one address, one line a second)",
            _ => "",
        };
        self.print(format!("{protocol} {peer} refused: {reason}{repeats}"));
    }

    fn suppressed(&self, refusals: u64) {
        self.print(match self.json {
            true => json!({ "event": "suppressed", "refusals": refusals }).to_string(),
            false => format!("{} (not listed one by one)", counted(refusals, "more refusal")),
        });
    }

    fn changed(&self, changed: &Changed) {
        let Changed { protocol, peer, name, change, .. } = changed;
        let (event, to) = match change {
            Change::Deleted => ("deleted", None),
            Change::Renamed(to) => ("renamed", Some(to)),
            Change::Created => ("created", None),
        };
        if self.json {
            let mut line =
                json!({ "event": event, "protocol": protocol, "peer": peer, "name": name });
            if let Some(to) = to {
                line["to"] = json!(to);
            }
            return self.print(line.to_string());
        }
        let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
        self.print(make_visible(&format!("{name} {event}{to}, {protocol}, {peer}")).into_owned());
    }

    fn answered(&self, answer: &Answered) {
        let Answered { peer, text, .. } = answer;
        if self.json {
            let event = json!({ "event": "greet", "peer": peer, "text": text });
            return self.print(event.to_string());
        }
        self.print(format!("greet  {peer}  {text}"));
    }

    fn sent(&self, file: &Sent) {
        let Sent { protocol, engine, peer, name, size, offset, bytes, seconds, .. } = file;
        let Sent { digest, broken, .. } = file;
        if self.json {
            let mut event = json!({
                "event": if broken.is_none() { "sent" } else { "unsent" }, "protocol": protocol,
                "engine": engine, "peer": peer, "name": name, "size": size, "offset": offset,
                "bytes": bytes, "seconds": seconds, "rate": file.rate().map(f64::round),
                "digest": digest,
            });
            if let Some(reason) = broken {
                event["reason"] = json!(reason);
            }
            return self.print(event.to_string());
        }
        let from = if *offset > 0 { format!(" from byte {offset}") } else { String::new() };
        if let Some(reason) = broken {
            return self.print(format!(
                "{protocol}/{engine} {peer} download interrupted after {bytes} of {size} bytes of \
                {name}{from}: {reason}"
            ));
        }
        if !self.verbose {
            let digest = digest.map(|digest| format!(", {}", digest.short())).unwrap_or_default();
            let content = format_resumed(*size, *bytes);
            let what = format!(" sent: {content} in {seconds:.3} s{digest}, {protocol}, {peer}");
            let details: Vec<String> = file.rate().map(format_rate).into_iter().collect();
            return self.print(one_line(
                &make_visible(&name.to_string()),
                &what,
                &details,
                columns(),
            ));
        }
        let rate = file.rate().map(|rate| format!(", {}", format_rate(rate))).unwrap_or_default();
        let digest = digest.map(|digest| format!(", {digest}")).unwrap_or_default();
        self.print(format!(
            "{protocol}/{engine} {peer} sent {name}{from}: {} in {seconds:.6} s{rate}{digest}",
            counted(*bytes, "byte")
        ));
    }
}
