//! The recorder of a trace, and its taps at connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::diagnosis::{Diagnosis, Evidence, diagnosis};
use crate::event::{Basis, Event, Side, Time, What};
use crate::redact::Secrets;
use crate::sample::Sample;

/// Limits of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of events; later ones are counted only.
    pub events: usize,
    /// Maximum number of samples; when they are full, every other one is removed.
    pub samples: usize,
    /// Bytes of each payload that are kept; 0 keeps none.
    pub payload: usize,
}

impl Default for Limits {
    /// 20,000 events are about 10 MB, and more than a person reads.
    fn default() -> Self {
        Self { events: 20_000, samples: 4_000, payload: 0 }
    }
}

/// Facts about a trace as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of this format.
    pub version: u32,
    /// The command, with secrets redacted.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began: f64,
    /// Whether packets were captured.
    pub captured: bool,
}

/// A finished trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Facts about it.
    pub header: Header,
    /// Events by time.
    pub events: Vec<Event>,
    /// Samples by time.
    pub samples: Vec<Sample>,
    /// Events that were left out, as there were more than [`Limits::events`].
    pub left_out: u64,
    /// What limited the transfer.
    pub diagnosis: Option<Diagnosis>,
}

/// Records a trace. Clones record into the same one.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trace: Trace,
    /// Captured segments, apart from the other events, which cannot displace them.
    segments: Vec<Event>,
    connections: u32,
    evidence: Vec<Evidence>,
    secrets: Secrets,
}

impl Recorder {
    /// Begins a trace.
    pub fn new(limits: Limits) -> Self {
        let shared = Shared { began: Instant::now(), limits, state: Mutex::default() };
        Self(Arc::new(shared))
    }

    /// Returns the time since the trace began.
    pub fn now(&self) -> Time {
        Time(self.0.began.elapsed())
    }

    /// Returns `instant` on the axis of the trace.
    pub fn time_of(&self, instant: Instant) -> Time {
        Time(instant.saturating_duration_since(self.0.began))
    }

    /// Records an event that happens now.
    pub fn add(&self, connection: Option<u32>, from: Option<Side>, basis: Basis, what: What) {
        let (at, took) = (self.now(), None);
        self.record(Event { at, took, connection, from, basis, what });
    }

    /// Records an event that began at `since` and ends now.
    pub fn add_since(&self, since: Instant, from: Option<Side>, what: What) {
        let at = self.time_of(since);
        let took = Some(Time(self.now().0.saturating_sub(at.0)));
        let (connection, basis) = (None, Basis::Observed);
        self.record(Event { at, took, connection, from, basis, what });
    }

    /// Records an event, without its secrets.
    pub fn record(&self, event: Event) {
        self.push(event);
    }

    /// Records an event, without its secrets; returns its number unless the trace is full.
    pub(crate) fn push(&self, mut event: Event) -> Option<usize> {
        let mut state = self.state();
        let segments = if state.trace.header.captured { self.max_segments() } else { 0 };
        let number = state.trace.events.len();
        if number >= self.0.limits.events.saturating_sub(segments) {
            state.trace.left_out += 1;
            return None;
        }
        state.secrets.clean(&mut event.what);
        state.trace.events.push(event);
        Some(number)
    }

    /// Changes an event by its number, without adding text of a peer.
    pub(crate) fn amend(&self, number: usize, change: impl FnOnce(&mut Event)) {
        // A finished trace has no events to change.
        if let Some(event) = self.state().trace.events.get_mut(number) {
            change(event);
        }
    }

    /// Changes an event by its number, and removes its secrets.
    pub(crate) fn amend_text(&self, number: usize, change: impl FnOnce(&mut Event)) {
        let State { trace, secrets, .. } = &mut *self.state();
        if let Some(event) = trace.events.get_mut(number) {
            change(event);
            secrets.clean(&mut event.what);
        }
    }

