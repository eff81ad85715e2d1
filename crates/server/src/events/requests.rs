//! Durations of requests, by version of HTTP and class of status, so there are few rows.

use anyport_proto::transfer::receipt::Protocol;
use http::StatusCode;

use super::histogram::{Durations, Histogram};

/// Counts of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests([[Histogram; CLASSES.len()]; PROTOCOLS.len()]);

impl Requests {
    pub(super) fn add(&self, protocol: Protocol, status: StatusCode, seconds: f64) {
        let row = PROTOCOLS.iter().position(|(row, _)| *row == protocol);
        let class = usize::from(status.as_u16() / 100).checked_sub(FIRST_CLASS);
        let row = row.and_then(|row| self.0.get(row));
        if let Some(histogram) = row.zip(class).and_then(|(row, class)| row.get(class)) {
            histogram.add(seconds);
        }
    }

    /// What has been counted, each with its protocol and class; also what has not happened yet.
    pub(crate) fn durations(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, Durations)> {
        PROTOCOLS.into_iter().zip(&self.0).flat_map(|((_, protocol), row)| {
            let classes = CLASSES.into_iter().zip(row);
            classes.map(move |(class, histogram)| (protocol, class, histogram.durations()))
        })
    }
}

/// What carries requests, as decisions about connections name it.
const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::Http, "http1"), (Protocol::Http2, "http2")];

/// Answers that end a request (RFC 9110 §15): an interim one is none.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const FIRST_CLASS: usize = 2;
