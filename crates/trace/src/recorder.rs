//! The recorder of a trace, and its taps at connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::diagnosis::{Diagnosis, Evidence, diagnosis};
use crate::event::{Basis, Event, Side, Time, TlsMessage, What};
use crate::redact::Secrets;
use crate::sample::Sample;

/// Limits of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of events, of 2 KiB on average; further ones are counted only.
    pub events: usize,
    /// Maximum number of samples; when they are full, every other one is removed.
    pub samples: usize,
    /// Bytes of each payload that are kept; 0 keeps none.
    pub payload: usize,
}

impl Default for Limits {
    /// 20,000 events are more than a person reads, and together at most about 40 MB.
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
    /// The main limit of the transfer.
    pub diagnosis: Option<Diagnosis>,
}

/// Records a trace.
///
/// Clones record into the same one.
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
    /// The sum of all transfers.
    evidence: Option<Evidence>,
    /// Connections whose client asked for its SYN, which the server did not report yet.
    syns: Vec<u32>,
    secrets: Secrets,
    sampled: BTreeMap<u32, Sampled>,
    /// How often samples were thinned.
    halvings: u32,
    /// Memory of the events, without those of segments.
    bytes: usize,
}

/// The samples of a connection.
#[derive(Debug, Default)]
struct Sampled {
    seen: u64,
    /// The latest one, unless it is in the trace.
    latest: Option<Sample>,
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
        let bytes = state.bytes.saturating_add(weight(&event.what));
        let is_full = number >= self.0.limits.events.saturating_sub(segments);
        if is_full || bytes > self.max_bytes() {
            state.trace.left_out += 1;
            return None;
        }
        state.bytes = bytes;
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
        let State { trace, secrets, bytes, .. } = &mut *self.state();
        if let Some(event) = trace.events.get_mut(number) {
            let others = bytes.saturating_sub(weight(&event.what));
            change(event);
            *bytes = others.saturating_add(weight(&event.what));
            secrets.clean(&mut event.what);
        }
    }

    /// Removes `secret` from all text of the trace: a token, the key of a pipe, the ID of a share.
    pub fn secret(&self, secret: &str) {
        self.state().secrets.add(secret);
    }

    /// The client of a connection asks the server for its SYN.
    pub(crate) fn asks_for_syn(&self, connection: u32) {
        let syns = &mut self.state().syns;
        if syns.len() < MAX_SYNS && !syns.contains(&connection) {
            syns.push(connection);
        }
    }

    /// Returns the port of the client of a connection.
    pub(crate) fn port_of(&self, connection: u32) -> Option<u16> {
        let state = self.state();
        state.trace.events.iter().find_map(|event| match &event.what {
            What::Connected { local, .. } if event.connection == Some(connection) => {
                local.rsplit(':').next()?.parse().ok()
            }
            _ => None,
        })
    }

    /// Records the SYN that the server reported, or why it has none.
    ///
    /// Returns whether it was asked, and reports it for the first time.
    pub(crate) fn has_syn(&self, connection: u32) -> bool {
        let syns = &mut self.state().syns;
        let before = syns.len();
        syns.retain(|number| *number != connection);
        syns.len() < before
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
        if events.len() < max {
            events.push(event);
        } else {
            state.trace.left_out += 1;
        }
    }

    /// Maximum memory of the events.
    fn max_bytes(&self) -> usize {
        let Limits { events, payload, .. } = self.0.limits;
        // An escaped byte has up to 4 characters.
        events.saturating_mul(BYTES_PER_EVENT.saturating_add(payload.saturating_mul(4)))
    }

    /// Maximum number of segments: half of the events.
    fn max_segments(&self) -> usize {
        (self.0.limits.events / 2).max(1)
    }

    /// Records a sample.
    ///
    /// A full buffer is thinned: of each connection every other sample is removed, and as many
    /// fewer are kept from then on. The latest one of each is kept.
    pub fn sample(&self, sample: Sample) {
        let max = self.0.limits.samples;
        let State { trace, sampled, halvings, .. } = &mut *self.state();
        if sampled.len() >= max && !sampled.contains_key(&sample.connection) {
            sampled.pop_first();
        }
        let Sampled { seen, latest } = sampled.entry(sample.connection).or_default();
        let number = *seen;
        (*seen, *latest) = (number + 1, Some(sample));
        let is_due = |halvings: u32| number.trailing_zeros() >= halvings;
        let samples = &mut trace.samples;
        if is_due(*halvings) && samples.len() >= max {
            let mut keep = BTreeMap::new();
            samples.retain(|sample| {
                let keep = keep.entry(sample.connection).or_insert(false);
                *keep = !*keep;
                *keep
            });
            *halvings += 1;
        }
        if is_due(*halvings) && samples.len() < max {
            samples.push(sample);
            *latest = None;
        }
    }

    /// Adds the measurements of one transfer, from which [`Recorder::finish`] makes a diagnosis.
    pub fn measured(&self, evidence: Evidence) {
        match &mut self.state().evidence {
            Some(whole) => whole.add(&evidence),
            none => *none = Some(evidence),
        }
    }

    /// Counts a connection; returns its number.
    pub(crate) fn next_connection(&self) -> u32 {
        let mut state = self.state();
        state.connections += 1;
        state.connections
    }

    /// Ends the trace, with its events by time.
    ///
    /// The diagnosis is that of all transfers together.
    pub fn finish(&self) -> Trace {
        let mut state = self.state();
        let mut trace = std::mem::take(&mut state.trace);
        trace.events.append(&mut state.segments);
        let latest = std::mem::take(&mut state.sampled);
        trace.samples.extend(latest.into_values().filter_map(|sampled| sampled.latest));
        let whole = state.evidence.take();
        let at = trace.events.iter().map(|event| event.at).max().unwrap_or_default();
        trace.events.extend(std::mem::take(&mut state.syns).into_iter().map(|number| {
            let what = What::Note { text: NO_SYN.to_owned() };
            let (connection, basis) = (Some(number), Basis::Observed);
            Event { at, took: None, connection, from: None, basis, what }
        }));
        // A secret may be in events before the one that shows what it is.
        trace.events.iter_mut().for_each(|event| state.secrets.clean(&mut event.what));
        drop(state);
        trace.events.sort_by_key(|event| event.at);
        trace.samples.sort_by_key(|sample| sample.at);
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

/// The memory of an event: that of its text, which a peer determines.
fn weight(what: &What) -> usize {
    let of_texts = |texts: &[String]| texts.iter().map(|text| TEXT + text.len()).sum();
    let of_fields = |fields: &[(String, String)]| -> usize {
        fields.iter().map(|(name, value)| 2 * TEXT + name.len() + value.len()).sum()
    };
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let text: usize = match what {
        What::Resolved { host, addresses } => host.len() + of_texts(addresses),
        What::TlsMessage(message) => {
            let TlsMessage { name, server_name, alpn, suites, .. } = message;
            name.len() + of(server_name) + of_texts(alpn) + of_texts(suites)
        }
        What::TlsDone { certificate, .. } => {
            certificate.as_ref().map_or(0, |certificate| of_texts(&certificate.names))
        }
        What::Head { start, fields } => start.len() + of_fields(fields),
        What::WebSocketAccept { received, .. } => received.len(),
        What::Frame(frame) => of(&frame.text) + of(&frame.payload),
        What::Http2(frame) => of_fields(&frame.values) + of(&frame.payload),
        What::Line { text } | What::Failed { text } | What::Note { text } => text.len(),
        What::Content { payload, .. } => of(payload),
        _ => 0,
    };
    size_of::<Event>() + text
}

/// Average memory of an event, beside payloads that were asked for.
const BYTES_PER_EVENT: usize = 2048;

/// Memory of a text beside its bytes.
const TEXT: usize = size_of::<String>();

/// Maximum number of connections that may have a note about their SYN.
const MAX_SYNS: usize = 64;

const NO_SYN: &str = "the server does not report the SYN of its clients: its listener keeps none, \
     or it is no anyport server of this version";

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
    fn long_events_fill_a_trace_before_their_number_does() {
        let recorder = Recorder::new(Limits { events: 100, ..Limits::default() });
        for _ in 0..100 {
            let text = "x".repeat(64 * 1024);
            recorder.add(None, None, Basis::Observed, What::Line { text });
        }
        let trace = recorder.finish();
        assert_eq!((trace.events.len(), trace.left_out), (3, 97));
    }

    #[test]
    fn thinning_keeps_samples_of_each_connection() {
        let recorder = Recorder::new(Limits { samples: 100, ..Limits::default() });
        for at in 0..10_000 {
            let (at, connection) = (Time(Duration::from_millis(at)), u32::from(at % 2 == 0));
            recorder.sample(Sample { at, connection, ..Sample::default() });
        }
        let samples = recorder.finish().samples;
        let of = |number| samples.iter().filter(|sample| sample.connection == number).count();
        assert!(of(0) > 20 && of(1) > 20, "{} and {}", of(0), of(1));
    }

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
