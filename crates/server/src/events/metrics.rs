//! What a server counts, as Prometheus reads it (text format 0.0.4). No label has a value that a
//! peer chose.

use std::fmt::{Display, Write};

use super::counters::{Counters, Snapshot};
use super::histogram::Durations;
use super::observer::Why;

/// The media type of it.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What exists at this moment, beside what is counted.
pub(crate) struct Gauges {
    pub(crate) rooms: usize,
    pub(crate) members: u64,
    /// Messages sent to rooms so far.
    pub(crate) messages: u64,
    pub(crate) pipes: usize,
}

/// Returns all metrics at this moment.
pub(crate) fn render(counters: &Counters, gauges: &Gauges) -> String {
    let Gauges { rooms, members, messages, pipes } = *gauges;
    let mut page = Page(String::new());
    let snapshot = counters.snapshot();
    page.about("build_info", "gauge", "Version of the server.");
    page.row("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    connections(&mut page, &snapshot);
    transfers(&mut page, &snapshot);
    datagrams(&mut page, &snapshot);
    page.single(
        "rooms",
        "gauge",
        "Rooms, including those that have just become empty.",
        rooms as u64,
    );
    page.single("room_members", "gauge", "Members and listeners of all rooms.", members);
    page.single("room_messages_total", "counter", "Messages sent to rooms.", messages);
    page.single("pipes", "gauge", "Pipe keys in use.", pipes as u64);
    let [lasted, received, sent] = counters.durations();
    page.single_histogram("connection_seconds", "Duration of connections.", &lasted);
    page.single_histogram(
        "file_received_seconds",
        "Duration of uploads, from the first to the last byte.",
        &received,
    );
    page.single_histogram(
        "file_sent_seconds",
        "Duration of downloads, from the request to the last byte.",
        &sent,
    );
    let name = "request_seconds";
    page.about(
        name,
        "histogram",
        "Duration of HTTP requests, from the request head to the end of the response.",
    );
    for (protocol, class, durations) in counters.requests.durations() {
        page.histogram(name, &[("protocol", protocol), ("status", class)], &durations);
    }
    page.0
}

fn connections(page: &mut Page, snapshot: &Snapshot) {
    let Snapshot { connections, open, bytes_in, bytes_out, .. } = *snapshot;
    page.single("connections_total", "counter", "Accepted connections.", connections);
    page.single("connections_open", "gauge", "Open connections.", open);
    page.single(
        "received_bytes_total",
        "counter",
        "Bytes received, without TLS overhead.",
        bytes_in,
    );
    page.single("sent_bytes_total", "counter", "Bytes sent, without TLS overhead.", bytes_out);
    let name = "connections_decided_total";
    page.about(name, "counter", "Detected protocols, by reason.");
    for (decided, class, count) in &snapshot.decisions {
        page.row(name, &[("protocol", decided.as_str()), ("reason", class.as_str())], *count);
    }
    let name = "connections_silent_total";
    page.about(name, "counter", "Connections closed without sending data.");
    for (end, count) in &snapshot.silent {
        page.row(name, &[("end", end.as_str())], *count);
    }
    let name = "connections_served_total";
    page.about(name, "counter", "Connections to listeners for a single service.");
    for (service, count) in &snapshot.served {
        page.row(name, &[("service", service.as_str())], *count);
    }
    let name = "refusals_total";
    page.about(name, "counter", "Refused connections and requests.");
    for why in Why::ALL {
        let count = snapshot.refusals.iter().find(|(other, _)| *other == why);
        page.row(name, &[("reason", why.as_str())], count.map_or(0, |(_, count)| *count));
    }
    let about =
        "Requests with Forwarded or X-Forwarded-* from an address that is no trusted proxy.";
    page.single("forwarded_ignored_total", "counter", about, snapshot.forwarding_ignored);
    let about = "Connections without a trace, as there were too many.";
    page.single("connections_untraced_total", "counter", about, snapshot.untraced);
}

fn transfers(page: &mut Page, snapshot: &Snapshot) {
    let name = "files_received_total";
    page.about(
        name,
        "counter",
        "Received files, by result; whole includes files that were already there.",
    );
    page.row(name, &[("result", "whole")], snapshot.receipts);
    page.row(name, &[("result", "interrupted")], snapshot.interrupted);
    let bytes = "Content bytes of these files, without interrupted ones.";
    page.single("files_received_bytes_total", "counter", bytes, snapshot.bytes);
    let name = "files_sent_total";
    page.about(name, "counter", "Sent files, by result.");
    page.row(name, &[("result", "whole")], snapshot.sent);
    page.row(name, &[("result", "interrupted")], snapshot.unsent);
    let bytes = "Content bytes of completely sent files.";
    page.single("files_sent_bytes_total", "counter", bytes, snapshot.bytes_sent);
}

fn datagrams(page: &mut Page, snapshot: &Snapshot) {
    let name = "datagrams_answered_total";
    page.about(name, "counter", "Answered datagrams.");
    for (service, count) in &snapshot.datagrams {
        page.row(name, &[("service", service.as_str())], *count);
    }
    let name = "datagrams_dropped_total";
    page.about(name, "counter", "Datagrams without an answer.");
    for (why, count) in &snapshot.dropped {
        page.row(name, &[("reason", why.as_str())], *count);
    }
}

/// The text, line by line; writing to it cannot fail.
struct Page(String);

impl Page {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP anyport_{name} {help}\n# TYPE anyport_{name} {kind}\n");
    }

    /// Appends a row. Labels are constant words, so nothing in them has to be escaped.
    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "anyport_{name} {value}"),
            labels => writeln!(self.0, "anyport_{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.about(name, kind, help);
        self.row(name, &[], value);
    }

    fn single_histogram(&mut self, name: &str, help: &str, durations: &Durations) {
        self.about(name, "histogram", help);
        self.histogram(name, &[], durations);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &Durations) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in durations.up_to {
            self.row(&bucket, &[labels, &[("le", &bound.to_string())]].concat(), count);
        }
        self.row(&bucket, &[labels, &[("le", "+Inf")]].concat(), durations.count);
        let Durations { seconds, count, .. } = durations;
        self.row(&format!("{name}_sum"), labels, seconds);
        self.row(&format!("{name}_count"), labels, count);
    }
}
