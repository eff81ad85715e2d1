//! The trace of one connection: its session and its layers report bytes and events.

use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyport_proto::peer::Peer;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::units::format_bytes;
use anyport_trace::{Basis, Event, Limits, Protocol, Recorder, Sample, Side, Tap, What};
use tokio::sync::OwnedSemaphorePermit;

use super::directory::Name;
use super::work::{Between, Waits, Work};
use super::{EVENTS, Finished, SAMPLES, Traces, header};
use crate::link::Link;
use crate::shutdown::Stage;

/// Start of a trace.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) accepted: Instant,
    /// Its detected protocol, or its service.
    pub(crate) protocol: &'static str,
    pub(crate) peer: Peer,
    pub(crate) link: Link,
    pub(crate) stage: Stage,
    pub(crate) has_rate_limit: bool,
    pub(crate) is_encrypted: bool,
}

/// The trace of one connection. Clones belong to the same one; the last one ends it.
#[derive(Clone)]
pub(crate) struct Traced(Arc<Inner>);

struct Inner {
    recorder: Recorder,
    state: Mutex<State>,
    name: Name,
    start: Start,
    traces: Arc<Traces>,
}

/// A trace for which another connection may need the slot.
#[derive(Debug, Clone)]
pub(super) struct Traceable(Weak<Inner>);

#[derive(Default)]
struct State {
    /// Absent when the trace is with the writer; nothing more is recorded then.
    slot: Option<OwnedSemaphorePermit>,
    /// Absent until the protocol of the bytes is known.
    tap: Option<Tap>,
    /// Input of a candidate for bare frames, which may be a file.
    held: Vec<(Instant, Vec<u8>)>,
    /// Whether a byte was received or sent.
    has_bytes: bool,
    /// Whether the client ended its direction.
    has_fin: bool,
    /// Whether an operation of the socket failed.
    has_failed: bool,
    /// When the session ended, unless the connection was lost before.
    finished: Option<Instant>,
    /// Whether the connection was lost, so that the server sent no FIN.
    is_lost: bool,
    /// Whether a decoder panicked, so that nothing more is decoded.
    is_broken: bool,
    /// The last failure of a request, which several layers may report.
    failure: String,
    /// When the last sample was taken.
    sampled: Option<Instant>,
    between: Between,
    work: Work,
}

impl Traced {
    pub(super) fn begin(
        traces: Arc<Traces>,
        slot: OwnedSemaphorePermit,
        number: u64,
        start: Start,
    ) -> Self {
        let limits = Limits { events: EVENTS, samples: SAMPLES, payload: 0 };
        let recorder = Recorder::of_server(limits, start.accepted);
        let now = SystemTime::now();
        let at = now.checked_sub(start.accepted.elapsed()).unwrap_or(now);
        let Start { protocol, peer, .. } = start;
        let name = Name { at, number, protocol, client: peer.ip() };
        let mut state = State { slot: Some(slot), ..State::default() };
        if protocol != CANDIDATE {
            state.tap = Some(Tap::new(&recorder, Side::Server, protocol_of(protocol)));
        }
        Self(Arc::new(Inner { recorder, state: Mutex::new(state), name, start, traces }))
    }

    /// Returns a reference that does not extend the trace.
    pub(super) fn downgrade(&self) -> Traceable {
        Traceable(Arc::downgrade(&self.0))
    }

    /// Records an event that happens now.
    pub(crate) fn add(&self, from: Side, basis: Basis, what: What) {
        self.add_at(Instant::now(), from, basis, what);
    }

    /// Records an event that happened at `at`.
    pub(crate) fn add_at(&self, at: Instant, from: Side, basis: Basis, what: What) {
        if self.open().is_none() {
            return;
        }
        let at = self.0.recorder.time_of(at);
        let (connection, from) = (Some(CONNECTION), Some(from));
        self.0.recorder.record(Event { at, took: None, connection, from, basis, what });
    }

    /// Records a remark of the server.
    pub(crate) fn note(&self, text: String) {
        self.add(Side::Server, Basis::Observed, What::Note { text });
    }

