//! Traces of received connections, one file each (docs/trace.md).
//!
//! ```text
//!   connection ──► Traced: bytes and events, bounded memory ──end──► writer thread ──► Directory
//! ```
//!
//! A connection has a trace from its detection on, if one of [`CONCURRENT`] slots is free and the
//! rate permits it; others are served without one. When few slots are free, the trace of a long
//! connection ends. Nothing here waits for the disk but the writer.

mod directory;
mod stream;
mod traced;
mod work;

pub use directory::{TraceDirectoryError, check as check_trace_directory};
pub(crate) use stream::Tapped;
pub(crate) use traced::{Start, Traced};
pub(crate) use work::Waits;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_proto::peer::Peer;
use anyport_trace::{Basis, Event, Header, Recorder, Time, Trace, VERSION, What};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::address::counted_as;
use directory::{Directory, Name};
use traced::Traceable;

/// The traces of a server.
#[derive(Debug)]
pub(crate) struct Traces {
    slots: Arc<Semaphore>,
    running: Mutex<Running>,
    /// Number of the last trace.
    last: AtomicU64,
    jobs: SyncSender<Job>,
}

/// Work of the writer thread.
enum Job {
    Write(Box<Finished>),
    /// All traces before it are written.
    Flush(oneshot::Sender<()>),
}

/// A trace of a connection that has ended.
struct Finished {
    recorder: Recorder,
    header: Header,
    name: Name,
    /// Returned when it is written.
    _slot: OwnedSemaphorePermit,
}

impl Traces {
    /// Opens the directory, which is created if it is missing, and starts the writer thread.
    ///
    /// # Errors
    /// The directory cannot be used, or the system cannot create a thread.
    pub(crate) fn open(path: &Path, served: &Path) -> io::Result<Arc<Self>> {
        let directory = Directory::open(path, served).map_err(io::Error::other)?;
        // Each trace in the queue has a slot.
        let (jobs, queue) = sync_channel(CONCURRENT + FLUSHES);
        let mut writer = Writer { directory, path: path.to_owned(), failed: Reported::default() };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Arc::new(Self {
            slots: Arc::new(Semaphore::new(CONCURRENT)),
            running: Mutex::new(Running::new(Instant::now())),
            last: AtomicU64::new(0),
            jobs,
        }))
    }

    /// Begins the trace of a connection; `None` if there are too many.
    pub(crate) fn begin(self: &Arc<Self>, start: Start) -> Option<Traced> {
        let now = Instant::now();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let permitted = running.permits(start.peer, now, self.slots.available_permits());
        let slot = permitted.then(|| self.slots.clone().try_acquire_owned().ok()).flatten();
        let Some(slot) = slot else {
            if let Some(connections) = running.refused.report(now) {
                tracing::warn!(connections, "connections are served without a trace: {TOO_MANY}");
            }
            return None;
        };
        running.rate.begun += 1;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let traced = Traced::begin(self.clone(), slot, number, start);
        running.traces.push(traced.downgrade());
        Some(traced)
    }

    /// Queues the trace for the writer without blocking.
    fn finish(&self, finished: Finished) {
        // Its slot is also its place in the queue, so this fails without the writer only.
        if self.jobs.try_send(Job::Write(Box::new(finished))).is_err() {
            tracing::error!("internal error: the thread that writes traces has ended");
        }
    }

    /// Waits until the traces of all connections that have ended are written, for a limited time.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.try_send(Job::Flush(done)).is_ok()
            && tokio::time::timeout(FLUSH_TIME, written).await.is_err()
        {
            tracing::warn!("the last traces are not written: the disk does not answer");
        }
    }
}

/// The connections that are traced, and those that are not.
#[derive(Debug)]
struct Running {
    rate: Rate,
    traces: Vec<Traceable>,
    refused: Reported,
}

impl Running {
    fn new(now: Instant) -> Self {
        let rate = Rate { second: now, begun: 0 };
        Self { rate, traces: Vec::new(), refused: Reported::default() }
    }

    /// Returns whether a trace of a connection of `peer` may begin `now`. With few free slots, the
    /// trace of the oldest connection ends that has one for long.
    fn permits(&mut self, peer: Peer, now: Instant, free: usize) -> bool {
        if !self.rate.permits(now) {
            return false;
        }
        let (mut oldest, mut of_address) = (None, 0);
        let address = counted_as(peer);
        self.traces.retain(|trace| {
            let Some((accepted, other)) = trace.traced() else { return false };
            of_address += usize::from(counted_as(other) == address);
            let is_long = now.saturating_duration_since(accepted) >= LONG;
            let is_older = || oldest.as_ref().is_none_or(|(other, _)| accepted < *other);
            if is_long && is_older() {
                oldest = Some((accepted, trace.clone()));
            }
            true
        });
        let is_too_many = of_address >= PER_ADDRESS;
        if free <= RESERVE || is_too_many {
            oldest.inspect(|(_, trace)| trace.cut());
        }
        !is_too_many
    }
}

