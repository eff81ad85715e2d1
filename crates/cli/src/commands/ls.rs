//! `anyport ls`.

use std::io::{self, Write};
use std::slice;

use anyport_client::{Error, GetOptions, Listed, list};
use anyport_console::{Exit, Failure, stdout, to_stderr};
use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, LeftOutReason};
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::visible::{escape_json, make_visible};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::get::left_out_event;
use crate::{access, flags};

pub(crate) fn run(flags: &flags::Ls) -> Result<Exit, Failure> {
    let hint = "use a URL such as tcp://HOST:PORT/DIRECTORY/";
    let target = flags.connection.credential.target(&flags.url, hint)?;
    access::scope(&target)?;
    let mut options = GetOptions::default();
    options.connect = super::receiving(&flags.connection, slice::from_ref(&target))?;
    let mut out = io::BufWriter::new(stdout());
    let listed = list(&target, flags.recursive, &options, &mut |listed| {
        let line = match listed {
            Listed::Entry(entry) if flags.json => event(&entry),
            Listed::Entry(entry) => human(&entry),
            Listed::LeftOut(left_out) if flags.json => left_out_event(&left_out),
            // The summary has the number of links; they are not listed one by one.
            Listed::LeftOut(LeftOut { reason: LeftOutReason::Link, .. }) => return Ok(()),
            Listed::LeftOut(left_out) => {
                to_stderr(&format!("left out: {}: {}", left_out.shown(), left_out.reason.words()));
                return Ok(());
            }
        };
        let line = if flags.json { escape_json(&line) } else { make_visible(&line) };
        writeln!(out, "{line}").map_err(not_written)
    });
    // Entries before an error are useful too.
    let flushed = out.flush().map_err(not_written);
    match listed.and_then(|end| flushed.map(|()| end)) {
        Ok(end) => {
            if let Some(words) = end.words() {
                to_stderr(&words);
            }
            Ok(Exit::Done)
        }
        // In `anyport ls … | head`, head exits before the end of the listing.
        Err(error) if error.is_closed_output() => Ok(Exit::Done),
        Err(error) => {
            let (exit, hint) = (Exit::from(error.origin()), error.hint());
            Err(Failure { hint, ..Failure::new(exit, error) }.at(&target, &options.connect))
        }
    }
}

fn not_written(cause: io::Error) -> Error {
    Error::output("write the received content", cause)
}

fn event(entry: &Entry) -> String {
    let Entry { name, kind, size, mtime, mode } = entry;
    let FileTime { seconds, nanoseconds } = mtime;
    let mode = format!("{mode:o}");
    let mut event = json!({
        "event": "entry", "name": name, "kind": kind, "size": size, "mtime": seconds,
        "mtime_ns": nanoseconds, "mode": mode,
    });
    if let Some(raw) = name.raw() {
        event["name_raw"] = raw.into();
    }
    event.to_string()
}

/// Returns size, time, name; a directory has a slash and no size. The name is what `get` accepts
/// after the host of the URL.
fn human(entry: &Entry) -> String {
    let size = entry.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
    let time = Timestamp::from_second(entry.mtime.seconds).map_or_else(
        |_| "?".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
    );
    let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
    format!("{size:>14}  {time:26}  {}{slash}", entry.name.typed())
}