    /// The detection result of a candidate for bare frames, or of any other connection.
    pub(crate) fn decided(&self, protocol: &'static str, reason: &str) {
        self.note(format!("detected as {protocol}: {reason}"));
        let Some(mut state) = self.open() else { return };
        if state.tap.is_none() && protocol != CANDIDATE {
            self.decode(&mut state, protocol_of(protocol), |_| {});
        }
    }

    /// A candidate is bare frames; unless `announced`, their text is content.
    pub(crate) fn frames(&self, announced: bool) {
        let Some(mut state) = self.open() else { return };
        let protocol = if announced { Protocol::Frames } else { Protocol::UnannouncedFrames };
        self.decode(&mut state, protocol, |_| {});
    }

    /// All that is sent from here on is content of a client.
    pub(crate) fn sends_content(&self) {
        if let Some(state) = self.open()
            && let Some(tap) = &state.tap
        {
            tap.sends_content();
        }
    }

    /// Calls `decode` with the tap, which is created for `protocol` if there is none yet.
    ///
    /// A panic of a decoder must not end the transfer, so it ends the decoding.
    fn decode(&self, state: &mut State, protocol: Protocol, decode: impl FnOnce(&Tap)) {
        if state.is_broken {
            return;
        }
        let recorder = &self.0.recorder;
        let held = std::mem::take(&mut state.held);
        let decode = || {
            let new = || Tap::new(recorder, Side::Server, protocol);
            let tap = state.tap.get_or_insert_with(new);
            held.iter().for_each(|(at, bytes)| tap.received_at(*at, bytes));
            decode(tap);
        };
        if catch_unwind(AssertUnwindSafe(decode)).is_err() {
            (state.tap, state.is_broken) = (None, true);
            let (connection, from) = (Some(CONNECTION), Some(Side::Server));
            let what = What::Note { text: BROKEN.to_owned() };
            recorder.add(connection, from, Basis::Observed, what);
            tracing::error!(trace = %self.0.name, "internal error: a decoder of a trace panicked");
        }
    }

    /// Plaintext that was received at `at`; called before the session, which may change it.
    pub(crate) fn received(&self, at: Instant, bytes: &[u8]) {
        let Some(mut state) = self.open() else { return };
        let state = &mut *state;
        state.has_bytes |= !bytes.is_empty();
        if let Some(unread) = self.sample_if_due(state, at) {
            state.between.so_far.sampled(unread);
        }
        let held: usize = state.held.iter().map(|(_, bytes)| bytes.len()).sum();
        if state.tap.is_none() && !state.is_broken && held + bytes.len() <= MAX_HELD {
            return state.held.push((at, bytes.to_vec()));
        }
        self.decode(state, Protocol::Content, |tap| tap.received_at(at, bytes));
    }

    /// Bytes that the kernel moved to a file.
    pub(crate) fn received_by_kernel(&self, count: u64) {
        self.moved(true, |tap| tap.received_by_kernel(count));
    }