/// The rate of new traces.
#[derive(Debug)]
struct Rate {
    second: Instant,
    begun: u32,
}

impl Rate {
    /// Returns whether a trace may begin `now`.
    fn permits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.begun) = (now, 0);
        }
        self.begun < PER_SECOND
    }
}

/// Events that are counted, and reported now and then: a line for each would fill the log.
#[derive(Debug, Default)]
struct Reported {
    last: Option<Instant>,
    since: u64,
}

impl Reported {
    /// Counts an event; returns their number if it is time to report them.
    fn report(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        let is_due = |last: Instant| now.saturating_duration_since(last) >= WARN_EVERY;
        self.last.is_none_or(is_due).then(|| {
            self.last = Some(now);
            std::mem::take(&mut self.since)
        })
    }
}

/// The thread that writes files.
struct Writer {
    directory: Directory,
    path: PathBuf,
    failed: Reported,
}

impl Writer {
    /// Writes until the server is dropped.
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Write(finished) => self.attempt(|writer| writer.write(&finished)),
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Counts an error of `write` and a panic, which must not end the thread.
    fn attempt(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        let written = catch_unwind(AssertUnwindSafe(|| write(self)));
        let written = written.unwrap_or_else(|_| Err(io::Error::other("internal error: a panic")));
        let Err(error) = written else { return };
        if let Some(traces) = self.failed.report(Instant::now()) {
            let directory = self.path.display();
            tracing::warn!(%directory, %error, traces, "cannot write the trace of a connection");
        }
    }

    fn write(&mut self, finished: &Finished) -> io::Result<()> {
        let Finished { recorder, header, name, .. } = finished;
        let mut trace = Trace { header: header.clone(), ..recorder.finish() };
        let content = encode(&mut trace, FILE_BYTES)?;
        self.directory.write(&name.to_string(), &content)
    }
}

/// Returns a trace as lines of at most `limit` bytes together. Of a longer one, events in the
/// middle are left out, and every other sample.
fn encode(trace: &mut Trace, limit: usize) -> io::Result<Vec<u8>> {
    loop {
        let mut content = Vec::new();
        trace.write_json(&mut content)?;
        let events = trace.events.iter().filter(|event| !is_gap(event)).count();
        if content.len() <= limit || events == 0 && trace.samples.is_empty() {
            return Ok(content);
        }
        trace.left_out += (events - events / 2) as u64;
        leave_out_middle(&mut trace.events, events, events / 2);
        // The latest one remains as long as there are others.
        let mut keep = trace.samples.len().is_multiple_of(2);
        trace.samples.retain(|_| {
            keep = !keep;
            keep
        });
        if let [_] = &trace.samples[..] {
            trace.samples.clear();
        }
    }
}

/// Leaves `kept` of `count` events at both ends; a gap stands for those between them.
fn leave_out_middle(events: &mut Vec<Event>, count: usize, kept: usize) {
    let (first, last) = (kept / 2, kept - kept / 2);
    let (mut number, mut gap) = (0, None::<Event>);
    let mut all = Vec::with_capacity(kept + 2);
    for event in events.drain(..) {
        let is_out = number >= first && number < count - last;
        let of = match event.what {
            What::Gap { events } => events,
            _ => 1,
        };
        number += usize::from(!is_gap(&event));
        if !is_out {
            all.extend(gap.take());
            all.push(event);
            continue;
        }
        let end = event.at.0.saturating_add(event.took.unwrap_or_default().0);
        let gap = gap.get_or_insert_with(|| Event {
            took: Some(Time::default()),
            connection: None,
            from: None,
            basis: Basis::Observed,
            what: What::Gap { events: 0 },
            ..event
        });
        if let What::Gap { events } = &mut gap.what {
            *events += of;
        }
        let took = gap.took.unwrap_or_default().0;
        gap.took = Some(Time(took.max(end.saturating_sub(gap.at.0))));
    }
    all.extend(gap);
    *events = all;
}

const fn is_gap(event: &Event) -> bool {
    matches!(event.what, What::Gap { .. })
}

/// Returns the header of the trace of a connection that began at `began`.
fn header(began: f64, command: String) -> Header {
    Header { version: VERSION, command, began, captured: false, recorded_by: SERVER }
}

const SERVER: anyport_trace::Side = anyport_trace::Side::Server;

