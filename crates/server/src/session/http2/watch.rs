//! Progress of a connection and of its streams: detects stalled ones, overdue input, and clients
//! that cancel all requests.
//!
//! A response makes progress when the socket accepts some of it. After that its bytes are in the
//! buffers of both kernels, from which a slow client reads for minutes, so a response is stalled
//! only when they have been delivered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::tcp_info::Delivery;
use http::StatusCode;
use tokio::sync::Notify;

use super::progress::Progress;
use crate::budget::Share;
use crate::config::Timeouts;
use crate::events::Timed;
use crate::link::Link;
use crate::per_address::Admitted;

/// The state of a connection's streams. Times are in milliseconds since its beginning.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    handshake: Duration,
    idle: Duration,
    /// When anything last made progress.
    moved: AtomicU64,
    /// When the socket last accepted output.
    wrote: AtomicU64,
    /// When the socket last had accepted all output.
    flushed: AtomicU64,
    /// Reports how much of the output was delivered.
    link: Link,
    responses: Mutex<Responses>,
    /// Something waits for the socket, or for its turn at our rate: an answer may be out of its
    /// stream's hands, and not out.
    unwritten: AtomicBool,
    /// When unfinished input is overdue; [`NEVER`] if there is none.
    due: AtomicU64,
    streams: AtomicUsize,
    /// Number of streams without a time limit here: other code limits them.
    patient: AtomicUsize,
    /// Number of answered streams, and of cancelled ones.
    answered: AtomicUsize,
    given_up: AtomicUsize,
    changed: Notify,
}

/// The streams that have a task, and the last report of the kernel.
#[derive(Debug, Default)]
struct Responses {
    next: u64,
    tracked: HashMap<u64, Tracked>,
    delivery: Delivery,
    /// When the peer or its kernel last accepted something.
    delivered: u64,
}

#[derive(Debug)]
struct Tracked {
    progress: Arc<Progress>,
    /// When the response last made progress, as of the last check.
    moved: u64,
    /// Output position at which all of its bytes were with the socket.
    mark: Option<u64>,
    /// Since when it has been stalled.
    since: u64,
}

/// A stream that is checked for progress, until this is dropped.
#[derive(Debug)]
pub(super) struct Tracking {
    watch: Arc<Watch>,
    key: u64,
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head, or another frame, that never becomes whole.
    Unfinished,
    /// Nothing moved.
    Idle,
    /// Requests are only made to be cancelled (CVE-2023-44487).
    GivenUp(usize),
}

impl Overdue {
    /// Returns the peer's fault; idle time between two requests is none.
    pub(super) fn reason(self, timeouts: &Timeouts) -> Option<String> {
        match self {
            Self::Idle => None,
            Self::Unfinished => {
                let handshake = timeouts.handshake;
                Some(format!(
                    "a request head or another frame was not complete within {handshake:?}"
                ))
            }
            Self::GivenUp(count) => {
                Some(format!("{count} requests were cancelled before their response"))
            }
        }
    }
}

/// One stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    watch: Arc<Watch>,
    /// Its share of the shared resources.
    pub(super) held: Option<Held>,
    /// Counts it for the address of its client, if a trusted proxy forwards it.
    pub(super) admitted: Option<Arc<Admitted>>,
    /// Counted when the stream is dropped, if it was answered.
    timed: Option<Timed>,
    /// Whether it was answered or cancelled.
    settled: bool,
}

/// The share of a stream of shared resources; dropping it returns them.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _memory: Share,
    /// For the file of a stream that is not the only one of its connection.
    pub(super) _file: Share,
}

/// A stream that may wait, until it is dropped.
#[derive(Debug)]
pub(super) struct Patient(Arc<Watch>);

