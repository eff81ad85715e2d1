//! The limit of the uploads of a connection, as far as it is measured directly.

use std::time::{Duration, Instant};

use anyport_proto::transfer::receipt::Receipt;
use anyport_trace::{Direction, Evidence};

/// Times and samples between the events of a connection, since it began.
///
/// An upload has the difference between its first and its last byte.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Time without input.
    waited: Duration,
    /// Time in which the rate limit of the connection permitted no read.
    paused: Duration,
    /// Samples at input, and those with more input that waited in the socket.
    samples: u32,
    behind: u32,
}

impl Waits {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            waited: self.waited.saturating_sub(before.waited),
            paused: self.paused.saturating_sub(before.paused),
            samples: self.samples.saturating_sub(before.samples),
            behind: self.behind.saturating_sub(before.behind),
        }
    }

    /// Counts a sample at input, after which `unread` bytes were in the socket.
    pub(super) fn sampled(&mut self, unread: usize) {
        self.samples += 1;
        self.behind += u32::from(unread > 0);
    }
}

/// Measures the time between two events of a connection.
#[derive(Debug, Default)]
pub(super) struct Between {
    pub(super) so_far: Waits,
    /// The end of the last event, and when the rate limit permits the next read.
    rests: Option<(Instant, Option<Instant>)>,
}

impl Between {
    /// An event ended, and the driver does nothing but wait for input.
    pub(super) fn rests(&mut self, now: Instant, wake: Option<Instant>) {
        self.rests = Some((now, wake));
    }

    /// An event begins. Before bytes that the kernel moved, there was not only a wait.
    pub(super) fn begins(&mut self, now: Instant, is_after_wait: bool) {
        let Some((since, wake)) = self.rests.take().filter(|_| is_after_wait) else { return };
        let until = wake.unwrap_or(since).min(now).max(since);
        self.so_far.paused += until - since;
        self.so_far.waited += now.saturating_duration_since(until);
    }
}

/// Measurements of all complete uploads of a connection together.
#[derive(Debug, Default)]
pub(super) struct Work {
    uploads: u32,
    bytes: u64,
    elapsed: Duration,
    hashing: Duration,
    /// Writing, and fsync at the end.
    storing: Duration,
    waits: Waits,
}

impl Work {
    /// Adds an upload, and what was measured from its first to its last byte.
    pub(super) fn add(&mut self, receipt: &Receipt, waits: Waits) {
        let time = |seconds: Option<f64>| {
            Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
        };
        let bytes = receipt.bytes.saturating_sub(receipt.resumed);
        if bytes == 0 {
            return;
        }
        let receiving = time(Some(receipt.seconds));
        let elapsed = receipt.durable_seconds.map_or(receiving, |whole| time(Some(whole)));
        self.uploads += 1;
        self.bytes += bytes;
        self.elapsed += elapsed;
        self.hashing += time(receipt.hashing_seconds);
        self.storing += time(receipt.storing_seconds) + elapsed.saturating_sub(receiving);
        self.waits.waited += waits.waited;
        self.waits.paused += waits.paused;
        self.waits.samples += waits.samples;
        self.waits.behind += waits.behind;
    }

    /// Returns the evidence of a limit that took more than half of the time; `None` without one.
    pub(super) fn evidence(&self, has_rate_limit: bool) -> Option<Evidence> {
        let Self { uploads, bytes, elapsed, hashing, storing, .. } = *self;
        let Waits { waited, paused, samples, behind } = self.waits;
        // A sender that is slower than the rate limit leaves the socket empty in its pauses.
        let is_sampled = samples >= FEWEST_SAMPLES;
        let is_behind = is_sampled && behind > samples / 2;
        let keeps_up = is_sampled && !is_behind;
        let pausing = if has_rate_limit && is_behind { paused } else { Duration::ZERO };
        let waiting = if keeps_up { waited } else { Duration::ZERO };
        let most = hashing.max(storing).max(pausing).max(waiting);
        if bytes < WORTH || most <= elapsed / 2 {
            return None;
        }
        // The rest of the time belongs to nothing that is measured. As less than half of it, it
        // cannot be named; so it counts as the part that no diagnosis of an upload mentions.
        let rest = elapsed.saturating_sub(hashing + storing + pausing + waiting);
        Some(Evidence {
            direction: Direction::Receiving,
            transfers: uploads,
            elapsed,
            handshakes: rest,
            bytes,
            hashing,
            storing,
            pausing,
            ..Evidence::default()
        })
    }
}

/// Bytes of uploads below which round trips determine their time more than anything else.
const WORTH: u64 = 64 * 1024;

/// Fewest samples that show on which side the input waits.
const FEWEST_SAMPLES: u32 = 8;

