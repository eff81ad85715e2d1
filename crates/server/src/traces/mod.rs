//! Traces of received connections, one file each (docs/trace.md).
//!
//! ```text
//!   connection ──► Traced: bytes and events, bounded memory ──end──► writer thread ──► Directory
//! ```
//!
//! A connection has a trace from its detection on, if one of [`CONCURRENT`] slots is free and the
//! rate permits it; others are served without one. Nothing here waits for the disk but the writer.

mod directory;
mod stream;
mod traced;

pub use directory::{TraceDirectoryError, check as check_trace_directory};
pub(crate) use stream::Tapped;
pub(crate) use traced::{Start, Traced};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_trace::{Header, Recorder, Trace, VERSION};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use directory::{Directory, Name};

/// The traces of a server.
#[derive(Debug)]
pub(crate) struct Traces {
    slots: Arc<Semaphore>,
    rate: Mutex<Rate>,
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
        let mut writer = Writer { directory, path: path.to_owned(), warned: None, failed: 0 };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Arc::new(Self {
            slots: Arc::new(Semaphore::new(CONCURRENT)),
            rate: Mutex::new(Rate { second: Instant::now(), begun: 0 }),
            last: AtomicU64::new(0),
            jobs,
        }))
    }

    /// Begins the trace of a connection; `None` if there are too many.
    pub(crate) fn begin(self: &Arc<Self>, start: Start) -> Option<Traced> {
        let slot = self.slots.clone().try_acquire_owned().ok();
        let has_rate =
            || self.rate.lock().unwrap_or_else(PoisonError::into_inner).permits(Instant::now());
        let slot = slot.filter(|_| has_rate())?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Traced::begin(self.clone(), slot, number, start))
    }

    /// Has the trace of a connection that has ended written. Never waits.
    fn finish(&self, finished: Finished) {
        // Its slot is also its place in the queue.
        let _ = self.jobs.try_send(Job::Write(Box::new(finished)));
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

/// The rate of new traces.
#[derive(Debug)]
struct Rate {
    second: Instant,
    begun: u32,
}

impl Rate {
    /// Returns whether a trace may begin `now`, which is then counted.
    fn permits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.begun) = (now, 0);
        }
        let permits = self.begun < PER_SECOND;
        self.begun += u32::from(permits);
        permits
    }
}

/// The thread that writes files.
struct Writer {
    directory: Directory,
    path: PathBuf,
    /// When it last reported an error.
    warned: Option<Instant>,
    /// Traces that were not written since then.
    failed: u64,
}

impl Writer {
    /// Writes until the server is dropped.
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Write(finished) => self.write(&finished),
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, finished: &Finished) {
        let Finished { recorder, header, name, .. } = finished;
        let mut trace = Trace { header: header.clone(), ..recorder.finish() };
        let written = encode(&mut trace, FILE_BYTES)
            .and_then(|content| self.directory.write(&name.to_string(), &content));
        let Err(error) = written else { return };
        self.failed += 1;
        // The fault may last, and a line for each connection would fill the log too.
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let (directory, traces) = (self.path.display(), std::mem::take(&mut self.failed));
            tracing::warn!(%directory, %error, traces, "cannot write the trace of a connection");
        }
    }
}

/// Returns a trace as lines of at most `limit` bytes together; what does not fit is left out.
fn encode(trace: &mut Trace, limit: usize) -> io::Result<Vec<u8>> {
    loop {
        let mut content = Vec::new();
        trace.write_json(&mut content)?;
        if content.len() <= limit || trace.events.is_empty() && trace.samples.is_empty() {
            return Ok(content);
        }
        let (events, samples) = (trace.events.len() / 2, trace.samples.len() / 2);
        trace.left_out += (trace.events.len() - events) as u64;
        trace.events.truncate(events);
        trace.samples.truncate(samples);
    }
}

/// Returns the header of the trace of a connection that began at `began`.
fn header(began: f64, command: String) -> Header {
    Header { version: VERSION, command, began, captured: false, recorded_by: SERVER }
}

const SERVER: anyport_trace::Side = anyport_trace::Side::Server;

/// Maximum number of connections that are traced at one time: each needs up to 3 MB, together
/// 100 MB.
const CONCURRENT: usize = 32;

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

/// Interval of warnings about traces that cannot be written.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use anyport_trace::{Basis, Event, Time, What};

    use super::*;

    #[test]
    fn a_trace_that_is_too_long_for_its_file_is_cut_and_can_be_read() {
        let text = "x".repeat(1000);
        let what = What::Line { text };
        let at = Time::default();
        let (took, connection, from, basis) = (None, Some(1), None, Basis::Observed);
        let event = Event { at, took, connection, from, basis, what };
        let mut trace = Trace { events: vec![event; 100], ..Trace::default() };
        let content = encode(&mut trace, 30_000).unwrap();
        assert!(content.len() <= 30_000, "{}", content.len());
        let read = Trace::read_json(&content[..]).unwrap();
        assert_eq!((read.events.len(), read.left_out), (25, 75));
    }

    #[test]
    fn the_rate_of_new_traces_is_limited_in_each_second() {
        let begun = Instant::now();
        let mut rate = Rate { second: begun, begun: 0 };
        let mut permitted = |after: u64| {
            let now = begun + Duration::from_millis(after);
            (0..1000).filter(|_| rate.permits(now)).count()
        };
        assert_eq!([permitted(0), permitted(999), permitted(1000)], [50, 0, 50]);
    }

    #[test]
    fn connections_beyond_the_slots_have_no_trace() {
        let scratch = tempfile::tempdir().unwrap();
        let [served, path] = ["served", "traces"].map(|name| scratch.path().join(name));
        std::fs::create_dir(&served).unwrap();
        let traces = Traces::open(&path, &served).unwrap();
        let begin = || traces.begin(Start::example());
        let traced: Vec<_> = (0..CONCURRENT).map(|_| begin().unwrap()).collect();
        assert!(begin().is_none());
        drop(traced);
        // Without input no file was written, and the slots are free again.
        assert!(begin().is_some());
    }
}