    /// Plaintext that was appended to the output, or written.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.moved(true, |tap| tap.sent(bytes));
        }
    }

    /// The first `count` bytes of plaintext in these slices, which were written.
    pub(crate) fn sent_slices(&self, slices: &[IoSlice<'_>], count: usize) {
        if count > 0 {
            self.moved(true, |tap| tap.sent_slices(slices, count));
        }
    }

    /// Bytes of a file that were sent, as a rule by the kernel.
    pub(crate) fn sent_by_kernel(&self, count: u64) {
        self.moved(false, |tap| tap.sent_by_kernel(count));
    }

    fn moved(&self, has_bytes: bool, decode: impl FnOnce(&Tap)) {
        let Some(mut state) = self.open() else { return };
        state.has_bytes |= has_bytes;
        self.sample_if_due(&mut state, Instant::now());
        self.decode(&mut state, Protocol::Content, decode);
    }

    /// The client ended its direction. Under TLS only its close_notify was read.
    pub(crate) fn end_of_stream(&self) {
        if !std::mem::replace(&mut self.state().has_fin, true) {
            let Start { link, is_encrypted, .. } = &self.0.start;
            match (link.is_shut(), is_encrypted) {
                (true, _) => self.note(REPLACED.to_owned()),
                (false, false) => self.add(Side::Client, Basis::Observed, What::Fin),
                (false, true) => {
                    let what = What::Note { text: CLOSE_NOTIFY.to_owned() };
                    self.add(Side::Client, Basis::Observed, what);
                }
            }
        }
        self.sample();
    }

    /// The session ended because no input arrived in time.
    pub(crate) fn idled(&self) {
        self.note("the idle timeout ended the session".to_owned());
    }

    /// The session ended: after the rest of its output the server closes the socket.
    pub(crate) fn finished(&self) {
        self.sample();
        self.state().finished.get_or_insert_with(Instant::now);
    }

    /// A read or a write of the socket failed.
    pub(crate) fn failed(&self, error: &io::Error) {
        // After the FIN of the client, Linux reports its RST to a writer as EPIPE (tcp_reset in
        // tcp_input.c). A Unix socket reports so that the client closed it.
        let Start { peer, link, stage, .. } = &self.0.start;
        let is_reset = match error.kind() {
            io::ErrorKind::ConnectionReset => true,
            io::ErrorKind::BrokenPipe => *peer != Peer::Unix,
            _ => false,
        };
        // Later operations fail with EPIPE, whatever the first error was.
        let is_first = !std::mem::replace(&mut self.state().has_failed, true);
        // A socket that this end shut fails in the same way.
        if is_first && is_reset && !stage.is_aborted() && !link.is_shut() {
            self.state().is_lost = true;
            self.add(Side::Client, Basis::Observed, What::Reset);
        }
    }

    /// The connection was lost, or the server ended it, for this reason.
    pub(crate) fn broken(&self, reason: &str) {
        self.sample();
        self.state().is_lost = true;
        self.refused(reason);
    }

    /// A request begins, which may fail for the same reason as the one before.
    pub(crate) fn request(&self) {
        self.state().failure.clear();
    }

    /// A request or an upload ended without success.
    pub(crate) fn refused(&self, reason: &str) {
        let text = reason.to_owned();
        let before = std::mem::replace(&mut self.state().failure, text.clone());
        if before != text {
            self.add(Side::Server, Basis::Observed, What::Failed { text });
        }
    }

    /// An event of the driver begins; `is_after_wait`: it has done nothing but wait before.
    pub(crate) fn begins(&self, is_after_wait: bool) {
        self.state().between.begins(Instant::now(), is_after_wait);
    }

    /// The driver waits for input, of which the rate limit permits none before `wake`.
    pub(crate) fn rests(&self, wake: Option<Instant>) {
        self.state().between.rests(Instant::now(), wake);
    }

    /// Returns the measurements so far, of which an upload takes a difference.
    pub(crate) fn waits(&self) -> Waits {
        self.state().between.so_far
    }

    /// A file was received completely, with these measurements between its first and last byte.
    pub(crate) fn receipt(&self, receipt: &Receipt, waits: Waits) {
        let name = receipt.path.as_deref().map_or("a file that is not stored", |path| path);
        let seconds = receipt.durable_seconds.unwrap_or(receipt.seconds);
        let size = format_bytes(receipt.bytes);
        let digest = receipt.digest.as_ref().map(|digest| format!(", {digest}"));
        let digest = digest.unwrap_or_default();
        self.note(format!("receipt: {name}, {size} in {seconds:.3} s{digest}"));
        let mut state = self.state();
        state.failure.clear();
        state.work.add(receipt, waits);
    }

    /// Takes a sample if the last one is long ago: no thread does that, only events. Returns the
    /// bytes that wait in the socket.
    fn sample_if_due(&self, state: &mut State, now: Instant) -> Option<usize> {
        let is_due = |last: Instant| now.saturating_duration_since(last) >= SAMPLE_EVERY;
        state.sampled.is_none_or(is_due).then(|| {
            state.sampled = Some(now);
            self.take_sample()
        })?
    }

    /// Takes a sample.
    pub(crate) fn sample(&self) {
        if self.open().is_some() {
            self.take_sample();
        }
    }

    fn take_sample(&self) -> Option<usize> {
        let recorder = &self.0.recorder;
        let link = &self.0.start.link;
        let sample =
            link.with_socket(|socket| Sample::of(&socket, recorder.now(), CONNECTION).ok());
        let sample = sample?;
        let unread = sample.unread.and_then(|unread| usize::try_from(unread).ok());
        recorder.sample(sample);
        unread
    }

    /// Returns the state while the trace is recorded.
    fn open(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.state()).filter(|state| state.slot.is_some())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Traceable {
    /// Returns when the connection was accepted, and its client, while it is traced.
    pub(super) fn traced(&self) -> Option<(Instant, Peer)> {
        let inner = self.0.upgrade()?;
        let is_open = inner.state().slot.is_some();
        is_open.then_some((inner.start.accepted, inner.start.peer))
    }

    /// Ends the trace of a connection that continues.
    pub(super) fn cut(&self) {
        let Some(inner) = self.0.upgrade() else { return };
        let state = &mut *inner.state();
        let slot = state.slot.take();
        // Its tap and its input need memory that the slot stands for.
        let state = State { slot, ..std::mem::take(state) };
        if state.slot.is_some() {
            let (connection, from) = (Some(CONNECTION), Some(Side::Server));
            let what = What::Note { text: CONTINUES.to_owned() };
            inner.recorder.add(connection, from, Basis::Observed, what);
        }
        inner.finish(state, true);
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.0.name).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.finish(state, false);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the trace for the writer, unless it was before.
    fn finish(&self, state: State, continues: bool) {
        // A connection without a byte is in the counters only.
        let Some(slot) = state.slot.filter(|_| state.has_bytes) else { return };
        let recorder = self.recorder.clone();
        let bytes: u64 = state.held.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if bytes > 0 {
            // A candidate that was not confirmed is content.
            Tap::new(&recorder, Side::Server, Protocol::Content).received_by_kernel(bytes);
        }
        if !continues && !state.is_lost {
            // Closing the socket sends it.
            let what = if self.start.link.resets() { What::Reset } else { What::Fin };
            let at = state.finished.map_or_else(|| recorder.now(), |at| recorder.time_of(at));
            let (took, connection) = (None, Some(CONNECTION));
            let (from, basis) = (Some(Side::Server), Basis::Inferred);
            recorder.record(Event { at, took, connection, from, basis, what });
        }
        if let Some(evidence) = state.work.evidence(self.start.has_rate_limit) {
            recorder.measured(&evidence);
        }
        let began = self.name.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = began.as_millis() as f64 / 1000.0;
        let Start { protocol, peer, .. } = &self.start;
        let command = format!("anyport serve: {protocol} connection of {peer}");
        let (header, name) = (header(began, command), self.name.clone());
        self.traces.finish(Finished { recorder, header, name, _slot: slot });
    }
}

/// Returns how to decode the bytes of a protocol or a service. Other protocols are treated as
/// content.
fn protocol_of(word: &str) -> Protocol {
    match word {
        "preface" => Protocol::Preface,
        "http1" | "http2" | "time" => Protocol::Http,
        _ => Protocol::Content,
    }
}

/// The number of the connection in its trace.
const CONNECTION: u32 = 1;

/// The protocol of input that may be bare frames, or a file.
const CANDIDATE: &str = "frame-candidate";

const CLOSE_NOTIFY: &str = "close_notify: the client sends nothing more";

const REPLACED: &str = "the server shut the socket: its sender continues over another connection";

const BROKEN: &str = "an internal error ended the decoding; later bytes are not shown";

const CONTINUES: &str = "the connection continues: its trace ends for that of another one";

/// Input of a candidate that waits for its confirmation; of more, nothing is decoded.
const MAX_HELD: usize = 64 * 1024;

/// Shortest interval of two samples at events: a curve of a second then has 20 points.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
impl Start {
    /// A connection of `peer` that was accepted at `accepted`.
    pub(crate) fn example(accepted: Instant, peer: Peer) -> Self {
        let (protocol, link, stage) = ("raw", Link::new(), Stage::default());
        Self { accepted, protocol, peer, link, stage, has_rate_limit: false, is_encrypted: false }
    }
}

#[cfg(test)]
impl Traced {
    /// Decodes bytes whose decoder panics.
    pub(super) fn fails_to_decode(&self) {
        self.moved(true, |_| panic!("in a test"));
    }
}
