//! A trace as lines of JSON: the header, events and samples by time, the diagnosis.
//!
//! A reader skips what a later version added, so that an old program reads a new trace.

use std::io::{self, BufRead, Read, Write};

use anyport_proto::counted::counted;
use anyport_proto::visible::{escape_json, make_visible};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{Basis, Event, Time, What};
use crate::recorder::Trace;

/// The version of the format.
pub const VERSION: u32 = 1;

/// Maximum size of a line, in bytes: a head of HTTP with its fields is well below.
pub const MAX_LINE: usize = 1 << 20;

/// Maximum number of lines.
pub const MAX_LINES: u64 = 1_000_000;

/// Maximum size of a trace that is read, in bytes: 500,000 events of 500 bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Names of the events that this version reads.
pub(crate) const NAMES: [&str; 23] = [
    "resolved",
    "attempt",
    "attempt-failed",
    "connected",
    "segment",
    "syn",
    "tls-message",
    "tls-records",
    "tls-done",
    "head",
    "web-socket-accept",
    "frame",
    "http2",
    "line",
    "content",
    "fin",
    "reset",
    "failed",
    "hashed",
    "stored",
    "gap",
    "note",
    "sample",
];

/// Why a trace cannot be read.
#[derive(Debug)]
pub struct ReadError {
    /// The line, counted from 1.
    line: u64,
    /// What is wrong with it.
    fault: String,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl std::error::Error for ReadError {}

/// An object with its name first.
#[derive(Serialize)]
struct Named<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    object: &'a T,
}

impl Trace {
    /// Writes the trace as lines of JSON, in which no character acts on a terminal.
    pub fn write_json(&self, into: &mut dyn Write) -> io::Result<()> {
        let mut write = |json: &str| writeln!(into, "{}", escape_json(json));
        let mut header = serde_json::to_value(Named { event: "trace", object: &self.header })?;
        if self.left_out > 0 {
            header["left_out"] = self.left_out.into();
        }
        write(&header.to_string())?;
        let mut samples = self.samples.iter().peekable();
        let sample = |object| serde_json::to_string(&Named { event: "sample", object });
        for event in &self.events {
            while let Some(earlier) = samples.next_if(|sample| sample.at < event.at) {
                write(&sample(earlier)?)?;
            }
            write(&serde_json::to_string(event)?)?;
        }
        for later in samples {
            write(&sample(later)?)?;
        }
        if let Some(object) = &self.diagnosis {
            write(&serde_json::to_string(&Named { event: "diagnosis", object })?)?;
        }
        Ok(())
    }

    /// Reads a trace from lines of JSON.
    ///
    /// Events and keys of a later version are skipped; a note at the end counts the events.
    pub fn read_json(from: impl BufRead) -> Result<Self, ReadError> {
        let mut lines = Lines { from, number: 0, bytes: 0, line: Vec::new() };
        let mut trace = Self::default();
        let Some(first) = lines.next()? else {
            lines.number = 1;
            return Err(lines.fault("the file is empty"));
        };
        if first.get("event").and_then(Value::as_str) != Some("trace") {
            return Err(lines.fault("this is not a trace: no object of the event \"trace\""));
        }
        trace.left_out = first.get("left_out").and_then(Value::as_u64).unwrap_or(0);
        trace.header = lines.object(first)?;
        let mut skipped = 0;
        while let Some(object) = lines.next()? {
            match object.get("event").and_then(Value::as_str) {
                Some("sample") => trace.samples.push(lines.object(object)?),
                // A later version may know limits that this one does not.
                Some("diagnosis") => match serde_json::from_value(object) {
                    Ok(diagnosis) => trace.diagnosis = Some(diagnosis),
                    Err(_) => skipped += 1,
                },
                Some(name) if NAMES.contains(&name) => trace.events.push(lines.object(object)?),
                Some(_) => skipped += 1,
                None => return Err(lines.fault("the key \"event\" is missing")),
            }
        }
        let version = trace.header.version;
        if skipped > 0 || version > VERSION {
            let skipped = counted(skipped, "event");
            let text = match version > VERSION {
                true => format!("written as version {version}, {skipped} skipped"),
                false => format!("{skipped} of a later version skipped"),
            };
            let at = trace.events.last().map_or_else(Time::default, |event| event.at);
            let what = What::Note { text };
            let (took, connection, from, basis) = (None, None, None, Basis::Observed);
            trace.events.push(Event { at, took, connection, from, basis, what });
        }
        trace.events.sort_by_key(|event| event.at);
        trace.samples.sort_by_key(|sample| sample.at);
        Ok(trace)
    }
}

/// Lines of an untrusted file.
struct Lines<R> {
    from: R,
    number: u64,
    bytes: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Returns the object of the next line; `None` at the end. Empty lines are skipped.
    fn next(&mut self) -> Result<Option<Value>, ReadError> {
        loop {
            self.number += 1;
            if self.number > MAX_LINES {
                return Err(self.fault(&format!("more than {MAX_LINES} lines")));
            }
            self.line.clear();
            let mut bounded = (&mut self.from).take(MAX_LINE as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line);
            match read.map_err(|error| self.fault(&error.to_string()))? {
                0 => return Ok(None),
                length if length > MAX_LINE => {
                    return Err(self.fault(&format!("longer than {MAX_LINE} bytes")));
                }
                length => self.bytes += length as u64,
            }
            if self.bytes > MAX_BYTES {
                return Err(self.fault(&format!("more than {MAX_BYTES} bytes up to here")));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let value: Value =
            serde_json::from_slice(&self.line).map_err(|error| self.fault(&error.to_string()))?;
        if !value.is_object() {
            return Err(self.fault("not an object"));
        }
        Ok(Some(value))
    }

    fn object<T: DeserializeOwned>(&self, value: Value) -> Result<T, ReadError> {
        serde_json::from_value(value).map_err(|error| self.fault(&error.to_string()))
    }

    fn fault(&self, fault: &str) -> ReadError {
        ReadError { line: self.number, fault: make_visible(fault).into_owned() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
