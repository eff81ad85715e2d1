//! The recorder of a trace, and its taps at connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::diagnosis::{Arrived, Diagnosis, Direction, Ended, Evidence, concluded, diagnosis};
use crate::event::{Basis, Event, Side, Time, What};
use crate::kept::{Kept, Room};
use crate::redact::Secrets;
use crate::sample::Sample;

/// Limits of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of events, of 2 KiB on average.
    ///
    /// Of more, the first and the latest ones are kept, and those between them are counted. So the
    /// decoders of a full trace continue, as any event may be the last one. Content is only
    /// counted; a frame or a head takes 0.1 to 4 µs, and the text of messages and fields, at most
    /// 64 KiB of each, less than 10 ns for a byte.
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

/// The properties of a whole trace.
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
    /// The end that recorded it: times and measurements are those of its kernel.
    #[serde(default, skip_serializing_if = "Side::is_client")]
    pub recorded_by: Side,
}

/// A finished trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// The properties of the whole trace.
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
    ours: Side,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trace: Trace,
    events: Kept,
    /// Captured segments, apart from the other events, which cannot displace them.
    segments: Vec<Event>,
    connections: u32,
    /// The sum of all transfers.
    evidence: Option<Evidence>,
    /// Whether one of them is complete.
    is_any_complete: bool,
    arrived: Option<Arrived>,
    /// What was measured so far of transfers under way, by their numbers.
    under_way: BTreeMap<u64, SoFar>,
    transfers: u64,
    /// How the command ended, if it did not complete, and in words.
    ended: Option<(Ended, String)>,
    /// Connections whose client asked for its SYN, which the server did not report yet.
    syns: Vec<u32>,
    secrets: Secrets,
    sampled: BTreeMap<u32, Sampled>,
    /// How often samples were thinned.
    halvings: u32,
}

/// Returns what was measured so far of a transfer.
struct SoFar(Box<dyn Fn() -> Evidence + Send>);

impl fmt::Debug for SoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoFar")
    }
}

/// A transfer under way.
///
/// Dropped before [`Self::complete`], what was measured so far counts; so it does if the trace ends
/// before.
#[derive(Debug)]
pub struct UnderWay {
    recorder: Recorder,
    number: u64,
}

impl UnderWay {
    /// Ends a complete transfer, whose measurements are added by [`Recorder::measured`].
    pub fn complete(self) {
        self.recorder.state().under_way.remove(&self.number);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let so_far = self.recorder.state().under_way.remove(&self.number);
        if let Some(SoFar(measure)) = so_far {
            self.recorder.add_part(&measure());
        }
    }
}

/// The samples of a connection.
#[derive(Debug, Default)]
struct Sampled {
    seen: u64,
    /// The latest one, unless it is in the trace.
    latest: Option<Sample>,
}

impl Recorder {
    /// Begins a trace at the end that connects.
    pub fn new(limits: Limits) -> Self {
        Self::at(Side::Client, limits, Instant::now())
    }

    /// Begins a trace at the end that accepts, whose time axis begins at `began`.
    ///
    /// It contains text of messages only where these are known to be those of a file transfer.
    pub fn of_server(limits: Limits, began: Instant) -> Self {
        Self::at(Side::Server, limits, began)
    }

    fn at(ours: Side, limits: Limits, began: Instant) -> Self {
        Self(Arc::new(Shared { began, limits, ours, state: Mutex::default() }))
    }

