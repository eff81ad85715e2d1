//! The trace of one connection: its session and its layers report bytes and events.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyport_net::queues::{unacknowledged, unread};
use anyport_net::tcp_info::TcpInfo;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::units::format_bytes;
use anyport_trace::{
    Basis, Direction, Event, Evidence, Limits, Protocol, Recorder, Sample, Side, Tap, TcpTimes,
    What,
};
use tokio::sync::OwnedSemaphorePermit;

use super::directory::Name;
use super::{EVENTS, Finished, SAMPLES, Traces, header};
use crate::link::Link;

/// What is known of a connection when its trace begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) accepted: Instant,
    /// Its detected protocol, or its service.
    pub(crate) protocol: &'static str,
    pub(crate) peer: Peer,
    pub(crate) link: Link,
    pub(crate) limit_rate: Option<u64>,
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
    slot: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct State {
    /// Absent until the protocol of the bytes is known.
    tap: Option<Tap>,
    /// Input of a candidate for bare frames, which may be a file.
    held: Vec<(Instant, Vec<u8>)>,
    /// Whether a byte was received or sent.
    has_bytes: bool,
    /// Whether each end has ended its direction, in the order of [`Side`].
    ended: [bool; 2],
    /// Whether the connection was lost, so that the end of it is not known.
    is_lost: bool,
    /// The last failure, which several layers may report.
    failure: String,
    /// When the last sample was taken.
    sampled: Option<Instant>,
    /// Work on the current file.
    work: Work,
}