impl Watch {
    pub(super) fn new(handshake: Duration, idle: Duration, link: Link) -> Self {
        Self {
            began: Instant::now(),
            handshake,
            idle,
            flushed: AtomicU64::new(0),
            link,
            responses: Mutex::default(),
            moved: AtomicU64::new(0),
            wrote: AtomicU64::new(0),
            unwritten: AtomicBool::new(false),
            due: AtomicU64::new(NEVER),
            streams: AtomicUsize::new(0),
            patient: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        in_milliseconds(self.began.elapsed())
    }

    /// Records progress: content was received or sent.
    pub(super) fn moved(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// The socket took something.
    pub(super) fn wrote(&self) {
        self.wrote.store(self.now(), Ordering::Relaxed);
    }

    /// Records whether output waits for the socket.
    pub(super) fn is_unwritten(&self, is_unwritten: bool) {
        self.unwritten.store(is_unwritten, Ordering::Relaxed);
    }

    /// The socket has accepted all that there was.
    pub(super) fn flushed(&self) {
        self.flushed.store(self.now(), Ordering::Relaxed);
    }

    /// Checks a response for progress from now on.
    pub(super) fn track(self: &Arc<Self>, progress: Arc<Progress>) -> Tracking {
        let mut responses = self.responses();
        let key = responses.next;
        responses.next += 1;
        let now = self.now();
        responses.tracked.insert(key, Tracked { progress, moved: now, mark: None, since: now });
        drop(responses);
        Tracking { watch: self.clone(), key }
    }

    fn responses(&self) -> MutexGuard<'_, Responses> {
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancels the streams whose response is stalled, and returns when the peer last accepted
    /// something.
    fn check_responses(&self, now: u64) -> u64 {
        let (idle, flushed) = (in_milliseconds(self.idle), self.flushed.load(Ordering::Relaxed));
        let mut responses = self.responses();
        let responses = &mut *responses;
        let delivery = self.link.delivery().unwrap_or_default();
        let has_advanced = delivery.has_advanced_since(&responses.delivery);
        if has_advanced {
            responses.delivered = now;
        }
        responses.delivery = delivery;
        for tracked in responses.tracked.values_mut() {
            let Some(moved) = tracked.progress.waits_since() else {
                tracked.since = now;
                continue;
            };
            if tracked.moved != moved {
                (tracked.moved, tracked.mark, tracked.since) = (moved, None, moved);
            }
            // Until then its bytes may be behind those of other streams.
            if tracked.mark.is_none() && flushed > moved {
                tracked.mark = Some(delivery.written);
            }
            let is_delivered = tracked.mark.is_some_and(|mark| delivery.acked >= mark);
            if has_advanced && !is_delivered {
                tracked.since = now.min(moved.saturating_add(idle.saturating_mul(LONGEST_STALL)));
            }
            if now.saturating_sub(tracked.since) >= idle {
                tracked.progress.cancel();
            }
        }
        responses.delivered
    }

    /// Something has begun that must become whole.
    pub(super) fn begin(&self) {
        let due = self.now().saturating_add(in_milliseconds(self.handshake));
        self.due.store(due, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Nothing is unfinished.
    pub(super) fn whole(&self) {
        self.due.store(NEVER, Ordering::Relaxed);
    }

    /// Registers a request.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.moved();
        let watch = self.clone();
        Open { watch, held: None, admitted: None, timed: None, settled: false }
    }

    /// Requests that are not yet answered to their end.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Registers a stream that may wait for another client.
    pub(super) fn patient(self: &Arc<Self>) -> Patient {
        self.patient.fetch_add(1, Ordering::Relaxed);
        Patient(self.clone())
    }

    /// Waits until the connection is to be ended.
    ///
    /// Cancel safe: yes.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            let wait = match self.check(self.now()) {
                Ok(wait) => wait,
                Err(overdue) => return overdue,
            };
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Returns how long to wait before the next check.
    ///
    /// # Errors
    /// The connection is to be ended at `now`.
    pub(super) fn check(&self, now: u64) -> Result<Duration, Overdue> {
        let given_up = self.given_up.load(Ordering::Relaxed);
        if given_up >= GIVEN_UP && given_up > self.answered.load(Ordering::Relaxed) {
            return Err(Overdue::GivenUp(given_up));
        }
        let due = self.due.load(Ordering::Relaxed);
        if due <= now {
            return Err(Overdue::Unfinished);
        }
        let idle = in_milliseconds(self.idle);
        let delivered = self.check_responses(now);
        let last = match self.patient.load(Ordering::Relaxed) {
            0 => self.moved.load(Ordering::Relaxed).max(delivered),
            // When the last of them has ended, the time restarts.
            _ => now,
        };
        let idle_at = last.saturating_add(idle);
        if idle_at <= now {
            return Err(Overdue::Idle);
        }
        Ok(Duration::from_millis(due.min(idle_at).min(now + (idle / CHECKS).max(1)) - now))
    }

    /// Waits until there has been no stream for `time`, and nothing of an answer on its way.
    ///
    /// Cancel safe: yes.
    pub(super) async fn left(&self, time: Duration) {
        let mut since = self.now();
        loop {
            let now = self.now();
            if self.streams.load(Ordering::Relaxed) > 0 || self.unwritten.load(Ordering::Relaxed) {
                since = now;
            }
            since = since.max(self.wrote.load(Ordering::Relaxed));
            if now.saturating_sub(since) >= in_milliseconds(time) {
                return;
            }
            tokio::time::sleep(time / 4).await;
        }
    }
}

impl Open {
    /// It is a request that was understood.
    pub(super) fn is_timed(&mut self, timed: Timed) {
        self.timed = Some(timed);
    }

    /// Ends the timing of the response, whose rest is as long as its client wants.
    pub(super) fn is_timed_until_here(&mut self) {
        self.timed = None;
    }

    /// Its answer is out, or on its way.
    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(timed) = &mut self.timed {
            timed.answered(status);
        }
        if !std::mem::replace(&mut self.settled, true) {
            self.watch.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that the client cancelled the request.
    pub(super) fn given_up(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.watch.given_up.fetch_add(1, Ordering::Relaxed);
            self.watch.changed.notify_one();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.watch.streams.fetch_sub(1, Ordering::Relaxed);
        self.watch.moved();
        self.given_up();
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.watch.responses().tracked.remove(&self.key);
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.0.moved();
        self.0.patient.fetch_sub(1, Ordering::Relaxed);
    }
}

fn in_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

const NEVER: u64 = u64::MAX;

/// Maximum number of requests that a client may cancel before they are answered, however few were
/// answered. A browser that leaves a page cancels fewer.
const GIVEN_UP: usize = 100;

/// Checks for progress within an idle timeout; a stalled stream is detected that part of it late.
const CHECKS: u64 = 8;

/// Idle timeouts that the bytes of other streams may delay a response for: 128 streams of a client
/// that reads 20 KiB a second.
const LONGEST_STALL: u64 = 4;

/// Maximum sleep, which every timer can represent.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    /// `LONG` in milliseconds.
    const LIMIT: u64 = 3_600_000;

    #[tokio::test]
    async fn overdue_returns_what_a_check_finds() {
        let watch = Watch::new(SHORT, LONG, Link::new());
        watch.begin();
        assert_eq!(watch.overdue().await, Overdue::Unfinished);
    }

    #[test]
    fn unfinished_input_is_overdue_at_its_deadline() {
        let watch = Watch::new(LONG, 2 * LONG, Link::new());
        watch.begin();
        let due = watch.due.load(Ordering::Relaxed);
        assert!(due >= LIMIT);
        watch.check(due - 1).unwrap();
        assert_eq!(watch.check(due), Err(Overdue::Unfinished));
        watch.whole();
        watch.check(due).unwrap();
    }

    #[test]
    fn a_connection_is_idle_without_progress_and_without_patient_streams() {
        let watch = Arc::new(Watch::new(LONG, LONG, Link::new()));
        let patient = watch.patient();
        watch.check(2 * LIMIT).unwrap();
        drop(patient);
        let moved = watch.moved.load(Ordering::Relaxed);
        watch.check(moved + LIMIT - 1).unwrap();
        assert_eq!(watch.check(moved + LIMIT), Err(Overdue::Idle));
    }

    #[tokio::test]
    async fn a_slow_reader_has_not_left() {
        let watch = Arc::new(Watch::new(LONG, LONG, Link::new()));
        watch.is_unwritten(true);
        tokio::time::timeout(5 * SHORT, watch.left(SHORT)).await.unwrap_err();
        watch.is_unwritten(false);
        watch.left(SHORT).await;
    }

    #[tokio::test]
    async fn clients_that_let_most_requests_be_answered_may_cancel_some() {
        let watch = Arc::new(Watch::new(LONG, LONG, Link::new()));
        for _ in 0..=GIVEN_UP {
            watch.open().answered(StatusCode::OK);
        }
        for _ in 0..GIVEN_UP {
            drop(watch.open());
        }
        tokio::time::timeout(SHORT, watch.overdue()).await.unwrap_err();
        drop(watch.open());
        drop(watch.open());
        assert_eq!(watch.overdue().await, Overdue::GivenUp(GIVEN_UP + 2));
    }
}