    /// Returns whether the end that accepted records.
    pub(crate) fn is_of_server(&self) -> bool {
        self.0.ours == Side::Server
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

    /// Records an event, without its secrets; returns its number.
    pub(crate) fn push(&self, mut event: Event) -> usize {
        let mut state = self.state();
        let room = self.room(&state);
        state.secrets.clean(&mut event.what);
        state.events.push(event, room)
    }

    /// Changes an event by its number, if it is kept, without adding text of a peer.
    pub(crate) fn amend(&self, number: usize, change: impl FnOnce(&mut Event)) {
        let mut state = self.state();
        let room = self.room(&state);
        // A finished trace has no events to change.
        state.events.change(number, room, change);
    }

    /// Changes an event by its number, if it is kept, and removes its secrets.
    pub(crate) fn amend_text(&self, number: usize, change: impl FnOnce(&mut Event)) {
        let mut state = self.state();
        let room = self.room(&state);
        let State { events, secrets, .. } = &mut *state;
        events.change(number, room, |event| {
            change(event);
            secrets.clean(&mut event.what);
        });
    }

    /// Returns whether the trace still has the event of this number.
    pub(crate) fn has(&self, number: usize) -> bool {
        self.state().events.get(number).is_some()
    }

    /// The room for events that are no segments.
    fn room(&self, state: &State) -> Room {
        let Limits { events, payload, .. } = self.0.limits;
        let segments = if state.trace.header.captured { self.max_segments() } else { 0 };
        // An escaped byte has up to 4 characters.
        let bytes =
            events.saturating_mul(BYTES_PER_EVENT.saturating_add(payload.saturating_mul(4)));
        Room { events: events.saturating_sub(segments), bytes }
    }

    /// Removes `secret` from all text of the trace: a token, the key of a pipe, the ID of a share.
    pub fn secret(&self, secret: &str) {
        self.state().secrets.add(secret);
    }

    /// The client of a connection asks the server for its SYN.
    pub(crate) fn asks_for_syn(&self, connection: u32) {
        // The server recorded it itself.
        if self.is_of_server() {
            return;
        }
        let syns = &mut self.state().syns;
        if syns.len() < MAX_SYNS && !syns.contains(&connection) {
            syns.push(connection);
        }
    }

    /// Returns the port of the client of a connection.
    pub(crate) fn port_of(&self, connection: u32) -> Option<u16> {
        let state = self.state();
        state.events.iter().find_map(|event| match &event.what {
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

    /// Adds the received segments of a captured connection.
    pub(crate) fn arrived(&self, more: Arrived) {
        let arrived = &mut self.state().arrived;
        let Arrived { again, twice } = arrived.unwrap_or_default();
        *arrived = Some(Arrived { again: again + more.again, twice: twice + more.twice });
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

    /// Adds the measurements of a complete transfer, from which [`Recorder::finish`] makes a
    /// diagnosis.
    pub fn measured(&self, evidence: &Evidence) {
        self.state().is_any_complete = true;
        self.add_evidence(evidence);
    }

    /// Adds the measurements of a transfer that did not complete, if there was content.
    fn add_part(&self, evidence: &Evidence) {
        if evidence.bytes > 0 || evidence.direction == Direction::Both {
            self.add_evidence(evidence);
        }
    }

    fn add_evidence(&self, evidence: &Evidence) {
        match &mut self.state().evidence {
            Some(whole) => whole.add(evidence),
            none => *none = Some(evidence.clone()),
        }
    }

    /// Begins a transfer; `so_far` is called if it does not complete, perhaps by another thread.
    pub fn under_way(&self, so_far: impl Fn() -> Evidence + Send + 'static) -> UnderWay {
        let mut state = self.state();
        state.transfers += 1;
        let number = state.transfers;
        state.under_way.insert(number, SoFar(Box::new(so_far)));
        UnderWay { recorder: self.clone(), number }
    }

    /// Records that the command did not complete.
    pub fn ended(&self, ended: Ended, text: &str) {
        self.add(None, None, Basis::Observed, What::Failed { text: text.to_owned() });
        self.state().ended.get_or_insert_with(|| (ended, text.to_owned()));
    }

    /// Returns the number of connections so far, with those that were not established.
    pub fn connections(&self) -> u32 {
        self.state().connections
    }

    /// Counts a connection; returns its number.
    pub(crate) fn next_connection(&self) -> u32 {
        let mut state = self.state();
        state.connections += 1;
        state.connections
    }

    /// Ends the trace, with its events by time.
    ///
    /// The diagnosis is that of all transfers together, also of those under way.
    pub fn finish(&self) -> Trace {
        let under_way = std::mem::take(&mut self.state().under_way);
        under_way.into_values().for_each(|SoFar(measure)| self.add_part(&measure()));
        let mut state = self.state();
        let mut trace = std::mem::take(&mut state.trace);
        trace.header.recorded_by = self.0.ours;
        let events = std::mem::take(&mut state.events);
        trace.left_out += events.left_out() as u64;
        trace.events = events.into_events();
        trace.events.append(&mut state.segments);
        let latest = std::mem::take(&mut state.sampled);
        trace.samples.extend(latest.into_values().filter_map(|sampled| sampled.latest));
        let (mut whole, is_any_complete) = (state.evidence.take(), state.is_any_complete);
        let arrived = state.arrived.take();
        let mut ended = state.ended.take();
        let at = trace.events.iter().map(|event| event.at).max().unwrap_or_default();
        trace.events.extend(std::mem::take(&mut state.syns).into_iter().map(|number| {
            let what = What::Note { text: NO_SYN.to_owned() };
            let (connection, basis) = (Some(number), Basis::Observed);
            Event { at, took: None, connection, from: None, basis, what }
        }));
        // A secret may be in events before the one that marks it as a secret.
        trace.events.iter_mut().for_each(|event| state.secrets.clean(&mut event.what));
        ended.iter_mut().for_each(|(_, text)| state.secrets.clean_text(text));
        drop(state);
        trace.events.sort_by_key(|event| event.at);
        trace.samples.sort_by_key(|sample| sample.at);
        if let Some(whole) = &mut whole {
            whole.samples.clone_from(&trace.samples);
            whole.arrived = arrived;
        }
        trace.diagnosis = match ended {
            Some(ended) => Some(concluded(whole.as_ref(), is_any_complete, ended)),
            None => whole.as_ref().map(diagnosis),
        };
        if self.is_of_server() {
            trace.diagnosis = trace.diagnosis.take().map(Diagnosis::of_upload);
        }
        trace
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Average memory of an event, beside payloads that were asked for.
const BYTES_PER_EVENT: usize = 2048;

/// Maximum number of connections that may have a note about their SYN.
const MAX_SYNS: usize = 64;

const NO_SYN: &str = "the server does not report the SYN: only an anyport server does, to clients \
     that have passed its checks";

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
        for number in 0..100 {
            let text = format!("{number:05}").repeat(64 * 1024 / 5);
            recorder.add(None, None, Basis::Observed, What::Line { text });
        }
        let trace = recorder.finish();
        // Together they may have 200 KiB.
        let kept = trace.events.len() - 1;
        assert_eq!(kept, 3);
        assert_eq!(trace.left_out, 100 - kept as u64);
        let begins = |event: Option<&Event>, number: &str| match event.map(|event| &event.what) {
            Some(What::Line { text }) => assert!(text.starts_with(number), "{text}"),
            other => panic!("{other:?}"),
        };
        begins(trace.events.first(), "00000");
        begins(trace.events.last(), "00099");
    }

    #[test]
    fn the_part_of_a_transfer_counts_once_and_a_complete_one_by_its_own_measurements() {
        let part =
            |bytes| Evidence { bytes, elapsed: Duration::from_secs(1), ..Evidence::default() };
        let recorder = Recorder::new(Limits::default());
        let complete = recorder.under_way(move || part(1));
        drop(recorder.under_way(move || part(10)));
        let _under_way = recorder.under_way(move || part(100));
        // Without content it is none.
        drop(recorder.under_way(move || part(0)));
        complete.complete();
        recorder.measured(&part(1000));
        recorder.secret("secret");
        recorder.ended(Ended::Interrupted, "interrupted by a secret");
        recorder.ended(Ended::Lost, "a later one");
        let diagnosis = recorder.finish().diagnosis.unwrap();
        assert_eq!(diagnosis.ended, Some(Ended::Interrupted));
        let evidence = &diagnosis.evidence;
        assert_eq!(evidence[0], "interrupted by a [redacted]");
        assert_eq!(evidence[1], "wrote 1110 bytes of content before");
    }

    /// The receipt and the end of a long transfer are among the latest events.
    #[test]
    fn a_long_trace_has_its_beginning_and_its_end() {
        for captured in [false, true] {
            let recorder = Recorder::new(Limits { events: 20, ..Limits::default() });
            if captured {
                recorder.captures();
            }
            let tap = crate::Tap::new(&recorder, Side::Client, crate::Protocol::Preface);
            for number in 0..1000 {
                let text = format!("ANYPORT/1 PUT {number} size=1\n.END\n");
                text.as_bytes().chunks(3).for_each(|piece| tap.sent(piece));
                tap.received(format!("ANYPORT/1 RECEIPT bytes={number}\n").as_bytes());
            }
            tap.add(Some(Side::Client), Basis::Observed, What::Fin);
            let trace = recorder.finish();
            let kept = if captured { 10 } else { 20 };
            assert_eq!(trace.events.len(), kept);
            assert_eq!(trace.left_out, 4001 - (kept as u64 - 1));
            let gaps: Vec<_> =
                trace.events.iter().filter(|e| matches!(e.what, What::Gap { .. })).collect();
            assert_eq!(gaps.len(), 1);
            assert_eq!(gaps[0].what, What::Gap { events: trace.left_out });
            assert_eq!(trace.events.last().unwrap().what, What::Fin);
            let receipt = |event: &Event| match &event.what {
                What::Line { text } => text.starts_with("ANYPORT/1 RECEIPT bytes=999"),
                _ => false,
            };
            assert!(trace.events.iter().any(receipt), "{:?}", trace.events);
        }
    }

    /// Its event may be left out while it grows.
    #[test]
    fn content_is_counted_also_after_its_event_was_left_out() {
        let recorder = Recorder::new(Limits { events: 10, ..Limits::default() });
        let tap = crate::Tap::new(&recorder, Side::Client, crate::Protocol::Preface);
        for _ in 0..5 {
            recorder.add(None, None, Basis::Observed, What::Note { text: String::new() });
        }
        tap.sent(b"content without a line");
        for _ in 0..100 {
            recorder.add(None, None, Basis::Observed, What::Note { text: String::new() });
        }
        tap.sent(&[0; 7]);
        let trace = recorder.finish();
        let is_content = |event: &&Event| matches!(event.what, What::Content { bytes: 7, .. });
        assert_eq!(trace.events.iter().filter(is_content).count(), 1, "{:?}", trace.events);
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