/// Evidence of what limits an upload, since the receipt before.
#[derive(Debug, Default, Clone, Copy)]
struct Work {
    /// Time in the layers and the session.
    handling: Duration,
    /// Bytes that the kernel moved, whose time is not known.
    by_kernel: u64,
    /// Samples, and those with input that waited for this end.
    samples: u32,
    behind: u32,
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
        let mut state = State::default();
        if protocol != CANDIDATE {
            state.tap = Some(Tap::new(&recorder, Side::Server, protocol_of(protocol)));
        }
        let (state, slot) = (Mutex::new(state), Some(slot));
        Self(Arc::new(Inner { recorder, state, name, start, traces, slot }))
    }

    /// Records an event that happens now.
    pub(crate) fn add(&self, from: Side, basis: Basis, what: What) {
        self.add_at(Instant::now(), from, basis, what);
    }

    /// Records an event that happened at `at`.
    pub(crate) fn add_at(&self, at: Instant, from: Side, basis: Basis, what: What) {
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
        let state = &mut *self.state();
        if state.tap.is_none() && protocol != CANDIDATE {
            self.settle(state, protocol_of(protocol));
        }
    }

    /// A candidate is bare frames; unless `announced`, their text is content.
    pub(crate) fn frames(&self, announced: bool) {
        let state = &mut *self.state();
        self.settle(state, if announced { Protocol::Frames } else { Protocol::UnannouncedFrames });
    }

    /// All that is sent from here on is content of a client.
    pub(crate) fn sends_content(&self) {
        if let Some(tap) = &self.state().tap {
            tap.sends_content();
        }
    }

    fn settle<'s>(&self, state: &'s mut State, protocol: Protocol) -> &'s Tap {
        let held = std::mem::take(&mut state.held);
        let new = || Tap::new(&self.0.recorder, Side::Server, protocol);
        let tap = state.tap.get_or_insert_with(new);
        held.iter().for_each(|(at, bytes)| tap.received_at(*at, bytes));
        tap
    }

    /// Plaintext that was received at `at`; called before the session, which may change it.
    pub(crate) fn received(&self, at: Instant, bytes: &[u8]) {
        let state = &mut *self.state();
        state.has_bytes |= !bytes.is_empty();
        self.sample_if_due(state, at);
        if let Some(tap) = &state.tap {
            return tap.received_at(at, bytes);
        }
        let held: usize = state.held.iter().map(|(_, bytes)| bytes.len()).sum();
        if held + bytes.len() <= MAX_HELD {
            return state.held.push((at, bytes.to_vec()));
        }
        self.settle(state, Protocol::Content).received_at(at, bytes);
    }

    /// Bytes that the kernel moved to a file.
    pub(crate) fn received_by_kernel(&self, count: u64) {
        let state = &mut *self.state();
        state.has_bytes = true;
        state.work.by_kernel += count;
        self.sample_if_due(state, Instant::now());
        self.settle(state, Protocol::Content).received_by_kernel(count);
    }

    /// Plaintext that was appended to the output, or written.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let state = &mut *self.state();
        state.has_bytes = true;
        self.sample_if_due(state, Instant::now());
        self.settle(state, Protocol::Content).sent(bytes);
    }

    /// Bytes of a file that were sent, as a rule by the kernel.
    pub(crate) fn sent_by_kernel(&self, count: u64) {
        let state = &mut *self.state();
        self.sample_if_due(state, Instant::now());
        self.settle(state, Protocol::Content).sent_by_kernel(count);
    }

    /// The client ended its direction. Under TLS only its close_notify was read.
    pub(crate) fn end_of_stream(&self) {
        if self.end(Side::Client) {
            let what = match self.0.start.is_encrypted {
                false => What::Fin,
                true => What::Note { text: CLOSE_NOTIFY.to_owned() },
            };
            self.add(Side::Client, Basis::Observed, what);
        }
        self.sample();
    }

    /// The session ended because no input arrived in time.
    pub(crate) fn idled(&self) {
        self.note("the idle timeout ended the session".to_owned());
    }

    /// The server has nothing more to send: FIN, or a reset that the peer must not take for the end
    /// of content.
    pub(crate) fn finished(&self) {
        self.sample();
        if self.end(Side::Server) {
            let what = if self.0.start.link.resets() { What::Reset } else { What::Fin };
            self.add(Side::Server, Basis::Inferred, what);
        }
    }

    /// A read of the socket failed.
    pub(crate) fn failed_to_read(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionReset && self.end(Side::Client) {
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

    /// A request or an upload ended without success.
    pub(crate) fn refused(&self, reason: &str) {
        let text = reason.to_owned();
        if std::mem::replace(&mut self.state().failure, text.clone()) != text {
            self.add(Side::Server, Basis::Observed, What::Failed { text });
        }
    }

    /// Adds time of the layers and of the session.
    pub(crate) fn worked(&self, time: Duration) {
        self.state().work.handling += time;
    }

    /// A file was received completely.
    pub(crate) fn receipt(&self, receipt: &Receipt) {
        let name = receipt.path.as_deref().map_or("a file that is not stored", |path| path);
        let seconds = receipt.durable_seconds.unwrap_or(receipt.seconds);
        let size = format_bytes(receipt.bytes);
        let digest = receipt.digest.as_ref().map(|digest| format!(", {digest}"));
        let digest = digest.unwrap_or_default();
        self.note(format!("receipt: {name}, {size} in {seconds:.3} s{digest}"));
        let work = std::mem::take(&mut self.state().work);
        let evidence = self.evidence(receipt, work);
        if let Some(evidence) = evidence {
            self.0.recorder.measured(&evidence);
        }
    }

    /// Returns the measurements of an upload, unless they do not show what limited it.
    fn evidence(&self, receipt: &Receipt, work: Work) -> Option<Evidence> {
        let time = |seconds: Option<f64>| {
            Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
        };
        let bytes = receipt.bytes.saturating_sub(receipt.resumed);
        let elapsed = time(receipt.durable_seconds.or(Some(receipt.seconds)));
        let (hashing, writing) = (time(receipt.hashing_seconds), time(receipt.storing_seconds));
        let syncing = elapsed.saturating_sub(time(Some(receipt.seconds)));
        let other = work.handling.saturating_sub(hashing + writing);
        let (tls, unknown) = match self.0.start.is_encrypted {
            true => (other, Duration::ZERO),
            false => (Duration::ZERO, other),
        };
        // The pauses of a rate limit are in the driver: a transfer at this rate is limited by it.
        let needed = |rate: u64| time(Some(bytes as f64 / rate.max(1) as f64));
        let is_paced = self.0.start.limit_rate.is_some_and(|rate| needed(rate) > elapsed * 3 / 4);
        // Input that waits in the socket is not one that this end waits for.
        let is_behind = work.behind * 2 > work.samples;
        let is_measured = !work.handling.is_zero() && work.by_kernel == 0;
        if bytes < WORTH || !is_measured || is_behind != is_paced || unknown > elapsed / 4 {
            return None;
        }
        let storing = writing + syncing;
        let pausing = match is_paced {
            true => elapsed.saturating_sub(hashing + storing + other),
            false => Duration::ZERO,
        };
        let (direction, transfers) = (Direction::Receiving, 1);
        let tcp = self.0.start.link.tcp().map(|tcp| times(&tcp));
        let none = Evidence::default();
        Some(Evidence {
            direction,
            transfers,
            elapsed,
            bytes,
            hashing,
            storing,
            pausing,
            tls,
            tcp,
            ..none
        })
    }

    /// Takes a sample if the last one is long ago: no thread does that, only events.
    fn sample_if_due(&self, state: &mut State, now: Instant) {
        let is_due = |last: Instant| now.saturating_duration_since(last) >= SAMPLE_EVERY;
        if state.sampled.is_none_or(is_due) {
            state.sampled = Some(now);
            self.take_sample(state);
        }
    }

    /// Takes a sample.
    pub(crate) fn sample(&self) {
        self.take_sample(&mut self.state());
    }

    fn take_sample(&self, state: &mut State) {
        let recorder = &self.0.recorder;
        let sample = self.0.start.link.with_socket(|socket| {
            let tcp = TcpInfo::of(socket).ok()?;
            Some(Sample {
                at: recorder.now(),
                connection: CONNECTION,
                rtt_us: tcp.rtt_us,
                rttvar_us: tcp.rttvar_us,
                min_rtt_us: tcp.min_rtt_us,
                cwnd: tcp.cwnd,
                ssthresh: tcp.ssthresh,
                mss: tcp.mss,
                in_flight: tcp.in_flight,
                delivery_rate: tcp.delivery_rate,
                app_limited: tcp.app_limited,
                acked: tcp.acked,
                received: tcp.received,
                retransmits: tcp.retransmits,
                segments: tcp.segments,
                peer_window: tcp.peer_window,
                receive_space: tcp.receive_space,
                busy_us: tcp.busy_us,
                rwnd_limited_us: tcp.rwnd_limited_us,
                sndbuf_limited_us: tcp.sndbuf_limited_us,
                unread: unread(socket).ok(),
                unacked: unacknowledged(&socket).ok(),
                state: tcp.state,
            })
        });
        if let Some(sample) = sample {
            state.work.samples += 1;
            state.work.behind += u32::from(sample.unread.unwrap_or(0) > 0);
            recorder.sample(sample);
        }
    }

    /// Records that `side` has ended its direction; returns whether it is the first time.
    fn end(&self, side: Side) -> bool {
        !std::mem::replace(&mut self.state().ended[side as usize], true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        // A connection without a byte says nothing that the counters do not.
        let Some(slot) = self.slot.take().filter(|_| state.has_bytes) else { return };
        let recorder = self.recorder.clone();
        let bytes: u64 = state.held.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if bytes > 0 {
            // A candidate that was not confirmed is content.
            Tap::new(&recorder, Side::Server, Protocol::Content).received_by_kernel(bytes);
        }
        if !state.ended[Side::Server as usize] && !state.is_lost {
            // Closing the socket sends it.
            let what = if self.start.link.resets() { What::Reset } else { What::Fin };
            let (at, took, connection) = (recorder.now(), None, Some(CONNECTION));
            let (from, basis) = (Some(Side::Server), Basis::Inferred);
            recorder.record(Event { at, took, connection, from, basis, what });
        }
        let began = self.name.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = began.as_millis() as f64 / 1000.0;
        let Start { protocol, peer, .. } = &self.start;
        let command = format!("anyport serve: {protocol} connection of {peer}");
        let (header, name) = (header(began, command), self.name.clone());
        self.traces.finish(Finished { recorder, header, name, _slot: slot });
    }
}

/// Returns how to decode the bytes of a protocol or a service. What has no messages of anyport is
/// content, so that no part of it is recorded.
fn protocol_of(word: &str) -> Protocol {
    match word {
        "preface" => Protocol::Preface,
        "http1" | "http2" | "time" => Protocol::Http,
        _ => Protocol::Content,
    }
}

/// Returns statistics of the whole connection: those of a receiver are nearly all of the upload.
fn times(tcp: &TcpInfo) -> TcpTimes {
    let micros = |micros: Option<u64>| Duration::from_micros(micros.unwrap_or_default());
    TcpTimes {
        rtt: micros(tcp.rtt_us),
        min_rtt: micros(tcp.min_rtt_us),
        own_window: tcp.own_window.unwrap_or_default(),
        receive_rtt: micros(tcp.rcv_rtt_us),
        received_segments: tcp.received_segments.unwrap_or_default(),
        out_of_order: tcp.out_of_order.unwrap_or_default(),
        ..TcpTimes::default()
    }
}

/// The number of the connection in its trace.
const CONNECTION: u32 = 1;

/// The protocol of input that may be bare frames, or a file.
const CANDIDATE: &str = "frame-candidate";

const CLOSE_NOTIFY: &str = "close_notify: the client sends nothing more";

/// Input of a candidate that waits for its confirmation; of more, nothing is decoded.
const MAX_HELD: usize = 64 * 1024;

/// Shortest interval of two samples at events: a curve of a second then has 20 points.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Bytes of an upload below which round trips determine its time more than anything else.
const WORTH: u64 = 64 * 1024;

#[cfg(test)]
impl Start {
    /// A connection that was accepted now.
    pub(crate) fn example() -> Self {
        let (accepted, link) = (Instant::now(), Link::new());
        let (protocol, peer) = ("raw", Peer::Unix);
        Self { accepted, protocol, peer, link, limit_rate: None, is_encrypted: false }
    }
}
