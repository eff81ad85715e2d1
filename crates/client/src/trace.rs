//! The trace of a connection: the events below its protocol, and samples of the kernel's state.
//!
//! ```text
//!   connect ─► steps, TLS ──► Tap ◄── bytes of both directions ◄── stream
//!                              ▲
//!   thread "trace" ─► samples ─┘   every 10 ms, later in a thousandth of the elapsed time
//! ```

use std::fmt;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyport_net::dial::Step;
use anyport_net::resolve::{address_text, is_address};
use anyport_net::tcp_info::TcpInfo;
use anyport_proto::one_line::reason;
use anyport_trace::{Basis, Event, Protocol, Recorder, Sample, Side, Tap, Time, What};

use crate::capture::Capture;
use crate::error::Error;
use crate::target::Scheme;

/// The trace of one connection. Clones belong to the same one; the last one ends it.
#[derive(Clone)]
pub(crate) struct Traced(Arc<Inner>);

struct Inner {
    tap: Tap,
    capture: Option<Capture>,
    /// When the attempt that connects began.
    attempted: Mutex<Option<Instant>>,
    /// Once it is connected; without the second handle of a socket there is no sampler.
    sampler: OnceLock<Option<Sampler>>,
    /// Whether this end, and the server, ended its direction.
    ended: [AtomicBool; 2],
    /// Whether closing the socket resets the connection.
    resets: AtomicBool,
    /// Whether the server reset it: closing the socket then sends nothing.
    was_reset: AtomicBool,
}

impl Traced {
    pub(crate) fn begin(recorder: &Recorder, scheme: Scheme, capture: Option<Capture>) -> Self {
        let protocol = match scheme {
            Scheme::Tcp => Protocol::Preface,
            Scheme::Frames => Protocol::Frames,
            Scheme::Ws | Scheme::Http => Protocol::Http,
        };
        Self(Arc::new(Inner {
            tap: Tap::new(recorder, Side::Client, protocol),
            capture,
            attempted: Mutex::default(),
            sampler: OnceLock::new(),
            ended: Default::default(),
            resets: AtomicBool::new(false),
            was_reset: AtomicBool::new(false),
        }))
    }

    fn add(&self, from: Side, what: What) {
        self.0.tap.add(Some(from), Basis::Observed, what);
    }

    /// Records an event that began at `since` and ends now.
    fn add_since(&self, since: Instant, what: What) {
        let recorder = self.0.tap.recorder();
        let at = recorder.time_of(since);
        let took = Some(Time(recorder.now().0.saturating_sub(at.0)));
        let (connection, from) = (Some(self.0.tap.number()), Some(Side::Client));
        recorder.record(Event { at, took, connection, from, basis: Basis::Observed, what });
    }

    /// Records a step of connecting to `host`, which began at `since`.
    pub(crate) fn step(&self, host: &str, since: Instant, step: Step<'_>) {
        if let (Some(capture), Step::Resolved(addresses)) = (&self.0.capture, &step) {
            capture.dialing(self.0.tap.number(), addresses);
        }
        match step {
            // The resolver is not asked for an address.
            Step::Resolved(_) if is_address(host) => {}
            Step::Resolved(addresses) => {
                let addresses = addresses.iter().map(|address| address_text(*address)).collect();
                self.add_since(since, What::Resolved { host: host.to_owned(), addresses });
            }
            Step::Begins(address) => self.attempt(address_text(address)),
            Step::Failed(address, error) => self.attempt_failed(address_text(address), error),
            Step::Closed(address) => {
                let (address, reason) = (address_text(address), OTHER.to_owned());
                self.add(Side::Client, What::AttemptFailed { address, reason });
            }
            _ => {}
        }
    }

    pub(crate) fn attempt(&self, address: String) {
        self.add(Side::Client, What::Attempt { address });
        *lock(&self.0.attempted) = Some(Instant::now());
    }

    pub(crate) fn attempt_failed(&self, address: String, error: &io::Error) {
        self.add(Side::Client, What::AttemptFailed { address, reason: reason(error) });
    }

    /// The server is about to be asked for the SYN; the trace says if it reports none.
    pub(crate) fn asks_for_syn(&self) {
        self.0.tap.asks_for_syn();
    }

    pub(crate) fn note(&self, text: String) {
        self.add(Side::Client, What::Note { text });
    }

    /// Records that `stream` is connected, and samples it from now on.
    pub(crate) fn connected(&self, stream: &TcpStream, peer: String, congestion: &str) {
        if let Some(capture) = &self.0.capture {
            capture.connected(self.0.tap.number(), stream);
        }
        let local = stream.local_addr().map(address_text).unwrap_or_else(|_| "unix".to_owned());
        let congestion = Some(congestion.to_owned()).filter(|name| !name.is_empty());
        let since = lock(&self.0.attempted).unwrap_or_else(Instant::now);
        self.add_since(since, What::Connected { local, peer, congestion });
        let _ = self.0.sampler.set(Sampler::start(stream, &self.0.tap));
    }

    /// Records the end of the TLS handshake.
    pub(crate) fn tls_done(&self, what: What) {
        self.add(Side::Client, what);
        if let Some(Some(sampler)) = self.0.sampler.get() {
            sampler.shared.sample();
        }
    }

