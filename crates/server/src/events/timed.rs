//! The clock of one request.

use std::sync::Arc;
use std::time::Instant;

use anyport_proto::transfer::receipt::Protocol;
use http::StatusCode;

use super::counters::Counters;

/// One request, from its head to the end of its response. Dropped without a response, it is not
/// counted.
#[derive(Debug)]
pub(crate) struct Timed {
    counters: Arc<Counters>,
    protocol: Protocol,
    began: Instant,
    status: Option<StatusCode>,
}

impl Timed {
    pub(crate) fn begin(counters: &Arc<Counters>, protocol: Protocol) -> Self {
        Self { counters: counters.clone(), protocol, began: Instant::now(), status: None }
    }

    /// Records the status of the response; the first one is kept.
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