    /// Removes `secret` from all text of the trace: a token, the key of a pipe, the ID of a share.
    pub fn secret(&self, secret: &str) {
        self.state().secrets.add(secret);
    }

    /// Returns the limits.
    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Packets are captured: from now on half of the events are segments.
    pub(crate) fn captures(&self) {
        self.state().trace.header.captured = true;
    }

    /// Records a captured segment, or a note about them.
    ///
    /// When there are too many, every other one without marks is removed; when these are few, every
    /// other one with marks; SYN, FIN and RST only when there is nothing else.
    pub(crate) fn segment(&self, event: Event) {
        let state = &mut *self.state();
        let max = self.max_segments();
        let events = &mut state.segments;
        if events.len() >= max {
            // A rank of a few segments would be searched again and again.
            let is_worth = |rank: &u8| {
                events.iter().filter(|event| self::rank(event) == *rank).count() > max / 8
            };
            let removed = [0, 1, 2].into_iter().find(is_worth).unwrap_or(2);
            let (before, mut keep) = (events.len(), false);
            events.retain(|event| {
                keep ^= rank(event) == removed;
                keep || rank(event) != removed
            });
            state.trace.left_out += (before - events.len()) as u64;
        }
        events.push(event);
    }

    /// Maximum number of segments: half of the events.
    fn max_segments(&self) -> usize {
        (self.0.limits.events / 2).max(1)
    }

    /// Records a sample. A full buffer is thinned: every other sample is removed.
    pub fn sample(&self, sample: Sample) {
        let samples = &mut self.state().trace.samples;
        if samples.len() >= self.0.limits.samples {
            let mut keep = false;
            samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        samples.push(sample);
    }

    /// Adds the measurements of one transfer, from which [`Recorder::finish`] makes a diagnosis.
    pub fn measured(&self, evidence: Evidence) {
        self.state().evidence.push(evidence);
    }

    /// Counts a connection; returns its number.
    pub(crate) fn next_connection(&self) -> u32 {
        let mut state = self.state();
        state.connections += 1;
        state.connections
    }

    /// Ends the trace, with its events by time. The diagnosis is that of all transfers together.
    pub fn finish(&self) -> Trace {
        let mut state = self.state();
        let mut trace = std::mem::take(&mut state.trace);
        trace.events.append(&mut state.segments);
        let evidence = std::mem::take(&mut state.evidence);
        // A secret may be in events before the one that shows what it is.
        trace.events.iter_mut().for_each(|event| state.secrets.clean(&mut event.what));
        drop(state);
        trace.events.sort_by_key(|event| event.at);
        trace.samples.sort_by_key(|sample| sample.at);
        let whole = evidence.into_iter().reduce(|mut whole, other| {
            whole.add(&other);
            whole
        });
        trace.diagnosis = whole.map(|mut whole| {
            whole.samples.clone_from(&trace.samples);
            diagnosis(&whole)
        });
        trace
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which segments are removed first: those without marks have rank 0.
fn rank(event: &Event) -> u8 {
    let What::Segment(segment) = &event.what else { return 2 };
    let is_control = |flag: &String| ["SYN", "FIN", "RST"].contains(&&**flag);
    match segment.flags.iter().any(is_control) {
        true => 2,
        false => u8::from(!segment.marks.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn samples_beyond_the_limit_are_thinned_evenly() {
        let recorder = Recorder::new(Limits { samples: 100, ..Limits::default() });
        for at in 0..10_000 {
            let at = Time(Duration::from_millis(at));
            recorder.sample(Sample { at, ..Sample::default() });
        }
        let samples = recorder.finish().samples;
        assert!((50..=100).contains(&samples.len()), "{}", samples.len());
        let times: Vec<_> = samples.iter().map(|sample| sample.at.0).collect();
        assert!(times.is_sorted() && times.last() == Some(&Duration::from_millis(9999)));
        // No long time without one, at the beginning neither.
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= Duration::from_millis(256) && times[0] <= longest, "{times:?}");
    }
}