    /// Plaintext that was written.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        self.0.tap.sent(bytes);
    }

    /// The first `count` bytes of plaintext in these slices, which were written.
    pub(crate) fn sent_slices(&self, slices: &[IoSlice<'_>], count: usize) {
        self.0.tap.sent_slices(slices, count);
    }

    /// The result of a read of plaintext. An empty one is the end.
    pub(crate) fn read(&self, read: Result<&[u8], &io::Error>) {
        match read {
            Ok([]) => self.end(Side::Server, What::Fin),
            Ok(bytes) => self.0.tap.received(bytes),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.0.was_reset.store(true, Ordering::Relaxed);
                self.end(Side::Server, What::Reset);
            }
            Err(_) => {}
        }
    }

    /// Bytes of a file that the kernel sent.
    pub(crate) fn sent_by_kernel(&self, bytes: u64) {
        self.0.tap.sent_by_kernel(bytes);
    }

    /// Bytes that the kernel moved into a file.
    pub(crate) fn received_by_kernel(&self, bytes: u64) {
        self.0.tap.received_by_kernel(bytes);
    }

    /// Ciphertext that was written or read.
    pub(crate) fn wire(&self, from: Side, bytes: &[u8]) {
        self.0.tap.wire(from, bytes);
    }

    /// This end shut down its direction.
    pub(crate) fn finished(&self) {
        if !self.0.was_reset.load(Ordering::Relaxed) {
            self.end(Side::Client, What::Fin);
        }
    }

    /// Whether closing the socket resets the connection from now on.
    pub(crate) fn resets(&self, resets: bool) {
        self.0.resets.store(resets, Ordering::Relaxed);
    }

    /// Records the end of a direction, once.
    fn end(&self, from: Side, what: What) {
        if !self.0.ended[from as usize].swap(true, Ordering::Relaxed) {
            self.add(from, what);
        }
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tap.fmt(f)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let connected = self.sampler.take().is_some() && !*self.was_reset.get_mut();
        if connected && !self.ended[Side::Client as usize].load(Ordering::Relaxed) {
            // Closing the socket sends it.
            let resets = self.resets.load(Ordering::Relaxed);
            let what = if resets { What::Reset } else { What::Fin };
            self.tap.add(Some(Side::Client), Basis::Inferred, what);
        }
    }
}

/// Records an error after which the command continues: with another connection or another file.
pub(crate) fn failed(recorder: Option<&Recorder>, error: &Error) {
    if let Some(recorder) = recorder {
        let what = What::Failed { text: reason(error) };
        recorder.add(None, Some(Side::Client), Basis::Observed, what);
    }
}

/// A thread that samples a socket. Dropping it takes the last sample, and closes its handle of the
/// socket, which would otherwise delay the FIN.
struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: TcpStream,
    tap: Tap,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Sampler {
    /// Samples `stream` from now on; `None` without a second handle of it, or without a thread. A
    /// Unix socket has no statistics.
    fn start(stream: &TcpStream, tap: &Tap) -> Option<Self> {
        TcpInfo::of(stream).ok()?;
        let (socket, tap) = (stream.try_clone().ok()?, tap.clone());
        let (ended, wake) = (Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { socket, tap, ended, wake });
        // The thread may begin late.
        shared.sample();
        let sampling = shared.clone();
        let thread = std::thread::Builder::new().name("trace".to_owned());
        let thread = thread.spawn(move || sampling.run()).ok()?;
        Some(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        *lock(&self.shared.ended) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.sample();
    }
}

impl Shared {
    fn run(&self) {
        let began = Instant::now();
        let mut ended = lock(&self.ended);
        while !*ended {
            let pause = SHORTEST_PAUSE.max(began.elapsed() / SAMPLES).min(LONGEST_PAUSE);
            let waited = self.wake.wait_timeout(ended, pause);
            ended = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*ended {
                // Not waited for by the end of the connection.
                drop(ended);
                self.sample();
                ended = lock(&self.ended);
            }
        }
    }

    fn sample(&self) {
        let recorder = self.tap.recorder();
        if let Ok(sample) = Sample::of(&self.socket, recorder.now(), self.tap.number()) {
            recorder.sample(sample);
        }
    }
}

/// Time that TLS spent encrypting and decrypting on one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsTime(Arc<AtomicI64>);

impl TlsTime {
    /// Adds the time that `work` takes.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.0.fetch_add(nanoseconds(began.elapsed()), Ordering::Relaxed);
        done
    }

    /// Takes the time that `work` takes off again, as it is input or output within
    /// [`TlsTime::measure`].
    pub(crate) fn except<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.0.fetch_sub(nanoseconds(began.elapsed()), Ordering::Relaxed);
        done
    }

    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why an attempt was closed.
const OTHER: &str = "closed, as another address answered first";

/// The first interval of samples: a slow start doubles its window in about this time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The interval grows to this part of the elapsed time, so that long transfers get few samples.
const SAMPLES: u32 = 1000;

const LONGEST_PAUSE: Duration = Duration::from_secs(1);