#[cfg(test)]
mod tests {
    use anyport_proto::peer::Peer;
    use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol};
    use anyport_proto::transfer::tcp_seen::TcpSeen;
    use anyport_trace::{Limit, diagnosis};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn waits(waited: u64, paused: u64, samples: u32, behind: u32) -> Waits {
        Waits { waited: MS(waited), paused: MS(paused), samples, behind }
    }

    /// The diagnosis of uploads of a second each; times are in milliseconds.
    fn of(hashing: u64, storing: u64, waits: Waits) -> Option<(Limit, u32)> {
        let (elapsed, hashing, storing) = (MS(1000), MS(hashing), MS(storing));
        let work = Work { uploads: 1, bytes: 1 << 20, elapsed, hashing, storing, waits };
        let found = diagnosis(&work.evidence(true)?);
        Some((found.main, (found.share.unwrap() * 100.0).round() as u32))
    }

    #[test]
    fn only_a_limit_that_is_measured_for_more_than_half_of_the_time_is_named() {
        let none = Waits::default();
        assert_eq!(of(600, 100, none), Some((Limit::ReceiverHashing, 60)));
        assert_eq!(of(100, 600, none), Some((Limit::Storing, 60)));
        // TLS, a decompression or a busy CPU, which nothing measures.
        assert_eq!(of(0, 0, none), None);
        assert_eq!(of(500, 100, none), None);
        assert_eq!(of(0, 0, waits(500, 0, 20, 0)), None);
        // Of 700 ms of waiting, 300 of something else are no part.
        assert_eq!(of(0, 0, waits(700, 0, 20, 0)), Some((Limit::SenderOrPath, 70)));
        assert_eq!(of(0, 0, waits(700, 0, 20, 5)), Some((Limit::SenderOrPath, 70)));
        // Too few samples, or input that waited for this end.
        assert_eq!(of(0, 0, waits(700, 0, 7, 0)), None);
        assert_eq!(of(0, 0, waits(700, 0, 20, 11)), None);
        assert_eq!(of(0, 0, waits(100, 800, 20, 19)), Some((Limit::RateLimit, 80)));
        // The sender is as slow as the rate limit.
        assert_eq!(of(0, 0, waits(100, 800, 20, 1)), None);
        assert_eq!(of(0, 0, waits(100, 800, 20, 10)), None);
        let paused = waits(100, 800, 20, 19);
        let work = Work { bytes: 1 << 20, elapsed: MS(1000), waits: paused, ..Work::default() };
        assert!(work.evidence(false).is_none() && work.evidence(true).is_some());
        let work = Work { bytes: WORTH - 1, ..work };
        assert!(work.evidence(true).is_none());
    }

    #[test]
    fn the_time_between_two_events_is_a_pause_up_to_the_time_of_the_next_read() {
        let begun = Instant::now();
        let at = |ms: u64| begun + MS(ms);
        let mut between = Between::default();
        between.begins(at(5), true);
        assert_eq!(between.so_far, Waits::default());
        between.rests(at(10), None);
        between.begins(at(30), true);
        between.rests(at(40), Some(at(90)));
        between.begins(at(100), true);
        assert_eq!(between.so_far, waits(30, 50, 0, 0));
        // A signal before the time; a time that has passed.
        between.rests(at(100), Some(at(200)));
        between.begins(at(150), true);
        between.rests(at(150), Some(at(120)));
        between.begins(at(160), true);
        assert_eq!(between.so_far, waits(40, 100, 0, 0));
        // The kernel moved bytes, and an event without a wait before it.
        between.rests(at(200), None);
        between.begins(at(300), false);
        between.begins(at(400), true);
        assert_eq!(between.so_far, waits(40, 100, 0, 0));
        assert_eq!(between.so_far.since(waits(30, 50, 0, 0)), waits(10, 50, 0, 0));
    }

    /// An upload that failed adds nothing, and fsync of one is no time of the next one.
    #[test]
    fn each_upload_has_its_own_measurements() {
        let receipt = |seconds, durable_seconds| Receipt {
            protocol: Protocol::Raw,
            engine: Engine::Own,
            peer: Peer::Unix,
            bytes: 100_000,
            resumed: 0,
            seconds,
            durable_seconds: Some(durable_seconds),
            hashing_seconds: None,
            storing_seconds: None,
            digest: None,
            end: EndKind::Size,
            confirmed: true,
            name: None,
            path: None,
            path_raw: None,
            congestion: None,
            tcp: TcpSeen::default(),
        };
        let mut work = Work::default();
        // Each has 3 ms of transfer and 20 ms of fsync.
        for _ in 0..10 {
            work.add(&receipt(0.003, 0.023), Waits::default());
        }
        assert_eq!((work.elapsed, work.storing), (MS(230), MS(200)));
        let found = diagnosis(&work.evidence(false).unwrap());
        assert_eq!(
            (found.main, found.share.map(|share| (share * 100.0) as u32)),
            (Limit::Storing, Some(86))
        );
    }
}
