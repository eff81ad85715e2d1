//! How long requests took, by what carried them and by how they were answered. Both are words of ours, so there are few of them.

use std::sync::Arc;
use std::time::Instant;

use anyport_proto::transfer::receipt::Protocol;
use http::StatusCode;

use super::counters::Counters;
use super::histogram::{Durations, Histogram};

/// Counts of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests([[Histogram; CLASSES.len()]; PROTOCOLS.len()]);

/// One request, from its head to the end of its answer. Dropped before that, nothing is counted.
#[derive(Debug)]
pub(crate) struct Timed {
    counters: Arc<Counters>,
    protocol: Protocol,
    began: Instant,
    status: Option<StatusCode>,
}

impl Requests {
    fn add(&self, protocol: Protocol, status: StatusCode, seconds: f64) {
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

impl Timed {
    pub(crate) fn begin(counters: &Arc<Counters>, protocol: Protocol) -> Self {
        Self { counters: counters.clone(), protocol, began: Instant::now(), status: None }
    }

    /// Its answer has begun; the first one stands.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status.get_or_insert(status);
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if let Some(status) = self.status {
            let seconds = self.began.elapsed().as_secs_f64();
            self.counters.requests.add(self.protocol, status, seconds);
        }
    }
}

/// What carries requests, as decisions about connections name it.
const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::Http, "http1"), (Protocol::Http2, "http2")];

/// Answers that end a request (RFC 9110 §15): an interim one is none.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const FIRST_CLASS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_when_its_answer_ends_and_only_if_it_was_answered() {
        let counters = Arc::<Counters>::default();
        let counted = || -> Vec<(&str, &str, u64)> {
            let all = counters.requests.durations();
            all.filter(|(.., durations)| durations.count > 0)
                .map(|(protocol, class, durations)| (protocol, class, durations.count))
                .collect()
        };
        drop(Timed::begin(&counters, Protocol::Http));
        let mut timed = Timed::begin(&counters, Protocol::Http2);
        timed.answered(StatusCode::NOT_FOUND);
        timed.answered(StatusCode::OK);
        assert!(counted().is_empty());
        drop(timed);
        for status in [200, 101, 599] {
            let mut timed = Timed::begin(&counters, Protocol::Http);
            timed.answered(StatusCode::from_u16(status).unwrap());
        }
        assert_eq!(counted(), [("http1", "2xx", 1), ("http1", "5xx", 1), ("http2", "4xx", 1)]);
        assert_eq!(counters.requests.durations().count(), 8, "always the same rows");
    }
}