/// Maximum number of connections that are traced at one time: each needs up to 3 MB, together
/// 100 MB.
const CONCURRENT: usize = 32;

/// Maximum number of them with clients of one address: a browser opens six, and one client leaves
/// room for others.
const PER_ADDRESS: usize = 8;

/// Free slots at or below which the trace of a long connection ends: its slot is free when the
/// trace is written, and until then others need one.
const RESERVE: usize = 4;

/// Age of a connection whose trace may end before it: rooms and live pages last for days.
const LONG: Duration = Duration::from_secs(120);

const TOO_MANY: &str = "32 at one time and 8 of one address have one, and 50 begin in a second";

/// Maximum number of events of a trace, of 2 KiB on average: more than one page shows. Of a long
/// connection the first and the latest ones are kept.
const EVENTS: usize = 1_000;

/// Maximum number of samples of a trace: as many as a curve has points.
const SAMPLES: usize = 400;

/// Maximum number of new traces per second: of a connection flood, few reach the disk.
const PER_SECOND: u32 = 50;

/// Maximum size of a file: a thousand events have 400 bytes each, unless a peer chose long ones.
const FILE_BYTES: usize = 1 << 20;

/// Callers of [`Traces::flush`] beside the queue of traces: one, when the server stops.
const FLUSHES: usize = 1;

/// Time for the last traces when the server stops.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Interval of warnings about traces that cannot be written, and about connections without one.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use anyport_trace::Sample;

    use super::*;

    #[test]
    fn a_trace_that_is_too_long_for_its_file_is_cut_and_can_be_read() {
        let text = "x".repeat(1000);
        let what = What::Line { text };
        let at = Time::default();
        let (took, connection, from, basis) = (None, Some(1), None, Basis::Observed);
        let event = Event { at, took, connection, from, basis, what };
        let mut trace = Trace { events: vec![event; 100], ..Trace::default() };
        for (number, event) in trace.events.iter_mut().enumerate() {
            event.at = Time(Duration::from_millis(number as u64));
        }
        // The recorder left out events before.
        trace.events[30].what = What::Gap { events: 1000 };
        trace.samples = (0..7)
            .map(|at| Sample { at: Time(Duration::from_millis(at)), ..Sample::default() })
            .collect();
        trace.left_out = 1000;
        let content = encode(&mut trace, 30_000).unwrap();
        assert!(content.len() <= 30_000, "{}", content.len());
        let read = Trace::read_json(&content[..]).unwrap();
        // 99, 49, 24: the first and the last twelve.
        assert_eq!((read.events.len(), read.left_out), (25, 1075));
        let at = |number: usize| read.events[number].at.0.as_millis();
        assert_eq!([at(0), at(11), at(12), at(13), at(24)], [0, 11, 12, 88, 99]);
        assert_eq!(read.events[12].what, What::Gap { events: 1075 });
        assert_eq!(read.events[12].took, Some(Time(Duration::from_millis(75))));
        // Of seven samples four, of these two; the latest one is among them.
        assert_eq!(read.samples.iter().map(|s| s.at.0.as_millis()).collect::<Vec<_>>(), [2, 6]);
        // Nothing fits.
        encode(&mut trace, 10).unwrap();
        assert_eq!((trace.events.len(), trace.samples.len(), trace.left_out), (1, 0, 1099));
        assert_eq!(trace.events[0].what, What::Gap { events: 1099 });
    }

    #[test]
    fn the_rate_of_new_traces_is_limited_in_each_second() {
        let begun = Instant::now();
        let mut rate = Rate { second: begun, begun: 0 };
        let mut permitted = |after: u64| {
            let now = begun + Duration::from_millis(after);
            let mut counted = || {
                let permits = rate.permits(now);
                rate.begun += u32::from(permits);
                permits
            };
            (0..1000).filter(|_| counted()).count()
        };
        assert_eq!([permitted(0), permitted(999), permitted(1000)], [50, 0, 50]);
    }

    #[test]
    fn warnings_have_an_interval_and_count_what_happened_in_it() {
        let begun = Instant::now();
        let mut reported = Reported::default();
        let mut report = |seconds| reported.report(begun + Duration::from_secs(seconds));
        assert_eq!([report(0), report(1), report(59), report(60)], [Some(1), None, None, Some(3)]);
    }

    /// Traces of a scratch directory, and that directory.
    fn traces() -> (Arc<Traces>, tempfile::TempDir, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let [served, path] = ["served", "traces"].map(|name| scratch.path().join(name));
        std::fs::create_dir(&served).unwrap();
        (Traces::open(&path, &served).unwrap(), scratch, path)
    }

    fn peer(address: usize) -> Peer {
        Peer::Socket(SocketAddr::from(([192, 0, 2, u8::try_from(address).unwrap()], 1)))
    }

    #[test]
    fn connections_beyond_the_slots_have_no_trace() {
        let (traces, _scratch, _) = traces();
        let begin = |address| traces.begin(Start::example(Instant::now(), peer(address)));
        let traced: Vec<_> = (0..CONCURRENT).map(|number| begin(number).unwrap()).collect();
        assert!(begin(100).is_none());
        drop(traced);
        // Without input no file was written, and the slots are free again.
        assert!(begin(100).is_some());
    }

    /// Linux returns the error of a socket once, and EPIPE to each later write.
    #[tokio::test]
    async fn only_the_first_error_of_a_socket_says_who_ended_the_connection() {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut};
        for (errors, is_reset) in [
            (&[TimedOut, BrokenPipe][..], false),
            (&[BrokenPipe, BrokenPipe], true),
            (&[ConnectionReset, BrokenPipe], true),
        ] {
            let (traces, _scratch, path) = traces();
            let traced = traces.begin(Start::example(Instant::now(), peer(1))).unwrap();
            traced.received(Instant::now(), b"some content");
            errors.iter().for_each(|kind| traced.failed(&io::Error::from(*kind)));
            drop(traced);
            traces.flush().await;
            let file = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
            let text = std::fs::read_to_string(file).unwrap();
            let resets = text.matches(r#""event":"reset""#).count();
            assert_eq!(resets, usize::from(is_reset), "{errors:?}: {text}");
        }
    }

    #[test]
    fn an_address_has_few_of_the_slots() {
        let (traces, _scratch, _) = traces();
        let begin = |address| traces.begin(Start::example(Instant::now(), peer(address)));
        let mut traced: Vec<_> = (0..PER_ADDRESS).map(|_| begin(1).unwrap()).collect();
        assert!(begin(1).is_none() && begin(2).is_some());
        traced.pop();
        assert!(begin(1).is_some());
    }

    #[tokio::test]
    async fn the_trace_of_a_long_connection_ends_when_others_need_its_slot() {
        let (traces, _scratch, path) = traces();
        let now = Instant::now();
        let begin = |age, address| {
            let traced = traces.begin(Start::example(now.checked_sub(age)?, peer(address)))?;
            traced.received(now, b"some content");
            Some(traced)
        };
        let long: Vec<_> = [2, 1].iter().filter_map(|age| begin(LONG * *age, 200)).collect();
        let short: Vec<_> =
            (0..CONCURRENT - RESERVE - 2).map(|n| begin(Duration::ZERO, n).unwrap()).collect();
        traces.flush().await;
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "there are free slots");
        let more = begin(Duration::ZERO, 201).unwrap();
        traces.flush().await;
        let files = || std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
        let text = std::fs::read_to_string(files().next().unwrap()).unwrap();
        assert!(text.contains("the connection continues") && !text.contains(r#""event":"fin""#));
        // The oldest one, from which nothing more is recorded.
        long[0].received(now, &[0; 1000]);
        drop((long, short, more));
        traces.flush().await;
        assert_eq!(files().count(), CONCURRENT - RESERVE + 1);
        let texts: Vec<_> = files().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts.iter().filter(|text| text.contains(r#""event":"fin""#)).count(), 28);
    }

    #[tokio::test]
    async fn a_panic_in_the_writer_or_in_a_decoder_ends_neither_tracing_nor_the_connection() {
        let (traces, scratch, path) = traces();
        let traced = traces.begin(Start::example(Instant::now(), peer(1))).unwrap();
        traced.received(Instant::now(), b"before");
        traced.fails_to_decode();
        traced.received(Instant::now(), b"after");
        drop(traced);
        traces.flush().await;
        let file = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        let read = Trace::read_json(&std::fs::read(file).unwrap()[..]).unwrap();
        let whats: Vec<_> = read.events.iter().map(|event| &event.what).collect();
        let [What::Content { bytes: 6, .. }, What::Note { text }, What::Fin] = &whats[..] else {
            panic!("{whats:?}");
        };
        assert!(text.starts_with("an internal error ended the decoding"));
        drop(traces);
        let other = scratch.path().join("other");
        let directory = Directory::open(&other, &scratch.path().join("served")).unwrap();
        let mut writer = Writer { directory, path: other.clone(), failed: Reported::default() };
        writer.attempt(|_| panic!("in a test"));
        assert!(writer.failed.last.is_some());
        writer.attempt(|writer| writer.directory.write("x", b"x"));
        assert!(other.join("x").exists());
    }
}
